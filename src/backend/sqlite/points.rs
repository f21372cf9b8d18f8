//! What has one time: events and metrics, recorded or derived, and links.

use rusqlite::Row;

use super::{
    read::{json, parsed, span_id_of, Go, View, Where},
    traces::{part, PARTS_OF},
};
use crate::{
    backend::{
        best::{Best, Tie},
        TraceParts,
    },
    model::{Event, Link, Metric},
    query::{
        derive::{self, NODE_METRICS},
        filter::Filter,
    },
    record::{
        id::{RecordId, TraceId},
        kinds::{EventType, SpanKind, Status},
    },
};

pub(super) const EVENTS: &str =
    "SELECT e.timestamp_ns, e.instance, e.ring, e.sequence, e.trace, t.trace_id, \
    e.span_id, e.type, e.name, e.attributes, e.types, e.dropped \
    FROM event_rows e LEFT JOIN trace_rows t ON t.id = e.trace";
pub(super) const METRICS: &str =
    "SELECT m.timestamp_ns, m.instance, m.ring, m.sequence, m.trace, t.trace_id, \
    m.span_id, m.name, m.value, m.value_text, m.unit, m.aggregation_type, m.attributes, m.types, \
    m.dropped FROM metric_rows m LEFT JOIN trace_rows t ON t.id = m.trace";
pub(super) const LINKS: &str =
    "SELECT l.timestamp_ns, l.instance, l.ring, l.sequence, l.trace, t.trace_id, \
    l.span_id, l.linked_trace_id, l.linked_span_id, l.attributes, l.types \
    FROM link_rows l JOIN trace_rows t ON t.id = l.trace";

/// What the rows of all three selections begin with.
pub(super) struct Head {
    timestamp_ns: i64,
    pub(super) record: RecordId,
    trace: Option<i64>,
}

pub(super) fn head(view: &View<'_>, row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head {
        timestamp_ns: row.get(0)?,
        record: RecordId {
            instance: view.origin(row.get(1)?)?.instance,
            ring: row.get(2)?,
            sequence: row.get::<_, i64>(3)? as u64,
        },
        trace: row.get(4)?,
    })
}

/// A row of [`EVENTS`].
pub(super) fn event(row: &Row<'_>, head: &Head) -> rusqlite::Result<Event> {
    Ok(Event {
        event_id: head.record.as_u128(0),
        event_type: EventType::new(row.get_ref(7)?.as_str()?),
        name: row.get(8)?,
        timestamp_ns: head.timestamp_ns,
        trace_id: trace_id(row, 5)?,
        span_id: span_id_of(row, 6)?,
        attributes: json(row, 9)?,
        dropped_attributes: row.get(11)?,
        derived: false,
        record: Some(head.record),
    })
}

/// A row of [`METRICS`].
pub(super) fn metric(row: &Row<'_>, head: &Head) -> rusqlite::Result<Metric> {
    let (value, integer) = value(row, 8)?;
    Ok(Metric {
        metric_id: head.record.as_u128(0),
        name: row.get(7)?,
        value,
        integer,
        unit: row.get(10)?,
        aggregation: parsed(row, 11)?,
        timestamp_ns: head.timestamp_ns,
        trace_id: trace_id(row, 5)?,
        span_id: span_id_of(row, 6)?,
        attributes: json(row, 12)?,
        dropped_attributes: row.get(14)?,
        derived: false,
        record: Some(head.record),
    })
}

/// A row of [`LINKS`].
pub(super) fn link(row: &Row<'_>, head: &Head) -> rusqlite::Result<Link> {
    Ok(Link {
        link_id: head.record.as_u128(0),
        trace_id: parsed(row, 5)?,
        span_id: span_id_of(row, 6)?,
        linked_trace_id: parsed(row, 7)?,
        linked_span_id: span_id_of(row, 8)?,
        timestamp_ns: head.timestamp_ns,
        attributes: json(row, 9)?,
        record: Some(head.record),
    })
}

fn trace_id(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<TraceId>> {
    match row.get_ref(at)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => parsed(row, at).map(Some),
    }
}

