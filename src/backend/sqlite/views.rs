//! The views: the documented names and columns, what follows from spans and traces computed.
//!
//! What is computed here is what `query/derive.rs` derives; a test compares the two.

use std::fmt::Write;

use crate::query::derive::{
    span_events, COUNT, DURATION, ENDED, ERROR, IDENTITY, NODE_METRICS, STARTED, SUCCESS,
};
use crate::record::kinds::{SpanKind, Status};

/// A value of `json_each` as JSON. The views keep to what SQLite 3.31 knows (no `->`, no `iif`):
/// to an older one that does not, the whole file would be malformed.
const AS_JSON: &str = "CASE WHEN type IN ('true', 'false', 'null') THEN type \
    WHEN type IN ('object', 'array') THEN value ELSE json_quote(value) END";

/// All views.
pub(super) const NAMES: [&str; 9] = [
    "traces",
    "spans",
    "events",
    "metrics",
    "links",
    "trace_details",
    "span_details",
    "event_details",
    "metric_details",
];

/// Statuses that count as failure.
const FAILED: &str = "('error', 'cancelled', 'orphaned')";

/// SQLite has no exclusive or; with bits that both have taken away from bits that either has it is
/// the same, and never overflows.
fn xor(a: &str, b: &str) -> String {
    format!("((({a}) | ({b})) - (({a}) & ({b})))")
}

/// The id of an event, metric or link, as `RecordId::as_u128` makes it.
fn record_id(row: &str, part: u8) -> String {
    id_of(row, &(i64::from(part) << 56).to_string())
}

/// The same for a row whose part stands in a column.
fn part_id(row: &str) -> String {
    id_of(row, &format!("({row}.part << 56)"))
}

fn id_of(row: &str, part: &str) -> String {
    let high = xor("i.high", &format!("{row}.ring | {part}"));
    let low = xor("i.low", &format!("{row}.sequence"));
    format!("printf('%016x%016x', {high}, {low})")
}

/// An object of what `parts` select as (key, value as JSON text), in their order.
fn object(parts: &[String]) -> String {
    let parts = parts.join(" UNION ALL ");
    format!("(SELECT json_group_object(key, json(value)) FROM ({parts}))")
}

/// The attributes of `row` that fit.
fn own(row: &str, condition: &str) -> String {
    format!(
        "SELECT key, {AS_JSON} AS value FROM json_each({row}.attributes) \
         WHERE {condition}"
    )
}

/// One attribute, if a condition holds.
fn one(key: &str, value: &str, condition: &str) -> String {
    format!("SELECT '{key}', {value} WHERE {condition}")
}

/// An attribute of a row as JSON.
fn attribute(row: &str, key: &str) -> String {
    format!("(SELECT {AS_JSON} FROM json_each({row}.attributes) WHERE key = '{key}')")
}

/// Which attributes of a span its derived rows have too.
fn identity(more: &[&str]) -> String {
    let keys: Vec<_> = IDENTITY
        .iter()
        .chain(more)
        .map(|key| format!("'{key}'"))
        .collect();
    format!(
        "(key IN ({}) OR key IN (SELECT key FROM json_each(i.custom)))",
        keys.join(", ")
    )
}

/// What the end of a span or trace adds to the attributes of its event.
fn outcome(row: &str, ns: &str) -> Vec<String> {
    let status = format!("{row}.status");
    vec![
        one("duration", &format!("json_quote({ns} / 1e9)"), "1"),
        one(
            "success",
            &format!("CASE WHEN {status} IN {FAILED} THEN 'false' ELSE 'true' END"),
            "1",
        ),
        one("cancelled", "'true'", &format!("{status} = 'cancelled'")),
        one("orphaned", "'true'", &format!("{status} = 'orphaned'")),
    ]
}

fn span_event_attributes(part: u8) -> String {
    if part == STARTED {
        return object(&[own("s", &identity(&["inputs", "input_size"]))]);
    }
    let mut parts = vec![own("s", &identity(&["outputs", "output_size"]))];
    parts.extend(outcome("s", "s.duration_ns"));
    for (key, path) in [
        ("error", "message"),
        ("error.type", "type"),
        ("exception.stacktrace", "stack_trace"),
        ("exception.chain", "chain"),
    ] {
        let value = format!("(SELECT {AS_JSON} FROM json_each(s.error) WHERE key = '{path}')");
        parts.push(one(key, &value, &format!("{value} IS NOT NULL")));
    }
    object(&parts)
}

/// Spans of a kind with an outcome and, for graphs, with a parent: what decides about events.
fn span_condition(kind: SpanKind, failed: bool) -> String {
    let not = if failed { "" } else { "NOT " };
    let parent = match kind {
        SpanKind::GraphRun => " AND s.parent_span_id IS NOT NULL",
        _ => "",
    };
    format!("s.kind = '{kind}' AND s.status {not}IN {FAILED}{parent}")
}

