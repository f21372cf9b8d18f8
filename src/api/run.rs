//! A run of a graph: the live handle of a trace.

use std::{
    error::Error,
    fmt,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use super::{
    engine::{Capture, Engine},
    event::{EventBuilder, MetricBuilder, Place},
    failure,
    held::Held,
    local::{self, Current, Local},
    options::TraceOptions,
    passed::Passed,
    scope::{self, show_trace, ContextGuard, Parent},
    span::ActiveSpan,
    state::{RunState, Sampled},
    steps::Steps,
    write::{self, TraceBegin},
};
use crate::{
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        id::{SpanId, TraceId},
        kinds::{SpanKind, Status},
        layout::{flag, RecordKind, KEY_NAME},
        names::Name,
    },
    sampling::{Asked, Threshold},
};

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
    pub(super) state: Held<Arc<RunState>>,
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
            let (sampled, threshold) = engine.sampling.decide(&Asked {
                trace,
                graph: options.graph.as_deref(),
                name,
                caller: options
                    .caller
                    .or_else(|| passed.and_then(|passed| passed.decision())),
            });
            let mut flags = if foreign { flag::FOREIGN_ID } else { 0 };
            if remote_parent.is_some() {
                flags |= flag::REMOTE_PARENT;
            }
            let mut begin = TraceBegin {
                trace,
                name: name.id(),
                tick: 0,
                remote_parent: remote_parent.map_or(0, SpanId::get),
                threshold: threshold.bits(),
                flags,
                held: false,
                shown: None,
            };
            let sampled = match sampled {
                true => Sampled::yes(threshold),
                false if engine.sampling.outcome().is_some() => Sampled::HELD,
                false => return Self::pooled(engine, local, begin, Sampled::NO, passed.cloned()),
            };
            if let Some(passed) = passed {
                engine.carries(trace.as_u128() as u64, passed);
            }
            begin.held = sampled == Sampled::HELD;
            let mut attributes = None;
            let texts = [
                name.inline_text(),
                options.foreign.as_deref(),
                options.graph.as_deref(),
            ];
            if texts.iter().any(Option::is_some) {
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
                if let Some(graph) = &options.graph {
                    let key = Name::of_id(crate::record::wellknown::GRAPH_ID);
                    buffer.push_named(key, graph.as_str());
                }
                attributes = Some(buffer);
            }
            if options.attributes.count() > 0 {
                let buffer = attributes.get_or_insert_with(|| local.buffer());
                buffer.extend(&options.attributes);
            }
            begin.tick = options.tick.unwrap_or_else(|| engine.tick());
            write::trace_start(local, begin, attributes);
            if begin.held {
                begin.shown = show_trace(local, &begin);
            }
            Self::pooled(engine, local, begin, sampled, passed.cloned())
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
        sampled: Sampled,
        passed: Option<Arc<Passed>>,
    ) -> Arc<RunState> {
        for pooled in &mut local.runs {
            // Alone in holding it: every handle of its last run is gone.
            if let Some(state) = Arc::get_mut(pooled) {
                state.trace = begin.trace;
                state.root = Current::within(begin.trace, 0, sampled);
                state.name = begin.name;
                state.start = begin.tick;
                state.flags = begin.flags;
                state.shown = begin.shown;
                state.threshold = Threshold::from_bits(begin.threshold);
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
            gate: engine.gate.word(),
            trace: begin.trace,
            root: Current::within(begin.trace, 0, sampled),
            name: begin.name,
            start: begin.tick,
            flags: begin.flags,
            shown: begin.shown,
            threshold: Threshold::from_bits(begin.threshold),
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

    /// The trace id, also of a run that is not sampled, so that what it calls can know; `None`
    /// when recording is off.
    #[inline]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.held().map(|state| state.trace)
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.state().is_some()
    }

    /// Whether it is sampled, as whom it calls is to be told: a run that is held until it ends is
    /// recorded, and not sampled.
    #[inline]
    pub fn is_sampled(&self) -> bool {
        self.held()
            .is_some_and(|state| state.root.sampled.threshold().is_some())
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
        match self.held() {
            Some(state) if state.root.sampled == Sampled::NO => ActiveSpan::unsampled(state),
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
            write::link(local, state.is_held(), from, to, state.engine.tick(), None);
        });
    }

    /// Makes spans of this run on this thread children of `span` until the guard is dropped; used
    /// where work of one run continues on another thread.
    #[inline]
    pub fn enter(&self, span: Option<SpanId>) -> ContextGuard<'_> {
        let state = self.held().filter(|state| state.is_noticed());
        let previous = state.and_then(|state| {
            local::with(&state.engine, RecordKind::Span, |local| {
                let current = state.current(span.map_or(0, SpanId::get));
                std::mem::replace(&mut local.current, current)
            })
        });
        ContextGuard {
            state: Held::new(state),
            previous,
            _thread: std::marker::PhantomData,
        }
    }

    /// What is kept of inputs and outputs.
    #[inline]
    pub(crate) fn capture(&self) -> Capture {
        self.state()
            .map_or(Capture::NOTHING, |state| state.engine.switches.capture)
    }

    /// Ends the run: it succeeded.
    #[inline]
    pub fn ok(self) {
        self.finish(Status::Ok);
    }

    /// Says to this thread that it is in a run that is not sampled; whether that was news to it.
    #[inline]
    pub(super) fn enter_unsampled(&self) -> bool {
        self.held().is_some_and(scope::enter_unsampled)
    }

    /// What is recorded into; `None` if nothing is.
    #[inline(always)]
    pub(super) fn state(&self) -> Option<&RunState> {
        self.held()
            .filter(|state| state.root.sampled != Sampled::NO)
    }

    /// What the handles share, sampled or not.
    #[inline(always)]
    pub(super) fn held(&self) -> Option<&RunState> {
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
        if state.gate.is_open() {
            return Some(state);
        }
        state.engine.lose_closed(kind);
        None
    }
}

impl Clone for Run {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(state) = self.held() {
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
