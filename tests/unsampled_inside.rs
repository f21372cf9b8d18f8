//! Inside a trace that is not sampled nothing is recorded, also by code that was not handed its run:
//! functions with the attribute, bridges, and whatever asks for the run that is open.
//!
//! One test records, because the process has one instance.
#![cfg(feature = "macros")]

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use emberlog::{
    instrument::Observer, Config, Filter, InSpan, Manager, Run, SpanKind, TraceId, TraceOptions,
};

#[emberlog::trace]
fn traced() -> Option<TraceId> {
    here()
}

#[emberlog::trace]
async fn traced_later() -> Option<TraceId> {
    Yield(false).await;
    traced()
}

/// The trace that is open, which is told to those that are called.
fn here() -> Option<TraceId> {
    let run = emberlog::global().current_run();
    assert!(!run.is_sampled() || run.is_recording());
    assert_eq!(run.context().trace_id(), run.trace_id());
    assert_eq!(run.context().is_sampled(), run.is_recording());
    run.trace_id()
}

struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match std::mem::replace(&mut self.0, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// Polls each time on a thread of its own.
fn wander<F: Future + Send>(future: F) -> F::Output
where
    F::Output: Send,
{
    let mut future = pin!(future);
    loop {
        let poll = || {
            let mut context = Context::from_waker(Waker::noop());
            future.as_mut().poll(&mut context)
        };
        let polled = std::thread::scope(|scope| scope.spawn(poll).join().unwrap());
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

fn begin(manager: &Manager, graph: &str) -> Run {
    manager.start_trace_with(graph, &TraceOptions::new().graph(graph))
}

#[test]
fn nothing_inside_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).graph_sampling_rate("dropped", 0.0);
    let manager = emberlog::init(config).unwrap();
    let dropped = begin(&manager, "dropped");
    let id = dropped.trace_id();
    assert_eq!(here(), None);

    // Spans, nested or not, nodes, steps, and a thread that was told where it is.
    {
        let outer = dropped.span("outer");
        assert_eq!((outer.id(), outer.is_recording()), (None, false));
        assert_eq!((here(), traced()), (id, id));
        let inner = dropped.child_of(None, "inner", SpanKind::Client);
        assert_eq!(traced(), id);
        inner.ok();
        assert_eq!(traced(), id, "the outer one is still open");
        assert!(outer.child("child").id().is_none());
        outer.end_with(&Ok::<_, std::io::Error>(()));
    }
    assert_eq!(here(), None);
    let mut steps = dropped.steps();
    steps.enter("one");
    steps.enter("two");
    assert_eq!(traced(), id);
    steps.ok();
    assert_eq!(here(), None);
    let inside = || {
        let _scope = dropped.enter(None);
        traced()
    };
    assert_eq!(std::thread::scope(|s| s.spawn(inside).join().unwrap()), id);

    // Futures, wherever they are polled.
    let span = dropped.node("later").detach(&dropped);
    let seen = wander(async { Ok::<_, std::io::Error>(traced_later().await) }.in_span(span));
    assert_eq!(seen.unwrap(), id);
    let whole = emberlog::global();
    let graph = Observer::new(&whole, "dropped");
    let run = graph.start();
    let work = async { Ok::<_, std::io::Error>(traced_later().await) };
    let seen = wander(run.call_async(&graph.node("n"), work)).unwrap();
    assert_eq!((seen.is_some(), seen), (true, run.trace_id()));
    run.ok();
    assert_eq!(here(), None);

    // What is recorded inside it is, and what is not inside that is not.
    let kept = begin(&manager, "kept");
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| order.lock().unwrap().push((what, here()));
    let outside = dropped.span("outside");
    let recorded = kept.span("recorded");
    note("kept");
    let again = dropped.span("again");
    note("dropped");
    traced();
    again.ok();
    note("kept");
    traced();
    recorded.ok();
    note("dropped");
    outside.ok();
    let expected = [
        ("kept", kept.trace_id()),
        ("dropped", id),
        ("kept", kept.trace_id()),
        ("dropped", id),
    ];
    assert_eq!(*order.lock().unwrap(), expected);
    // Guards that do not nest leave nothing behind.
    let first = kept.span("first");
    let second = dropped.span("second");
    first.ok();
    second.ok();
    assert_eq!(here(), None);
    kept.ok();
    dropped.ok();

    let spans = manager.query_spans(&Filter::new().all()).unwrap();
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "recorded", "traced"]);
    let traces = manager.query_traces(&Filter::new().all()).unwrap();
    let names: Vec<_> = traces.iter().map(|trace| trace.name.as_str()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(manager.stats().dropped_count, 0);
    emberlog::reset().unwrap();
    // A handle of a log that is closed still works, and nothing is counted as lost.
    let late = begin(&manager, "dropped");
    late.span("late").ok();
}
