//! What one thread keeps for each engine it records into: its ring, its ids, its open span.
//!
//! Always true:
//! - user code never runs while the thread's state is borrowed, so that recording from inside
//!   another recording finds it free (a signal handler that interrupts us does not, and is counted)
//! - the current span is what new spans of the same trace take as parent

use std::{cell::RefCell, sync::Arc};

use super::{
    engine::Engine,
    run::POOLED_RUNS,
    scope::{Block, Left, Scoped},
    state::{RunState, Sampled},
};
use crate::{
    record::{
        attributes::AttributeBuffer,
        id::{mixed, random_u128, TraceId},
        kinds::LossCause,
        layout::RecordKind,
        redact::Redactor,
    },
    ring::{GateWord, Producer},
    sampling::Threshold,
};

/// Attribute buffers that a thread keeps for its next events and measurements.
const POOLED_BUFFERS: usize = 32;
/// Open spans that a thread has room for before its list grows.
const SCOPES: usize = 64;
/// The same of runs that are not sampled.
const UNSAMPLED: usize = 8;
/// Blocks of open spans that a thread keeps for its next spans.
const POOLED_BLOCKS: usize = 64;
/// Words that a fresh attribute buffer holds.
pub(super) const BUFFER_WORDS: usize = 64;
/// Buffers that grew beyond this many words are given back to the allocator.
pub(super) const MAX_POOLED_WORDS: usize = 8192;

/// The innermost open span of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    /// Low half of its trace's id; 0 if no span is open.
    pub(crate) trace: u64,
    /// High half of it.
    pub(crate) high: u64,
    /// The span.
    pub(crate) span: u64,
    /// What is recorded of the trace.
    pub(super) sampled: Sampled,
}

impl Current {
    pub(crate) const NONE: Self = Self {
        trace: 0,
        high: 0,
        span: 0,
        sampled: Sampled::yes(Threshold::ALWAYS),
    };

    /// A span of a trace; 0 is the trace itself.
    pub(super) fn within(trace: TraceId, span: u64, sampled: Sampled) -> Self {
        let id = trace.as_u128();
        Self {
            trace: id as u64,
            high: (id >> 64) as u64,
            span,
            sampled,
        }
    }

    /// The whole id of the trace.
    pub(super) fn trace_id(self) -> TraceId {
        TraceId::from_u128(u128::from(self.high) << 64 | u128::from(self.trace))
    }
}

/// State of one thread for one engine.
pub(crate) struct Local {
    pub(super) engine: Arc<Engine>,
    /// That of the engine.
    pub(super) gate: GateWord,
    pub(crate) current: Current,
    next_span: u64,
    seed: u64,
    pub(super) rings: Rings,
    /// Spans that are open in scopes of this thread, innermost last.
    pub(super) scopes: Vec<Scoped>,
    /// Where this thread was before it came into runs that are not sampled, innermost last.
    pub(super) unsampled: Vec<Left>,
    // Boxed: they move between the pool and the builders of records, a pointer each time.
    #[allow(clippy::vec_box)]
    buffers: Vec<Box<AttributeBuffer>>,
    // Likewise.
    #[allow(clippy::vec_box)]
    blocks: Vec<Box<Block>>,
    pub(super) runs: Vec<Arc<RunState>>,
}

/// The rings of one thread.
pub(super) struct Rings {
    main: Producer,
    /// The ring for traces that are not sampled, once there is one.
    held: Option<Producer>,
    /// Records for which there was none.
    refused: u64,
}

impl Rings {
    /// The ring for records of a trace: of one that is held, or of any other. `None` if there is no
    /// room for it.
    #[inline(always)]
    pub(super) fn of(&mut self, held: bool, engine: &Engine) -> Option<&mut Producer> {
        match held {
            false => Some(&mut self.main),
            true => self.held(engine),
        }
    }

