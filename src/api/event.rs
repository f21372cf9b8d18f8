//! Events and metrics on their way into the ring.

use std::sync::Arc;

use super::{
    engine::Engine,
    held::Held,
    local::{self, Local},
    state::RunState,
    write::{self, Measurement, Point},
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    id::{SpanId, TraceId},
    kinds::Aggregation,
    layout::{RecordKind, KEY_NAME, KEY_TYPE, KEY_UNIT, NAME_NONE},
    names::Name,
};

/// What an event or metric belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Place<'r> {
    engine: &'r Arc<Engine>,
    trace: TraceId,
    /// Low half of the trace id; 0 outside of any trace.
    low: u64,
    span: Option<u64>,
    /// Whether the trace is held until it is known how it went.
    held: bool,
}

impl<'r> Place<'r> {
    /// In a run, under the innermost span that is open on the thread.
    pub(super) fn in_run(state: &'r RunState) -> Self {
        Self {
            engine: &state.engine,
            trace: state.trace,
            low: state.root.trace,
            span: None,
            held: state.is_held(),
        }
    }

    /// Outside of any run.
    pub(crate) fn outside(engine: &'r Arc<Engine>) -> Self {
        Self {
            engine,
            trace: TraceId::NONE,
            low: 0,
            span: Some(0),
            held: false,
        }
    }

    fn span(&self, local: &Local) -> u64 {
        match self.span {
            Some(span) => span,
            None if local.current.trace == self.low => local.current.span,
            None => 0,
        }
    }
}

/// A point in time that is being put together: what events and metrics have in common.
struct Draft<'r> {
    place: Held<Place<'r>>,
    kind: RecordKind,
    /// Interned id of the name.
    name: u32,
    attributes: Option<Box<AttributeBuffer>>,
}

impl<'r> Draft<'r> {
    /// The name is not even looked at where nothing is recorded.
    #[inline]
    fn new<'n>(place: Option<Place<'r>>, kind: RecordKind, name: impl Into<Name<'n>>) -> Self {
        let mut draft = Self {
            place: Held::new(place),
            kind,
            name: NAME_NONE,
            attributes: None,
        };
        if let Some(id) = draft.named(KEY_NAME, name) {
            draft.name = id;
        }
        draft
    }

    /// The id of a name, which is spelled out under `key` if there is none; `None` where nothing
    /// is recorded.
    #[inline]
    fn named<'n>(&mut self, key: u32, name: impl Into<Name<'n>>) -> Option<u32> {
        self.place.get()?;
        let name = name.into();
        // A buffer is taken only where there is something to put into it.
        if let Some(text) = name.inline_text() {
            if let Some(buffer) = self.attributes_mut() {
                buffer.push_reserved(key, text);
            }
        }
        Some(name.id())
    }

    #[inline(always)]
    fn attributes_mut(&mut self) -> Option<&mut AttributeBuffer> {
        let place = self.place.get()?;
        Some(match &mut self.attributes {
            Some(buffer) => buffer,
            none => none.insert(local::buffer(place.engine)),
        })
    }

    #[inline(always)]
    fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        if let Some(buffer) = self.attributes_mut() {
            buffer.push(key, value);
        }
    }

    #[inline]
    fn move_to_trace(&mut self, trace: TraceId) {
        let Some(place) = self.place.get_mut().filter(|place| place.trace != trace) else {
            return;
        };
        let sampled = place.engine.sampling.keeps(trace);
        if !sampled && place.engine.sampling.outcome().is_none() {
            self.place = Held::NOTHING;
            return;
        }
        place.trace = trace;
        place.low = trace.as_u128() as u64;
        place.held = !sampled;
    }

    #[inline]
    fn move_to_span(&mut self, span: Option<SpanId>) {
        if let Some(place) = self.place.get_mut() {
            place.span = Some(span.map_or(0, SpanId::get));
        }
    }

    /// Lets `write` write the record; counts it as lost if recording was shut down.
    #[inline]
    fn write(mut self, write: impl FnOnce(&mut Local, Point, Option<Box<AttributeBuffer>>)) {
        let Some(place) = self.place.take() else {
            return;
        };
        let engine = place.engine;
        if !engine.gate.is_open() {
            return engine.lose_closed(self.kind);
        }
        local::with(engine, self.kind, |local| {
            let point = Point {
                trace: place.trace,
                span: place.span(local),
                name: self.name,
                tick: engine.tick(),
                held: place.held,
            };
            write(local, point, self.attributes);
        });
    }
}

/// An event that is being put together; [`record`](Self::record) records it.
#[must_use = "nothing is recorded until `record` is called"]
pub struct EventBuilder<'r> {
    draft: Draft<'r>,
    event_type: u32,
}

