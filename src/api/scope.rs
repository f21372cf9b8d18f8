//! Spans that are open in the scope of a thread: how they begin and end.
//!
//! Always true:
//! - what such a span knows of itself lies in a block, which its guard has: two words, never copied
//! - the thread's list says which spans are open, in the order in which they nest, and where the
//!   thread was before each

use super::{
    held::Held,
    local::{self, Current, Local},
    state::{RunState, Sampled},
    write::{self, Shown, SpanEnd, TraceBegin},
};
use crate::{
    record::{
        attributes::AttributeBuffer,
        id::TraceId,
        kinds::{SpanKind, Status},
        layout::{flag, RecordKind, KEY_NAME, NAME_INLINE},
        names::Name,
    },
    ring::OpenSpan,
};

/// Where a span gets its parent from.
#[derive(Clone, Copy)]
pub(super) enum Parent {
    /// The innermost span of the same run that is open on this thread.
    Scope,
    /// This one; 0 is the trace itself.
    Given(u64),
}

/// Slot of a span that is not in the open-span table.
pub(super) const NO_SLOT: u16 = u16::MAX;

/// What an open span knows of itself, but for its attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) name: u32,
    pub(super) flags: u16,
    pub(super) kind: SpanKind,
    pub(super) verdict: Option<Status>,
}

impl Open {
    /// What an unused block holds.
    const NONE: Self = Self {
        id: 0,
        parent: 0,
        start: 0,
        name: 0,
        flags: 0,
        kind: SpanKind::Internal,
        verdict: None,
    };

    pub(super) fn end(&self, state: &RunState, end: u64) -> SpanEnd {
        self.end_in(state.trace, state.root.sampled, end)
    }

    /// Of a trace that somebody else drives.
    pub(super) fn end_in(&self, trace: TraceId, sampled: Sampled, end: u64) -> SpanEnd {
        let status = self.verdict.unwrap_or_else(no_verdict);
        self.ended(trace, sampled, status, end)
    }

    #[inline(always)]
    pub(super) fn ended(
        &self,
        trace: TraceId,
        sampled: Sampled,
        status: Status,
        end: u64,
    ) -> SpanEnd {
        SpanEnd {
            trace,
            held: sampled == Sampled::HELD,
            name: self.name,
            id: self.id,
            parent: self.parent,
            start: self.start,
            end,
            kind: self.kind,
            status,
            flags: self.flags,
        }
    }

    pub(super) fn table_entry(&self, trace: TraceId) -> OpenSpan {
        OpenSpan {
            start: self.start,
            trace: trace.0,
            span: self.id,
            parent: self.parent,
            name: self.name,
            kind: self.kind as u8,
            what: 0,
            flags: self.flags,
        }
    }
}

/// Status of a span that nobody judged.
#[cold]
pub(super) fn no_verdict() -> Status {
    if std::thread::panicking() {
        Status::Error
    } else {
        Status::Cancelled
    }
}

/// An open span and its attributes. Its guard has it, so that what is set or said of the span needs
/// no look at the thread; a thread keeps a few for its next spans.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) open: Open,
    pub(super) attributes: AttributeBuffer,
}

impl Block {
    /// One that no thread kept.
    #[cold]
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            open: Open::NONE,
            attributes: AttributeBuffer::with_capacity(local::BUFFER_WORDS),
        })
    }

    /// Marks it as failed; `describe` says why, if that is recorded.
    #[cold]
    pub(super) fn fail(&mut self, state: &RunState, describe: impl FnOnce(&mut AttributeBuffer)) {
        self.open.verdict = Some(Status::Error);
        if state.engine.switches.errors {
            self.open.flags |= flag::ERROR;
            describe(&mut self.attributes);
        }
    }
}

/// A span that is open in a scope of its thread.
#[derive(Debug)]
pub(super) struct Scoped {
    pub(super) id: u64,
    previous: Current,
    slot: u16,
}

