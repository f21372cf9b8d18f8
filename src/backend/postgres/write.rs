//! Taking a batch: copied into the tables, and the position behind it in the same transaction.
//!
//! Always true:
//! - a row that is there already is not changed, except that the end of a span completes its start
//! - every span, event and link has its trace, if need be one of which nothing else is known
//! - traces are created and locked in the order of their ids, so that writers never wait in a circle
//! - what is remembered between batches is forgotten when a transaction fails

use std::collections::hash_map::Entry;

use ahash::{AHashMap, AHashSet};
use tokio_postgres::types::ToSql;

use super::{
    adopt,
    encode::{other_id, Tables},
    error::PostgresError,
    link::{Link, Step},
    options::Options,
    route::{put, Route, Stages, Way},
    schema::Names,
    statements::Statements,
    traces,
    value::Uuid,
    Origins,
};
use crate::{
    backend::{BatchRange, Row},
    log::Position,
    model::{AttributeMap, Event, Span, Trace},
    query::derive,
    record::{
        id::{InstanceId, LogId, RecordId, SpanId, TraceId},
        value::Value,
    },
};

/// Traces, and spans with events, that are remembered.
const REMEMBERED: usize = 1 << 16;

/// What is remembered between batches.
#[derive(Debug, Default)]
struct Memory {
    /// Traces that have a row.
    traces: AHashSet<TraceId>,
    instances: AHashMap<InstanceId, i32>,
    /// At least as many events as each of these spans has.
    events: AHashMap<(TraceId, SpanId), u32>,
}

impl Memory {
    fn forget(&mut self) {
        self.traces.clear();
        self.instances.clear();
        self.events.clear();
    }
}

/// A connection that writes.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) link: Link,
    pub(super) names: Names,
    statements: Statements,
    stages: Stages,
    memory: Memory,
    tables: Tables,
    write_derived: bool,
    route: Route,
    /// Recorded rows that were there when they came.
    pub(super) duplicates: u64,
    pub(super) days: super::partitions::Days,
}

impl Db {
    pub(super) fn open(options: &Options) -> Result<Self, PostgresError> {
        let mut link = Link::open(options)?;
        let names = adopt::for_writing(&mut link, options)?;
        let statements = Statements::new(&names);
        Ok(Self {
            link,
            names,
            statements,
            stages: Stages::default(),
            memory: Memory::default(),
            tables: Tables::new(),
            write_derived: options.write_derived,
            route: Route::default(),
            duplicates: 0,
            days: Default::default(),
        })
    }

    /// Forgets what it remembers of the database.
    pub(super) fn forget(&mut self) {
        self.memory.forget();
    }

    pub(super) fn forget_instance(&mut self, instance: InstanceId) {
        self.memory.instances.remove(&instance);
    }

    /// How far a log is delivered, and the instance of its last batch.
    pub(super) fn stands(
        &mut self,
        log: LogId,
    ) -> Result<(Position, Option<InstanceId>), PostgresError> {
        let sql = &self.statements.position;
        let rows = self.link.query(sql, &[&Uuid::from(log)])?;
        Ok(rows.first().map_or((Position::START, None), |row| {
            let (epoch, offset) = (row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64);
            let instance: Option<Uuid> = row.get(2);
            (Position { epoch, offset }, instance.map(Uuid::instance))
        }))
    }

