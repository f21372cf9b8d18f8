//! What has one time: events and metrics, recorded or derived, and links.

use tokio_postgres::Row;

use super::{
    error::PostgresError,
    exact::{readable_text, NAME, SECOND},
    read::{attributes, dropped, exact, exact_ns, span_id, text, Go, View, Where},
    schema::{Names, Table, EVENTS, LINKS, METRICS},
    traces::part,
    value::Uuid,
};
use crate::{
    backend::best::{Best, Tie},
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

/// Selects columns that all points have, then others.
fn select(names: &Names, table: &Table, more: &str) -> String {
    format!(
        "SELECT {}, p.instance, p.ring, p.sequence, p.trace_id, p.span_id, p.{}, \
         p.attributes::text, p.exact, {more} FROM {} p",
        exact_ns("p.timestamp_ns", "p.\"timestamp\""),
        table.key[0],
        names.table(table)
    )
}

pub(super) fn select_events(names: &Names) -> String {
    select(names, &EVENTS, "p.type, p.name, p.dropped_attributes")
}

pub(super) fn select_metrics(names: &Names) -> String {
    let more = "p.name, p.value, p.integer_value::text, p.unit, p.aggregation_type, \
        p.dropped_attributes";
    select(names, &METRICS, more)
}

pub(super) fn select_links(names: &Names) -> String {
    select(names, &LINKS, "p.linked_trace_id, p.linked_span_id")
}

/// A row of [`select_events`].
pub(super) fn event(view: &mut View<'_>, row: &Row) -> Result<Event, PostgresError> {
    event_of(row, &head(view, row)?)
}

/// A row of [`select_metrics`].
pub(super) fn metric(view: &mut View<'_>, row: &Row) -> Result<Metric, PostgresError> {
    metric_of(row, &head(view, row)?)
}

/// A row of [`select_links`].
pub(super) fn link(view: &mut View<'_>, row: &Row) -> Result<Link, PostgresError> {
    link_of(row, &head(view, row)?)
}

fn event_of(row: &Row, head: &Head) -> Result<Event, PostgresError> {
    let exact = exact(row, 8);
    Ok(Event {
        event_id: head.id,
        event_type: EventType::new(&exact.text(SECOND, text(row, 9))),
        name: exact.text(NAME, text(row, 10)),
        timestamp_ns: head.timestamp_ns,
        trace_id: head.trace,
        span_id: span_id(row, 5),
        attributes: attributes(exact, row.get(7))?,
        dropped_attributes: dropped(row, 11),
        derived: false,
        record: head.record,
    })
}

fn metric_of(row: &Row, head: &Head) -> Result<Metric, PostgresError> {
    let exact = exact(row, 8);
    let integer = row.get::<_, Option<&str>>(11);
    Ok(Metric {
        metric_id: head.id,
        name: exact.text(NAME, text(row, 9)),
        value: row.get::<_, Option<f64>>(10).unwrap_or(f64::NAN),
        integer: integer.and_then(|text| text.parse().ok()),
        unit: exact.text(SECOND, text(row, 12)),
        aggregation: text(row, 13).parse().unwrap_or_default(),
        timestamp_ns: head.timestamp_ns,
        trace_id: head.trace,
        span_id: span_id(row, 5),
        attributes: attributes(exact, row.get(7))?,
        dropped_attributes: dropped(row, 14),
        derived: false,
        record: head.record,
    })
}

fn link_of(row: &Row, head: &Head) -> Result<Link, PostgresError> {
    Ok(Link {
        link_id: head.id,
        trace_id: head.trace.unwrap_or(TraceId::NONE),
        span_id: span_id(row, 5),
        linked_trace_id: row.get::<_, Option<Uuid>>(9).unwrap_or(Uuid(0)).trace(),
        linked_span_id: span_id(row, 10),
        timestamp_ns: head.timestamp_ns,
        attributes: attributes(exact(row, 8), row.get(7))?,
        record: head.record,
    })
}

/// What the rows of all three begin with.
struct Head {
    timestamp_ns: i64,
    /// Made up for rows that others wrote.
    place: RecordId,
    record: Option<RecordId>,
    trace: Option<TraceId>,
    id: u128,
}

fn head(view: &mut View<'_>, row: &Row) -> Result<Head, PostgresError> {
    let instance = view.origin(row.get(1))?.instance;
    let Uuid(id) = row.get(6);
    let sequence: Option<i64> = row.get(3);
    let place = RecordId {
        instance,
        ring: row.get::<_, Option<i32>>(2).unwrap_or_default() as u32,
        sequence: sequence.map_or(id as u64, |sequence| sequence as u64),
    };
    Ok(Head {
        timestamp_ns: row.get::<_, Option<i64>>(0).unwrap_or_default(),
        place,
        record: sequence.map(|_| place),
        trace: row.get::<_, Option<Uuid>>(4).map(Uuid::trace),
        id,
    })
}

/// Spans of these kinds that ended and may have something in the time that is asked for.
fn telling_spans(filter: &Filter, kinds: &str) -> Where {
    let mut wanted = Where::owned(filter, "s");
    wanted.only("s.duration IS NOT NULL AND s.sequence IS NOT NULL");
    wanted.only(&format!("s.kind IN ({kinds})"));
    wanted.times(filter, "s.start_time", "s.end_time");
    wanted
}

pub(super) fn events(view: &mut View<'_>, filter: &Filter) -> Result<Vec<Event>, PostgresError> {
    let mut best = Best::of_points(filter);
    let wanted_type = filter.event_type.as_deref().map(EventType::new);
    let mut wanted = Where::owned(filter, "p");
    wanted.only("p.derived IS NOT TRUE");
    wanted.times(filter, "p.\"timestamp\"", "p.\"timestamp\"");
    wanted.name(filter, "p.name");
    if let Some(wanted_type) = &wanted_type {
        // Both spellings of the documents, where others wrote.
        let mut texts = vec![readable_text(wanted_type.as_str())];
        texts.extend(filter.event_type.as_deref().map(readable_text));
        texts.push(readable_text(&wanted_type.as_str().replace('.', "_")));
        wanted.and("p.type = ANY(?)", texts);
    }
    let sql = select_events(view.names);
    view.each(&sql, &wanted, "", |view, row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.place, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let event = event_of(row, &head)?;
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
    view: &mut View<'_>,
    filter: &Filter,
    wants: &dyn Fn(&derive::Implied) -> bool,
    best: &mut Best<Event>,
) -> Result<(), PostgresError> {
    let kinds = "'node_execution', 'graph_run', 'tool_call', 'llm_call'";
    let wanted = telling_spans(filter, kinds);
    view.each_span(&wanted, |view, row, record, (start_ns, duration_ns)| {
        let origin = view.origin(row.get(2))?;
        if !origin.derive_events {
            return Ok(());
        }
        let kind: SpanKind = text(row, 11).parse().unwrap_or(SpanKind::Internal);
        let status: Status = text(row, 12).parse().unwrap_or_default();
        let has_parent = span_id(row, 8).is_some();
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
            let trace = view.trace_for(filter, Some(span.trace_id))?;
            if filter.accepts_event(&event, trace.as_deref()) {
                best.insert(rank, event);
            }
        }
        Ok(())
    })
}

fn events_of_traces(
    view: &mut View<'_>,
    filter: &Filter,
    wants: &dyn Fn(&derive::Implied) -> bool,
    best: &mut Best<Event>,
) -> Result<(), PostgresError> {
    let mut wanted = Where::default();
    if let Some(id) = filter.trace_id {
        wanted.and("p.trace_id = ?", Uuid::from(id));
    }
    let when = "coalesce(p.end_ns, p.start_ns)";
    if let Some(since) = filter.since_ns {
        wanted.and(&format!("{when} >= ?"), since);
    }
    if let Some(until) = filter.until_ns {
        wanted.and(&format!("{when} <= ?"), until);
    }
    let select = view.select_parts();
    view.each(&select, &wanted, "", |view, row| {
        let origin = view.origin(row.get(10))?;
        let trace = part(row)?;
        let implied = match trace.end_ns {
            None => derive::trace_started(),
            Some(_) => derive::trace_ended(trace.status),
        };
        if !origin.derive_events || !wants(&implied) {
            return Ok(Go::On);
        }
        let record = RecordId {
            instance: origin.instance,
            ring: row.get::<_, i32>(11) as u32,
            sequence: row.get::<_, i64>(12) as u64,
        };
        let when = trace.end_ns.unwrap_or(trace.start_ns);
        let Some(rank) = best.rank(when, None, Tie::record(record, implied.0)) else {
            return Ok(Go::On);
        };
        let event = derive::trace_event(&trace, record, implied, &origin);
        let trace = view.trace_for(filter, Some(trace.trace_id))?;
        if filter.accepts_event(&event, trace.as_deref()) {
            best.insert(rank, event);
        }
        Ok(Go::On)
    })
}

pub(super) fn metrics(view: &mut View<'_>, filter: &Filter) -> Result<Vec<Metric>, PostgresError> {
    let mut best = Best::of_points(filter);
    let mut wanted = Where::owned(filter, "p");
    wanted.only("p.derived IS NOT TRUE");
    wanted.times(filter, "p.\"timestamp\"", "p.\"timestamp\"");
    wanted.name(filter, "p.name");
    let sql = select_metrics(view.names);
    view.each(&sql, &wanted, "", |view, row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.place, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let metric = metric_of(row, &head)?;
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
    view.each_span(&wanted, |view, row, record, (start_ns, duration_ns)| {
        let origin = view.origin(row.get(2))?;
        let when = start_ns.saturating_add(duration_ns.unwrap_or(0));
        for &part in parts.iter().filter(|_| origin.derive_metrics) {
            let Some(rank) = best.rank(when, None, Tie::record(record, part)) else {
                continue;
            };
            let span = view.span(row, record)?;
            let trace = view.trace_for(filter, Some(span.trace_id))?;
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

pub(super) fn links(view: &mut View<'_>, filter: &Filter) -> Result<Vec<Link>, PostgresError> {
    let mut best = Best::of_points(filter);
    let mut wanted = Where::owned(filter, "p");
    wanted.times(filter, "p.\"timestamp\"", "p.\"timestamp\"");
    let sql = select_links(view.names);
    view.each(&sql, &wanted, "", |view, row| {
        let head = head(view, row)?;
        let tie = Tie::record(head.place, 0);
        let Some(rank) = best.rank(head.timestamp_ns, None, tie) else {
            return Ok(Go::On);
        };
        let link = link_of(row, &head)?;
        let trace = view.trace_for(filter, head.trace)?;
        if filter.accepts_link(&link, trace.as_deref()) {
            best.insert(rank, link);
        }
        Ok(Go::On)
    })?;
    Ok(best.into_rows())
}
