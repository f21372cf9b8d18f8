//! Files that are not ours, locked, replaced, full; processes that are killed.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::support::*;
use crate::{
    backend::{
        sqlite::{Options, SqliteReader, SqliteSink},
        Row, Scan, Sink, SinkError,
    },
    log::Position,
    query::filter::Filter,
    record::kinds::{SpanKind, Status},
};

fn opened(path: &Path) -> Result<SqliteSink, SinkError> {
    Ok(SqliteSink::open("sqlite", Options::new(path))?)
}

fn assert_refused_untouched(path: &Path, what: &str) {
    let before = fs::read(path).unwrap();
    let error = opened(path).expect_err("refused");
    assert!(matches!(error, SinkError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains(what), "{error}");
    assert!(error.to_string().contains("t.db"), "{error}");
    assert_eq!(fs::read(path).unwrap(), before);
    assert!(SqliteReader::open(path, Duration::ZERO).is_err());
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    fs::write(&path, b"important text").unwrap();
    assert_refused_untouched(&path, "no SQLite database");
    fs::write(
        &path,
        [b"SQLite format 3\0".as_slice(), &[0xa5; 5000]].concat(),
    )
    .unwrap();
    assert_refused_untouched(&path, "no SQLite database");
    fs::remove_file(&path).unwrap();
    plain(&path)
        .execute_batch("CREATE TABLE traces (trace_id TEXT)")
        .unwrap();
    assert_refused_untouched(&path, "another program");
    fs::remove_file(&path).unwrap();
    drop(filled(&path, &Maker::new(1), &[]));
    plain(&path)
        .execute_batch("PRAGMA user_version = 3")
        .unwrap();
    assert_refused_untouched(&path, "schema 3, this build knows up to 2");
}

/// What all views show, in any order.
fn shown(path: &Path) -> Vec<String> {
    let db = plain(path);
    let mut all = Vec::new();
    for view in super::super::views::NAMES {
        let mut select = db.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|at| row.get_ref(at).unwrap());
            all.push(format!("{view} {:?}", values.collect::<Vec<_>>()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let golden = include_str!("../../../../tests/golden/sqlite-v1.sql");
    plain(&path).execute_batch(golden).unwrap();
    let before = shown(&path);
    assert!(before.len() > 250, "{}", before.len());
    // Readers need no upgrade.
    // NaN has the same text as NaN.
    let spans = || format!("{:?}", reader(&path).spans(&Filter::new().all()));
    let old = spans();
    assert_eq!(old.matches("span_id: ").count(), 44 * 2);
    let mut sink = opened(&path).unwrap();
    let version: i64 = plain(&path)
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);
    assert_eq!(shown(&path), before);
    assert_eq!(spans(), old);
    // The same objects as in a new file, and they take rows.
    let fresh = dir.path().join("fresh.db");
    drop(opened(&fresh).unwrap());
    let objects = |path: &Path| -> Vec<(String, String)> {
        let db = plain(path);
        let sql = "SELECT type, name FROM sqlite_master ORDER BY 1, 2";
        let mut select = db.prepare(sql).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(objects(&path), objects(&fresh));
    let mut maker = Maker::new(9);
    sink.meet(&maker.origin);
    sink.write(range(log(3), 0, 10), &maker.mixed(3)).unwrap();
    assert_sound(&path);
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let golden = include_str!("../../../../tests/golden/sqlite-v1.sql");
    plain(&path).execute_batch(golden).unwrap();
    // Half of it was done by hand already.
    plain(&path)
        .execute_batch("ALTER TABLE trace_parts ADD COLUMN written_out INTEGER")
        .unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(opened(&path), Err(SinkError::Refused(_))));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_directory_or_forbidden_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(opened(dir.path()), Err(SinkError::Refused(_))));
    let file = dir.path().join("f");
    fs::write(&file, b"x").unwrap();
    assert!(matches!(
        opened(&file.join("t.db")),
        Err(SinkError::Refused(_))
    ));
}

#[test]
fn damaged_pages_are_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let rows = maker.mixed(30);
    drop(filled(&path, &maker, &rows));
    let good = fs::read(&path).unwrap();
    for page in 1..good.len() / 4096 {
        let mut bad = good.clone();
        bad[page * 4096..(page + 1) * 4096].fill(0x5a);
        fs::write(&path, &bad).unwrap();
        let _ = fs::remove_file(dir.path().join("t.db-wal"));
        let _ = fs::remove_file(dir.path().join("t.db-shm"));
        let result = opened(&path).and_then(|mut sink| {
            sink.meet(&maker.origin);
            sink.write(range(log(1), 10, 20), &maker.mixed(3))
        });
        assert!(
            matches!(result, Ok(()) | Err(SinkError::Refused(_))),
            "{page} {result:?}"
        );
        if let Ok(reader) = SqliteReader::open(&path, Duration::ZERO) {
            let _ = crate::backend::Scan::spans(&reader, &crate::query::filter::Filter::new());
        }
    }
}

