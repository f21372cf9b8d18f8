//! Who is inside whom, on which thread, and for how long: threads, futures, any order.

use super::*;

#[test]
fn bridged_and_native_spans_nest_in_each_other() {
    let recorded = Recorded::by(|manager| {
        // Native outside, and inside of what is inside.
        let run = manager.start_trace("native");
        let outer = run.span("native_outer");
        {
            let _bridged = info_span!("bridged").entered();
            run.span("native_inner").ok();
            info!("deep");
        }
        outer.ok();
        {
            let _entered = run.enter(None);
            let _direct = info_span!("bridged_direct").entered();
        }
        run.ok();
        // Bridged outside.
        let root = info_span!("bridged_root").entered();
        let current = manager.current_run();
        let native = current.node("native_node");
        info_span!("bridged_leaf").in_scope(|| ());
        native.ok();
        drop(current);
        drop(root);
        assert!(!manager.current_run().is_recording());
    });
    let native = recorded.trace("native");
    let outer = recorded.span("native_outer");
    let bridged = recorded.span("bridged");
    assert_eq!(bridged.trace_id, native.trace_id);
    assert_eq!(bridged.parent_span_id, Some(outer.span_id));
    let inner = recorded.span("native_inner");
    assert_eq!(inner.parent_span_id, Some(bridged.span_id));
    assert_eq!(recorded.event("deep").span_id, Some(bridged.span_id));
    let direct = recorded.span("bridged_direct");
    assert_eq!(
        (direct.trace_id, direct.parent_span_id),
        (native.trace_id, None)
    );
    let root = recorded.trace("bridged_root");
    assert_eq!((root.status, native.status), (Status::Ok, Status::Ok));
    let node = recorded.span("native_node");
    assert_eq!((node.trace_id, node.parent_span_id), (root.trace_id, None));
    assert_eq!(
        recorded.span("bridged_leaf").parent_span_id,
        Some(node.span_id)
    );
    assert_eq!(recorded.traces().len(), 2);
}

#[test]
fn spans_go_to_other_threads() {
    let recorded = Recorded::by(|manager| {
        let root = info_span!("root");
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let worker = root.clone();
        let manager = manager.clone();
        let thread = std::thread::spawn(move || {
            tracing::dispatcher::with_default(&dispatch, || {
                let _entered = worker.enter();
                let _span = info_span!("there").entered();
                manager.current_run().span("native_there").ok();
            });
        });
        thread.join().unwrap();
        // It closes here, and a child that was begun there, too.
        drop(root);
    });
    let there = recorded.span("there");
    assert_eq!(there.trace_id, recorded.trace("root").trace_id);
    assert_eq!(
        recorded.span("native_there").parent_span_id,
        Some(there.span_id)
    );
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Ready when it is polled again.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut yielded, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[instrument(skip(manager))]
async fn task(manager: Manager, number: u32) {
    info_span!("first", number).in_scope(|| ());
    yield_once().await;
    let native = format!("native_{number}");
    manager.current_run().span(&native).ok();
    async { yield_once().await }
        .instrument(info_span!("waits", number))
        .await;
}

/// Two futures that take turns on one thread are two traces that know nothing of each other, and
/// what waits is visible.
#[test]
fn futures_that_take_turns_keep_their_own_context() {
    let recorded = Recorded::by(|manager| {
        let mut one = pin!(task(manager.clone(), 1));
        let mut two = pin!(task(manager.clone(), 2));
        for round in 0..3 {
            let ready = [poll(&mut one).is_ready(), poll(&mut two).is_ready()];
            assert_eq!(ready, [round == 2; 2]);
        }
    });
    let traces = recorded.traces();
    assert_eq!(traces.len(), 2, "{traces:?}");
    for number in [1_u64, 2] {
        let native = recorded.span(&format!("native_{number}"));
        let trace = traces
            .iter()
            .find(|trace| trace.trace_id == native.trace_id)
            .unwrap();
        assert_eq!(trace.attributes.get("number"), Some(&Value::U64(number)));
        let spans = recorded.manager.query_spans(&Filter::new().all()).unwrap();
        let of: Vec<_> = spans
            .iter()
            .filter(|span| span.trace_id == trace.trace_id)
            .collect();
        assert_eq!(of.len(), 3, "{of:?}");
        for span in of.iter().filter(|span| span.name != native.name) {
            assert_eq!(
                span.attributes.get("number"),
                Some(&Value::U64(number)),
                "{span:?}"
            );
            assert_eq!(span.parent_span_id, None);
        }
    }
}

#[test]
fn open_spans_are_visible_and_ended_ones_are_there_once() {
    let recorded = Recorded::by(|manager| {
        let active = |name: &str| {
            let all = manager.query_spans(&Filter::new().all()).unwrap();
            let found: Vec<_> = all.iter().filter(|span| span.name == name).collect();
            assert!(found.len() <= 1, "{found:?}");
            found
                .first()
                .is_some_and(|span| span.status == Status::Unset)
        };
        let root = info_span!("root").entered();
        let span = info_span!("long");
        span.in_scope(|| assert!(active("long")));
        // It came back once, so it will be away for long.
        span.in_scope(|| assert!(active("long")));
        assert!(active("long"));
        span.in_scope(|| ());
        drop(span);
        assert!(!active("long"));
        drop(root);
    });
    assert_eq!(recorded.span("long").status, Status::Ok);
}

/// `tracing` allows to leave spans in any order.
#[test]
fn spans_may_be_left_in_any_order() {
    let recorded = Recorded::by(|_| {
        let root = info_span!("root").entered();
        let a = info_span!("a");
        let b = info_span!("b");
        let a_entered = a.enter();
        let b_entered = b.enter();
        drop(a_entered);
        info_span!("in_b").in_scope(|| ());
        drop(b_entered);
        info_span!("in_root").in_scope(|| ());
        drop(root);
        // Entered twice.
        let again = info_span!("again");
        let first = again.enter();
        let second = again.enter();
        drop(second);
        info_span!("still").in_scope(|| ());
        drop(first);
        info_span!("after").in_scope(|| ());
    });
    assert_eq!(
        recorded.span("in_b").parent_span_id,
        Some(recorded.span("b").span_id)
    );
    assert_eq!(recorded.span("in_root").parent_span_id, None);
    assert_eq!(
        recorded.span("in_root").trace_id,
        recorded.trace("root").trace_id
    );
    assert_eq!(
        recorded.span("still").trace_id,
        recorded.trace("again").trace_id
    );
    assert_ne!(
        recorded.trace("after").trace_id,
        recorded.trace("again").trace_id
    );
}