    #[inline(never)]
    fn held(&mut self, engine: &Engine) -> Option<&mut Producer> {
        // Asking takes a lock: less and less often while there is none.
        if self.held.is_none() && (self.refused & (self.refused + 1)) == 0 {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default();
            self.held = engine.rings.lease_held(name, os_thread_id());
        }
        self.refused += u64::from(self.held.is_none());
        self.held.as_mut()
    }
}

impl Local {
    /// A span id: unique in the process, since each thread counts from a random 64-bit start.
    #[inline(always)]
    pub(crate) fn span_id(&mut self) -> u64 {
        self.next_span = self.next_span.wrapping_add(1);
        if self.next_span == 0 {
            self.next_span = 1;
        }
        self.next_span
    }

    /// See [`Rings::of`].
    #[inline(always)]
    pub(super) fn ring(&mut self, held: bool) -> Option<&mut Producer> {
        self.rings.of(held, &self.engine)
    }

    /// Longest record of a trace, in words.
    #[inline(always)]
    pub(super) fn max_words(&mut self, held: bool) -> usize {
        self.ring(held).map_or(usize::MAX, |ring| ring.max_words())
    }

    /// Counts a record for which there is no ring.
    #[cold]
    pub(super) fn lose(&self, kind: RecordKind) {
        self.engine.lose(LossCause::NoRing, kind);
    }

    /// A trace id: 128 bits of SplitMix64, seeded by the operating system for each thread.
    #[inline]
    pub(crate) fn trace_id(&mut self) -> TraceId {
        let high = self.random();
        let low = self.random();
        TraceId::from_u128((u128::from(high) << 64 | u128::from(low)).max(1))
    }

