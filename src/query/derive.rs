//! What follows from a record and is therefore not recorded: events and metrics of finished spans
//! and of traces.
//!
//! | record | events | metrics |
//! |---|---|---|
//! | span, node_execution | `node.started`, `node.finished` or `node.failed` | `node.duration` (seconds, histogram), `node.success`, `node.error` (0 or 1, counters), `node_execution_count` (1, counter) |
//! | trace start | `graph.started` | |
//! | trace end | `graph.finished` or `graph.failed` | |
//! | span, graph_run, with a parent | `graph.started`, `graph.finished` or `graph.failed` | |
//! | span, tool_call | `tool.executed` | |
//! | span, llm_call | `llm.request`, `llm.response` or, if it failed, `error.occurred` | |
//!
//! A trace is a run of a graph; a graph_run span without a parent is that same run and implies
//! nothing more. Everything else than [`Status::Error`], [`Status::Cancelled`] and
//! [`Status::Orphaned`] is success. Spans that still run imply nothing.
//!
//! Ids are [`RecordId::as_u128`] of the record with the part below, so they are the same in every
//! answer, store and process.

use crate::{
    model::{AttributeMap, Event, Metric, Span, Trace},
    record::{
        id::RecordId,
        kinds::{Aggregation, EventType, SpanKind, Status},
        value::Value,
    },
};

use super::{
    matching::{GRAPH_ID, NODE_ID},
    rows::Origin,
};

/// Part of what happened when it began.
pub(crate) const STARTED: u8 = 1;
/// Part of what happened when it ended.
pub(crate) const ENDED: u8 = 2;
/// Part of `node.duration`.
pub(crate) const DURATION: u8 = 3;
/// Part of `node.success`.
pub(crate) const SUCCESS: u8 = 4;
/// Part of `node.error`.
pub(crate) const ERROR: u8 = 5;
/// Part of `node_execution_count`.
pub(crate) const COUNT: u8 = 6;

/// The metrics of a node: part, name, unit, aggregation.
pub(crate) const NODE_METRICS: [(u8, &str, &str, Aggregation); 4] = [
    (DURATION, "node.duration", "seconds", Aggregation::Histogram),
    (SUCCESS, "node.success", "count", Aggregation::Counter),
    (ERROR, "node.error", "count", Aggregation::Counter),
    (COUNT, "node_execution_count", "count", Aggregation::Counter),
];

/// Attributes of a span that its derived rows have too.
pub(crate) const IDENTITY: &[&str] = &[
    "node.id",
    "node_id",
    "node.name",
    "node_name",
    "node.type",
    "node_type",
    "graph_id",
    "graph.id",
    "graph_version",
    "graph.version",
    "retry_count",
];

/// Whether a status counts as failure.
pub(crate) fn failed(status: Status) -> bool {
    matches!(status, Status::Error | Status::Cancelled | Status::Orphaned)
}

