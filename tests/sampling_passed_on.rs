//! Sampling across processes and bridges: what a caller decided holds here, what is decided here is
//! told to those that are called, and code that speaks through a bridge is sampled as a whole too.

use emberlog::{
    propagation::TraceContext, sampling::Threshold, Config, Filter, Manager, TraceOptions,
};

/// Kept by a rate of a quarter, or not: its last 56 bits decide.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn open(rate: f64) -> (Manager, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path()).sampling_rate(rate)).unwrap();
    (manager, dir)
}

fn called(flags: &str, tracestate: &str) -> TraceOptions {
    let parent = format!("00-{TRACE}-{SPAN}-{flags}");
    let headers = [("traceparent", parent.as_str()), ("tracestate", tracestate)];
    TraceContext::extract(&headers[..]).options()
}

#[test]
fn a_caller_decides_and_is_told_on() {
    // Own rates that would say the opposite.
    for (rate, flags, recorded) in [(0.0, "01", 1), (1.0, "00", 0)] {
        let (manager, _dir) = open(rate);
        let run = manager.start_trace_with("called", &called(flags, "vendor=x,ot=th:8"));
        run.span("inside").ok();
        let told = run.context();
        assert_eq!(told.trace_id(), Some(TRACE.parse().unwrap()));
        assert_eq!(told.is_sampled(), recorded == 1, "{flags}");
        assert_eq!(told.tracestate(), "vendor=x,ot=th:8");
        run.ok();
        let traces = manager.query_traces(&Filter::new().all()).unwrap();
        assert_eq!(traces.len(), recorded, "{flags}");
        assert!(traces.iter().all(|trace| trace.weight() == 2.0));
        let spans = manager.query_spans(&Filter::new().all()).unwrap();
        assert_eq!(spans.len(), recorded, "{flags}");
    }
}

#[test]
fn ones_own_threshold_is_told_where_it_keeps_less_than_all() {
    let (manager, _dir) = open(0.25);
    let quarter = Threshold::of_rate(0.25);
    let (mut kept, mut dropped) = (0, 0);
    while kept < 5 || dropped < 5 {
        let run = manager.start_trace("root");
        let told = run.context();
        let id = run.trace_id().unwrap();
        assert_eq!(told.is_sampled(), quarter.keeps(id));
        match told.is_sampled() {
            true => assert_eq!(told.tracestate(), "ot=th:c"),
            false => assert_eq!(told.tracestate(), ""),
        }
        kept += u32::from(told.is_sampled());
        dropped += u32::from(!told.is_sampled());
    }
    let (manager, _dir) = open(1.0);
    let told = manager.start_trace("root").context();
    assert_eq!((told.is_sampled(), told.tracestate()), (true, ""));
}

#[cfg(feature = "tracing-subscriber-0-3")]
mod bridged {
    use super::*;
    use emberlog::bridge::tracing_subscriber_0_3::{Layer, SpanExt};
    use tracing_subscriber::layer::SubscriberExt;

    /// A root, what is inside it on this and another thread, and native code below.
    fn work(manager: &Manager) -> TraceContext {
        let root = tracing::info_span!("root");
        let told = root.trace_context();
        let inside = root.enter();
        tracing::info!("an event");
        let child = tracing::info_span!("child");
        child.in_scope(|| {
            let run = manager.current_run();
            run.span("native").ok();
            run.event("custom", "native event").record();
        });
        std::thread::scope(|scope| {
            let subscriber = tracing::dispatcher::get_default(Clone::clone);
            scope.spawn(move || {
                tracing::dispatcher::with_default(&subscriber, || {
                    child.in_scope(|| drop(tracing::info_span!("elsewhere").entered()));
                });
            });
        });
        drop(inside);
        told
    }

    fn counts(rate: f64, errors: bool) -> (TraceContext, [usize; 3]) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path()).sampling_rate(rate);
        let manager = Manager::open(config.force_sample_on_error(errors)).unwrap();
        let subscriber = tracing_subscriber::registry().with(Layer::new(&manager));
        let told = tracing::subscriber::with_default(subscriber, || work(&manager));
        let all = Filter::new().all();
        let counts = [
            manager.query_traces(&all).unwrap().len(),
            manager.query_spans(&all).unwrap().len(),
            manager.query_events(&all.event_type("log")).unwrap().len(),
        ];
        (told, counts)
    }

    /// Whoever calls from a bridged span, or finds the run on the thread, says how likely the trace is.
    #[test]
    fn ones_own_threshold_is_told_from_wherever_the_call_is_made() {
        let (manager, _dir) = open(0.25);
        let subscriber = tracing_subscriber::registry().with(Layer::new(&manager));
        let mut kept = 0;
        tracing::subscriber::with_default(subscriber, || {
            while kept < 5 {
                let root = tracing::info_span!("root");
                let told = root.in_scope(|| {
                    let child = tracing::info_span!("child");
                    let native = child.in_scope(|| manager.current_run().context());
                    [root.trace_context(), child.trace_context(), native]
                });
                let sampled = told[0].is_sampled();
                kept += u32::from(sampled);
                for told in told {
                    assert!(told.trace_id().is_some());
                    assert_eq!(told.is_sampled(), sampled);
                    assert_eq!(told.tracestate(), if sampled { "ot=th:c" } else { "" });
                }
            }
        });
        let run = loop {
            let run = manager.start_trace("native");
            if run.is_sampled() {
                break run;
            }
        };
        let _span = run.span("open");
        assert_eq!(manager.current_run().context(), run.context());
        assert_eq!(run.context().tracestate(), "ot=th:c");
    }

    #[test]
    fn a_bridged_trace_is_recorded_whole_or_not_at_all() {
        let (told, counts) = counts(1.0, false);
        assert!(told.is_sampled());
        assert_eq!(counts[..2], [1, 3], "root; child, native, elsewhere");
        let (told, counts) = super::bridged::counts(0.0, false);
        assert!(told.trace_id().is_some() && !told.is_sampled());
        assert_eq!(counts, [0, 0, 0]);
        // Held until it is known that it did not fail.
        let (told, counts) = super::bridged::counts(0.0, true);
        assert!(!told.is_sampled());
        assert_eq!(counts, [0, 0, 0]);
    }
}
