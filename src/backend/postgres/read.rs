//! Answering queries: SQL narrows down by what is indexed or cheap, the filter itself decides.
//!
//! Always true:
//! - nothing but bound parameters comes from a filter
//! - a row is judged by the same code as a row from the log, `query/matching.rs`
//! - all statements of one query see the same moment

use std::{sync::Arc, time::Duration};

use ahash::AHashMap;
use tokio_postgres::{
    types::{ToSql, Type},
    Row,
};

use super::{
    adopt,
    error::PostgresError,
    exact::{readable_text, Exact, NAME},
    link::{Link, Params, PIECE},
    options::Options,
    points,
    pool::{self, Pool},
    schema::{Names, INSTANCES, SPANS, TRACES},
    statements,
    value::{Time, Uuid},
};
use crate::{
    backend::{
        best::{Best, Tie},
        Scan, ScanError,
    },
    model::{AttributeMap, Event, Link as LinkRow, Metric, Origin, Span, Trace},
    query::filter::{Filter, Order},
    record::{
        id::{InstanceId, RecordId, SpanId, TraceId},
        kinds::{SpanKind, Status},
    },
};

/// Reads a PostgreSQL database, whoever writes to it; also a standby.
#[derive(Debug)]
pub struct PostgresReader {
    place: String,
    pool: Pool,
    names: Names,
}

impl PostgresReader {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or the tables are not there.
    pub fn open(options: Options) -> Result<Self, PostgresError> {
        // Once without the pool, so that the error is the server's own.
        let mut link = Link::open(&options)?;
        let names = adopt::for_reading(&mut link, &options)?;
        Ok(Self {
            place: options.place(),
            pool: pool::open(options)?,
            names,
        })
    }

    fn ask<R>(
        &self,
        with: impl FnOnce(&mut View<'_>) -> Result<R, PostgresError>,
    ) -> Result<R, ScanError> {
        let ask = || {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let mut link = pool::get(&self.pool, &self.place)?;
            // One that ended since it was used last is noticed here, and so is the next: a server
            // that restarted ended all of them.
            let mut tries = 0;
            while let Err(error) = link.batch(begin) {
                if !link.is_broken() || tries == self.pool.max_size() {
                    return Err(error);
                }
                drop(link);
                link = pool::get(&self.pool, &self.place)?;
                tries += 1;
            }
            let answer = with(&mut View::new(&mut link, &self.names));
            let ended = match link.is_broken() {
                true => Ok(()),
                false => link.batch("ROLLBACK"),
            };
            let answer = answer?;
            ended.map(|()| answer)
        };
        ask().map_err(|source: PostgresError| ScanError::Store {
            what: self.place.clone(),
            source: source.into(),
        })
    }
}

impl Scan for PostgresReader {
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

    fn links(&self, filter: &Filter) -> Result<Vec<LinkRow>, ScanError> {
        self.ask(|view| points::links(view, filter))
    }
}

/// A parameter of a condition.
pub(super) trait Param: ToSql + Sync + 'static {
    const TYPE: Type;
}

macro_rules! params {
    ($($of:ty: $name:ident)*) => {$(
        impl Param for $of {
            const TYPE: Type = Type::$name;
        }
    )*};
}

params! {
    Uuid: UUID
    Time: TIMESTAMPTZ
    String: TEXT
    Vec<String>: TEXT_ARRAY
    i64: INT8
    f64: FLOAT8
}

/// Conditions with their parameters.
#[derive(Default)]
pub(super) struct Where {
    sql: String,
    values: Vec<(Box<dyn ToSql + Sync>, Type)>,
}

impl Where {
    /// Adds a condition, in which `?` stands for the value.
    pub(super) fn and<T: Param>(&mut self, condition: &str, value: T) {
        self.values.push((Box::new(value), T::TYPE));
        let number = format!("${}", self.values.len());
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
            this.and(&format!("{row}.trace_id = ?"), Uuid::from(id));
        }
        if let Some(span) = filter.span_id {
            // The lower half of the long form, as the server writes it; the upper half is another
            // one where two traces share theirs.
            let text = span.to_string();
            let text = format!("{}-{}", &text[..4], &text[4..]);
            this.and(&format!("right({row}.span_id::text, 17) = ?"), text);
        }
        this
    }

    /// Times are to the microsecond; the filter decides about the rest.
    pub(super) fn times(&mut self, filter: &Filter, from: &str, to: &str) {
        if let Some(since) = filter.since_ns {
            self.and(&format!("{to} >= ?"), Time(since));
        }
        if let Some(until) = filter.until_ns {
            self.and(&format!("{from} <= ?"), Time(until));
        }
    }

    pub(super) fn name(&mut self, filter: &Filter, column: &str) {
        if let Some(name) = filter.name.as_ref().and_then(|name| name.exact()) {
            self.and(&format!("{column} = ?"), readable_text(name));
        }
    }
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Go {
    On,
    Stop,
}

