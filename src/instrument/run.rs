//! One run of a graph.

use std::{error::Error, fmt, future::Future, sync::PoisonError};

use super::{
    future::NodeFuture,
    graph::{Node, Observer},
    node::{ActiveNode, DetachedNode},
    EDGE_RESULT, MESSAGE_FROM, MESSAGE_TO, STATE_KEY,
};
use crate::{
    api::{ActiveSpan, ContextGuard, DetachedSpan, EventBuilder, Run},
    record::{
        id::{SpanId, TraceId},
        kinds::{SpanKind, Status},
        names::{Name, StaticName},
        wellknown,
    },
    sync::Mutex,
};

static EDGE_EVALUATED: StaticName = StaticName::new("edge evaluated");
static EDGE_TAKEN: StaticName = StaticName::new("edge taken");
static STATE_UPDATED: StaticName = StaticName::new("state updated");
static MESSAGE_SENT: StaticName = StaticName::new("message sent");
static MESSAGE_RECEIVED: StaticName = StaticName::new("message received");

/// A run of a graph, begun by [`Observer::start`].
///
/// Every call takes `&self`, so that nodes can run on many threads; put it in an `Arc` where
/// borrowing is not enough. It ends once, with the first verdict; dropped without one it is
/// [`Status::Cancelled`], during a panic [`Status::Error`].
pub struct GraphRun {
    /// Its own span; ended before the trace is.
    span: Mutex<Option<DetachedSpan>>,
    run: Run,
    /// What nodes are children of.
    parent: Option<SpanId>,
    /// Whether the trace is this run.
    whole: bool,
}

impl GraphRun {
    pub(super) fn disabled() -> Self {
        Self {
            span: Mutex::new(None),
            run: Run::disabled(),
            parent: None,
            whole: false,
        }
    }

    pub(super) fn new(run: Run, parent: Option<SpanId>, whole: bool, of: &Observer) -> Self {
        let mut span = None;
        if of.instruments_graphs() {
            let mut open = run.child_of(parent, of.name(), SpanKind::GraphRun);
            open.extend(&of.options.attributes);
            span = Some(open.detach(&run));
        }
        Self {
            parent: span.as_ref().map_or(parent, DetachedSpan::id),
            span: Mutex::new(span),
            run,
            whole,
        }
    }

