//! Taking a batch: every row by identity, the position behind it in the same transaction.
//!
//! Always true:
//! - a row that is there already is not changed, except that the end of a span completes its start
//! - every span, event and link has its trace, if need be one of which nothing else is known
//! - what is remembered between batches (keys of traces and instances, numbers of events) is
//!   forgotten when a transaction fails or another connection wrote

use std::path::Path;

use ahash::{AHashMap, AHashSet};
use rusqlite::{
    params, types::Value as SqlValue, CachedStatement, Connection, OptionalExtension, Transaction,
    TransactionBehavior,
};

use super::{
    bind::{
        instance_hex, span_hex, trace_hex, Hex, Texts, COUNT_EVENTS, CURSOR, EVENT, FIND_TRACE,
        INSTANCE, LINK, METRIC, SPAN, TRACE, TRIM_EVENTS,
    },
    derived::{self, Place},
    open::{self, DatabaseError, FileId},
    read::instance_of,
    traces::{self, Parts},
    Options, Origins,
};
use crate::{
    backend::{BatchRange, Row},
    clock::unix_now,
    log::Position,
    model::{seconds, AttributeMap, Event, Link, Metric, Span, Trace},
    record::{
        id::{InstanceId, LogId, RecordId, SpanId, TraceId},
        value::Value,
    },
    sync::fault::step,
};

/// Keys that are remembered.
const REMEMBERED: usize = 1 << 16;

/// What is remembered between batches.
#[derive(Debug)]
struct Memory {
    traces: AHashMap<TraceId, i64>,
    instances: AHashMap<InstanceId, i64>,
    /// Recorded events of spans of which some came.
    events: AHashMap<(i64, SpanId), u32>,
    /// What `PRAGMA data_version` said; it changes when another connection writes.
    version: i64,
    texts: Texts,
}

impl Memory {
    fn new() -> Self {
        Self {
            traces: AHashMap::new(),
            instances: AHashMap::new(),
            events: AHashMap::new(),
            version: 0,
            texts: Texts::default(),
        }
    }

    fn forget(&mut self) {
        self.traces.clear();
        self.instances.clear();
        self.events.clear();
    }
}

/// An open database.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) conn: Connection,
    file: Option<FileId>,
    memory: Memory,
    /// Whether rows that follow from others are written out.
    write_derived: bool,
    /// Rows of committed batches that were there already.
    pub(super) duplicates: u64,
}

impl Db {
    pub(super) fn open(options: &Options) -> Result<Self, DatabaseError> {
        let path = &options.path;
        let conn = open::for_writing(path, options.busy_timeout)?;
        Ok(Self {
            write_derived: options.write_derived,
            conn,
            file: FileId::of(path),
            memory: Memory::new(),
            duplicates: 0,
        })
    }

    /// Whether the path still means this file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        FileId::of(path) == self.file
    }

    /// Forgets what it remembers of the database.
    pub(super) fn forget(&mut self) {
        self.memory.forget();
    }

    pub(super) fn forget_instance(&mut self, instance: InstanceId) {
        self.memory.instances.remove(&instance);
    }

    /// The instance of the last batch of a log.
    pub(super) fn instance(&self, log: LogId) -> rusqlite::Result<Option<InstanceId>> {
        let sql = "SELECT instance FROM emberlog_cursors WHERE log_id = ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let key = [Hex::<32>::new(u128::from_be_bytes(log.0))];
        statement
            .query_row(key, |row| instance_of(row, 0))
            .optional()
    }

    pub(super) fn position(&self, log: LogId) -> rusqlite::Result<Position> {
        let sql = "SELECT epoch, offset FROM emberlog_cursors WHERE log_id = ?1";
        let found = self
            .conn
            .prepare_cached(sql)?
            .query_row([Hex::<32>::new(u128::from_be_bytes(log.0))], |row| {
                Ok(Position {
                    epoch: row.get::<_, i64>(0)? as u64,
                    offset: row.get::<_, i64>(1)? as u64,
                })
            })
            .optional()?;
        Ok(found.unwrap_or(Position::START))
    }

    pub(super) fn write(
        &mut self,
        range: BatchRange,
        rows: &[Row],
        origins: &Origins,
    ) -> rusqlite::Result<()> {
        step("sqlite.begin").map_err(refused)?;
        let transaction = Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate)?;
        let version = transaction
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        let memory = &mut self.memory;
        let full = memory.traces.len() > REMEMBERED || memory.events.len() > REMEMBERED;
        if memory.version != version || full {
            memory.forget();
            memory.version = version;
        }
        let mut batch = Batch::new(&self.conn, memory, origins)?;
        batch.write_derived = self.write_derived;
        let mut duplicates = 0;
        for row in rows {
            duplicates += u64::from(!batch.row(row)?);
        }
        step("sqlite.rows").map_err(refused)?;
        batch.finish(range)?;
        step("sqlite.commit").map_err(refused)?;
        transaction.commit()?;
        step("sqlite.committed").map_err(refused)?;
        self.duplicates += duplicates;
        Ok(())
    }
}