/// Where a thread was before it came into a run that is not sampled.
#[derive(Debug)]
pub(super) struct Left {
    previous: Current,
    /// How many spans were open in its scopes.
    scopes: usize,
}

/// This thread comes into a run that is not sampled, so that what begins there without having been
/// handed the run is not recorded either. Returns whether [`leave_unsampled`] has to follow: nothing
/// is to be undone where the thread was in it already.
#[inline(never)]
pub(super) fn enter_unsampled(state: &RunState) -> bool {
    if !state.is_noticed() {
        return false;
    }
    let entered = local::with(&state.engine, RecordKind::Span, |local| {
        let comes = local.current.trace != state.root.trace;
        if comes {
            // Nothing is to be noted where nothing is open, which is what it mostly is.
            if local.current.trace != 0 || !local.unsampled.is_empty() {
                local.unsampled.push(Left {
                    previous: local.current,
                    scopes: local.scopes.len(),
                });
            }
            local.current = state.root;
        }
        comes
    });
    entered == Some(true)
}

/// This thread is back where it was before [`enter_unsampled`].
#[inline(never)]
pub(super) fn leave_unsampled(state: &RunState) {
    local::existing(&state.engine, |local| {
        // Spans that were open around it are gone where guards do not nest: then this is in none.
        local.current = match local.unsampled.pop() {
            Some(left) if left.scopes <= local.scopes.len() => left.previous,
            _ => Current::NONE,
        };
    });
}

/// Begins a span in the scope of this thread; `None` if it is not recorded.
///
/// Not inlined on purpose, like `finish`: call sites stay small.
#[inline(never)]
pub(super) fn begin(
    state: &RunState,
    name: &Name<'_>,
    kind: SpanKind,
    parent: Parent,
) -> Option<Box<Block>> {
    let engine = &state.engine;
    if !state.gate.is_open() {
        engine.lose_closed(RecordKind::Span);
        return None;
    }
    let begun = local::with(engine, RecordKind::Span, |local| {
        let now = engine.tick();
        push_scope(state, local, name, kind, parent, now)
    });
    let (block, in_table) = begun?;
    if !in_table {
        show(state, &block);
    }
    Some(block)
}

/// Writes a start record for a span that the open-span table has no room for, so that it is
/// visible while it runs.
#[cold]
pub(super) fn show(state: &RunState, block: &Block) {
    local::with(&state.engine, RecordKind::SpanStart, |local| {
        // Nothing but a spelled-out name yet.
        let start = block.open.end(state, 0);
        write::span_start(local, start, Some(&block.attributes));
    });
}

/// Shows a held trace as open; `None` if the table has no room.
pub(super) fn show_trace(local: &mut Local, begin: &TraceBegin) -> Option<Shown> {
    let ring = local.ring(true)?;
    let slot = ring.open(OpenSpan {
        start: begin.tick,
        trace: begin.trace.0,
        span: 0,
        parent: begin.remote_parent,
        name: begin.name,
        kind: 0,
        what: 1,
        flags: begin.flags,
    })?;
    Some(Shown {
        ring: ring.ring(),
        slot,
    })
}

/// Opens a span that begins `now`; also says whether it is in the open-span table.
#[inline(always)]
pub(super) fn push_scope(
    state: &RunState,
    local: &mut Local,
    name: &Name<'_>,
    kind: SpanKind,
    parent: Parent,
    now: u64,
) -> (Box<Block>, bool) {
    let mut block = local.block();
    block.open = Open {
        id: local.span_id(),
        parent: match parent {
            Parent::Scope if local.current.trace == state.root.trace => local.current.span,
            Parent::Scope => 0,
            Parent::Given(parent) => parent,
        },
        start: now,
        name: name.id(),
        flags: 0,
        kind,
        verdict: None,
    };
    let Open {
        id, name: known, ..
    } = block.open;
    let ring = local.ring(state.is_held());
    let slot = ring.and_then(|ring| ring.open(block.open.table_entry(state.trace)));
    let slot = slot.unwrap_or(NO_SLOT);
    local.reserve_scope();
    local.scopes.push(Scoped {
        id,
        previous: local.current,
        slot,
    });
    local.current = state.current(id);
    if known == NAME_INLINE {
        block.attributes.push_reserved(KEY_NAME, name.text());
    }
    (block, slot != NO_SLOT)
}

