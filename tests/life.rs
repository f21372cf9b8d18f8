//! Beginnings and ends: of processes, threads, forks, and what happens around them.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use emberlog::{
    log::{Position, Snapshot, Step},
    record::{layout::RecordKind, Body},
    Config, EngineState, FlushError, Manager, Overflow, Status,
};

fn statuses(dir: &Path) -> Vec<(String, Status)> {
    let snapshot = Snapshot::open(dir).unwrap();
    let mut found = Vec::new();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, segment) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            let (_, record) = record.unwrap();
            let (name, status) = match record.body {
                Body::Span(s) => (s.header.name.to_native(), s.status),
                Body::TraceEnd(t) => (t.header.name.to_native(), t.status),
                _ => continue,
            };
            let name = segment.names().get(name).unwrap_or("?").to_owned();
            found.push((name, Status::from_u8(status).unwrap()));
        }
    }
    found
}

fn count(dir: &Path, kind: RecordKind) -> usize {
    let snapshot = Snapshot::open(dir).unwrap();
    let steps = snapshot.frames_from(Position::START);
    steps
        .map(|step| match step {
            Step::Frame(frame, _) => frame
                .records()
                .flatten()
                .filter(|(_, r)| r.kind() == kind)
                .count(),
            other => panic!("{other:?}"),
        })
        .sum()
}

/// Each way out of a span has its status.
#[test]
fn every_way_out_of_a_span_leaves_the_right_status() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let failure = || Err::<(), _>(std::io::Error::other("disk on fire"));

    let run = manager.start_trace("ok run");
    run.span("ok").ok();
    run.span("fail").fail(&std::io::Error::other("x"));
    run.span("fail_with").fail_with("Timeout", "took too long");
    run.span("end cancelled").end(Status::Cancelled);
    drop(run.span("dropped"));
    run.in_span("closure ok", |_| Ok::<_, String>(())).unwrap();
    run.in_node("closure err", |_| failure()).unwrap_err();
    let boxed: Result<(), Box<dyn std::error::Error>> =
        run.in_span("closure boxed", |_| Err("boxed".into()));
    boxed.unwrap_err();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _span = run.span("panicked");
        panic!("on purpose");
    }));
    panicked.unwrap_err();
    let mut steps = run.steps();
    steps.enter("step ok");
    steps.enter("step fails");
    steps.fail(&std::io::Error::other("x"));
    steps.run("step err", failure).unwrap_err();
    steps.enter("step dropped");
    drop(steps);
    let detached = run.span("detached").detach(&run);
    std::thread::scope(|scope| {
        scope.spawn(move || detached.ok());
    });
    run.ok();
    drop(manager.start_trace("dropped run"));
    manager
        .start_trace("failed run")
        .fail(&std::io::Error::other("x"));
    manager.in_trace("closure run", |_| failure()).unwrap_err();
    manager.flush().unwrap();

    let expected = [
        ("ok", Status::Ok),
        ("fail", Status::Error),
        ("fail_with", Status::Error),
        ("end cancelled", Status::Cancelled),
        ("dropped", Status::Cancelled),
        ("closure ok", Status::Ok),
        ("closure err", Status::Error),
        ("closure boxed", Status::Error),
        ("panicked", Status::Error),
        ("step ok", Status::Ok),
        ("step fails", Status::Error),
        ("step err", Status::Error),
        ("step dropped", Status::Cancelled),
        ("detached", Status::Ok),
        ("ok run", Status::Ok),
        ("dropped run", Status::Cancelled),
        ("failed run", Status::Error),
        ("closure run", Status::Error),
    ];
    let found = statuses(dir.path());
    for (name, status) in expected {
        let of_name: Vec<_> = found.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(of_name.len(), 1, "{name}: {of_name:?}");
        assert_eq!(of_name[0].1, status, "{name}");
    }
}

