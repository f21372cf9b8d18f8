//! The wall clock may be stepped while a process records: durations are never negative, and spans
//! stay in the order in which they happened.
//!
//! A child of this test runs under libfaketime, which shifts the wall clock by what a file says.
//! Where libfaketime is not installed (`apt-get install libfaketime`), the test says so and checks
//! the same without a step.

use std::{
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use emberlog::{Config, Filter, LogReader, Manager};

const DAY_NS: i64 = 86_400_000_000_000;

fn library() -> Option<&'static str> {
    [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/faketime/libfaketimeMT.so.1",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists())
}

#[test]
#[ignore = "is the child of the test below"]
fn child() {
    let Some(dir) = std::env::var_os("EMBERLOG_CLOCK_DIR") else {
        return;
    };
    let steps = std::env::var("EMBERLOG_CLOCK_STEPS").unwrap();
    let faked = std::env::var_os("FAKETIME_TIMESTAMP_FILE");
    let manager = Manager::open(Config::new(dir)).unwrap();
    let run = manager.start_trace("run");
    let nap = || std::thread::sleep(Duration::from_millis(30));
    for (i, step) in steps.split(' ').enumerate() {
        let span = run.span("across a step");
        nap();
        if let Some(file) = &faked {
            let before = SystemTime::now();
            std::fs::write(file, step).unwrap();
            let moved = match SystemTime::now().duration_since(before) {
                Ok(ahead) => ahead,
                Err(back) => back.duration(),
            };
            assert!(
                i == 0 || moved > Duration::from_secs(3600),
                "the clock did not move"
            );
        }
        nap();
        span.ok();
        run.span("between steps").with("i", i).ok();
        manager.flush().unwrap();
        // Long enough for the flusher to see the step.
        nap();
    }
    run.ok();
    manager.shutdown().unwrap();
}

fn record(steps: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("offset");
    std::fs::write(&file, "+0d").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["child", "--exact", "--ignored", "--test-threads=1"])
        .env("EMBERLOG_CLOCK_DIR", dir.path().join("log"))
        .env("EMBERLOG_CLOCK_STEPS", steps);
    match library() {
        Some(library) => {
            child
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", &file)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        None => eprintln!("SKIPPED the steps: libfaketime is not installed"),
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    dir
}

#[test]
fn a_step_of_the_wall_clock_makes_no_duration_negative_and_keeps_the_order() {
    for steps in ["+0d -1d +0d -1d", "+0d +1d +0d +1d", "-1d +1d -1d +1d"] {
        let dir = record(steps);
        let reader = LogReader::open(dir.path().join("log")).unwrap();
        let across = reader.spans(&Filter::new().name("across a step")).unwrap();
        assert_eq!(across.len(), 4, "{steps}");
        for span in &across {
            // 60 ms by the monotonic clock, whatever the wall clock did.
            let duration = span.duration().unwrap();
            assert!(
                (Duration::from_millis(50)..Duration::from_secs(5)).contains(&duration),
                "{steps}: {duration:?}"
            );
        }
        let trace = &reader.traces(&Filter::new()).unwrap()[0];
        let end = trace.end_ns.unwrap();
        assert!(
            end >= trace.start_ns && end - trace.start_ns < 3 * DAY_NS,
            "{steps}: {trace:?}"
        );
        // In the order of their records, which is the order in which they were recorded.
        let mut between = reader.spans(&Filter::new().name("between steps")).unwrap();
        between.sort_by_key(|span| span.record.unwrap().sequence);
        let order: Vec<_> = between
            .iter()
            .map(|span| span.attributes.get("i").unwrap().to_json())
            .collect();
        assert_eq!(order, ["0", "1", "2", "3"], "{steps}");
        assert_eq!(reader.spans(&Filter::new()).unwrap().len(), 8);
        assert!(emberlog::log::verify(&dir.path().join("log")).unwrap().ok);
    }
}
