//! A run of a graph: the live handle of a trace.

use std::{
    error::Error,
    fmt,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

use super::{
    engine::Engine,
    event::{EventBuilder, MetricBuilder, Place},
    failure,
    held::Held,
    local::{self, Current, Local},
    passed::Passed,
    scope::{no_verdict, Parent},
    span::ActiveSpan,
    steps::Steps,
    write::{self, TraceBegin, TraceFinish},
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    id::{SpanId, TraceId},
    kinds::{SpanKind, Status},
    layout::{flag, RecordKind, KEY_NAME},
    names::Name,
};

/// What the handles of one run share. Threads keep a few for their next runs, so that starting a
/// run allocates nothing in steady state.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(super) engine: Arc<Engine>,
    pub(super) trace: TraceId,
    /// Low half of the trace id, which tells runs of this process apart.
    pub(super) low: u64,
    name: u32,
    start: u64,
    flags: u16,
    /// Handles that users hold. The last one to go ends the run.
    handles: AtomicU32,
    /// 0 while the run is open.
    pub(super) ended: AtomicU64,
    attributes: Mutex<Option<Box<AttributeBuffer>>>,
    /// What came with the call that it serves.
    pub(super) passed: Option<Arc<Passed>>,
}

/// Runs that a thread keeps for reuse.
pub(super) const POOLED_RUNS: usize = 8;

/// A run of a graph, workflow or request: the live handle of a trace.
///
/// Handles can be cloned and sent to other threads; the run ends when one of them says how it went,
/// or as [`Status::Cancelled`] when the last one is dropped without a verdict (as
/// [`Status::Error`] during a panic).
///
/// ```
/// # use emberlog::{Config, Manager};
/// # let dir = tempfile::tempdir()?;
/// let manager = Manager::open(Config::new(dir.path()))?;
/// let run = manager.start_trace("index_file");
/// run.set("graph_id", "indexer");
/// let mut span = run.node("read");
/// span.set("bytes", 4096);
/// span.ok();
/// run.ok();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Run {
    state: Held<Arc<RunState>>,
}

/// How a trace begins, beyond its name.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    pub(crate) id: Option<(TraceId, bool)>,
    pub(crate) foreign: Option<String>,
    pub(crate) remote_parent: Option<SpanId>,
    pub(super) passed: Option<Arc<Passed>>,
    /// When it began, if that was before now.
    pub(super) tick: Option<u64>,
}

impl TraceOptions {
    /// A fresh id and no parent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes this id.
    #[must_use]
    pub fn id(mut self, id: TraceId) -> Self {
        self.id = Some((id, false));
        self
    }

    /// Takes the id that `text` stands for: 32 hex digits or a dashed UUID literally, anything
    /// else by hash ([`TraceId::from_text`]), kept as attribute `emberlog.trace_id`.
    #[must_use]
    pub fn id_text(mut self, text: &str) -> Self {
        let (id, foreign) = TraceId::from_text(text);
        self.id = Some((id, foreign));
        self.foreign = foreign.then(|| text.to_owned());
        self
    }

    /// The span of the caller in another process.
    #[must_use]
    pub fn remote_parent(mut self, span: SpanId) -> Self {
        self.remote_parent = Some(span);
        self
    }
}

impl Run {
    /// A handle that records nothing.
    pub const fn disabled() -> Self {
        Self {
            state: Held::NOTHING,
        }
    }