/// Runs this test binary again as `scenario`; its log is in `dir`.
fn run_child(scenario: &str, dir: &Path) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("EMBERLOG_SCENARIO", scenario)
        .env("EMBERLOG_LIFE_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

#[test]
#[ignore = "is the child of the tests below"]
fn child() {
    let Some(dir) = std::env::var_os("EMBERLOG_LIFE_DIR") else {
        return;
    };
    let scenario = std::env::var("EMBERLOG_SCENARIO").unwrap();
    let manager = Manager::open(Config::new(&dir)).unwrap();
    // Never dropped: ending the process is all that these do.
    let manager: &'static Manager = Box::leak(Box::new(manager));
    let run = manager.start_trace("run");
    run.span("work").ok();
    match scenario.as_str() {
        "exit" => {
            run.ok();
            std::process::exit(7)
        }
        "exit from a thread" => {
            run.ok();
            std::thread::spawn(|| std::process::exit(7)).join().unwrap();
        }
        "abort" => {
            std::mem::forget(run);
            std::process::abort()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_process_that_just_exits_has_logged_everything() {
    for scenario in ["exit", "exit from a thread"] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            run_child(scenario, dir.path()).code(),
            Some(7),
            "{scenario}"
        );
        assert_eq!(count(dir.path(), RecordKind::Span), 1, "{scenario}");
        assert_eq!(count(dir.path(), RecordKind::TraceEnd), 1, "{scenario}");
    }
}

#[test]
fn an_aborted_process_leaves_an_orphaned_trace() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run_child("abort", dir.path()).code(), None);
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let (_, rings) = manager.recovered().unwrap();
    assert_eq!(
        (rings.orphaned_traces, rings.orphaned_spans),
        (1, 0),
        "{rings:?}"
    );
    assert!(statuses(dir.path()).contains(&("run".to_owned(), Status::Orphaned)));
    drop(manager);
    // Once: the second open finds nothing to do.
    let again = Manager::open(Config::new(dir.path())).unwrap();
    assert_eq!(again.recovered().unwrap().1.orphaned_traces, 0);
}

#[test]
fn ten_thousand_short_threads_leave_no_leak_and_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    for _ in 0..100 {
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| {
                    let run = manager.start_trace("short");
                    run.span("work").ok();
                    run.ok();
                });
            }
        });
    }
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.records["span"], stats.dropped_count), (10_000, 0));
    // Without reuse the ceiling would have refused most of them.
    assert!(stats.rings.len() < 2000, "{} rings", stats.rings.len());
    assert!(stats.ring_bytes <= 64 << 20);
    assert_eq!(count(dir.path(), RecordKind::Span), 10_000);
}

#[test]
fn a_thousand_threads_at_once_stay_below_the_ceiling() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(1000));
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            let barrier = Arc::clone(&barrier);
            let manager = &manager;
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || {
                    manager.start_trace("one of many").ok();
                    barrier.wait();
                    manager.start_trace("one of many").ok();
                })
                .unwrap();
        }
    });
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.records["trace_end"], stats.dropped_count), (2000, 0));
    assert!(stats.ring_bytes <= 64 << 20, "{}", stats.ring_bytes);
}

#[test]
fn overflow_is_counted_exactly_and_the_loss_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| ring.ring_bytes = 16 << 10);
    let manager = Manager::open(config).unwrap();
    let attempts = 200_000u64;
    let run = manager.start_trace("fast");
    for _ in 0..attempts {
        run.span("s").ok();
    }
    std::mem::forget(run);
    manager.flush().unwrap();
    // The loss record of what was lost before this flush is in the log after the next.
    manager.flush().unwrap();
    let stats = manager.stats();
    let lost = stats.lost.get("ring_full").copied().unwrap_or(0);
    assert_eq!(
        stats.records.get("span").copied().unwrap_or(0) + lost,
        attempts
    );
    assert!(lost > 0, "200,000 spans through 16 KiB lost none");
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let mut total = 0;
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, _) = step else {
            continue;
        };
        for (_, record) in frame.records().flatten() {
            if let Body::Loss(loss) = record.body {
                total = loss.total.to_native();
            }
        }
    }
    assert_eq!(total, lost);
}