fn events() -> String {
    let mut sql = format!(
        "SELECT {id} AS event_id, t.trace_id, e.span_id, e.type, e.name, e.timestamp, \
         e.attributes, e.timestamp_ns, e.dropped AS dropped_attributes, 0 AS derived \
         FROM event_rows e JOIN instances i ON i.id = e.instance \
         LEFT JOIN trace_rows t ON t.id = e.trace",
        id = record_id("e", 0)
    );
    for &kind in SpanKind::ALL {
        for failed in [false, true] {
            let status = if failed { Status::Error } else { Status::Ok };
            for (part, event_type, suffix) in span_events(kind, status, true).into_iter().flatten()
            {
                let ns = match part {
                    STARTED => "s.start_ns",
                    _ => "s.start_ns + s.duration_ns",
                };
                let _ = write!(
                    sql,
                    " UNION ALL SELECT {id}, t.trace_id, s.span_id, '{event_type}', \
                     s.name || '{suffix}', ({ns}) / 1e9, {attributes}, {ns}, 0, 1 \
                     FROM span_rows s JOIN instances i ON i.id = s.instance AND i.derive_events \
                     JOIN trace_rows t ON t.id = s.trace \
                     WHERE s.duration_ns IS NOT NULL AND s.sequence IS NOT NULL \
                     AND NOT s.written_out AND {condition}",
                    id = record_id("s", part),
                    attributes = span_event_attributes(part),
                    condition = span_condition(kind, failed),
                );
            }
        }
    }
    for failed in [None, Some(false), Some(true)] {
        sql.push_str(&trace_event(failed));
    }
    let _ = write!(
        sql,
        " UNION ALL SELECT {id}, t.trace_id, d.span_id, d.type, d.name, d.timestamp, \
         d.attributes, d.timestamp_ns, 0, 1 \
         FROM derived_event_rows d JOIN instances i ON i.id = d.instance \
         JOIN trace_rows t ON t.id = d.trace",
        id = part_id("d")
    );
    sql
}

/// The event of the start of a trace, or of an end that went well or not.
fn trace_event(failed: Option<bool>) -> String {
    // The attributes of the instance came with the start of the trace; to its end they are added.
    let mut parts = vec![
        own("p", "1"),
        format!(
            "SELECT key, {AS_JSON} FROM json_each(i.custom) \
             WHERE key NOT IN (SELECT key FROM json_each(p.attributes))"
        ),
    ];
    let (part, event_type, suffix, ns, condition) = match failed {
        None => (
            STARTED,
            "graph.started",
            " started",
            "p.start_ns",
            "IS NULL".into(),
        ),
        Some(failed) => {
            let (event_type, suffix, not) = match failed {
                true => ("graph.failed", " failed", ""),
                false => ("graph.finished", " finished", "NOT "),
            };
            parts.extend(outcome("p", "max(p.end_ns - p.start_ns, 0)"));
            let message = attribute("p", "exception.message");
            let none = attribute("p", "error");
            let condition = format!("{message} IS NOT NULL AND {none} IS NULL");
            parts.push(one("error", &message, &condition));
            let condition = format!("IS NOT NULL AND p.status {not}IN {FAILED}");
            (ENDED, event_type, suffix, "p.end_ns", condition)
        }
    };
    format!(
        " UNION ALL SELECT {id}, t.trace_id, NULL, '{event_type}', p.name || '{suffix}', \
         {ns} / 1e9, {attributes}, {ns}, 0, 1 \
         FROM trace_parts p JOIN instances i ON i.id = p.instance AND i.derive_events \
         JOIN trace_rows t ON t.id = p.trace WHERE NOT p.written_out AND p.end_ns {condition}",
        id = record_id("p", part),
        attributes = object(&parts),
    )
}