/// One derived event: its part, its type, what its name adds to that of the span.
pub(crate) type Implied = (u8, EventType, &'static str);

/// The events that a finished span implies.
pub(crate) fn span_events(
    kind: SpanKind,
    status: Status,
    has_parent: bool,
) -> [Option<Implied>; 2] {
    let failed = failed(status);
    match kind {
        SpanKind::NodeExecution => [
            Some((STARTED, EventType::NODE_STARTED, " started")),
            Some(if failed {
                (ENDED, EventType::NODE_FAILED, " failed")
            } else {
                (ENDED, EventType::NODE_FINISHED, " finished")
            }),
        ],
        SpanKind::GraphRun if has_parent => [Some(trace_started()), Some(trace_ended(status))],
        SpanKind::ToolCall => [None, Some((ENDED, EventType::TOOL_EXECUTED, " executed"))],
        SpanKind::LlmCall => [
            Some((STARTED, EventType::LLM_REQUEST, " requested")),
            Some(if failed {
                (ENDED, EventType::ERROR_OCCURRED, " failed")
            } else {
                (ENDED, EventType::LLM_RESPONSE, " responded")
            }),
        ],
        _ => [None, None],
    }
}

/// The event that the start of a trace implies.
pub(crate) fn trace_started() -> Implied {
    (STARTED, EventType::GRAPH_STARTED, " started")
}

/// The event that the end of a trace implies.
pub(crate) fn trace_ended(status: Status) -> Implied {
    if failed(status) {
        (ENDED, EventType::GRAPH_FAILED, " failed")
    } else {
        (ENDED, EventType::GRAPH_FINISHED, " finished")
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn copy(from: &AttributeMap, to: &mut AttributeMap, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(key) {
            to.set(*key, value.clone());
        }
    }
}

fn identity(span: &Span, origin: &Origin) -> AttributeMap {
    let mut attributes = AttributeMap::new();
    copy(&span.attributes, &mut attributes, IDENTITY);
    attributes.fill_from(&origin.custom);
    attributes
}

/// What an ended span's or trace's event tells.
fn outcome(attributes: &mut AttributeMap, from: &AttributeMap, status: Status, ns: u64) {
    attributes.set("duration", seconds(ns));
    attributes.set("success", !failed(status));
    copy(from, attributes, &["outputs", "output_size"]);
    if matches!(status, Status::Cancelled | Status::Orphaned) {
        attributes.set(status.as_str(), true);
    }
}

/// One of [`span_events`] as a row.
pub(crate) fn span_event(
    span: &Span,
    record: RecordId,
    implied: Implied,
    origin: &Origin,
) -> Event {
    let (part, event_type, suffix) = implied;
    let mut attributes = identity(span, origin);
    let mut timestamp_ns = span.start_ns;
    if part == ENDED {
        let ns = span.duration_ns.unwrap_or(0);
        timestamp_ns = span.end_ns().unwrap_or(span.start_ns);
        outcome(&mut attributes, &span.attributes, span.status, ns);
        if let Some(error) = &span.error {
            attributes.set("error", error.message.as_str());
            attributes.set("error.type", error.error_type.as_str());
            if let Some(trace) = &error.stack_trace {
                attributes.set("exception.stacktrace", trace.as_str());
            }
            if !error.chain.is_empty() {
                let chain = error.chain.iter().map(|text| Value::from(text.as_str()));
                attributes.set("exception.chain", chain.collect::<Vec<_>>());
            }
        }
    } else {
        copy(&span.attributes, &mut attributes, &["inputs", "input_size"]);
    }
    Event {
        event_id: record.as_u128(part),
        event_type,
        name: format!("{}{suffix}", span.name),
        timestamp_ns,
        trace_id: Some(span.trace_id),
        span_id: Some(span.span_id),
        attributes,
        dropped_attributes: 0,
        derived: true,
        record: Some(record),
    }
}

/// The event of the start or the end of a trace. `trace` is what that one record tells.
pub(crate) fn trace_event(
    trace: &Trace,
    record: RecordId,
    implied: Implied,
    origin: &Origin,
) -> Event {
    let (part, event_type, suffix) = implied;
    let mut attributes = trace.attributes.clone();
    attributes.fill_from(&origin.custom);
    if part == ENDED {
        let from = AttributeMap::new();
        outcome(
            &mut attributes,
            &from,
            trace.status,
            trace.duration_ns().unwrap_or(0),
        );
        if let (None, Some(message)) = (
            attributes.get("error"),
            trace.attributes.get("exception.message"),
        ) {
            attributes.set("error", message.clone());
        }
    }
    Event {
        event_id: record.as_u128(part),
        event_type,
        name: format!("{}{suffix}", trace.name),
        timestamp_ns: match part {
            ENDED => trace.end_ns.unwrap_or(trace.start_ns),
            _ => trace.start_ns,
        },
        trace_id: Some(trace.trace_id),
        span_id: None,
        attributes,
        dropped_attributes: 0,
        derived: true,
        record: Some(record),
    }
}

/// One of [`NODE_METRICS`] of a finished node.
pub(crate) fn node_metric(
    span: &Span,
    record: RecordId,
    part: u8,
    origin: &Origin,
) -> Option<Metric> {
    let (_, name, unit, aggregation) = NODE_METRICS.into_iter().find(|(p, ..)| *p == part)?;
    let ns = span.duration_ns.unwrap_or(0);
    let failed = failed(span.status);
    let (value, integer) = match part {
        DURATION => (seconds(ns), None),
        SUCCESS => (f64::from(!failed), Some(i128::from(!failed))),
        ERROR => (f64::from(failed), Some(i128::from(failed))),
        _ => (1.0, Some(1)),
    };
    let mut attributes = identity(span, origin);
    if part == COUNT {
        // The documented spelling, also where the span has another one.
        for (key, spellings) in [("node_id", NODE_ID), ("graph_id", GRAPH_ID)] {
            if let Some(value) = span.attributes.first_of(spellings).cloned() {
                attributes.set(key, value);
            }
        }
    }
    Some(Metric {
        metric_id: record.as_u128(part),
        name: name.to_owned(),
        value,
        integer,
        unit: unit.to_owned(),
        aggregation,
        timestamp_ns: span.end_ns().unwrap_or(span.start_ns),
        trace_id: Some(span.trace_id),
        span_id: Some(span.span_id),
        attributes,
        dropped_attributes: 0,
        derived: true,
        record: Some(record),
    })
}

/// Every event that a finished span implies, as the instance asks for it.
pub(crate) fn events_of_span(span: &Span, origin: &Origin) -> Vec<Event> {
    let (true, Some(_), Some(record)) = (origin.derive_events, span.duration_ns, span.record)
    else {
        return Vec::new();
    };
    span_events(span.kind, span.status, span.parent_span_id.is_some())
        .into_iter()
        .flatten()
        .map(|implied| span_event(span, record, implied, origin))
        .collect()
}

/// Every metric that a finished span implies, as the instance asks for it.
pub(crate) fn metrics_of_span(span: &Span, origin: &Origin) -> Vec<Metric> {
    let (SpanKind::NodeExecution, true, Some(_), Some(record)) = (
        span.kind,
        origin.derive_metrics,
        span.duration_ns,
        span.record,
    ) else {
        return Vec::new();
    };
    NODE_METRICS
        .into_iter()
        .filter_map(|(part, ..)| node_metric(span, record, part, origin))
        .collect()
}
