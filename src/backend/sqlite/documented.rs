//! A database with the documented tables that somebody else made: text ids, times as seconds or as
//! text, attributes as JSON.
//!
//! What our types cannot hold stays as an attribute:
//!
//! | attribute | has |
//! |---|---|
//! | `source.trace_id`, `source.span_id` | an id that is no 32 or 16 hex digits; it maps to a hash, a UUID of a span to its low half |
//! | `source.event_id`, `source.metric_id` | the id of the row: ours follow from the identity of a record |
//! | `source.kind`, `source.status`, `source.aggregation_type` | a word that is unknown |
//! | `source.attributes` | attributes that are no JSON object |

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{types::ValueRef, Connection, OpenFlags, Row as SqlRow};

use super::{open::DatabaseError, tables::Keyed};
use crate::{
    backend::{exact, table::Table, Row, TraceBegan, TraceEnded},
    model::{AttributeMap, Event, Metric, Origin, Span, Trace},
    record::{
        id::{InstanceId, RecordId, SpanId, TraceId},
        kinds::EventType,
    },
};

/// The documented columns that are read, behind the key.
const TRACES: &str = "trace_id, name, start_time, end_time, status, attributes";
const SPANS: &str =
    "span_id, trace_id, parent_span_id, name, kind, start_time, end_time, status, attributes, \
     duration";
const EVENTS: &str = "event_id, trace_id, span_id, type, name, timestamp, attributes";
const METRICS: &str =
    "metric_id, trace_id, name, value, unit, aggregation_type, timestamp, attributes";

fn columns(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Traces => TRACES,
        Table::Spans => SPANS,
        Table::Events => EVENTS,
        Table::Metrics => METRICS,
        Table::Links => return None,
    })
}

fn select(table: Table, columns: &str) -> String {
    let table = table.as_str();
    format!("SELECT rowid, {columns} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2")
}

/// Opens it for reading; refuses one without the documented tables and columns.
pub(super) fn open(path: &Path, busy: Duration) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| DatabaseError::new(path, error);
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(busy).map_err(failed)?;
    for table in Table::ALL {
        let Some(columns) = columns(table) else {
            continue;
        };
        if db.prepare(&select(table, columns)).is_err() {
            let path = path.to_owned();
            return Err(DatabaseError::Foreign { path });
        }
    }
    Ok(db)
}

/// The rows of about `most` keys after `after`.
pub(super) fn after(
    db: &Connection,
    path: &Path,
    table: Table,
    after: i64,
    most: i64,
) -> rusqlite::Result<Vec<Keyed>> {
    let Some(columns) = columns(table) else {
        return Ok(Vec::new());
    };
    let reader = Reader {
        db,
        origin: origin(path),
    };
    let mut statement = db.prepare_cached(&select(table, columns))?;
    let mut rows = statement.query([after, most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        let mut push = |row| found.push((key, reader.origin.clone(), row));
        match table {
            Table::Traces => reader.trace(row, key, &mut push)?,
            Table::Spans => push(Row::Span(reader.span(row, key)?)),
            Table::Events => push(Row::Event(reader.event(row, key)?)),
            Table::Metrics => push(Row::Metric(reader.metric(row, key)?)),
            Table::Links => {}
        }
    }
    Ok(found)
}

/// One that stands for whoever wrote the file: the same whenever it is read.
fn origin(path: &Path) -> Arc<Origin> {
    let whole = path.canonicalize().unwrap_or_else(|_| PathBuf::from(path));
    let (id, _) = TraceId::from_text(&format!("database {}", whole.display()));
    Arc::new(Origin {
        instance: InstanceId(id.0),
        resource: Arc::new(AttributeMap::new()),
        custom: Vec::new(),
        // The writer recorded what the documents ask for; nothing follows from it once more.
        derive_events: false,
        derive_metrics: false,
        max_events_per_span: 0,
    })
}

struct Reader<'c> {
    db: &'c Connection,
    origin: Arc<Origin>,
}