    /// Stores a batch, or nothing of it.
    pub(super) fn write(
        &mut self,
        range: BatchRange,
        rows: &[Row],
        origins: &Origins,
    ) -> Result<(), PostgresError> {
        let memory = &self.memory;
        if memory.traces.len() > REMEMBERED || memory.events.len() > REMEMBERED {
            self.memory.forget();
        }
        self.days.make(&mut self.link, &self.names, rows)?;
        let mut way = self.route.way();
        loop {
            match self.attempt(range, rows, origins, way) {
                Ok(Done::Stored(duplicates)) => {
                    self.duplicates += duplicates;
                    return Ok(());
                }
                // Each time fewer are not known.
                Ok(Done::Known(traces)) => self.memory.traces.extend(traces),
                Err(error) if way == Way::Direct && error.is_code(&["23505"]) => {
                    self.route.repeated();
                    way = Way::Staged;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn attempt(
        &mut self,
        range: BatchRange,
        rows: &[Row],
        origins: &Origins,
        way: Way,
    ) -> Result<Done, PostgresError> {
        self.tables.clear();
        let batch = Batch {
            link: &mut self.link,
            statements: &self.statements,
            stages: &mut self.stages,
            memory: &mut self.memory,
            tables: &mut self.tables,
            origins,
            way,
            write_derived: self.write_derived,
            touched: AHashMap::new(),
            parts: AHashMap::new(),
            known: AHashSet::new(),
            spans: AHashMap::new(),
            events: AHashMap::new(),
            created: AHashSet::new(),
            duplicates: 0,
            completed: Vec::new(),
            points: 0,
        };
        let done = batch.run(range, rows);
        if !matches!(done, Ok(Done::Stored(_))) {
            if done.is_err() {
                self.memory.forget();
            }
            if !self.link.is_broken() {
                self.link.batch("ROLLBACK")?;
            }
        }
        done
    }
}

/// How an attempt at a batch ended.
enum Done {
    /// It is stored; so many of its rows were there already.
    Stored(u64),
    /// These traces were there, though nobody knew; nothing is stored.
    Known(Vec<TraceId>),
}

/// One transaction.
struct Batch<'c, 'r> {
    link: &'c mut Link,
    statements: &'c Statements,
    stages: &'c mut Stages,
    memory: &'c mut Memory,
    tables: &'c mut Tables,
    origins: &'c Origins,
    way: Way,
    write_derived: bool,
    /// Traces that must have a row, with the first time that named them.
    touched: AHashMap<TraceId, i64>,
    /// Traces of which records came.
    parts: AHashMap<TraceId, Vec<&'r Trace>>,
    /// Records of traces that came.
    known: AHashSet<RecordId>,
    /// Each span once, with its end if that came.
    spans: AHashMap<(TraceId, SpanId), &'r Span>,
    /// Events that came of each span, and how many it keeps.
    events: AHashMap<(TraceId, SpanId), (u32, u32)>,
    /// Traces that were not there before.
    created: AHashSet<TraceId>,
    /// Rows that were there already, in the tables or earlier in the batch.
    duplicates: u64,
    /// Spans of which start and end came, which make one row.
    completed: Vec<(TraceId, SpanId)>,
    /// Events and measurements that came, without those that follow from other rows.
    points: u64,
}

impl<'r> Batch<'_, 'r> {
    fn run(mut self, range: BatchRange, rows: &'r [Row]) -> Result<Done, PostgresError> {
        // All keys of instances are known before the transaction begins.
        for row in rows {
            self.row(row)?;
        }
        self.encode_spans()?;
        let known = self.traces()?;
        if !known.is_empty() {
            return Ok(Done::Known(known));
        }
        self.spans()?;
        self.finish(range).map(Done::Stored)
    }

    fn row(&mut self, row: &'r Row) -> Result<(), PostgresError> {
        match row {
            Row::TraceBegan(began) => self.part(&began.trace, began.record),
            Row::TraceEnded(ended) => self.part(&ended.trace, ended.record),
            Row::Span(span) => {
                self.touch(span.trace_id, span.start_ns);
                match self.spans.entry((span.trace_id, span.span_id)) {
                    Entry::Vacant(entry) => drop(entry.insert(span)),
                    Entry::Occupied(mut entry) => {
                        // The end that completes a start is news.
                        let is_open = entry.get().duration_ns.is_none();
                        match is_open && span.duration_ns.is_some() {
                            true => self.completed.push((span.trace_id, span.span_id)),
                            false => self.duplicates += 1,
                        }
                        if is_open {
                            entry.insert(span);
                        }
                    }
                }
                self.derived_of(span)
            }
            Row::Event(event) => self.event(event),
            Row::Metric(metric) => {
                self.points += 1;
                let instance = self.instance(writer(metric.record), None)?;
                self.tables.metric(metric, instance)
            }
            Row::Link(link) => {
                self.touch(link.trace_id, link.timestamp_ns);
                let instance = self.instance(writer(link.record), None)?;
                self.tables.link(link, instance)
            }
        }
    }

    fn touch(&mut self, trace: TraceId, seen_ns: i64) {
        self.touched.entry(trace).or_insert(seen_ns);
    }

    fn part(&mut self, trace: &'r Trace, record: RecordId) -> Result<(), PostgresError> {
        self.touch(trace.trace_id, trace.start_ns);
        if !self.known.insert(record) {
            self.duplicates += 1;
            return Ok(());
        }
        let instance = self.instance(record.instance, Some(&trace.resource))?;
        self.tables.part(trace, record, instance);
        self.parts.entry(trace.trace_id).or_default().push(trace);
        let origin = self.origins.get(&record.instance);
        if let Some(origin) = origin.filter(|o| self.write_derived && o.derive_events) {
            let implied = match trace.end_ns {
                None => derive::trace_started(),
                Some(_) => derive::trace_ended(trace.status),
            };
            let event = derive::trace_event(trace, record, implied, origin);
            self.tables.event(&event, instance)?;
        }
        Ok(())
    }

    /// Writes out what follows from a span, if that is wanted.
    fn derived_of(&mut self, span: &Span) -> Result<(), PostgresError> {
        let origin = self.origins.get(&span.instance);
        let Some(origin) = origin.filter(|_| self.write_derived) else {
            return Ok(());
        };
        let instance = self.instance(span.instance, None)?;
        for event in derive::events_of_span(span, origin) {
            self.tables.event(&event, instance)?;
        }
        for metric in derive::metrics_of_span(span, origin) {
            self.tables.metric(&metric, instance)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), PostgresError> {
        self.points += 1;
        if let Some(trace) = event.trace_id {
            self.touch(trace, event.timestamp_ns);
        }
        let keeps = self.origins.get(&writer(event.record));
        let keeps = keeps.map_or(0, |origin| origin.max_events_per_span);
        let instance = self.instance(writer(event.record), None)?;
        self.tables.event(event, instance)?;
        let bounded = keeps > 0 && keeps < u32::MAX;
        if let (Some(trace), Some(span), true) = (event.trace_id, event.span_id, bounded) {
            self.events.entry((trace, span)).or_insert((0, keeps)).0 += 1;
        }
        Ok(())
    }

    fn encode_spans(&mut self) -> Result<(), PostgresError> {
        let mut ids = AHashSet::with_capacity(self.spans.len());
        let spans: Vec<_> = self.spans.values().copied().collect();
        for span in spans {
            let instance = self.instance(span.instance, None)?;
            let wide = span.span_id.wide(span.trace_id);
            let id = match ids.insert(wide) {
                true => wide,
                false => other_id(span.span_id, span.trace_id),
            };
            self.tables.span(id, span, instance);
        }
        Ok(())
    }

    /// The key of an instance. What is known of it is stored at once: it is true whatever becomes of
    /// the batch.
    fn instance(
        &mut self,
        id: InstanceId,
        resource: Option<&AttributeMap>,
    ) -> Result<i32, PostgresError> {
        if let Some(key) = self.memory.instances.get(&id) {
            return Ok(*key);
        }
        let origin = self.origins.get(&id);
        let resource = origin.map(|o| &*o.resource).or(resource);
        let resource = column(resource.map(AttributeMap::as_slice));
        let custom = column(origin.map(|o| o.custom.as_slice()));
        let keeps = origin.map(|o| i64::from(o.max_events_per_span));
        let rows = self.link.query(
            &self.statements.instance,
            &[
                &Uuid::from(id),
                &resource.0,
                &resource.1,
                &custom.0,
                &custom.1,
                &origin.is_some_and(|o| o.derive_events),
                &origin.is_some_and(|o| o.derive_metrics),
                &keeps,
            ],
        )?;
        let key = rows.first().map_or(0, |row| row.get(0));
        self.memory.instances.insert(id, key);
        Ok(key)
    }

    /// Begins the transaction and gives every trace its row: whole if all of its records are here,
    /// else put together out of what is stored. Traces that were there, though nobody knew, must be
    /// locked with the others in one order: they come back, and the batch begins again.
    fn traces(&mut self) -> Result<Vec<TraceId>, PostgresError> {
        let touched = std::mem::take(&mut self.touched);
        let parts = std::mem::take(&mut self.parts);
        let mut new = Vec::new();
        let mut old: Vec<Uuid> = Vec::new();
        for (id, seen_ns) in touched {
            let of_trace = parts.get(&id);
            if self.memory.traces.contains(&id) {
                old.extend(of_trace.map(|_| Uuid::from(id)));
                continue;
            }
            let merged = of_trace.and_then(|parts| {
                let parts = parts.iter().map(|part| (*part).clone());
                traces::merge(parts.collect(), self.origins)
            });
            match merged {
                Some(trace) => {
                    let instance = self.instance(trace.instance, Some(&trace.resource))?;
                    self.tables.trace(&trace, instance);
                }
                None => self.tables.stub(id, seen_ns),
            }
            new.push(id);
        }
        let (sql, tables) = (self.statements, &mut *self.tables);
        if self.way == Way::Staged {
            self.stages.make(self.link, sql, tables)?;
        }
        let mut steps = vec![Step::Run("BEGIN", &[])];
        // Copies first: what comes after them is sent together.
        let parts_put = put(&mut steps, self.way, &sql.parts, &mut tables.parts);
        let rows = tables.traces.params();
        steps.extend((!new.is_empty()).then_some(Step::Run(&sql.traces, &rows)));
        let params: [&(dyn ToSql + Sync); 1] = [&old];
        if !old.is_empty() {
            steps.push(Step::Run(&sql.lock, &params));
            steps.push(Step::Run(&sql.parts_of, &params));
        }
        let mut answers = self.link.script(steps)?;
        if let Some(put) = parts_put {
            self.duplicates += put.rows.saturating_sub(answers[put.answer].touched);
        }
        let stored = (!old.is_empty()).then(|| answers.pop()).flatten();
        let locked = (!old.is_empty()).then(|| answers.pop()).flatten();
        let created = (!new.is_empty()).then(|| answers.pop()).flatten();
        let created = created.map(|answer| answer.rows).into_iter().flatten();
        self.created = created.map(|row| row.get::<_, Uuid>(0).trace()).collect();
        let unknown = |id: &&TraceId| !self.created.contains(id) && parts.contains_key(id);
        let known: Vec<TraceId> = new.iter().filter(unknown).copied().collect();
        if known.is_empty() {
            self.memory.traces.extend(new);
            if let (Some(locked), Some(stored)) = (locked, stored) {
                self.put_together(old.len(), &locked.rows, &stored.rows)?;
            }
        }
        Ok(known)
    }

    /// Puts traces together out of all of their records, also those that others stored.
    fn put_together(
        &mut self,
        wanted: usize,
        locked: &[tokio_postgres::Row],
        stored: &[tokio_postgres::Row],
    ) -> Result<(), PostgresError> {
        if locked.len() < wanted {
            return Err(PostgresError::Changed {
                place: self.link.place().to_owned(),
            });
        }
        let seen: AHashMap<TraceId, Option<i64>> = locked
            .iter()
            .map(|row| (row.get::<_, Uuid>(0).trace(), row.get(1)))
            .collect();
        let mut parts: AHashMap<TraceId, Vec<Trace>> = AHashMap::new();
        for row in stored {
            let part = traces::part(row)?;
            parts.entry(part.trace_id).or_default().push(part);
        }
        for (id, parts) in parts {
            if let Some(trace) = traces::merge(parts, self.origins) {
                let instance = self.instance(trace.instance, Some(&trace.resource))?;
                let seen_ns = seen.get(&id).copied().flatten().unwrap_or(trace.start_ns);
                self.tables.merged(&trace, instance, seen_ns);
            }
        }
        Ok(())
    }

    /// Stores spans that go over their temporary table. Those of which the id is taken by a span of
    /// another trace get another one.
    fn spans(&mut self) -> Result<(), PostgresError> {
        let (sql, came) = (self.statements, self.tables.spans.count());
        if self.way == Way::Direct || came == 0 {
            return Ok(());
        }
        let rows = self.tables.spans.take();
        self.link.script(vec![Step::Copy(&sql.spans.copy, rows)])?;
        // Fewer also where spans came again.
        let id = |row: tokio_postgres::Row| row.get::<_, Uuid>(0).0;
        let new = self.link.query(&sql.spans.insert, &[])?;
        let mut new: AHashSet<u128> = new.into_iter().map(id).collect();
        if new.len() as u64 == came {
            return Ok(());
        }
        let taken = self.link.query(&sql.taken, &[])?;
        for row in &taken {
            let (trace, id): (Uuid, Uuid) = (row.get(0), row.get(1));
            let span = id
                .span()
                .and_then(|id| self.spans.get(&(trace.trace(), id)).copied());
            if let Some(span) = span {
                let instance = self.instance(span.instance, None)?;
                let id = other_id(span.span_id, span.trace_id);
                self.tables.span(id, span, instance);
            }
        }
        if !taken.is_empty() {
            let rows = self.tables.spans.take();
            let answers = self.link.script(vec![
                Step::Run(&sql.clear_spans, &[]),
                Step::Copy(&sql.spans.copy, rows),
                Step::Run(&sql.spans.insert, &[]),
            ])?;
            let last = answers.into_iter().last().unwrap_or_default();
            new.extend(last.rows.into_iter().map(id));
        }
        self.duplicates += came.saturating_sub(new.len() as u64);
        let is_new = |(trace, span): &&(TraceId, SpanId)| {
            new.contains(&span.wide(*trace)) || new.contains(&other_id(*span, *trace))
        };
        let starts = self.completed.iter().filter(|span| !is_new(span));
        self.duplicates += starts.count() as u64;
        Ok(())
    }

    /// Everything that does not depend on an answer, and the end of the transaction. How many rows
    /// of the batch were there already.
    fn finish(self, range: BatchRange) -> Result<u64, PostgresError> {
        let (sql, tables) = (self.statements, self.tables);
        let mut steps = Vec::new();
        put(&mut steps, self.way, &sql.spans, &mut tables.spans);
        let points = [
            put(&mut steps, self.way, &sql.events, &mut tables.events),
            put(&mut steps, self.way, &sql.metrics, &mut tables.metrics),
        ];
        let links = put(&mut steps, self.way, &sql.links, &mut tables.links);
        let (rows, any) = (tables.merged.params(), !tables.merged.is_empty());
        steps.extend(any.then_some(Step::Run(&sql.merged, &rows)));
        let mut by_keeps: AHashMap<u32, (Vec<Uuid>, Vec<Uuid>)> = AHashMap::new();
        for ((trace, span), (came, keeps)) in self.events {
            let known = self.memory.events.get(&(trace, span)).copied();
            // Of a span of a trace that was there before nobody knows yet how many there are.
            let new = self.created.contains(&trace).then_some(0);
            let count = known
                .or(new)
                .map_or(u32::MAX, |count| count.saturating_add(came));
            if count > keeps {
                let (traces, spans) = by_keeps.entry(keeps).or_default();
                traces.push(trace.into());
                spans.push(Uuid(span.wide(trace)));
            }
            self.memory.events.insert((trace, span), count.min(keeps));
        }
        let trims: Vec<_> = by_keeps
            .into_iter()
            .map(|(keeps, (traces, spans))| (i64::from(keeps), traces, spans))
            .collect();
        let trims: Vec<[&(dyn ToSql + Sync); 3]> = trims
            .iter()
            .map(|(keeps, traces, spans)| [traces as &(dyn ToSql + Sync), spans, keeps])
            .collect();
        steps.extend(trims.iter().map(|trim| Step::Run(&sql.trim, trim)));
        let cursor: [&(dyn ToSql + Sync); 4] = [
            &Uuid::from(range.log),
            &(range.to.epoch as i64),
            &(range.to.offset as i64),
            &Uuid::from(range.instance),
        ];
        steps.push(Step::Run(&sql.cursor, &cursor));
        steps.push(Step::Run("COMMIT", &[]));
        let answers = self.link.script(steps)?;
        let mut duplicates = self.duplicates;
        if self.way == Way::Staged {
            let new = points.iter().flatten().map(|put| {
                let rows = answers[put.answer].rows.iter();
                rows.filter(|row| !row.get::<_, bool>(0)).count() as u64
            });
            duplicates += self.points.saturating_sub(new.sum());
        }
        if let Some(put) = links {
            duplicates += put.rows.saturating_sub(answers[put.answer].touched);
        }
        Ok(duplicates)
    }
}

/// Who wrote a record.
fn writer(record: Option<RecordId>) -> InstanceId {
    record.map_or(InstanceId([0; 16]), |record| record.instance)
}

/// Attributes as the text of a document, with what it does not say.
fn column(attributes: Option<&[(String, Value)]>) -> (Option<String>, Option<Vec<u8>>) {
    let mut texts = super::exact::Texts::default();
    let Some(attributes) = attributes else {
        return (None, None);
    };
    texts.attributes(attributes);
    (
        Some(texts.json().to_owned()),
        texts.exact().map(<[u8]>::to_vec),
    )
}
