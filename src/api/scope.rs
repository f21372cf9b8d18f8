//! Spans that are open in the scope of a thread: how they begin, change and end.
//!
//! What such a span knows of itself is written and read here, in the thread's own list, and never
//! moved; its guard is two words.

use super::{
    held::Held,
    local::{self, Current, Local},
    state::{RunState, Sampled},
    write::{self, Shown, SpanEnd, TraceBegin},
};
use crate::{
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        id::TraceId,
        kinds::{SpanKind, Status},
        layout::{RecordKind, KEY_NAME},
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

/// What an open span knows of itself.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) name: u32,
    pub(super) flags: u16,
    pub(super) kind: SpanKind,
    pub(super) verdict: Option<Status>,
    pub(super) attributes: Option<Box<AttributeBuffer>>,
}

impl Open {
    /// What the scope of a thread knows of a span that is kept elsewhere.
    fn elsewhere(id: u64) -> Self {
        Self {
            id,
            parent: 0,
            start: 0,
            name: 0,
            flags: 0,
            kind: SpanKind::Internal,
            verdict: None,
            attributes: None,
        }
    }

    pub(super) fn end(&self, state: &RunState, end: u64) -> SpanEnd {
        self.end_in(state.trace, state.root.sampled, end)
    }

    /// Of a trace that somebody else drives.
    pub(super) fn end_in(&self, trace: TraceId, sampled: Sampled, end: u64) -> SpanEnd {
        SpanEnd {
            trace,
            held: sampled == Sampled::Held,
            name: self.name,
            id: self.id,
            parent: self.parent,
            start: self.start,
            end,
            kind: self.kind,
            status: self.verdict.unwrap_or_else(no_verdict),
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

/// A span that is open in a scope of its thread.
#[derive(Debug)]
pub(super) struct Scoped {
    pub(super) open: Open,
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

/// Begins a span in the scope of this thread; returns its id, 0 if it is not recorded.
///
/// Not inlined on purpose, like `finish`: call sites stay small.
#[inline(never)]
pub(super) fn begin(state: &RunState, name: Name<'_>, kind: SpanKind, parent: Parent) -> u64 {
    let engine = &state.engine;
    if !state.gate.is_open() {
        engine.lose_closed(RecordKind::Span);
        return 0;
    }
    let begun = local::with(engine, RecordKind::Span, |local| {
        let now = engine.tick();
        push_scope(state, local, name, kind, parent, now)
    });
    match begun {
        Some((id, true)) => id,
        Some((id, false)) => {
            show(state, id);
            id
        }
        None => 0,
    }
}

/// Writes a start record for a span that the open-span table has no room for, so that it is
/// visible while it runs.
#[cold]
pub(super) fn show(state: &RunState, id: u64) {
    local::with(&state.engine, RecordKind::SpanStart, |local| {
        if let Some(scoped) = local.scoped(id) {
            let start = scoped.open.end(state, 0);
            // Nothing but a spelled-out name yet.
            let name = scoped.open.attributes.take();
            write::span_start(local, start, name.as_deref());
            if let Some(scoped) = local.scoped(id) {
                scoped.open.attributes = name;
            }
        }
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
    name: Name<'_>,
    kind: SpanKind,
    parent: Parent,
    now: u64,
) -> (u64, bool) {
    let id = local.span_id();
    let open = Open {
        id,
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
        attributes: name.inline_text().map(|text| spell_out(local, text)),
    };
    let ring = local.ring(state.is_held());
    let slot = ring.and_then(|ring| ring.open(open.table_entry(state.trace)));
    let slot = slot.unwrap_or(NO_SLOT);
    local.scopes.push(Scoped {
        open,
        previous: local.current,
        slot,
    });
    local.current = state.current(id);
    (id, slot != NO_SLOT)
}

/// Ends the innermost span of this thread, which is `ended` and succeeded, and begins another in
/// its place: one clock reading, and nothing of the scope is written twice.
#[inline(always)]
pub(super) fn replace_scope(
    state: &RunState,
    local: &mut Local,
    ended: u64,
    name: Name<'_>,
    now: u64,
) -> Option<(u64, bool)> {
    let at = local.scopes.len().checked_sub(1)?;
    if local.scopes[at].open.id != ended {
        return None;
    }
    let id = local.span_id();
    let spelled = name.inline_text().map(|text| spell_out(local, text));
    let open = &mut local.scopes[at].open;
    open.verdict = Some(Status::Ok);
    let end = open.end(state, now);
    let attributes = std::mem::replace(&mut open.attributes, spelled);
    open.id = id;
    open.start = now;
    open.name = name.id();
    open.flags = 0;
    open.kind = SpanKind::NodeExecution;
    open.verdict = None;
    let entry = open.table_entry(state.trace);
    local.current = state.current(id);
    write::span(local, end, attributes);
    // Behind the span, as in `pop_scope`.
    let slot = local.scopes[at].slot;
    if let Some(ring) = local.ring(state.is_held()) {
        match slot {
            NO_SLOT => {
                let slot = ring.open(entry).unwrap_or(NO_SLOT);
                local.scopes[at].slot = slot;
            }
            slot => ring.replace(slot, entry),
        }
    }
    Some((id, local.scopes[at].slot != NO_SLOT))
}

/// Writes a span of this thread, once.
#[inline(never)]
pub(super) fn finish(state: &RunState, id: u64, verdict: Option<Status>) {
    let engine = &state.engine;
    // First, so that little has to be kept meanwhile.
    let now = engine.tick();
    if !state.gate.is_open() {
        return lose(state, id);
    }
    local::with(engine, RecordKind::Span, |local| {
        pop_scope(state, local, id, verdict, now);
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
    id: u64,
    verdict: Option<Status>,
    now: u64,
) {
    // Spans end in the order in which they nest, but for guards that are kept on purpose.
    let innermost = local.scopes.last().is_some_and(|s| s.open.id == id);
    if !innermost && !bring_up(state, local, id) {
        return;
    }
    let Some(mut scoped) = local.scopes.pop() else {
        return;
    };
    if local.current.span == id {
        local.current = scoped.previous;
    }
    scoped.open.verdict = verdict.or(scoped.open.verdict);
    let end = scoped.open.end(state, now);
    write::span(local, end, scoped.open.attributes);
    // Behind the span: whoever looks in between sees it twice rather than not at all.
    if scoped.slot != NO_SLOT {
        close(state, local, scoped.slot);
    }
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
    let held = inside.sampled == Sampled::Held;
    let slot = entry.and_then(|entry| local.ring(held)?.open(entry));
    local.scopes.push(Scoped {
        open: Open::elsewhere(id),
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
        if let Some(ring) = local.ring(inside.sampled == Sampled::Held) {
            ring.close(slot);
        }
    }
}

/// Takes a span out of the scope of this thread, and writes that it began.
pub(super) fn leave(state: &RunState, id: u64) -> Option<Open> {
    if !state.engine.gate.is_open() {
        lose(state, id);
        return None;
    }
    let open = local::with(&state.engine, RecordKind::SpanStart, |local| {
        let Scoped { open, slot, .. } = remove(state, local, id)?;
        let start = open.end(state, 0);
        // One that is not in the table has a start record already; a second one would be a second
        // span to a reader that sees no end of it.
        if slot != NO_SLOT {
            write::span_start(local, start, open.attributes.as_deref());
            close(state, local, slot);
        }
        Some(open)
    });
    open.flatten()
}

/// A buffer that begins with a name for which there is no id.
#[cold]
pub(super) fn spell_out(local: &mut Local, text: &str) -> Box<AttributeBuffer> {
    let mut buffer = local.buffer();
    buffer.push_reserved(KEY_NAME, text);
    buffer
}

/// Runs `change` on a span that is open on this thread.
#[inline]
pub(super) fn change(state: &RunState, id: u64, change: impl FnOnce(&mut Open)) {
    local::with(&state.engine, RecordKind::Span, |local| {
        if let Some(scoped) = local.scoped(id) {
            change(&mut scoped.open);
        }
    });
}

/// Adds attributes that were put together before to a span that is open on this thread.
#[inline(never)]
pub(super) fn extend(state: &RunState, id: u64, list: &AttributeBuffer) {
    local::with(&state.engine, RecordKind::Span, |local| {
        let Some(at) = local.scope_at(id) else { return };
        if local.scopes[at].open.attributes.is_none() {
            local.scopes[at].open.attributes = Some(local.buffer());
        }
        if let Some(buffer) = &mut local.scopes[at].open.attributes {
            buffer.extend(list);
        }
    });
}

/// Sets an attribute of a span that is open on this thread.
#[inline(never)]
pub(super) fn set<V: AttributeValue>(state: &RunState, id: u64, key: Name<'_>, value: &V) {
    local::with(&state.engine, RecordKind::Span, |local| {
        let Some(at) = local.scope_at(id) else { return };
        if local.scopes[at].open.attributes.is_none() {
            local.scopes[at].open.attributes = Some(local.buffer());
        }
        if let Some(buffer) = &mut local.scopes[at].open.attributes {
            buffer.push_named(key, value);
        }
    });
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
