//! Looking for metrics: recorded ones, and those that follow from the execution of nodes.

use crate::{
    model::Metric,
    query::filter::Filter,
    record::{id::RecordId, kinds::SpanKind, layout::RecordKind, view::Body, Record, RecordError},
};

use super::{
    derive::{self, NODE_METRICS},
    judge::Judge,
    pending::{Candidate, Key, Pending},
    points::{key, offer, owned, Point},
    rows,
    source::{bit, Block, Entry, Item, Place, Segment},
    store::Store,
    walk::{outside, Look},
};

/// See [`Look`].
#[derive(Debug)]
pub(super) struct Metrics {
    judge: Judge,
    /// Derived parts with a name that fits.
    parts: Vec<u8>,
}

impl Metrics {
    pub(super) fn new(filter: &Filter) -> Self {
        let parts = NODE_METRICS.into_iter();
        let parts =
            parts.filter(|(_, name, ..)| filter.accepts_name(name) && !filter.recorded_only);
        Self {
            judge: Judge::new(filter, key(filter)),
            parts: parts.map(|(part, ..)| part).collect(),
        }
    }

    fn row(block: &Block<'_>, id: RecordId, record: &Record<'_>, part: u8) -> Option<Metric> {
        match record.body {
            Body::Metric(body) => Some(block.context.metric(id, record, body)),
            Body::Span(body) => {
                let span = block.context.span(id, record, body);
                derive::node_metric(&span, id, part, block.context.origin)
            }
            _ => None,
        }
    }

    fn fits(
        judge: &mut Judge,
        store: &Store,
        block: &Block<'_>,
        item: Item,
        part: u8,
    ) -> Result<bool, RecordError> {
        if !judge.wants_attributes {
            return Ok(true);
        }
        let record = block.record(item.at)?;
        let Some(metric) = Self::row(block, block.id(item.nth), &record, part) else {
            return Ok(false);
        };
        let trace = judge.trace(store, metric.trace_id);
        Ok(judge.filter.accepts_metric(&metric, trace.as_ref()))
    }
}

impl Look for Metrics {
    type Row = Metric;

    fn key(&self) -> Key {
        self.judge.key
    }

    fn kinds(&self, segment: &Segment) -> u16 {
        let derived = !self.parts.is_empty() && segment.origin.derive_metrics;
        bit(RecordKind::Metric) | if derived { bit(RecordKind::Span) } else { 0 }
    }

    fn skips(&mut self, no: u32, segment: &Segment, entry: &Entry) -> bool {
        let recorded_only = entry.kinds & self.kinds(segment) & bit(RecordKind::Span) == 0;
        outside(&self.judge.filter, entry)
            || recorded_only && self.judge.skips_name(no, segment, entry)
    }

    fn look(
        &mut self,
        store: &Store,
        block: &Block<'_>,
        item: Item,
        place: Place,
        pending: &mut Pending,
    ) -> Result<(), RecordError> {
        let body = block.body(item)?;
        let anchor = &block.context.anchor;
        let at = (block, item, place);
        match body {
            Body::Metric(metric) => {
                let ours = owned(
                    &self.judge.filter,
                    metric.trace_id,
                    metric.span_id.to_native(),
                );
                if !ours || !self.judge.accepts_name(block, item, body.header())? {
                    return Ok(());
                }
                let point = Point {
                    part: 0,
                    timestamp_ns: anchor.unix_ns(metric.tick.to_native()),
                };
                offer(&mut self.judge, store, at, point, pending, |judge| {
                    Self::fits(judge, store, block, item, 0)
                })
            }
            Body::Span(span) if rows::span_kind(span.kind) == SpanKind::NodeExecution => {
                if !owned(&self.judge.filter, span.trace_id, span.span_id.to_native()) {
                    return Ok(());
                }
                let timestamp_ns = anchor.unix_ns(span.end.to_native());
                for &part in &self.parts {
                    let point = Point { part, timestamp_ns };
                    offer(&mut self.judge, store, at, point, pending, |judge| {
                        Self::fits(judge, store, block, item, part)
                    })?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn make(&mut self, store: &Store, candidate: &Candidate) -> Option<Metric> {
        store.read(candidate.place, |block, id, record| {
            Self::row(block, id, record, candidate.part)
        })
    }
}
