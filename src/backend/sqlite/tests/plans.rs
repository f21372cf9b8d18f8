//! What people see who open the file by hand: columns, derived rows, and speed.

use std::collections::BTreeMap;

use super::support::*;
use crate::{
    backend::{
        exact,
        sqlite::{Options, SqliteSink},
        Scan, Sink,
    },
    query::filter::Filter,
    record::value::Value,
};

fn columns(path: &std::path::Path, view: &str) -> Vec<String> {
    let db = plain(path);
    let select = db.prepare(&format!("SELECT * FROM {view}")).unwrap();
    select
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_documented_names_have_the_documented_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    filled(&path, &Maker::new(1), &[]);
    let documented = [
        ("traces", "trace_id name start_time end_time duration status attributes"),
        ("spans", "span_id trace_id parent_span_id name kind start_time end_time duration status attributes"),
        ("events", "event_id trace_id span_id type name timestamp attributes"),
        ("metrics", "metric_id trace_id name value unit aggregation_type timestamp attributes"),
    ];
    for (view, wanted) in documented {
        assert_eq!(columns(&path, view).join(" "), wanted);
        let details = format!("{}_details", &view[..view.len() - 1]);
        for column in wanted.split(' ') {
            assert!(
                columns(&path, &details).contains(&column.to_owned()),
                "{details} {column}"
            );
        }
    }
    for index in [
        "idx_traces_start_time",
        "idx_traces_status",
        "idx_spans_trace_id",
        "idx_spans_parent_span_id",
        "idx_events_trace_id",
        "idx_events_type",
        "idx_metrics_name",
        "idx_metrics_timestamp",
    ] {
        let sql = format!("sqlite_master WHERE type = 'index' AND name = '{index}'");
        assert_eq!(count(&path, &sql), 1, "{index}");
    }
}

#[test]
fn queries_by_hand_use_the_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(1);
    let rows = maker.mixed(50);
    filled(&path, &maker, &rows);
    let db = plain(&path);
    for (query, wanted) in [
        ("traces WHERE trace_id = 'x'", "trace_id=?"),
        (
            "traces WHERE start_time > 1.0 AND start_time < 2.0",
            "idx_traces_start_time",
        ),
        (
            "traces ORDER BY start_time DESC LIMIT 10",
            "idx_traces_start_time",
        ),
        ("traces WHERE status = 'error'", "idx_traces_status"),
        ("spans WHERE trace_id = 'x'", "idx_spans_trace_id"),
        ("spans WHERE span_id = 'x'", "span_id=?"),
        (
            "spans WHERE parent_span_id = 'x'",
            "idx_spans_parent_span_id",
        ),
        ("events WHERE trace_id = 'x'", "idx_events_trace_id"),
        ("metrics WHERE trace_id = 'x'", "idx_metrics_trace_id"),
        ("metrics WHERE name = 'cost'", "idx_metrics_name"),
        ("metrics WHERE timestamp > 5.0", "idx_metrics_timestamp"),
        ("links WHERE trace_id = 'x'", "idx_links_trace_id"),
    ] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM {query}");
        let mut plan = db.prepare(&sql).unwrap();
        let lines: Vec<String> = plan
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let text = lines.join("\n");
        assert!(text.contains(wanted), "{query}:\n{text}");
        if query.contains("_id = ") {
            // The tables have names of one letter in the views.
            let table = |l: &&String| {
                l.starts_with("SCAN ") && l[5..].find(' ').unwrap_or(l.len() - 5) == 1
            };
            assert_eq!(lines.iter().find(table), None, "{query}:\n{text}");
        }
    }
}

/// Attributes as text in the order of their keys; floats as short as they can be.
fn sorted(json: &str) -> BTreeMap<String, String> {
    let map = exact::read(json, "").unwrap_or_else(|| panic!("{json}"));
    map.iter()
        .map(|(k, v)| (k.to_owned(), v.to_json()))
        .collect()
}

fn own(map: &crate::AttributeMap) -> BTreeMap<String, String> {
    let plain = |v: &Value| match v {
        Value::F64(v) => Value::F64(*v).to_json(),
        v => v.to_json(),
    };
    map.iter().map(|(k, v)| (k.to_owned(), plain(v))).collect()
}

