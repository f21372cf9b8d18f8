//! Records of what was seen elsewhere: with ids, times and verdicts of their own.
//!
//! Times are Unix nanoseconds; a record holds ticks, so what a reader sees differs by as much as
//! the two clocks drifted apart since the log's last anchor (microseconds).

use std::sync::Arc;

use super::{
    driven::Position,
    engine::Engine,
    event::MetricValue,
    local,
    write::{self, Measurement, Point, SpanEnd, TraceBegin, TraceFinish},
};
use crate::{
    clock::Anchor,
    record::{
        attributes::AttributeBuffer,
        id::{SpanId, TraceId},
        kinds::{Aggregation, SpanKind, Status},
        layout::{flag, RecordKind, KEY_NAME, KEY_TYPE, KEY_UNIT, NAME_INLINE, NAME_NONE},
        names::Name,
    },
};

/// Writes records of what was seen elsewhere.
pub(crate) struct Teller<'e> {
    engine: &'e Arc<Engine>,
    anchor: Anchor,
}

/// A span or a trace that has ended.
pub(crate) struct Told<'t> {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// Whether the parent is in another process.
    pub(crate) remote: bool,
    pub(crate) name: Name<'t>,
    pub(crate) kind: SpanKind,
    pub(crate) status: Status,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
}

impl Told<'_> {
    fn flags(&self) -> u16 {
        let remote = if self.remote { flag::REMOTE_PARENT } else { 0 };
        let failed = self.status == Status::Error;
        remote | if failed { flag::ERROR } else { 0 }
    }
}

type List = Box<AttributeBuffer>;

impl<'e> Teller<'e> {
    /// `None` where nothing is recorded any more.
    pub(crate) fn new(engine: &'e Arc<Engine>) -> Option<Self> {
        engine.gate.is_open().then(|| Self {
            engine,
            anchor: engine.anchor(),
        })
    }

    /// An empty list of attributes.
    pub(crate) fn list(&self) -> List {
        local::buffer(self.engine)
    }

    /// Writes a span.
    pub(crate) fn span(&self, told: &Told<'_>, mut attributes: List) {
        if !self.engine.switches.traces {
            return local::recycle(self.engine, attributes);
        }
        spell(&mut attributes, KEY_NAME, told.name);
        let end = SpanEnd {
            trace: told.trace,
            name: told.name.id(),
            id: told.span.get(),
            parent: told.parent.map_or(0, SpanId::get),
            start: self.anchor.tick_at(told.start_ns),
            end: self.anchor.tick_at(told.end_ns),
            kind: told.kind,
            status: told.status,
            flags: told.flags(),
            held: false,
        };
        local::with(self.engine, RecordKind::Span, |local| {
            write::span(local, end, Some(attributes));
        });
    }

    /// Writes beginning and end of the trace of which `told` is the root here.
    pub(crate) fn trace(&self, told: &Told<'_>, mut attributes: List) {
        if !self.engine.switches.traces {
            return local::recycle(self.engine, attributes);
        }
        spell(&mut attributes, KEY_NAME, told.name);
        let flags = told.flags();
        let begin = TraceBegin {
            trace: told.trace,
            name: told.name.id(),
            tick: self.anchor.tick_at(told.start_ns),
            remote_parent: told.parent.filter(|_| told.remote).map_or(0, SpanId::get),
            threshold: 0,
            flags: flags & flag::REMOTE_PARENT,
            held: false,
            shown: None,
        };
        let end = TraceFinish {
            trace: told.trace,
            name: match told.name.id() {
                // The text stands in the start record.
                NAME_INLINE => NAME_NONE,
                id => id,
            },
            start: begin.tick,
            end: self.anchor.tick_at(told.end_ns),
            status: told.status,
            flags: flags & flag::REMOTE_PARENT,
            threshold: 0,
            held: false,
        };
        local::with(self.engine, RecordKind::TraceStart, |local| {
            write::trace_start(local, begin, Some(attributes));
            write::trace_end(local, end, None);
        });
    }

    /// Writes an event.
    pub(crate) fn event(
        &self,
        place: Option<Position>,
        (event_type, name): (Name<'_>, Name<'_>),
        unix_ns: i64,
        mut attributes: List,
    ) {
        if !self.engine.switches.events {
            return local::recycle(self.engine, attributes);
        }
        spell(&mut attributes, KEY_NAME, name);
        spell(&mut attributes, KEY_TYPE, event_type);
        let point = self.point(place, name, unix_ns);
        local::with(self.engine, RecordKind::Event, |local| {
            write::event(local, point, event_type.id(), Some(attributes));
        });
    }

    /// Writes that one place follows from another.
    pub(crate) fn link(&self, from: Position, to: Position, unix_ns: i64, attributes: List) {
        let tick = self.anchor.tick_at(unix_ns);
        let (from, to) = ((from.trace, from.span), (to.trace, to.span));
        local::with(self.engine, RecordKind::Link, |local| {
            write::link(local, false, from, to, tick, Some(attributes));
        });
    }

    /// Writes a measurement.
    pub(crate) fn metric(
        &self,
        (name, unit): (Name<'_>, Option<Name<'_>>),
        aggregation: Aggregation,
        value: impl MetricValue,
        unix_ns: i64,
        mut attributes: List,
    ) {
        if !self.engine.switches.metrics {
            return local::recycle(self.engine, attributes);
        }
        spell(&mut attributes, KEY_NAME, name);
        if let Some(unit) = unit {
            spell(&mut attributes, KEY_UNIT, unit);
        }
        let (value, value_type) = value.bits();
        let measurement = Measurement {
            unit: unit.map_or(NAME_NONE, Name::id),
            value,
            value_type,
            aggregation,
        };
        let point = self.point(None, name, unix_ns);
        local::with(self.engine, RecordKind::Metric, |local| {
            write::metric(local, point, measurement, Some(attributes));
        });
    }

    fn point(&self, place: Option<Position>, name: Name<'_>, unix_ns: i64) -> Point {
        Point {
            trace: place.map_or(TraceId::NONE, |place| place.trace),
            span: place.map_or(0, |place| place.span),
            name: name.id(),
            tick: self.anchor.tick_at(unix_ns),
            held: false,
        }
    }
}

fn spell(attributes: &mut AttributeBuffer, key: u32, name: Name<'_>) {
    if let Some(text) = name.inline_text() {
        attributes.push_reserved(key, text);
    }
}
