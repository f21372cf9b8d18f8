//! What is kept: rows in the order in which they came, and where each is found.
//!
//! Always true:
//! - a number names one row for ever; numbers of rows that are there form one range
//! - `known` and `traces` name rows that are there and no others
//! - `bytes` is the sum of the weights of the rows that are there

use std::{
    collections::{hash_map::Entry, VecDeque},
    sync::Arc,
};

use ahash::AHashMap;

use super::{MemoryStats, Options};
use crate::{
    backend::Row,
    model::{AttributeMap, Origin, Trace},
    query::rows::merge_trace,
    record::{
        id::{InstanceId, RecordId, SpanId, TraceId},
        value::Value,
    },
};

/// What a row costs besides itself: its place, and its entries in the two maps.
const PER_ROW: usize = 200;
/// Smallest allowance.
const MIN_BYTES: usize = 64 << 10;

/// What makes a row the same row when it comes again. The start and the end of a span are one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    Record(RecordId),
    Span(TraceId, SpanId),
}

/// `None` if the row does not say.
pub(super) fn identity(row: &Row) -> Option<Identity> {
    let record = match row {
        Row::Span(span) => return Some(Identity::Span(span.trace_id, span.span_id)),
        Row::TraceBegan(began) => Some(began.record),
        Row::TraceEnded(ended) => Some(ended.record),
        Row::Event(event) => event.record,
        Row::Metric(metric) => metric.record,
        Row::Link(link) => link.record,
    };
    record.map(Identity::Record)
}

fn trace_of(row: &Row) -> Option<TraceId> {
    match row {
        Row::TraceBegan(began) => Some(began.trace.trace_id),
        Row::TraceEnded(ended) => Some(ended.trace.trace_id),
        Row::Span(span) => Some(span.trace_id),
        Row::Event(event) => event.trace_id,
        Row::Metric(metric) => metric.trace_id,
        Row::Link(link) => Some(link.trace_id),
    }
}

fn time_of(row: &Row) -> i64 {
    match row {
        Row::TraceBegan(began) => began.trace.start_ns,
        Row::TraceEnded(ended) => ended.trace.start_ns,
        Row::Span(span) => span.start_ns,
        Row::Event(event) => event.timestamp_ns,
        Row::Metric(metric) => metric.timestamp_ns,
        Row::Link(link) => link.timestamp_ns,
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(items) => items
            .iter()
            .map(|item| size_of::<Value>() + value_bytes(item))
            .sum(),
        Value::Map(items) => entries_bytes(items),
        _ => 0,
    }
}

fn entries_bytes(entries: &[(String, Value)]) -> usize {
    let each = |(key, value): &(String, Value)| {
        size_of::<(String, Value)>() + key.len() + value_bytes(value)
    };
    entries.iter().map(each).sum()
}

/// Bytes that a row takes, give or take what the allocator rounds.
fn weight(row: &Row) -> usize {
    let attributes = |map: &AttributeMap| entries_bytes(map.as_slice());
    let inner = match row {
        Row::TraceBegan(began) => began.trace.name.len() + attributes(&began.trace.attributes),
        Row::TraceEnded(ended) => ended.trace.name.len() + attributes(&ended.trace.attributes),
        Row::Span(span) => {
            let error = span.error.as_ref().map_or(0, |error| {
                let chain = error.chain.iter().map(|text| text.len() + 24);
                let stack = error.stack_trace.as_ref().map_or(0, String::len);
                error.error_type.len() + error.message.len() + stack + chain.sum::<usize>()
            });
            span.name.len() + error + attributes(&span.attributes)
        }
        Row::Event(event) => {
            event.name.len() + event.event_type.as_str().len() + attributes(&event.attributes)
        }
        Row::Metric(metric) => {
            metric.name.len() + metric.unit.len() + attributes(&metric.attributes)
        }
        Row::Link(link) => attributes(&link.attributes),
    };
    size_of::<Row>() + PER_ROW + inner
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    options: Options,
    rows: VecDeque<Box<Row>>,
    /// Number of the first of them.
    first: u64,
    known: AHashMap<Identity, u64>,
    /// Numbers of the rows of each trace, rising.
    traces: AHashMap<TraceId, VecDeque<u64>>,
    origins: AHashMap<InstanceId, Arc<Origin>>,
    bytes: usize,
    evicted: u64,
}

