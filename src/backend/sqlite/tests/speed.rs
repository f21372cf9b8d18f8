//! How much our code adds to what SQLite itself takes. Run with
//! `cargo test --release --features sqlite -- --ignored --nocapture sqlite_speed`.

use std::{path::Path, time::Duration};

use rusqlite::{params, Connection};

use super::{super::write::Db, support::*};
use crate::{
    backend::{sqlite::Options, Row, Sink},
    record::kinds::{SpanKind, Status},
};

const SPANS: usize = 200_000;
const BATCH: usize = 1000;
const PER_TRACE: usize = 20;

fn rows(maker: &mut Maker) -> Vec<Row> {
    let mut rows = Vec::with_capacity(SPANS * 2);
    for n in 0..SPANS {
        let trace = (n / PER_TRACE) as u128 * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835 + 1;
        let at = T0 + n as i64 * 1000;
        if n % PER_TRACE == 0 {
            let mut row = maker.began(trace, Default::default());
            if let Row::TraceBegan(row) = &mut row {
                row.trace.start_ns = at;
            }
            rows.push(row);
        }
        let mut span = maker.span(trace, 1 + n as u64, SpanKind::NodeExecution, Status::Ok);
        span.start_ns = at;
        rows.push(Row::Span(span));
        if n % PER_TRACE == PER_TRACE - 1 {
            let mut row = maker.ended(trace, Status::Ok, Default::default());
            if let Row::TraceEnded(row) = &mut row {
                row.trace.start_ns = at - 20_000;
                row.trace.end_ns = Some(at);
            }
            rows.push(row);
        }
    }
    rows
}

/// Processor time of this thread, which busy neighbours do not change as much.
fn now() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_default())
}

fn ours(path: &Path, maker: &Maker, rows: &[Row]) -> Duration {
    let mut sink = sink(path);
    sink.meet(&maker.origin);
    let begun = now();
    for (n, piece) in rows.chunks(BATCH).enumerate() {
        let n = n as u64;
        sink.write(range(log(1), n, n + 1), piece).unwrap();
    }
    now() - begun
}

/// The same statements with the same values, made beforehand.
fn raw(path: &Path, from: &Path) -> Duration {
    let db = Db::open(&Options::new(path)).unwrap();
    let conn: &Connection = &db.conn;
    conn.execute("ATTACH ?1 AS old", [from.to_str().unwrap()])
        .unwrap();
    conn.execute_batch("INSERT INTO instances SELECT * FROM old.instances")
        .unwrap();
    let read = |sql: &str, columns: usize| {
        let mut select = conn.prepare(sql).unwrap();
        let rows = select
            .query_map([], |row| {
                (0..columns)
                    .map(|c| row.get::<_, rusqlite::types::Value>(c))
                    .collect::<Result<Vec<_>, _>>()
            })
            .unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let traces = read("SELECT id, trace_id, name, start_ns, end_ns, status, attributes, types, remote_parent, sampling_rate, dropped, instance FROM old.trace_rows ORDER BY id", 12);
    let parts = read("SELECT * FROM old.trace_parts ORDER BY sequence", 14);
    let spans = read("SELECT trace, span_id, parent_span_id, name, kind, start_ns, duration_ns, status, attributes, types, error, remote_parent, dropped, instance, ring, lease, sequence, written_out FROM old.span_rows ORDER BY rowid", 18);
    conn.execute_batch("DETACH old").unwrap();
    let begun = now();
    let traces_per = BATCH / (PER_TRACE + 2);
    let marks = |n: usize| {
        (1..=n)
            .map(|i| format!("?{i}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut insert_trace = conn.prepare("INSERT INTO trace_rows (trace_id, seen_ns) VALUES (?1, ?2) ON CONFLICT (trace_id) DO NOTHING").unwrap();
    let mut update_trace = conn.prepare("UPDATE trace_rows SET name = ?2, start_ns = ?3, end_ns = ?4, status = ?5, attributes = ?6, types = ?7, remote_parent = ?8, sampling_rate = ?9, dropped = ?10, instance = ?11 WHERE id = ?1").unwrap();
    let mut insert_part = conn
        .prepare(&format!(
            "INSERT INTO trace_parts VALUES ({}) ON CONFLICT DO NOTHING",
            marks(14)
        ))
        .unwrap();
    let mut insert_span = conn.prepare(super::super::bind::SPAN).unwrap();
    for (n, chunk) in traces.chunks(traces_per).enumerate() {
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        for trace in chunk {
            insert_trace.execute(params![trace[1], trace[3]]).unwrap();
            update_trace
                .execute(rusqlite::params_from_iter(
                    trace
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| *i != 1)
                        .map(|(_, v)| v),
                ))
                .unwrap();
        }
        let from = n * traces_per;
        for part in &parts[(from * 2).min(parts.len())..((from + chunk.len()) * 2).min(parts.len())]
        {
            insert_part
                .execute(rusqlite::params_from_iter(part))
                .unwrap();
        }
        for span in &spans[from * PER_TRACE..((from + chunk.len()) * PER_TRACE).min(spans.len())] {
            insert_span
                .execute(rusqlite::params_from_iter(span))
                .unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    }
    now() - begun
}

#[test]
#[ignore = "a measurement"]
fn sqlite_speed() {
    let mut maker = Maker::new(1);
    let rows = rows(&mut maker);
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.db"), dir.path().join("b.db"));
        let ours = ours(&a, &maker, &rows);
        let raw = raw(&b, &a);
        assert_eq!(count(&a, "span_rows"), count(&b, "span_rows"));
        let bytes = std::fs::metadata(&a).unwrap().len();
        let per = |time: Duration| SPANS as f64 / time.as_secs_f64();
        let ratio = raw.as_secs_f64() / ours.as_secs_f64();
        println!(
            "sqlite: {:.0} spans/s of processor time, raw rusqlite {:.0}, ratio {ratio:.3}, {} bytes per span",
            per(ours), per(raw), bytes / SPANS as u64
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("sqlite: median ratio {:.3}", ratios[2]);
}
