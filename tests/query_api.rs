//! The documents' queries: each filter alone and with others, pages, defaults, and nothing to ask.

use emberlog::{Config, EventType, Filter, Manager, Order, SpanKind, Status, TraceId};

/// Runs `run 0` to `run 149`: every third fails, each with a node, an event and a metric.
fn recorded() -> (tempfile::TempDir, Manager) {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    for i in 0..150u64 {
        let run = manager.start_trace(&format!("run {i}"));
        let node = run.node("work").with("i", i);
        match i % 3 {
            0 => node.fail_with("ValueError", "bad"),
            _ => node.ok(),
        }
        run.span("call").with_kind(SpanKind::Client).ok();
        run.event("milestone", "half way").with("i", i).record();
        run.metric("api_cost").unit("dollars").counter(0.5);
        run.end(match i % 3 {
            0 => Status::Error,
            _ => Status::Ok,
        });
    }
    (dir, manager)
}

fn numbers(traces: &[emberlog::Trace]) -> Vec<u32> {
    let number = |t: &emberlog::Trace| t.name["run ".len()..].parse().unwrap();
    traces.iter().map(number).collect()
}

#[test]
fn traces_come_newest_first_in_pages_of_the_documented_size() {
    let (_dir, manager) = recorded();
    let first = manager.query_traces(&Filter::new()).unwrap();
    assert_eq!(numbers(&first), (50..150).rev().collect::<Vec<_>>());
    let second = manager.query_traces(&Filter::new().offset(100)).unwrap();
    assert_eq!(numbers(&second), (0..50).rev().collect::<Vec<_>>());
    let page = Filter::new().limit(10).offset(20);
    let page = manager.query_traces(&page).unwrap();
    assert_eq!(numbers(&page), (120..130).rev().collect::<Vec<_>>());
    let oldest = Filter::new().order(Order::Oldest).limit(3);
    assert_eq!(numbers(&manager.query_traces(&oldest).unwrap()), [0, 1, 2]);
    assert_eq!(
        manager.query_traces(&Filter::new().all()).unwrap().len(),
        150
    );
    let behind = manager.query_traces(&Filter::new().offset(150)).unwrap();
    assert!(behind.is_empty());
}

#[test]
fn traces_are_found_by_name_status_and_time() {
    let (_dir, manager) = recorded();
    let ask = |filter: Filter| manager.query_traces(&filter.all()).unwrap();
    assert_eq!(numbers(&ask(Filter::new().name("run 7"))), [7]);
    assert_eq!(ask(Filter::new().name("run 1*")).len(), 61);
    assert!(ask(Filter::new().name("run")).is_empty());
    assert_eq!(ask(Filter::new().status(Status::Error)).len(), 50);
    for word in ["completed", "ok"] {
        let found = ask(Filter::new().status(word.parse().unwrap()));
        assert_eq!(found.len(), 100, "{word}");
    }
    assert_eq!(
        ask(Filter::new().status("failed".parse().unwrap())).len(),
        50
    );
    // Both ends of a time belong to it.
    let all = ask(Filter::new().order(Order::Oldest));
    let (from, to) = (all[10].start_ns, all[19].start_ns);
    let found = ask(Filter::new().since_ns(from).until_ns(to));
    let expected = all.iter().filter(|t| (from..=to).contains(&t.start_ns));
    assert_eq!(found.len(), expected.count());
    assert!(found.iter().any(|t| t.start_ns == from) && found.iter().any(|t| t.start_ns == to));
    assert!(ask(Filter::new().until_ns(all[0].start_ns - 1)).is_empty());
    assert!(ask(Filter::new().since_ns(all[149].start_ns + 1)).is_empty());
    let both = Filter::new()
        .status(Status::Error)
        .since_ns(from)
        .until_ns(to);
    let expected = all[10..20].iter().filter(|t| t.status == Status::Error);
    assert!(ask(both).len() >= expected.count());
}

