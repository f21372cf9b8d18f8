//! Everything that belongs to one trace, in one pass over its frames.

use ahash::AHashSet;

use crate::{
    backend::{Row, ScanError},
    record::id::{SpanId, TraceId},
};

use super::{
    derive,
    partial::assemble,
    rows::row,
    store::{Open, Store},
    tree::Parts,
};

/// Kinds that belong to a trace.
const KINDS: u16 = 0b1111_1110;

/// The parts of the tree of a trace; empty if nothing is known of it.
pub(super) fn gather(store: &Store, id: TraceId) -> Result<Parts, ScanError> {
    let mut parts = Parts::default();
    let mut began = Vec::new();
    for (segment, block) in store.find_trace(id) {
        store.visit(segment, block, KINDS, |block, item, _| {
            if block.trace_of(item) != id {
                return Ok(());
            }
            let record = block.record(item.at)?;
            let (record_id, origin) = (block.id(item.nth), block.context.origin);
            parts.max_events_per_span = parts.max_events_per_span.max(origin.max_events_per_span);
            match row(&block.context, record_id, &record) {
                Some(Row::TraceBegan(began)) if origin.derive_events => {
                    let implied = derive::trace_started();
                    let event = derive::trace_event(&began.trace, record_id, implied, origin);
                    parts.events.push(event);
                }
                Some(Row::TraceEnded(ended)) if origin.derive_events => {
                    let implied = derive::trace_ended(ended.trace.status);
                    let event = derive::trace_event(&ended.trace, record_id, implied, origin);
                    parts.events.push(event);
                }
                Some(Row::Span(span)) if span.duration_ns.is_none() => began.push(span),
                Some(Row::Span(span)) => {
                    parts.events.extend(derive::events_of_span(&span, origin));
                    parts.metrics.extend(derive::metrics_of_span(&span, origin));
                    parts.spans.push(span);
                }
                Some(Row::Event(event)) => parts.events.push(event),
                Some(Row::Metric(metric)) => parts.metrics.push(metric),
                Some(Row::Link(link)) => parts.links.push(link),
                Some(Row::TraceBegan(_) | Row::TraceEnded(_)) | None => {}
            }
            Ok(())
        })?;
    }
    let open = store.open.iter().filter_map(|open| match open {
        Open::Span(span) if span.trace_id == id => Some(span.clone()),
        _ => None,
    });
    let mut known: AHashSet<SpanId> = parts.spans.iter().map(|span| span.span_id).collect();
    for mut span in began.into_iter().chain(open) {
        if known.insert(span.span_id) {
            store.settle_span(&mut span);
            parts.spans.push(span);
        }
    }
    parts.trace = assemble(store, id);
    Ok(parts)
}
