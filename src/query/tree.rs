//! One trace as a whole: its spans as a forest, and everything else that belongs to it.
//!
//! Always true:
//! - every span is a node once, whatever the recorded parents are: one whose parent is missing is a
//!   root, and a circle of parents is cut at its earliest span
//! - nodes stand in depth-first order, so printing them one after the other prints the tree
//! - nothing recurses: a chain of a million spans is as good as any

use ahash::AHashMap;

use crate::{
    model::{Event, Link, Metric, Span, Trace},
    record::id::SpanId,
};

/// A span inside its trace.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SpanNode {
    /// The span.
    pub span: Span,
    /// Its children in [`TraceTree::nodes`], by start.
    pub children: Vec<usize>,
    /// Parents above it; 0 for roots.
    pub depth: usize,
    /// Nanoseconds of it in which no child ran; `None` while it runs.
    pub self_time_ns: Option<u64>,
    /// Older events that were left out, see `max_events_per_span`.
    pub dropped_events: u64,
}

/// One trace with everything that belongs to it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TraceTree {
    /// The trace. Where its start was not recorded or is gone, it begins with its first span.
    pub trace: Trace,
    /// Spans without a parent in this trace, by start.
    pub roots: Vec<usize>,
    /// All spans, depth first.
    pub nodes: Vec<SpanNode>,
    /// Its events, earliest first, derived ones included.
    pub events: Vec<Event>,
    /// Its metrics, earliest first, derived ones included.
    pub metrics: Vec<Metric>,
    /// Its links, earliest first.
    pub links: Vec<Link>,
}

/// What a tree is made of.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) trace: Option<Trace>,
    pub(super) spans: Vec<Span>,
    pub(super) events: Vec<Event>,
    pub(super) metrics: Vec<Metric>,
    pub(super) links: Vec<Link>,
    /// Newest events that a span keeps; 0 keeps all.
    pub(super) max_events_per_span: u32,
}

impl TraceTree {
    /// `None` if nothing is known of the trace.
    pub(super) fn build(parts: Parts) -> Option<Self> {
        let Parts {
            trace,
            mut spans,
            mut events,
            mut metrics,
            mut links,
            max_events_per_span,
        } = parts;
        let trace = trace.or_else(|| from_parts(&spans, &events, &metrics, &links))?;
        spans.sort_by_key(|span| (span.start_ns, span.record, span.span_id));
        events.sort_by_key(|event| (event.timestamp_ns, event.record, event.event_id));
        metrics.sort_by_key(|metric| (metric.timestamp_ns, metric.record, metric.metric_id));
        links.sort_by_key(|link| (link.timestamp_ns, link.record, link.link_id));
        let dropped = keep_newest(&mut events, max_events_per_span);
        let (roots, mut nodes) = forest(spans);
        for node in &mut nodes {
            node.dropped_events = dropped.get(&node.span.span_id).copied().unwrap_or(0);
        }
        self_times(&mut nodes);
        Some(Self {
            trace,
            roots,
            nodes,
            events,
            metrics,
            links,
        })
    }

    /// The node of a span.
    pub fn find(&self, span: SpanId) -> Option<&SpanNode> {
        self.nodes.iter().find(|node| node.span.span_id == span)
    }
}

/// What can be said of a trace of which neither start nor end is there.
fn from_parts(
    spans: &[Span],
    events: &[Event],
    metrics: &[Metric],
    links: &[Link],
) -> Option<Trace> {
    let of_events = events
        .iter()
        .map(|e| (e.trace_id, e.timestamp_ns, e.record));
    let of_metrics = metrics
        .iter()
        .map(|m| (m.trace_id, m.timestamp_ns, m.record));
    let of_links = links
        .iter()
        .map(|l| (Some(l.trace_id), l.timestamp_ns, l.record));
    let of_spans = spans
        .iter()
        .map(|s| (Some(s.trace_id), s.start_ns, s.record));
    let (trace_id, start_ns, record) = of_spans
        .chain(of_events)
        .chain(of_metrics)
        .chain(of_links)
        .min_by_key(|(_, at, record)| (*at, *record))?;
    let instance = spans.first().map(|span| span.instance);
    Some(Trace {
        trace_id: trace_id?,
        name: String::new(),
        start_ns,
        end_ns: None,
        status: crate::Status::Unset,
        attributes: crate::AttributeMap::new(),
        resource: std::sync::Arc::default(),
        remote_parent: None,
        sampling_rate: 1.0,
        dropped_attributes: 0,
        instance: record.map(|r| r.instance).or(instance)?,
    })
}