    pub(crate) fn start(engine: &Arc<Engine>, name: Name<'_>, options: &TraceOptions) -> Self {
        if !engine.switches.traces {
            return Self::disabled();
        }
        if !engine.gate.is_open() {
            engine.lose_closed(RecordKind::TraceStart);
            return Self::disabled();
        }
        let state = local::with(engine, RecordKind::TraceStart, |local| {
            let passed = options.called_with(engine);
            let caller = passed.and_then(|passed| passed.parent);
            let (trace, foreign) = options
                .id
                .or(caller.map(|(trace, _)| (trace, false)))
                .unwrap_or_else(|| (local.trace_id(), false));
            let remote_parent = options.remote_parent.or(caller.map(|(_, span)| span));
            let flags = if foreign { flag::FOREIGN_ID } else { 0 };
            let mut attributes = None;
            if name.inline_text().is_some() || options.foreign.is_some() {
                let mut buffer = local.buffer();
                if let Some(text) = name.inline_text() {
                    buffer.push_reserved(KEY_NAME, text);
                }
                if let Some(text) = &options.foreign {
                    buffer.push_named(
                        Name::of_id(crate::record::wellknown::FOREIGN_TRACE_ID),
                        text.as_str(),
                    );
                }
                attributes = Some(buffer);
            }
            let begin = TraceBegin {
                trace,
                name: name.id(),
                tick: options.tick.unwrap_or_else(|| engine.tick()),
                remote_parent: remote_parent.map_or(0, SpanId::get),
                threshold: 0,
                flags: flags
                    | if remote_parent.is_some() {
                        flag::REMOTE_PARENT
                    } else {
                        0
                    },
            };
            write::trace_start(local, begin, attributes);
            if let Some(passed) = passed {
                engine.carries(begin.trace.as_u128() as u64, passed);
            }
            Self::pooled(engine, local, begin, passed.cloned())
        });
        Self::of_state(state)
    }

    pub(super) fn of_state(state: Option<Arc<RunState>>) -> Self {
        Self {
            state: Held::new(state),
        }
    }

    /// A state from the thread's pool, or a new one.
    pub(super) fn pooled(
        engine: &Arc<Engine>,
        local: &mut Local,
        begin: TraceBegin,
        passed: Option<Arc<Passed>>,
    ) -> Arc<RunState> {
        for pooled in &mut local.runs {
            // Alone in holding it: every handle of its last run is gone.
            if let Some(state) = Arc::get_mut(pooled) {
                state.trace = begin.trace;
                state.low = begin.trace.as_u128() as u64;
                state.name = begin.name;
                state.start = begin.tick;
                state.flags = begin.flags;
                state.passed = passed;
                *state.handles.get_mut() = 1;
                *state.ended.get_mut() = 0;
                // What was set behind its end.
                *state
                    .attributes
                    .get_mut()
                    .unwrap_or_else(PoisonError::into_inner) = None;
                return Arc::clone(pooled);
            }
        }
        let state = Arc::new(RunState {
            engine: Arc::clone(engine),
            trace: begin.trace,
            low: begin.trace.as_u128() as u64,
            name: begin.name,
            start: begin.tick,
            flags: begin.flags,
            handles: AtomicU32::new(1),
            ended: AtomicU64::new(0),
            attributes: Mutex::new(None),
            passed,
        });
        if local.runs.len() < POOLED_RUNS {
            local.runs.push(Arc::clone(&state));
        }
        state
    }

