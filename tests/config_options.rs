//! Each option changes something that can be seen. The table at the end names the test of each; an
//! option without one fails.

mod config_support;

use std::{
    path::Path,
    process::Command,
    sync::{
        atomic::{AtomicU64, Ordering},
        Barrier,
    },
    time::Duration,
};

use config_support::{open, refusing, told, until, with};
use emberlog::{
    config::{BackendKind, Setting},
    instrument::Observer,
    log::{Position, Snapshot},
    AttributeMap, Config, EngineState, Filter, LogReader, Manager, Preset, Span, SpanKind, Status,
    TraceId, TraceOptions, Value,
};

const LONG: Duration = Duration::from_secs(60);

/// A run with a span, an event and a metric inside, and an event and a metric outside.
fn record_one_of_each(manager: &Manager) {
    let run = manager.start_trace("run");
    let span = run.node("work");
    run.event("milestone", "half").record();
    run.metric("load").gauge(0.5);
    span.fail_with("Timeout", "too slow");
    run.ok();
    manager.event("milestone", "outside").record();
    manager.metric("temperature").gauge(20.0);
}

/// Names of traces, spans, events and metrics, sorted.
fn names(manager: &Manager) -> [Vec<String>; 4] {
    let all = Filter::new().all();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let traces = manager.query_traces(&all).unwrap();
    let spans = manager.query_spans(&all).unwrap();
    let events = manager.query_events(&all).unwrap();
    let metrics = manager.query_metrics(&all).unwrap();
    [
        sorted(traces.into_iter().map(|row| row.name).collect()),
        sorted(spans.into_iter().map(|row| row.name).collect()),
        sorted(events.into_iter().map(|row| row.name).collect()),
        sorted(metrics.into_iter().map(|row| row.name).collect()),
    ]
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn enabled() {
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
fn dir() {
    let dir = folder();
    let log = dir.path().join("deep/log");
    let text = log.to_str().unwrap();
    let manager = Manager::open(with(Config::new(""), &[("dir", text)])).unwrap();
    record_one_of_each(&manager);
    manager.flush().unwrap();
    assert!(Snapshot::open(&log).unwrap().end() > Position::START);
}

#[test]
fn in_memory() {
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
fn enable_traces() {
    let dir = folder();
    let manager = open(dir.path(), &[("enable_traces", "false")]);
    record_one_of_each(&manager);
    let [traces, spans, events, metrics] = names(&manager);
    assert_eq!((traces.len(), spans.len()), (0, 0));
    assert!(events.contains(&"outside".to_owned()), "{events:?}");
    assert!(metrics.contains(&"temperature".to_owned()), "{metrics:?}");
}

#[test]
fn enable_events() {
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
fn enable_metrics() {
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
fn kept(manager: &Manager, bits: u64, options: &TraceOptions, runs: &[&str]) -> Vec<String> {
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

fn plain() -> TraceOptions {
    TraceOptions::new()
}

#[test]
fn sampling_rate() {
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
fn graph_sampling_rates() {
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
fn parent_based_sampling() {
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
fn sampler(vars: &[(&str, &str)], rate: f64, parent_based: bool) {
    let config = Config::default().vars(vars.iter().copied()).unwrap();
    let expected = Config::default()
        .sampling_rate(rate)
        .parent_based_sampling(parent_based);
    assert_eq!(config, expected, "{vars:?}");
}

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: (&str, &str) = ("OTEL_TRACES_SAMPLER_ARG", "0.25");

#[test]
fn traces_sampler() {
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
fn traces_sampler_arg() {
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
fn outcomes(options: &[(&str, &str)]) -> [usize; 4] {
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
fn force_sample_on_error() {
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
fn error_sample_rate() {
    assert_eq!(outcomes(&[("error_sample_rate", "0.5")]), [1, 0, 0, 0]);
    assert_eq!(outcomes(&[("error_sample_rate", "1")]), [1, 1, 0, 0]);
    assert_eq!(outcomes(&[("error_sample_rate", "none")]), [0; 4]);
}

#[test]
fn slow_threshold_seconds() {
    // Every run takes at least no time, and none an hour.
    assert_eq!(outcomes(&[("slow_threshold_seconds", "0")]), [1; 4]);
    assert_eq!(outcomes(&[("slow_threshold_seconds", "1h")]), [0; 4]);
}

#[test]
fn enable_adaptive_sampling() {
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
fn capture_errors() {
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
fn observed(options: &[(&str, &str)]) -> (Manager, tempfile::TempDir, Vec<Span>) {
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

fn count(spans: &[Span], kind: SpanKind) -> usize {
    spans.iter().filter(|span| span.kind == kind).count()
}

#[test]
fn auto_instrument_graphs() {
    for (text, traces, graphs, nodes) in [("true", 2, 2, 3), ("false", 1, 0, 1)] {
        let (manager, _dir, spans) = observed(&[("auto_instrument_graphs", text)]);
        assert_eq!(names(&manager)[0].len(), traces, "{text}");
        assert_eq!(count(&spans, SpanKind::GraphRun), graphs, "{text}");
        // Those inside a trace that was begun by hand stay.
        assert_eq!(count(&spans, SpanKind::NodeExecution), nodes, "{text}");
    }
}

#[test]
fn auto_instrument_nodes() {
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
fn instrument_nodes() {
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
fn captured(options: &[(&str, &str)], key: &str) -> Option<Value> {
    let (_manager, _dir, spans) = observed(options);
    let with = spans.iter().filter(|span| span.name == "a");
    let mut values = with.filter_map(|span| span.attributes.get(key).cloned());
    values.next()
}

#[test]
fn capture_inputs() {
    assert_eq!(captured(&[], "inputs"), None, "not by default");
    let text = Some("\"some input\"".into());
    assert_eq!(captured(&[("capture_inputs", "true")], "inputs"), text);
    assert_eq!(captured(&[("capture_inputs", "true")], "outputs"), None);
}

#[test]
fn capture_outputs() {
    assert_eq!(captured(&[], "outputs"), None, "not by default");
    let text = Some("[1, 2]".into());
    assert_eq!(captured(&[("capture_outputs", "true")], "outputs"), text);
    assert_eq!(captured(&[("capture_outputs", "true")], "inputs"), None);
}

#[test]
fn capture_sizes() {
    assert_eq!(captured(&[], "input_size"), None, "not by default");
    let on = [("capture_sizes", "true"), ("capture_bytes", "1")];
    assert_eq!(captured(&on, "input_size"), Some(12u64.into()));
    assert_eq!(captured(&on, "output_size"), Some(6u64.into()));
    assert_eq!(captured(&on, "inputs"), None, "only how long it is");
}

#[test]
fn capture_bytes() {
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
fn propagate_context() {
    for (text, on) in [("true", true), ("false", false)] {
        continues(&[("propagate_context", text)], on);
    }
}

#[test]
fn metric_interval() {
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
fn propagators() {
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
fn continues(options: &[(&str, &str)], on: bool) {
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

#[test]
fn resource_attributes() {
    let dir = folder();
    let text = "service.name=indexer,k8s.pod.name=pod-1";
    let manager = open(dir.path(), &[("resource_attributes", text)]);
    record_one_of_each(&manager);
    let resource = &manager.query_traces(&Filter::new()).unwrap()[0].resource;
    assert_eq!(resource.get("service.name"), Some(&"indexer".into()));
    assert_eq!(resource.get("k8s.pod.name"), Some(&"pod-1".into()));
}

#[test]
fn service_name() {
    let dir = folder();
    let options = [
        ("resource_attributes", "service.name=a,host.name=h"),
        ("service_name", "b"),
    ];
    let manager = open(dir.path(), &options);
    record_one_of_each(&manager);
    let resource = &manager.query_traces(&Filter::new()).unwrap()[0].resource;
    assert_eq!(resource.get("service.name"), Some(&"b".into()));
    assert_eq!(resource.get("host.name"), Some(&"h".into()));
}

/// Attributes of every row that there is.
fn attributes_of_all(manager: &Manager) -> Vec<AttributeMap> {
    let all = Filter::new().all();
    let mut found = Vec::new();
    found.extend(
        manager
            .query_traces(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_spans(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_events(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_metrics(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    assert!(found.len() > 8, "{found:?}");
    found
}

#[test]
fn custom_attributes() {
    let dir = folder();
    let nested = Value::Map(vec![(
        "tier".to_owned(),
        Value::Array(vec![1.into(), true.into()]),
    )]);
    let config = with(
        Config::new(dir.path()),
        &[("custom_attributes", "team=core")],
    );
    let manager = Manager::open(config.custom("sla", nested.clone())).unwrap();
    record_one_of_each(&manager);
    for attributes in attributes_of_all(&manager) {
        assert_eq!(attributes.get("team"), Some(&"core".into()));
        assert_eq!(attributes.get("sla"), Some(&nested));
    }
}

#[test]
fn metadata() {
    let dir = folder();
    let options = [
        ("custom_attributes", "environment=staging"),
        ("metadata", "environment=lost,region=eu"),
    ];
    let manager = open(dir.path(), &options);
    record_one_of_each(&manager);
    for attributes in attributes_of_all(&manager) {
        assert_eq!(attributes.get("region"), Some(&"eu".into()));
        assert_eq!(attributes.get("environment"), Some(&"staging".into()));
    }
}

#[test]
fn max_events_per_span() {
    for (text, kept, dropped) in [
        ("2", vec!["3", "4"], 3),
        ("100", vec!["0", "1", "2", "3", "4"], 0),
    ] {
        let dir = folder();
        let manager = open(dir.path(), &[("max_events_per_span", text)]);
        let run = manager.start_trace("run");
        let id = run.trace_id().unwrap();
        let span = run.span("chatty");
        for n in ["0", "1", "2", "3", "4"] {
            run.event("milestone", n).record();
        }
        span.ok();
        run.ok();
        let tree = manager.get_trace(id).unwrap().unwrap();
        let own = tree
            .events
            .iter()
            .filter(|e| e.event_type.as_str() == "milestone");
        assert_eq!(own.map(|e| e.name.as_str()).collect::<Vec<_>>(), kept);
        assert_eq!(tree.nodes[0].dropped_events, dropped);
    }
}

#[test]
fn buffer_size() {
    let dir = folder();
    // Nobody flushes, and the interval asks for nothing.
    let (backend, batches) = told(Duration::ZERO);
    let options = [("export_interval", "0"), ("buffer_size", "5")];
    let manager = Manager::open(with(Config::new(dir.path()), &options).backend(backend)).unwrap();
    for _ in 0..20 {
        manager.event("milestone", "tick").record();
    }
    assert!(batches.recv_timeout(LONG).unwrap() >= 5);
    drop(manager);

    let dir = folder();
    let (backend, batches) = told(Duration::ZERO);
    let options = [("export_interval", "0"), ("buffer_size", "100000")];
    let manager = Manager::open(with(Config::new(dir.path()), &options).backend(backend)).unwrap();
    for _ in 0..20 {
        manager.event("milestone", "tick").record();
    }
    until("seen by the backend's thread", || {
        manager.stats().backends[0].lag_records >= 20
    });
    assert!(batches.try_recv().is_err());
    manager.export(LONG).unwrap();
    assert_eq!(batches.try_iter().sum::<usize>(), 20);
}

#[test]
fn export_interval() {
    for (text, by_itself) in [("10ms", true), ("0", false)] {
        let dir = folder();
        let (backend, batches) = told(Duration::ZERO);
        let options = [("export_interval", text), ("buffer_size", "100000")];
        let config = with(Config::new(dir.path()), &options).backend(backend);
        let manager = Manager::open(config).unwrap();
        manager.event("milestone", "tick").record();
        if by_itself {
            assert_eq!(batches.recv_timeout(LONG), Ok(1));
            continue;
        }
        // Longer than without the option.
        assert!(batches.recv_timeout(Duration::from_secs(12)).is_err());
        manager.export(LONG).unwrap();
        assert_eq!(batches.try_recv(), Ok(1));
    }
}

/// Another spelling of an option changes what the option changes.
fn same_as(spelling: (&str, &str), option: (&str, &str)) {
    let one = with(Config::default(), &[spelling]);
    assert_eq!(one, with(Config::default(), &[option]));
    assert_ne!(one, Config::default());
}

#[test]
fn export_interval_ms() {
    same_as(("export_interval_ms", "2500"), ("export_interval", "2.5"));
}

#[test]
fn shutdown_timeout() {
    // The backend takes a second for a batch.
    for (text, all) in [("20ms", false), ("60s", true)] {
        let dir = folder();
        let (backend, _batches) = told(Duration::from_secs(1));
        let options = [("shutdown_timeout", text), ("export_interval", "0")];
        let config = with(Config::new(dir.path()), &options).backend(backend);
        let manager = Manager::open(config).unwrap();
        manager.event("milestone", "tick").record();
        manager.flush().unwrap();
        match manager.shutdown() {
            Ok(ended) => assert_eq!(ended.backends[0].ended, all, "{ended:?}"),
            // Not even the log was done in 20 ms.
            Err(error) => assert!(!all, "{error}"),
        }
    }
}

#[test]
fn async_export() {
    assert_eq!(
        with(Config::default(), &[("async_export", "true")]),
        Config::default()
    );
    let setting = Setting::all()
        .iter()
        .find(|s| s.name == "async_export")
        .unwrap();
    let refused = setting
        .set(&mut Config::default(), &false.into())
        .unwrap_err();
    assert!(refused.contains("async_export must be true"), "{refused}");
    // What it promises: a backend that takes a second holds up nobody who records and flushes.
    let dir = folder();
    let (backend, batches) = told(Duration::from_secs(1));
    let options = [("async_export", "true"), ("buffer_size", "1")];
    let config = with(Config::new(dir.path()), &options).backend(backend);
    let manager = Manager::open(config).unwrap();
    for _ in 0..100 {
        manager.event("milestone", "tick").record();
        manager.flush().unwrap();
    }
    assert!(batches.try_iter().count() < 100);
}

#[test]
fn ring_bytes() {
    for (text, bytes) in [("64KiB", 64 << 10), ("1048576", 1 << 20)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.ring_bytes", text)]);
        record_one_of_each(&manager);
        assert_eq!(manager.stats().rings[0].capacity_bytes, bytes);
    }
}

#[test]
fn max_queue_size() {
    same_as(("max_queue_size", "1000"), ("ring.ring_bytes", "64 KiB"));
    // The documents' example is what we have anyway.
    assert_eq!(
        with(Config::default(), &[("max_queue_size", "10000")]),
        Config::default()
    );
    assert_eq!(
        Config::default().max_queue_size(1).ring.ring_bytes,
        16 << 10
    );
}

#[test]
fn total_bytes() {
    // So many threads at once that 64 MiB are enough and 2.1 MiB are not.
    const THREADS: usize = 200;
    for (text, enough) in [("64MiB", true), ("2129920", false)] {
        let dir = folder();
        let options = [("ring.ring_bytes", "16KiB"), ("ring.total_bytes", text)];
        let manager = open(dir.path(), &options);
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    manager.event("milestone", "one").record();
                    barrier.wait();
                });
            }
        });
        manager.flush().unwrap();
        let stats = manager.stats();
        assert_eq!(stats.dropped_count == 0, enough, "{:?}", stats.lost);
        assert_eq!(stats.records["event"] + stats.dropped_count, THREADS as u64);
    }
}

#[test]
fn max_record_bytes() {
    for (text, whole) in [("512", false), ("64KiB", true)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.max_record_bytes", text)]);
        let long = "x".repeat(4000);
        manager
            .event("milestone", "long")
            .with("text", long.as_str())
            .record();
        let event = &manager.query_events(&Filter::new()).unwrap()[0];
        let kept = event
            .attributes
            .get("text")
            .and_then(Value::as_str)
            .unwrap();
        assert!(long.starts_with(kept));
        assert_eq!(kept.len() == long.len(), whole, "{} bytes kept", kept.len());
    }
}

#[test]
fn overflow() {
    let policies = [
        ("drop_newest", true, false),
        ("block:10s", false, false),
        ("spill:64MiB", false, true),
    ];
    for (text, drops, spills) in policies {
        let dir = folder();
        let options = [("ring.ring_bytes", "16KiB"), ("ring.overflow", text)];
        let manager = open(dir.path(), &options);
        let run = manager.start_trace("fast");
        for _ in 0..200_000 {
            run.span("s").ok();
        }
        run.ok();
        manager.flush().unwrap();
        let stats = manager.stats();
        assert_eq!(stats.dropped_count > 0, drops, "{text}: {:?}", stats.lost);
        assert_eq!(
            stats.spill_bytes > 0,
            spills,
            "{text}: {}",
            stats.spill_bytes
        );
    }
}

#[test]
fn crash_safe() {
    for (text, files) in [("true", true), ("false", false)] {
        let (dir, rings) = (folder(), folder());
        let place = rings.path().to_str().unwrap();
        let manager = open(
            dir.path(),
            &[("ring.crash_safe", text), ("ring.dir", place)],
        );
        record_one_of_each(&manager);
        let stats = manager.stats();
        assert!(
            stats.rings.iter().all(|ring| ring.crash_safe == files),
            "{stats:?}"
        );
        assert_eq!(rings.path().read_dir().unwrap().count() > 0, files);
    }
}

#[test]
fn ring_dir() {
    let (dir, rings) = (folder(), folder());
    let place = rings.path().to_str().unwrap();
    let manager = open(dir.path(), &[("ring.dir", place)]);
    assert_eq!(rings.path().read_dir().unwrap().count(), 1);
    drop(manager);
    let other = folder();
    drop(open(
        dir.path(),
        &[("ring.dir", other.path().to_str().unwrap())],
    ));
    assert_eq!(other.path().read_dir().unwrap().count(), 1);
}

#[test]
fn open_spans() {
    // Spans that find no room in the table of open ones leave a record of their start.
    for (text, starts) in [("63", 0), ("0", 1)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.open_spans", text)]);
        let run = manager.start_trace("run");
        let span = run.span("open");
        manager.flush().unwrap();
        let seen = manager.stats().records.get("span_start").copied();
        assert_eq!(seen.unwrap_or(0), starts, "{text}");
        span.ok();
    }
}

/// Sizes of the segments in a log.
fn segments(dir: &Path) -> Vec<u64> {
    let files = dir.read_dir().unwrap().flatten();
    let segments = files.filter(|f| f.path().extension().is_some_and(|e| e == "seg"));
    segments.map(|f| f.metadata().unwrap().len()).collect()
}

#[test]
fn segment_bytes() {
    for (text, bytes) in [("1MiB", 1 << 20), ("3MiB", 3 << 20)] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.segment_bytes", text)]);
        record_one_of_each(&manager);
        manager.flush().unwrap();
        assert_eq!(segments(dir.path())[0], bytes);
    }
}

#[test]
fn sync() {
    for text in ["every_batch", "every:5ms"] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.sync", text)]);
        record_one_of_each(&manager);
        let logged = manager.flush().unwrap();
        until("durable", || manager.stats().durable >= logged);
    }
    for text in ["on_roll", "every:1h"] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.sync", text)]);
        record_one_of_each(&manager);
        let logged = manager.flush().unwrap();
        // Longer than without the option: nothing happens.
        std::thread::sleep(Duration::from_millis(2500));
        assert!(manager.stats().durable < logged, "{text}");
        manager.sync(LONG).unwrap();
        assert!(manager.stats().durable >= logged, "{text}");
    }
}

/// Makes every segment of a log look as if its newest record were so many days old.
fn age(dir: &Path, days: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
    for file in dir.read_dir().unwrap().flatten() {
        if file.path().extension().is_some_and(|e| e == "seg") {
            let file = std::fs::File::options()
                .write(true)
                .open(file.path())
                .unwrap();
            file.set_modified(then).unwrap();
        }
    }
}

#[test]
fn retention_age() {
    for (text, kept) in [("10d", false), ("30d", true), ("none", true)] {
        let dir = folder();
        let manager = open(dir.path(), &[]);
        record_one_of_each(&manager);
        drop(manager);
        age(dir.path(), 20);
        let manager = open(dir.path(), &[("log.retention_age", text)]);
        // Retention looks when a log is opened, and what is removed is told to readers.
        if !kept {
            until("removed", || names(&manager)[0].is_empty());
        }
        drop(manager);
        let removed = Snapshot::open(dir.path()).unwrap().floor().records;
        assert_eq!(removed == 0, kept, "{text}");
    }
}

#[test]
fn retention_days() {
    same_as(("retention_days", "7"), ("log.retention_age", "7d"));
    assert_eq!(Config::default().retention_days(30), Config::default());
}

/// Records about 12 MiB in segments of one, and ends.
fn fill(config: Config) -> u64 {
    let dir = config.dir.clone();
    let config = with(
        config,
        &[
            ("log.segment_bytes", "1MiB"),
            ("ring.overflow", "block:60s"),
        ],
    );
    let manager = Manager::open(config).unwrap();
    let text = "x".repeat(1000);
    for _ in 0..12_000 {
        manager
            .event("milestone", "big")
            .with("text", text.as_str())
            .record();
    }
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.records["event"], stats.dropped_count), (12_000, 0));
    drop(manager);
    Snapshot::open(&dir).unwrap().floor().records
}

#[test]
fn max_bytes() {
    for (text, kept) in [("4MiB", false), ("1GiB", true)] {
        let dir = folder();
        let removed = fill(with(Config::new(dir.path()), &[("log.max_bytes", text)]));
        assert_eq!(removed == 0, kept, "{text}: {removed} removed");
    }
}

#[test]
fn hard_max_bytes() {
    // A backend that takes nothing needs every segment.
    for (text, kept) in [("4MiB", false), ("1GiB", true)] {
        let dir = folder();
        let options = [
            ("log.max_bytes", "4MiB"),
            ("log.hard_max_bytes", text),
            ("shutdown_timeout", "1s"),
        ];
        let config = with(Config::new(dir.path()), &options).backend(refusing());
        let removed = fill(config);
        assert_eq!(removed == 0, kept, "{text}: {removed} removed");
    }
}

/// A small file system in memory; `None` where mounting is refused.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(mib: u32) -> Option<Self> {
        let disk = Self(folder());
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"])
            .arg(disk.0.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(disk);
        }
        println!("SKIPPED: mounting a tmpfs needs root, and is refused here");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Records until the disk stops the log, or until twice as much is logged as it holds.
fn fill_disk(disk: &Disk, options: &[(&str, &str)]) -> (bool, u64) {
    let fixed = [("log.segment_bytes", "1MiB"), ("log.max_bytes", "1GiB")];
    let config = with(Config::new(disk.0.path().join("log")), &fixed);
    let manager = Manager::open(with(config, options)).unwrap();
    let text = "x".repeat(1000);
    let mut stopped = false;
    while !stopped && manager.stats().bytes < 48 << 20 {
        for _ in 0..100 {
            manager
                .event("milestone", "big")
                .with("text", text.as_str())
                .record();
        }
        // Also slow disks stall; this one says that bytes are missing.
        let _ = manager.flush_within(Duration::from_secs(2));
        let stats = manager.stats();
        let reason = stats.reason.unwrap_or_default();
        stopped = stats.state == EngineState::Stalled
            && (reason.contains("bytes are missing") || reason.contains("No space"));
    }
    (stopped, manager.stats().bytes)
}

#[test]
fn min_free_percent() {
    let mut logged = Vec::new();
    for text in ["0", "70"] {
        let Some(disk) = Disk::mount(24) else { return };
        let (stopped, bytes) = fill_disk(&disk, &[("log.min_free_percent", text)]);
        assert!(stopped, "{text}");
        logged.push(bytes);
    }
    assert!(logged[0] > 2 * logged[1], "{logged:?}");
}

#[test]
fn on_full() {
    for (text, stops) in [("stop_and_count", true), ("delete_oldest", false)] {
        let Some(disk) = Disk::mount(24) else { return };
        let options = [("log.min_free_percent", "0"), ("log.on_full", text)];
        assert_eq!(fill_disk(&disk, &options).0, stops, "{text}");
    }
}

#[test]
fn preset() {
    // As the documents have them: sampling rate, records, seconds, days, events per span, events at all.
    let documented = [
        ("development", 1.0, 100, 1.0, 30, 100, true),
        ("staging", 0.5, 1000, 10.0, 30, 100, true),
        ("production", 0.05, 10_000, 30.0, 365, 100, true),
        ("high_volume", 0.01, 50_000, 60.0, 30, 50, false),
        ("testing", 1.0, 10, 0.1, 30, 100, true),
        ("low_overhead", 0.01, 100_000, 120.0, 30, 10, false),
        ("max_visibility", 1.0, 1000, 5.0, 30, 1000, true),
        ("balanced", 1.0, 100, 5.0, 30, 100, true),
        ("balanced_cost", 0.1, 5000, 30.0, 60, 100, true),
    ];
    assert_eq!(documented.len(), Preset::ALL.len());
    for (name, rate, records, seconds, days, events, enable_events) in documented {
        let config = with(Config::new("log"), &[("preset", name)]);
        let expected = Config::new("log")
            .sampling_rate(rate)
            .buffer_size(records)
            .export_interval(Duration::from_secs_f64(seconds))
            .retention_days(days)
            .max_events_per_span(events)
            .enable_events(enable_events);
        assert_eq!(config, expected, "{name}");
        config.validate().unwrap();
    }
}

#[test]
fn backends() {
    let dir = folder();
    let (one, first) = told(Duration::ZERO);
    let (two, second) = told(Duration::ZERO);
    let config = Config::new(dir.path())
        .backend(one)
        .backend(two.named("second"));
    let manager = Manager::open(config).unwrap();
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let rows: [usize; 2] = [first.try_iter().sum(), second.try_iter().sum()];
    assert!(rows[0] >= 6 && rows[0] == rows[1], "{rows:?}");
}

fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
    Value::Map(entries.collect())
}

/// A configuration with one backend of this kind and these parameters.
#[cfg(feature = "sqlite")]
fn one_backend(dir: &Path, kind: &str, parameters: &[(&str, Value)]) -> Config {
    let value = map(&[
        ("enabled", true.into()),
        ("dir", dir.to_str().unwrap().into()),
        ("backend", kind.into()),
        ("backend_config", map(parameters)),
    ]);
    Config::from_value(&value).unwrap()
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_db_path() {
    let dir = folder();
    let database = dir.path().join("here.db");
    let path = ("db_path", database.to_str().unwrap().into());
    let manager = Manager::open(one_backend(&dir.path().join("log"), "sqlite", &[path])).unwrap();
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let db = rusqlite::Connection::open(&database).unwrap();
    let traces: i64 = db
        .query_row("SELECT count(*) FROM traces", [], |row| row.get(0))
        .unwrap();
    assert_eq!(traces, 1);
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_busy_timeout() {
    for (timeout, waits) in [(Value::from("1h"), true), (Value::from(0), false)] {
        let dir = folder();
        let database = dir.path().join("busy.db");
        let parameters = [
            ("db_path", database.to_str().unwrap().into()),
            ("busy_timeout", timeout),
        ];
        let config = one_backend(&dir.path().join("log"), "sqlite", &parameters);
        let manager = Manager::open(config).unwrap();
        manager.export(LONG).unwrap();
        let db = rusqlite::Connection::open(&database).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        record_one_of_each(&manager);
        manager.flush().unwrap();
        if waits {
            // Longer than without the option.
            let late = manager.export(Duration::from_secs(7));
            assert!(late.is_err());
        } else {
            until("failed", || manager.stats().backends[0].errors > 0);
        }
        db.execute_batch("ROLLBACK").unwrap();
        manager.export(LONG).unwrap();
        assert_eq!(manager.stats().backends[0].errors == 0, waits);
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_write_derived() {
    for written in [true, false] {
        let dir = folder();
        let database = dir.path().join("derived.db");
        let parameters = [
            ("db_path", database.to_str().unwrap().into()),
            ("write_derived", written.into()),
        ];
        let config = one_backend(&dir.path().join("log"), "sqlite", &parameters);
        let manager = Manager::open(config).unwrap();
        record_one_of_each(&manager);
        manager.export(LONG).unwrap();
        let db = rusqlite::Connection::open(&database).unwrap();
        let sql = "SELECT count(*) FROM derived_metric_rows";
        let rows: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows > 0, written);
    }
}

/// A kind that is the log itself.
#[test]
fn memory_max_bytes() {
    let config = |bytes: &str| {
        let parameters = map(&[("max_bytes", bytes.into())]);
        let entries = [
            ("enabled", true.into()),
            ("backend", "memory".into()),
            ("backend_config", parameters),
        ];
        Config::from_value(&map(&entries)).unwrap()
    };
    // What it records is more than the one holds, and less than the other does.
    for (bytes, kept) in [("8 MiB", false), ("256 MiB", true)] {
        let manager =
            Manager::open(with(config(bytes), &[("ring.overflow", "block:60s")])).unwrap();
        let text = "x".repeat(1000);
        for n in 0..20_000 {
            let event = manager.event("milestone", "big").with("n", n);
            event.with("text", text.as_str()).record();
        }
        manager.flush().unwrap();
        let all = manager.query_events(&Filter::new().all()).unwrap();
        assert_eq!(all.len() == 20_000, kept, "{bytes}: {}", all.len());
        assert_eq!(all[0].attributes.get("n"), Some(&19_999.into()));
    }
}

/// What a backend has for itself instead of what holds for all.
#[cfg(feature = "sqlite")]
#[test]
fn options_of_one_backend() {
    let dir = folder();
    let database = |name: &str| dir.path().join(name);
    let backend = |name: &str, own: (&str, Value)| {
        let path = database(name).to_str().unwrap().into();
        map(&[
            ("backend", "sqlite".into()),
            ("name", name.into()),
            ("backend_config", map(&[("db_path", path)])),
            own,
        ])
    };
    let log = dir.path().join("log");
    let manager = open(&log, &[]);
    record_one_of_each(&manager);
    drop(manager);
    let value = map(&[
        ("enabled", true.into()),
        ("dir", log.to_str().unwrap().into()),
        ("export_interval", 0.into()),
        (
            "backends",
            Value::Array(vec![
                backend("all", ("buffer_size", 1_000_000.into())),
                backend("late", ("begin", "end".into())),
                backend("at-once", ("buffer_size", 1.into())),
                backend("soon", ("export_interval", "10ms".into())),
                backend("kept", ("retention_age", "none".into())),
            ]),
        ),
    ]);
    let config = Config::from_value(&value).unwrap();
    assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    let manager = Manager::open(config).unwrap();
    let at = |name: &str| {
        let stats = manager.stats();
        let backend = stats.backends.iter().find(|b| b.name == name).unwrap();
        backend.delivered
    };
    until("delivered at once", || at("at-once") > 0);
    until("delivered soon", || at("soon") > 0);
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let traces = |name: &str| {
        let db = rusqlite::Connection::open(database(name)).unwrap();
        let sql = "SELECT count(*) FROM traces";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((traces("all"), traces("late")), (2, 1));

    let wrong = map(&[(
        "backends",
        Value::Array(vec![backend("x", ("select", "code".into()))]),
    )]);
    let problems = Config::from_value(&wrong).unwrap_err().problems;
    assert!(
        problems[0].starts_with("backends.select must be left out"),
        "{problems:?}"
    );
}

/// An option and its test.
type Proved = (&'static str, fn());

const PROVED: &[Proved] = &[
    ("preset", preset),
    ("enabled", enabled),
    ("dir", dir),
    ("in_memory", in_memory),
    ("enable_traces", enable_traces),
    ("enable_events", enable_events),
    ("enable_metrics", enable_metrics),
    ("traces_sampler", traces_sampler),
    ("traces_sampler_arg", traces_sampler_arg),
    ("sampling_rate", sampling_rate),
    ("graph_sampling_rates", graph_sampling_rates),
    ("parent_based_sampling", parent_based_sampling),
    ("force_sample_on_error", force_sample_on_error),
    ("error_sample_rate", error_sample_rate),
    ("slow_threshold_seconds", slow_threshold_seconds),
    ("enable_adaptive_sampling", enable_adaptive_sampling),
    ("capture_errors", capture_errors),
    ("auto_instrument_graphs", auto_instrument_graphs),
    ("auto_instrument_nodes", auto_instrument_nodes),
    ("instrument_nodes", instrument_nodes),
    ("capture_inputs", capture_inputs),
    ("capture_outputs", capture_outputs),
    ("capture_sizes", capture_sizes),
    ("capture_bytes", capture_bytes),
    ("propagate_context", propagate_context),
    ("metric_interval", metric_interval),
    ("propagators", propagators),
    ("resource_attributes", resource_attributes),
    ("service_name", service_name),
    ("custom_attributes", custom_attributes),
    ("metadata", metadata),
    ("max_events_per_span", max_events_per_span),
    ("buffer_size", buffer_size),
    ("export_interval", export_interval),
    ("export_interval_ms", export_interval_ms),
    ("shutdown_timeout", shutdown_timeout),
    ("async_export", async_export),
    ("ring.ring_bytes", ring_bytes),
    ("max_queue_size", max_queue_size),
    ("ring.total_bytes", total_bytes),
    ("ring.max_record_bytes", max_record_bytes),
    ("ring.overflow", overflow),
    ("ring.crash_safe", crash_safe),
    ("ring.dir", ring_dir),
    ("ring.open_spans", open_spans),
    ("log.segment_bytes", segment_bytes),
    ("log.sync", sync),
    ("log.retention_age", retention_age),
    ("retention_days", retention_days),
    ("log.max_bytes", max_bytes),
    ("log.hard_max_bytes", hard_max_bytes),
    ("log.min_free_percent", min_free_percent),
    ("log.on_full", on_full),
    ("backends", backends),
    ("memory.max_bytes", memory_max_bytes),
    #[cfg(feature = "sqlite")]
    ("sqlite.db_path", sqlite_db_path),
    #[cfg(feature = "sqlite")]
    ("sqlite.busy_timeout", sqlite_busy_timeout),
    #[cfg(feature = "sqlite")]
    ("sqlite.write_derived", sqlite_write_derived),
];

/// That a test function stands here as well as above makes the compiler check that it is there.
#[test]
fn every_option_has_a_test() {
    let mut options: Vec<String> = Setting::all().iter().map(|s| s.name.to_owned()).collect();
    options.push("backends".to_owned());
    let built = |kind: &&BackendKind| match kind.name {
        "sqlite" => cfg!(feature = "sqlite"),
        // `tests/config_backends.rs` has an example of each of theirs; what they do is proved with
        // servers.
        "otlp" | "postgresql" => false,
        _ => true,
    };
    for kind in BackendKind::all().iter().filter(built) {
        options.extend(
            kind.parameters
                .iter()
                .map(|p| format!("{}.{}", kind.name, p.name)),
        );
    }
    let proved: Vec<_> = PROVED.iter().map(|(name, _)| *name).collect();
    assert_eq!(options, proved);
}
