//! Answering queries: SQL narrows down by what is indexed or cheap, the filter itself decides.
//!
//! Always true:
//! - nothing but bound parameters comes from a filter
//! - a row is judged by the same code as a row from the log, `query/matching.rs`
//! - all statements of one query see the same moment

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use ahash::AHashMap;
use rusqlite::{
    types::{Type, Value as SqlValue},
    Connection, OptionalExtension, Row, ToSql,
};

use super::{
    open::{self, DatabaseError},
    points,
};
use crate::{
    backend::{
        best::{Best, Tie},
        exact, Scan, ScanError, TraceParts,
    },
    model::{AttributeMap, Event, Link, Metric, Origin, Span, SpanError, Trace},
    query::filter::{Filter, Order},
    record::{
        id::{InstanceId, RecordId, SpanId, TraceId},
        value::Value,
    },
};

/// Reads a SQLite database, whoever writes to it.
#[derive(Debug)]
pub struct SqliteReader {
    path: PathBuf,
    conn: Mutex<Connection>,
}

impl SqliteReader {
    /// Opens the database for reading only.
    ///
    /// # Errors
    /// There is none, or it is not one of ours.
    pub fn open(path: impl Into<PathBuf>, busy_timeout: Duration) -> Result<Self, DatabaseError> {
        let path = path.into();
        Ok(Self {
            conn: Mutex::new(open::for_reading(&path, busy_timeout)?),
            path,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn ask<R>(&self, with: impl FnOnce(&View<'_>) -> rusqlite::Result<R>) -> Result<R, ScanError> {
        let conn = self.conn.lock().unwrap_or_else(|e| e.into_inner());
        let ask = || {
            let moment = conn.unchecked_transaction()?;
            let answer = with(&View::new(&conn))?;
            moment.commit()?;
            Ok(answer)
        };
        ask().map_err(|source| ScanError::Store {
            what: self.path.display().to_string(),
            source: DatabaseError::new(&self.path, source).into(),
        })
    }
}

impl Scan for SqliteReader {
    fn traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError> {
        self.ask(|view| view.traces(filter))
    }

    fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        self.ask(|view| view.spans(filter))
    }

    fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        self.ask(|view| points::events(view, filter))
    }

    fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        self.ask(|view| points::metrics(view, filter))
    }

    fn links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError> {
        self.ask(|view| points::links(view, filter))
    }

    fn parts(&self, traces: &[TraceId]) -> Result<TraceParts, ScanError> {
        self.ask(|view| points::parts(view, traces))
    }
}

/// Conditions with their parameters.
#[derive(Debug, Default)]
pub(super) struct Where {
    sql: String,
    values: Vec<SqlValue>,
}

impl Where {
    /// Adds a condition, in which `?` stands for the value.
    pub(super) fn and(&mut self, condition: &str, value: impl Into<SqlValue>) {
        self.values.push(value.into());
        let number = format!("?{}", self.values.len());
        self.only(&condition.replace('?', &number));
    }

    /// Adds a condition without a value.
    pub(super) fn only(&mut self, condition: &str) {
        self.sql.push_str(if self.sql.is_empty() {
            " WHERE "
        } else {
            " AND "
        });
        self.sql.push_str(condition);
    }

    /// What all rows that belong to traces have in common.
    pub(super) fn owned(filter: &Filter, row: &str) -> Self {
        let mut this = Self::default();
        if let Some(id) = filter.trace_id {
            let condition = format!("{row}.trace = (SELECT id FROM trace_rows WHERE trace_id = ?)");
            this.and(&condition, id.to_string());
        }
        if let Some(id) = filter.span_id {
            this.and(&format!("{row}.span_id = ?"), id.to_string());
        }
        this
    }

    /// Rows of any of these traces.
    pub(super) fn of_traces(traces: &[TraceId], row: &str) -> Self {
        let mut list = String::with_capacity(2 + 35 * traces.len());
        for trace in traces {
            list.push(if list.is_empty() { '[' } else { ',' });
            list.push_str(&format!("\"{trace}\""));
        }
        list.push_str(if list.is_empty() { "[]" } else { "]" });
        let mut this = Self::default();
        let wanted = format!(
            "{row}.trace IN (SELECT id FROM trace_rows \
            WHERE trace_id IN (SELECT value FROM json_each(?)))"
        );
        this.and(&wanted, list);
        this
    }

    pub(super) fn times(&mut self, filter: &Filter, from: &str, to: &str) {
        if let Some(since) = filter.since_ns {
            self.and(&format!("{to} >= ?"), since);
        }
        if let Some(until) = filter.until_ns {
            self.and(&format!("{from} <= ?"), until);
        }
    }

    pub(super) fn name(&mut self, filter: &Filter, column: &str) {
        if let Some(name) = filter.name.as_ref().and_then(|name| name.exact()) {
            self.and(&format!("{column} = ?"), name.to_owned());
        }
    }