/// A planted error, as SQLite tells of a disk that failed.
fn refused(_: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR), None)
}

/// One transaction.
struct Batch<'c, 'r> {
    conn: &'c Connection,
    memory: &'c mut Memory,
    origins: &'c Origins,
    trace: CachedStatement<'c>,
    span: CachedStatement<'c>,
    event: CachedStatement<'c>,
    metric: CachedStatement<'c>,
    /// Traces that this transaction created.
    created: AHashSet<i64>,
    /// Traces of which records came.
    parts: AHashMap<i64, Parts<'r>>,
    /// Spans of which more events came than they keep, maybe.
    events: AHashMap<(i64, SpanId), u32>,
    write_derived: bool,
}

fn missing(what: &str) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(format!("a {what} without the id of its record").into())
}

/// Ring and sequence as SQL integers.
fn place(record: RecordId) -> (i64, i64) {
    (i64::from(record.ring), record.sequence as i64)
}

impl<'c, 'r> Batch<'c, 'r> {
    fn new(
        conn: &'c Connection,
        memory: &'c mut Memory,
        origins: &'c Origins,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            memory,
            origins,
            trace: conn.prepare_cached(TRACE)?,
            span: conn.prepare_cached(SPAN)?,
            event: conn.prepare_cached(EVENT)?,
            metric: conn.prepare_cached(METRIC)?,
            created: AHashSet::new(),
            parts: AHashMap::new(),
            events: AHashMap::new(),
            write_derived: false,
        })
    }

    /// Stores a row; whether it was new.
    fn row(&mut self, row: &'r Row) -> rusqlite::Result<bool> {
        match row {
            Row::TraceBegan(began) => self.trace_part(&began.trace, began.record),
            Row::TraceEnded(ended) => self.trace_part(&ended.trace, ended.record),
            Row::Span(span) => self.span(span),
            Row::Event(event) => self.event(event),
            Row::Metric(metric) => self.metric(metric),
            Row::Link(link) => self.link(link),
        }
    }

    /// The key of a trace; where there is none yet it gets a row that says nothing else.
    fn trace_key(&mut self, id: TraceId, seen_ns: i64) -> rusqlite::Result<i64> {
        if let Some(key) = self.memory.traces.get(&id) {
            return Ok(*key);
        }
        let hex = trace_hex(id);
        let key = if self.trace.execute(params![hex, seen_ns])? == 1 {
            let key = self.conn.last_insert_rowid();
            self.created.insert(key);
            key
        } else {
            let mut find = self.conn.prepare_cached(FIND_TRACE)?;
            find.query_row(params![hex], |row| row.get(0))?
        };
        self.memory.traces.insert(id, key);
        Ok(key)
    }

    fn instance_key(
        &mut self,
        id: InstanceId,
        resource: Option<&AttributeMap>,
    ) -> rusqlite::Result<i64> {
        if let Some(key) = self.memory.instances.get(&id) {
            return Ok(*key);
        }
        let origin = self.origins.get(&id);
        let text = |attributes: Option<&[(String, Value)]>| {
            let mut texts = Texts::default();
            texts.set(attributes.unwrap_or_default());
            (
                attributes.map(|_| texts.json().to_owned()),
                texts.types().map(str::to_owned),
            )
        };
        let resource = origin.map(|o| &*o.resource).or(resource);
        let (resource, resource_types) = text(resource.map(|r| r.as_slice()));
        let (custom, custom_types) = text(origin.map(|o| o.custom.as_slice()));
        let bits = u128::from_be_bytes(id.0);
        let key = self.conn.prepare_cached(INSTANCE)?.query_row(
            params![
                instance_hex(id),
                (bits >> 64) as i64,
                bits as i64,
                resource,
                resource_types,
                custom,
                custom_types,
                origin.is_some_and(|o| o.derive_events),
                origin.is_some_and(|o| o.derive_metrics),
                origin.map(|o| o.max_events_per_span),
            ],
            |row| row.get(0),
        )?;
        self.memory.instances.insert(id, key);
        Ok(key)
    }

    fn trace_part(&mut self, trace: &'r Trace, record: RecordId) -> rusqlite::Result<bool> {
        let key = self.trace_key(trace.trace_id, trace.start_ns)?;
        let instance = self.instance_key(record.instance, Some(&trace.resource))?;
        let origin = self.origins.get(&record.instance);
        let origin = origin.filter(|_| self.write_derived).map(|o| &**o);
        let texts = &mut self.memory.texts;
        let place = Place {
            instance,
            trace: key,
            record,
        };
        let new = traces::insert_part(self.conn, texts, place, trace, origin)?;
        if new {
            self.parts.entry(key).or_default().push(trace);
        }
        Ok(new)
    }

    fn span(&mut self, span: &Span) -> rusqlite::Result<bool> {
        let key = self.trace_key(span.trace_id, span.start_ns)?;
        let instance = self.instance_key(span.instance, None)?;
        let texts = &mut self.memory.texts;
        texts.set(span.attributes.as_slice());
        texts.set_error(span.error.as_ref());
        let duration = span
            .duration_ns
            .map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
        let ended = span.duration_ns.is_some() && self.write_derived;
        let origin = self.origins.get(&span.instance).filter(|_| ended);
        let derive = origin.zip(span.record);
        let new = self.span.execute(params![
            key,
            span_hex(span.span_id),
            span.parent_span_id.map(span_hex),
            span.name,
            span.kind.as_str(),
            span.start_ns,
            duration,
            span.status.as_str(),
            texts.json(),
            texts.types(),
            texts.error(),
            span.remote_parent,
            span.dropped_attributes,
            instance,
            span.thread.0,
            span.thread.1,
            span.record.map(|record| place(record).1),
            derive.is_some(),
        ])?;
        if let (1, Some((origin, record))) = (new, derive) {
            let place = Place {
                instance,
                trace: key,
                record,
            };
            derived::of_span(self.conn, texts, place, span, origin)?;
        }
        Ok(new == 1)
    }

    fn event(&mut self, event: &Event) -> rusqlite::Result<bool> {
        let record = event.record.ok_or_else(|| missing("event"))?;
        let instance = self.instance_key(record.instance, None)?;
        let when = event.timestamp_ns;
        let trace = event
            .trace_id
            .map(|id| self.trace_key(id, when))
            .transpose()?;
        let texts = &mut self.memory.texts;
        texts.set(event.attributes.as_slice());
        let (ring, sequence) = place(record);
        let new = self.event.execute(params![
            instance,
            ring,
            sequence,
            trace,
            event.span_id.map(span_hex),
            event.event_type.as_str(),
            event.name,
            when,
            texts.json(),
            texts.types(),
            event.dropped_attributes,
        ])?;
        if let (1, Some(trace), Some(span)) = (new, trace, event.span_id) {
            let keeps = self.origins.get(&record.instance);
            let keeps = keeps.map_or(0, |origin| origin.max_events_per_span);
            if keeps > 0 && keeps < u32::MAX {
                self.count_event(trace, span)?;
                self.events.insert((trace, span), keeps);
            }
        }
        Ok(new == 1)
    }

    /// Counts an event that was just inserted.
    fn count_event(&mut self, trace: i64, span: SpanId) -> rusqlite::Result<()> {
        if let Some(count) = self.memory.events.get_mut(&(trace, span)) {
            *count += 1;
            return Ok(());
        }
        let count = if self.created.contains(&trace) {
            1
        } else {
            let mut count = self.conn.prepare_cached(COUNT_EVENTS)?;
            count.query_row(params![trace, span_hex(span)], |row| row.get(0))?
        };
        self.memory.events.insert((trace, span), count);
        Ok(())
    }

    fn metric(&mut self, metric: &Metric) -> rusqlite::Result<bool> {
        let record = metric.record.ok_or_else(|| missing("metric"))?;
        let instance = self.instance_key(record.instance, None)?;
        let when = metric.timestamp_ns;
        let trace = metric
            .trace_id
            .map(|id| self.trace_key(id, when))
            .transpose()?;
        let texts = &mut self.memory.texts;
        texts.set(metric.attributes.as_slice());
        let (ring, sequence) = place(record);
        // What a column of numbers cannot hold stands beside it as text.
        let (value, text) = match metric.integer.map(|v| (v, i64::try_from(v))) {
            Some((_, Ok(value))) => (SqlValue::Integer(value), None),
            Some((value, Err(_))) => (SqlValue::Real(metric.value), Some(value.to_string())),
            None if metric.value.is_nan() => (SqlValue::Null, Some("NaN".to_owned())),
            None => (SqlValue::Real(metric.value), None),
        };
        let new = self.metric.execute(params![
            instance,
            ring,
            sequence,
            trace,
            metric.span_id.map(span_hex),
            metric.name,
            value,
            text,
            metric.unit,
            metric.aggregation.as_str(),
            when,
            texts.json(),
            texts.types(),
            metric.dropped_attributes,
        ])?;
        Ok(new == 1)
    }

    fn link(&mut self, link: &Link) -> rusqlite::Result<bool> {
        let record = link.record.ok_or_else(|| missing("link"))?;
        let instance = self.instance_key(record.instance, None)?;
        let trace = self.trace_key(link.trace_id, link.timestamp_ns)?;
        let texts = &mut self.memory.texts;
        texts.set(link.attributes.as_slice());
        let (ring, sequence) = place(record);
        let new = self.conn.prepare_cached(LINK)?.execute(params![
            instance,
            ring,
            sequence,
            trace,
            link.span_id.map(span_hex),
            trace_hex(link.linked_trace_id),
            link.linked_span_id.map(span_hex),
            link.timestamp_ns,
            texts.json(),
            texts.types(),
        ])?;
        Ok(new == 1)
    }

    fn finish(mut self, range: BatchRange) -> rusqlite::Result<()> {
        for (key, parts) in std::mem::replace(&mut self.parts, AHashMap::new()) {
            let here = self.created.contains(&key);
            let merged = traces::merge(self.conn, key, parts, here, self.origins)?;
            if let Some(trace) = merged {
                let instance = self.instance_key(trace.instance, Some(&trace.resource))?;
                traces::update(self.conn, &mut self.memory.texts, key, instance, &trace)?;
            }
        }
        for ((trace, span), keeps) in std::mem::replace(&mut self.events, AHashMap::new()) {
            let count = self.memory.events.get_mut(&(trace, span));
            if let Some(count) = count.filter(|count| **count > keeps) {
                let mut trim = self.conn.prepare_cached(TRIM_EVENTS)?;
                trim.execute(params![trace, span_hex(span), keeps])?;
                *count = keeps;
            }
        }
        self.conn.prepare_cached(CURSOR)?.execute(params![
            Hex::<32>::new(u128::from_be_bytes(range.log.0)),
            range.to.epoch as i64,
            range.to.offset as i64,
            instance_hex(range.instance),
            seconds(unix_now()),
        ])?;
        Ok(())
    }
}
