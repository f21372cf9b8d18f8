//! `export` and `cursors`: what is recorded arrives once; a second export sends only what is new.

mod common;

use std::{collections::BTreeSet, fs};

use common::{
    call, emberlog,
    moving::{beside, count, export, lines, made_database, url},
    Log,
};
use emberlog::{Config, Manager};
use rusqlite::Connection;
use serde_json::Value;

#[test]
fn a_second_export_sends_only_what_is_new() {
    let log = Log::sample();
    let (sqlite, jsonl) = (beside(&log, "rows.db"), beside(&log, "rows.jsonl"));
    for (to, path) in [("sqlite", &sqlite), ("jsonl", &jsonl)] {
        let to = url(to, path);
        let first = export(&log, &["--to", &to]);
        // 13 traces of two records, 20 nodes, an event and a metric for each twin.
        assert_eq!(first["records"], 26 + 20 + 4, "{to}");
        assert_eq!(first["spans"], 20);
        assert_eq!(first["quarantined"], 0);
        let second = export(&log, &["--to", &to]);
        assert_eq!(second["records"], 0, "{to}");
    }
    assert_eq!(count(&sqlite, "SELECT count(*) FROM traces"), 13);
    assert_eq!(count(&sqlite, "SELECT count(*) FROM spans"), 20);
    assert_eq!(lines(&jsonl).len(), 50);

    let manager = Manager::open(Config::new(&log.dir).ring(|ring| ring.crash_safe = false));
    let manager = manager.unwrap();
    manager.start_trace("later").ok();
    manager.shutdown().unwrap();
    for (to, path) in [("sqlite", &sqlite), ("jsonl", &jsonl)] {
        let more = export(&log, &["--to", &url(to, path)]);
        assert_eq!(more["records"], 2, "{to}");
    }
    assert_eq!(count(&sqlite, "SELECT count(*) FROM traces"), 14);

    // SQL has no row twice, also when all is sent again.
    let again = export(
        &log,
        &["--to", &url("sqlite", &sqlite), "--from-position", "0"],
    );
    assert_eq!(
        (&again["records"], &again["duplicates"]),
        (&52.into(), &52.into())
    );
    assert_eq!(count(&sqlite, "SELECT count(*) FROM traces"), 14);
    assert_eq!(count(&sqlite, "SELECT count(*) FROM spans"), 20);
}

#[test]
fn lines_have_the_fields_of_query() {
    let log = Log::sample();
    let jsonl = beside(&log, "rows.jsonl");
    export(&log, &["--to", &url("jsonl", &jsonl)]);
    let mut spans: Vec<Value> = lines(&jsonl);
    spans.retain(|row| row["record"] == "span");
    let asked = log.ask(&[
        "query", "spans", "--json", "--limit", "all", "--order", "oldest",
    ]);
    let mut asked = asked.json();
    for span in &mut spans {
        span.as_object_mut().unwrap().remove("record");
    }
    let by_id = |rows: &mut Vec<Value>| rows.sort_by_key(|row| row["span_id"].to_string());
    by_id(&mut spans);
    by_id(&mut asked);
    assert_eq!(spans, asked);
}

#[test]
fn a_filter_is_a_stream_of_its_own() {
    let log = Log::sample();
    let sqlite = url("sqlite", &beside(&log, "rows.db"));
    // Numbers 0, 3, 6, 9 fail: a trace, two records each, and one node.
    let failed = export(&log, &["--to", &sqlite, "--status", "error"]);
    assert_eq!(failed["records"], 4 * 2 + 4);
    assert_eq!(failed["spans"], 4);
    assert_eq!(
        export(&log, &["--to", &sqlite, "--status", "error"])["records"],
        0
    );
    // Everything else is not thought to be there already.
    let all = export(&log, &["--to", &sqlite]);
    assert_eq!(
        (&all["records"], &all["duplicates"]),
        (&50.into(), &12.into())
    );

    let jsonl = |name: &str, filter: &[&str]| {
        let path = beside(&log, name);
        let to = url("jsonl", &path);
        export(&log, &[&["--to", &to], filter].concat());
        lines(&path)
    };
    let kinds = |rows: &[Value]| -> BTreeSet<String> {
        rows.iter()
            .map(|row| row["record"].as_str().unwrap().to_owned())
            .collect()
    };
    let nodes = jsonl(
        "nodes.jsonl",
        &["--node", "fetcher", "--kind", "node_execution"],
    );
    assert_eq!(nodes.len(), 10);
    assert!(nodes
        .iter()
        .all(|row| row["attributes"]["node.id"] == "fetcher"));
    let events = jsonl("events.jsonl", &["--type", "custom"]);
    assert_eq!(
        (events.len(), kinds(&events)),
        (2, ["event".to_owned()].into())
    );
    // The graph of a node is the one of its trace.
    let graph = jsonl("graph.jsonl", &["--graph", "old"]);
    assert_eq!(graph.len(), 5 * 4);
    let one = jsonl("one.jsonl", &["--trace-id", "order-4711"]);
    assert_eq!(one.len(), 2);
    assert_eq!(
        kinds(&one),
        ["trace_end".to_owned(), "trace_start".to_owned()].into()
    );
    let none = jsonl("slow.jsonl", &["--min-duration", "1h"]);
    assert!(none.is_empty());
}

