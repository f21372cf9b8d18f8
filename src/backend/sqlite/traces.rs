//! A trace out of its records: a start, an end, and more of both where processes share it.
//!
//! Each record is kept as it came (`trace_parts`), because merging must give the same whatever the
//! order and however often a record comes; `trace_rows` has the result.

use std::sync::Arc;

use rusqlite::{params, Connection, Row};

use super::{
    bind::{span_hex, Texts},
    derived::{self, Place},
    read::{instance_of, json, parsed, span_id_of},
    Origins,
};
use crate::{
    model::{AttributeMap, Origin, Trace},
    query::rows::merge_trace,
};

const INSERT: &str = "INSERT INTO trace_parts (trace, instance, ring, sequence, name, start_ns, \
    end_ns, status, attributes, types, remote_parent, sampling_rate, dropped, written_out) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
    ON CONFLICT DO NOTHING";
/// All records of all traces.
pub(super) const PARTS_OF: &str = "SELECT p.name, p.start_ns, p.end_ns, p.status, p.attributes, \
    p.types, p.remote_parent, p.sampling_rate, p.dropped, i.instance, t.trace_id, p.instance, \
    p.ring, p.sequence, p.trace FROM trace_parts p JOIN instances i ON i.id = p.instance \
    JOIN trace_rows t ON t.id = p.trace";
const UPDATE: &str = "UPDATE trace_rows SET name = ?2, start_ns = ?3, end_ns = ?4, status = ?5, \
    attributes = ?6, types = ?7, remote_parent = ?8, sampling_rate = ?9, dropped = ?10, \
    instance = ?11 WHERE id = ?1";

/// Records of one trace that came in this batch.
pub(super) type Parts<'r> = Vec<&'r Trace>;

/// Keeps a record; whether it is new. `origin`: its instance, if what it implies is written out.
pub(super) fn insert_part(
    conn: &Connection,
    texts: &mut Texts,
    place: Place,
    trace: &Trace,
    origin: Option<&Origin>,
) -> rusqlite::Result<bool> {
    let record = place.record;
    texts.set(trace.attributes.as_slice());
    let rows = conn.prepare_cached(INSERT)?.execute(params![
        place.trace,
        place.instance,
        record.ring,
        record.sequence as i64,
        trace.name,
        trace.start_ns,
        trace.end_ns,
        trace.status.as_str(),
        texts.json(),
        texts.types(),
        trace.remote_parent.map(span_hex),
        trace.sampling_rate,
        trace.dropped_attributes,
        origin.is_some(),
    ])?;
    if let (1, Some(origin)) = (rows, origin) {
        derived::of_trace(conn, texts, place, trace, origin)?;
    }
    Ok(rows == 1)
}

/// The trace out of all of its records; those that came are all there is if `here`.
pub(super) fn merge(
    conn: &Connection,
    key: i64,
    parts: Parts<'_>,
    here: bool,
    origins: &Origins,
) -> rusqlite::Result<Option<Trace>> {
    let parts: Vec<Trace> = if here {
        parts.into_iter().cloned().collect()
    } else {
        let mut statement = conn.prepare_cached(&format!("{PARTS_OF} WHERE p.trace = ?1"))?;
        let rows = statement.query_map([key], part)?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let started = parts.iter().any(|part| part.end_ns.is_none());
    let instances: Vec<_> = parts.iter().map(|part| part.instance).collect();
    let mut merged = merge_trace(parts);
    if let (Some(trace), false) = (&mut merged, started) {
        // Those came with the start, which nobody has.
        for origin in instances.iter().filter_map(|id| origins.get(id)) {
            trace.attributes.fill_from(&origin.custom);
        }
    }
    Ok(merged)
}

/// Writes the result.
pub(super) fn update(
    conn: &Connection,
    texts: &mut Texts,
    key: i64,
    instance: i64,
    trace: &Trace,
) -> rusqlite::Result<()> {
    texts.set(trace.attributes.as_slice());
    conn.prepare_cached(UPDATE)?.execute(params![
        key,
        trace.name,
        trace.start_ns,
        trace.end_ns,
        trace.status.as_str(),
        texts.json(),
        texts.types(),
        trace.remote_parent.map(span_hex),
        trace.sampling_rate,
        trace.dropped_attributes,
        instance,
    ])?;
    Ok(())
}

/// A row of [`PARTS_OF`]: a record as it came, without its resource.
pub(super) fn part(row: &Row<'_>) -> rusqlite::Result<Trace> {
    Ok(Trace {
        trace_id: parsed(row, 10)?,
        name: row.get(0)?,
        start_ns: row.get(1)?,
        end_ns: row.get(2)?,
        status: parsed(row, 3)?,
        attributes: json(row, 4)?,
        resource: Arc::new(AttributeMap::new()),
        remote_parent: span_id_of(row, 6)?,
        sampling_rate: row.get(7)?,
        dropped_attributes: row.get(8)?,
        instance: instance_of(row, 9)?,
    })
}