    #[inline]
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.seed)
    }

    /// Where an open span of this thread is, looked for from the innermost.
    #[inline(always)]
    pub(super) fn scope_at(&self, id: u64) -> Option<usize> {
        match self.scopes.last() {
            Some(last) if last.id == id => Some(self.scopes.len() - 1),
            _ => self.scopes.iter().rposition(|scoped| scoped.id == id),
        }
    }

    /// Makes room for one more open span. Asked for just before one is pushed, so that pushing finds
    /// nothing more to do.
    #[inline(always)]
    pub(super) fn reserve_scope(&mut self) {
        if self.scopes.len() == self.scopes.capacity() {
            self.more_scopes();
        }
    }

    #[cold]
    #[inline(never)]
    fn more_scopes(&mut self) {
        self.scopes.reserve(SCOPES);
    }

    /// A block for a span that begins, its attributes empty.
    #[inline(always)]
    pub(super) fn block(&mut self) -> Box<Block> {
        self.blocks.pop().unwrap_or_else(Block::new)
    }

    /// Keeps a block, whose attributes are empty, for the next span.
    #[inline(always)]
    pub(super) fn keep(&mut self, block: Box<Block>) {
        if self.blocks.len() < self.blocks.capacity() {
            self.blocks.push(block);
        }
    }

    /// What judges attributes before they are recorded.
    #[inline(always)]
    pub(super) fn redactor(&self) -> Option<&Redactor> {
        self.engine.redactor.as_ref()
    }

    /// An empty buffer, from the pool.
    #[inline]
    pub(crate) fn buffer(&mut self) -> Box<AttributeBuffer> {
        self.buffers.pop().unwrap_or_else(new_buffer)
    }

    /// Gives a buffer back.
    #[inline]
    pub(crate) fn recycle(&mut self, mut buffer: Box<AttributeBuffer>) {
        if self.buffers.len() < POOLED_BUFFERS && buffer.capacity() <= MAX_POOLED_WORDS {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// A buffer that comes from no pool.
#[cold]
pub(crate) fn new_buffer() -> Box<AttributeBuffer> {
    Box::new(AttributeBuffer::with_capacity(BUFFER_WORDS))
}

/// The states of one thread.
struct Locals {
    /// The one that was used last, here so that finding it follows no pointer.
    front: Option<Local>,
    others: Vec<Local>,
}

thread_local! {
    static LOCALS: RefCell<Locals> = const {
        RefCell::new(Locals { front: None, others: Vec::new() })
    };
}

/// Runs `record` with this thread's state, which is made on the first call. When the thread has
/// none or it is in use, the loss of one record of `kind` is counted and `None` returned.
#[inline(always)]
pub(crate) fn with<R>(
    engine: &Arc<Engine>,
    kind: RecordKind,
    record: impl FnOnce(&mut Local) -> R,
) -> Option<R> {
    let outcome = LOCALS.try_with(|locals| {
        let Ok(mut locals) = locals.try_borrow_mut() else {
            engine.lose(LossCause::Reentrant, kind);
            return None;
        };
        let front = locals.front.as_ref();
        let found = front.is_some_and(|local| Arc::ptr_eq(&local.engine, engine));
        if !found && !find(&mut locals, engine, kind) {
            return None;
        }
        // One call, so that it is inlined.
        locals.front.as_mut().map(record)
    });
    match outcome {
        Ok(result) => result,
        Err(_) => {
            engine.lose(LossCause::ThreadGone, kind);
            None
        }
    }
}

/// An empty buffer, from this thread's pool if it has one. Nothing is lost if it has none, so
/// nothing is counted either: the record that the buffer is for comes later.
#[inline(never)]
pub(crate) fn buffer(engine: &Engine) -> Box<AttributeBuffer> {
    existing(engine, Local::buffer).unwrap_or_else(new_buffer)
}

/// Gives a buffer back to this thread's pool.
#[inline]
pub(crate) fn recycle(engine: &Engine, buffer: Box<AttributeBuffer>) {
    existing(engine, |local| local.recycle(buffer));
}

/// Does something with the state that this thread already has.
#[inline]
pub(super) fn existing<R>(engine: &Engine, work: impl FnOnce(&mut Local) -> R) -> Option<R> {
    let outcome = LOCALS.try_with(|locals| {
        let mut locals = locals.try_borrow_mut().ok()?;
        let Locals { front, others } = &mut *locals;
        let wanted = |local: &Local| std::ptr::eq(&*local.engine, engine);
        let local = match front {
            Some(local) if wanted(local) => local,
            _ => others.iter_mut().find(|local| wanted(local))?,
        };
        Some(work(local))
    });
    outcome.ok().flatten()
}

/// Finds or makes the state for `engine` and moves it to the front; counts a loss if it cannot.
#[cold]
#[inline(never)]
fn find(locals: &mut Locals, engine: &Arc<Engine>, kind: RecordKind) -> bool {
    locals.others.extend(locals.front.take());
    let known = |local: &Local| Arc::ptr_eq(&local.engine, engine);
    if let Some(at) = locals.others.iter().position(known) {
        locals.front = Some(locals.others.swap_remove(at));
        return true;
    }
    if !engine.gate.is_open() {
        engine.lose_closed(kind);
        return false;
    }
    locals.others.retain(|local| local.gate.is_open());
    let thread = std::thread::current();
    let Some(producer) = engine
        .rings
        .lease(thread.name().unwrap_or_default(), os_thread_id())
    else {
        engine.lose(LossCause::NoRing, kind);
        return false;
    };
    let random = random_u128();
    let mut buffers = Vec::with_capacity(POOLED_BUFFERS);
    buffers.extend((0..4).map(|_| new_buffer()));
    let mut blocks = Vec::with_capacity(POOLED_BLOCKS);
    blocks.extend((0..4).map(|_| Block::new()));
    locals.front = Some(Local {
        engine: Arc::clone(engine),
        gate: engine.gate.word(),
        current: Current::NONE,
        next_span: random as u64,
        seed: (random >> 64) as u64,
        rings: Rings {
            main: producer,
            held: None,
            refused: 0,
        },
        scopes: Vec::with_capacity(SCOPES),
        unsampled: Vec::with_capacity(UNSAMPLED),
        buffers,
        blocks,
        runs: Vec::with_capacity(POOLED_RUNS),
    });
    true
}

/// The number by which the operating system knows this thread.
fn os_thread_id() -> u64 {
    #[cfg(target_os = "linux")]
    {
        rustix::thread::gettid().as_raw_nonzero().get() as u64
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}