fn metrics() -> String {
    let mut sql = format!(
        "SELECT {id} AS metric_id, t.trace_id, m.name, CAST(m.value AS REAL) AS value, m.unit, \
         m.aggregation_type, m.timestamp, m.attributes, m.timestamp_ns, \
         m.dropped AS dropped_attributes, m.span_id, \
         coalesce(m.value_text, CAST(m.value AS TEXT)) AS value_text, 0 AS derived \
         FROM metric_rows m JOIN instances i ON i.id = m.instance \
         LEFT JOIN trace_rows t ON t.id = m.trace",
        id = record_id("m", 0)
    );
    for (part, name, unit, aggregation) in NODE_METRICS {
        let value = match part {
            DURATION => "s.duration".to_owned(),
            SUCCESS => format!("s.status NOT IN {FAILED}"),
            ERROR => format!("s.status IN {FAILED}"),
            _ => "1".to_owned(),
        };
        let attributes = if part == COUNT {
            // The documented spelling, also where the span has another one.
            let node = attribute("s", "node.id");
            let graph = attribute("s", "graph.id");
            let no_graph = attribute("s", "graph_id");
            let kept = format!(
                "{} AND NOT (key = 'node_id' AND {node} IS NOT NULL)",
                identity(&[])
            );
            let undotted = format!("{graph} IS NOT NULL AND {no_graph} IS NULL");
            object(&[
                own("s", &kept),
                one("node_id", &node, &format!("{node} IS NOT NULL")),
                one("graph_id", &graph, &undotted),
            ])
        } else {
            object(&[own("s", &identity(&[]))])
        };
        let _ = write!(
            sql,
            " UNION ALL SELECT {id}, t.trace_id, '{name}', CAST({value} AS REAL), '{unit}', \
             '{aggregation}', s.end_time, {attributes}, s.start_ns + s.duration_ns, 0, s.span_id, \
             CAST({value} AS TEXT), 1 \
             FROM span_rows s JOIN instances i ON i.id = s.instance AND i.derive_metrics \
             JOIN trace_rows t ON t.id = s.trace \
             WHERE s.kind = 'node_execution' AND s.duration_ns IS NOT NULL \
             AND s.sequence IS NOT NULL AND NOT s.written_out",
            id = record_id("s", part),
        );
    }
    let _ = write!(
        sql,
        " UNION ALL SELECT {id}, t.trace_id, d.name, CAST(d.value AS REAL), d.unit, \
         d.aggregation_type, d.timestamp, d.attributes, d.timestamp_ns, 0, d.span_id, \
         CAST(d.value AS TEXT), 1 \
         FROM derived_metric_rows d JOIN instances i ON i.id = d.instance \
         JOIN trace_rows t ON t.id = d.trace",
        id = part_id("d")
    );
    sql
}

fn iso(time: &str) -> String {
    format!("strftime('%Y-%m-%dT%H:%M:%fZ', {time}, 'unixepoch')")
}

/// All of them.
pub(super) fn create() -> String {
    format!(
        "CREATE VIEW traces AS SELECT trace_id, name, start_time, end_time, duration, status, \
            attributes FROM trace_rows;
        CREATE VIEW spans AS SELECT r.span_id, t.trace_id, r.parent_span_id, r.name, r.kind, \
            r.start_time, r.end_time, r.duration, r.status, r.attributes \
            FROM span_rows r JOIN trace_rows t ON t.id = r.trace;
        CREATE VIEW event_details AS {events};
        CREATE VIEW events AS SELECT event_id, trace_id, span_id, type, name, timestamp, \
            attributes FROM event_details;
        CREATE VIEW metric_details AS {metrics};
        CREATE VIEW metrics AS SELECT metric_id, trace_id, name, value, unit, aggregation_type, \
            timestamp, attributes FROM metric_details;
        CREATE VIEW links AS SELECT {link_id} AS link_id, t.trace_id, r.span_id, \
            r.linked_trace_id, r.linked_span_id, r.timestamp_ns / 1e9 AS timestamp, \
            r.attributes, r.timestamp_ns FROM link_rows r \
            JOIN instances i ON i.id = r.instance JOIN trace_rows t ON t.id = r.trace;
        CREATE VIEW trace_details AS SELECT r.trace_id, r.name, r.start_time, r.end_time, \
            r.duration, r.status, r.attributes, r.start_ns, r.end_ns, \
            max(r.end_ns - r.start_ns, 0) AS duration_ns, {start} AS started, {end} AS ended, \
            i.resource, r.remote_parent AS remote_parent_span_id, r.sampling_rate, \
            r.dropped AS dropped_attributes, i.instance \
            FROM trace_rows r LEFT JOIN instances i ON i.id = r.instance;
        CREATE VIEW span_details AS SELECT r.span_id, t.trace_id, r.parent_span_id, r.name, \
            r.kind, r.start_time, r.end_time, r.duration, r.status, r.attributes, r.error, \
            r.start_ns, r.start_ns + r.duration_ns AS end_ns, r.duration_ns, {start} AS started, \
            {end} AS ended, i.resource, r.remote_parent, r.dropped AS dropped_attributes, \
            substr(t.trace_id, 17) || r.span_id AS wide_span_id, i.instance, r.ring, r.lease, \
            r.sequence FROM span_rows r JOIN trace_rows t ON t.id = r.trace \
            JOIN instances i ON i.id = r.instance;",
        events = events(),
        metrics = metrics(),
        link_id = record_id("r", 0),
        start = iso("r.start_time"),
        end = iso("r.end_time"),
    )
}