/// The database during one query.
pub(super) struct View<'l> {
    link: &'l mut Link,
    pub(super) names: &'l Names,
    origins: AHashMap<i32, Arc<Origin>>,
    traces: AHashMap<TraceId, Option<Arc<Trace>>>,
}

/// Exact nanoseconds; rows that others wrote have only the documented time.
pub(super) fn exact_ns(ns: &str, time: &str) -> String {
    format!("coalesce({ns}, (extract(epoch FROM {time}) * 1000000000)::bigint)")
}

pub(super) fn select_traces(names: &Names) -> String {
    format!(
        "SELECT t.trace_id, t.name, {start}, {end}, t.status, t.attributes::text, t.exact, \
         t.remote_parent_span_id, t.sampling_rate, t.dropped_attributes, t.instance FROM {table} t",
        start = exact_ns("t.start_ns", "t.start_time"),
        end = exact_ns("t.end_ns", "t.end_time"),
        table = names.table(&TRACES),
    )
}

pub(super) fn select_spans(names: &Names) -> String {
    format!(
        "SELECT {start}, coalesce(s.duration_ns, (s.duration * 1000000000)::bigint), s.instance, \
         s.ring, s.sequence, s.lease, s.span_id, s.trace_id, s.parent_span_id, s.remote_parent, \
         s.name, s.kind, s.status, s.attributes::text, s.exact, s.error::text, \
         s.dropped_attributes FROM {table} s",
        start = exact_ns("s.start_ns", "s.start_time"),
        table = names.table(&SPANS),
    )
}

impl<'l> View<'l> {
    pub(super) fn new(link: &'l mut Link, names: &'l Names) -> Self {
        Self {
            link,
            names,
            origins: AHashMap::new(),
            traces: AHashMap::new(),
        }
    }

    /// Calls `with` with each row, until it says that it has seen enough.
    pub(super) fn each(
        &mut self,
        select: &str,
        wanted: &Where,
        order: &str,
        mut with: impl FnMut(&mut Self, &Row) -> Result<Go, PostgresError>,
    ) -> Result<(), PostgresError> {
        let sql = format!("{select}{}{order}", wanted.sql);
        let values = wanted
            .values
            .iter()
            .map(|(value, of)| (&**value as _, of.clone()));
        let values: Vec<_> = values.collect();
        let cursor = self.link.declare(&sql, &values)?;
        loop {
            let rows = self.link.fetch(&cursor)?;
            for row in &rows {
                if let Go::Stop = with(self, row)? {
                    return Ok(());
                }
            }
            if rows.len() < PIECE {
                return Ok(());
            }
        }
    }

