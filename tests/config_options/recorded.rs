//! What is recorded, and of what.

use super::*;

#[test]
pub(super) fn enabled() {
    let dir = folder();
    let log = dir.path().join("log");
    let manager = open(&log, &[("enabled", "false")]);
    record_one_of_each(&manager);
    assert!(!manager.is_recording() && manager.flush().is_ok());
    assert_eq!(manager.stats().state, EngineState::Disabled);
    assert_eq!(names(&manager), [const { Vec::<String>::new() }; 4]);
    assert!(!log.exists());
    assert!(open(&log, &[("enabled", "true")]).is_recording());
    assert!(log.exists());
}

#[test]
pub(super) fn dir() {
    let dir = folder();
    let log = dir.path().join("deep/log");
    let text = log.to_str().unwrap();
    let manager = Manager::open(with(Config::new(""), &[("dir", text)])).unwrap();
    record_one_of_each(&manager);
    manager.flush().unwrap();
    assert!(Snapshot::open(&log).unwrap().end() > Position::START);
}

#[test]
pub(super) fn in_memory() {
    let config = with(Config::new(""), &[("in_memory", "16 MiB")]);
    let manager = Manager::open(config).unwrap();
    let log = manager.dir().unwrap().to_owned();
    assert!(log.exists());
    record_one_of_each(&manager);
    assert_eq!(names(&manager)[0], ["run"]);
    drop(manager);
    assert!(!log.exists());
}

#[test]
pub(super) fn enable_traces() {
    let dir = folder();
    let manager = open(dir.path(), &[("enable_traces", "false")]);
    record_one_of_each(&manager);
    let [traces, spans, events, metrics] = names(&manager);
    assert_eq!((traces.len(), spans.len()), (0, 0));
    assert!(events.contains(&"outside".to_owned()), "{events:?}");
    assert!(metrics.contains(&"temperature".to_owned()), "{metrics:?}");
}

#[test]
pub(super) fn enable_events() {
    for (text, expected) in [("true", 6), ("off", 0)] {
        let dir = folder();
        let manager = open(dir.path(), &[("enable_events", text)]);
        record_one_of_each(&manager);
        let [traces, spans, events, metrics] = names(&manager);
        // Two recorded, graph and node started, graph finished, node failed.
        assert_eq!(events.len(), expected, "{events:?}");
        assert_eq!((traces.len(), spans.len()), (1, 1));
        assert!(metrics.contains(&"load".to_owned()));
    }
}

#[test]
pub(super) fn enable_metrics() {
    for (text, recorded) in [("true", true), ("0", false)] {
        let dir = folder();
        let manager = open(dir.path(), &[("enable_metrics", text)]);
        record_one_of_each(&manager);
        let [_, spans, events, metrics] = names(&manager);
        for name in ["load", "temperature", "node.duration", "node.error"] {
            assert_eq!(metrics.contains(&name.to_owned()), recorded, "{metrics:?}");
        }
        assert!(metrics.is_empty() != recorded);
        assert_eq!(spans.len(), 1);
        assert!(events.contains(&"half".to_owned()));
    }
}

/// The last 56 bits of an id that rates of a quarter and more keep.
const QUARTER: u64 = 0xc0_0000_0000_0000;

/// Names of the traces that are kept so far; these runs come to them, each with a span, and with
/// ids that end in `bits`.
pub(super) fn kept(
    manager: &Manager,
    bits: u64,
    options: &TraceOptions,
    runs: &[&str],
) -> Vec<String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    for name in runs {
        let high = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = TraceId::from_u128(u128::from(high) << 64 | u128::from(bits));
        let run = manager.start_trace_with(*name, &options.clone().id(id));
        run.span("work").ok();
        run.ok();
    }
    let [traces, spans, ..] = names(manager);
    assert_eq!(traces.len(), spans.len());
    traces
}

pub(super) fn plain() -> TraceOptions {
    TraceOptions::new()
}

#[test]
pub(super) fn sampling_rate() {
    for (text, expected) in [("0", 0), ("0.2", 0), ("0.25", 1), ("1", 1)] {
        let dir = folder();
        let manager = open(dir.path(), &[("sampling_rate", text)]);
        assert_eq!(
            kept(&manager, QUARTER, &plain(), &["run"]).len(),
            expected,
            "{text}"
        );
    }
}

