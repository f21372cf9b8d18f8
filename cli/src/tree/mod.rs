//! A trace as text: a tree with bars.
//!
//! Always true:
//! - nothing here recurses, however deep spans are nested
//! - a span that still runs lasts until now, one of a dead process until its last sign of life

pub mod fold;
pub mod render;

use emberlog::{
    query::{SpanNode, TraceTree},
    Status,
};

/// The spans of a trace, depth first, with what drawing them needs.
pub struct Tree {
    /// Parents before their children.
    pub nodes: Vec<SpanNode>,
    /// Spans without a parent here.
    pub roots: Vec<usize>,
    /// Parent of each span.
    pub parent: Vec<Option<usize>>,
    /// When the tree begins and ends.
    pub range: (i64, i64),
}

impl Tree {
    /// The tree of a trace. Spans that still run last until `now_ns`.
    pub fn new(trace: &mut TraceTree, now_ns: i64) -> Self {
        let nodes = std::mem::take(&mut trace.nodes);
        let mut parent = vec![None; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            node.children
                .iter()
                .for_each(|&child| parent[child] = Some(i));
        }
        let starts = nodes.iter().map(|node| node.span.start_ns);
        let ends = nodes
            .iter()
            .map(|node| node.span.end_ns().unwrap_or(now_ns));
        let own_end = trace.trace.end_ns.unwrap_or(now_ns);
        let range = (
            starts.fold(trace.trace.start_ns, i64::min),
            ends.fold(own_end, i64::max),
        );
        Self {
            nodes,
            roots: trace.roots.clone(),
            parent,
            range,
        }
    }

    /// When a span ended or, while it runs, the end of the tree.
    pub fn end(&self, i: usize) -> i64 {
        self.nodes[i].span.end_ns().unwrap_or(self.range.1)
    }

    /// Length of a span so far.
    pub fn length(&self, i: usize) -> u64 {
        self.end(i)
            .saturating_sub(self.nodes[i].span.start_ns)
            .max(0)
            .unsigned_abs()
    }

    /// Whether a span failed.
    pub fn failed(&self, i: usize) -> bool {
        let span = &self.nodes[i].span;
        span.status == Status::Error || span.error.is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use emberlog::{AttributeMap, InstanceId, Span, SpanId, SpanKind, Trace, TraceId};

    fn span(id: u64, parent: u64, start: i64, end: i64) -> Span {
        Span {
            span_id: SpanId::new(id).unwrap(),
            trace_id: TraceId::from_u128(7),
            parent_span_id: SpanId::new(parent),
            remote_parent: false,
            name: format!("s{id}"),
            kind: SpanKind::NodeExecution,
            start_ns: start,
            duration_ns: (end >= start).then(|| (end - start).unsigned_abs()),
            status: Status::Ok,
            attributes: AttributeMap::new(),
            error: None,
            dropped_attributes: 0,
            thread: (0, 1),
            record: None,
            instance: InstanceId([0; 16]),
        }
    }

    /// A tree of (id, parent or 0, start, end), depth first, parents first; an end below 0 means
    /// that the span runs.
    pub fn tree(spans: &[(u64, u64, i64, i64)], now: i64) -> Tree {
        let mut nodes: Vec<SpanNode> = Vec::new();
        let mut roots = Vec::new();
        let mut places: std::collections::HashMap<u64, usize> = Default::default();
        for (i, &(id, parent, start, end)) in spans.iter().enumerate() {
            let above = places.get(&parent).copied();
            match above {
                Some(above) => nodes[above].children.push(i),
                None => roots.push(i),
            }
            let depth = above.map_or(0, |above: usize| nodes[above].depth + 1);
            let span = span(id, parent, start, end);
            nodes.push(SpanNode {
                span,
                children: Vec::new(),
                depth,
                self_time_ns: Some(1),
                dropped_events: 0,
            });
            places.insert(id, i);
        }
        let trace = Trace {
            trace_id: TraceId::from_u128(7),
            name: "t".into(),
            start_ns: 0,
            end_ns: None,
            status: Status::Unset,
            attributes: AttributeMap::new(),
            resource: Default::default(),
            remote_parent: None,
            sampling_rate: 1.0,
            dropped_attributes: 0,
            instance: InstanceId([0; 16]),
        };
        let mut trace = TraceTree {
            trace,
            roots,
            nodes,
            events: vec![],
            metrics: vec![],
            links: vec![],
        };
        Tree::new(&mut trace, now)
    }

    #[test]
    fn running_spans_last_until_now() {
        let tree = tree(&[(1, 0, 0, -1), (2, 1, 10, 30)], 100);
        assert_eq!(
            (tree.length(0), tree.length(1), tree.range),
            (100, 20, (0, 100))
        );
        assert_eq!(tree.parent, [None, Some(0)]);
    }
}
