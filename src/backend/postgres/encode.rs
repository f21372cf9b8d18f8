//! Rows of a batch as rows of tables. The order of the fields is that of `schema.rs`.

use super::{
    columns::Traces,
    copy::Rows,
    error::PostgresError,
    exact::{Texts, NAME, SECOND},
    schema::{EVENTS, LINKS, METRICS, PARTS, SPANS},
};
use crate::{
    model::{Event, Link, Metric, Span, Trace},
    record::id::{RecordId, SpanId, TraceId},
};

/// What one transaction is going to store.
#[derive(Debug)]
pub(super) struct Tables {
    /// Traces that are new, as far as is known.
    pub(super) traces: Traces,
    /// Traces that are there and of which more is known now.
    pub(super) merged: Traces,
    pub(super) parts: Rows,
    pub(super) spans: Rows,
    pub(super) events: Rows,
    pub(super) metrics: Rows,
    pub(super) links: Rows,
    texts: Texts,
}

fn missing(what: &str) -> PostgresError {
    PostgresError::Content(format!("a {what} without the id of its record"))
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

pub(super) fn wide(span: Option<SpanId>, trace: Option<TraceId>) -> Option<u128> {
    span.map(|span| span.wide(trace.unwrap_or(TraceId::NONE)))
}

/// The id of a span where the long form is that of a span of another trace, which has the same lower
/// half: the upper half of the trace's id is mixed in.
pub(super) fn other_id(span: SpanId, trace: TraceId) -> u128 {
    let high = (trace.as_u128() >> 64) as u64;
    let mixed = high
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x2545_f491_4f6c_dd1d);
    span.wide(trace) ^ u128::from(mixed) << 64
}

