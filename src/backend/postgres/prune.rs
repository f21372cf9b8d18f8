//! Deleting what is too old, a little at a time so that nobody else waits long.

use std::time::{Duration, Instant};

use super::{
    error::PostgresError,
    partitions::{self, DAY_NS},
    schema::{Table, EVENTS, LINKS, METRICS, PARTS, SPANS, TABLES, TRACES},
    value::Uuid,
    write::Db,
};

/// Traces that one transaction deletes.
const TRACES_AT_ONCE: i64 = 100;
/// Rows without a trace that one transaction deletes.
const ROWS_AT_ONCE: i64 = 2000;
/// How long one call goes on before batches get their turn.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Deletes traces that began before, with everything in them, and what is as old outside of any; for
/// as long as [`AT_ONCE`]. Partitions of days that are over are dropped whole.
pub(super) fn retain(db: &mut Db, since_ns: i64) -> Result<u64, PostgresError> {
    db.forget();
    let begun = Instant::now();
    let mut deleted = drop_days(db, since_ns)?;
    loop {
        let some = traces(db, since_ns)? + outside(db, since_ns)?;
        deleted += some;
        if some == 0 || begun.elapsed() >= AT_ONCE {
            return Ok(deleted);
        }
    }
}

fn traces(db: &mut Db, since_ns: i64) -> Result<u64, PostgresError> {
    let table = db.names.table(&TRACES);
    // In the order of writers. The time of a trace whose start is not known is that of the first
    // row that named it.
    let find = format!(
        "SELECT trace_id FROM {table} WHERE trace_id IN (\
         (SELECT trace_id FROM {table} WHERE start_time <= to_timestamp($1::bigint / 1e9::float8) \
          AND coalesce(start_ns, $1 - 1) < $1 ORDER BY start_time LIMIT $2) UNION ALL \
         (SELECT trace_id FROM {table} WHERE start_time IS NULL AND seen_ns < $1 LIMIT $2)) \
         ORDER BY trace_id FOR UPDATE SKIP LOCKED"
    );
    db.link.batch("BEGIN")?;
    let ids = db.link.query(&find, &[&since_ns, &TRACES_AT_ONCE])?;
    let ids: Vec<Uuid> = ids.iter().map(|row| row.get(0)).collect();
    let mut deleted = 0;
    for table in [&PARTS, &SPANS, &EVENTS, &METRICS, &LINKS, &TRACES] {
        let sql = format!(
            "DELETE FROM {} WHERE trace_id = ANY($1)",
            db.names.table(table)
        );
        let rows = db.link.execute(&sql, &[&ids])?;
        deleted += if table.name == PARTS.name { 0 } else { rows };
    }
    db.link.batch("COMMIT")?;
    Ok(deleted)
}

fn outside(db: &mut Db, since_ns: i64) -> Result<u64, PostgresError> {
    let mut deleted = 0;
    for table in [&EVENTS, &METRICS] {
        let name = db.names.table(table);
        let key = table.key[0];
        let sql = format!(
            "DELETE FROM {name} WHERE {key} IN (SELECT {key} FROM {name} WHERE trace_id IS NULL \
             AND timestamp_ns < $1 LIMIT $2)"
        );
        deleted += db.link.execute(&sql, &[&since_ns, &ROWS_AT_ONCE])?;
    }
    Ok(deleted)
}

/// Drops the partitions of days before the day of `since_ns`.
fn drop_days(db: &mut Db, since_ns: i64) -> Result<u64, PostgresError> {
    let names = db.names.clone();
    let first = partitions::date(since_ns.div_euclid(DAY_NS));
    let mut deleted = 0;
    let partitioned: Vec<&Table> = TABLES
        .iter()
        .copied()
        .filter(|t| names.is_partitioned(t))
        .collect();
    for table in partitioned {
        let begin = format!("{}_", names.bare(table));
        let found = db.link.query(
            "SELECT c.relname::text, greatest(c.reltuples, 0)::bigint FROM pg_inherits i \
             JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class t ON t.oid = i.inhparent \
             JOIN pg_namespace n ON n.oid = t.relnamespace \
             WHERE n.nspname::text = $1 AND t.relname::text = $2",
            &[&names.schema, &names.bare(table)],
        )?;
        for row in found {
            let name: String = row.get(0);
            let day = name.strip_prefix(&begin).unwrap_or_default();
            let is_day = day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit());
            if is_day && day < first.as_str() {
                let partition = names.named(&name);
                let count = format!("SELECT count(*) FROM {partition}");
                let rows = db.link.query(&count, &[])?;
                deleted += rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64;
                db.link.batch(&format!("DROP TABLE {partition}"))?;
            }
        }
    }
    if deleted > 0 {
        db.days = Default::default();
    }
    Ok(deleted)
}