#[test]
pub(super) fn graph_sampling_rates() {
    let dir = folder();
    let rates = (
        "graph_sampling_rates",
        "billing*=1,billing-test=0,crawler=0",
    );
    let manager = open(dir.path(), &[rates, ("sampling_rate", "0.25")]);
    let runs = ["billing-eu", "billing-test", "crawler", "other"];
    let all = kept(&manager, QUARTER, &plain(), &runs);
    assert_eq!(all, ["billing-eu", "other"]);
    // The graph counts more than the name of the run.
    let all = kept(
        &manager,
        QUARTER,
        &plain().graph("crawler"),
        &["billing-us"],
    );
    assert_eq!(all.len(), 2);
    kept(
        &manager,
        QUARTER,
        &plain().graph("billing-us"),
        &["crawler"],
    );
    let found = manager
        .query_traces(&Filter::new().graph("billing-us"))
        .unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, "crawler"));
}

#[test]
pub(super) fn parent_based_sampling() {
    for (text, expected) in [("true", ["yes"]), ("false", ["no"])] {
        let dir = folder();
        let options = [("parent_based_sampling", text), ("sampling_rate", "0.25")];
        let manager = open(dir.path(), &options);
        // One that the rate keeps and the caller did not, and the other way round.
        kept(
            &manager,
            QUARTER,
            &plain().remote_sampled(false, None),
            &["no"],
        );
        let all = kept(&manager, 1, &plain().remote_sampled(true, None), &["yes"]);
        assert_eq!(all, expected);
    }
}

/// What the variables of OpenTelemetry's sampler mean, in ours.
pub(super) fn sampler(vars: &[(&str, &str)], rate: f64, parent_based: bool) {
    let config = Config::default().vars(vars.iter().copied()).unwrap();
    let expected = Config::default()
        .sampling_rate(rate)
        .parent_based_sampling(parent_based);
    assert_eq!(config, expected, "{vars:?}");
}

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: (&str, &str) = ("OTEL_TRACES_SAMPLER_ARG", "0.25");

#[test]
pub(super) fn traces_sampler() {
    for (name, rate, parent_based) in [
        ("always_on", 1.0, false),
        ("always_off", 0.0, false),
        ("traceidratio", 1.0, false),
        ("parentbased_always_on", 1.0, true),
        ("parentbased_always_off", 0.0, true),
        ("parentbased_traceidratio", 1.0, true),
    ] {
        sampler(&[(SAMPLER, name)], rate, parent_based);
        let rate = if name.ends_with("ratio") { 0.25 } else { rate };
        sampler(&[(SAMPLER, name), ARGUMENT], rate, parent_based);
    }
}