/// Ends the innermost span of this thread, which succeeded, and begins another in its place and in
/// its block: one clock reading, and nothing of the scope is written twice. `None` if `block` is
/// not the innermost one, otherwise whether the new one is in the open-span table.
#[inline(always)]
pub(super) fn replace_scope(
    state: &RunState,
    local: &mut Local,
    block: &mut Block,
    name: &Name<'_>,
    now: u64,
) -> Option<bool> {
    let Block { open, attributes } = block;
    let scoped = local.scopes.last().filter(|last| last.id == open.id)?;
    // Behind the span, as in `pop_scope`.
    let slot = scoped.slot;
    let end = || open.ended(state.trace, state.root.sampled, Status::Ok, now);
    write::span_with(local, state.is_held(), attributes, end);
    if let Some(text) = name.inline_text() {
        attributes.push_reserved(KEY_NAME, text);
    }
    open.id = local.span_id();
    open.start = now;
    open.name = name.id();
    open.flags = 0;
    open.kind = SpanKind::NodeExecution;
    open.verdict = None;
    let entry = open.table_entry(state.trace);
    local.current = state.current(open.id);
    let slot = match (local.ring(state.is_held()), slot) {
        (None, _) => NO_SLOT,
        (Some(ring), NO_SLOT) => ring.open(entry).unwrap_or(NO_SLOT),
        (Some(ring), slot) => {
            ring.replace(slot, entry);
            slot
        }
    };
    let scoped = local.scopes.last_mut()?;
    (scoped.id, scoped.slot) = (open.id, slot);
    Some(slot != NO_SLOT)
}

/// Writes a span of this thread, once.
#[inline(never)]
pub(super) fn finish(state: &RunState, block: Box<Block>, verdict: Option<Status>) {
    let engine = &state.engine;
    // First, so that little has to be kept meanwhile.
    let now = engine.tick();
    if !state.gate.is_open() {
        return lose(state, block.open.id);
    }
    local::with(engine, RecordKind::Span, |local| {
        pop_scope(state, local, block, verdict, now);
    });
}

/// Counts a span that outlived the log, and shows it as open no longer: whoever recovers the rings
/// would count it again.
#[cold]
pub(super) fn lose(state: &RunState, id: u64) {
    if state.engine.gate.is_home() {
        local::existing(&state.engine, |local| {
            let scoped = remove(state, local, id)?;
            if scoped.slot != NO_SLOT {
                local.ring(state.is_held())?.close(scoped.slot);
            }
            Some(())
        });
    }
    state.engine.lose_closed(RecordKind::Span);
}

/// Takes a span out of the scope of this thread.
fn remove(state: &RunState, local: &mut Local, id: u64) -> Option<Scoped> {
    let at = local.scope_at(id)?;
    let scoped = local.scopes.remove(at);
    close_ranks(local, at, state.current(id), scoped.previous);
    if local.current.span == id {
        local.current = scoped.previous;
    }
    Some(scoped)
}

/// A scope that is not the innermost one went away: what began inside it returns to what it would
/// have returned to.
#[cold]
fn close_ranks(local: &mut Local, at: usize, gone: Current, previous: Current) {
    for inner in &mut local.scopes[at..] {
        if inner.previous == gone {
            inner.previous = previous;
        }
    }
}