#[test]
fn spans_events_and_metrics_are_found_by_what_the_documents_filter_by() {
    let (_dir, manager) = recorded();
    let named = Filter::new().name("run 30");
    let trace = manager.query_traces(&named).unwrap().remove(0).trace_id;
    let of = |filter: Filter| filter.trace_id(trace);
    let spans = |filter: Filter| manager.query_spans(&filter).unwrap();
    assert_eq!(spans(of(Filter::new())).len(), 2);
    assert_eq!(spans(of(Filter::new().name("work"))).len(), 1);
    assert_eq!(
        spans(Filter::new().kind("CLIENT".parse().unwrap())).len(),
        150
    );
    assert!(spans(Filter::new().kind("INTERNAL".parse().unwrap())).is_empty());
    assert_eq!(spans(Filter::new().status(Status::Error)).len(), 50);
    let page = Filter::new().kind(SpanKind::Client).limit(20).offset(140);
    assert_eq!(spans(page).len(), 10);

    let events = |filter: Filter| manager.query_events(&filter).unwrap();
    assert_eq!(events(of(Filter::new().event_type("milestone"))).len(), 1);
    for spelling in ["node_failed", EventType::NODE_FAILED.as_str()] {
        assert_eq!(
            events(Filter::new().event_type(spelling)).len(),
            50,
            "{spelling}"
        );
    }
    let page = Filter::new().event_type("milestone").limit(100).offset(100);
    assert_eq!(events(page).len(), 50);

    let metrics = |filter: Filter| manager.query_metrics(&filter).unwrap();
    assert_eq!(metrics(of(Filter::new().name("api_cost"))).len(), 1);
    let costs = metrics(Filter::new().name("api_cost"));
    assert_eq!(costs.iter().map(|m| m.value).sum::<f64>(), 75.0);
    let page = Filter::new().name("api_cost").limit(100).offset(100);
    assert_eq!(metrics(page).len(), 50);
}

#[test]
fn spans_events_and_metrics_come_a_thousand_at_most_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let run = manager.start_trace("many");
    for i in 0..1100 {
        run.span("s").ok();
        run.event("milestone", "e").record();
        run.metric("m").gauge(i);
    }
    run.ok();
    let named = |name: &str| Filter::new().name(name);
    let most = |name: &str| named(name).limit(1100);
    assert_eq!(manager.query_spans(&most("s")).unwrap().len(), 1100);
    assert_eq!(manager.query_events(&most("e")).unwrap().len(), 1100);
    assert_eq!(manager.query_metrics(&most("m")).unwrap().len(), 1100);
    assert_eq!(manager.query_spans(&named("s")).unwrap().len(), 1000);
    assert_eq!(manager.query_events(&named("e")).unwrap().len(), 1000);
    assert_eq!(manager.query_metrics(&named("m")).unwrap().len(), 1000);
}

/// The documents' way down: traces, then the spans of each, with lengths that can be printed.
#[test]
fn a_trace_is_followed_down_to_its_spans() {
    let (_dir, manager) = recorded();
    for trace in manager.query_traces(&Filter::new().limit(5)).unwrap() {
        let length = trace.duration().unwrap().as_secs_f64();
        assert!(format!("{}: {length:.3}s", trace.name).starts_with("run 14"));
        let spans = manager.query_spans(&Filter::new().trace_id(trace.trace_id));
        let spans = spans.unwrap();
        assert_eq!(spans.len(), 2);
        for span in &spans {
            assert_eq!(span.trace_id, trace.trace_id);
            assert!(span.duration().unwrap() <= trace.duration().unwrap());
        }
        let tree = manager.get_trace(trace.trace_id).unwrap().unwrap();
        assert_eq!(tree.nodes.len(), 2);
    }
}

#[test]
fn what_was_flushed_is_found_also_by_who_opens_the_log_afterwards() {
    let (dir, manager) = recorded();
    manager.flush().unwrap();
    let reader = emberlog::LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.traces(&Filter::new().all()).unwrap().len(), 150);
    manager.shutdown().unwrap();
    assert_eq!(
        manager.query_traces(&Filter::new().all()).unwrap().len(),
        150
    );
}

#[test]
fn nothing_recorded_is_an_empty_answer_and_no_error() {
    let off = Manager::disabled();
    off.start_trace("nothing").ok();
    let dir = tempfile::tempdir().unwrap();
    let empty = Manager::open(Config::new(dir.path())).unwrap();
    for manager in [&off, &empty] {
        let all = Filter::new().all();
        assert!(manager.query_traces(&all).unwrap().is_empty());
        assert!(manager.query_spans(&all).unwrap().is_empty());
        assert!(manager.query_events(&all).unwrap().is_empty());
        assert!(manager.query_metrics(&all).unwrap().is_empty());
        assert!(manager.get_trace(TraceId::from_u128(1)).unwrap().is_none());
    }
}
