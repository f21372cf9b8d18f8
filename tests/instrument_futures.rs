//! Async nodes: where their time went, and what begins inside them.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use emberlog::{instrument::Observer, Config, Filter, Manager, Span, Status};

fn manager() -> Manager {
    Manager::open(Config::create_memory()).unwrap()
}

fn named(manager: &Manager, name: &str) -> Span {
    let filter = Filter::new().name(name);
    manager.query_spans(&filter).unwrap().remove(0)
}

/// Pending once, then ready.
struct Once(bool);

impl Future for Once {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ns(span: &Span, key: &str) -> u64 {
    let number = span.attributes.get(key).unwrap().as_f64().unwrap();
    number as u64
}

#[test]
fn busy_and_idle_time_add_up_to_the_duration() {
    let manager = manager();
    let graph = Observer::new(&manager, "async");
    let run = graph.start();
    let work = async {
        run.run().span("inner").ok();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(3) {}
        Once(false).await;
        Ok::<_, io::Error>(1)
    };
    let mut future = Box::pin(run.call_async(&graph.node("fetch"), work));
    assert!(poll(future.as_mut()).is_pending());
    thread::sleep(Duration::from_millis(5));
    assert!(matches!(poll(future.as_mut()), Poll::Ready(Ok(1))));
    drop(future);
    run.ok();

    let span = named(&manager, "fetch");
    assert_eq!(span.status, Status::Ok);
    let (busy, idle) = (ns(&span, "busy_ns"), ns(&span, "idle_ns"));
    assert!(busy >= 3_000_000 && idle >= 5_000_000, "{busy} {idle}");
    // The node begins before its future is wrapped, and ends after its times were taken.
    assert!(busy + idle <= span.duration_ns.unwrap() + 100_000);
    assert_eq!(named(&manager, "inner").parent_span_id, Some(span.span_id));
}

#[test]
fn an_async_node_fails_with_its_error_and_is_cancelled_when_dropped() {
    let manager = manager();
    let graph = Observer::new(&manager, "async");
    let run = graph.start();
    let mut failing = Box::pin(run.call_async(&graph.node("fails"), async {
        Err::<(), _>(io::Error::other("no route"))
    }));
    assert!(poll(failing.as_mut()).is_ready());
    let mut dropped = Box::pin(run.call_async(&graph.node("dropped"), async {
        Once(false).await;
        Ok::<_, io::Error>(())
    }));
    assert!(poll(dropped.as_mut()).is_pending());
    drop(dropped);
    run.ok();
    assert_eq!(named(&manager, "fails").error.unwrap().message, "no route");
    let dropped = named(&manager, "dropped");
    assert_eq!(dropped.status, Status::Cancelled);
    assert!(dropped.attributes.get("busy_ns").is_some());
}
