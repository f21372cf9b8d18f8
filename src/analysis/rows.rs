//! Facts out of rows, from any store that answers queries.

use smallvec::SmallVec;

use crate::{
    backend::{Scan, ScanError},
    model::{Event, Metric, Span, Trace},
    query::filter::{Filter, Order},
    record::id::TraceId,
};

use super::{
    facts::{
        self, assemble, Assembled, BareSpan, Details, EventClass, EventFacts, Marks, Names, Parts,
        SpanFacts, TraceFacts, TracePart, Wanted,
    },
    fields::{self, Fields},
    tally::Tallies,
};

/// Traces whose parts are asked for at once: some tens of megabytes of rows.
const AT_ONCE: usize = 2000;

/// Reads everything that is asked for and adds it up.
pub(super) fn read(
    store: &dyn Scan,
    wanted: &Wanted,
    tallies: &mut Tallies,
) -> Result<(), ScanError> {
    let mut filter = Filter::new().all().order(Order::Oldest);
    if wanted.since_ns > i64::MIN {
        filter = filter.since_ns(wanted.since_ns);
    }
    if wanted.until_ns < i64::MAX {
        filter = filter.until_ns(wanted.until_ns);
    }
    if let Some(graph) = &wanted.graph {
        filter = filter.graph(graph);
    }
    if let [version] = &wanted.versions[..] {
        filter = filter.graph_version(version);
    }
    let mut ended: Vec<TraceFacts> = Vec::new();
    for trace in store.traces(&filter)? {
        match trace_facts(&trace, wanted, tallies) {
            Assembled::Ended(facts) => ended.push(facts),
            Assembled::Running => tallies.running += 1,
            Assembled::Other => {}
        }
    }
    for some in ended.chunks(AT_ONCE) {
        add(store, some, tallies)?;
    }
    Ok(())
}

/// Adds traces with everything that belongs to them.
fn add(store: &dyn Scan, traces: &[TraceFacts], tallies: &mut Tallies) -> Result<(), ScanError> {
    let ids: Vec<TraceId> = traces.iter().map(|trace| trace.id).collect();
    let rows = store.parts(&ids)?;
    let mut sorted: Vec<(TraceId, usize)> = ids.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    let place = |id: TraceId| {
        let at = sorted.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(sorted[at].1)
    };
    let mut parts = vec![Parts::default(); traces.len()];
    for span in &rows.spans {
        if let (Some(at), Some(duration_ns)) = (place(span.trace_id), span.duration_ns) {
            let of = &mut parts[at];
            let facts = span_facts(span, duration_ns, &mut tallies.names, &mut of.details);
            of.spans.push(facts);
        }
    }
    for event in rows.events.iter().filter(|event| !event.derived) {
        let facts = event_facts(event, &mut tallies.names);
        if let (Some(at), Some(facts)) = (event.trace_id.and_then(place), facts) {
            parts[at].events.push(facts);
        }
    }
    for metric in rows.metrics.iter().filter(|metric| !metric.derived) {
        let class = tallies.classify(&metric.name, &metric.unit);
        if let (Some(at), true) = (metric.trace_id.and_then(place), class.matters()) {
            parts[at]
                .metrics
                .push(metric_facts(metric, class, &mut tallies.names));
        }
    }
    for (trace, parts) in traces.iter().zip(&parts) {
        tallies.add(trace, parts);
    }
    Ok(())
}

fn trace_facts(trace: &Trace, wanted: &Wanted, tallies: &mut Tallies) -> Assembled {
    let fields = Fields::of_rows(trace.attributes.iter());
    let graph = wanted.graph.as_deref();
    let named = !trace.name.is_empty();
    let part = TracePart {
        start_ns: trace.start_ns,
        end: trace.end_ns.map(|end| (end, trace.status)),
        instance: trace.instance,
        rate: trace.sampling_rate,
        named: named.then(|| graph.is_none_or(|graph| graph == trace.name)),
        marks: Marks::of(&fields, wanted, &mut tallies.names.texts),
        of_instance: Marks::default(),
        is_open: false,
    };
    let mut parts: SmallVec<[TracePart; 2]> = SmallVec::from_iter([part]);
    assemble(trace.trace_id, &mut parts, wanted, |_| None)
}

fn span_facts(
    span: &Span,
    duration_ns: u64,
    names: &mut Names,
    details: &mut Vec<Details>,
) -> SpanFacts {
    let mut fields = Fields::of_rows(span.attributes.iter());
    // What the row shows as its error was taken out of its attributes.
    if let Some(error) = &span.error {
        let texts = [
            (fields::ERROR_TYPE.start, &error.error_type),
            (fields::ERROR_MESSAGE.start, &error.message),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            fields.set(key, fields::Scalar::Text(text));
        }
    }
    let bare = BareSpan {
        id: span.span_id.get(),
        parent: span.parent_span_id.map_or(0, |id| id.get()),
        start_ns: span.start_ns,
        duration_ns,
        status: span.status,
        kind: span.kind,
    };
    facts::span(bare, &fields, names, details, |texts| texts.id(&span.name))
}

fn event_facts(event: &Event, names: &mut Names) -> Option<EventFacts> {
    let class = EventClass::of(&event.event_type)?;
    let fields = Fields::of_rows(event.attributes.iter());
    let span = event.span_id.map_or(0, |id| id.get());
    Some(facts::event(
        class,
        event.timestamp_ns,
        span,
        &fields,
        names,
    ))
}

fn metric_facts(
    metric: &Metric,
    class: facts::MetricClass,
    names: &mut Names,
) -> facts::MetricFacts {
    let fields = Fields::of_rows(metric.attributes.iter());
    let span = metric.span_id.map_or(0, |id| id.get());
    facts::metric(class, metric.value, span, &fields, names)
}
