//! Answering queries: every row is judged by the code that judges rows of the log,
//! `query/matching.rs`, and what follows from a row is derived as there.

use ahash::AHashMap;

use super::rows::Rows;
use crate::{
    backend::{
        best::{Best, Tie},
        Row,
    },
    model::{Event, Link, Metric, Origin, Span, Trace},
    query::{
        derive::{self, NODE_METRICS},
        filter::Filter,
    },
    record::{
        id::{RecordId, TraceId},
        kinds::{EventType, SpanKind},
    },
};

/// The traces of rows, where a filter needs them.
struct Traces<'r> {
    rows: &'r Rows,
    wanted: bool,
    known: AHashMap<TraceId, Option<Trace>>,
}

impl<'r> Traces<'r> {
    fn new(rows: &'r Rows, filter: &Filter) -> Self {
        Self {
            rows,
            wanted: filter.wants_graph(),
            known: AHashMap::new(),
        }
    }

    fn of(&mut self, id: Option<TraceId>) -> Option<&Trace> {
        let id = id.filter(|_| self.wanted)?;
        let make = || self.rows.trace(id);
        self.known.entry(id).or_insert_with(make).as_ref()
    }
}

pub(super) fn traces(rows: &Rows, filter: &Filter) -> Vec<Trace> {
    let mut best = Best::new(filter, filter.trace_limit());
    let mut look = |id: TraceId| {
        let parts = || rows.parts(id);
        let Some(start_ns) = parts().map(|part| part.start_ns).min() else {
            return;
        };
        let end_ns = parts().filter_map(|part| part.end_ns).max();
        let length = end_ns.map(|end| u64::try_from(end.saturating_sub(start_ns)).unwrap_or(0));
        let Some(rank) = best.rank(start_ns, length, Tie::trace(id)) else {
            return;
        };
        if let Some(trace) = rows.trace(id).filter(|trace| filter.accepts_trace(trace)) {
            best.insert(rank, trace);
        }
    };
    match filter.trace_id {
        Some(id) => look(id),
        None => rows.trace_ids().for_each(look),
    }
    best.into_rows()
}

pub(super) fn spans(rows: &Rows, filter: &Filter) -> Vec<Span> {
    let mut best = Best::new(filter, filter.row_limit());
    let mut traces = Traces::new(rows, filter);
    for row in rows.of(filter.trace_id) {
        let Row::Span(span) = row else { continue };
        let tie = Tie::record(span_record(span), 0);
        let Some(rank) = best.rank(span.start_ns, span.duration_ns, tie) else {
            continue;
        };
        if filter.accepts_span(span, traces.of(Some(span.trace_id))) {
            best.insert(rank, span.clone());
        }
    }
    best.into_rows()
}

fn span_record(span: &Span) -> RecordId {
    span.record.unwrap_or(RecordId {
        instance: span.instance,
        ring: span.thread.0,
        sequence: 0,
    })
}

pub(super) fn events(rows: &Rows, filter: &Filter) -> Vec<Event> {
    let mut found = Found {
        best: Best::of_points(filter),
        traces: Traces::new(rows, filter),
        filter,
        wanted: filter.event_type.as_deref().map(EventType::new),
    };
    for row in rows.of(filter.trace_id) {
        match row {
            Row::Event(event) => {
                let Some(record) = event.record else { continue };
                found.offer((event.timestamp_ns, record, 0), || event.clone());
            }
            Row::Span(span) => found.of_span(rows, span),
            Row::TraceBegan(row) => found.of_trace(rows, &row.trace, row.record),
            Row::TraceEnded(row) => found.of_trace(rows, &row.trace, row.record),
            Row::Metric(_) | Row::Link(_) => {}
        }
    }
    found.best.into_rows()
}

/// Events so far.
struct Found<'r> {
    best: Best<Event>,
    traces: Traces<'r>,
    filter: &'r Filter,
    wanted: Option<EventType>,
}

