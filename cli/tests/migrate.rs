//! `migrate`: every id, time and attribute arrives, also from a database of another program.

mod common;

use std::fs;

use common::{
    call,
    moving::{beside, count, dump, export, lines, migrate, url},
    Log,
};
use rusqlite::Connection;

#[test]
fn a_database_moves_with_everything_that_is_in_it() {
    let log = Log::sample();
    let (old, new) = (beside(&log, "old.db"), beside(&log, "new.db"));
    export(&log, &["--to", &url("sqlite", &old)]);
    let report = migrate(&url("sqlite", &old), &url("sqlite", &new), &[]);
    assert_eq!(report["records"], 50);
    assert_eq!(report["spans"], 20);
    assert_eq!(report["duplicates"], 0);
    for view in [
        "trace_details",
        "span_details",
        "event_details",
        "metric_details",
        "links",
    ] {
        let all = format!("SELECT * FROM {view} ORDER BY 1, 2, 3");
        let rows = dump(&old, &all);
        assert!(!rows.is_empty() || view == "links", "{view} is empty");
        assert_eq!(rows, dump(&new, &all), "{view}");
    }
    let again = migrate(&url("sqlite", &old), &url("sqlite", &new), &[]);
    assert_eq!(again["records"], 0);
    let again = migrate(&url("sqlite", &old), &url("sqlite", &new), &["--again"]);
    assert_eq!(
        (&again["records"], &again["duplicates"]),
        (&50.into(), &50.into())
    );
    // The same database as lines, for whoever reads those.
    let jsonl = beside(&log, "all.jsonl");
    assert_eq!(
        migrate(&url("sqlite", &old), &url("jsonl", &jsonl), &[])["records"],
        50
    );
    assert_eq!(lines(&jsonl).len(), 50);

    for (from, to, about) in [
        (
            url("sqlite", &old),
            url("sqlite", &old),
            "are the same file",
        ),
        (
            url("sqlite", &beside(&log, "none.db")),
            url("sqlite", &new),
            "none.db",
        ),
        (url("jsonl", &jsonl), url("sqlite", &new), "only to it"),
    ] {
        call(&["migrate", "--from", &from, "--to", &to]).failed(2, about);
    }
    assert!(!beside(&log, "none.db").exists());
}

