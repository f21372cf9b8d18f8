//! The naive way: all rows in memory, filtered, sorted, cut.

use std::collections::BTreeMap;

use crate::{
    backend::Row,
    model::{Event, Link, Metric, Span, Trace},
    query::{
        derive,
        filter::{Filter, Order},
        partial::merge_trace,
        rows::row,
        store::{Open, Store},
    },
    record::id::{RecordId, TraceId},
};

#[derive(Default)]
pub(super) struct Everything {
    pub(super) traces: Vec<Trace>,
    pub(super) spans: Vec<(Span, u128)>,
    pub(super) events: Vec<(Event, u128)>,
    pub(super) metrics: Vec<(Metric, u128)>,
    pub(super) links: Vec<(Link, u128)>,
}

fn tie(store: &Store, id: RecordId, part: u8) -> u128 {
    let mut instances: Vec<_> = store.segments.iter().map(|s| s.origin.instance).collect();
    instances.sort();
    instances.dedup();
    let rank = instances.iter().position(|i| *i == id.instance).unwrap();
    (rank as u128) << 104
        | u128::from(id.ring) << 72
        | u128::from(id.sequence) << 8
        | u128::from(part)
}

impl Everything {
    pub(super) fn of(store: &Store) -> Self {
        let mut all = Self::default();
        let mut parts: BTreeMap<TraceId, Vec<(bool, Trace)>> = BTreeMap::new();
        let mut began = Vec::new();
        for segment in &store.segments {
            for no in 0..segment.entries().len() {
                let block = segment.block(no as u32).unwrap();
                for item in block.items(u16::MAX) {
                    let id = block.id(item.nth);
                    let record = block.record(item.at).unwrap();
                    let origin = &segment.origin;
                    let trace_event = |trace: &Trace, implied| {
                        let event = derive::trace_event(trace, id, implied, origin);
                        origin.derive_events.then_some(event)
                    };
                    match row(&block.context, id, &record).unwrap() {
                        Row::TraceBegan(t) => {
                            let event = trace_event(&t.trace, derive::trace_started());
                            all.events.extend(event.map(|e| (e, tie(store, id, 1))));
                            parts
                                .entry(t.trace.trace_id)
                                .or_default()
                                .push((true, t.trace));
                        }
                        Row::TraceEnded(t) => {
                            let event = trace_event(&t.trace, derive::trace_ended(t.trace.status));
                            all.events.extend(event.map(|e| (e, tie(store, id, 2))));
                            parts
                                .entry(t.trace.trace_id)
                                .or_default()
                                .push((false, t.trace));
                        }
                        Row::Span(span) if span.duration_ns.is_none() => began.push((span, id)),
                        Row::Span(span) => {
                            for event in derive::events_of_span(&span, origin) {
                                let part = (event.event_id ^ id.as_u128(0)) >> 120;
                                all.events.push((event, tie(store, id, part as u8)));
                            }
                            for metric in derive::metrics_of_span(&span, origin) {
                                let part = (metric.metric_id ^ id.as_u128(0)) >> 120;
                                all.metrics.push((metric, tie(store, id, part as u8)));
                            }
                            all.spans.push((span, tie(store, id, 0)));
                        }
                        Row::Event(event) => all.events.push((event, tie(store, id, 0))),
                        Row::Metric(metric) => all.metrics.push((metric, tie(store, id, 0))),
                        Row::Link(link) => all.links.push((link, tie(store, id, 0))),
                    }
                }
            }
        }
        all.add_open_spans(store, began);
        all.add_traces(store, parts);
        all
    }

    fn add_open_spans(&mut self, store: &Store, began: Vec<(Span, RecordId)>) {
        let ended: Vec<_> = self
            .spans
            .iter()
            .map(|(s, _)| (s.trace_id, s.span_id))
            .collect();
        let began_ids: Vec<_> = began.iter().map(|(s, _)| (s.trace_id, s.span_id)).collect();
        let open = store.open.iter().filter_map(|open| match open {
            Open::Span(span) => Some(span.clone()),
            Open::Trace(_) => None,
        });
        let open = open.filter(|s| !began_ids.contains(&(s.trace_id, s.span_id)));
        let open = open.map(|span| {
            let id = u128::from(u32::MAX) << 72 | u128::from(span.span_id.get()) << 8;
            (span, id)
        });
        let began = began.into_iter().map(|(span, id)| {
            let tie = tie(store, id, 0);
            (span, tie)
        });
        for (mut span, tie) in began.chain(open).collect::<Vec<_>>() {
            if !ended.contains(&(span.trace_id, span.span_id)) {
                store.settle_span(&mut span);
                self.spans.push((span, tie));
            }
        }
    }