#[test]
fn mistakes_are_told_in_one_line() {
    let log = Log::sample();
    for (args, about) in [
        (&["export"][..], "--to"),
        (
            &["export", "--to", "mysql://me:hunter2@host/db"],
            "expected one of sqlite:",
        ),
        (&["export", "--to", "sqlite:"], "needs a path"),
        (
            &["export", "--to", "env:EMBERLOG_NO_SUCH"],
            "\"EMBERLOG_NO_SUCH\" is not set",
        ),
        (
            &["export", "--to", "jsonl:/nowhere/at/all.jsonl"],
            "/nowhere/at/all.jsonl",
        ),
        (
            &["export", "--to", "jsonl:/tmp"],
            "not written by an export",
        ),
        (&["export", "--to", "sqlite:/tmp"], "/tmp"),
        (
            &["export", "--to", "jsonl:x", "--status", "active"],
            "when it ends",
        ),
        (
            &["export", "--to", "jsonl:x", "--status", "purple"],
            "--status",
        ),
        (
            &["export", "--to", "jsonl:x", "--from-position", "x"],
            "--from-position",
        ),
        (
            &["export", "--to", "jsonl:x", "--from-position", "9:9"],
            "past the end",
        ),
        (
            &["export", "--to", "jsonl:x", "--cursor", "../x"],
            "not allowed",
        ),
        (
            &["export", "--to", "jsonl:x", "--tracks", "traces"],
            "--tracks",
        ),
        (&["prune"], "--older-than"),
        (&["prune", "--max-size", "many"], "is no size"),
        (&["cursors", "drop", "nobody"], "no cursor \"nobody\""),
        (&["quarantine", "drop", "nobody"], "nothing is set aside"),
        (
            &["quarantine", "replay", "nobody", "--to", "jsonl:x"],
            "nothing is set aside",
        ),
    ] {
        let said = log.ask(args);
        said.failed(2, about);
        assert!(!said.err.contains("hunter2"), "{}", said.err);
    }
    let inside = url("jsonl", &log.dir.join("rows.jsonl"));
    log.ask(&["export", "--to", &inside])
        .failed(2, "lies in the log directory");
    let foreign = beside(&log, "foreign.jsonl");
    fs::write(&foreign, "somebody's\n").unwrap();
    log.ask(&["export", "--to", &url("jsonl", &foreign)])
        .failed(2, "was not written by an export");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "somebody's\n");
    let place = Log::place();
    for args in [
        &["export", "--to", "jsonl:x"][..],
        &["prune", "--older-than", "1d"],
        &["cursors", "list"],
        &["quarantine", "list"],
    ] {
        place.ask(args).failed(2, "no log directory at");
    }
    let said = call(&["completions", "bash"]);
    for word in [
        "export",
        "prune",
        "quarantine",
        "cursors",
        "--from-position",
    ] {
        assert!(said.out.contains(word), "{word} is not completed");
    }
}

#[test]
fn a_url_may_stand_in_a_variable() {
    let log = Log::sample();
    let jsonl = beside(&log, "rows.jsonl");
    let output = emberlog()
        .args(["export", "--to", "env:TELEMETRY_URL", "--json", "--dir"])
        .arg(&log.dir)
        .env("TELEMETRY_URL", url("jsonl", &jsonl))
        .output()
        .unwrap();
    let report = common::Said::from(output).object();
    assert_eq!(report["records"], 50);
    assert_eq!(lines(&jsonl).len(), 50);
}

#[test]
fn cursors_are_listed_and_dropped() {
    let log = Log::sample();
    let jsonl = url("jsonl", &beside(&log, "rows.jsonl"));
    export(&log, &["--to", &jsonl, "--cursor", "mine"]);
    let listed = log.ask(&["cursors", "list", "--json"]).json();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "mine");
    assert_eq!(listed[0]["delivered"], 50);
    assert_eq!(listed[0]["lag_records"], 0);
    assert_eq!(listed[0]["running"], false);
    assert!(listed[0]["moved_ns"].as_i64().unwrap() > 0);
    assert!(log.ask(&["cursors", "list"]).out.contains("mine"));
    assert_eq!(
        log.ask(&["cursors", "drop", "mine", "--json"]).object()["dropped"],
        1
    );
    assert!(log.ask(&["cursors", "list", "--json"]).json().is_empty());
    log.ask(&["cursors", "drop", "mine"]).failed(2, "no cursor");
}

