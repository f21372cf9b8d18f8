//! What an observed graph leaves behind: its trace, its spans, and the rows that follow from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Barrier},
    thread,
};

use emberlog::{
    analysis::Analyzer,
    instrument::{GraphRun, Observer},
    Config, Filter, Manager, Span, SpanId, SpanKind, Status, Trace, TraceId, TraceOptions, Value,
};

fn manager() -> Manager {
    Manager::open(Config::create_memory()).unwrap()
}

fn failure(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}

fn spans(manager: &Manager) -> Vec<Span> {
    let mut spans = manager.query_spans(&Filter::new().all()).unwrap();
    spans.sort_by_key(|span| (span.start_ns, span.span_id));
    spans
}

fn traces(manager: &Manager) -> Vec<Trace> {
    manager.query_traces(&Filter::new().all()).unwrap()
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attributes.get(key)?.as_str()
}

fn events(manager: &Manager, event_type: &str) -> Vec<emberlog::Event> {
    let filter = Filter::new().event_type(event_type).all();
    let mut events = manager.query_events(&filter).unwrap();
    events.sort_by_key(|event| (event.timestamp_ns, event.event_id));
    events
}

fn one(manager: &Manager, name: &str) -> Span {
    let mut found = spans(manager);
    found.retain(|span| span.name == name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found.remove(0)
}

#[test]
fn a_run_is_a_trace_with_a_graph_span_and_its_nodes_are_siblings_below() {
    let manager = manager();
    let graph = Observer::new(&manager, "indexer")
        .id("idx")
        .version("1.2")
        .graph_type("dag")
        .environment("test");
    let nodes = ["read", "parse", "store"].map(|id| graph.node(id).name(&format!("{id}Node")));
    let run = graph.start();
    for node in &nodes {
        run.call(node, |_| Ok::<_, io::Error>(())).unwrap();
    }
    run.ok();

    let trace = traces(&manager).remove(0);
    assert_eq!((trace.name.as_str(), trace.status), ("indexer", Status::Ok));
    for (key, value) in [
        ("graph_id", "idx"),
        ("graph_version", "1.2"),
        ("graph_type", "dag"),
        ("environment", "test"),
    ] {
        assert_eq!(trace.attributes.get(key), Some(&value.into()), "{key}");
    }
    let top = one(&manager, "indexer");
    assert_eq!((top.kind, top.parent_span_id), (SpanKind::GraphRun, None));
    assert_eq!(text(&top, "graph_id"), Some("idx"));
    let spans = spans(&manager);
    assert_eq!(spans.len(), 4);
    for (span, id) in spans[1..].iter().zip(["read", "parse", "store"]) {
        assert_eq!(span.kind, SpanKind::NodeExecution);
        assert_eq!(span.parent_span_id, Some(top.span_id), "no chain: D-14");
        assert_eq!(span.name, format!("{id}Node"));
        assert_eq!(text(span, "node.id"), Some(id));
        assert_eq!(text(span, "node.name"), Some(span.name.as_str()));
        assert_eq!(text(span, "graph_id"), Some("idx"));
        assert_eq!(span.status, Status::Ok);
        assert!(span.start_ns >= top.start_ns && span.end_ns() <= top.end_ns());
    }
}

#[test]
fn events_and_metrics_of_graph_and_nodes_follow_without_a_call() {
    let manager = manager();
    let graph = Observer::new(&manager, "indexer").version("7");
    let (good, bad) = (graph.node("good"), graph.node("bad").node_type("flaky"));
    let run = graph.start();
    run.node(&good).ok();
    run.node(&bad).fail(&failure("disk on fire"));
    run.fail(&failure("no result"));

    let names = |event_type| -> Vec<String> {
        let events = events(&manager, event_type);
        events.into_iter().map(|event| event.name).collect()
    };
    assert_eq!(names("graph.started"), ["indexer started"]);
    assert_eq!(names("graph.failed"), ["indexer failed"]);
    assert_eq!(names("node.started"), ["good started", "bad started"]);
    assert_eq!(names("node.finished"), ["good finished"]);
    let started = &events(&manager, "graph.started")[0];
    assert_eq!(started.attributes.get("graph_version"), Some(&"7".into()));
    let failed = &events(&manager, "graph.failed")[0];
    assert_eq!(failed.attributes.get("error"), Some(&"no result".into()));
    let failed = &events(&manager, "node.failed")[0];
    assert_eq!(failed.attributes.get("error"), Some(&"disk on fire".into()));
    assert_eq!(failed.attributes.get("node.type"), Some(&"flaky".into()));
    assert!(failed.attributes.get("duration").unwrap().as_f64() >= Some(0.0));

    let metrics = manager.query_metrics(&Filter::new().all()).unwrap();
    let mut sums = BTreeMap::<(&str, &str), f64>::new();
    for metric in &metrics {
        let node = metric.attributes.get("node.id").unwrap().as_str().unwrap();
        *sums.entry((node, metric.name.as_str())).or_default() += metric.value;
        assert_eq!(metric.trace_id, run.trace_id());
        if metric.name == "node_execution_count" {
            let of_graph = metric.attributes.get("graph_id");
            assert_eq!(of_graph, Some(&"indexer".into()));
            assert_eq!(metric.attributes.get("node_id"), Some(&node.into()));
        }
    }
    assert_eq!(sums.len(), 8, "four for each node");
    assert_eq!(sums[&("good", "node.success")], 1.0);
    assert_eq!(sums[&("bad", "node.success")], 0.0);
    assert_eq!(sums[&("bad", "node.error")], 1.0);
    assert_eq!(sums[&("bad", "node_execution_count")], 1.0);
}

#[test]
fn a_graph_without_a_name_is_a_graph_run() {
    let manager = manager();
    Observer::new(&manager, "").start().ok();
    let found = manager
        .query_traces(&Filter::new().name("graph_run"))
        .unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn runs_of_one_graph_at_the_same_time_never_meet() {
    let manager = manager();
    let graph = Arc::new(Observer::new(&manager, "shared"));
    let node = Arc::new(graph.node("work"));
    let barrier = Arc::new(Barrier::new(5));
    let threads = (0..5).map(|n| {
        let (graph, node, barrier) = (graph.clone(), node.clone(), barrier.clone());
        thread::spawn(move || {
            let run = graph.start();
            barrier.wait();
            for _ in 0..4 {
                let mut node = run.node(&node);
                node.set("runner", n);
                barrier.wait();
                node.ok();
            }
            run.ok();
            (run.trace_id().unwrap(), i64::from(n))
        })
    });
    let threads: Vec<_> = threads.collect();
    let ran: BTreeMap<TraceId, i64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(ran.len(), 5);
    let mut count = BTreeMap::<TraceId, usize>::new();
    for span in spans(&manager) {
        if span.kind == SpanKind::NodeExecution {
            *count.entry(span.trace_id).or_default() += 1;
            let runner = span.attributes.get("runner").unwrap().clone();
            assert_eq!(runner, Value::from(ran[&span.trace_id]), "D-16");
        }
    }
    assert_eq!(count.into_values().collect::<Vec<_>>(), [4; 5]);
}

#[test]
fn nodes_run_in_parallel_and_end_on_other_threads() {
    let manager = manager();
    let graph = Observer::new(&manager, "fan");
    let run = Arc::new(graph.start());
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let (run, node) = (run.clone(), graph.node(&format!("part{n}")));
            let begun = run.start_node(&node);
            thread::spawn(move || {
                let inside = begun.enter();
                run.run().span("inner").ok();
                drop(inside);
                begun.ok();
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    run.ok();
    let spans = spans(&manager);
    let top = one(&manager, "fan").span_id;
    let mut parts = BTreeSet::new();
    for span in spans.iter().filter(|s| s.kind == SpanKind::NodeExecution) {
        assert_eq!(span.parent_span_id, Some(top));
        parts.insert(span.span_id);
    }
    assert_eq!(parts.len(), 4);
    let inner = spans.iter().filter(|span| span.name == "inner");
    let parents: BTreeSet<SpanId> = inner.map(|span| span.parent_span_id.unwrap()).collect();
    assert_eq!(parents, parts, "each in its own node");
}

#[test]
fn a_graph_inside_a_node_is_a_span_in_the_same_trace() {
    let manager = manager();
    let (outer, inner) = (
        Observer::new(&manager, "outer"),
        Observer::new(&manager, "inner").version("2"),
    );
    let run = outer.start();
    let node = run.node(&outer.node("delegate"));
    let below = inner.start_in(run.run(), node.id());
    below.node(&inner.node("leaf")).ok();
    below.fail(&failure("inner trouble"));
    node.ok();
    run.ok();

    assert_eq!(traces(&manager).len(), 1);
    assert_eq!(traces(&manager)[0].status, Status::Ok);
    let [delegate, graph, leaf] = ["delegate", "inner", "leaf"].map(|name| one(&manager, name));
    assert_eq!(graph.kind, SpanKind::GraphRun);
    assert_eq!(graph.parent_span_id, Some(delegate.span_id));
    assert_eq!(text(&graph, "graph_version"), Some("2"));
    assert_eq!(leaf.parent_span_id, Some(graph.span_id));
    assert_eq!(text(&leaf, "graph_id"), Some("inner"));
    assert_eq!(graph.error.unwrap().message, "inner trouble");
    let started = events(&manager, "graph.started");
    let names: Vec<_> = started.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["outer started", "inner started"]);
    assert_eq!(events(&manager, "graph.failed")[0].name, "inner failed");
}

#[test]
fn every_way_out_leaves_the_right_status() {
    let manager = manager();
    let graph = Observer::new(&manager, "exits");
    let node = |name: &str| graph.node(name);
    let run = graph.start();
    drop(run.node(&node("dropped")));
    drop(run.start_node(&node("dropped elsewhere")));
    let panicked = thread::scope(|scope| {
        let work = || {
            run.call(&node("panicked"), |_| -> io::Result<()> {
                panic!("on purpose")
            })
        };
        scope.spawn(work).join()
    });
    assert!(panicked.is_err());
    let result = run.call(&node("failed"), |_| Err::<(), _>(failure("went wrong")));
    run.end_with(&result);
    run.ok();
    drop(graph.start());

    let status = |name: &str| one(&manager, name).status;
    assert_eq!(status("dropped"), Status::Cancelled);
    assert_eq!(status("dropped elsewhere"), Status::Cancelled);
    assert_eq!(status("panicked"), Status::Error);
    let failed = one(&manager, "failed").error.unwrap();
    assert_eq!(failed.message, "went wrong");
    assert_eq!(failed.error_type, "std::io::error::Error");
    let mut statuses: Vec<_> = traces(&manager).iter().map(|t| t.status).collect();
    statuses.sort();
    assert_eq!(statuses, [Status::Error, Status::Cancelled], "once each");
    assert_eq!(manager.stats().dropped_count, 0);
}

#[test]
fn a_retry_is_an_event_and_a_number_of_one_execution() {
    let manager = manager();
    let graph = Observer::new(&manager, "stubborn");
    let run = graph.start();
    let mut node = run.node(&graph.node("fetch"));
    node.retry(&failure("first"));
    node.retry(&failure("second"));
    node.ok();
    let mut node = run.start_node(&graph.node("later"));
    node.retry(&failure("third"));
    node.ok();
    run.ok();
    let fetch = one(&manager, "fetch");
    assert_eq!(fetch.status, Status::Ok);
    assert_eq!(fetch.attributes.get("retry_count"), Some(&2.into()));
    let later = one(&manager, "later");
    assert_eq!(later.attributes.get("retry_count"), Some(&1.into()));
    let retries = events(&manager, "retry.attempted");
    let told: Vec<_> = retries
        .iter()
        .map(|e| {
            let get = |key: &str| e.attributes.get(key).cloned().unwrap();
            (
                e.span_id.unwrap(),
                get("retry.attempt"),
                get("error.message"),
            )
        })
        .collect();
    let expected = [
        (fetch.span_id, 1.into(), "first".into()),
        (fetch.span_id, 2.into(), "second".into()),
        (later.span_id, 1.into(), "third".into()),
    ];
    assert_eq!(told, expected);
}

#[test]
fn edges_state_and_messages_are_events_of_the_run() {
    let manager = manager();
    let graph = Observer::new(&manager, "router");
    let (a, b) = (graph.node("a"), graph.node("b"));
    let run = graph.start();
    run.edge_evaluated(&a, &b, true);
    run.edge_evaluated(&a, "c", false);
    run.edge_taken(&a, &b);
    let node = run.node(&b);
    run.state_updated("count").with("value", 3).record();
    run.message_sent(&a, &b).with("bytes", 10).record();
    run.message_received(&a, &b).record();
    let id = node.id();
    node.ok();
    run.ok();

    let told = |event_type: &str, keys: [&str; 3]| -> Vec<[Option<Value>; 3]> {
        let events = events(&manager, event_type);
        assert!(events.iter().all(|e| e.trace_id == run.trace_id()));
        let of = |e: &emberlog::Event| keys.map(|key| e.attributes.get(key).cloned());
        events.iter().map(of).collect()
    };
    let some = |value: Value| Some(value);
    let keys = ["edge.from", "edge.to", "edge.result"];
    assert_eq!(
        told("edge.evaluated", keys),
        [
            [some("a".into()), some("b".into()), some(true.into())],
            [some("a".into()), some("c".into()), some(false.into())],
        ]
    );
    assert_eq!(
        told("edge_taken", keys),
        [[some("a".into()), some("b".into()), None]]
    );
    assert_eq!(
        told("state.updated", ["state.key", "value", "x"]),
        [[some("count".into()), some(3.into()), None]]
    );
    assert_eq!(
        told("message.sent", ["message.from", "message.to", "bytes"]),
        [[some("a".into()), some("b".into()), some(10.into())]]
    );
    assert_eq!(told("message.received", ["message.from"; 3]).len(), 1);
    assert_eq!(events(&manager, "state.updated")[0].span_id, id);
    assert_eq!(events(&manager, "edge.taken")[0].span_id, run.span_id());
}

#[test]
fn the_trace_id_is_there_while_the_graph_runs_and_can_be_given() {
    let manager = manager();
    let graph = Observer::new(&manager, "remote");
    let id = TraceId::from_u128(0xabc);
    let caller = SpanId::new(7).unwrap();
    let options = TraceOptions::new()
        .id(id)
        .remote_parent(caller)
        .attribute("tenant", "blue");
    let run = graph.start_with(&options);
    assert_eq!(run.trace_id(), Some(id));
    let trace = manager.get_trace(id).unwrap().unwrap();
    assert!(trace.trace.is_active());
    assert_eq!(
        trace.trace.attributes.get("graph_id"),
        Some(&"remote".into())
    );
    assert_eq!(trace.trace.attributes.get("tenant"), Some(&"blue".into()));
    let open = one(&manager, "remote");
    assert_eq!((open.kind, open.end_ns()), (SpanKind::GraphRun, None));
    run.ok();
}

#[test]
fn predecessors_stand_with_the_span() {
    let manager = manager();
    let graph = Observer::new(&manager, "join");
    let one_before = graph.node("b").after(["a"]);
    let (two_before, free) = (graph.node("c").after(["a", "b"]), graph.node("d"));
    let run = graph.start();
    run.node(&one_before).ok();
    run.node(&two_before).ok();
    let mut node = run.node(&free);
    node.after(&["c"]);
    node.ok();
    run.ok();
    let after = |name: &str| one(&manager, name).attributes.get("node.after").cloned();
    assert_eq!(after("b"), Some("a".into()));
    assert_eq!(
        after("c"),
        Some(vec![Value::from("a"), Value::from("b")].into())
    );
    assert_eq!(after("d"), Some("c".into()));
}

#[test]
fn nothing_is_recorded_without_a_manager_that_records() {
    let manager = Manager::disabled();
    let graph = Observer::new(&manager, "off");
    let node = graph.node("a");
    let run = graph.start();
    assert!(!run.is_recording() && run.trace_id().is_none());
    let value = run.call(&node, |node| {
        node.retry(&failure("x"));
        node.input(&1);
        Ok::<_, io::Error>(5)
    });
    assert_eq!(value.unwrap(), 5);
    run.edge_taken("a", "b");
    run.start_node(&node).ok();
    run.ok();
    fn shared<T: Send + Sync>() {}
    shared::<GraphRun>();
    shared::<Observer>();
}

#[test]
fn the_analysis_has_edges_and_waits_of_predecessors_and_no_node_of_the_graph() {
    let manager = manager();
    let graph = Observer::new(&manager, "join");
    let [a, b] = ["a", "b"].map(|id| graph.node(id));
    let (c, d) = (
        graph.node("c").after(["a", "b"]),
        graph.node("d").after(["never"]),
    );
    for _ in 0..3 {
        let run = graph.start();
        for node in [&a, &b, &c, &d] {
            run.node(node).ok();
        }
        run.ok();
    }
    let reader = manager.reader().unwrap().unwrap();
    let analyzer = Analyzer::new().graph("join").min_executions(1);
    // Once from records, once from rows.
    for analysis in [analyzer.log(&reader), analyzer.scan(&*reader)] {
        let report = analysis.unwrap().report.unwrap();
        let mut edges: Vec<_> = report
            .edges
            .iter()
            .map(|edge| {
                let from = edge.from.clone().unwrap();
                assert!(edge.recorded && edge.traversals == 3, "{edge:?}");
                (from, edge.to.clone(), edge.avg_wait.is_some())
            })
            .collect();
        edges.sort();
        let edge = |from: &str, to: &str, waits| (from.to_owned(), to.to_owned(), waits);
        let expected = [
            edge("a", "c", true),
            edge("b", "c", true),
            edge("never", "d", false),
        ];
        assert_eq!(edges, expected);
        let mut nodes: Vec<_> = report.node_metrics.iter().map(|n| &n.node_id[..]).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["a", "b", "c", "d"]);
        assert_eq!(report.paths[0].nodes, ["a", "b", "c", "d"]);
    }
}
