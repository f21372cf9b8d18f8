//! What a run was called with from another process, and hands on to those that it calls.

use std::sync::Arc;

use super::{
    engine::Engine,
    local::{self, Local},
    options::TraceOptions,
    run::Run,
    state::RunState,
};
use crate::{
    record::{
        id::{root_span_id, SpanId, TraceId},
        layout::RecordKind,
    },
    sampling::Threshold,
};

/// What came with a call from another process.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The trace that goes on, and the caller's span.
    pub(crate) parent: Option<(TraceId, SpanId)>,
    /// As they came.
    pub(crate) flags: u8,
    /// What others say of the trace.
    pub(crate) tracestate: String,
    /// Names and values of the application.
    pub(crate) baggage: String,
}

impl Passed {
    /// What the caller decided about sampling.
    pub(super) fn decision(&self) -> Option<(bool, Option<Threshold>)> {
        self.parent.map(|_| {
            let sampled = self.flags & 1 != 0;
            (sampled, Threshold::from_tracestate(&self.tracestate))
        })
    }
}

/// What those are told whom a run calls.
pub(crate) struct PassedOn {
    pub(crate) trace: TraceId,
    /// The span that calls, or the one that stands for the whole trace.
    pub(crate) span: SpanId,
    pub(crate) sampled: bool,
    /// By which the trace was sampled, where that is known.
    pub(crate) threshold: Option<Threshold>,
    /// What the run itself was called with.
    pub(crate) passed: Option<Arc<Passed>>,
}

impl TraceOptions {
    /// What came with a call from another process. An id and a parent that are given beside it
    /// count more.
    #[must_use]
    pub(crate) fn passed(mut self, passed: Arc<Passed>) -> Self {
        self.passed = Some(passed);
        self
    }

    /// A trace that began at `tick`.
    pub(super) fn begun(tick: u64, passed: Option<Arc<Passed>>) -> Self {
        Self {
            tick: Some(tick),
            passed,
            ..Self::default()
        }
    }

    /// What came with the call.
    pub(super) fn what_passed(&self) -> Option<Arc<Passed>> {
        self.passed.clone()
    }

    /// What came with the call, where the configuration says that it counts.
    pub(super) fn called_with(&self, engine: &Engine) -> Option<&Arc<Passed>> {
        self.passed.as_ref().filter(|_| engine.switches.propagate)
    }
}

impl Run {
    /// The innermost span of this run that is open on this thread.
    #[inline]
    pub(crate) fn open_span(&self) -> Option<SpanId> {
        let state = self.state()?;
        let span = |local: &mut Local| state.span_in(local);
        local::with(&state.engine, RecordKind::Span, span).and_then(SpanId::new)
    }

    /// What those whom this run calls are told, also if it is not sampled: `None` where nothing may
    /// be told.
    pub(crate) fn to_pass_on(&self) -> Option<PassedOn> {
        let state = self.held()?;
        state.engine.switches.propagate.then(|| PassedOn {
            trace: state.trace,
            span: root_span_id(state.trace, state.engine.instance),
            sampled: state.root.sampled.threshold().is_some(),
            threshold: Some(state.threshold),
            passed: state.passed.clone(),
        })
    }
}

impl RunState {
    /// The innermost span of this run that is open on the thread; 0 if there is none.
    #[inline]
    pub(super) fn span_in(&self, local: &Local) -> u64 {
        if local.current.trace == self.root.trace {
            local.current.span
        } else {
            0
        }
    }
}
