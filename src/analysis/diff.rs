//! Two traces, node by node.

use ahash::AHashMap;

use crate::{
    model::Span,
    query::{SpanNode, TraceTree},
    record::{id::TraceId, kinds::Status},
};

/// What two traces have in common and what not.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TraceDiff {
    /// The first trace.
    pub before: TraceId,
    /// The second trace.
    pub after: TraceId,
    /// Length of both; `None` while it runs.
    pub duration_ns: [Option<u64>; 2],
    /// Status of both.
    pub status: [Status; 2],
    /// Parents before their children, in the order of the first trace; what only the second one
    /// has stands behind its siblings.
    pub nodes: Vec<NodeChange>,
}

/// A node of one trace or of both: the same node, the same time in a row, below the same parent.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct NodeChange {
    /// `node.id`, else the name of the span.
    pub node: String,
    /// Which one of several below the same parent, from 1.
    pub occurrence: u32,
    /// How deep it lies; 0 for what has no parent.
    pub depth: usize,
    /// Length in both traces, nanoseconds; `None` where it is missing or still runs.
    pub duration_ns: [Option<u64>; 2],
    /// Length without its children in both traces, nanoseconds.
    pub self_ns: [Option<u64>; 2],
    /// Status in both traces; `None` where it is missing.
    pub status: [Option<Status>; 2],
    /// Type of the error in both traces.
    pub error_type: [Option<String>; 2],
    /// Length in the second minus length in the first, nanoseconds.
    pub difference_ns: Option<i64>,
}

impl NodeChange {
    /// Whether it is in both traces and ended alike.
    pub fn is_same(&self) -> bool {
        self.status[0] == self.status[1] && self.error_type[0] == self.error_type[1]
    }
}

/// Compares two traces.
pub fn diff(before: &TraceTree, after: &TraceTree) -> TraceDiff {
    let trees = [before, after];
    let mut nodes = Vec::new();
    let roots = trees.map(|tree| tree.roots.clone());
    let mut stack: Vec<(Pair, usize)> = Vec::new();
    push(&mut stack, &roots, trees, 0);
    while let Some((pair, depth)) = stack.pop() {
        nodes.push(change(&pair, trees, depth));
        let children = [0, 1].map(|side| {
            let node = node_of(&pair, trees, side);
            node.map_or_else(Vec::new, |node| node.children.clone())
        });
        push(&mut stack, &children, trees, depth + 1);
    }
    TraceDiff {
        before: before.trace.trace_id,
        after: after.trace.trace_id,
        duration_ns: trees.map(|tree| tree.trace.duration_ns()),
        status: trees.map(|tree| tree.trace.status),
        nodes,
    }
}

/// The same node in both trees, as far as it is there.
struct Pair {
    node: String,
    occurrence: u32,
    places: [Option<usize>; 2],
}

/// Pairs siblings, and puts them so that the first one comes off the stack first.
fn push(
    stack: &mut Vec<(Pair, usize)>,
    siblings: &[Vec<usize>; 2],
    trees: [&TraceTree; 2],
    depth: usize,
) {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut known: AHashMap<(String, u32), usize> = AHashMap::new();
    for side in [0, 1] {
        let mut seen: AHashMap<&str, u32> = AHashMap::new();
        for &place in &siblings[side] {
            let Some(node) = trees[side].nodes.get(place) else {
                continue;
            };
            let key = key_of(&node.span);
            let occurrence = seen.entry(key).and_modify(|n| *n += 1).or_insert(1);
            let at = *known
                .entry((key.to_owned(), *occurrence))
                .or_insert_with(|| {
                    pairs.push(Pair {
                        node: key.to_owned(),
                        occurrence: *occurrence,
                        places: [None, None],
                    });
                    pairs.len() - 1
                });
            pairs[at].places[side] = Some(place);
        }
    }
    stack.extend(pairs.into_iter().rev().map(|pair| (pair, depth)));
}

fn key_of(span: &Span) -> &str {
    span.node_id().unwrap_or(&span.name)
}

fn node_of<'t>(pair: &Pair, trees: [&'t TraceTree; 2], side: usize) -> Option<&'t SpanNode> {
    trees[side].nodes.get(pair.places[side]?)
}

fn change(pair: &Pair, trees: [&TraceTree; 2], depth: usize) -> NodeChange {
    let nodes = [0, 1].map(|side| node_of(pair, trees, side));
    let duration_ns = nodes.map(|node| node.and_then(|node| node.span.duration_ns));
    let difference = match duration_ns {
        [Some(before), Some(after)] => {
            let difference = i128::from(after) - i128::from(before);
            i64::try_from(difference).ok()
        }
        _ => None,
    };
    NodeChange {
        node: pair.node.clone(),
        occurrence: pair.occurrence,
        depth,
        duration_ns,
        self_ns: nodes.map(|node| node.and_then(|node| node.self_time_ns)),
        status: nodes.map(|node| node.map(|node| node.span.status)),
        error_type: nodes.map(|node| {
            let error = node.and_then(|node| node.span.error.as_ref());
            error.map(|error| error.error_type.clone())
        }),
        difference_ns: difference,
    }
}
