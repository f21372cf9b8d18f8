//! What is said of a trace when it begins.

use std::sync::Arc;

use super::passed::Passed;
use crate::{
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        id::{SpanId, TraceId},
        names::Name,
    },
    sampling::Threshold,
};

/// How a trace begins, beyond its name.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    pub(crate) id: Option<(TraceId, bool)>,
    pub(crate) foreign: Option<String>,
    pub(crate) remote_parent: Option<SpanId>,
    pub(crate) caller: Option<(bool, Option<Threshold>)>,
    pub(crate) graph: Option<String>,
    pub(crate) attributes: AttributeBuffer,
    pub(super) passed: Option<Arc<Passed>>,
    /// When it began, if that was before now.
    pub(super) tick: Option<u64>,
}

impl TraceOptions {
    /// What most traces begin with: nothing to make, nothing to drop.
    pub(crate) const NONE: &'static Self = &Self {
        id: None,
        foreign: None,
        remote_parent: None,
        caller: None,
        graph: None,
        attributes: AttributeBuffer::EMPTY,
        passed: None,
        tick: None,
    };

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

    /// What the caller in another process decided: the flag `sampled` of its `traceparent`, and the
    /// threshold that its `tracestate` gives ([`Threshold::from_tracestate`]). It counts more than
    /// our own rates unless `parent_based_sampling` is off; without a threshold the trace stands
    /// for itself alone.
    #[must_use]
    pub fn remote_sampled(mut self, sampled: bool, threshold: Option<Threshold>) -> Self {
        self.caller = Some((sampled, threshold));
        self
    }

    /// The graph that runs: attribute `graph_id`, and what `graph_sampling_rates` look at; without
    /// it they look at the name of the trace.
    #[must_use]
    pub fn graph(mut self, id: impl Into<String>) -> Self {
        self.graph = Some(id.into());
        self
    }

    /// Sets an attribute with which the trace begins: it is there while the trace runs, and if its
    /// process dies.
    #[must_use]
    pub fn attribute<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        self.attributes.push(key, value);
        self
    }
}
