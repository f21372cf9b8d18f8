//! `prune` and `quarantine`: what goes, what stays, what is sent again.

mod common;

use common::{
    moving::{beside, count, export, made_database, segment_more, segments, url},
    Log,
};
use rusqlite::Connection;

#[test]
fn prune_keeps_what_cursors_need() {
    let log = Log::place();
    segment_more(&log, 100);
    segment_more(&log, 100);
    let jsonl = url("jsonl", &beside(&log, "rows.jsonl"));
    let slow = ["--to", &jsonl, "--cursor", "slow"];
    assert_eq!(export(&log, &slow)["records"], 400);
    let delivered = segments(&log);
    segment_more(&log, 100);
    segment_more(&log, 100);
    let whole = segments(&log);
    assert!(whole > delivered, "{whole} {delivered}");

    let dry = log.ask(&["prune", "--older-than", "0s", "--dry-run", "--json"]);
    assert!(dry.err.contains("not delivered yet to slow"), "{}", dry.err);
    let dry = dry.json();
    assert_eq!(dry.len() as u64, delivered);
    assert_eq!(segments(&log), whole, "a dry run removed something");
    let gone = log.ask(&["prune", "--older-than", "0s", "--json"]).json();
    assert_eq!(gone, dry);
    assert!(gone
        .iter()
        .all(|row| row["reason"] == "age" && row["bytes"].as_u64() > Some(0)));
    assert_eq!(segments(&log), whole - delivered);

    let gone = log
        .ask(&["prune", "--max-size", "1", "--ignore-cursors", "--json"])
        .json();
    assert_eq!(gone.len() as u64, whole - delivered);
    assert!(
        gone.iter().all(|row| row["missed_by"][0] == "slow"),
        "{gone:?}"
    );
    assert_eq!(segments(&log), 0);
    assert_eq!(log.ask(&["verify", "--json"]).object()["ok"], true);

    // It goes on after that, and the cursor counts what it missed.
    segment_more(&log, 1);
    assert_eq!(export(&log, &slow)["records"], 2);
    let cursors = log.ask(&["cursors", "list", "--json"]).json();
    assert!(cursors[0]["lost"].as_u64() >= Some(400), "{cursors:?}");
}

#[test]
fn prune_refuses_where_somebody_writes() {
    let (log, manager) = Log::open();
    manager.start_trace("run").ok();
    for dry in [
        &["prune", "--older-than", "0s"][..],
        &["prune", "--max-size", "1", "--dry-run"],
    ] {
        let said = log.ask(dry);
        said.failed(2, "is in use by process");
        assert!(
            said.err.contains(&std::process::id().to_string()),
            "{}",
            said.err
        );
    }
    manager.shutdown().unwrap();
    assert_eq!(log.ask(&["prune", "--older-than", "1d"]).code, Some(0));
}

#[test]
fn refused_rows_are_set_aside_and_sent_again() {
    let log = Log::sample();
    // A database that takes no node with this name.
    let (sqlite, to) = made_database(&log);
    let db = Connection::open(&sqlite).unwrap();
    db.execute_batch(
        "CREATE TRIGGER picky BEFORE INSERT ON span_rows WHEN NEW.name = 'answer'
         BEGIN SELECT RAISE(ABORT, 'not that one'); END",
    )
    .unwrap();
    let said = log.ask(&["export", "--json", "--to", &to, "--cursor", "rows"]);
    assert!(
        said.err.contains("10 rows refused and set aside"),
        "{}",
        said.err
    );
    let report = said.object();
    assert_eq!(
        (&report["records"], &report["quarantined"]),
        (&40.into(), &10.into())
    );
    assert_eq!(count(&sqlite, "SELECT count(*) FROM spans"), 10);

    let listed = log.ask(&["quarantine", "list", "--json"]).json();
    assert_eq!(listed.len(), 10);
    for row in &listed {
        assert_eq!(
            (&row["backend"], &row["kind"]),
            (&"rows".into(), &"span".into())
        );
        assert_eq!(row["name"], "answer");
        assert!(
            row["error"].as_str().unwrap().contains("not that one"),
            "{row}"
        );
    }
    assert!(log
        .ask(&["quarantine", "list", "rows"])
        .out
        .contains("not that one"));
    assert!(log
        .ask(&["quarantine", "list", "other", "--json"])
        .json()
        .is_empty());

    // Still refused: all stay.
    let replay = ["quarantine", "replay", "rows", "--to", &to, "--json"];
    let report = log.ask(&replay).object();
    assert_eq!(
        (&report["records"], &report["quarantined"]),
        (&0.into(), &10.into())
    );
    assert_eq!(log.ask(&["quarantine", "list", "--json"]).json().len(), 10);
    db.execute_batch("DROP TRIGGER picky").unwrap();
    let report = log.ask(&replay).object();
    assert_eq!(
        (&report["records"], &report["quarantined"]),
        (&10.into(), &0.into())
    );
    assert_eq!(count(&sqlite, "SELECT count(*) FROM spans"), 20);
    assert!(log.ask(&["quarantine", "list", "--json"]).json().is_empty());
    // The place in the log was not touched by it.
    assert_eq!(
        export(&log, &["--to", &to, "--cursor", "rows"])["records"],
        0
    );
    log.ask(&replay).failed(2, "nothing is set aside");
}

#[test]
fn set_aside_rows_are_dropped() {
    let log = Log::sample();
    let (sqlite, to) = made_database(&log);
    let picky = "CREATE TRIGGER picky BEFORE INSERT ON metric_rows
         BEGIN SELECT RAISE(ABORT, 'no metrics'); END";
    Connection::open(&sqlite)
        .unwrap()
        .execute_batch(picky)
        .unwrap();
    assert_eq!(
        export(&log, &["--to", &to, "--cursor", "rows"])["quarantined"],
        2
    );
    let dropped = log.ask(&["quarantine", "drop", "rows", "--json"]).object();
    assert_eq!(dropped["dropped"], 2);
    assert!(log.ask(&["quarantine", "list", "--json"]).json().is_empty());
}
