//! `kill -9` in the middle of an export or a migration, again and again: nothing missing, nothing twice.

mod common;

use std::{path::PathBuf, process::Stdio, time::Duration};

use common::{
    emberlog,
    moving::{
        beside, count, export, kills, lines, long, migrate, names, once_and_all, segment_more, url,
    },
    Log,
};

/// `kill -9` in the middle of an export, again and again; the next one goes on.
fn killed(scheme: &str, kills: u64) -> (Log, PathBuf) {
    let log = long();
    let path = beside(&log, "rows");
    let to = url(scheme, &path);
    for kill in 0..kills {
        let mut child = emberlog()
            .args(["export", "--to", &to, "--dir"])
            .arg(&log.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before it opened anything to after the end: an export takes some 50 ms.
        std::thread::sleep(Duration::from_micros(kill * 60_000 / kills));
        child.kill().unwrap();
        child.wait().unwrap();
        if kill % 10 == 9 {
            // New records, so that there is something to be killed at.
            segment_more(&log, 3_000);
        }
    }
    let said = log.ask(&["export", "--to", &to, "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    (log, path)
}

#[test]
fn a_killed_export_to_a_file_loses_nothing_and_repeats_nothing() {
    let (log, path) = killed("jsonl", kills());
    once_and_all(&log.dir, &path);
}

#[test]
fn a_killed_export_to_sqlite_loses_nothing_and_repeats_nothing() {
    let (log, path) = killed("sqlite", kills());
    let all = log.ask(&["stats", "--json"]).object();
    let recorded = |kind: &str| {
        let kinds = all["records_by_kind"].as_array().unwrap();
        let of = kinds.iter().find(|k| k["kind"] == kind);
        of.map_or(0, |k| k["records"].as_i64().unwrap())
    };
    assert!(recorded("trace_end") >= 8_000);
    assert_eq!(
        count(&path, "SELECT count(*) FROM trace_parts"),
        recorded("trace_start") + recorded("trace_end")
    );
    assert_eq!(
        count(&path, "SELECT count(*) FROM traces WHERE end_time IS NULL"),
        0
    );
}

#[test]
fn a_killed_migration_goes_on() {
    let log = long();
    let (old, new) = (beside(&log, "old.db"), beside(&log, "new.jsonl"));
    export(&log, &["--to", &url("sqlite", &old)]);
    let (from, to) = (url("sqlite", &old), url("jsonl", &new));
    for kill in 0..kills() / 4 {
        let mut child = emberlog()
            .args(["migrate", "--from", &from, "--to", &to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(kill * 240_000 / kills()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    migrate(&from, &to, &[]);
    let found = lines(&new);
    let mut ids: Vec<_> = names(&found);
    ids.sort();
    let before = ids.len();
    ids.dedup();
    assert_eq!((before, ids.len()), (16_000, 16_000));
}