impl Rows {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options: Options {
                max_rows: options.max_rows.max(1),
                max_bytes: options.max_bytes.max(MIN_BYTES),
            },
            ..Self::default()
        }
    }

    pub(super) fn stats(&self) -> MemoryStats {
        MemoryStats {
            rows: self.rows.len(),
            bytes: self.bytes,
            evicted: self.evicted,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            first: self.first + self.rows.len() as u64,
            origins: std::mem::take(&mut self.origins),
            evicted: self.evicted,
            ..Self::new(self.options)
        };
    }

    pub(super) fn meet(&mut self, origin: &Arc<Origin>) {
        self.origins.insert(origin.instance, origin.clone());
    }

    pub(super) fn origin(&self, instance: InstanceId) -> Option<&Origin> {
        self.origins.get(&instance).map(|origin| &**origin)
    }

    /// Adds what is not there yet, and for each row lets go of the oldest that have no room any
    /// more: a large batch takes no more than a small one.
    pub(super) fn extend(&mut self, rows: &[Row]) {
        for row in rows {
            self.add(row);
            while self.rows.len() > self.options.max_rows || self.bytes > self.options.max_bytes {
                self.drop_oldest();
                self.evicted += 1;
            }
        }
    }

    fn add(&mut self, row: &Row) {
        let Some(identity) = identity(row) else {
            return;
        };
        let number = self.first + self.rows.len() as u64;
        match self.known.entry(identity) {
            Entry::Vacant(free) => {
                free.insert(number);
            }
            Entry::Occupied(there) => {
                let at = (*there.get() - self.first) as usize;
                // The end of a span takes the place of its start; all else came before.
                if let (Row::Span(old), Row::Span(new)) = (&*self.rows[at], row) {
                    if old.duration_ns.is_none() && new.duration_ns.is_some() {
                        self.bytes += weight(row);
                        self.bytes -= weight(&self.rows[at]);
                        *self.rows[at] = row.clone();
                    }
                }
                return;
            }
        }
        if let Some(trace) = trace_of(row) {
            self.traces.entry(trace).or_default().push_back(number);
        }
        self.bytes += weight(row);
        self.rows.push_back(Box::new(row.clone()));
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.pop_front() else {
            return;
        };
        self.first += 1;
        self.bytes -= weight(&row);
        if let Some(identity) = identity(&row) {
            self.known.remove(&identity);
        }
        if let Some(trace) = trace_of(&row) {
            if let Entry::Occupied(mut numbers) = self.traces.entry(trace) {
                // Rows go in order, so the oldest of all is the oldest of its trace.
                numbers.get_mut().pop_front();
                if numbers.get().is_empty() {
                    numbers.remove();
                }
            }
        }
    }

    /// Lets go of rows from the oldest on until one is not that old; returns how many.
    pub(super) fn retain(&mut self, since_ns: i64) -> u64 {
        let old = self.rows.iter().take_while(|row| time_of(row) < since_ns);
        let old = old.count();
        for _ in 0..old {
            self.drop_oldest();
        }
        old as u64
    }

    /// The rows of a trace, or all.
    pub(super) fn of(&self, trace: Option<TraceId>) -> Box<dyn Iterator<Item = &Row> + '_> {
        let Some(trace) = trace else {
            return Box::new(self.rows.iter().map(|row| &**row));
        };
        let numbers = self.traces.get(&trace).into_iter().flatten();
        Box::new(numbers.map(|number| &*self.rows[(number - self.first) as usize]))
    }

    /// All traces of which something is there.
    pub(super) fn trace_ids(&self) -> impl Iterator<Item = TraceId> + '_ {
        self.traces.keys().copied()
    }

    /// The records that a trace is made of.
    pub(super) fn parts(&self, trace: TraceId) -> impl Iterator<Item = &Trace> + '_ {
        self.of(Some(trace)).filter_map(|row| match row {
            Row::TraceBegan(began) => Some(&began.trace),
            Row::TraceEnded(ended) => Some(&ended.trace),
            _ => None,
        })
    }

    /// A trace out of its records; `None` if none of them is there.
    pub(super) fn trace(&self, id: TraceId) -> Option<Trace> {
        let parts: Vec<Trace> = self.parts(id).cloned().collect();
        let started = parts.iter().any(|part| part.end_ns.is_none());
        let instances: Vec<InstanceId> = parts.iter().map(|part| part.instance).collect();
        let mut merged = merge_trace(parts)?;
        if !started {
            // Those came with the start, which nobody has.
            for origin in instances.iter().filter_map(|id| self.origins.get(id)) {
                merged.attributes.fill_from(&origin.custom);
            }
        }
        Some(merged)
    }
}
