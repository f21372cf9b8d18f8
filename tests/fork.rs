//! Forks: the child harms nothing of its parent's, and may open a log of its own.
//!
//! Each scenario runs in a process of its own, because the harness has threads.
#![cfg(unix)]
#![allow(
    unsafe_code,
    reason = "there is no safe form of `fork`, which is what these tests are about"
)]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use emberlog::{
    log::{verify, Position, Snapshot, Step},
    query::LogReader,
    record::Body,
    Config, EngineState, Filter, FlushError, Manager, Overflow, Run, Status,
};
use rustix::process::{waitpid, Pid, WaitOptions};

extern "C" {
    fn fork() -> std::ffi::c_int;
    fn _exit(code: std::ffi::c_int) -> !;
}

/// Longest life of a process here; only one that hangs reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a child ends.
enum End {
    /// At once, as after a failed `exec`.
    Now,
    /// As any process: what was registered with `atexit` runs.
    Normally,
}

/// Forks; the child runs `work` and ends. A panic in it is an exit code that the parent sees.
fn forked(end: End, work: impl FnOnce()) -> Pid {
    // SAFETY: the child has this thread only. It calls nothing but the C library, whose locks are
    // in order after `fork`, and the code under test, which promises the same of its own.
    match unsafe { fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let code = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
            match end {
                End::Normally if code == 0 => std::process::exit(0),
                // SAFETY: ends the process, nothing else.
                _ => unsafe { _exit(code) },
            }
        }
        pid => Pid::from_raw(pid).expect("a child"),
    }
}

/// Waits for a child and says what it was: it must have ended well, and not by being killed.
fn join(pid: Pid, what: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).expect("our child") {
            assert_eq!(status.exit_status(), Some(0), "{what}: {status:?}");
            return;
        }
        if Instant::now() > until {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("{what} hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn small(dir: &Path) -> Config {
    let config = Config::new(dir).log(|log| log.segment_bytes = 1 << 20);
    config.ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(30),
        }
    })
}

/// How often each span name is in the log, and how many traces ended.
fn logged(dir: &Path) -> (BTreeMap<String, u64>, u64) {
    let snapshot = Snapshot::open(dir).unwrap();
    let (mut spans, mut traces) = (BTreeMap::new(), 0);
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, segment) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            match record.unwrap().1.body {
                Body::Span(span) => {
                    let name = span.header.name.to_native();
                    let name = segment.names().get(name).unwrap_or("?").to_owned();
                    *spans.entry(name).or_default() += 1;
                }
                Body::TraceEnd(_) => traces += 1,
                _ => {}
            }
        }
    }
    let report = verify(dir).unwrap();
    assert!(report.ok, "{report:?}");
    (spans, traces)
}

/// Calls everything that a handle offers.
fn use_inherited(manager: &Manager, run: &Run) {
    assert!(!manager.is_recording());
    // Names that are not interned yet.
    let name = format!("child {}", std::process::id());
    run.span(&name).with(&name, 1_u64).ok();
    run.span("detached in the child").detach(run).ok();
    run.event("child", &name).with("key", "value").record();
    run.metric(&name).gauge(1.5);
    run.link(run.trace_id().expect("recorded before the fork"), None);
    run.set(&name, "value");
    let mut steps = run.steps();
    steps.enter(&name);
    steps.ok();
    manager.start_trace(&name).ok();
    manager.event("child", "outside").record();
    let closed = |error| matches!(error, FlushError::Closed(why) if why.contains("fork"));
    assert!(closed(manager.flush().unwrap_err()));
    assert!(closed(manager.sync(PATIENCE).unwrap_err()));
    assert!(closed(manager.export(PATIENCE).unwrap_err()));
    assert!(closed(manager.shutdown().unwrap_err()));
    let stats = manager.stats();
    assert_eq!(stats.state, EngineState::Closed);
    assert!(stats.lost["fork"] >= 8, "{:?}", stats.lost);
}

/// Records into a log of one's own.
fn record_own(dir: &Path, spans: u64) {
    let manager = Manager::open(small(dir)).expect("a log of its own");
    let run = manager.start_trace("own");
    (0..spans).for_each(|n| run.span(&format!("own {}", n % 3)).ok());
    run.ok();
    manager.shutdown().expect("sealed");
}