impl Found<'_> {
    fn offer(&mut self, at: (i64, RecordId, u8), make: impl FnOnce() -> Event) {
        let (when, record, part) = at;
        let Some(rank) = self.best.rank(when, None, Tie::record(record, part)) else {
            return;
        };
        let event = make();
        if self
            .filter
            .accepts_event(&event, self.traces.of(event.trace_id))
        {
            self.best.insert(rank, event);
        }
    }

    /// Whether a derived event may be wanted at all.
    fn wants(&self, origin: &Origin, event_type: &EventType) -> bool {
        let wanted = self.wanted.as_ref();
        origin.derive_events
            && !self.filter.recorded_only
            && wanted.is_none_or(|wanted| wanted == event_type)
    }

    fn of_span(&mut self, rows: &Rows, span: &Span) {
        let (Some(origin), Some(record), Some(end_ns)) =
            (rows.origin(span.instance), span.record, span.end_ns())
        else {
            return;
        };
        let implied = derive::span_events(span.kind, span.status, span.parent_span_id.is_some());
        for implied in implied.into_iter().flatten() {
            if self.wants(origin, &implied.1) {
                let when = match implied.0 {
                    derive::STARTED => span.start_ns,
                    _ => end_ns,
                };
                let part = implied.0;
                self.offer((when, record, part), || {
                    derive::span_event(span, record, implied, origin)
                });
            }
        }
    }

    fn of_trace(&mut self, rows: &Rows, part: &Trace, record: RecordId) {
        let Some(origin) = rows.origin(part.instance) else {
            return;
        };
        let implied = match part.end_ns {
            None => derive::trace_started(),
            Some(_) => derive::trace_ended(part.status),
        };
        if self.wants(origin, &implied.1) {
            let when = part.end_ns.unwrap_or(part.start_ns);
            let number = implied.0;
            self.offer((when, record, number), || {
                derive::trace_event(part, record, implied, origin)
            });
        }
    }
}

pub(super) fn metrics(rows: &Rows, filter: &Filter) -> Vec<Metric> {
    let mut best = Best::of_points(filter);
    let mut traces = Traces::new(rows, filter);
    let parts = NODE_METRICS
        .iter()
        .filter(|(_, name, ..)| filter.accepts_name(name));
    let parts: Vec<u8> = parts.map(|(part, ..)| *part).collect();
    for row in rows.of(filter.trace_id) {
        match row {
            Row::Metric(metric) => {
                let Some(record) = metric.record else {
                    continue;
                };
                let tie = Tie::record(record, 0);
                if let Some(rank) = best.rank(metric.timestamp_ns, None, tie) {
                    if filter.accepts_metric(metric, traces.of(metric.trace_id)) {
                        best.insert(rank, metric.clone());
                    }
                }
            }
            Row::Span(span) if !filter.recorded_only && span.kind == SpanKind::NodeExecution => {
                let (Some(origin), Some(record), Some(when)) =
                    (rows.origin(span.instance), span.record, span.end_ns())
                else {
                    continue;
                };
                for &part in parts.iter().filter(|_| origin.derive_metrics) {
                    let Some(rank) = best.rank(when, None, Tie::record(record, part)) else {
                        continue;
                    };
                    let trace = traces.of(Some(span.trace_id));
                    let metric = derive::node_metric(span, record, part, origin);
                    let fits = |metric: &Metric| filter.accepts_metric(metric, trace);
                    if let Some(metric) = metric.filter(fits) {
                        best.insert(rank, metric);
                    }
                }
            }
            _ => {}
        }
    }
    best.into_rows()
}

pub(super) fn links(rows: &Rows, filter: &Filter) -> Vec<Link> {
    let mut best = Best::of_points(filter);
    let mut traces = Traces::new(rows, filter);
    for row in rows.of(filter.trace_id) {
        let Row::Link(link) = row else { continue };
        let Some(record) = link.record else { continue };
        if let Some(rank) = best.rank(link.timestamp_ns, None, Tie::record(record, 0)) {
            if filter.accepts_link(link, traces.of(Some(link.trace_id))) {
                best.insert(rank, link.clone());
            }
        }
    }
    best.into_rows()
}