#[test]
pub(super) fn traces_sampler_arg() {
    sampler(&[ARGUMENT], 1.0, true);
    let ratio = (SAMPLER, "parentbased_traceidratio");
    sampler(&[ARGUMENT, ratio], 0.25, true);
    // Our own name counts more.
    sampler(
        &[ARGUMENT, ratio, ("EMBERLOG_SAMPLING_RATE", "0.5")],
        0.5,
        true,
    );
    let wrong = [ratio, ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let problems = Config::default().vars(wrong).unwrap_err().problems;
    assert_eq!(
        problems,
        ["sampling_rate must be between 0.0 and 1.0, not 2.0"]
    );
}

/// How many of four runs are kept: failed or not, with an id that every rate keeps or only all do.
pub(super) fn outcomes(options: &[(&str, &str)]) -> [usize; 4] {
    [(true, u64::MAX), (true, 1), (false, u64::MAX), (false, 1)].map(|(failed, low)| {
        let dir = folder();
        let rate = [("sampling_rate", "0")];
        let manager = open(dir.path(), &[&rate, options].concat());
        let id = TraceId::from_u128(u128::from(low));
        let run = manager.start_trace_with("run", &plain().id(id));
        run.span("work").ok();
        run.end(if failed { Status::Error } else { Status::Ok });
        let [traces, spans, ..] = names(&manager);
        assert_eq!(traces.len(), spans.len());
        traces.len()
    })
}

#[test]
pub(super) fn force_sample_on_error() {
    assert_eq!(outcomes(&[("force_sample_on_error", "true")]), [1, 1, 0, 0]);
    assert_eq!(outcomes(&[("force_sample_on_error", "false")]), [0; 4]);
    let both = [
        ("force_sample_on_error", "true"),
        ("error_sample_rate", "0.5"),
    ];
    let problems = with(Config::new("log"), &both).validate().unwrap_err();
    assert!(problems.to_string().contains("error_sample_rate must be 1"));
}

#[test]
pub(super) fn error_sample_rate() {
    assert_eq!(outcomes(&[("error_sample_rate", "0.5")]), [1, 0, 0, 0]);
    assert_eq!(outcomes(&[("error_sample_rate", "1")]), [1, 1, 0, 0]);
    assert_eq!(outcomes(&[("error_sample_rate", "none")]), [0; 4]);
}

#[test]
pub(super) fn slow_threshold_seconds() {
    // Every run takes at least no time, and none an hour.
    assert_eq!(outcomes(&[("slow_threshold_seconds", "0")]), [1; 4]);
    assert_eq!(outcomes(&[("slow_threshold_seconds", "1h")]), [0; 4]);
}

#[test]
pub(super) fn enable_adaptive_sampling() {
    let adaptive = ("enable_adaptive_sampling", "true");
    // A little of an hour keeps few traces: that with the greatest number is one of them.
    assert_eq!(
        outcomes(&[adaptive, ("slow_threshold_seconds", "1h")]),
        [1, 0, 1, 0]
    );
    assert_eq!(outcomes(&[adaptive]), [1, 0, 1, 0]);
    assert_eq!(outcomes(&[("enable_adaptive_sampling", "false")]), [0; 4]);
}

#[test]
pub(super) fn capture_errors() {
    for (text, kept) in [("true", true), ("false", false)] {
        let dir = folder();
        let manager = open(dir.path(), &[("capture_errors", text)]);
        record_one_of_each(&manager);
        let span = &manager.query_spans(&Filter::new()).unwrap()[0];
        let message = span.error.as_ref().map(|error| error.message.as_str());
        assert_eq!(message == Some("too slow"), kept, "{span:?}");
        assert_eq!(span.status, emberlog::Status::Error);
    }
}

/// Runs a graph with two nodes, one called `a`, the other `b` by its name; gives the spans.
pub(super) fn observed(options: &[(&str, &str)]) -> (Manager, tempfile::TempDir, Vec<Span>) {
    let dir = folder();
    let manager = open(dir.path(), options);
    let graph = Observer::new(&manager, "graph");
    let run = graph.start();
    let mut node = run.node(&graph.node("a"));
    node.input("some input");
    node.output(&[1, 2]);
    node.ok();
    run.start_node(&graph.node("second").name("b")).ok();
    run.ok();
    let outer = manager.start_trace("by hand");
    let run = graph.start_in(&outer, None);
    run.node(&graph.node("a")).ok();
    run.ok();
    outer.ok();
    let spans = manager.query_spans(&Filter::new().all()).unwrap();
    (manager, dir, spans)
}

pub(super) fn count(spans: &[Span], kind: SpanKind) -> usize {
    spans.iter().filter(|span| span.kind == kind).count()
}

#[test]
pub(super) fn auto_instrument_graphs() {
    for (text, traces, graphs, nodes) in [("true", 2, 2, 3), ("false", 1, 0, 1)] {
        let (manager, _dir, spans) = observed(&[("auto_instrument_graphs", text)]);
        assert_eq!(names(&manager)[0].len(), traces, "{text}");
        assert_eq!(count(&spans, SpanKind::GraphRun), graphs, "{text}");
        // Those inside a trace that was begun by hand stay.
        assert_eq!(count(&spans, SpanKind::NodeExecution), nodes, "{text}");
    }
}

#[test]
pub(super) fn auto_instrument_nodes() {
    for (text, nodes) in [("true", 3), ("false", 0)] {
        let (manager, _dir, spans) = observed(&[("auto_instrument_nodes", text)]);
        assert_eq!(count(&spans, SpanKind::NodeExecution), nodes);
        assert_eq!(count(&spans, SpanKind::GraphRun), 2);
        manager.start_trace("by hand").node("manual").ok();
        let spans = manager.query_spans(&Filter::new().all()).unwrap();
        assert_eq!(count(&spans, SpanKind::NodeExecution), nodes + 1);
    }
}

#[test]
pub(super) fn instrument_nodes() {
    for (text, expected) in [
        ("", &["a", "a", "b"][..]),
        ("b", &["b"]),
        ("second, nobody", &["b"]),
        ("a,b", &["a", "a", "b"]),
    ] {
        let (_manager, _dir, spans) = observed(&[("instrument_nodes", text)]);
        let nodes = spans.iter().filter(|s| s.kind == SpanKind::NodeExecution);
        let mut names: Vec<_> = nodes.map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{text:?}");
    }
}

/// What the first node has under a key.
pub(super) fn captured(options: &[(&str, &str)], key: &str) -> Option<Value> {
    let (_manager, _dir, spans) = observed(options);
    let with = spans.iter().filter(|span| span.name == "a");
    let mut values = with.filter_map(|span| span.attributes.get(key).cloned());
    values.next()
}

#[test]
pub(super) fn capture_inputs() {
    assert_eq!(captured(&[], "inputs"), None, "not by default");
    let text = Some("\"some input\"".into());
    assert_eq!(captured(&[("capture_inputs", "true")], "inputs"), text);
    assert_eq!(captured(&[("capture_inputs", "true")], "outputs"), None);
}

#[test]
pub(super) fn capture_outputs() {
    assert_eq!(captured(&[], "outputs"), None, "not by default");
    let text = Some("[1, 2]".into());
    assert_eq!(captured(&[("capture_outputs", "true")], "outputs"), text);
    assert_eq!(captured(&[("capture_outputs", "true")], "inputs"), None);
}

#[test]
pub(super) fn capture_sizes() {
    assert_eq!(captured(&[], "input_size"), None, "not by default");
    let on = [("capture_sizes", "true"), ("capture_bytes", "1")];
    assert_eq!(captured(&on, "input_size"), Some(12u64.into()));
    assert_eq!(captured(&on, "output_size"), Some(6u64.into()));
    assert_eq!(captured(&on, "inputs"), None, "only how long it is");
}

#[test]
pub(super) fn capture_bytes() {
    for (bytes, text) in [("5", "\"some"), ("12", "\"some input\"")] {
        let on = [("capture_inputs", "true"), ("capture_bytes", bytes)];
        assert_eq!(captured(&on, "inputs"), Some(text.into()));
    }
    let both = [
        ("capture_inputs", "true"),
        ("capture_sizes", "true"),
        ("capture_bytes", "3"),
    ];
    assert_eq!(captured(&both, "inputs"), Some("\"so".into()));
    assert_eq!(captured(&both, "input_size"), Some(12u64.into()));
    for bytes in [0, (512 << 10) + 1] {
        let problems = Config::new("log").capture_bytes(bytes).validate();
        let problems = problems.unwrap_err().problems;
        assert!(problems[0].starts_with("capture_bytes must be from 1 to 524288"));
    }
}

#[test]
pub(super) fn propagate_context() {
    for (text, on) in [("true", true), ("false", false)] {
        continues(&[("propagate_context", text)], on);
    }
}

#[test]
pub(super) fn metric_interval() {
    let dir = folder();
    // A reader of its own: the manager's queries write what is there first.
    let rows = |dir: &Path| {
        let log = LogReader::open(dir).unwrap();
        log.metrics(&Filter::new().name("jobs")).unwrap().len()
    };
    let short = dir.path().join("short");
    let manager = open(&short, &[("metric_interval", "20ms")]);
    let jobs = manager.meter("jobs").counter();
    jobs.add(1);
    until("a record of the first interval", || rows(&short) == 1);
    jobs.add(1);
    until("a record of a later one", || rows(&short) == 2);
    // Only when it is asked for: nothing starts that could write.
    let never = dir.path().join("never");
    let manager = open(&never, &[("metric_interval", "0")]);
    manager.meter("jobs").counter().add(1);
    assert_eq!(rows(&never), 0);
    manager.flush().unwrap();
    assert_eq!(rows(&never), 1);
}

#[test]
pub(super) fn propagators() {
    for (text, on) in [
        ("tracecontext,baggage", true),
        ("b3, TraceContext", true),
        ("b3", false),
        ("none", false),
    ] {
        continues(&[("propagators", text)], on);
    }
}

/// Whether a trace that began elsewhere goes on here, and goes on from here.
pub(super) fn continues(options: &[(&str, &str)], on: bool) {
    let dir = folder();
    let manager = open(dir.path(), options);
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("00-{id}-00f067aa0ba902b7-01");
    let sent = vec![("traceparent", header.as_str()), ("baggage", "user=7")];
    let caller = emberlog::propagation::TraceContext::extract(&sent);
    let run = manager.start_trace_with("serve", &caller.options());
    let mut headers = Vec::new();
    run.context().inject(&mut headers);
    run.ok();
    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert_eq!(trace.trace_id.to_string() == id, on, "{options:?}");
    assert_eq!(trace.remote_parent.is_some(), on, "{options:?}");
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let expected: &[_] = if on { &["traceparent", "baggage"] } else { &[] };
    assert_eq!(names, expected, "{options:?}");
}