    /// The trace id; `None` when nothing is recorded.
    #[inline]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.state().map(|state| state.trace)
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.state.get().is_some()
    }

    /// Sets an attribute of the trace. It is written when the run ends; set later, it is ignored.
    #[inline]
    pub fn set<'n>(&self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        if let Some(state) = self.state() {
            state.describe(|buffer| buffer.push(key, value));
        }
    }

    /// Begins a span of kind [`SpanKind::Internal`]. Its parent is the innermost span of this run
    /// that is open on this thread.
    #[inline]
    pub fn span<'n>(&self, name: impl Into<Name<'n>>) -> ActiveSpan<'_> {
        self.begin(name, SpanKind::Internal, Parent::Scope)
    }

    /// Begins the execution of a node, kind [`SpanKind::NodeExecution`]; readers derive the node's
    /// events and metrics from it.
    #[inline]
    pub fn node<'n>(&self, name: impl Into<Name<'n>>) -> ActiveSpan<'_> {
        self.begin(name, SpanKind::NodeExecution, Parent::Scope)
    }

    /// Begins a span of any kind under a given parent; `None` puts it under the trace itself.
    #[inline]
    pub fn child_of<'n>(
        &self,
        parent: Option<SpanId>,
        name: impl Into<Name<'n>>,
        kind: SpanKind,
    ) -> ActiveSpan<'_> {
        let parent = Parent::Given(parent.map_or(0, SpanId::get));
        self.begin(name, kind, parent)
    }

    #[inline]
    fn begin<'n>(
        &self,
        name: impl Into<Name<'n>>,
        kind: SpanKind,
        parent: Parent,
    ) -> ActiveSpan<'_> {
        match self.state() {
            // Inside, so that a disabled run does not even look at the name.
            Some(state) => ActiveSpan::begin(state, name.into(), kind, parent),
            None => ActiveSpan::disabled(),
        }
    }

    /// Runs `work` as a node: its `Err` becomes the span's error, a panic too.
    ///
    /// # Errors
    /// What `work` returns.
    #[inline]
    pub fn in_node<'n, T, E: fmt::Display + 'static>(
        &self,
        name: impl Into<Name<'n>>,
        work: impl FnOnce(&mut ActiveSpan<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut span = self.node(name);
        let result = work(&mut span);
        span.end_with(&result);
        result
    }

    /// Runs `work` as a span: its `Err` becomes the span's error, a panic too.
    ///
    /// # Errors
    /// What `work` returns.
    #[inline]
    pub fn in_span<'n, T, E: fmt::Display + 'static>(
        &self,
        name: impl Into<Name<'n>>,
        work: impl FnOnce(&mut ActiveSpan<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut span = self.span(name);
        let result = work(&mut span);
        span.end_with(&result);
        result
    }

    /// Nodes that follow one another: one clock reading ends a node and begins the next.
    #[inline]
    pub fn steps(&self) -> Steps {
        Steps::new(self.clone())
    }

    /// An event of this run, under the innermost span that is open on this thread.
    #[inline]
    pub fn event<'n>(
        &self,
        event_type: impl Into<Name<'n>>,
        name: impl Into<Name<'n>>,
    ) -> EventBuilder<'_> {
        EventBuilder::new(self.state().map(Place::in_run), event_type, name)
    }

    /// A measurement of this run.
    #[inline]
    pub fn metric<'n>(&self, name: impl Into<Name<'n>>) -> MetricBuilder<'_> {
        MetricBuilder::new(self.state().map(Place::in_run), name)
    }

    /// Says that this run follows from a span of another trace.
    #[inline]
    pub fn link(&self, trace: TraceId, span: Option<SpanId>) {
        self.link_from(None, trace, span);
    }

    /// Says that a span of this run follows from a span of any trace.
    #[inline]
    pub fn link_from(&self, from: Option<SpanId>, trace: TraceId, span: Option<SpanId>) {
        let Some(state) = self.open_state(RecordKind::Link) else {
            return;
        };
        local::with(&state.engine, RecordKind::Link, |local| {
            let from = (state.trace, from.map_or(0, SpanId::get));
            let to = (trace, span.map_or(0, SpanId::get));
            write::link(local, from, to, state.engine.tick(), None);
        });
    }

    /// Makes spans of this run on this thread children of `span` until the guard is dropped; used
    /// where work of one run continues on another thread.
    #[inline]
    pub fn enter(&self, span: Option<SpanId>) -> ContextGuard<'_> {
        let previous = self.state().and_then(|state| {
            local::with(&state.engine, RecordKind::Span, |local| {
                let current = state.current(span.map_or(0, SpanId::get));
                std::mem::replace(&mut local.current, current)
            })
        });
        ContextGuard {
            state: Held::new(self.state()),
            previous,
            _thread: std::marker::PhantomData,
        }
    }

    /// Ends the run: it succeeded.
    #[inline]
    pub fn ok(self) {
        self.finish(Status::Ok);
    }

    #[inline(always)]
    pub(super) fn state(&self) -> Option<&RunState> {
        self.state.get().map(|state| &**state)
    }

    /// Ends the run: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(self, error: &E) {
        self.failed(|buffer| failure::write_typed(buffer, error));
    }

    /// Ends the run as `result` went.
    pub fn end_with<T, E: fmt::Display + 'static>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.finish(Status::Ok),
            Err(error) => self.failed(|buffer| failure::write_any(buffer, error)),
        }
    }

    #[inline]
    fn failed(&self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if let Some(state) = self.state() {
            if state.engine.switches.errors {
                state.describe(describe);
            }
            state.end(Status::Error);
        }
    }

    /// Ends the run as `status`. Later verdicts of other handles change nothing.
    #[inline]
    pub fn end(self, status: Status) {
        self.finish(status);
    }

    #[inline]
    pub(super) fn finish(&self, status: Status) {
        if let Some(state) = self.state() {
            state.end(status);
        }
    }

    #[inline]
    fn open_state(&self, kind: RecordKind) -> Option<&RunState> {
        let state = self.state()?;
        if state.engine.gate.is_open() {
            return Some(state);
        }
        state.engine.lose_closed(kind);
        None
    }
}

