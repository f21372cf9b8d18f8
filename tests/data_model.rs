//! The documents' traces, spans, events and metrics: their fields, their words, and what stands in
//! a field that nobody set.

use emberlog::{Aggregation, Config, EventType, Filter, Manager, SpanKind, Status, Value};

fn open() -> (tempfile::TempDir, Manager) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).resource("service.name", "model");
    let manager = Manager::open(config).unwrap();
    (dir, manager)
}

fn hex(id: &str, digits: usize) -> bool {
    id.len() == digits && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn a_trace_has_the_documented_fields_and_defaults() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let id = run.trace_id().unwrap();
    let open = manager.get_trace(id).unwrap().unwrap().trace;
    assert!(hex(&open.trace_id.to_string(), 32), "{}", open.trace_id);
    assert_eq!(
        (open.name.as_str(), open.status),
        ("graph_run", Status::Unset)
    );
    assert!(open.is_active());
    assert_eq!((open.end_time(), open.duration()), (None, None));
    assert!(open.attributes.is_empty());
    assert_eq!(open.resource.get("service.name"), Some(&"model".into()));
    run.ok();
    let ended = manager.get_trace(id).unwrap().unwrap().trace;
    assert!(!ended.is_active());
    assert_eq!(ended.status, Status::Ok);
    // Float seconds since 1970, of the same instants as the exact numbers.
    assert_eq!(ended.start_time(), ended.start_ns as f64 / 1e9);
    assert_eq!(ended.end_time(), ended.end_ns.map(|ns| ns as f64 / 1e9));
    let seconds = ended.duration().unwrap().as_secs_f64();
    assert_eq!(
        seconds,
        (ended.end_ns.unwrap() - ended.start_ns) as f64 / 1e9
    );
    assert!(ended.start_time() > 1.6e9, "no other unit");
}

#[test]
fn a_span_has_the_documented_fields_and_defaults() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let mut outer = run.span("outer");
    let id = outer.id().unwrap();
    outer.set("a", 1);
    outer.set("b", "two");
    run.event("custom", "inside").in_span(Some(id)).record();
    let open = manager
        .query_spans(&Filter::new().span_id(id))
        .unwrap()
        .remove(0);
    assert!(open.is_active());
    assert_eq!((open.end_time(), open.duration()), (None, None));
    assert_eq!(
        (open.kind, open.status),
        (SpanKind::Internal, Status::Unset)
    );
    outer.child("inner").fail_with("ValueError", "bad data");
    outer.end("completed".parse().unwrap());
    let trace = run.trace_id().unwrap();
    run.ok();

    let tree = manager.get_trace(trace).unwrap().unwrap();
    let outer = &tree.find(id).unwrap().span;
    assert!(hex(&outer.span_id.to_string(), 16), "{}", outer.span_id);
    assert_eq!((outer.trace_id, outer.parent_span_id), (trace, None));
    assert_eq!((outer.name.as_str(), outer.status), ("outer", Status::Ok));
    assert_eq!(outer.attributes.get("a"), Some(&1.into()));
    assert_eq!(outer.attributes.get("b"), Some(&"two".into()));
    assert!(outer.error.is_none());
    assert_eq!(outer.start_time(), outer.start_ns as f64 / 1e9);
    let ns = outer.duration_ns.unwrap();
    assert_eq!(outer.end_ns(), Some(outer.start_ns + ns as i64));
    let of_outer = tree.events.iter().filter(|e| e.span_id == Some(id));
    assert_eq!(
        of_outer.map(|e| e.name.as_str()).collect::<Vec<_>>(),
        ["inside"]
    );

    let find = Filter::new().name("inner");
    let inner = manager.query_spans(&find).unwrap().remove(0);
    assert_eq!(
        (inner.parent_span_id, inner.status),
        (Some(id), Status::Error)
    );
    let error = inner.error.unwrap();
    assert_eq!(
        (error.error_type.as_str(), error.message.as_str()),
        ("ValueError", "bad data")
    );
}