    fn add_traces(&mut self, store: &Store, mut parts: BTreeMap<TraceId, Vec<(bool, Trace)>>) {
        let mut alive: BTreeMap<TraceId, Vec<_>> = BTreeMap::new();
        let mut earliest: BTreeMap<TraceId, i64> = BTreeMap::new();
        for (id, list) in &parts {
            alive.insert(*id, list.iter().map(|(_, t)| t.instance).collect());
        }
        for open in &store.open {
            let Open::Trace(trace) = open else { continue };
            alive
                .entry(trace.trace_id)
                .or_default()
                .push(trace.instance);
            let start = earliest.entry(trace.trace_id).or_insert(trace.start_ns);
            *start = trace.start_ns.min(*start);
            let list = parts.entry(trace.trace_id).or_default();
            if !list.iter().any(|(start, _)| *start) {
                list.push((false, trace.clone()));
            }
        }
        for (id, list) in parts {
            let started = list.iter().any(|(start, _)| *start);
            let ended: Vec<_> = list
                .iter()
                .filter(|(_, t)| t.end_ns.is_some())
                .map(|(_, t)| t.instance)
                .collect();
            let mut trace = merge_trace(list.into_iter().map(|(_, t)| t).collect()).unwrap();
            if !started {
                for segment in &store.segments {
                    if ended.contains(&segment.origin.instance) {
                        trace.attributes.fill_from(&segment.origin.custom);
                    }
                }
            }
            if let Some(start) = earliest.get(&id) {
                trace.start_ns = trace.start_ns.min(*start);
            }
            store.settle_trace(&mut trace, &alive[&id]);
            self.traces.push(trace);
        }
    }

    fn trace(&self, id: Option<TraceId>) -> Option<&Trace> {
        self.traces.iter().find(|t| Some(t.trace_id) == id)
    }

    pub(super) fn traces(&self, filter: &Filter) -> Vec<Trace> {
        let rows = self.traces.iter().filter(|t| filter.accepts_trace(t));
        let rows = rows.map(|t| {
            (
                t.clone(),
                (t.start_ns, t.duration_ns(), t.trace_id.as_u128()),
            )
        });
        cut(rows.collect(), filter, true, filter.trace_limit())
    }

    pub(super) fn spans(&self, filter: &Filter) -> Vec<Span> {
        let fits = |s: &Span| filter.accepts_span(s, self.trace(Some(s.trace_id)));
        let rows = self.spans.iter().filter(|(s, _)| fits(s));
        let rows = rows.map(|(s, tie)| (s.clone(), (s.start_ns, s.duration_ns, *tie)));
        cut(rows.collect(), filter, true, filter.row_limit())
    }

    pub(super) fn events(&self, filter: &Filter) -> Vec<Event> {
        let fits = |e: &Event| filter.accepts_event(e, self.trace(e.trace_id));
        let rows = self.events.iter().filter(|(e, _)| fits(e));
        let rows = rows.map(|(e, tie)| (e.clone(), (e.timestamp_ns, None, *tie)));
        cut(rows.collect(), filter, false, filter.row_limit())
    }

    pub(super) fn metrics(&self, filter: &Filter) -> Vec<Metric> {
        let fits = |m: &Metric| filter.accepts_metric(m, self.trace(m.trace_id));
        let rows = self.metrics.iter().filter(|(m, _)| fits(m));
        let rows = rows.map(|(m, tie)| (m.clone(), (m.timestamp_ns, None, *tie)));
        cut(rows.collect(), filter, false, filter.row_limit())
    }

    pub(super) fn links(&self, filter: &Filter) -> Vec<Link> {
        let fits = |l: &Link| filter.accepts_link(l, self.trace(Some(l.trace_id)));
        let rows = self.links.iter().filter(|(l, _)| fits(l));
        let rows = rows.map(|(l, tie)| (l.clone(), (l.timestamp_ns, None, *tie)));
        cut(rows.collect(), filter, false, filter.row_limit())
    }
}

/// Start, length and identity.
type Sort = (i64, Option<u64>, u128);

fn cut<R>(mut rows: Vec<(R, Sort)>, filter: &Filter, has_length: bool, limit: usize) -> Vec<R> {
    rows.sort_by_key(|(_, (start, _, tie))| (*start, *tie));
    match filter.order {
        Order::Oldest => {}
        Order::Newest => rows.reverse(),
        Order::Slowest if !has_length => rows.reverse(),
        Order::Slowest => {
            rows.sort_by_key(|(_, (_, length, tie))| (length.map_or(-1, |l| l as i64), *tie));
            rows.reverse();
        }
    }
    let rows = rows.into_iter().map(|(row, _)| row);
    rows.skip(filter.offset).take(limit).collect()
}