fn assert_own(dir: &Path, spans: u64) {
    let (names, traces) = logged(dir);
    assert_eq!((names.values().sum::<u64>(), traces), (spans, 1));
}

/// A child uses what it inherited, in the middle of a run with an open span, and ends.
fn child_with_inherited_handles(dir: &Path, crash_safe: bool, end: End) {
    let manager = Manager::open(small(dir).ring(|ring| ring.crash_safe = crash_safe)).unwrap();
    let run = manager.start_trace("parent");
    run.span("before").ok();
    manager.flush().unwrap();
    let mut manager = Some(manager);
    let mut outer = Some(run.span("outer"));
    let mut moving = Some(run.span("moving").detach(&run));
    let mut steps = run.steps();
    steps.enter("step");

    let child = forked(end, || {
        // All of it, so that what is dropped last is dropped here.
        let (manager, run) = (manager.take().expect("inherited"), run.clone());
        let mut outer = outer.take().expect("inherited");
        use_inherited(&manager, &run);
        // Reading is not forbidden.
        assert_eq!(
            manager
                .query_spans(&Filter::new().name("before"))
                .unwrap()
                .len(),
            1
        );
        outer.set("child", true);
        outer.child("child of outer").ok();
        outer
            .detach(&run)
            .fail(&std::io::Error::other("in the child"));
        moving.take().expect("inherited").ok();
        steps.enter("next");
        run.end(Status::Error);
        drop(manager);
        // The slot that was open here is still the parent's.
        let mut own = dir.as_os_str().to_owned();
        own.push(".own");
        record_own(Path::new(&own), 10);
    });
    // While the child writes, if it does.
    (0..1000).for_each(|_| run.span("meanwhile").ok());
    join(child, "the child");

    let manager = manager.take().unwrap();
    let mut open: Vec<_> = manager
        .query_spans(&Filter::new().active())
        .unwrap()
        .into_iter()
        .map(|span| span.name)
        .collect();
    open.sort();
    // Others see the table of open spans in files only, and start records in any case.
    let table = ["moving", "outer", "step"];
    assert_eq!(open, if crash_safe { &table[..] } else { &table[..1] });
    steps.ok();
    moving.take().unwrap().ok();
    outer.take().unwrap().ok();
    run.span("after").ok();
    run.clone().ok();
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!(stats.dropped_count, 0, "{:?}", stats.lost);
    assert_eq!(stats.state, EngineState::Running);
    manager.shutdown().unwrap();
    let (names, traces) = logged(dir);
    let expected = [
        ("after", 1),
        ("before", 1),
        ("meanwhile", 1000),
        ("moving", 1),
        ("outer", 1),
        ("step", 1),
    ];
    assert_eq!(names, expected.map(|(n, c)| (n.to_owned(), c)).into());
    assert_eq!(traces, 1);
}