    /// The trace, for spans, events and metrics of one's own.
    #[inline]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The trace id; `None` when nothing is recorded.
    #[inline]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.run.trace_id()
    }

    /// The span that nodes are children of.
    #[inline]
    pub fn span_id(&self) -> Option<SpanId> {
        self.parent
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.run.is_recording()
    }

    /// Makes spans that begin on this thread outside of any node children of this run, until the
    /// guard is dropped.
    #[inline]
    pub fn enter(&self) -> ContextGuard<'_> {
        self.run.enter(self.parent)
    }

    /// A node begins on this thread, and ends there.
    #[inline]
    pub fn node<'r>(&'r self, node: &Node) -> ActiveNode<'r> {
        let span = if node.is_observed() {
            let kind = SpanKind::NodeExecution;
            let mut span = self.run.child_of(self.parent, node.label(), kind);
            span.extend(node.list());
            span
        } else {
            ActiveSpan::disabled()
        };
        ActiveNode::new(span, self)
    }

    /// A node begins, and may end on any thread: for runtimes that call hooks. Costs a start record.
    pub fn start_node(&self, node: &Node) -> DetachedNode {
        self.node(node).detach()
    }

    /// Runs `work` as a node: its `Err` becomes the node's error, a panic too.
    ///
    /// # Errors
    /// What `work` returns.
    #[inline]
    pub fn call<T, E: fmt::Display + 'static>(
        &self,
        node: &Node,
        work: impl FnOnce(&mut ActiveNode<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut node = self.node(node);
        let result = work(&mut node);
        node.end_with(&result);
        result
    }

    /// Runs a future as a node, which begins now. Spans that begin while it is polled are its
    /// children; the time in which it was polled is kept as `busy_ns`, the rest as `idle_ns`.
    /// Dropped before it is ready, the node is cancelled.
    pub fn call_async<F, T, E>(&self, node: &Node, work: F) -> NodeFuture<F>
    where
        F: Future<Output = Result<T, E>>,
        E: fmt::Display + 'static,
    {
        NodeFuture::new(work, self.start_node(node))
    }

    /// The condition of an edge was evaluated.
    pub fn edge_evaluated(&self, from: impl AsRef<str>, to: impl AsRef<str>, result: bool) {
        let id = wellknown::EDGE_EVALUATED;
        let event = self.edge(id, &EDGE_EVALUATED, from.as_ref(), to.as_ref());
        event.with(&EDGE_RESULT, result).record();
    }

    /// An edge was followed.
    pub fn edge_taken(&self, from: impl AsRef<str>, to: impl AsRef<str>) {
        let id = wellknown::EDGE_TAKEN;
        self.edge(id, &EDGE_TAKEN, from.as_ref(), to.as_ref())
            .record();
    }

    fn edge(&self, id: u32, name: &'static StaticName, from: &str, to: &str) -> EventBuilder<'_> {
        self.run
            .event(Name::of_id(id), Name::from(name))
            .in_span(self.parent)
            .with(Name::of_id(wellknown::EDGE_FROM), from)
            .with(Name::of_id(wellknown::EDGE_TO), to)
    }

    /// State of the graph changed: an event under the node that runs on this thread, to which
    /// attributes can be added before it is recorded.
    pub fn state_updated(&self, key: &str) -> EventBuilder<'_> {
        self.event(wellknown::STATE_UPDATED, &STATE_UPDATED)
            .with(&STATE_KEY, key)
    }

    /// A message was sent.
    pub fn message_sent(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> EventBuilder<'_> {
        self.event(wellknown::MESSAGE_SENT, &MESSAGE_SENT)
            .with(&MESSAGE_FROM, from.as_ref())
            .with(&MESSAGE_TO, to.as_ref())
    }

    /// A message was received.
    pub fn message_received(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> EventBuilder<'_> {
        self.event(wellknown::MESSAGE_RECEIVED, &MESSAGE_RECEIVED)
            .with(&MESSAGE_FROM, from.as_ref())
            .with(&MESSAGE_TO, to.as_ref())
    }

    fn event(&self, id: u32, name: &'static StaticName) -> EventBuilder<'_> {
        self.run.event(Name::of_id(id), Name::from(name))
    }

    /// Ends the run: it succeeded.
    pub fn ok(&self) {
        self.end(Status::Ok);
    }

    /// Ends the run: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(&self, error: &E) {
        match self.take_span() {
            // They stand with the trace.
            Some(span) if self.whole => span.end(Status::Error),
            Some(span) => span.fail(error),
            None => {}
        }
        if self.whole {
            self.run.clone().fail(error);
        }
    }

    /// Ends the run as `result` went.
    pub fn end_with<T, E: fmt::Display + 'static>(&self, result: &Result<T, E>) {
        match (self.take_span(), result) {
            (Some(span), Err(_)) if self.whole => span.end(Status::Error),
            (Some(span), result) => span.end_with(result),
            (None, _) => {}
        }
        if self.whole {
            self.run.clone().end_with(result);
        }
    }

    /// Ends the run as `status`.
    pub fn end(&self, status: Status) {
        if let Some(span) = self.take_span() {
            span.end(status);
        }
        if self.whole {
            self.run.clone().end(status);
        }
    }

    fn take_span(&self) -> Option<DetachedSpan> {
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        span.take()
    }
}

impl fmt::Debug for GraphRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphRun")
            .field("trace_id", &self.trace_id())
            .finish_non_exhaustive()
    }
}
