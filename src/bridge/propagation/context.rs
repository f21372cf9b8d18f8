//! What travels between processes: a trace, a span in it, and what others say of it.

use std::sync::Arc;

use super::{
    baggage::Baggage,
    carrier::{Extract, Inject},
    traceparent::{self, RANDOM, SAMPLED},
    tracestate,
};
use crate::{
    api::{Passed, PassedOn, Run, TraceOptions},
    record::id::{SpanId, TraceId},
    sampling::Threshold,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// What a caller in another process sends along; also without a trace, where it sends none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    parent: Option<(TraceId, SpanId)>,
    flags: u8,
    tracestate: String,
    baggage: Baggage,
}

impl TraceContext {
    /// A context that continues in `span` of `trace`, sampled.
    pub fn new(trace: TraceId, span: SpanId) -> Self {
        Self {
            parent: (!trace.is_none()).then_some((trace, span)),
            flags: SAMPLED,
            ..Self::default()
        }
    }

    /// What those are told whom a run calls.
    pub(in crate::bridge) fn passed_on(told: PassedOn) -> Self {
        let mut context = Self::new(told.trace, told.span);
        if !told.sampled {
            context.flags &= !SAMPLED;
        }
        if let Some(passed) = told.passed {
            context.flags |= passed.flags & RANDOM;
            context.tracestate.clone_from(&passed.tracestate);
            context.baggage = Baggage::parse(std::slice::from_ref(&passed.baggage));
        }
        // A caller's own threshold goes on as it came; ours is told where it keeps less than all.
        let ours = told.threshold.filter(|ours| *ours != Threshold::ALWAYS);
        if Threshold::from_tracestate(&context.tracestate).is_none() && told.sampled {
            if let Some(entry) = ours.and_then(Threshold::tracestate) {
                context.tracestate = match context.tracestate.as_str() {
                    "" => entry,
                    rest => format!("{entry},{rest}"),
                };
            }
        }
        context
    }

    /// Reads it from a carrier.
    pub fn extract(carrier: &(impl Extract + ?Sized)) -> Self {
        let all = |name| {
            let mut values = Vec::new();
            carrier.extract(name, &mut |value| values.push(value.to_owned()));
            values
        };
        // Two parents are one too many to believe any (section 3.2 of the recommendation).
        let parent = match all(TRACEPARENT).as_slice() {
            [one] => traceparent::parse(one),
            _ => None,
        };
        let baggage = Baggage::parse(&all(BAGGAGE));
        let Some((trace, span, flags)) = parent else {
            return Self {
                baggage,
                ..Self::default()
            };
        };
        Self {
            parent: Some((trace, span)),
            flags,
            tracestate: tracestate::parse(&all(TRACESTATE)).unwrap_or_default(),
            baggage,
        }
    }

    /// Reads it with a closure that looks a name up (in lower case).
    ///
    /// ```
    /// use emberlog::propagation::TraceContext;
    /// let context = TraceContext::extract_with(|name| {
    ///     (name == "traceparent")
    ///         .then_some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    /// });
    /// assert!(context.is_sampled());
    /// ```
    pub fn extract_with<'c>(get: impl Fn(&str) -> Option<&'c str>) -> Self {
        struct Lookup<F>(F);
        impl<'c, F: Fn(&str) -> Option<&'c str>> Extract for Lookup<F> {
            fn extract(&self, name: &str, found: &mut dyn FnMut(&str)) {
                if let Some(value) = (self.0)(name) {
                    found(value);
                }
            }
        }
        Self::extract(&Lookup(get))
    }

    /// Writes it to a carrier: nothing where there is nothing to send.
    pub fn inject(&self, carrier: &mut (impl Inject + ?Sized)) {
        if let Some((trace, span)) = self.parent {
            carrier.inject(TRACEPARENT, traceparent::format(trace, span, self.flags));
            if !self.tracestate.is_empty() {
                carrier.inject(TRACESTATE, self.tracestate.clone());
            }
        }
        if !self.baggage.is_empty() {
            carrier.inject(BAGGAGE, self.baggage.format());
        }
    }

    /// The trace that goes on.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.parent.map(|(trace, _)| trace)
    }

    /// The caller's span.
    pub fn span_id(&self) -> Option<SpanId> {
        self.parent.map(|(_, span)| span)
    }

    /// Whether the caller may have recorded it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What others say of the trace, a list as in the header; empty if nothing.
    pub fn tracestate(&self) -> &str {
        &self.tracestate
    }

    /// Names and values of the application.
    pub fn baggage(&self) -> &Baggage {
        &self.baggage
    }

    /// Names and values of the application, to be changed.
    pub fn baggage_mut(&mut self) -> &mut Baggage {
        &mut self.baggage
    }

    /// How a trace begins that goes on from here; without a trace here, one with a fresh id.
    pub fn options(&self) -> TraceOptions {
        let passed = Passed {
            parent: self.parent,
            flags: self.flags,
            tracestate: self.tracestate.clone(),
            baggage: self.baggage.format(),
        };
        let options = TraceOptions::new();
        match *self == Self::default() {
            true => options,
            false => options.passed(Arc::new(passed)),
        }
    }
}

impl Run {
    /// What a process that this run calls continues from: the innermost span of this run that is
    /// open on this thread, with the state and the baggage that the run itself was called with.
    ///
    /// Without a trace where nothing is recorded, and nothing at all where
    /// [`propagate_context`](crate::Config) is off.
    pub fn context(&self) -> TraceContext {
        self.context_of(self.open_span())
    }

    /// [`context`](Self::context) of a given span; `None` is the trace itself.
    pub fn context_of(&self, span: Option<SpanId>) -> TraceContext {
        let Some(mut told) = self.to_pass_on() else {
            return TraceContext::default();
        };
        told.span = span.unwrap_or(told.span);
        TraceContext::passed_on(told)
    }
}
