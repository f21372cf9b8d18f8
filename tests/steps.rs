//! Nodes that follow one another on a thread.

use emberlog::{query::filter::Filter, Config, Manager, Status};

/// What a sequence of steps leaves: each node once, with its own parent, times that meet, and no
/// trace of the node before in the one that took its place.
#[test]
fn steps_follow_one_another_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let run = manager.start_trace("run");
    let outer = run.span("outer");
    let mut steps = run.steps();
    steps.enter("first");
    steps.set("only", "first");
    let long = "x".repeat(100);
    steps.enter(long.as_str());
    let inner = run.span("inner");
    // The step is not the innermost span now: it ends all the same, and `inner` returns to `outer`.
    steps.enter("third");
    inner.ok();
    let last = run.span("in third");
    last.ok();
    steps.ok();
    outer.ok();
    run.ok();
    manager.flush().unwrap();

    let mut spans = manager.query_spans(&Filter::new().limit(20)).unwrap();
    spans.sort_by_key(|span| (span.start_ns, span.span_id.get()));
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(spans.len(), 6);
    let (outer, first, second, third) = (find("outer"), find("first"), find(&long), find("third"));
    for step in [first, second, third] {
        assert_eq!(step.parent_span_id, Some(outer.span_id));
        assert_eq!(step.status, Status::Ok);
    }
    assert_eq!(find("inner").parent_span_id, Some(second.span_id));
    assert_eq!(find("in third").parent_span_id, Some(third.span_id));
    let end = |span: &emberlog::Span| span.start_ns + span.duration_ns.unwrap() as i64;
    // One reading of the clock; a nanosecond is lost where ticks are made nanoseconds twice.
    assert!((end(first) - second.start_ns).abs() <= 1);
    assert!((end(second) - third.start_ns).abs() <= 1);
    assert!(first.attributes.get("only").is_some());
    assert!(second.attributes.is_empty() && third.attributes.is_empty());
}

/// More open spans than the table shows: those beyond it are visible by a start record, and a step
/// among them takes a place when one gets free.
#[test]
fn steps_beyond_the_table_of_open_spans() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let run = manager.start_trace("run");
    let mut open: Vec<_> = (0..100).map(|_| run.span("filler")).collect();
    let mut steps = run.steps();
    for name in ["a", "b", "c"] {
        steps.enter(name);
    }
    manager.flush().unwrap();
    let active = || {
        let filter = Filter::new().active().limit(200);
        let mut names: Vec<_> = manager.query_spans(&filter).unwrap();
        names.retain(|span| span.name != "filler");
        names.into_iter().map(|span| span.name).collect::<Vec<_>>()
    };
    assert_eq!(active(), ["c"]);
    steps.ok();
    while let Some(span) = open.pop() {
        span.ok();
    }
    let mut steps = run.steps();
    for name in ["d", "e"] {
        steps.enter(name);
        assert_eq!(active(), [name]);
    }
    steps.ok();
    assert_eq!(active(), Vec::<String>::new());
    drop(open);
    run.ok();
    manager.flush().unwrap();
    let all = manager.query_spans(&Filter::new().limit(200)).unwrap();
    assert_eq!(all.len(), 105);
}
