//! Looking for events: recorded ones, and those that follow from spans and traces.

use crate::{
    model::Event,
    query::filter::Filter,
    record::{
        id::RecordId,
        kinds::EventType,
        layout::{RecordKind, NAME_INLINE},
        view::Body,
        Record, RecordError,
    },
};

use super::{
    derive::{self, Implied},
    judge::{with_name, Judge},
    pending::{Candidate, Key, Pending},
    points::{key, offer, owned, Point},
    rows::{self, Times},
    source::{bit, Block, Entry, Item, Place, Segment},
    store::Store,
    walk::{outside, Look},
};

/// Kinds from which events are derived.
const TELLING: u16 =
    bit(RecordKind::Span) | bit(RecordKind::TraceStart) | bit(RecordKind::TraceEnd);

/// Types of derived events.
const DERIVED_TYPES: [EventType; 10] = [
    EventType::NODE_STARTED,
    EventType::NODE_FINISHED,
    EventType::NODE_FAILED,
    EventType::GRAPH_STARTED,
    EventType::GRAPH_FINISHED,
    EventType::GRAPH_FAILED,
    EventType::TOOL_EXECUTED,
    EventType::LLM_REQUEST,
    EventType::LLM_RESPONSE,
    EventType::ERROR_OCCURRED,
];

/// See [`Look`].
#[derive(Debug)]
pub(super) struct Events {
    judge: Judge,
    /// Whether a derived event can fit at all.
    derived: bool,
    /// The type that is asked for.
    wanted: Option<EventType>,
}

impl Events {
    pub(super) fn new(filter: &Filter) -> Self {
        let wanted = filter.event_type.as_deref().map(EventType::new);
        let derived = wanted.as_ref().is_none_or(|w| DERIVED_TYPES.contains(w));
        Self {
            judge: Judge::new(filter, key(filter)),
            derived: derived && !filter.recorded_only,
            wanted,
        }
    }

    /// The row of one part of a record.
    fn row(block: &Block<'_>, id: RecordId, record: &Record<'_>, part: u8) -> Option<Event> {
        let (context, origin) = (&block.context, block.context.origin);
        match record.body {
            Body::Event(body) => Some(context.event(id, record, body)),
            Body::Span(body) => {
                let span = context.span(id, record, body);
                let implied = derive::span_events(span.kind, span.status, body.parent != 0);
                let implied = implied.into_iter().flatten().find(|(p, ..)| *p == part)?;
                Some(derive::span_event(&span, id, implied, origin))
            }
            Body::TraceStart(body) => {
                let trace = context.trace_began(record, body);
                Some(derive::trace_event(
                    &trace,
                    id,
                    derive::trace_started(),
                    origin,
                ))
            }
            Body::TraceEnd(body) => {
                let trace = context.trace_ended(record, body);
                let implied = derive::trace_ended(trace.status);
                Some(derive::trace_event(&trace, id, implied, origin))
            }
            _ => None,
        }
    }

    /// Whether the whole row fits, where less does not tell.
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
        let Some(event) = Self::row(block, block.id(item.nth), &record, part) else {
            return Ok(false);
        };
        let trace = judge.trace(store, event.trace_id);
        Ok(judge.filter.accepts_event(&event, trace.as_ref()))
    }

    fn offer_implied(
        &mut self,
        store: &Store,
        at: (&Block<'_>, Item, Place),
        (part, event_type, suffix): Implied,
        timestamp_ns: i64,
        pending: &mut Pending,
    ) -> Result<(), RecordError> {
        if self.wanted.as_ref().is_some_and(|w| *w != event_type) {
            return Ok(());
        }
        let (block, item, _) = at;
        let point = Point { part, timestamp_ns };
        offer(&mut self.judge, store, at, point, pending, |judge| {
            if judge.filter.name.is_some() {
                let header = block.body(item)?;
                let named = with_name(block, item, header.header(), |name| {
                    judge.filter.accepts_name(&format!("{name}{suffix}"))
                })?;
                if !named {
                    return Ok(false);
                }
            }
            Self::fits(judge, store, block, item, part)
        })
    }
}

impl Look for Events {
    type Row = Event;

    fn key(&self) -> Key {
        self.judge.key
    }

    fn kinds(&self, segment: &Segment) -> u16 {
        let derived = self.derived && segment.origin.derive_events;
        bit(RecordKind::Event) | if derived { TELLING } else { 0 }
    }

    fn skips(&mut self, no: u32, segment: &Segment, entry: &Entry) -> bool {
        let recorded_only = entry.kinds & self.kinds(segment) & TELLING == 0;
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
            Body::Event(event) => {
                if !owned(
                    &self.judge.filter,
                    event.trace_id,
                    event.span_id.to_native(),
                ) || !self.judge.accepts_name(block, item, body.header())?
                {
                    return Ok(());
                }
                if let Some(wanted) = &self.wanted {
                    let id = event.event_type.to_native();
                    let inline = match id {
                        NAME_INLINE => block.record(item.at)?.inline_second,
                        _ => None,
                    };
                    if block.context.event_type(id, inline) != *wanted {
                        return Ok(());
                    }
                }
                let point = Point {
                    part: 0,
                    timestamp_ns: anchor.unix_ns(event.tick.to_native()),
                };
                offer(&mut self.judge, store, at, point, pending, |judge| {
                    Self::fits(judge, store, block, item, 0)
                })
            }
            Body::Span(span) => {
                let kind = rows::span_kind(span.kind);
                let status = rows::status(span.status);
                let implied = derive::span_events(kind, status, span.parent != 0);
                if !owned(&self.judge.filter, span.trace_id, span.span_id.to_native()) {
                    return Ok(());
                }
                let times = Times::new(anchor, span.end.to_native(), span.ticks.to_native());
                for implied in implied.into_iter().flatten() {
                    let when = match implied.0 {
                        derive::STARTED => times.start_ns,
                        _ => times.end_ns,
                    };
                    self.offer_implied(store, at, implied, when, pending)?;
                }
                Ok(())
            }
            Body::TraceStart(trace) if owned(&self.judge.filter, trace.trace_id, 0) => {
                let when = anchor.unix_ns(trace.tick.to_native());
                self.offer_implied(store, at, derive::trace_started(), when, pending)
            }
            Body::TraceEnd(trace) if owned(&self.judge.filter, trace.trace_id, 0) => {
                let when = anchor.unix_ns(trace.end.to_native());
                let implied = derive::trace_ended(rows::status(trace.status));
                self.offer_implied(store, at, implied, when, pending)
            }
            _ => Ok(()),
        }
    }

    fn make(&mut self, store: &Store, candidate: &Candidate) -> Option<Event> {
        store.read(candidate.place, |block, id, record| {
            Self::row(block, id, record, candidate.part)
        })
    }
}