    /// All rows of a query.
    pub(super) fn query(
        &mut self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, PostgresError> {
        self.link.query(sql, params)
    }

    /// What is known of an instance; nothing of rows that others wrote.
    pub(super) fn origin(&mut self, key: Option<i32>) -> Result<Arc<Origin>, PostgresError> {
        let key = key.unwrap_or(0);
        if let Some(origin) = self.origins.get(&key) {
            return Ok(origin.clone());
        }
        let sql = format!(
            "SELECT instance, resource::text, resource_exact, custom::text, custom_exact, \
             derive_events, derive_metrics, coalesce(max_events_per_span, 0) FROM {} WHERE id = $1",
            self.names.table(&INSTANCES)
        );
        let rows = self.link.query(&sql, &[&key])?;
        let origin = match rows.first() {
            Some(row) => Origin {
                instance: row.get::<_, Uuid>(0).instance(),
                resource: Arc::new(attributes(exact(row, 2), row.get(1))?),
                custom: attributes(exact(row, 4), row.get(3))?.as_slice().to_vec(),
                derive_events: row.get(5),
                derive_metrics: row.get(6),
                max_events_per_span: row.get::<_, i64>(7) as u32,
            },
            None => Origin {
                instance: InstanceId([0; 16]),
                resource: Arc::new(AttributeMap::new()),
                custom: Vec::new(),
                derive_events: false,
                derive_metrics: false,
                max_events_per_span: 0,
            },
        };
        let origin = Arc::new(origin);
        self.origins.insert(key, origin.clone());
        Ok(origin)
    }

    /// The trace of a row, where the filter needs it.
    pub(super) fn trace_for(
        &mut self,
        filter: &Filter,
        id: Option<TraceId>,
    ) -> Result<Option<Arc<Trace>>, PostgresError> {
        let (true, Some(id)) = (filter.wants_graph(), id) else {
            return Ok(None);
        };
        if let Some(trace) = self.traces.get(&id) {
            return Ok(trace.clone());
        }
        let sql = format!(
            "{} WHERE t.trace_id = $1 AND t.start_time IS NOT NULL",
            select_traces(self.names)
        );
        let rows = self.link.query(&sql, &[&Uuid::from(id)])?;
        let trace = rows.first().map(|row| self.trace(row)).transpose()?;
        let trace = trace.map(Arc::new);
        self.traces.insert(id, trace.clone());
        Ok(trace)
    }

    /// A row of [`select_traces`].
    pub(super) fn trace(&mut self, row: &Row) -> Result<Trace, PostgresError> {
        let origin = self.origin(row.get(10))?;
        let exact = exact(row, 6);
        Ok(Trace {
            trace_id: row.get::<_, Uuid>(0).trace(),
            name: exact.text(NAME, text(row, 1)),
            start_ns: row.get(2),
            end_ns: row.get(3),
            status: text(row, 4).parse().unwrap_or_default(),
            attributes: attributes(exact, row.get(5))?,
            resource: origin.resource.clone(),
            remote_parent: span_id(row, 7),
            sampling_rate: row.get::<_, Option<f64>>(8).unwrap_or(1.0),
            dropped_attributes: dropped(row, 9),
            instance: origin.instance,
        })
    }

    fn traces(&mut self, filter: &Filter) -> Result<Vec<Trace>, PostgresError> {
        let mut wanted = Where::default();
        wanted.only("t.start_time IS NOT NULL");
        if let Some(id) = filter.trace_id {
            wanted.and("t.trace_id = ?", Uuid::from(id));
        }
        if let Some(status) = filter.status {
            wanted.and("t.status = ANY(?)", spellings(status));
        }
        if filter.active {
            wanted.only("t.end_time IS NULL");
        }
        wanted.times(filter, "t.start_time", "t.start_time");
        wanted.name(filter, "t.name");
        // Along the index, so that the newest few cost no more than themselves.
        let order = match (filter.order, filter.trace_id) {
            (Order::Newest, None) => " ORDER BY t.start_time DESC",
            (Order::Oldest, None) => " ORDER BY t.start_time",
            _ => "",
        };
        let select = select_traces(self.names);
        let mut best = Best::new(filter, filter.trace_limit());
        self.each(&select, &wanted, order, |view, row| {
            let start_ns = row.get(2);
            if best.is_past(start_ns) && !order.is_empty() {
                return Ok(Go::Stop);
            }
            let end: Option<i64> = row.get(3);
            let length = end.map(|end| u64::try_from(end.saturating_sub(start_ns)).unwrap_or(0));
            let tie = Tie::trace(row.get::<_, Uuid>(0).trace());
            if let Some(rank) = best.rank(start_ns, length, tie) {
                let trace = view.trace(row)?;
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
        &mut self,
        wanted: &Where,
        mut with: impl FnMut(&mut Self, &Row, RecordId, (i64, Option<i64>)) -> Result<(), PostgresError>,
    ) -> Result<(), PostgresError> {
        let select = select_spans(self.names);
        self.each(&select, wanted, "", |view, row| {
            let record = RecordId {
                instance: view.origin(row.get(2))?.instance,
                ring: row.get::<_, Option<i32>>(3).unwrap_or_default() as u32,
                sequence: row.get::<_, Option<i64>>(4).unwrap_or_default() as u64,
            };
            let times = (row.get::<_, Option<i64>>(0).unwrap_or_default(), row.get(1));
            with(view, row, record, times)?;
            Ok(Go::On)
        })
    }

    /// A row of [`select_spans`].
    pub(super) fn span(&mut self, row: &Row, record: RecordId) -> Result<Span, PostgresError> {
        let exact = exact(row, 14);
        let id = row.get::<_, Uuid>(6);
        let ring = row.get::<_, Option<i32>>(3).unwrap_or_default();
        let lease = row.get::<_, Option<i32>>(5).unwrap_or_default();
        Ok(Span {
            // The lower half of an id that somebody else gave may be empty.
            span_id: id.span().unwrap_or(SpanId::new(1).expect("not 0")),
            trace_id: row.get::<_, Option<Uuid>>(7).unwrap_or(Uuid(0)).trace(),
            parent_span_id: span_id(row, 8),
            remote_parent: row.get::<_, Option<bool>>(9).unwrap_or_default(),
            name: exact.text(NAME, text(row, 10)),
            kind: text(row, 11).parse().unwrap_or(SpanKind::Internal),
            start_ns: row.get::<_, Option<i64>>(0).unwrap_or_default(),
            duration_ns: row.get::<_, Option<i64>>(1).map(|ns| ns.max(0) as u64),
            status: text(row, 12).parse().unwrap_or_default(),
            attributes: attributes(exact, row.get(13))?,
            error: row
                .get::<_, Option<&str>>(15)
                .and_then(|json| exact.error(json)),
            dropped_attributes: dropped(row, 16),
            thread: (ring as u32, lease as u32),
            record: row.get::<_, Option<i64>>(4).map(|_| record),
            instance: record.instance,
        })
    }

    fn spans(&mut self, filter: &Filter) -> Result<Vec<Span>, PostgresError> {
        let mut wanted = Where::owned(filter, "s");
        if let Some(kind) = filter.kind {
            wanted.and("lower(s.kind) = ?", kind.as_str().to_owned());
        }
        if let Some(status) = filter.status {
            wanted.and("s.status = ANY(?)", spellings(status));
        }
        if filter.active {
            wanted.only("s.duration IS NULL");
        }
        if let Some(min) = filter.min_duration {
            // A float of seconds is exact to less than a microsecond for a hundred years.
            let least = min.saturating_sub(Duration::from_micros(1)).as_secs_f64();
            wanted.and("s.duration >= ?", least);
        }
        wanted.times(filter, "s.start_time", "s.start_time");
        wanted.name(filter, "s.name");
        let mut best = Best::new(filter, filter.row_limit());
        self.each_span(&wanted, |view, row, record, (start_ns, duration_ns)| {
            let length = duration_ns.map(|ns| ns.max(0) as u64);
            if let Some(rank) = best.rank(start_ns, length, Tie::record(record, 0)) {
                let span = view.span(row, record)?;
                let trace = view.trace_for(filter, Some(span.trace_id))?;
                if filter.accepts_span(&span, trace.as_deref()) {
                    best.insert(rank, span);
                }
            }
            Ok(())
        })?;
        Ok(best.into_rows())
    }

    /// The records of traces.
    pub(super) fn select_parts(&self) -> String {
        statements::parts_of(self.names)
    }
}

/// How rows may spell a status: as we do, or as the documents do.
fn spellings(status: Status) -> Vec<String> {
    let more: &[&str] = match status {
        Status::Ok => &["completed"],
        Status::Error => &["failed"],
        _ => &[],
    };
    let all = [status.as_str()].into_iter().chain(more.iter().copied());
    all.map(str::to_owned).collect()
}

/// A text column; none is empty.
pub(super) fn text(row: &Row, at: usize) -> &str {
    row.get::<_, Option<&str>>(at).unwrap_or_default()
}

pub(super) fn exact(row: &Row, at: usize) -> Exact<'_> {
    Exact(row.get::<_, Option<&[u8]>>(at).unwrap_or_default())
}

pub(super) fn span_id(row: &Row, at: usize) -> Option<SpanId> {
    row.get::<_, Option<Uuid>>(at).and_then(Uuid::span)
}

pub(super) fn dropped(row: &Row, at: usize) -> u32 {
    row.get::<_, Option<i64>>(at).unwrap_or_default() as u32
}

/// Attributes of a row; a document that is no object has none.
pub(super) fn attributes(
    exact: Exact<'_>,
    json: Option<&str>,
) -> Result<AttributeMap, PostgresError> {
    match json {
        Some(json) if json.starts_with('{') => exact
            .attributes(json)
            .ok_or_else(|| PostgresError::Content("attributes that cannot be read".to_owned())),
        _ => Ok(AttributeMap::new()),
    }
}