impl RunState {
    fn attributes(&self) -> MutexGuard<'_, Option<Box<AttributeBuffer>>> {
        self.attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds attributes to the trace, if they will be written. `write` runs user code, which may
    /// come back here, so it does not run while the lock is held. A forked child must not wait for
    /// the lock, which a thread that it lacks may hold.
    pub(super) fn describe(&self, write: impl FnOnce(&mut AttributeBuffer)) {
        if !self.engine.gate.is_open() {
            return;
        }
        let mut added = local::buffer(&self.engine);
        write(&mut added);
        let mut attributes = self.attributes();
        match &mut *attributes {
            Some(attributes) => attributes.extend(&added),
            none => {
                *none = Some(added);
                return;
            }
        }
        drop(attributes);
        local::recycle(&self.engine, added);
    }

    /// A handle goes away.
    fn release(&self) {
        // AcqRel: the last handle sees everything that the others did, as in `Arc`.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Relaxed: no other handle is left.
            if self.ended.load(Ordering::Relaxed) == 0 {
                self.end(no_verdict());
            }
        }
    }

    fn end(&self, status: Status) {
        // AcqRel: one handle wins; it sees what the others set before they let go.
        if self.ended.swap(1, Ordering::AcqRel) != 0 {
            return;
        }
        if !self.engine.gate.is_open() {
            return self.engine.lose_closed(RecordKind::TraceEnd);
        }
        if let Some(passed) = &self.passed {
            self.engine.no_longer_carries(self.low, passed);
        }
        let attributes = self.attributes().take();
        local::with(&self.engine, RecordKind::TraceEnd, |local| {
            let mut attributes = attributes;
            let mut name = self.name;
            if name == crate::record::layout::NAME_INLINE {
                // The text stands in the start record.
                name = crate::record::layout::NAME_NONE;
            }
            let error = status == Status::Error
                && attributes.as_ref().is_some_and(|a| !a.words().is_empty());
            let end = TraceFinish {
                trace: self.trace,
                name,
                start: self.start,
                end: self.engine.tick(),
                status,
                flags: self.flags | if error { flag::ERROR } else { 0 },
            };
            write::trace_end(local, end, attributes.take());
        });
    }
}

impl Clone for Run {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(state) = self.state() {
            // Relaxed: a new handle comes from one that is still held, as in `Arc`.
            state.handles.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            state: self.state.clone(),
        }
    }
}

impl Drop for Run {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.state() {
            state.release();
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("trace_id", &self.trace_id())
            .finish()
    }
}

/// Restores the thread's open span when dropped; made by [`Run::enter`].
#[derive(Debug)]
#[must_use = "dropping it leaves the context at once"]
pub struct ContextGuard<'r> {
    state: Held<&'r RunState>,
    previous: Option<Current>,
    // The context belongs to this thread.
    _thread: std::marker::PhantomData<*const ()>,
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