/// Leaves each span its newest recorded events; returns how many older ones it had.
fn keep_newest(events: &mut Vec<Event>, most: u32) -> AHashMap<SpanId, u64> {
    let mut left: AHashMap<SpanId, u64> = AHashMap::new();
    for span in events
        .iter()
        .filter(|e| !e.derived)
        .filter_map(|e| e.span_id)
    {
        *left.entry(span).or_insert(0) += 1;
    }
    left.retain(|_, count| {
        *count = count.saturating_sub(u64::from(most));
        most > 0 && *count > 0
    });
    let dropped = left.clone();
    if !left.is_empty() {
        // Earliest first: the first ones go.
        events.retain(|event| {
            let of = event.span_id.filter(|_| !event.derived);
            match of.and_then(|span| left.get_mut(&span)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            }
        });
    }
    dropped
}

/// Spans, which come by start, as trees: roots and nodes depth first.
fn forest(spans: Vec<Span>) -> (Vec<usize>, Vec<SpanNode>) {
    let mut places: AHashMap<SpanId, usize> = AHashMap::new();
    for (at, span) in spans.iter().enumerate() {
        places.entry(span.span_id).or_insert(at);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut parents = Vec::with_capacity(spans.len());
    for (at, span) in spans.iter().enumerate() {
        let parent = span.parent_span_id.and_then(|id| places.get(&id).copied());
        let parent = parent.filter(|parent| *parent != at);
        if let Some(parent) = parent {
            children[parent].push(at);
        }
        parents.push(parent);
    }
    let mut seen = vec![false; spans.len()];
    let mut order: Vec<(usize, usize, Option<usize>)> = Vec::with_capacity(spans.len());
    let mut roots = Vec::new();
    let mut stack = Vec::new();
    let starts = (0..spans.len()).filter(|&at| parents[at].is_none());
    for first in starts.chain(0..spans.len()) {
        if seen[first] {
            continue;
        }
        // What no root reaches lies on or behind a circle.
        let first = earliest_of_circle(&parents, first);
        roots.push(order.len());
        seen[first] = true;
        stack.push((first, 0, None));
        while let Some((at, depth, parent)) = stack.pop() {
            let here = order.len();
            order.push((at, depth, parent));
            for &child in children[at].iter().rev() {
                if !std::mem::replace(&mut seen[child], true) {
                    stack.push((child, depth + 1, Some(here)));
                }
            }
        }
    }
    let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    let mut nodes: Vec<SpanNode> = Vec::with_capacity(order.len());
    for (here, (at, depth, parent)) in order.into_iter().enumerate() {
        if let Some(node) = parent.and_then(|parent| nodes.get_mut(parent)) {
            node.children.push(here);
        }
        if let Some(span) = spans[at].take() {
            nodes.push(SpanNode {
                span,
                children: Vec::new(),
                depth,
                self_time_ns: None,
                dropped_events: 0,
            });
        }
    }
    roots.sort_by_key(|&root| (nodes[root].span.start_ns, root));
    (roots, nodes)
}

/// The earliest span of the circle that one comes to by following the parents; a root is its own.
fn earliest_of_circle(parents: &[Option<usize>], from: usize) -> usize {
    let step = |at: usize| parents[at].unwrap_or(at);
    // The faster one has made a round on the circle when both meet.
    let (mut slow, mut fast) = (step(from), step(step(from)));
    while slow != fast {
        (slow, fast) = (step(slow), step(step(fast)));
    }
    let (mut earliest, mut at) = (slow, step(slow));
    while at != slow {
        earliest = earliest.min(at);
        at = step(at);
    }
    earliest
}

/// Length of each span without the union of its children, which are cut to fit into it.
fn self_times(nodes: &mut [SpanNode]) {
    for at in 0..nodes.len() {
        let node = &nodes[at];
        let (Some(duration), Some(end)) = (node.span.duration_ns, node.span.end_ns()) else {
            continue;
        };
        let mut covered = 0u64;
        let mut upto = node.span.start_ns;
        for child in node.children.iter().filter_map(|&child| nodes.get(child)) {
            let from = child.span.start_ns.max(upto);
            let to = child.span.end_ns().unwrap_or(end).min(end);
            if to > from {
                covered += to.abs_diff(from);
                upto = to;
            }
        }
        nodes[at].self_time_ns = Some(duration.saturating_sub(covered));
    }
}