    /// Calls `with` with each row, until it says that it has seen enough.
    pub(super) fn each(
        &self,
        conn: &Connection,
        select: &str,
        order: &str,
        mut with: impl FnMut(&Row<'_>) -> rusqlite::Result<Go>,
    ) -> rusqlite::Result<()> {
        let sql = format!("{select}{}{order}", self.sql);
        let mut statement = conn.prepare_cached(&sql)?;
        let values = self.values.iter().map(|value| value as &dyn ToSql);
        let mut rows = statement.query(&*values.collect::<Vec<_>>())?;
        while let Some(row) = rows.next()? {
            if let Go::Stop = with(row)? {
                break;
            }
        }
        Ok(())
    }
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Go {
    On,
    Stop,
}

/// The database during one query.
#[derive(Debug)]
pub(super) struct View<'c> {
    pub(super) conn: &'c Connection,
    origins: RefCell<AHashMap<i64, Arc<Origin>>>,
    traces: RefCell<AHashMap<i64, Option<Arc<Trace>>>>,
}

const TRACES: &str = "SELECT t.trace_id, t.name, t.start_ns, t.end_ns, t.status, t.attributes, \
    t.types, t.remote_parent, t.sampling_rate, t.dropped, t.instance FROM trace_rows t";
pub(super) const SPANS: &str =
    "SELECT s.start_ns, s.duration_ns, s.instance, s.ring, s.sequence, s.lease, \
    s.span_id, t.trace_id, s.parent_span_id, s.remote_parent, s.name, s.kind, s.status, \
    s.attributes, s.types, s.error, s.dropped, s.trace \
    FROM span_rows s JOIN trace_rows t ON t.id = s.trace";

impl<'c> View<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self {
            conn,
            origins: RefCell::new(AHashMap::new()),
            traces: RefCell::new(AHashMap::new()),
        }
    }

    /// What is known of an instance.
    pub(super) fn origin(&self, key: i64) -> rusqlite::Result<Arc<Origin>> {
        if let Some(origin) = self.origins.borrow().get(&key) {
            return Ok(origin.clone());
        }
        let sql =
            "SELECT instance, resource, resource_types, custom, custom_types, derive_events, \
            derive_metrics, coalesce(max_events_per_span, 0) FROM instances WHERE id = ?1";
        let mut statement = self.conn.prepare_cached(sql)?;
        let origin = statement.query_row([key], |row| {
            Ok(Origin {
                instance: instance_of(row, 0)?,
                resource: Arc::new(json(row, 1)?),
                custom: json(row, 3)?.as_slice().to_vec(),
                derive_events: row.get(5)?,
                derive_metrics: row.get(6)?,
                max_events_per_span: row.get(7)?,
            })
        })?;
        let origin = Arc::new(origin);
        self.origins.borrow_mut().insert(key, origin.clone());
        Ok(origin)
    }

    /// The trace of a row, where the filter needs it.
    pub(super) fn trace_for(
        &self,
        filter: &Filter,
        key: Option<i64>,
    ) -> rusqlite::Result<Option<Arc<Trace>>> {
        let (true, Some(key)) = (filter.wants_graph(), key) else {
            return Ok(None);
        };
        if let Some(trace) = self.traces.borrow().get(&key) {
            return Ok(trace.clone());
        }
        let sql = format!("{TRACES} WHERE t.id = ?1 AND t.start_ns IS NOT NULL");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let trace = statement
            .query_row([key], |row| self.trace(row))
            .optional()?;
        let trace = trace.map(Arc::new);
        self.traces.borrow_mut().insert(key, trace.clone());
        Ok(trace)
    }

    /// A row of [`TRACES`].
    fn trace(&self, row: &Row<'_>) -> rusqlite::Result<Trace> {
        let origin = self.origin(row.get(10)?)?;
        Ok(Trace {
            trace_id: parsed(row, 0)?,
            name: row.get(1)?,
            start_ns: row.get(2)?,
            end_ns: row.get(3)?,
            status: parsed(row, 4)?,
            attributes: json(row, 5)?,
            resource: origin.resource.clone(),
            remote_parent: span_id_of(row, 7)?,
            sampling_rate: row.get(8)?,
            dropped_attributes: row.get(9)?,
            instance: origin.instance,
        })
    }

    fn traces(&self, filter: &Filter) -> rusqlite::Result<Vec<Trace>> {
        let mut wanted = Where::default();
        wanted.only("t.start_ns IS NOT NULL");
        if let Some(id) = filter.trace_id {
            wanted.and("t.trace_id = ?", SqlValue::Text(id.to_string()));
        }
        if let Some(status) = filter.status {
            wanted.and("t.status = ?", status.as_str().to_owned());
        }
        if filter.active {
            wanted.only("t.end_ns IS NULL");
        }
        wanted.times(filter, "t.start_ns", "t.start_ns");
        wanted.name(filter, "t.name");
        // Along the index, so that the newest few cost no more than themselves.
        let order = match (filter.order, filter.trace_id) {
            (Order::Newest, None) => " ORDER BY t.start_time DESC",
            (Order::Oldest, None) => " ORDER BY t.start_time",
            _ => "",
        };
        let mut best = Best::new(filter, filter.trace_limit());
        wanted.each(self.conn, TRACES, order, |row| {
            let start_ns = row.get(2)?;
            if best.is_past(start_ns) && !order.is_empty() {
                return Ok(Go::Stop);
            }
            let end: Option<i64> = row.get(3)?;
            let length = end.map(|end| u64::try_from(end.saturating_sub(start_ns)).unwrap_or(0));
            let tie = Tie::trace(parsed(row, 0)?);
            if let Some(rank) = best.rank(start_ns, length, tie) {
                let trace = self.trace(row)?;
                if filter.accepts_trace(&trace) {
                    best.insert(rank, trace);
                }
            }
            Ok(Go::On)
        })?;
        Ok(best.into_rows())
    }

    /// Calls `with` with the row, the record and the columns that decide most, for each span.
    pub(super) fn each_span(
        &self,
        wanted: &Where,
        mut with: impl FnMut(&Row<'_>, RecordId, (i64, Option<i64>)) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        wanted.each(self.conn, SPANS, "", |row| {
            let record = RecordId {
                instance: self.origin(row.get(2)?)?.instance,
                ring: row.get(3)?,
                sequence: row.get::<_, Option<i64>>(4)?.unwrap_or_default() as u64,
            };
            with(row, record, (row.get(0)?, row.get(1)?))?;
            Ok(Go::On)
        })
    }

    /// A row of [`SPANS`].
    pub(super) fn span(&self, row: &Row<'_>, record: RecordId) -> rusqlite::Result<Span> {
        Ok(Span {
            span_id: parsed(row, 6)?,
            trace_id: parsed(row, 7)?,
            parent_span_id: span_id_of(row, 8)?,
            remote_parent: row.get(9)?,
            name: row.get(10)?,
            kind: parsed(row, 11)?,
            start_ns: row.get(0)?,
            duration_ns: row.get::<_, Option<i64>>(1)?.map(|ns| ns.max(0) as u64),
            status: parsed(row, 12)?,
            attributes: json(row, 13)?,
            error: error(row, 15)?,
            dropped_attributes: row.get(16)?,
            thread: (row.get(3)?, row.get(5)?),
            record: row.get::<_, Option<i64>>(4)?.map(|_| record),
            instance: record.instance,
        })
    }

    fn spans(&self, filter: &Filter) -> rusqlite::Result<Vec<Span>> {
        let mut wanted = Where::owned(filter, "s");
        if let Some(kind) = filter.kind {
            wanted.and("s.kind = ?", kind.as_str().to_owned());
        }
        if let Some(status) = filter.status {
            wanted.and("s.status = ?", status.as_str().to_owned());
        }
        if filter.active {
            wanted.only("s.duration_ns IS NULL");
        }
        if let Some(min) = filter.min_duration {
            let ns = i64::try_from(min.as_nanos()).unwrap_or(i64::MAX);
            wanted.and("s.duration_ns >= ?", ns);
        }
        wanted.times(filter, "s.start_ns", "s.start_ns");
        wanted.name(filter, "s.name");
        let mut best = Best::new(filter, filter.row_limit());
        self.each_span(&wanted, |row, record, (start_ns, duration_ns)| {
            let length = duration_ns.map(|ns| ns.max(0) as u64);
            if let Some(rank) = best.rank(start_ns, length, Tie::record(record, 0)) {
                let span = self.span(row, record)?;
                let trace = self.trace_for(filter, row.get(17)?)?;
                if filter.accepts_span(&span, trace.as_deref()) {
                    best.insert(rank, span);
                }
            }
            Ok(())
        })?;
        Ok(best.into_rows())
    }
}

