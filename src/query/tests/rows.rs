//! Records as rows, and what follows from them.

use super::make::{anchor, origin, Maker, Spanned};
use crate::{
    backend::Row,
    model::{Event, Metric, Span},
    query::{
        derive,
        memory::MemorySegment,
        rows::{self, Origin},
        source::Segment,
    },
    record::{
        id::TraceId,
        kinds::{Aggregation, EventType, SpanKind, Status},
        value::Value,
    },
};

const TRACE: TraceId = TraceId::from_u128(0xABC);

fn row_with(maker: Maker, words: Vec<u64>, origin: Origin) -> Row {
    let mut segment = MemorySegment::new(maker.names.map);
    segment.push((4, 2), 17, anchor(0), words);
    let segment = Segment::memory(origin, segment);
    let block = segment.block(0).unwrap();
    let record = block.record(0).unwrap();
    rows::row(&block.context, block.id(0), &record).unwrap()
}

fn span_of(kind: SpanKind, status: Status, attributes: &[(&str, Value)]) -> Span {
    let mut maker = Maker::new();
    let words = maker.span(&Spanned {
        name: "Transform",
        trace: TRACE,
        span: 7,
        parent: 3,
        start: 100,
        end: 1_500_000_100,
        kind,
        status,
        attributes,
    });
    match row_with(maker, words, origin(0)) {
        Row::Span(span) => span,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_span_has_its_times_names_and_the_custom_attributes_of_its_instance() {
    let attributes = [("node_id", Value::from("t1")), ("env", Value::from("test"))];
    let span = span_of(SpanKind::NodeExecution, Status::Ok, &attributes);
    assert_eq!(span.name, "Transform");
    assert_eq!(span.start_ns, 1_000_100);
    assert_eq!(span.duration_ns, Some(1_500_000_000));
    assert_eq!(span.parent_span_id.map(|id| id.get()), Some(3));
    assert_eq!(span.thread, (4, 2));
    assert_eq!(span.node_id(), Some("t1"));
    // Its own value wins over the custom one.
    assert_eq!(span.attributes.get("env"), Some(&Value::from("test")));
    assert_eq!(span.attributes.get("team"), Some(&Value::from(0)));
    assert_eq!(span.error, None);
    assert_eq!(span.record.map(|r| (r.ring, r.sequence)), Some((4, 17)));
}

#[test]
fn error_details_leave_the_attributes_and_the_type_stays() {
    let chain = Value::Array(vec![Value::from("refused"), Value::from("no route")]);
    let span = span_of(
        SpanKind::NodeExecution,
        Status::Error,
        &[
            ("exception.type", Value::from("Timeout")),
            ("exception.message", Value::from("took too long")),
            ("exception.stacktrace", Value::from("at main")),
            ("exception.chain", chain),
        ],
    );
    let error = span.error.unwrap();
    assert_eq!(error.error_type, "Timeout");
    assert_eq!(error.message, "took too long");
    assert_eq!(error.chain, ["refused", "no route"]);
    assert_eq!(error.stack_trace.as_deref(), Some("at main"));
    assert_eq!(
        span.attributes.get("error.type"),
        Some(&Value::from("Timeout"))
    );
    assert!(span
        .attributes
        .iter()
        .all(|(key, _)| !key.starts_with("exception.")));
}

#[test]
fn an_error_spelled_as_the_documents_do_is_an_error_too() {
    let attributes = [
        ("error_type", Value::from("ValueError")),
        ("error", Value::from("bad input")),
    ];
    let error = span_of(SpanKind::NodeExecution, Status::Error, &attributes).error;
    let error = error.unwrap();
    assert_eq!(
        (&*error.error_type, &*error.message),
        ("ValueError", "bad input")
    );
    // `error_type: None` on a success, as the documents show it, is none.
    let fine = [("error_type", Value::Null)];
    assert_eq!(
        span_of(SpanKind::NodeExecution, Status::Ok, &fine).error,
        None
    );
    assert_eq!(
        span_of(SpanKind::NodeExecution, Status::Error, &fine).error,
        None
    );
}

#[test]
fn unknown_names_show_their_number() {
    let mut maker = Maker::new();
    let words = maker.event("something", "milestone", (TRACE, 0), 5, &[]);
    maker.names = Default::default();
    let Row::Event(event) = row_with(maker, words, origin(0)) else {
        panic!();
    };
    assert_eq!(event.name, "#256");
    assert_eq!(event.event_type.as_str(), "#257");
}

#[test]
fn a_metric_finds_its_trace_among_its_attributes() {
    let mut maker = Maker::new();
    let id = "550e8400-e29b-41d4-a716-446655440000";
    let attributes = [("trace_id", Value::from(id))];
    let words = maker.metric("agent.cost", 0.25, (TraceId::NONE, 0), 5, &attributes);
    let Row::Metric(metric) = row_with(maker, words, origin(0)) else {
        panic!();
    };
    assert_eq!(metric.trace_id, Some(id.parse().unwrap()));
    assert_eq!((metric.value, metric.unit.as_str()), (0.25, "items"));
}

fn derived(span: &Span) -> (Vec<Event>, Vec<Metric>) {
    let origin = origin(0);
    (
        derive::events_of_span(span, &origin),
        derive::metrics_of_span(span, &origin),
    )
}

#[test]
fn a_finished_node_implies_two_events_and_four_metrics() {
    let attributes = [
        ("node.id", Value::from("t1")),
        ("graph_id", Value::from("g")),
    ];
    let span = span_of(SpanKind::NodeExecution, Status::Ok, &attributes);
    let (events, metrics) = derived(&span);
    let named: Vec<_> = events
        .iter()
        .map(|e| (e.event_type.as_str(), &*e.name))
        .collect();
    assert_eq!(
        named,
        [
            ("node.started", "Transform started"),
            ("node.finished", "Transform finished")
        ]
    );
    assert_eq!(events[0].timestamp_ns, span.start_ns);
    assert_eq!(Some(events[1].timestamp_ns), span.end_ns());
    assert_eq!(
        events[1].attributes.get("duration"),
        Some(&Value::from(1.5))
    );
    assert_eq!(
        events[1].attributes.get("node.id"),
        Some(&Value::from("t1"))
    );
    assert!(events
        .iter()
        .all(|e| e.derived && e.span_id == Some(span.span_id)));

    let values: Vec<_> = metrics
        .iter()
        .map(|m| (&*m.name, m.value, &*m.unit, m.aggregation))
        .collect();
    assert_eq!(
        values,
        [
            ("node.duration", 1.5, "seconds", Aggregation::Histogram),
            ("node.success", 1.0, "count", Aggregation::Counter),
            ("node.error", 0.0, "count", Aggregation::Counter),
            ("node_execution_count", 1.0, "count", Aggregation::Counter),
        ]
    );
    let count = &metrics[3];
    assert_eq!(count.attributes.get("node_id"), Some(&Value::from("t1")));
    assert_eq!(count.attributes.get("graph_id"), Some(&Value::from("g")));

    // One record, six rows, six ids, always the same ones.
    let record = span.record.unwrap();
    let ids = events.iter().map(|e| e.event_id);
    let ids: Vec<_> = ids.chain(metrics.iter().map(|m| m.metric_id)).collect();
    let expected: Vec<_> = (1..=6).map(|part| record.as_u128(part)).collect();
    assert_eq!(ids, expected);
    assert_eq!(derived(&span), (events, metrics));
}

#[test]
fn a_failed_node_tells_why() {
    let attributes = [
        ("exception.type", Value::from("Timeout")),
        ("exception.message", Value::from("took too long")),
        ("exception.stacktrace", Value::from("at main")),
    ];
    let span = span_of(SpanKind::NodeExecution, Status::Error, &attributes);
    let (events, metrics) = derived(&span);
    let failed = &events[1];
    assert_eq!(failed.event_type, EventType::NODE_FAILED);
    assert_eq!(failed.name, "Transform failed");
    for (key, value) in [
        ("error", "took too long"),
        ("error.type", "Timeout"),
        ("exception.stacktrace", "at main"),
    ] {
        assert_eq!(
            failed.attributes.get(key),
            Some(&Value::from(value)),
            "{key}"
        );
    }
    assert_eq!((metrics[1].value, metrics[2].value), (0.0, 1.0));
}

#[test]
fn other_spans_imply_what_the_table_says() {
    let types = |kind, status| {
        let (events, metrics) = derived(&span_of(kind, status, &[]));
        assert!(metrics.is_empty());
        let types = events.into_iter().map(|e| e.event_type.to_string());
        types.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(types(SpanKind::Internal, Status::Ok), "");
    assert_eq!(types(SpanKind::ToolCall, Status::Error), "tool.executed");
    assert_eq!(
        types(SpanKind::LlmCall, Status::Ok),
        "llm.request llm.response"
    );
    assert_eq!(
        types(SpanKind::LlmCall, Status::Error),
        "llm.request error.occurred"
    );
    assert_eq!(
        types(SpanKind::GraphRun, Status::Ok),
        "graph.started graph.finished"
    );
    assert_eq!(
        types(SpanKind::GraphRun, Status::Cancelled),
        "graph.started graph.failed"
    );
}

#[test]
fn nothing_is_derived_where_the_instance_does_not_want_it() {
    let span = span_of(SpanKind::NodeExecution, Status::Ok, &[]);
    let silent = Origin {
        derive_events: false,
        derive_metrics: false,
        ..origin(0)
    };
    assert!(derive::events_of_span(&span, &silent).is_empty());
    assert!(derive::metrics_of_span(&span, &silent).is_empty());
}