/// Ends a span `now`.
#[inline(always)]
pub(super) fn pop_scope(
    state: &RunState,
    local: &mut Local,
    mut block: Box<Block>,
    verdict: Option<Status>,
    now: u64,
) {
    let Block { open, attributes } = &mut *block;
    // Spans end in the order in which they nest, but for guards that are kept on purpose.
    let innermost = local.scopes.last().is_some_and(|last| last.id == open.id);
    if !innermost && !bring_up(state, local, open.id) {
        return;
    }
    let status = verdict.or(open.verdict).unwrap_or_else(no_verdict);
    let end = || open.ended(state.trace, state.root.sampled, status, now);
    write::span_with(local, state.is_held(), attributes, end);
    // Only now, so that what the record does not need is not carried past it.
    if let Some(Scoped { id, previous, slot }) = local.scopes.pop() {
        if local.current.span == id {
            local.current = previous;
        }
        // Behind the span: whoever looks in between sees it twice rather than not at all.
        if slot != NO_SLOT {
            close(state, local, slot);
        }
    }
    local.keep(block);
}

/// Makes a span of this thread the last of its list, as if it had begun last; false if it is not
/// there.
#[cold]
fn bring_up(state: &RunState, local: &mut Local, id: u64) -> bool {
    let Some(at) = local.scope_at(id) else {
        return false;
    };
    let scoped = local.scopes.remove(at);
    close_ranks(local, at, state.current(id), scoped.previous);
    local.scopes.push(scoped);
    true
}

/// A span is over that is in the open-span table.
#[inline(always)]
fn close(state: &RunState, local: &mut Local, slot: u16) {
    if let Some(ring) = local.ring(state.is_held()) {
        ring.close(slot);
    }
}

/// A span that somebody else drives is entered; also says whether it is in the open-span table,
/// where `entry` asks for it.
#[inline]
pub(super) fn push_driven(
    local: &mut Local,
    id: u64,
    inside: Current,
    entry: Option<OpenSpan>,
) -> bool {
    let held = inside.sampled == Sampled::HELD;
    let slot = entry.and_then(|entry| local.ring(held)?.open(entry));
    local.scopes.push(Scoped {
        id,
        previous: std::mem::replace(&mut local.current, inside),
        slot: slot.unwrap_or(NO_SLOT),
    });
    slot.is_some()
}

/// A span that somebody else drives is left.
#[inline]
pub(super) fn pop_driven(local: &mut Local, id: u64, inside: Current) {
    let Some(at) = local.scope_at(id) else { return };
    let Scoped { previous, slot, .. } = local.scopes.remove(at);
    if at < local.scopes.len() {
        close_ranks(local, at, inside, previous);
    }
    if local.current == inside {
        local.current = previous;
    }
    if slot != NO_SLOT {
        if let Some(ring) = local.ring(inside.sampled == Sampled::HELD) {
            ring.close(slot);
        }
    }
}

/// Takes a span out of the scope of this thread, and writes that it began.
pub(super) fn leave(state: &RunState, block: Box<Block>) -> Option<Box<Block>> {
    if !state.engine.gate.is_open() {
        lose(state, block.open.id);
        return None;
    }
    let left = local::with(&state.engine, RecordKind::SpanStart, |local| {
        let Scoped { slot, .. } = remove(state, local, block.open.id)?;
        let start = block.open.end(state, 0);
        // One that is not in the table has a start record already; a second one would be a second
        // span to a reader that sees no end of it.
        if slot != NO_SLOT {
            write::span_start(local, start, Some(&block.attributes));
            close(state, local, slot);
        }
        Some(block)
    });
    left.flatten()
}

/// Restores the thread's open span when dropped; made by [`Run::enter`](super::Run::enter).
#[derive(Debug)]
#[must_use = "dropping it leaves the context at once"]
pub struct ContextGuard<'r> {
    pub(super) state: Held<&'r RunState>,
    pub(super) previous: Option<Current>,
    // The context belongs to this thread.
    pub(super) _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for ContextGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(state), Some(previous)) = (self.state.get(), self.previous) {
            local::with(&state.engine, RecordKind::Span, |local| {
                local.current = previous
            });
        }
    }
}