#[test]
fn state_lies_where_it_is_told() {
    let log = Log::sample();
    let state = beside(&log, "state");
    let (dir, jsonl) = (
        state.to_str().unwrap(),
        url("jsonl", &beside(&log, "rows.jsonl")),
    );
    assert_eq!(
        export(&log, &["--to", &jsonl, "--state", dir])["records"],
        50
    );
    assert_eq!(
        export(&log, &["--to", &jsonl, "--state", dir])["records"],
        0
    );
    assert!(log.ask(&["cursors", "list", "--json"]).json().is_empty());
    let inside: Vec<_> = fs::read_dir(&state).unwrap().collect();
    assert_eq!(inside.len(), 1, "a folder for the log");
    // Those who are told where see it, and can drop it.
    let listed = log
        .ask(&["cursors", "list", "--json", "--state", dir])
        .json();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let name = listed[0]["name"].as_str().unwrap();
    log.ask(&["cursors", "drop", name]).failed(2, "no cursor");
    let dropped = log
        .ask(&["cursors", "drop", name, "--json", "--state", dir])
        .object();
    assert_eq!(dropped["dropped"], 1);
    let left = log
        .ask(&["cursors", "list", "--json", "--state", dir])
        .json();
    assert!(left.is_empty(), "{left:?}");
    // Nothing was kept where nothing is.
    for command in [
        &["cursors", "list"][..],
        &["cursors", "drop", name],
        &["quarantine", "list"],
    ] {
        let there = [command, &["--state", "/no/such/place"]].concat();
        log.ask(&there)
            .failed(2, "there is no directory /no/such/place");
    }
}

#[test]
fn refused_rows_lie_beside_the_cursor_wherever_that_is() {
    let log = Log::sample();
    let state = beside(&log, "state");
    let state = ["--state", state.to_str().unwrap()];
    let (sqlite, to) = made_database(&log);
    let db = Connection::open(&sqlite).unwrap();
    db.execute_batch(
        "CREATE TRIGGER picky BEFORE INSERT ON span_rows WHEN NEW.name = 'answer'
         BEGIN SELECT RAISE(ABORT, 'not that one'); END",
    )
    .unwrap();
    let with = |args: &[&str]| log.ask(&[args, &state[..]].concat());
    let report = with(&["export", "--json", "--to", &to, "--cursor", "rows"]).object();
    assert_eq!(report["quarantined"], 10);
    assert!(log.ask(&["quarantine", "list", "--json"]).json().is_empty());
    assert_eq!(with(&["quarantine", "list", "--json"]).json().len(), 10);
    log.ask(&["quarantine", "drop", "rows"])
        .failed(2, "nothing is set aside");
    db.execute_batch("DROP TRIGGER picky").unwrap();
    let replay = ["quarantine", "replay", "rows", "--to", &to, "--json"];
    let report = with(&replay).object();
    assert_eq!(
        (&report["records"], &report["quarantined"]),
        (&10.into(), &0.into())
    );
    assert!(with(&["quarantine", "list", "--json"]).json().is_empty());
    with(&replay).failed(2, "nothing is set aside");
}

#[test]
fn a_locked_database_is_waited_for_and_a_refusing_one_is_not() {
    let log = Log::sample();
    let (sqlite, to) = made_database(&log);
    let db = Connection::open(&sqlite).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = log.ask(&["export", "--to", &to, "--retry-for", "1s"]);
    said.failed(2, "locked");
    db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(export(&log, &["--to", &to])["records"], 50);

    let foreign = beside(&log, "foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE mine (id)")
        .unwrap();
    log.ask(&["export", "--to", &url("sqlite", &foreign)])
        .failed(2, "of another program");
}

#[test]
fn errors_are_found_by_the_last_segment_of_their_type() {
    let log = Log::sample();
    let all = log
        .ask(&["query", "spans", "--status", "error", "--json"])
        .json();
    let full = all[0]["error"]["type"].as_str().unwrap();
    let last = full.rsplit("::").next().unwrap();
    assert_ne!(full, last, "a type with a path");
    for wanted in [full, last] {
        let found = log
            .ask(&["query", "spans", "--error-type", wanted, "--json"])
            .json();
        assert_eq!(found.len(), all.len(), "{wanted}");
        let traces = log
            .ask(&["query", "traces", "--error-type", wanted, "--json"])
            .json();
        assert_eq!(traces.len(), 4, "{wanted}");
    }
    let none = log.ask(&["query", "spans", "--error-type", "imeout", "--json"]);
    assert!(none.json().is_empty());
}