impl Tables {
    pub(super) fn new() -> Self {
        let of = |table: &super::schema::Table| Rows::new(table.columns.len());
        Self {
            traces: Traces::default(),
            merged: Traces::default(),
            parts: of(&PARTS),
            spans: of(&SPANS),
            events: of(&EVENTS),
            metrics: of(&METRICS),
            links: of(&LINKS),
            texts: Texts::default(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.traces.clear();
        self.merged.clear();
        for rows in [
            &mut self.parts,
            &mut self.spans,
            &mut self.events,
            &mut self.metrics,
            &mut self.links,
        ] {
            rows.clear();
        }
    }

    /// A trace of which nothing is known but that it is there.
    pub(super) fn stub(&mut self, id: TraceId, seen_ns: i64) {
        self.traces.stub(id, seen_ns);
    }

    /// A trace that is new.
    pub(super) fn trace(&mut self, trace: &Trace, instance: i32) {
        let (rows, seen_ns) = (&mut self.traces, trace.start_ns);
        rows.push(&mut self.texts, trace, instance, seen_ns);
    }

    /// A trace that is there and of which more is known now.
    pub(super) fn merged(&mut self, trace: &Trace, instance: i32, seen_ns: i64) {
        let rows = &mut self.merged;
        rows.push(&mut self.texts, trace, instance, seen_ns);
    }

    /// A record of a trace.
    pub(super) fn part(&mut self, trace: &Trace, record: RecordId, instance: i32) {
        let (rows, texts) = (&mut self.parts, &mut self.texts);
        texts.begin();
        texts.attributes(trace.attributes.as_slice());
        let name = texts.text(NAME, &trace.name);
        rows.row();
        rows.uuid(trace.trace_id.as_u128());
        rows.i32(instance);
        rows.i32(record.ring as i32);
        rows.i64(record.sequence as i64);
        rows.text(&name);
        rows.i64(trace.start_ns);
        rows.i64(trace.end_ns);
        rows.text(trace.status.as_str());
        rows.json(texts.json());
        rows.bytes(texts.exact());
        rows.uuid(wide(trace.remote_parent, Some(trace.trace_id)));
        rows.f64(trace.sampling_rate);
        rows.i64(i64::from(trace.dropped_attributes));
    }

    /// A span under an id of 128 bits that nobody else has.
    pub(super) fn span(&mut self, id: u128, span: &Span, instance: i32) {
        let (rows, texts) = (&mut self.spans, &mut self.texts);
        texts.begin();
        texts.attributes(span.attributes.as_slice());
        texts.error(span.error.as_ref());
        let name = texts.text(NAME, &span.name);
        let trace = Some(span.trace_id);
        let length = span
            .duration_ns
            .map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
        rows.row();
        rows.uuid(id);
        rows.uuid(span.trace_id.as_u128());
        rows.uuid(wide(span.parent_span_id, trace));
        rows.text(&name);
        rows.text(span.kind.as_str());
        rows.time(span.start_ns);
        rows.time(span.end_ns());
        rows.f64(span.duration_ns.map(seconds));
        rows.text(span.status.as_str());
        rows.json(texts.json());
        rows.i64(span.start_ns);
        rows.i64(length);
        rows.json(texts.error_json());
        rows.bytes(texts.exact());
        rows.bool(span.remote_parent);
        rows.i64(i64::from(span.dropped_attributes));
        rows.i32(instance);
        rows.i32(span.thread.0 as i32);
        rows.i32(span.thread.1 as i32);
        rows.i64(span.record.map(|record| record.sequence as i64));
    }

    pub(super) fn event(&mut self, event: &Event, instance: i32) -> Result<(), PostgresError> {
        let record = event.record.ok_or_else(|| missing("event"))?;
        let (rows, texts) = (&mut self.events, &mut self.texts);
        texts.begin();
        texts.attributes(event.attributes.as_slice());
        let event_type = texts.text(SECOND, event.event_type.as_str());
        let name = texts.text(NAME, &event.name);
        rows.row();
        rows.uuid(event.event_id);
        rows.uuid(event.trace_id.map(TraceId::as_u128));
        rows.uuid(wide(event.span_id, event.trace_id));
        rows.text(&event_type);
        rows.text(&name);
        rows.time(event.timestamp_ns);
        rows.json(texts.json());
        rows.i64(event.timestamp_ns);
        rows.bytes(texts.exact());
        rows.i64(i64::from(event.dropped_attributes));
        rows.i32(instance);
        rows.i32(record.ring as i32);
        rows.i64(record.sequence as i64);
        rows.bool(event.derived);
        Ok(())
    }

    pub(super) fn metric(&mut self, metric: &Metric, instance: i32) -> Result<(), PostgresError> {
        let record = metric.record.ok_or_else(|| missing("metric"))?;
        let (rows, texts) = (&mut self.metrics, &mut self.texts);
        texts.begin();
        texts.attributes(metric.attributes.as_slice());
        let name = texts.text(NAME, &metric.name);
        let unit = texts.text(SECOND, &metric.unit);
        rows.row();
        rows.uuid(metric.metric_id);
        rows.uuid(metric.trace_id.map(TraceId::as_u128));
        rows.text(&name);
        rows.f64(metric.value);
        rows.text(&unit);
        rows.text(metric.aggregation.as_str());
        rows.time(metric.timestamp_ns);
        rows.json(texts.json());
        rows.i64(metric.timestamp_ns);
        rows.uuid(wide(metric.span_id, metric.trace_id));
        rows.numeric(metric.integer);
        rows.bytes(texts.exact());
        rows.i64(i64::from(metric.dropped_attributes));
        rows.i32(instance);
        rows.i32(record.ring as i32);
        rows.i64(record.sequence as i64);
        rows.bool(metric.derived);
        Ok(())
    }

    pub(super) fn link(&mut self, link: &Link, instance: i32) -> Result<(), PostgresError> {
        let record = link.record.ok_or_else(|| missing("link"))?;
        let (rows, texts) = (&mut self.links, &mut self.texts);
        texts.begin();
        texts.attributes(link.attributes.as_slice());
        rows.row();
        rows.uuid(link.link_id);
        rows.uuid(link.trace_id.as_u128());
        rows.uuid(wide(link.span_id, Some(link.trace_id)));
        rows.uuid(link.linked_trace_id.as_u128());
        rows.uuid(wide(link.linked_span_id, Some(link.linked_trace_id)));
        rows.time(link.timestamp_ns);
        rows.json(texts.json());
        rows.i64(link.timestamp_ns);
        rows.bytes(texts.exact());
        rows.i32(instance);
        rows.i32(record.ring as i32);
        rows.i64(record.sequence as i64);
        Ok(())
    }
}