fn text(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

/// Seconds as nanoseconds, to the last digit that the float has.
fn nanoseconds(seconds: f64) -> i64 {
    let whole = seconds.floor();
    (whole as i64)
        .saturating_mul(1_000_000_000)
        .saturating_add(((seconds - whole) * 1e9).round() as i64)
}

fn attributes(row: &SqlRow<'_>, at: usize) -> rusqlite::Result<AttributeMap> {
    let mut map = AttributeMap::new();
    if let Some(json) = text(row, at)? {
        match exact::read(&json, "") {
            Some(read) => map = read,
            None => map.set("source.attributes", json),
        }
    }
    Ok(map)
}

/// A word of a kind of ours; one that is unknown becomes an attribute.
fn word<T: std::str::FromStr + Default>(
    found: Option<String>,
    key: &str,
    map: &mut AttributeMap,
) -> T {
    let Some(found) = found else {
        return T::default();
    };
    // Enumerations may have been written with their type: `SpanKind.LLM_CALL`.
    let last = found.rsplit('.').next().unwrap_or(&found);
    last.parse().unwrap_or_else(|_| {
        map.set(key, found.as_str());
        T::default()
    })
}

fn trace_id(found: Option<String>, map: &mut AttributeMap) -> Option<TraceId> {
    let found = found.filter(|text| !text.is_empty())?;
    let (id, foreign) = TraceId::from_text(&found);
    if foreign {
        map.set("source.trace_id", found);
    }
    Some(id)
}

/// The id, and whether the text says more than it.
fn span_id(found: &str) -> (Option<SpanId>, bool) {
    match found.parse::<SpanId>() {
        Ok(id) => (Some(id), found.len() != 16),
        Err(_) => {
            let (hash, _) = TraceId::from_text(found);
            (SpanId::new(hash.as_u128() as u64), true)
        }
    }
}

fn some_span_id(found: Option<String>, map: &mut AttributeMap) -> Option<SpanId> {
    let found = found.filter(|text| !text.is_empty())?;
    let (id, more) = span_id(&found);
    if more {
        map.set("source.span_id", found);
    }
    id
}

impl Reader<'_> {
    /// A time: seconds, or a date as SQLite reads it with all digits of its fraction.
    fn time(&self, row: &SqlRow<'_>, at: usize) -> rusqlite::Result<Option<i64>> {
        let text = match row.get_ref(at)? {
            ValueRef::Null => return Ok(None),
            ValueRef::Integer(seconds) => return Ok(Some(seconds.saturating_mul(1_000_000_000))),
            ValueRef::Real(seconds) => return Ok(Some(nanoseconds(seconds))),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text),
        };
        let mut ask = self.db.prepare_cached("SELECT unixepoch(?1)")?;
        let seconds: Option<i64> = ask.query_row([&text], |row| row.get(0))?;
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        let digits = fraction
            .bytes()
            .take_while(u8::is_ascii_digit)
            .take(9)
            .count();
        let nanos: i64 = format!("{:0<9}", &fraction[..digits]).parse().unwrap_or(0);
        Ok(seconds.map(|seconds| seconds.saturating_mul(1_000_000_000) + nanos))
    }

    fn record(&self, table: u32, number: i64) -> RecordId {
        RecordId {
            instance: self.origin.instance,
            ring: table,
            sequence: number as u64,
        }
    }

    /// A start and, of a trace that ended, an end.
    fn trace(&self, row: &SqlRow<'_>, key: i64, push: &mut dyn FnMut(Row)) -> rusqlite::Result<()> {
        let mut map = attributes(row, 6)?;
        let Some(trace_id) = trace_id(text(row, 1)?, &mut map) else {
            return Ok(());
        };
        let status = word(text(row, 5)?, "source.status", &mut map);
        let end_ns = self.time(row, 4)?;
        let start_ns = self.time(row, 3)?.or(end_ns).unwrap_or(0);
        let began = Trace {
            trace_id,
            name: text(row, 2)?.unwrap_or_default(),
            start_ns,
            end_ns: None,
            status: crate::record::kinds::Status::Unset,
            attributes: map,
            resource: self.origin.resource.clone(),
            remote_parent: None,
            sampling_rate: 1.0,
            dropped_attributes: 0,
            instance: self.origin.instance,
        };
        let ended = end_ns.map(|end_ns| Trace {
            end_ns: Some(end_ns.max(start_ns)),
            status,
            attributes: AttributeMap::new(),
            ..began.clone()
        });
        push(Row::TraceBegan(TraceBegan {
            trace: began,
            record: self.record(0, key * 2),
        }));
        if let Some(trace) = ended {
            push(Row::TraceEnded(TraceEnded {
                trace,
                record: self.record(0, key * 2 + 1),
            }));
        }
        Ok(())
    }

    fn span(&self, row: &SqlRow<'_>, key: i64) -> rusqlite::Result<Span> {
        let mut map = attributes(row, 9)?;
        let own = some_span_id(text(row, 1)?, &mut map);
        let trace_id = trace_id(text(row, 2)?, &mut map).unwrap_or(TraceId::from_u128(1));
        let parent = text(row, 3)?.filter(|text| !text.is_empty());
        let kind = word(text(row, 5)?, "source.kind", &mut map);
        let status = word(text(row, 8)?, "source.status", &mut map);
        let end_ns = self.time(row, 7)?;
        let start_ns = self.time(row, 6)?.or(end_ns).unwrap_or(0);
        let length = |end: i64| u64::try_from(end.saturating_sub(start_ns)).unwrap_or(0);
        let seconds: Option<f64> = row.get(10)?;
        let said = seconds.map(|seconds| nanoseconds(seconds.max(0.0)) as u64);
        let span_id = own.or(SpanId::new(key as u64));
        Ok(Span {
            span_id: span_id.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, key))?,
            trace_id,
            parent_span_id: parent.and_then(|text| span_id_only(&text)),
            remote_parent: false,
            name: text(row, 4)?.unwrap_or_default(),
            kind,
            start_ns,
            duration_ns: end_ns.map(length).or(said),
            status,
            attributes: map,
            error: None,
            dropped_attributes: 0,
            thread: (1, 0),
            record: Some(self.record(1, key)),
            instance: self.origin.instance,
        })
    }

    fn event(&self, row: &SqlRow<'_>, key: i64) -> rusqlite::Result<Event> {
        let mut map = attributes(row, 7)?;
        if let Some(id) = text(row, 1)? {
            map.set("source.event_id", id);
        }
        let record = self.record(2, key);
        Ok(Event {
            event_id: record.as_u128(0),
            trace_id: trace_id(text(row, 2)?, &mut map),
            span_id: some_span_id(text(row, 3)?, &mut map),
            event_type: EventType::new(&text(row, 4)?.unwrap_or_else(|| "custom".to_owned())),
            name: text(row, 5)?.unwrap_or_default(),
            timestamp_ns: self.time(row, 6)?.unwrap_or(0),
            attributes: map,
            dropped_attributes: 0,
            derived: false,
            record: Some(record),
        })
    }

    fn metric(&self, row: &SqlRow<'_>, key: i64) -> rusqlite::Result<Metric> {
        let mut map = attributes(row, 8)?;
        if let Some(id) = text(row, 1)? {
            map.set("source.metric_id", id);
        }
        let record = self.record(3, key);
        let (value, integer) = match row.get_ref(4)? {
            ValueRef::Integer(value) => (value as f64, Some(i128::from(value))),
            ValueRef::Real(value) => (value, None),
            _ => (f64::NAN, None),
        };
        Ok(Metric {
            metric_id: record.as_u128(0),
            trace_id: trace_id(text(row, 2)?, &mut map),
            span_id: None,
            name: text(row, 3)?.unwrap_or_default(),
            value,
            integer,
            unit: text(row, 5)?.unwrap_or_default(),
            aggregation: word(text(row, 6)?, "source.aggregation_type", &mut map),
            timestamp_ns: self.time(row, 7)?.unwrap_or(0),
            attributes: map,
            dropped_attributes: 0,
            derived: false,
            record: Some(record),
        })
    }
}

fn span_id_only(text: &str) -> Option<SpanId> {
    span_id(text).0
}
