//! What the reading commands answer, as scripts see it.

mod common;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use common::{emberlog, Log};
use serde_json::Value;

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect()
}

#[test]
fn rows_have_the_documented_fields() {
    let log = Log::sample();
    let rows = log
        .ask(&[
            "query", "traces", "--json", "--name", "twin", "--order", "oldest",
        ])
        .json();
    assert_eq!(names(&rows), ["twin", "twin"]);
    let row = &rows[0];
    assert_eq!(row["trace_id"], "abcdef00000000000000000000000001");
    assert_eq!(row["status"], "ok");
    assert_eq!(row["is_active"], false);
    let start = row["start_ns"].as_i64().unwrap();
    assert!((row["start_time"].as_f64().unwrap() - start as f64 / 1e9).abs() < 1e-6);
    assert!(row["duration_ns"].as_u64().is_some() && row["duration"].as_f64().is_some());

    let rows = log
        .ask(&["query", "metrics", "--name", "answer_cost", "--json"])
        .json();
    assert_eq!(
        (rows.len(), &rows[0]["value"], &rows[0]["unit"]),
        (2, &0.25.into(), &"usd".into())
    );
    let rows = log
        .ask(&["query", "events", "--type", "custom", "--json"])
        .json();
    assert_eq!(names(&rows), ["hello", "hello"]);
    let rows = log
        .ask(&["query", "spans", "--status", "error", "--json"])
        .json();
    assert_eq!(rows.len(), 4);
    assert!(rows[0]["error"]["type"]
        .as_str()
        .unwrap()
        .ends_with("Timeout"));
    assert_eq!(rows[0]["error"]["message"], "no answer in 30 s");
}

#[test]
fn filters() {
    let log = Log::sample();
    let count = |args: &[&str]| {
        log.ask(&[&["query"], args, &["--json"]].concat())
            .json()
            .len()
    };
    assert_eq!(count(&["traces", "--name", "run"]), 10);
    assert_eq!(count(&["traces", "--name", "r*n"]), 10);
    assert_eq!(count(&["traces", "--status", "failed"]), 4);
    assert_eq!(count(&["traces", "--status", "active"]), 0);
    assert_eq!(count(&["traces", "--attr", "number=3"]), 1);
    assert_eq!(count(&["traces", "--graph", "old"]), 5);
    assert_eq!(count(&["spans", "--node", "fetcher"]), 10);
    assert_eq!(
        count(&["spans", "--kind", "node_execution", "--name", "answer"]),
        10
    );
    assert_eq!(count(&["spans", "--since", "1h"]), 20);
    assert_eq!(
        count(&["spans", "--since", "yesterday", "--until", "today"]),
        20
    );
    assert_eq!(count(&["spans", "--until", "2001-09-09"]), 0);
    assert_eq!(count(&["spans", "--min-duration", "1h"]), 0);
    assert_eq!(count(&["spans", "--order", "slowest", "--limit", "3"]), 3);
    assert_eq!(count(&["spans", "--limit", "all", "--offset", "15"]), 5);
    assert_eq!(count(&["spans", "--limit", "0"]), 0);
    assert_eq!(
        count(&[
            "events",
            "--trace-id",
            "abcdef00000000000000000000000002",
            "--type",
            "custom"
        ]),
        1
    );
}

