//! Spans that are over when they are told: a runtime's own log, with its own times.

use std::time::{Duration, SystemTime};

use emberlog::{Config, Filter, Manager, SpanKind, Status};

#[test]
fn a_span_is_recorded_with_the_times_that_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let run = manager.start_trace("dataflow");
    let end = SystemTime::now();
    let begin = end - Duration::from_secs(90);
    let mut past = run.past();
    let outer = past.span("outer", SpanKind::Internal, begin..end).ok();
    let inner = past
        .span("inner", SpanKind::NodeExecution, begin..end)
        .under(outer)
        .with("records", 17)
        .end(Status::Error);
    // Only what is told how it went is recorded.
    drop(past.span("forgotten", SpanKind::Internal, begin..end));
    past.span("reversed", SpanKind::Internal, end..begin).ok();
    let ancient = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    past.span("ancient", SpanKind::Internal, ancient..ancient)
        .ok();
    run.ok();

    let mut spans = manager.query_spans(&Filter::new().all()).unwrap();
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["ancient", "inner", "outer", "reversed"]);
    let [_, inner_row, outer_row, reversed] = &spans[..] else {
        unreachable!()
    };
    assert_eq!(Some(outer_row.span_id), outer);
    assert_eq!(
        (Some(inner_row.span_id), inner_row.parent_span_id),
        (inner, outer)
    );
    assert_eq!(
        (inner_row.kind, inner_row.status),
        (SpanKind::NodeExecution, Status::Error)
    );
    assert_eq!(
        inner_row.attributes.get("records").and_then(|v| v.as_i64()),
        Some(17)
    );
    assert_eq!(
        (outer_row.parent_span_id, outer_row.status),
        (None, Status::Ok)
    );
    let off = |span: &emberlog::Span, by: Duration| span.duration().unwrap().abs_diff(by);
    assert!(off(outer_row, Duration::from_secs(90)) < Duration::from_millis(1));
    assert_eq!(reversed.duration(), Some(Duration::ZERO));
    let since =
        SystemTime::UNIX_EPOCH + Duration::from_nanos(outer_row.start_ns.try_into().unwrap());
    let apart = since
        .duration_since(begin)
        .unwrap_or_else(|early| early.duration());
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    assert_eq!(manager.stats().dropped_count, 0);

    // Nothing of a trace that is not sampled, and nothing once the log is closed.
    let dir = tempfile::tempdir().unwrap();
    let silent = Manager::open(Config::new(dir.path()).sampling_rate(0.0)).unwrap();
    let dropped = silent.start_trace("dropped");
    assert_eq!(
        dropped
            .past()
            .span("x", SpanKind::Internal, begin..end)
            .ok(),
        None
    );
    assert_eq!(silent.query_spans(&Filter::new().all()).unwrap().len(), 0);
    let run = manager.start_trace("late");
    let mut past = run.past();
    manager.shutdown().unwrap();
    assert_eq!(past.span("x", SpanKind::Internal, begin..end).ok(), None);
    assert_eq!(
        run.past().span("x", SpanKind::Internal, begin..end).ok(),
        None
    );
}
