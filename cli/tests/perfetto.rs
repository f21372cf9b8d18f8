//! `export --to perfetto:`: what the UI is going to read.

mod common;

use std::fs;

use common::{
    moving::{beside, export, url},
    Log,
};

#[test]
fn a_file_for_perfetto_has_every_span() {
    let log = Log::sample();
    let mut sizes = Vec::new();
    for tracks in ["threads", "traces"] {
        let path = beside(&log, &format!("{tracks}.pftrace"));
        let report = export(&log, &["--to", &url("perfetto", &path), "--tracks", tracks]);
        assert_eq!(
            (&report["records"], &report["spans"]),
            (&50.into(), &20.into())
        );
        let again = export(&log, &["--to", &url("perfetto", &path), "--tracks", tracks]);
        assert_eq!(again["records"], 0);
        sizes.push(fs::metadata(&path).unwrap().len());
    }
    assert!(sizes.iter().all(|bytes| *bytes > 2_000), "{sizes:?}");
}

/// With Perfetto's own schema; `scripts/test perfetto` installs what it needs and runs this.
#[test]
#[ignore = "needs the Python package perfetto: scripts/test perfetto"]
fn perfetto_reads_what_was_written() {
    let python = std::env::var("EMBERLOG_PYTHON").expect("EMBERLOG_PYTHON names the interpreter");
    let (log, manager) = Log::open();
    let earlier = manager.start_trace("earlier");
    let linked = earlier.trace_id().expect("it is recorded");
    earlier.node("alone").ok();
    earlier.ok();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let manager = &manager;
            scope.spawn(move || {
                for _ in 0..50 {
                    let run = manager.start_trace("run");
                    for node in ["read", "decode", "index"] {
                        let span = run.node(node);
                        run.event("custom", "in the middle").record();
                        span.ok();
                    }
                    // Overlaps its sibling, and ends after it.
                    let first = run.node("first").detach(&run);
                    let second = run.node("second").detach(&run);
                    first.ok();
                    second.ok();
                    run.metric("cost").unit("usd").counter(0.25);
                    run.metric("tokens").counter(number);
                    run.metric("odd").gauge(f64::NAN);
                    run.ok();
                }
            });
        }
    });
    let later = manager.start_trace("later");
    later.link(linked, None);
    later.ok();
    manager.shutdown().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/perfetto_check.py");
    let spans = log
        .ask(&["query", "spans", "--limit", "all", "--json"])
        .json();
    for tracks in ["threads", "traces"] {
        let path = beside(&log, &format!("{tracks}.pftrace"));
        export(&log, &["--to", &url("perfetto", &path), "--tracks", tracks]);
        let output = std::process::Command::new(&python)
            .arg(script)
            .arg(&path)
            .output()
            .unwrap();
        let said = common::Said::from(output);
        let found = said.object();
        // Slices of 202 traces and their spans.
        assert_eq!(found["slices"], 202 + spans.len());
        assert_eq!(found["points"], 400);
        assert_eq!(
            found["instants"],
            4 * 50 * 3 + 200 + 1,
            "events, NaN, the link"
        );
        assert_eq!(found["arrows"], 1);
        assert_eq!(found["threads"], if tracks == "threads" { 5 } else { 0 });
        for span in &spans {
            let id = span["span_id"].as_str().unwrap();
            assert_eq!(found["spans"][id], span["duration_ns"], "{id}");
        }
    }
}
