//! The documents' manager in Rust: what they call, what it does, and what is seen afterwards.

use std::time::Duration;

use emberlog::{
    Aggregation, Config, EventType, Filter, Manager, SpanKind, SpanStatus, Status, TelemetryConfig,
    TelemetryManager, TraceId, TraceOptions,
};

fn open() -> (tempfile::TempDir, TelemetryManager) {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(TelemetryConfig::new(dir.path())).unwrap();
    (dir, manager)
}

#[test]
fn a_trace_has_its_own_id_or_the_one_it_is_given_and_is_found_by_it() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let own = run.trace_id().unwrap();
    run.set("graph_id", "my_workflow");
    assert!(manager.get_trace(own).unwrap().unwrap().trace.is_active());
    run.ok();
    let dashed = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let given = TraceOptions::new().id_text(dashed);
    manager.start_trace_with("given", &given).ok();
    let given = manager.get_trace(dashed.parse().unwrap()).unwrap().unwrap();
    assert_eq!(given.trace.name, "given");
    let own = manager.get_trace(own).unwrap().unwrap().trace;
    assert_eq!(own.attributes.get("graph_id"), Some(&"my_workflow".into()));
    assert!(manager.get_trace(TraceId::from_u128(7)).unwrap().is_none());
}

#[test]
fn a_trace_ends_in_the_words_of_the_documents() {
    let (_dir, manager) = open();
    let ends = [
        ("completed", SpanStatus::Ok),
        ("failed", Status::Error),
        ("cancelled", Status::Cancelled),
        ("ok", Status::Ok),
        ("error", Status::Error),
        ("unset", Status::Unset),
    ];
    for (word, _) in ends {
        manager.start_trace(word).end(word.parse().unwrap());
    }
    for (word, status) in ends {
        let found = manager.query_traces(&Filter::new().name(word)).unwrap();
        assert_eq!(found[0].status, status, "{word}");
        assert!(found[0].duration().is_some(), "{word}");
    }
}

#[test]
fn a_span_ends_with_its_scope_and_keeps_what_was_set_and_what_went_wrong() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let graph = run.span("graph_execution").with_kind(SpanKind::GraphRun);
    let parent = graph.id();
    let result = run.in_node("fetch", |span| {
        span.set("result_count", 3);
        Err::<(), _>(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "Connection timeout",
        ))
    });
    // The error is the caller's, unchanged.
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let other = run.child_of(parent, "elsewhere", SpanKind::ToolCall);
    other.ok();
    graph.ok();
    drop(run.span("left by a return"));
    run.ok();
    let span = |name: &str| {
        let found = manager.query_spans(&Filter::new().name(name)).unwrap();
        found.into_iter().next().unwrap()
    };
    let fetch = span("fetch");
    assert_eq!(
        (fetch.status, fetch.kind),
        (Status::Error, SpanKind::NodeExecution)
    );
    assert_eq!(fetch.attributes.get("result_count"), Some(&3.into()));
    assert_eq!(fetch.error.unwrap().message, "Connection timeout");
    assert_eq!(fetch.parent_span_id, parent);
    assert_eq!(
        (span("elsewhere").parent_span_id, span("elsewhere").kind),
        (parent, SpanKind::ToolCall)
    );
    assert_eq!(span("left by a return").status, Status::Cancelled);
}

#[test]
fn an_event_has_a_documented_type_or_any_other_and_belongs_where_it_is_said() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let trace = run.trace_id().unwrap();
    let span = run.span("work");
    let inside = span.id();
    run.event(EventType::NODE_STARTED.as_str(), "ProcessNode started")
        .with("node_id", "p")
        .record();
    span.ok();
    run.ok();
    manager
        .event("milestone", "checkpoint_reached")
        .in_trace(trace)
        .in_span(inside)
        .record();
    manager.event("milestone", "of nothing").record();
    let find = |name: &str| {
        let found = manager.query_events(&Filter::new().name(name)).unwrap();
        assert_eq!(found.len(), 1, "{name}");
        found.into_iter().next().unwrap()
    };
    let started = find("ProcessNode started");
    assert_eq!(started.event_type, EventType::NODE_STARTED);
    assert_eq!(started.attributes.get("node_id"), Some(&"p".into()));
    assert_eq!((started.trace_id, started.span_id), (Some(trace), inside));
    let reached = find("checkpoint_reached");
    assert_eq!(reached.event_type.as_str(), "milestone");
    assert_eq!((reached.trace_id, reached.span_id), (Some(trace), inside));
    assert_eq!(find("of nothing").trace_id, None);
    // Both spellings ask for the same.
    for spelling in ["node.started", "node_started"] {
        let found = manager
            .query_events(&Filter::new().event_type(spelling))
            .unwrap();
        assert_eq!(found.len(), 1, "{spelling}");
    }
}

#[test]
fn a_metric_has_a_kind_a_unit_and_its_trace_also_when_that_is_an_attribute() {
    let (_dir, manager) = open();
    let run = manager.start_trace("graph_run");
    let trace = run.trace_id().unwrap();
    run.metric("cache_hits")
        .unit("count")
        .with("cache", "l2")
        .counter(42);
    manager.metric("temperature").gauge(20.5);
    manager
        .metric("latency")
        .unit("seconds")
        .in_trace(trace)
        .histogram(0.25);
    let id = trace.to_string();
    manager
        .metric("agent.cost")
        .unit("usd")
        .with("trace_id", id.as_str())
        .counter(0.01);
    // As the documents say it: a word.
    let word: Aggregation = "histogram".parse().unwrap();
    manager.metric("size").record(7, word);
    run.ok();
    let find = |name: &str| {
        manager
            .query_metrics(&Filter::new().name(name))
            .unwrap()
            .remove(0)
    };
    let expected = [
        (
            "cache_hits",
            42.0,
            "count",
            Aggregation::Counter,
            Some(trace),
        ),
        ("temperature", 20.5, "", Aggregation::Gauge, None),
        (
            "latency",
            0.25,
            "seconds",
            Aggregation::Histogram,
            Some(trace),
        ),
        ("agent.cost", 0.01, "usd", Aggregation::Counter, Some(trace)),
        ("size", 7.0, "", Aggregation::Histogram, None),
    ];
    for (name, value, unit, aggregation, trace_id) in expected {
        let metric = find(name);
        let found = (
            metric.value,
            metric.unit.as_str(),
            metric.aggregation,
            metric.trace_id,
        );
        assert_eq!(found, (value, unit, aggregation, trace_id), "{name}");
    }
    assert_eq!(Aggregation::default(), Aggregation::Gauge);
    assert_eq!(
        find("cache_hits").attributes.get("cache"),
        Some(&"l2".into())
    );
}

#[test]
fn the_documents_numbers_about_itself_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).buffer_size(10);
    let manager = Manager::open(config).unwrap();
    for _ in 0..3 {
        manager.start_trace("graph_run").ok();
    }
    manager.export(Duration::from_secs(30)).unwrap();
    let stats = manager.stats();
    assert_eq!((stats.traces_count, stats.dropped_count), (3, 0));
    // The documents' alarm: nine tenths of what the configuration says.
    let limit = manager.config().unwrap().buffer_size as f64;
    assert!(
        (stats.buffer_size as f64) < 0.9 * limit,
        "{}",
        stats.buffer_size
    );
    assert!(stats.avg_export_latency >= 0.0);
    manager.shutdown().unwrap();
    manager.start_trace("too late").ok();
    assert_eq!(manager.stats().dropped_count, 1);
}
