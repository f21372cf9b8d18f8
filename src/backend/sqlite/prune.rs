//! Deleting what is too old, a little at a time so that nobody else waits long.

use std::time::{Duration, Instant};

use rusqlite::{params, Transaction, TransactionBehavior};

use super::write::Db;

/// Traces that one transaction deletes.
const TRACES: usize = 100;
/// Rows without a trace that one transaction deletes.
const ROWS: usize = 2000;
/// How long one call goes on before batches get their turn.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Pages given back to the file system after each.
const PAGES: usize = 500;

/// Tables with rows of traces.
const PARTS: [&str; 7] = [
    "trace_parts",
    "derived_event_rows",
    "derived_metric_rows",
    "span_rows",
    "event_rows",
    "metric_rows",
    "link_rows",
];

/// Parts of rows that are counted themselves.
const UNCOUNTED: &[&str] = &["trace_parts", "derived_event_rows", "derived_metric_rows"];

/// Deletes traces that began before, with everything in them, and what is as old outside of any; for
/// as long as [`AT_ONCE`].
pub(super) fn retain(db: &mut Db, since_ns: i64) -> rusqlite::Result<u64> {
    db.forget();
    let mut deleted = 0;
    let begun = Instant::now();
    loop {
        let in_traces = traces(db, since_ns)?;
        let outside = outside(db, since_ns)?;
        deleted += in_traces + outside;
        if in_traces + outside == 0 {
            return Ok(deleted);
        }
        // Stepped to its end: it frees one page per step.
        let mut vacuum = db
            .conn
            .prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        if begun.elapsed() >= AT_ONCE {
            return Ok(deleted);
        }
    }
}

fn traces(db: &Db, since_ns: i64) -> rusqlite::Result<u64> {
    let transaction = Transaction::new_unchecked(&db.conn, TransactionBehavior::Immediate)?;
    // The time of a trace whose start is not known is that of the first row that named it.
    let mut old = transaction.prepare_cached(
        "SELECT id FROM (SELECT id FROM trace_rows \
           WHERE start_time <= ?1 / 1e9 AND start_ns < ?1 ORDER BY start_time LIMIT ?2) \
         UNION ALL \
         SELECT id FROM (SELECT id FROM trace_rows \
           WHERE start_ns IS NULL AND seen_ns < ?1 LIMIT ?2)",
    )?;
    let ids: Vec<i64> = old
        .query_map(params![since_ns, TRACES], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut deleted = 0;
    for id in &ids {
        for table in PARTS {
            let sql = format!("DELETE FROM {table} WHERE trace = ?1");
            let rows = transaction.prepare_cached(&sql)?.execute([id])?;
            deleted += if UNCOUNTED.contains(&table) { 0 } else { rows };
        }
        let sql = "DELETE FROM trace_rows WHERE id = ?1";
        deleted += transaction.prepare_cached(sql)?.execute([id])?;
    }
    drop(old);
    transaction.commit()?;
    Ok(deleted as u64)
}

fn outside(db: &Db, since_ns: i64) -> rusqlite::Result<u64> {
    let transaction = Transaction::new_unchecked(&db.conn, TransactionBehavior::Immediate)?;
    let mut deleted = 0;
    for table in ["event_rows", "metric_rows"] {
        let sql = format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} \
             WHERE trace IS NULL AND timestamp_ns < ?1 LIMIT ?2)"
        );
        deleted += transaction
            .prepare_cached(&sql)?
            .execute(params![since_ns, ROWS])?;
    }
    transaction.commit()?;
    Ok(deleted as u64)
}
