//! What the documents promise of the SQLite file to who opens it by hand.
#![cfg(feature = "sqlite")]

use std::path::Path;

use emberlog::{Config, Manager};
use rusqlite::{types::ValueRef, Connection};

/// `runs` runs of a node with two attributes, an event and a metric, in the database afterwards.
fn record(dir: &Path, database: &Path, runs: u64) {
    let config = Config::new(dir.join("log")).sqlite(database);
    let manager = Manager::open(config).unwrap();
    for i in 0..runs {
        let run = manager.start_trace("graph_run");
        run.set("graph_id", "search");
        run.node("fetch")
            .with("i", i)
            .with("url", "https://example.org/")
            .ok();
        run.event("milestone", "fetched").with("i", i).record();
        run.metric("cost").unit("usd").counter(0.5);
        run.ok();
    }
    manager.shutdown().unwrap();
}

fn one<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn one_file_at_any_absolute_path_is_made_with_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("var/lib/spark/telemetry.db");
    assert!(database.is_absolute());
    record(dir.path(), &database, 3);
    let db = Connection::open(&database).unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM traces"), 3);
    drop(db);
    let folder = database.parent().unwrap().read_dir().unwrap();
    let names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["telemetry.db"], "nothing stays beside it");
    // More runs and another open add to it.
    record(dir.path(), &database, 4);
    let db = Connection::open(&database).unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM traces"), 7);
}

#[test]
fn ids_are_text_and_unique_and_each_row_has_its_trace() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("t.db");
    record(dir.path(), &database, 20);
    let db = Connection::open(&database).unwrap();
    for (table, id, digits) in [
        ("traces", "trace_id", 32),
        ("spans", "span_id", 16),
        ("events", "event_id", 32),
        ("metrics", "metric_id", 32),
    ] {
        let rows: i64 = one(&db, &format!("SELECT count(*) FROM {table}"));
        let ids = format!(
            "SELECT count(DISTINCT {id}) FROM {table}
             WHERE typeof({id}) = 'text' AND length({id}) = {digits}"
        );
        assert!(rows >= 20, "{table}");
        assert_eq!(one::<i64>(&db, &ids), rows, "{table}");
    }
    for table in ["spans", "events"] {
        let lost = format!(
            "SELECT count(*) FROM {table} WHERE trace_id NOT IN (SELECT trace_id FROM traces)"
        );
        assert_eq!(one::<i64>(&db, &lost), 0, "{table}");
    }
    let mut orphans = db.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!orphans.exists([]).unwrap());
    let references: i64 = one(
        &db,
        "SELECT count(*) FROM pragma_foreign_key_list('span_rows') WHERE \"table\" = 'trace_rows'",
    );
    assert_eq!(references, 1, "what the check above goes by");
}

#[test]
fn times_are_seconds_and_readable_and_attributes_are_json() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("t.db");
    record(dir.path(), &database, 1);
    let db = Connection::open(&database).unwrap();
    let mut select = db
        .prepare("SELECT start_time, end_time FROM traces")
        .unwrap();
    let mut rows = select.query([]).unwrap();
    let row = rows.next().unwrap().unwrap();
    for column in 0..2 {
        assert!(matches!(row.get_ref(column).unwrap(), ValueRef::Real(s) if s > 1.6e9));
    }
    let id: String = one(
        &db,
        "SELECT json_extract(attributes, '$.graph_id') FROM traces",
    );
    assert_eq!(id, "search");
    let same: bool = one(
        &db,
        "SELECT abs(julianday(d.started) - julianday(t.start_time, 'unixepoch')) < 1e-6
         FROM traces t JOIN trace_details d USING (trace_id)",
    );
    assert!(same);
}

#[test]
fn sql_aggregates_and_joins() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("t.db");
    record(dir.path(), &database, 10);
    let db = Connection::open(&database).unwrap();
    let cost: f64 = one(
        &db,
        "SELECT sum(m.value) FROM metrics m JOIN traces t USING (trace_id)
         WHERE m.name = 'cost' AND json_extract(t.attributes, '$.graph_id') = 'search'",
    );
    assert_eq!(cost, 5.0);
    let slowest: i64 = one(
        &db,
        "SELECT count(*) FROM (SELECT t.trace_id, max(s.duration) FROM traces t
         JOIN spans s USING (trace_id) WHERE s.duration <= t.duration GROUP BY t.trace_id)",
    );
    assert_eq!(slowest, 10);
}

/// The documents estimate 1 KB for a trace and 500 bytes for a span or event.
#[test]
fn rows_take_no_more_space_than_the_documents_say() {
    let dir = tempfile::tempdir().unwrap();
    let size = |runs| {
        let database = dir.path().join(format!("{runs}.db"));
        let home = dir.path().join(format!("{runs}"));
        record(&home, &database, runs);
        std::fs::metadata(&database).unwrap().len()
    };
    let per_run = (size(2100) - size(100)) / 2000;
    assert!(
        per_run < 1000 + 3 * 500,
        "{per_run} bytes for a trace and three rows of it"
    );
}