#[test]
fn a_cut_list_says_so_where_people_look() {
    let log = Log::sample();
    let said = log.ask(&["query", "spans", "--limit", "3"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 4));
    assert!(said.err.contains("--limit"), "{}", said.err);
    let said = log.ask(&["query", "spans", "--limit", "20"]);
    assert_eq!((said.out.lines().count(), said.err.as_str()), (21, ""));
    let said = log.ask(&["query", "spans", "--name", "nobody"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "", "nothing fits\n")
    );
    let said = log.ask(&["query", "spans", "--name", "nobody", "--json"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
}

#[test]
fn text_is_aligned_escaped_and_has_offsets() {
    let log = Log::sample();
    let said = log.ask(&["query", "traces", "--utc"]);
    assert!(said.out.contains("evil\\u{1b}[2J\\nname"), "{}", said.out);
    assert!(!said.out.contains('\x1b'));
    assert!(
        said.out
            .lines()
            .skip(1)
            .all(|line| line.contains("+00:00  ")),
        "{}",
        said.out
    );
    // Columns are counted in characters: durations have a micro sign.
    let head = said.out.lines().next().unwrap();
    let column = head[..head.find("TRACE").unwrap()].chars().count();
    let from = |line: &str| line.chars().skip(column - 1).collect::<String>();
    assert!(
        said.out.lines().all(|line| from(line).starts_with(' ')),
        "{}",
        said.out
    );
    // What stands there is enough for `trace`.
    let run = from(
        said.out
            .lines()
            .find(|line| line.contains("  run  "))
            .unwrap(),
    );
    let id = run.trim_start().split(' ').next().unwrap();
    assert_eq!(log.ask(&["trace", id]).code, Some(0), "{id}");
    let zone = emberlog()
        .args(["query", "traces", "--dir"])
        .arg(&log.dir)
        .env("TZ", "IST-5:30")
        .output();
    assert!(String::from_utf8(zone.unwrap().stdout)
        .unwrap()
        .contains("+05:30  "));
}

#[test]
fn a_trace_is_a_tree() {
    let log = Log::sample();
    let failed = log
        .ask(&[
            "query", "traces", "--status", "error", "--limit", "1", "--json",
        ])
        .object();
    let id = failed["trace_id"].as_str().unwrap();
    let said = log.ask(&["trace", &id[..10]]);
    assert!(
        said.out.contains(id) && said.out.contains("2 spans, 1 failed"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("Timeout: no answer in 30 s"),
        "{}",
        said.out
    );
    let tree = log.ask(&["trace", id, "--json"]).object();
    assert_eq!(tree["trace_id"], *id);
    let spans = tree["spans"].as_array().unwrap();
    assert_eq!(names(spans), ["fetch", "answer"]);
    assert!(spans
        .iter()
        .all(|span| span["self_ns"].is_u64() && span["depth"] == 0));
}

#[test]
fn large_traces_fold() {
    let (log, manager) = Log::open();
    let run = manager.start_trace("large");
    for _ in 0..1_000 {
        run.node("item").ok();
    }
    run.ok();
    manager.shutdown().unwrap();
    let id = log.ask(&["query", "traces", "--json"]).object()["trace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = log.ask(&["trace", &id]);
    assert!(
        said.out.lines().count() <= 205 && said.out.contains("more spans"),
        "{}",
        said.out
    );
    assert!(said.err.contains("--all"), "{}", said.err);
    let said = log.ask(&["trace", &id, "--all"]);
    assert!(said.out.lines().count() > 1_000 && said.err.is_empty());
    assert_eq!(
        log.ask(&["trace", &id, "--json"]).object()["spans"]
            .as_array()
            .unwrap()
            .len(),
        1_000
    );
}

#[test]
fn the_environment_names_the_directory() {
    let log = Log::sample();
    let said: common::Said = emberlog()
        .args(["verify", "--json"])
        .env("EMBERLOG_DIR", &log.dir)
        .output()
        .unwrap()
        .into();
    let found = said.object();
    assert_eq!(
        (&found["ok"], &found["spans"], &found["lost"]),
        (&true.into(), &20.into(), &0.into())
    );
    let stats = log.ask(&["stats", "--json"]).object();
    assert_eq!(
        (&stats["logs"], &stats["records"]),
        (&1.into(), &found["records"])
    );
    assert!(log.ask(&["stats"]).out.contains("nothing was lost"));
}

#[test]
fn a_root_of_several_logs_is_read_as_one() {
    let (one, two) = (Log::sample(), Log::sample());
    let root = tempfile::tempdir().unwrap();
    std::fs::rename(&one.dir, root.path().join("a")).unwrap();
    std::fs::rename(&two.dir, root.path().join("b")).unwrap();
    let ask = |args: &[&str]| common::ask(root.path(), args);
    assert_eq!(ask(&["query", "spans", "--json"]).json().len(), 40);
    assert_eq!(ask(&["stats", "--json"]).object()["logs"], 2);
    assert_eq!(ask(&["verify", "--json"]).object()["spans"], 40);
    assert_eq!(ask(&["tail", "-n", "30", "--json"]).json().len(), 30);
    assert!(ask(&["inspect", "--json"]).json().len() >= 2);
    assert_eq!(ask(&["recover"]).code, Some(0));
}

#[test]
fn tail_shows_the_newest_and_follows() {
    let (log, manager) = Log::open();
    for name in ["one", "two"] {
        manager.start_trace(name).ok();
    }
    manager.flush().unwrap();
    let rows = log.ask(&["tail", "-n", "3", "--json"]).json();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["record"].as_str().unwrap(),
                row["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("trace_end", "one"),
            ("trace_start", "two"),
            ("trace_end", "two")
        ]
    );
    assert_eq!(log.ask(&["tail", "-n", "0"]).out, "");
    assert_eq!(log.ask(&["tail"]).out.lines().count(), 4);

    let mut command = emberlog();
    command
        .args(["tail", "-f", "--json", "-n", "1", "--dir"])
        .arg(&log.dir)
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["name"], "two");
    manager.start_trace("three").ok();
    assert_eq!(next()["name"], "three");
    manager.shutdown().unwrap();
    assert_eq!(next()["record"], "trace_end");
    drop(lines);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn segments_can_be_inspected() {
    let log = Log::sample();
    let rows = log.ask(&["inspect", "--json"]).json();
    assert_eq!(rows[0]["segment"], "00000000000000000000");
    let frames = log.ask(&["inspect", "0", "--json"]).json();
    assert_eq!(frames[0]["offset"], 8192);
    assert!(frames.iter().all(|frame| frame["checksum_ok"] == true));
    let path = log.segment();
    assert_eq!(
        log.ask(&["inspect", path.to_str().unwrap(), "--json"])
            .json()
            .len(),
        frames.len()
    );
    assert!(log.ask(&["inspect", "0"]).out.contains("trace_start"));
}

#[test]
fn help_and_completions() {
    for command in [
        "demo",
        "query",
        "trace",
        "tail",
        "stats",
        "inspect",
        "verify",
        "recover",
        "completions",
    ] {
        let said = common::call(&[command, "--help"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            common::call(&["completions", shell])
                .out
                .contains("emberlog"),
            "{shell}"
        );
    }
    assert!(common::call(&["--version"]).out.starts_with("emberlog "));
}