fn unreadable(at: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, what.into())
}

/// A text column that stands for something.
pub(super) fn parsed<T: FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    text.parse().map_err(|_| unreadable(at, text))
}

pub(super) fn span_id_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<SpanId>> {
    match row.get_ref(at)?.as_str_or_null()? {
        Some(text) => text.parse().map(Some).map_err(|_| unreadable(at, text)),
        None => Ok(None),
    }
}

pub(super) fn instance_of(row: &Row<'_>, at: usize) -> rusqlite::Result<InstanceId> {
    parsed(row, at)
}

/// Attributes in one column, what JSON does not say in the next.
pub(super) fn json(row: &Row<'_>, at: usize) -> rusqlite::Result<AttributeMap> {
    let text = |at| -> rusqlite::Result<Option<&str>> { Ok(row.get_ref(at)?.as_str_or_null()?) };
    let (Some(json), types) = (text(at)?, text(at + 1)?.unwrap_or_default()) else {
        return Ok(AttributeMap::new());
    };
    exact::read(json, types).ok_or_else(|| unreadable(at, "no attributes"))
}

fn error(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<SpanError>> {
    let Some(json) = row.get_ref(at)?.as_str_or_null()? else {
        return Ok(None);
    };
    let map = exact::read(json, "").ok_or_else(|| unreadable(at, "no error"))?;
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let chain = match map.get("chain") {
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    Ok(Some(SpanError {
        error_type: text("type").unwrap_or_default(),
        message: text("message").unwrap_or_default(),
        chain,
        stack_trace: text("stack_trace"),
    }))
}
