//! Rows that follow from spans and traces, written out where the options ask for it.
//!
//! The views compute such rows from every span and record of a trace that is not marked
//! `written_out`, and read those of the others from two tables. So the option may be changed at any
//! time, and what a view shows is the same either way.

use rusqlite::{params, CachedStatement, Connection};

use super::bind::{span_hex, Texts};
use crate::{
    model::{Event, Metric, Origin, Span, Trace},
    query::derive,
    record::id::RecordId,
};

const EVENT: &str = "INSERT INTO derived_event_rows (instance, ring, sequence, part, trace, \
    span_id, type, name, timestamp_ns, attributes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
    ?10) ON CONFLICT (instance, ring, sequence, part) DO NOTHING";
const METRIC: &str = "INSERT INTO derived_metric_rows (instance, ring, sequence, part, trace, \
    span_id, name, value, unit, aggregation_type, timestamp_ns, attributes) VALUES (?1, ?2, ?3, \
    ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (instance, ring, sequence, part) DO NOTHING";

/// Where derived rows belong: keys of instance and trace, and the record that they follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) instance: i64,
    pub(super) trace: i64,
    pub(super) record: RecordId,
}

/// Which of the rows of a record a row is: the ids of all of them differ in one byte.
fn part(id: u128, record: RecordId) -> u8 {
    ((id ^ record.as_u128(0)) >> 120) as u8
}

fn event(
    statement: &mut CachedStatement<'_>,
    texts: &mut Texts,
    place: Place,
    event: &Event,
) -> rusqlite::Result<()> {
    texts.set(event.attributes.as_slice());
    statement.execute(params![
        place.instance,
        place.record.ring,
        place.record.sequence as i64,
        part(event.event_id, place.record),
        place.trace,
        event.span_id.map(span_hex),
        event.event_type.as_str(),
        event.name,
        event.timestamp_ns,
        texts.json(),
    ])?;
    Ok(())
}

fn metric(
    statement: &mut CachedStatement<'_>,
    texts: &mut Texts,
    place: Place,
    metric: &Metric,
) -> rusqlite::Result<()> {
    texts.set(metric.attributes.as_slice());
    let (ring, sequence) = (place.record.ring, place.record.sequence as i64);
    let (part, span) = (
        part(metric.metric_id, place.record),
        metric.span_id.map(span_hex),
    );
    let value = match metric.integer.and_then(|v| i64::try_from(v).ok()) {
        Some(value) => rusqlite::types::Value::Integer(value),
        None => rusqlite::types::Value::Real(metric.value),
    };
    statement.execute(params![
        place.instance,
        ring,
        sequence,
        part,
        place.trace,
        span,
        metric.name,
        value,
        metric.unit,
        metric.aggregation.as_str(),
        metric.timestamp_ns,
        texts.json(),
    ])?;
    Ok(())
}

/// Writes what a finished span implies.
pub(super) fn of_span(
    conn: &Connection,
    texts: &mut Texts,
    place: Place,
    span: &Span,
    origin: &Origin,
) -> rusqlite::Result<()> {
    let events = derive::events_of_span(span, origin);
    if !events.is_empty() {
        let mut statement = conn.prepare_cached(EVENT)?;
        for row in &events {
            event(&mut statement, texts, place, row)?;
        }
    }
    let metrics = derive::metrics_of_span(span, origin);
    if !metrics.is_empty() {
        let mut statement = conn.prepare_cached(METRIC)?;
        for row in &metrics {
            metric(&mut statement, texts, place, row)?;
        }
    }
    Ok(())
}

/// Writes what the start or the end of a trace implies.
pub(super) fn of_trace(
    conn: &Connection,
    texts: &mut Texts,
    place: Place,
    trace: &Trace,
    origin: &Origin,
) -> rusqlite::Result<()> {
    if !origin.derive_events {
        return Ok(());
    }
    let implied = match trace.end_ns {
        None => derive::trace_started(),
        Some(_) => derive::trace_ended(trace.status),
    };
    let row = derive::trace_event(trace, place.record, implied, origin);
    event(&mut conn.prepare_cached(EVENT)?, texts, place, &row)
}