#[test]
fn the_views_derive_what_queries_derive() {
    views_show_what_queries_derive(&|_| false);
}

#[test]
fn rows_that_are_written_out_are_those_that_are_derived() {
    views_show_what_queries_derive(&|_| true);
}

#[test]
fn writing_rows_out_may_begin_and_end_at_any_time() {
    views_show_what_queries_derive(&|n| n % 2 == 1);
}

/// Rows come in batches, some of which a sink writes that writes derived rows out; each comes again
/// later to one that does the opposite.
fn views_show_what_queries_derive(written_out: &dyn Fn(usize) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(0xf3);
    let rows = maker.mixed(20);
    for opposite in [false, true] {
        for (n, rows) in rows.chunks(37).enumerate() {
            let options = Options {
                write_derived: written_out(n) != opposite,
                ..Options::new(&path)
            };
            let mut sink = SqliteSink::open("sqlite", options).unwrap();
            sink.meet(&maker.origin);
            let at = n as u64 * 10;
            sink.write(range(log(1), at, at + 10), rows).unwrap();
        }
    }
    let written = count(&path, "derived_event_rows") + count(&path, "derived_metric_rows");
    assert_eq!(written > 0, (0..10).any(written_out));
    let (reader, db) = (reader(&path), plain(&path));
    let mut select = db
        .prepare("SELECT event_id, trace_id, span_id, type, name, timestamp_ns, attributes, derived, timestamp FROM event_details")
        .unwrap();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut found = select.query([]).unwrap();
    while let Some(row) = found.next().unwrap() {
        let text = |at| row.get::<_, Option<String>>(at).unwrap();
        let times: (i64, f64) = (row.get(5).unwrap(), row.get(8).unwrap());
        let line = format!(
            "{:?} {:?} {:?} {:?} {times:?} {:?} {}",
            text(1),
            text(2),
            text(3),
            text(4),
            sorted(&text(6).unwrap()),
            row.get::<_, bool>(7).unwrap()
        );
        assert!(
            seen.insert(text(0).unwrap(), line).is_none(),
            "two events of one id"
        );
    }
    let events = reader.events(&Filter::new().all()).unwrap();
    assert_eq!(events.len(), seen.len());
    for e in events {
        let id = |id: Option<String>| id;
        let line = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {}",
            id(e.trace_id.map(|i| i.to_string())),
            id(e.span_id.map(|i| i.to_string())),
            Some(e.event_type.as_str().to_owned()),
            Some(e.name.clone()),
            (e.timestamp_ns, e.timestamp()),
            own(&e.attributes),
            e.derived
        );
        assert_eq!(
            seen.remove(&format!("{:032x}", e.event_id)),
            Some(line),
            "{e:?}"
        );
    }
    let mut select = db
        .prepare("SELECT metric_id, trace_id, span_id, name, value, unit, aggregation_type, timestamp_ns, attributes, derived FROM metric_details")
        .unwrap();
    let mut found = select.query([]).unwrap();
    while let Some(row) = found.next().unwrap() {
        let text = |at| row.get::<_, Option<String>>(at).unwrap();
        let line = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
            text(1),
            text(2),
            text(3),
            row.get::<_, f64>(4).unwrap(),
            text(5),
            text(6),
            row.get::<_, i64>(7).unwrap(),
            sorted(&text(8).unwrap()),
            row.get::<_, bool>(9).unwrap()
        );
        assert!(
            seen.insert(text(0).unwrap(), line).is_none(),
            "two metrics of one id"
        );
    }
    let metrics = reader.metrics(&Filter::new().all()).unwrap();
    assert_eq!(metrics.len(), seen.len());
    assert!(metrics.iter().any(|m| m.derived));
    for m in metrics {
        let line = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {}",
            m.trace_id.map(|i| i.to_string()),
            m.span_id.map(|i| i.to_string()),
            Some(m.name.clone()),
            m.value,
            Some(m.unit.clone()),
            Some(m.aggregation.as_str().to_owned()),
            m.timestamp_ns,
            own(&m.attributes),
            m.derived
        );
        assert_eq!(
            seen.remove(&format!("{:032x}", m.metric_id)),
            Some(line),
            "{m:?}"
        );
    }
}