/// The parent opens nothing; its children open a log each, below one root.
fn prefork(root: &Path) {
    const WORKERS: u64 = 6;
    let worker = |n: u64| {
        let manager = Manager::open(small(&root.join(format!("worker-{n}")))).expect("opened");
        // Never dropped, as in a server that ends by returning from `main`.
        let manager: &'static Manager = Box::leak(Box::new(manager));
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                std::thread::spawn(move || {
                    let run = manager.start_trace(&format!("request {n} {thread}"));
                    (0..500).for_each(|_| run.span("handle").ok());
                    run.ok();
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("recorded");
        }
    };
    let workers: Vec<_> = (0..WORKERS)
        .map(|n| forked(End::Normally, || worker(n)))
        .collect();
    for worker in workers {
        join(worker, "a worker");
    }
    let reader = LogReader::open(root).unwrap();
    let spans = reader.spans(&Filter::new().name("handle").all()).unwrap();
    assert_eq!(spans.len() as u64, WORKERS * 2 * 500);
    let mut traces: Vec<_> = reader
        .traces(&Filter::new().all())
        .unwrap()
        .into_iter()
        .map(|trace| trace.name)
        .collect();
    traces.sort();
    let requests = (0..WORKERS).flat_map(|n| (0..2).map(move |t| format!("request {n} {t}")));
    assert_eq!(traces, requests.collect::<Vec<_>>());
}

/// Forks again and again while other threads record, intern, count and query.
fn forks_under_load(dir: &Path) {
    let forks = if std::env::var("EMBERLOG_DEEP").as_deref() == Ok("1") {
        1000
    } else {
        100
    };
    let manager = Manager::open(small(&dir.join("parent"))).unwrap();
    let (stop, spans) = (AtomicBool::new(false), AtomicU64::new(0));
    let runs = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (manager, stop, spans, runs) = (&manager, &stop, &spans, &runs);
            scope.spawn(move || {
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    let run = manager.start_trace("load");
                    // New names, as far as the table takes them.
                    run.span(&format!("{thread} {done}")).ok();
                    (0..100).for_each(|_| run.span("load").ok());
                    run.set("thread", thread);
                    run.ok();
                    done += 1;
                    spans.fetch_add(101, Ordering::Relaxed);
                    runs.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                manager.stats();
                manager.flush().unwrap();
            }
        });
        // Also when a child fails: a scope waits for its threads.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stopping = Stop(&stop);
        let run = manager.start_trace("forks");
        for n in 0..forks {
            let child = forked(End::Now, || {
                use_inherited(&manager, &run);
                record_own(&dir.join(format!("child-{n}")), 10);
            });
            join(child, "a child");
        }
        run.ok();
        drop(stopping);
        asking.join().unwrap();
    });
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!(stats.dropped_count, 0, "{:?}", stats.lost);
    manager.shutdown().unwrap();
    let (names, traces) = logged(&dir.join("parent"));
    assert_eq!(names.values().sum::<u64>(), spans.into_inner());
    assert_eq!(traces, runs.into_inner() + 1);
    assert!(!names.keys().any(|name| name.starts_with("child")));
    for n in 0..forks {
        assert_own(&dir.join(format!("child-{n}")), 10);
    }
}

/// A child that lives on until somebody closes its standard input.
fn child_outlives_its_parent(dir: &Path) {
    let manager = Manager::open(small(dir)).unwrap();
    let run = manager.start_trace("parent");
    run.span("recorded").ok();
    forked(End::Now, || {
        assert!(
            Manager::open(small(dir)).is_err(),
            "the log is the parent's"
        );
        // Said when the copy of the lock must be gone.
        std::io::stdout().write_all(b"forked\n").unwrap();
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    });
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "is the process of the tests below"]
fn scenario() {
    let Some(dir) = std::env::var_os("EMBERLOG_FORK_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    match &*std::env::var("EMBERLOG_SCENARIO").unwrap() {
        "inherited" => child_with_inherited_handles(dir, true, End::Now),
        "heap" => child_with_inherited_handles(dir, false, End::Now),
        "exits" => child_with_inherited_handles(dir, true, End::Normally),
        "prefork" => prefork(dir),
        "load" => forks_under_load(dir),
        "outlives" => child_outlives_its_parent(dir),
        other => panic!("no scenario {other}"),
    }
}

fn start(scenario: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["scenario", "--exact", "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .env("EMBERLOG_SCENARIO", scenario)
        .env("EMBERLOG_FORK_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn passes(scenario: &str) {
    let dir = tempfile::tempdir().unwrap();
    let output = start(scenario, &dir.path().join("log"));
    let output = output.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_child_does_nothing_to_its_parents_rings() {
    passes("inherited");
}

#[test]
fn nor_where_rings_are_no_files() {
    passes("heap");
}

#[test]
fn a_child_that_exits_normally_flushes_its_own_log_only() {
    passes("exits");
}

#[test]
fn workers_of_a_prefork_server_are_read_as_one() {
    passes("prefork");
}

#[test]
fn forks_while_others_record_at_full_rate() {
    passes("load");
}

/// The lock of a log goes with the process that opened it, not with its children.
#[test]
fn a_child_that_outlives_its_parent_does_not_hold_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = start("outlives", dir.path());
    let mut said = String::new();
    let stdout = parent.stdout.as_mut().unwrap();
    while !said.contains("forked") {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "ended: {said}");
        said.push(char::from(byte[0]));
    }
    // The child waits for the end of its input, which `wait` would close.
    let input = parent.stdin.take();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let manager = Manager::open(small(dir.path())).unwrap();
    let spans = manager
        .query_spans(&Filter::new().name("recorded"))
        .unwrap();
    assert_eq!(spans.len(), 1);
    drop(input);
}