/// Everything that was recorded of these traces.
pub(super) fn parts(view: &View<'_>, traces: &[TraceId]) -> rusqlite::Result<TraceParts> {
    let mut parts = TraceParts::default();
    view.each_span(&Where::of_traces(traces, "s"), |row, record, _| {
        parts.spans.push(view.span(row, record)?);
        Ok(())
    })?;
    Where::of_traces(traces, "e").each(view.conn, EVENTS, "", |row| {
        parts.events.push(event(row, &head(view, row)?)?);
        Ok(Go::On)
    })?;
    Where::of_traces(traces, "m").each(view.conn, METRICS, "", |row| {
        parts.metrics.push(metric(row, &head(view, row)?)?);
        Ok(Go::On)
    })?;
    Ok(parts)
}

/// Spans of these kinds that ended and may have something in the time that is asked for.
fn telling_spans(filter: &Filter, kinds: &str) -> Where {
    let mut wanted = Where::owned(filter, "s");
    wanted.only("s.duration_ns IS NOT NULL AND s.sequence IS NOT NULL");
    wanted.only(&format!("s.kind IN ({kinds})"));
    wanted.times(filter, "s.start_ns", "s.start_ns + s.duration_ns");
    wanted
}

pub(super) fn events(view: &View<'_>, filter: &Filter) -> rusqlite::Result<Vec<Event>> {
    let mut best = Best::of_points(filter);
    let wanted_type = filter.event_type.as_deref().map(EventType::new);
    let mut wanted = Where::owned(filter, "e");
    wanted.times(filter, "e.timestamp_ns", "e.timestamp_ns");
    wanted.name(filter, "e.name");
    if let Some(wanted_type) = &wanted_type {
        wanted.and("e.type = ?", wanted_type.as_str().to_owned());
    }
    wanted.each(view.conn, EVENTS, "", |row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.record, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let event = event(row, &head)?;
        let trace = view.trace_for(filter, head.trace)?;
        if filter.accepts_event(&event, trace.as_deref()) {
            best.insert(rank, event);
        }
        Ok(Go::On)
    })?;
    if !filter.recorded_only {
        let wants = |implied: &derive::Implied| {
            wanted_type
                .as_ref()
                .is_none_or(|wanted| *wanted == implied.1)
        };
        events_of_spans(view, filter, &wants, &mut best)?;
        if filter.span_id.is_none() {
            events_of_traces(view, filter, &wants, &mut best)?;
        }
    }
    Ok(best.into_rows())
}

fn events_of_spans(
    view: &View<'_>,
    filter: &Filter,
    wants: &dyn Fn(&derive::Implied) -> bool,
    best: &mut Best<Event>,
) -> rusqlite::Result<()> {
    let kinds = "'node_execution', 'graph_run', 'tool_call', 'llm_call'";
    let wanted = telling_spans(filter, kinds);
    view.each_span(&wanted, |row, record, (start_ns, duration_ns)| {
        let origin = view.origin(row.get(2)?)?;
        if !origin.derive_events {
            return Ok(());
        }
        let kind: SpanKind = parsed(row, 11)?;
        let status: Status = parsed(row, 12)?;
        let has_parent = span_id_of(row, 8)?.is_some();
        let implied = derive::span_events(kind, status, has_parent);
        for implied in implied.into_iter().flatten().filter(wants) {
            let when = match implied.0 {
                derive::STARTED => start_ns,
                _ => start_ns.saturating_add(duration_ns.unwrap_or(0)),
            };
            let tie = Tie::record(record, implied.0);
            let Some(rank) = best.rank(when, None, tie) else {
                continue;
            };
            let span = view.span(row, record)?;
            let event = derive::span_event(&span, record, implied, &origin);
            let trace = view.trace_for(filter, row.get(17)?)?;
            if filter.accepts_event(&event, trace.as_deref()) {
                best.insert(rank, event);
            }
        }
        Ok(())
    })
}

