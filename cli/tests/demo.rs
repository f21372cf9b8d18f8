//! The demo on a small input: its figures, its directory, its log.

mod common;

use std::{fs, path::Path};

use common::{ask, emberlog, Said};

fn input(dir: &Path) {
    fs::create_dir_all(dir.join("sub")).unwrap();
    for number in 0..20 {
        fs::write(
            dir.join(format!("{number}.txt")),
            format!("word{number} and others, and others"),
        )
        .unwrap();
    }
    fs::write(dir.join("sub/empty"), "").unwrap();
    fs::write(dir.join("sub/binary"), b"abc\xff\xfe").unwrap();
}

fn demo(at: &Path, more: &[&str]) -> Said {
    let mut command = emberlog();
    command
        .current_dir(at)
        .args(["demo", "--input", "input", "--threads", "2"])
        .args(more);
    // A log that must not be touched.
    command.env("EMBERLOG_DIR", at.join("elsewhere"));
    command.output().unwrap().into()
}

#[test]
fn its_log_goes_to_every_target() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    input(&at.join("input"));
    let found = demo(at, &["--runs", "44", "--json"]).object();
    let dir = at.join("emberlog-demo");
    for scheme in ["sqlite", "jsonl", "perfetto"] {
        let to = format!("{scheme}:{}", at.join(scheme).display());
        let report = ask(&dir, &["export", "--json", "--to", &to]).object();
        assert_eq!(report["records"], found["sqlite_rows"], "{scheme}");
        assert_eq!(report["spans"], found["spans"], "{scheme}");
        assert_eq!(report["quarantined"], 0, "{scheme}");
    }
    // The demo's own database has the same, and moves on.
    let from = format!("sqlite:{}", dir.join("demo.db").display());
    let to = format!("sqlite:{}", at.join("sqlite").display());
    let moved = ask(&dir, &["migrate", "--json", "--from", &from, "--to", &to]).object();
    assert_eq!(moved["records"], found["sqlite_rows"]);
    assert_eq!(moved["duplicates"], moved["records"]);
}

#[test]
fn its_figures_agree_with_its_log() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    input(&at.join("input"));
    let said = demo(at, &["--runs", "44", "--json"]);
    let found = said.object();
    assert_eq!((&found["runs"], &found["lost"]), (&44.into(), &0.into()));
    // 44 runs are 22 files twice: 20 texts of 5 nodes, an empty one of 1, a failing one of 2.
    assert_eq!(found["spans"], 2 * (20 * 5 + 1 + 2));
    assert_eq!(found["failed_runs"], 2);
    for key in [
        "node_us_mean",
        "ns_per_span",
        "wall_overhead_percent",
        "cpu_overhead_percent",
    ] {
        assert!(found[key].is_f64(), "{key} is {}", found[key]);
    }
    assert!(found["log_bytes"].as_u64().unwrap() > 44 * 64);
    assert!(!at.join("elsewhere").exists());
    let dir = at.join(found["dir"].as_str().unwrap());
    assert_eq!(dir, at.join("emberlog-demo"));
    let verified = ask(&dir, &["verify", "--json"]).object();
    assert_eq!(
        (&verified["records"], &verified["spans"]),
        (&found["records"], &found["spans"])
    );
    let failed = ask(&dir, &["query", "spans", "--status", "error", "--json"]).json();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["name"], "decode");
    assert!(failed[0]["error"]["type"]
        .as_str()
        .unwrap()
        .ends_with("Utf8Error"));
}

#[test]
fn it_replaces_only_what_it_wrote() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    input(&at.join("input"));
    let run = |more: &[&str]| demo(at, &[&["--runs", "10"], more].concat());
    let said = run(&[]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("What recording costs") && said.out.contains("Try next"),
        "{}",
        said.out
    );
    assert!(said.out.contains("trace ") && said.out.contains("--dir emberlog-demo"));
    // What reading and recovering leave there is no obstacle.
    let dir = at.join("emberlog-demo");
    assert_eq!(ask(&dir, &["recover"]).code, Some(0));
    assert_eq!(ask(&dir, &["query", "traces"]).code, Some(0));
    assert_eq!(run(&["--json"]).object()["runs"], 10);
    assert_eq!(ask(&dir, &["query", "traces", "--json"]).json().len(), 10);

    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let said = run(&[]);
    said.failed(2, "notes.txt");
    assert_eq!(ask(&dir, &["query", "traces", "--json"]).json().len(), 10);
    fs::create_dir(at.join("other")).unwrap();
    fs::write(at.join("other/notes.txt"), "mine").unwrap();
    run(&["--dir", "other"]).failed(2, "is not empty");
    assert_eq!(
        fs::read_to_string(at.join("other/notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn bad_input_is_said_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    demo(at, &[]).failed(2, "--input");
    fs::create_dir(at.join("input")).unwrap();
    demo(at, &[]).failed(2, "no files to index");
    assert!(!at.join("emberlog-demo").exists());
}
