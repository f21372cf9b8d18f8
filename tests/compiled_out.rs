//! Without feature `record` every recording call is there and does nothing: no file, no thread, and
//! no machine code where the call stood.
//!
//! `cargo test --release -p emberlog --no-default-features --test compiled_out`

#![cfg(not(feature = "record"))]

use std::{fs, hint::black_box, io, path::Path, process::Command, time::Duration};

use emberlog::{
    Aggregation, Config, EngineState, Filter, InSpan, Manager, Run, SpanId, SpanKind, StaticName,
    Status, TraceId, TraceOptions, Value,
};

static NAME: StaticName = StaticName::new("static name");

/// Every thread of this process, by name.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .collect()
}

#[test]
fn every_call_works_and_leaves_no_file_and_no_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rings) = (dir.path().join("log"), dir.path().join("rings"));
    fs::create_dir(&rings).unwrap();
    let config = Config::new(&log)
        .resource("service.name", "none")
        .ring(|ring| ring.dir = Some(rings.clone()));
    let manager = Manager::open(config).unwrap();
    assert!(!manager.is_recording());
    assert_eq!(manager.stats().state, EngineState::Disabled);
    record_everything(&manager);
    let manager = Manager::open_or_disabled(Config::new(&log), |error| panic!("{error}"));
    record_everything(&manager);

    let left = manager.flush().unwrap();
    assert_eq!(left, manager.sync(Duration::from_secs(1)).unwrap());
    assert_eq!(left, manager.export(Duration::from_secs(1)).unwrap());
    assert!(manager.dir().is_none() && manager.identity().is_none());
    assert!(manager.recovered().is_none() && manager.reader().unwrap().is_none());
    let all = Filter::new().all();
    assert!(manager.query_traces(&all).unwrap().is_empty());
    assert!(manager.query_spans(&all).unwrap().is_empty());
    assert!(manager.query_events(&all).unwrap().is_empty());
    assert!(manager.query_metrics(&all).unwrap().is_empty());
    assert!(manager.query_links(&all).unwrap().is_empty());
    assert!(manager.get_trace(TraceId::from_u128(1)).unwrap().is_none());
    assert!(manager.shutdown().unwrap().backends.is_empty());
    assert_eq!(manager.stats().dropped_count, 0, "nothing is lost either");

    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "the folder for rings"
    );
    assert_eq!(fs::read_dir(&rings).unwrap().count(), 0);
    let ours: Vec<_> = threads()
        .into_iter()
        .filter(|name| name.starts_with("ember"))
        .collect();
    assert_eq!(ours, [""; 0]);
    // A configuration that is wrong is still told.
    let wrong = Config::new(&log).ring(|ring| ring.ring_bytes = 1);
    assert!(Manager::open(wrong).is_err());
}

/// One call of everything that records.
fn record_everything(manager: &Manager) {
    let error = io::Error::other("no");
    let failed: Result<(), io::Error> = Err(io::Error::other("no"));
    let options = TraceOptions::new()
        .id_text("mine")
        .remote_parent(SpanId::new(1).unwrap());
    let run = manager.start_trace_with("run", &options);
    assert!(!run.is_recording() && run.trace_id().is_none());
    run.set("key", Value::Null);
    let mut span = run.span("span").with("k", 1).with_kind(SpanKind::Client);
    assert!(!span.is_recording() && span.id().is_none());
    span.set(&NAME, "v");
    span.record_error(&error);
    span.set_status(Status::Ok);
    span.child("child").fail(&error);
    let graph = emberlog::instrument::Observer::new(manager, "graph");
    let observed = graph.start();
    assert!(!observed.is_recording());
    let mut node = observed.node(&graph.node("node"));
    node.retry(&error);
    node.ok();
    observed.start_node(&graph.node("other")).fail(&error);
    observed.edge_taken("a", "b");
    observed.ok();
    run.event("type", "event")
        .with("k", 1.5)
        .in_span(span.id())
        .record();
    run.metric("metric")
        .unit("bytes")
        .with("k", true)
        .counter(1);
    let mut detached = span.detach(&run);
    detached.set("k", "v");
    detached.child("child").fail_dyn(&error);
    drop(detached.enter());
    std::thread::scope(|scope| {
        scope.spawn(move || detached.end_with(&Ok::<_, io::Error>(1)));
    });
    run.node("node").fail_with("Type", "message");
    run.child_of(None, "child", SpanKind::Server)
        .end(Status::Ok);
    assert!(run
        .in_node("node", |_| Err::<(), _>(io::Error::other("no")))
        .is_err());
    assert_eq!(run.in_span("span", |_| Ok::<_, io::Error>(7)).unwrap(), 7);
    let mut steps = run.steps();
    steps.enter("step");
    steps.set("k", vec![1i64, 2]);
    assert_eq!(steps.run("step", || Ok::<_, io::Error>(8)).unwrap(), 8);
    assert!(steps.id().is_none());
    steps.fail(&error);
    steps.ok();
    run.link(TraceId::from_u128(2), None);
    drop(run.enter(None));
    let future = std::future::ready(Ok::<_, io::Error>(9)).in_span(run.node("f").detach(&run));
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Ok(9)) = std::future::Future::poll(future.as_mut(), &mut context)
    else {
        panic!("the future is what it was")
    };
    manager
        .event("type", "event")
        .in_trace(TraceId::from_u128(3))
        .record();
    manager
        .metric("metric")
        .record(1u64, Aggregation::Histogram);
    run.clone().end_with(&failed);
    run.clone().fail(&error);
    run.ok();
    assert!(manager.in_trace("run", |_| Err::<(), _>("no")).is_err());
}