#[test]
fn an_event_and_a_metric_have_the_documented_fields_and_defaults() {
    let (_dir, manager) = open();
    manager.event(EventType::CUSTOM.as_str(), "alone").record();
    manager.metric("temperature").gauge(20.5);
    let event = manager.query_events(&Filter::new()).unwrap().remove(0);
    assert!(hex(&format!("{:032x}", event.event_id), 32) && event.event_id != 0);
    assert_eq!(event.event_type, EventType::CUSTOM);
    assert_eq!((event.trace_id, event.span_id), (None, None));
    assert!(event.attributes.is_empty());
    assert_eq!(event.timestamp(), event.timestamp_ns as f64 / 1e9);
    let metric = manager.query_metrics(&Filter::new()).unwrap().remove(0);
    assert_ne!(metric.metric_id, 0);
    assert_eq!((metric.name.as_str(), metric.value), ("temperature", 20.5));
    assert_eq!(
        (metric.unit.as_str(), metric.aggregation),
        ("", Aggregation::Gauge)
    );
    assert_eq!((metric.trace_id, metric.span_id), (None, None));
    assert_eq!(metric.timestamp(), metric.timestamp_ns as f64 / 1e9);
}

#[test]
fn the_documents_words_are_the_enums() {
    let kinds = [
        "graph_run",
        "node_execution",
        "edge_transition",
        "state_change",
        "tool_call",
        "llm_call",
        "internal",
        "client",
        "server",
    ];
    for word in kinds {
        let kind: SpanKind = word.parse().unwrap();
        assert_eq!(kind.to_string(), word);
        let loud: SpanKind = word.to_ascii_uppercase().parse().unwrap();
        assert_eq!(loud, kind);
    }
    assert!("nothing".parse::<SpanKind>().is_err());
    for word in ["unset", "ok", "error"] {
        assert_eq!(word.parse::<Status>().unwrap().to_string(), word);
    }
    assert!("fine".parse::<Status>().is_err());
    for word in ["gauge", "counter", "histogram"] {
        assert_eq!(word.parse::<Aggregation>().unwrap().to_string(), word);
    }
    let types = [
        "node.started",
        "node.finished",
        "node.failed",
        "graph.started",
        "graph.finished",
        "graph.failed",
        "edge.evaluated",
        "edge.taken",
        "state.updated",
        "message.sent",
        "message.received",
        "tool.executed",
        "llm.request",
        "llm.response",
        "error.occurred",
        "retry.attempted",
        "custom",
    ];
    assert_eq!(EventType::KNOWN, types);
    for word in types {
        assert_eq!(EventType::new(&word.replace('.', "_")).as_str(), word);
    }
    assert_eq!(EventType::new("my_own").as_str(), "my_own");
}

#[test]
fn attributes_hold_what_json_holds() {
    let (_dir, manager) = open();
    let nested = Value::Map(vec![
        ("success".into(), true.into()),
        ("none".into(), Value::Null),
        (
            "list".into(),
            Value::Array(vec![1.into(), 2.5.into(), "x".into()]),
        ),
    ]);
    let run = manager.start_trace("graph_run");
    run.event("custom", "outputs")
        .with("outputs", &nested)
        .with("nothing", None::<i64>)
        .record();
    run.ok();
    let event = manager
        .query_events(&Filter::new().name("outputs"))
        .unwrap()
        .remove(0);
    assert_eq!(event.attributes.get("outputs"), Some(&nested));
    assert_eq!(
        event.attributes.to_json(),
        r#"{"outputs":{"success":true,"none":null,"list":[1,2.5,"x"]},"nothing":null}"#
    );
}

/// The documents' `to_dict`.
#[cfg(feature = "serde")]
#[test]
fn rows_are_objects_with_the_documented_keys() {
    fn keys(row: &impl serde::Serialize) -> Vec<String> {
        let serde_json::Value::Object(row) = serde_json::to_value(row).unwrap() else {
            panic!("no object");
        };
        row.keys().cloned().collect()
    }
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    run.span("work").ok();
    run.event("custom", "e").record();
    run.metric("m").gauge(1);
    run.ok();
    let all = Filter::new();
    let has = |keys: Vec<String>, wanted: &str| {
        for key in wanted.split(' ') {
            assert!(keys.iter().any(|k| k == key), "{key} in {keys:?}");
        }
    };
    let trace = manager.query_traces(&all).unwrap().remove(0);
    has(
        keys(&trace),
        "trace_id name start_time end_time duration status attributes resource",
    );
    let span = manager.query_spans(&all).unwrap().remove(0);
    has(
        keys(&span),
        "span_id trace_id parent_span_id name kind start_time end_time duration status attributes error",
    );
    let event = manager.query_events(&all).unwrap().remove(0);
    has(
        keys(&event),
        "event_id type name timestamp trace_id span_id attributes",
    );
    let metric = manager.query_metrics(&all).unwrap().remove(0);
    has(
        keys(&metric),
        "metric_id name value unit aggregation_type timestamp trace_id attributes",
    );
    assert_eq!(serde_json::to_value(&trace).unwrap()["status"], "ok");
}
