//! Whatever is typed or found: one clear line, the promised exit code, never a panic.

mod common;

use std::fs;

use common::{ask, call, hang_up, Log};

const READING: &[&[&str]] = &[
    &["query", "traces"],
    &["query", "spans", "--json"],
    &["trace", "abcd"],
    &["tail"],
    &["stats"],
    &["inspect"],
    &["verify"],
    &["recover"],
];

#[test]
fn a_directory_that_is_none() {
    let place = Log::place();
    for args in READING {
        ask(&place.dir, args).failed(2, "no log directory at");
        assert!(!place.dir.exists(), "{args:?} created something");
    }
    fs::write(&place.dir, "x").unwrap();
    for args in READING {
        ask(&place.dir, args).failed(2, "is a file");
    }
    fs::remove_file(&place.dir).unwrap();
    fs::create_dir(&place.dir).unwrap();
    for args in READING {
        ask(&place.dir, args).failed(2, "no emberlog log");
        assert_eq!(
            fs::read_dir(&place.dir).unwrap().count(),
            0,
            "{args:?} created something"
        );
    }
}

#[test]
fn usage() {
    for (args, about) in [
        (&["query", "traces", "--limit", "-1"][..], "--limit"),
        (&["query", "traces", "--limit", "many"], "0 or more, or all"),
        (&["query", "traces", "--offset=-1"], "--offset"),
        (&["query", "traces", "--attr", "key"], "KEY=VALUE"),
        (&["query", "spans", "--min-duration", "5"], "unit"),
        (&["query", "spans", "--kind", "wish"], "span kind"),
        (&["query", "spans", "--span-id", "12"], "span id"),
        (&["query", "nothing"], "nothing"),
        (&["query"], "TARGET"),
        (&["demo", "--runs", "0"], "--runs"),
        (&["demo", "--threads", "-2"], "--threads"),
        (&["frobnicate"], "frobnicate"),
        (&["completions", "cmd.exe"], "cmd.exe"),
        (&["trace"], "ID"),
    ] {
        call(args).failed(2, about);
    }
    let log = Log::sample();
    for (args, about) in [
        (
            &["query", "traces", "--since", "tomorrowish"][..],
            "--since",
        ),
        (&["query", "traces", "--until", "-2h"], "is no time"),
        (&["query", "traces", "--status", "purple"], "--status"),
        (
            &["query", "traces", "--kind", "llm_call"],
            "--kind filters spans",
        ),
        (
            &["query", "events", "--status", "ok"],
            "--status filters traces and spans",
        ),
        (
            &["query", "metrics", "--min-duration", "1s"],
            "--min-duration",
        ),
        (&["inspect", "7"], "no segment"),
    ] {
        log.ask(args).failed(2, about);
    }
}

#[test]
fn ids() {
    let log = Log::sample();
    for args in [
        &["trace", "zzz"][..],
        &["query", "spans", "--trace-id", "no such text"],
    ] {
        log.ask(args).failed(2, "is no trace id");
    }
    log.ask(&["trace", ""]).failed(2, "is no trace id");
    log.ask(&["trace", "00000000000000000000000000000001"])
        .failed(2, "no trace in");
    log.ask(&["trace", "abcd"])
        .failed(2, "several traces begin with");
    log.ask(&["trace", &"f".repeat(10_000)])
        .failed(2, "is no trace id");
    assert_eq!(
        log.ask(&["trace", "abcdef00-0000-0000-0000-000000000002"])
            .code,
        Some(0)
    );
    assert_eq!(log.ask(&["trace", "order-4711"]).code, Some(0));
}

#[test]
fn a_closed_pipe_is_fine() {
    let log = Log::sample();
    for args in [
        &["query", "events", "--limit", "all"][..],
        &["query", "events", "--json"],
        &["stats"],
        &["--help"],
        &["completions", "bash"],
        &["trace", "order-4711"],
    ] {
        for bytes in [0, 10] {
            let (code, err) = hang_up(args, &log.dir, bytes);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{args:?}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_standard_output_is_said() {
    let log = Log::sample();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = common::emberlog();
    command
        .args(["query", "events", "--json", "--dir"])
        .arg(&log.dir)
        .stdout(full);
    let said: common::Said = command.output().unwrap().into();
    said.failed(2, "cannot write to standard output");
}

#[test]
fn damage_is_found_and_the_rest_still_read() {
    let log = Log::sample();
    assert_eq!(log.ask(&["verify"]).code, Some(0));
    let segment = log.segment();
    let whole = log.ask(&["query", "spans", "--json"]).json().len();
    // The frames of the first page hold names; the last frame before the seal holds spans.
    let length = fs::metadata(&segment).unwrap().len() as usize;
    log.flip(&segment, length - 400);
    let said = log.ask(&["verify", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["ok"], false);
    assert_eq!(found["damaged_frames"], 1);
    assert!(!said.err.is_empty());
    let said = log.ask(&["query", "spans", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.json().len() <= whole);
    let keys = [
        "ok",
        "records",
        "spans",
        "damaged_frames",
        "torn_bytes",
        "lost",
        "index_ok",
    ];
    assert_eq!(found.as_object().unwrap().len(), keys.len());
    assert!(keys.iter().all(|key| found.get(key).is_some()));
}

#[test]
fn garbage_instead_of_a_log() {
    let log = Log::sample();
    for name in ["LOG", "watermark"] {
        fs::write(log.dir.join(name), [0xa5; 4096]).unwrap();
    }
    let segment = log.segment();
    fs::write(&segment, vec![0xa5; 100_000]).unwrap();
    for args in READING {
        let said = log.ask(args);
        assert!(
            matches!(said.code, Some(0..=2)),
            "{args:?}: {:?} {}",
            said.code,
            said.err
        );
        assert!(!said.err.contains("panicked"), "{}", said.err);
    }
}

#[test]
fn recovery_leaves_a_live_writer_alone() {
    let (log, manager) = Log::open();
    manager.start_trace("run").ok();
    manager.flush().unwrap();
    log.ask(&["recover"]).failed(2, "is in use by");
    assert_eq!(log.ask(&["query", "traces", "--json"]).json().len(), 1);
    manager.shutdown().unwrap();
    let said = log.ask(&["recover", "--json"]);
    assert_eq!(said.object()["records_drained"], 0);
    assert_eq!(log.ask(&["verify"]).code, Some(0));
    assert_eq!(log.ask(&["query", "traces", "--json"]).json().len(), 1);
}