impl<'r> EventBuilder<'r> {
    #[inline]
    pub(crate) fn new<'n>(
        place: Option<Place<'r>>,
        event_type: impl Into<Name<'n>>,
        name: impl Into<Name<'n>>,
    ) -> Self {
        let place = place.filter(|place| place.engine.switches.events);
        let mut draft = Draft::new(place, RecordKind::Event, name);
        let event_type = draft.named(KEY_TYPE, event_type).unwrap_or(NAME_NONE);
        Self { draft, event_type }
    }

    /// Sets an attribute.
    #[inline(always)]
    pub fn with<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        self.draft.set(key, value);
        self
    }

    /// Puts it under this trace.
    #[inline]
    pub fn in_trace(mut self, trace: TraceId) -> Self {
        self.draft.move_to_trace(trace);
        self
    }

    /// Puts it under this span instead of the innermost open one.
    #[inline]
    pub fn in_span(mut self, span: Option<SpanId>) -> Self {
        self.draft.move_to_span(span);
        self
    }

    /// Records the event, with the time of this call.
    #[inline]
    pub fn record(self) {
        let event_type = self.event_type;
        self.draft.write(|local, point, attributes| {
            write::event(local, point, event_type, attributes);
        });
    }
}

/// A number that a metric can hold exactly.
pub trait MetricValue {
    /// The bits, and how to read them: 0 `f64`, 1 `i64`, 2 `u64`.
    fn bits(self) -> (u64, u8);
}

macro_rules! metric_values {
    ($($ty:ty => $code:literal |$value:ident| $bits:expr,)*) => {$(
        impl MetricValue for $ty {
            #[inline(always)]
            fn bits(self) -> (u64, u8) {
                let $value = self;
                ($bits, $code)
            }
        }
    )*};
}

metric_values! {
    f64 => 0 |v| v.to_bits(),
    f32 => 0 |v| f64::from(v).to_bits(),
    i64 => 1 |v| v as u64,
    i32 => 1 |v| i64::from(v) as u64,
    u64 => 2 |v| v,
    u32 => 2 |v| u64::from(v),
    usize => 2 |v| v as u64,
}

/// A measurement that is being put together; [`gauge`](Self::gauge), [`counter`](Self::counter) or
/// [`histogram`](Self::histogram) records it.
#[must_use = "nothing is recorded until a value is given"]
pub struct MetricBuilder<'r> {
    draft: Draft<'r>,
    unit: u32,
}

impl<'r> MetricBuilder<'r> {
    #[inline]
    pub(crate) fn new<'n>(place: Option<Place<'r>>, name: impl Into<Name<'n>>) -> Self {
        let place = place.filter(|place| place.engine.switches.metrics);
        Self {
            draft: Draft::new(place, RecordKind::Metric, name),
            unit: NAME_NONE,
        }
    }

    /// Sets the unit. Set twice, the first one counts.
    #[inline]
    pub fn unit<'n>(mut self, unit: impl Into<Name<'n>>) -> Self {
        if self.unit == NAME_NONE {
            self.unit = self.draft.named(KEY_UNIT, unit).unwrap_or(NAME_NONE);
        }
        self
    }

    /// Sets an attribute.
    #[inline(always)]
    pub fn with<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        self.draft.set(key, value);
        self
    }

    /// Sets attributes.
    pub(super) fn with_all(mut self, list: &AttributeBuffer) -> Self {
        if let Some(buffer) = self.draft.attributes_mut() {
            buffer.extend(list);
        }
        self
    }

    /// Puts it under this trace.
    #[inline]
    pub fn in_trace(mut self, trace: TraceId) -> Self {
        self.draft.move_to_trace(trace);
        self
    }

    /// Puts it under this span instead of the innermost open one.
    #[inline]
    pub fn in_span(mut self, span: Option<SpanId>) -> Self {
        self.draft.move_to_span(span);
        self
    }

    /// Records a value of which the last one counts.
    #[inline]
    pub fn gauge(self, value: impl MetricValue) {
        self.record(value, Aggregation::Gauge);
    }

    /// Records an amount that adds up.
    #[inline]
    pub fn counter(self, value: impl MetricValue) {
        self.record(value, Aggregation::Counter);
    }

    /// Records one value of a distribution.
    #[inline]
    pub fn histogram(self, value: impl MetricValue) {
        self.record(value, Aggregation::Histogram);
    }

    /// Records a value, with the time of this call.
    #[inline]
    pub fn record(self, value: impl MetricValue, aggregation: Aggregation) {
        let (value, value_type) = value.bits();
        let measurement = Measurement {
            unit: self.unit,
            value,
            value_type,
            aggregation,
        };
        self.draft.write(|local, point, attributes| {
            write::metric(local, point, measurement, attributes);
        });
    }
}

macro_rules! opaque_debug {
    ($($ty:ident)*) => {$(
        impl std::fmt::Debug for $ty<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($ty)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque_debug! { EventBuilder MetricBuilder }
