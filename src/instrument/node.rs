//! Executions of a node.

use std::{
    any::type_name,
    error::Error,
    fmt::{self, Debug, Display},
    ops::{Deref, DerefMut},
};

use super::{capture::Side, graph::Texts, run::GraphRun, ATTEMPT, NODE_AFTER};
use crate::{
    api::{ActiveSpan, ContextGuard, DetachedSpan, Run},
    record::{
        attributes::AttributeValue,
        id::SpanId,
        kinds::Status,
        names::{Name, StaticName},
        wellknown,
    },
};

static RETRY: StaticName = StaticName::new("retry attempted");

/// Says that the node `span` is tried once more.
#[cold]
fn retried<E: Display + ?Sized>(run: &Run, span: Option<SpanId>, attempt: u32, error: &E) {
    run.event(Name::of_id(wellknown::RETRY_ATTEMPTED), &RETRY)
        .in_span(span)
        .with(&ATTEMPT, attempt)
        .with(Name::of_id(wellknown::ERROR_TYPE), type_name::<E>())
        .with(
            Name::of_id(wellknown::ERROR_MESSAGE),
            error.to_string().as_str(),
        )
        .record();
}

/// An execution of a node on this thread, begun by [`GraphRun::node`]: a span of kind
/// `node_execution`, with what [`ActiveSpan`] offers besides.
#[must_use = "a node runs until it is dropped"]
pub struct ActiveNode<'r> {
    span: ActiveSpan<'r>,
    graph: &'r GraphRun,
    retries: u32,
}

impl<'r> ActiveNode<'r> {
    #[inline]
    pub(super) fn new(span: ActiveSpan<'r>, graph: &'r GraphRun) -> Self {
        Self {
            span,
            graph,
            retries: 0,
        }
    }

    /// The run that it belongs to.
    #[inline]
    pub fn graph(&self) -> &'r GraphRun {
        self.graph
    }

    /// Says after which nodes this execution runs, where that is not known before.
    pub fn after<T: AsRef<str>>(&mut self, nodes: &[T]) {
        self.span.set(&NODE_AFTER, Texts(nodes));
    }

    /// Keeps the input, as far as `capture_inputs` and `capture_sizes` want it.
    #[inline]
    pub fn input<T: Debug + ?Sized>(&mut self, value: &T) {
        self.keep(Side::Input, value);
    }

    /// Keeps the output, as far as `capture_outputs` and `capture_sizes` want it.
    #[inline]
    pub fn output<T: Debug + ?Sized>(&mut self, value: &T) {
        self.keep(Side::Output, value);
    }

    #[inline]
    fn keep<T: Debug + ?Sized>(&mut self, side: Side, value: &T) {
        let capture = self.graph.run().capture();
        if capture.wants(side) && self.span.is_recording() {
            capture.write(side, value, &mut self.span);
        }
    }

    /// It failed and is tried again: an event `retry.attempted`, and one more in `retry_count`. The
    /// execution goes on.
    pub fn retry<E: Display + ?Sized>(&mut self, error: &E) {
        if !self.span.is_recording() {
            return;
        }
        self.retries += 1;
        retried(self.graph.run(), self.span.id(), self.retries, error);
        let key = Name::of_id(wellknown::RETRY_COUNT);
        self.span.set(key, self.retries);
    }

    /// Lets it go on on any thread.
    pub fn detach(self) -> DetachedNode {
        DetachedNode {
            span: self.span.detach(self.graph.run()),
            retries: self.retries,
        }
    }

    /// Ends it: it succeeded.
    #[inline]
    pub fn ok(self) {
        self.span.ok();
    }

    /// Ends it: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(self, error: &E) {
        self.span.fail(error);
    }

    /// Ends it: it failed, for a reason that is no [`Error`].
    pub fn fail_with(self, error_type: &str, message: &str) {
        self.span.fail_with(error_type, message);
    }

    /// Ends it as `result` went.
    #[inline]
    pub fn end_with<T, E: Display + 'static>(self, result: &Result<T, E>) {
        self.span.end_with(result);
    }

    /// Ends it as `status`.
    #[inline]
    pub fn end(self, status: Status) {
        self.span.end(status);
    }
}

impl<'r> Deref for ActiveNode<'r> {
    type Target = ActiveSpan<'r>;

    #[inline]
    fn deref(&self) -> &ActiveSpan<'r> {
        &self.span
    }
}

impl<'r> DerefMut for ActiveNode<'r> {
    #[inline]
    fn deref_mut(&mut self) -> &mut ActiveSpan<'r> {
        &mut self.span
    }
}

impl Debug for ActiveNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveNode")
            .field("id", &self.span.id())
            .finish_non_exhaustive()
    }
}

/// An execution of a node that may end on any thread, begun by [`GraphRun::start_node`].
#[derive(Debug)]
#[must_use = "a node runs until it is dropped"]
pub struct DetachedNode {
    span: DetachedSpan,
    retries: u32,
}

impl DetachedNode {
    /// A node of a span that is not a graph's.
    #[cfg(feature = "macros")]
    pub(super) fn of(span: DetachedSpan) -> Self {
        Self { span, retries: 0 }
    }

    /// The span's id; `None` when nothing is recorded.
    #[inline]
    pub fn id(&self) -> Option<SpanId> {
        self.span.id()
    }

    /// The trace that it belongs to.
    #[inline]
    pub fn run(&self) -> &Run {
        self.span.run()
    }

    /// Makes spans that begin on this thread its children until the guard is dropped.
    #[inline]
    pub fn enter(&self) -> ContextGuard<'_> {
        self.span.enter()
    }

    /// Sets an attribute.
    #[inline]
    pub fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        self.span.set(key, value);
    }

    /// As [`ActiveNode::after`].
    pub fn after<T: AsRef<str>>(&mut self, nodes: &[T]) {
        self.span.set(&NODE_AFTER, Texts(nodes));
    }

    /// As [`ActiveNode::input`].
    #[inline]
    pub fn input<T: Debug + ?Sized>(&mut self, value: &T) {
        self.keep(Side::Input, value);
    }

    /// As [`ActiveNode::output`].
    #[inline]
    pub fn output<T: Debug + ?Sized>(&mut self, value: &T) {
        self.keep(Side::Output, value);
    }

    #[inline]
    fn keep<T: Debug + ?Sized>(&mut self, side: Side, value: &T) {
        let capture = self.span.run().capture();
        if capture.wants(side) {
            capture.write(side, value, &mut self.span);
        }
    }

    /// As [`ActiveNode::retry`].
    pub fn retry<E: Display + ?Sized>(&mut self, error: &E) {
        if self.span.id().is_none() {
            return;
        }
        self.retries += 1;
        retried(self.span.run(), self.span.id(), self.retries, error);
        let key = Name::of_id(wellknown::RETRY_COUNT);
        self.span.set(key, self.retries);
    }

    /// Notes that a future was suspended inside.
    pub(super) fn mark_suspended(&mut self) {
        self.span.mark_suspended();
    }

    /// Ends it: it succeeded.
    pub fn ok(self) {
        self.span.ok();
    }

    /// Ends it: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(self, error: &E) {
        self.span.fail(error);
    }

    /// Ends it as `result` went.
    pub fn end_with<T, E: Display + 'static>(self, result: &Result<T, E>) {
        self.span.end_with(result);
    }

    /// Ends it as `status`.
    pub fn end(self, status: Status) {
        self.span.end(status);
    }
}