/// Functions around recording calls, to be looked at as machine code. Each returns something of its
/// own, so that the linker cannot make one of several.
mod probes {
    use super::*;

    #[inline(never)]
    pub(super) fn probe_span(run: &Run, x: u64) -> u64 {
        let mut span = run.span("a span").with("key", x);
        span.set("text", "value");
        span.ok();
        x ^ 0x11
    }

    #[inline(never)]
    pub(super) fn probe_event(run: &Run, x: u64) -> u64 {
        run.event("a type", "an event").with("key", x).record();
        x ^ 0x12
    }

    #[inline(never)]
    pub(super) fn probe_metric(manager: &Manager, x: u64) -> u64 {
        manager.metric("a metric").unit("bytes").gauge(x);
        x ^ 0x13
    }

    #[inline(never)]
    pub(super) fn probe_steps(run: &Run, x: u64) -> u64 {
        let mut steps = run.steps();
        steps.enter("read");
        steps.set("key", x);
        steps.enter(&NAME);
        steps.ok();
        x ^ 0x14
    }

    #[inline(never)]
    pub(super) fn probe_trace(manager: &Manager, x: u64) -> u64 {
        let run = manager.start_trace("a run");
        run.set("key", x);
        run.node("node").detach(&run).fail(&std::fmt::Error);
        run.clone().end(Status::Ok);
        x ^ 0x15
    }

    /// What the others must not look like.
    #[inline(never)]
    pub(super) fn probe_control(x: u64) -> u64 {
        black_box(vec![x]).len() as u64 ^ 0x16
    }
}

/// The instructions of a function of this test program.
fn instructions(function: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let listing = disassembly(&program);
    let mut lines = listing.lines().skip_while(|line| {
        !(line.ends_with(">:") && line.contains(&format!("probes::{function}")))
    });
    lines
        .next()
        .unwrap_or_else(|| panic!("no function {function}"));
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| Some(line.split('\t').nth(1)?.trim().to_owned()))
        // Padding up to the next function.
        .filter(|line| !line.contains("nop") && line != "int3")
        .collect()
}

fn disassembly(program: &Path) -> String {
    let arguments = ["-d", "--no-show-raw-insn", "--demangle=rust"];
    let output = Command::new("objdump")
        .args(arguments)
        .arg(program)
        .output();
    let output = output.expect("objdump, of the binutils that the linker belongs to");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "the optimiser is what is tested: --release"
)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn no_machine_code_is_left_where_a_call_stood() {
    let manager = Manager::open(Config::new("never made")).unwrap();
    let run = manager.start_trace("run");
    let x = black_box(5);
    let results = [
        probes::probe_span(&run, x),
        probes::probe_event(&run, x),
        probes::probe_metric(&manager, x),
        probes::probe_steps(&run, x),
        probes::probe_trace(&manager, x),
    ];
    assert_eq!(results, [5 ^ 0x11, 5 ^ 0x12, 5 ^ 0x13, 5 ^ 0x14, 5 ^ 0x15]);
    assert_eq!(probes::probe_control(x), 1 ^ 0x16);
    for probe in [
        "probe_span",
        "probe_event",
        "probe_metric",
        "probe_steps",
        "probe_trace",
    ] {
        let code = instructions(probe);
        // Copy the argument, change it, return.
        assert!((1..=4).contains(&code.len()), "{probe}: {code:#?}");
    }
    let control = instructions("probe_control");
    assert!(
        control
            .iter()
            .any(|line| line.starts_with("call") || line.starts_with("bl")),
        "{control:#?}"
    );
    assert_eq!(
        size_of::<Run>() + size_of::<Manager>(),
        0,
        "a handle has no content"
    );
}