#[test]
fn blocking_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| {
        ring.ring_bytes = 16 << 10;
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(10),
        };
    });
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("patient");
    for _ in 0..100_000 {
        run.span("s").ok();
    }
    run.ok();
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.records["span"], stats.dropped_count), (100_000, 0));
}

#[test]
fn flush_is_bounded_while_others_record_without_a_pause() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                manager.start_trace("busy").ok();
            }
        });
        for _ in 0..50 {
            let run = manager.start_trace("mine");
            run.ok();
            manager.flush_within(Duration::from_secs(5)).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn after_shutdown_handles_are_harmless_and_what_they_try_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let run = manager.start_trace("late");
    manager.shutdown().unwrap();
    run.span("too late").ok();
    manager.start_trace("too late").ok();
    drop(run);
    assert_eq!(manager.stats().state, EngineState::Closed);
    assert_eq!(manager.stats().lost["shutdown"], 3);
    assert!(matches!(manager.flush(), Err(FlushError::Closed(_))));
    assert_eq!(manager.shutdown(), manager.shutdown());
}

#[test]
fn disabled_managers_do_nothing_and_fail_nowhere() {
    let manager = Manager::disabled();
    let run = manager.start_trace("nothing");
    let mut span = run.span("nothing");
    span.set("key", 1);
    assert!(span.id().is_none() && !span.is_recording());
    span.ok();
    run.event("a", "b").with("c", 1).record();
    run.metric("m").unit("s").gauge(1.0);
    run.ok();
    manager.flush().unwrap();
    manager.shutdown().unwrap();
    assert_eq!(manager.stats().state, EngineState::Disabled);
}

#[test]
fn recording_from_a_destructor_of_thread_storage_is_counted_or_logged() {
    struct Late(Manager);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.start_trace("from a destructor").ok();
        }
    }
    thread_local!(static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) });
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    for before in [true, false] {
        let manager = manager.clone();
        std::thread::spawn(move || {
            if before {
                manager.start_trace("first").ok();
            }
            LATE.with(|late| *late.borrow_mut() = Some(Late(manager.clone())));
            if !before {
                manager.start_trace("first").ok();
            }
        })
        .join()
        .unwrap();
    }
    manager.flush().unwrap();
    let stats = manager.stats();
    let gone = stats.lost.get("thread_gone").copied().unwrap_or(0);
    // Two records each; a disabled run loses its start only.
    assert_eq!(stats.records["trace_end"] + gone, 4, "{stats:?}");
}

#[test]
fn spilling_loses_nothing_and_keeps_the_order_of_each_thread() {
    const THREADS: u64 = 2;
    const SPANS: u64 = 40_000;
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| {
        ring.ring_bytes = 64 << 10;
        ring.overflow = Overflow::Spill {
            max_bytes: 64 << 20,
        };
    });
    let manager = Manager::open(config).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let manager = &manager;
            scope.spawn(move || {
                let run = manager.start_trace("spill");
                for n in 0..SPANS {
                    run.span("s").with("thread", thread).with("n", n).ok();
                }
                run.ok();
            });
        }
    });
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!(
        (stats.records["span"], stats.dropped_count),
        (THREADS * SPANS, 0)
    );
    assert!(stats.spill_bytes > 0, "no ring was ever full");
    assert!(stats.spill_bytes <= 64 << 20, "{}", stats.spill_bytes);

    let mut next = [0; THREADS as usize];
    for step in Snapshot::open(dir.path())
        .unwrap()
        .frames_from(Position::START)
    {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}")
        };
        for (_, record) in frame.records().flatten() {
            if !matches!(record.body, Body::Span(_)) {
                continue;
            }
            let values: Vec<_> = record
                .attributes
                .iter()
                .filter_map(|a| a.value.to_value().as_i64())
                .collect();
            let next = &mut next[values[0] as usize];
            assert_eq!(values[1], *next, "of thread {}", values[0]);
            *next += 1;
        }
    }
    assert_eq!(next, [SPANS as i64; THREADS as usize]);
}