#[test]
fn a_lock_is_waited_for_and_then_reported_for_another_try() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let mut sink = filled(&path, &maker, &[]);
    let rows = maker.mixed(3);
    let other = plain(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let error = sink.write(range(log(1), 10, 20), &rows).unwrap_err();
    assert!(matches!(error, SinkError::Retry(_)), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(
        sink.position(log(1)).unwrap(),
        Some(Position {
            epoch: 1,
            offset: 10
        })
    );
    other.execute_batch("COMMIT").unwrap();
    sink.write(range(log(1), 10, 20), &rows).unwrap();
    // Readers are not in the way at all.
    other
        .execute_batch("BEGIN; SELECT count(*) FROM traces;")
        .unwrap();
    let more = maker.mixed(4);
    sink.write(range(log(1), 20, 30), &more).unwrap();
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&path, "trace_rows"), 4);
}

#[cfg(unix)]
#[test]
fn a_file_that_was_deleted_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let mut sink = filled(&path, &maker, &[]);
    for name in ["t.db", "t.db-wal", "t.db-shm"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    let rows = maker.mixed(1);
    let error = sink.write(range(log(1), 10, 20), &rows).unwrap_err();
    assert!(matches!(error, SinkError::Retry(_)), "{error:?}");
    assert_eq!(sink.position(log(1)).unwrap(), Some(Position::START));
    sink.write(range(log(1), 0, 20), &rows).unwrap();
    assert_eq!(count(&path, "spans"), 11);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_disk_that_is_full_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let mut sink = filled(&path, &maker, &[]);
    sink.with(|db, _| db.conn.execute_batch("PRAGMA max_page_count = 60"))
        .unwrap();
    let rows = maker.mixed(500);
    let error = sink.write(range(log(1), 10, 20), &rows).unwrap_err();
    assert!(matches!(error, SinkError::Retry(_)), "{error:?}");
    assert_eq!(count(&path, "spans"), 0);
    sink.write(range(log(1), 10, 20), &rows).unwrap();
    assert_eq!(count(&path, "spans"), 5500);
    assert_sound(&path);
}

#[test]
fn content_is_blamed_for_what_no_table_takes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let mut sink = filled(&path, &maker, &[]);
    let mut event = maker.event(None, None, "x");
    event.record = None;
    let good = maker.span(1, 1, SpanKind::Internal, Status::Ok);
    let error = sink
        .write(range(log(1), 10, 20), &[Row::Span(good), Row::Event(event)])
        .unwrap_err();
    assert!(matches!(error, SinkError::Content(_)), "{error:?}");
    assert_eq!(count(&path, "spans"), 0);
}

/// Env variable that makes [`writes_until_it_is_killed`] a victim.
const VICTIM: &str = "EMBERLOG_SQLITE_VICTIM";

#[test]
fn writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let mut sink = opened(Path::new(&path)).unwrap();
    let mut at = sink.position(log(1)).unwrap().unwrap().offset;
    loop {
        let mut maker = Maker::new(1);
        sink.meet(&maker.origin);
        let spans = (0..20).map(|n| {
            maker.span(
                u128::from(at) + 1,
                at * 20 + n + 1,
                SpanKind::Internal,
                Status::Ok,
            )
        });
        let spans: Vec<_> = spans.map(Row::Span).collect();
        sink.write(range(log(1), at, at + 1), &spans).unwrap();
        at += 1;
    }
}

#[test]
fn a_killed_writer_leaves_whole_batches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "backend::sqlite::tests::files::writes_until_it_is_killed",
                "--exact",
            ])
            .env(VICTIM, &path)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 17));
        child.kill().unwrap();
        child.wait().unwrap();
        if !path.exists() {
            continue;
        }
        let Ok(mut sink) = opened(&path) else {
            continue;
        };
        let at = sink.position(log(1)).unwrap().unwrap().offset;
        assert_eq!(count(&path, "span_rows"), at as i64 * 20);
    }
    assert!(count(&path, "span_rows") > 0);
    assert_sound(&path);
    let _ = Connection::open(&path).unwrap();
}