fn events_of_traces(
    view: &View<'_>,
    filter: &Filter,
    wants: &dyn Fn(&derive::Implied) -> bool,
    best: &mut Best<Event>,
) -> rusqlite::Result<()> {
    let mut wanted = Where::owned(filter, "p");
    let when = "coalesce(p.end_ns, p.start_ns)";
    wanted.times(filter, when, when);
    wanted.each(view.conn, PARTS_OF, "", |row| {
        let origin = view.origin(row.get(11)?)?;
        let end_ns: Option<i64> = row.get(2)?;
        let implied = match end_ns {
            None => derive::trace_started(),
            Some(_) => derive::trace_ended(parsed(row, 3)?),
        };
        if !origin.derive_events || !wants(&implied) {
            return Ok(Go::On);
        }
        let record = RecordId {
            instance: origin.instance,
            ring: row.get(12)?,
            sequence: row.get::<_, i64>(13)? as u64,
        };
        let when = end_ns.unwrap_or(row.get(1)?);
        let Some(rank) = best.rank(when, None, Tie::record(record, implied.0)) else {
            return Ok(Go::On);
        };
        let event = derive::trace_event(&part(row)?, record, implied, &origin);
        let trace = view.trace_for(filter, row.get(14)?)?;
        if filter.accepts_event(&event, trace.as_deref()) {
            best.insert(rank, event);
        }
        Ok(Go::On)
    })
}

pub(super) fn metrics(view: &View<'_>, filter: &Filter) -> rusqlite::Result<Vec<Metric>> {
    let mut best = Best::of_points(filter);
    let mut wanted = Where::owned(filter, "m");
    wanted.times(filter, "m.timestamp_ns", "m.timestamp_ns");
    wanted.name(filter, "m.name");
    wanted.each(view.conn, METRICS, "", |row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.record, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let metric = metric(row, &head)?;
        let trace = view.trace_for(filter, head.trace)?;
        if filter.accepts_metric(&metric, trace.as_deref()) {
            best.insert(rank, metric);
        }
        Ok(Go::On)
    })?;
    let parts = NODE_METRICS
        .into_iter()
        .filter(|(_, name, ..)| filter.accepts_name(name));
    let parts: Vec<u8> = parts.map(|(part, ..)| part).collect();
    if filter.recorded_only || parts.is_empty() {
        return Ok(best.into_rows());
    }
    let wanted = telling_spans(filter, "'node_execution'");
    view.each_span(&wanted, |row, record, (start_ns, duration_ns)| {
        let origin = view.origin(row.get(2)?)?;
        let when = start_ns.saturating_add(duration_ns.unwrap_or(0));
        for &part in parts.iter().filter(|_| origin.derive_metrics) {
            let Some(rank) = best.rank(when, None, Tie::record(record, part)) else {
                continue;
            };
            let span = view.span(row, record)?;
            let trace = view.trace_for(filter, row.get(17)?)?;
            let metric = derive::node_metric(&span, record, part, &origin);
            let fits = |metric: &Metric| filter.accepts_metric(metric, trace.as_deref());
            if let Some(metric) = metric.filter(fits) {
                best.insert(rank, metric);
            }
        }
        Ok(())
    })?;
    Ok(best.into_rows())
}

/// A value, and what it was if it was an integer.
fn value(row: &Row<'_>, at: usize) -> rusqlite::Result<(f64, Option<i128>)> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(value) => (value as f64, Some(i128::from(value))),
        ValueRef::Real(value) => {
            let text = row.get_ref(at + 1)?.as_str_or_null()?;
            (value, text.and_then(|text| text.parse().ok()))
        }
        _ => (f64::NAN, None),
    })
}

pub(super) fn links(view: &View<'_>, filter: &Filter) -> rusqlite::Result<Vec<Link>> {
    let mut best = Best::of_points(filter);
    let mut wanted = Where::owned(filter, "l");
    wanted.times(filter, "l.timestamp_ns", "l.timestamp_ns");
    wanted.each(view.conn, LINKS, "", |row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.record, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let link = link(row, &head)?;
        let trace = view.trace_for(filter, head.trace)?;
        if filter.accepts_link(&link, trace.as_deref()) {
            best.insert(rank, link);
        }
        Ok(Go::On)
    })?;
    Ok(best.into_rows())
}
