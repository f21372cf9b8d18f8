//! What the tests of `export`, `migrate` and `prune` share.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use emberlog::{Config, Manager};
use rusqlite::Connection;
use serde_json::Value;

use super::{ask, call, Log};

pub fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

/// A file beside the log.
pub fn beside(log: &Log, name: &str) -> PathBuf {
    log.dir.parent().unwrap().join(name)
}

pub fn export(log: &Log, args: &[&str]) -> Value {
    let said = log.ask(&[&["export", "--json"], args].concat());
    let report = said.object();
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    let promised = ["duplicates", "quarantined", "records", "seconds", "spans"];
    assert_eq!(keys.len(), promised.len(), "{report}");
    assert!(
        promised.iter().all(|key| report.get(key).is_some()),
        "{report}"
    );
    report
}

/// A database that `export` made beside the log, without a row in it, and the URL that names it.
pub fn made_database(log: &Log) -> (PathBuf, String) {
    let path = beside(log, "rows.db");
    let to = url("sqlite", &path);
    let nothing = [
        "--to",
        &to,
        "--type",
        "nothing",
        "--cursor",
        "makes-the-file",
    ];
    export(log, &nothing);
    (path, to)
}

pub fn count(database: &Path, sql: &str) -> i64 {
    let db = Connection::open(database).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(parse).collect()
}

/// A name for every row: what the record is, and its id.
pub fn names(rows: &[Value]) -> Vec<String> {
    let id = |row: &Value| {
        let keys = ["span_id", "event_id", "metric_id", "link_id", "trace_id"];
        let own = match row["record"].as_str().unwrap() {
            "span" => "span_id",
            "event" => "event_id",
            "metric" => "metric_id",
            "link" => "link_id",
            _ => "trace_id",
        };
        assert!(keys.contains(&own));
        format!("{} {} {}", row["record"], row["trace_id"], row[own])
    };
    rows.iter().map(id).collect()
}

/// Opens a log, records that many traces, and closes it: a segment more.
pub fn segment_more(log: &Log, traces: u64) {
    let manager = Manager::open(Config::new(&log.dir).ring(|ring| ring.crash_safe = false));
    let manager = manager.unwrap();
    for _ in 0..traces {
        manager.start_trace("run").ok();
    }
    manager.shutdown().unwrap();
}

/// A log with several segments.
pub fn long() -> Log {
    let log = Log::place();
    for _ in 0..4 {
        segment_more(&log, 2_000);
    }
    log
}

pub fn segments(log: &Log) -> u64 {
    let stats = log.ask(&["stats", "--json"]).object();
    stats["segments"].as_u64().unwrap()
}

/// Every record of the logs below `dir` is in the file, once.
pub fn once_and_all(dir: &Path, jsonl: &Path) {
    let found = names(&lines(jsonl));
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for name in &found {
        *times.entry(name).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "twice: {twice:?}");
    let reference = jsonl.with_extension("reference");
    let to = url("jsonl", &reference);
    let said = ask(dir, &["export", "--json", "--to", &to]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let all = names(&lines(&reference));
    let missing: Vec<_> = all
        .iter()
        .filter(|name| !times.contains_key(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    assert_eq!(all.len(), found.len());
}

pub fn kills() -> u64 {
    match std::env::var("EMBERLOG_DEEP").as_deref() {
        Ok("1") => 1_000,
        _ => 40,
    }
}

pub fn migrate(from: &str, to: &str, more: &[&str]) -> Value {
    let said = call(&[&["migrate", "--json", "--from", from, "--to", to], more].concat());
    said.object()
}

/// Every row of a selection, as text.
pub fn dump(database: &Path, sql: &str) -> Vec<String> {
    let db = Connection::open(database).unwrap();
    let mut statement = db.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
        Ok(cells.collect::<Vec<_>>().join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}