#[test]
fn a_database_of_another_program_moves_too() {
    let log = Log::place();
    fs::create_dir_all(&log.dir).unwrap();
    let (old, new) = (beside(&log, "spark_telemetry.db"), beside(&log, "new.db"));
    let db = Connection::open(&old).unwrap();
    db.execute_batch(
        "CREATE TABLE traces (trace_id TEXT PRIMARY KEY, name TEXT, start_time TIMESTAMP,
           end_time TIMESTAMP, duration REAL, status TEXT, attributes JSON);
         CREATE TABLE spans (span_id TEXT PRIMARY KEY, trace_id TEXT, parent_span_id TEXT, name TEXT,
           kind TEXT, start_time TIMESTAMP, end_time TIMESTAMP, duration REAL, status TEXT,
           attributes JSON, FOREIGN KEY (trace_id) REFERENCES traces(trace_id));
         CREATE TABLE events (event_id TEXT PRIMARY KEY, trace_id TEXT, span_id TEXT, type TEXT,
           name TEXT, timestamp TIMESTAMP, attributes JSON);
         CREATE TABLE metrics (metric_id TEXT PRIMARY KEY, trace_id TEXT, name TEXT, value REAL,
           unit TEXT, aggregation_type TEXT, timestamp TIMESTAMP, attributes JSON);
         INSERT INTO traces VALUES
           ('1d2c3b4a-0000-4000-8000-000000000001', 'workflow', 1700000000.123456, 1700000002.5,
            2.376544, 'ok', '{\"graph_id\": \"g\", \"n\": 3, \"nested\": {\"a\": [1, 2.5, null]}}'),
           ('run-7', 'open', 1700000001.0, NULL, NULL, 'unset', NULL);
         INSERT INTO spans VALUES
           ('aaaaaaaa-0000-4000-8000-00000000000a', '1d2c3b4a-0000-4000-8000-000000000001', NULL,
            'node', 'node_execution', 1700000000.2, 1700000000.45, 0.25, 'error',
            '{\"node.id\": \"n1\", \"error.type\": \"ValueError\"}'),
           ('bbbbbbbb-0000-4000-8000-00000000000b', '1d2c3b4a-0000-4000-8000-000000000001',
            'aaaaaaaa-0000-4000-8000-00000000000a', 'call', 'wish', '2023-11-14 22:13:20.250125',
            '2023-11-14 22:13:20.350126', 0.100001, 'ok', 'no json');
         INSERT INTO events VALUES ('e-1', 'run-7', NULL, 'node_started', 'n1 started',
            1700000001.5, '{}');
         INSERT INTO metrics VALUES ('m-1', '1d2c3b4a-0000-4000-8000-000000000001', 'cost', 0.25,
            'usd', 'counter', 1700000001.75, '{\"model\": \"x\"}');",
    )
    .unwrap();
    drop(db);
    let report = migrate(&url("sqlite", &old), &url("sqlite", &new), &[]);
    // A trace that ended is two records.
    assert_eq!(
        (&report["records"], &report["spans"]),
        (&7.into(), &2.into())
    );
    assert_eq!(
        migrate(&url("sqlite", &old), &url("sqlite", &new), &[])["records"],
        0
    );

    let trace = "1d2c3b4a000040008000000000000001";
    let text = |sql: &str| dump(&new, sql).join("\n");
    let found = text(&format!(
        "SELECT name, start_time, end_time, status, attributes ->> 'n', attributes ->> 'nested' \
         FROM traces WHERE trace_id = '{trace}'"
    ));
    assert!(
        found.contains("1700000000.123456") && found.contains("1700000002.5"),
        "{found}"
    );
    let db = Connection::open(&new).unwrap();
    let one = |sql: &str| -> String { db.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(
        one("SELECT attributes ->> 'nested' FROM traces WHERE name = 'workflow'"),
        "{\"a\":[1,2.5,null]}"
    );
    assert_eq!(
        one("SELECT attributes ->> 'source.trace_id' FROM traces WHERE name = 'open'"),
        "run-7"
    );
    assert_eq!(
        one("SELECT status FROM traces WHERE name = 'workflow'"),
        "ok"
    );
    // The tree holds, and what has no place of its own is kept.
    assert_eq!(one("SELECT parent.name FROM spans child JOIN spans parent ON child.parent_span_id = parent.span_id WHERE child.name = 'call'"), "node");
    assert_eq!(
        one("SELECT attributes ->> 'source.span_id' FROM spans WHERE name = 'node'"),
        "aaaaaaaa-0000-4000-8000-00000000000a"
    );
    assert_eq!(
        one("SELECT attributes ->> 'source.kind' FROM spans WHERE name = 'call'"),
        "wish"
    );
    assert_eq!(
        one("SELECT attributes ->> 'source.attributes' FROM spans WHERE name = 'call'"),
        "no json"
    );
    let ns = |sql: &str| count(&new, sql);
    assert_eq!(
        ns("SELECT start_ns FROM span_details WHERE name = 'call'"),
        1_700_000_000_250_125_000
    );
    assert_eq!(
        ns("SELECT duration_ns FROM span_details WHERE name = 'call'"),
        100_001_000
    );
    assert_eq!(
        ns("SELECT duration_ns FROM span_details WHERE name = 'node'") / 1000,
        250_000
    );
    assert_eq!(one("SELECT type FROM events"), "node.started");
    assert_eq!(
        one("SELECT attributes ->> 'source.event_id' FROM events"),
        "e-1"
    );
    assert_eq!(
        one("SELECT name || ' ' || value || ' ' || unit || ' ' || aggregation_type FROM metrics"),
        "cost 0.25 usd counter"
    );
    // Nothing was changed where it came from.
    assert_eq!(
        dump(
            &old,
            "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
        )
        .len(),
        1
    );
    let foreign = beside(&log, "foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE traces (id)")
        .unwrap();
    call(&[
        "migrate",
        "--from",
        &url("sqlite", &foreign),
        "--to",
        &url("sqlite", &new),
    ])
    .failed(2, "of another program");
}
