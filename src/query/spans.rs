//! Looking for spans: those that ended, those of which only the start is known, those that a ring
//! shows as open.

use ahash::AHashSet;

use crate::{
    model::Span,
    query::filter::{Filter, Order},
    record::{
        id::{RecordId, TraceId},
        layout::{self, RecordKind},
        view::Body,
        RecordError,
    },
};

use super::{
    judge::Judge,
    pending::{Candidate, Key, Pending, OPEN},
    recent::Recent,
    rows::{self, Times},
    source::{bit, Block, Entry, Item, Place, Segment},
    store::{Open, Store},
    walk::{outside, Look},
};

const KINDS: u16 = bit(RecordKind::Span) | bit(RecordKind::SpanStart);

/// Traces whose span ids a walk remembers, to tell which open spans ended elsewhere.
const TRACES: usize = 256;

/// See [`Look`].
#[derive(Debug)]
pub(super) struct Spans {
    judge: Judge,
    known: Recent<TraceId, Known>,
}

/// What the log has of the spans of a trace.
#[derive(Debug)]
struct Known {
    ended: AHashSet<u64>,
    began: AHashSet<u64>,
}

impl Known {
    fn of(store: &Store, id: TraceId) -> Self {
        let mut known = Self {
            ended: AHashSet::new(),
            began: AHashSet::new(),
        };
        for (segment, block) in store.find_trace(id) {
            // What cannot be read is left out here as everywhere.
            let _ = store.visit(segment, block, KINDS, |block, item, _| {
                if block.trace_of(item) == id {
                    match block.body(item)? {
                        Body::Span(span) => known.ended.insert(span.span_id.to_native()),
                        Body::SpanStart(span) => known.began.insert(span.span_id.to_native()),
                        _ => false,
                    };
                }
                Ok(())
            });
        }
        known
    }
}

impl Spans {
    pub(super) fn new(filter: &Filter) -> Self {
        Self {
            judge: Judge::new(filter, Key(filter.order)),
            known: Recent::new(TRACES),
        }
    }

    fn accepts_ended(&self, span: &layout::Span, times: &Times) -> bool {
        let filter = &self.judge.filter;
        filter.accepts_time(times.start_ns)
            && filter.accepts_duration(Some(times.duration_ns))
            && filter.kind.is_none_or(|k| k == rows::span_kind(span.kind))
            && filter.status.is_none_or(|s| s == rows::status(span.status))
            && filter.trace_id.is_none_or(|id| id.0 == span.trace_id)
            && filter
                .span_id
                .is_none_or(|id| id == rows::span_id(span.span_id.to_native()))
    }

    /// An open span as the query shows it; `None` if it does not fit.
    fn settle(&mut self, store: &Store, mut span: Span) -> Option<Span> {
        store.settle_span(&mut span);
        let trace = self.judge.trace(store, Some(span.trace_id));
        let fits = self.judge.filter.accepts_span(&span, trace.as_ref());
        fits.then_some(span)
    }
}

impl Look for Spans {
    type Row = Span;

    fn key(&self) -> Key {
        self.judge.key
    }

    fn kinds(&self, _: &Segment) -> u16 {
        KINDS
    }

    fn skips(&mut self, no: u32, segment: &Segment, entry: &Entry) -> bool {
        let filter = &self.judge.filter;
        let open = entry.kinds & bit(RecordKind::SpanStart) != 0;
        let ended = entry.kinds & bit(RecordKind::Span) != 0
            && !filter.active
            && filter
                .status
                .is_none_or(|status| entry.statuses & (1 << status as u8) != 0)
            && filter
                .min_duration
                .is_none_or(|min| u128::from(entry.max_duration_ns) >= min.as_nanos());
        !(open || ended) || outside(filter, entry) || self.judge.skips_name(no, segment, entry)
    }

    fn bound(&self, store: &Store, segment: &Segment, entry: &Entry) -> i64 {
        let bound = self.judge.key.bound(entry);
        let may_be_orphaned = entry.kinds & bit(RecordKind::SpanStart) != 0;
        match store.life(segment.origin.instance) {
            Some(life) if self.key().0 == Order::Slowest && may_be_orphaned && !life.alive => {
                bound.max(life.sign_ns.saturating_sub(entry.earliest_ns))
            }
            _ => bound,
        }
    }

    fn look_open(&mut self, store: &Store, pending: &mut Pending) {
        for (at, open) in store.open.iter().enumerate() {
            let Open::Span(span) = open else { continue };
            let Some(span) = self.settle(store, span.clone()) else {
                continue;
            };
            let id = RecordId {
                instance: span.instance,
                ring: u32::MAX,
                sequence: span.span_id.get(),
            };
            let key = self.judge.key;
            pending.push(Candidate {
                key: key.of(span.start_ns, span.duration_ns),
                tie: key.tie(0, id, 0),
                place: Place {
                    segment: OPEN,
                    block: 0,
                    at: at as u32,
                    nth: 0,
                },
                part: 0,
                certain: false,
            });
        }
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
        let (key, certain) = match body {
            Body::Span(span) => {
                let anchor = &block.context.anchor;
                let times = Times::new(anchor, span.end.to_native(), span.ticks.to_native());
                if !self.accepts_ended(span, &times) {
                    return Ok(());
                }
                let key = self.judge.key.of(times.start_ns, Some(times.duration_ns));
                (key, true)
            }
            Body::SpanStart(span) => {
                let start_ns = block.context.anchor.unix_ns(span.tick.to_native());
                let end_ns = store.orphaned_at(&[block.context.origin.instance]);
                let length =
                    end_ns.map(|end| u64::try_from(end.saturating_sub(start_ns)).unwrap_or(0));
                if !self.judge.filter.accepts_time(start_ns) {
                    return Ok(());
                }
                (self.judge.key.of(start_ns, length), false)
            }
            _ => return Ok(()),
        };
        let id = block.id(item.nth);
        let tie = self.judge.key.tie(store.rank(place.segment), id, 0);
        if !pending.wants(key, tie) || !self.judge.accepts_name(block, item, body.header())? {
            return Ok(());
        }
        if certain && self.judge.wants_attributes {
            let record = block.record(item.at)?;
            if !self.judge.accepts_needles(&block.context, &record) {
                return Ok(());
            }
            if let Body::Span(span) = body {
                let span = block.context.span(id, &record, span);
                let trace = self.judge.trace(store, Some(span.trace_id));
                if !self.judge.filter.accepts_span(&span, trace.as_ref()) {
                    return Ok(());
                }
            }
        }
        pending.push(Candidate {
            key,
            tie,
            place,
            part: 0,
            certain,
        });
        Ok(())
    }

    fn make(&mut self, store: &Store, candidate: &Candidate) -> Option<Span> {
        if candidate.place.segment == OPEN {
            let Some(Open::Span(span)) = store.open.get(candidate.place.at as usize) else {
                return None;
            };
            let known = self
                .known
                .get_or(span.trace_id, || Known::of(store, span.trace_id));
            let id = span.span_id.get();
            if known.ended.contains(&id) || known.began.contains(&id) {
                return None;
            }
            return self.settle(store, span.clone());
        }
        let span = store.read(candidate.place, |block, id, record| match record.body {
            Body::Span(body) => Some(block.context.span(id, record, body)),
            Body::SpanStart(body) => Some(block.context.span_began(id, record, body)),
            _ => None,
        })?;
        if candidate.certain {
            return Some(span);
        }
        let known = self
            .known
            .get_or(span.trace_id, || Known::of(store, span.trace_id));
        if known.ended.contains(&span.span_id.get()) {
            return None;
        }
        self.settle(store, span)
    }
}
