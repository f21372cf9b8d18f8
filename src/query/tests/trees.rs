//! One trace as a tree.

use crate::{
    model::{AttributeMap, Event, Span},
    query::tree::{Parts, TraceTree},
    record::{
        id::{InstanceId, RecordId, SpanId, TraceId},
        kinds::{EventType, SpanKind, Status},
    },
};

const INSTANCE: InstanceId = InstanceId([1; 16]);

fn span(id: u64, parent: u64, start_ns: i64, end_ns: Option<i64>) -> Span {
    Span {
        span_id: SpanId::new(id).unwrap(),
        trace_id: TraceId::from_u128(9),
        parent_span_id: SpanId::new(parent),
        remote_parent: false,
        name: id.to_string(),
        kind: SpanKind::Internal,
        start_ns,
        duration_ns: end_ns.map(|end| (end - start_ns) as u64),
        status: Status::Ok,
        attributes: AttributeMap::new(),
        error: None,
        dropped_attributes: 0,
        thread: (0, 0),
        record: None,
        instance: INSTANCE,
    }
}

fn tree(spans: Vec<Span>) -> TraceTree {
    let parts = Parts {
        spans,
        ..Parts::default()
    };
    TraceTree::build(parts).unwrap()
}

/// Ids with their depths, depth first.
fn shape(tree: &TraceTree) -> Vec<(u64, usize)> {
    let nodes = tree.nodes.iter();
    nodes.map(|n| (n.span.span_id.get(), n.depth)).collect()
}

#[test]
fn children_stand_behind_their_parent_by_start() {
    let tree = tree(vec![
        span(3, 1, 50, Some(60)),
        span(4, 2, 25, Some(30)),
        span(1, 0, 10, Some(100)),
        span(2, 1, 20, Some(40)),
        span(5, 0, 5, Some(6)),
    ]);
    assert_eq!(shape(&tree), [(5, 0), (1, 0), (2, 1), (4, 2), (3, 1)]);
    assert_eq!(tree.roots, [0, 1]);
    assert_eq!(tree.nodes[1].children, [2, 4]);
    assert_eq!(tree.trace.start_ns, 5);
}

#[test]
fn a_span_without_its_parent_is_a_root() {
    let tree = tree(vec![
        span(1, 0, 10, Some(100)),
        span(2, 77, 20, Some(40)),
        span(3, 2, 30, None),
    ]);
    assert_eq!(shape(&tree), [(1, 0), (2, 0), (3, 1)]);
    assert_eq!(tree.roots, [0, 1]);
}

#[test]
fn circles_are_cut_at_their_earliest_span() {
    // 2 → 3 → 4 → 2 is a circle, 5 hangs off it and began before all of them, 6 is its own parent.
    let tree = tree(vec![
        span(2, 4, 30, Some(40)),
        span(3, 2, 20, Some(40)),
        span(4, 3, 25, Some(40)),
        span(5, 4, 10, Some(40)),
        span(6, 6, 90, Some(91)),
    ]);
    assert_eq!(shape(&tree), [(6, 0), (3, 0), (4, 1), (5, 2), (2, 2)]);
    assert_eq!(tree.roots, [1, 0]);
}

#[test]
fn self_time_leaves_out_the_union_of_the_children() {
    let tree = tree(vec![
        span(1, 0, 100, Some(200)),
        // Two that overlap, one inside, one that began before and one that outlives its parent.
        span(2, 1, 110, Some(130)),
        span(3, 1, 120, Some(140)),
        span(4, 1, 121, Some(122)),
        span(5, 1, 90, Some(105)),
        span(6, 1, 190, Some(250)),
        span(7, 1, 180, None),
    ]);
    let node = tree.find(SpanId::new(1).unwrap()).unwrap();
    // 100..105, 110..140 and 180..200 are the children's.
    assert_eq!(node.self_time_ns, Some(100 - 5 - 30 - 20));
    assert_eq!(
        tree.find(SpanId::new(7).unwrap()).unwrap().self_time_ns,
        None
    );
}

#[test]
fn a_chain_of_a_million_spans_is_no_deeper_than_memory() {
    let chain = (1..=1_000_000).map(|n| span(n, n - 1, n as i64, Some(2_000_000)));
    let tree = tree(chain.collect());
    assert_eq!(tree.roots, [0]);
    assert_eq!(tree.nodes.last().unwrap().depth, 999_999);
    assert_eq!(tree.nodes[0].self_time_ns, Some(1));
}

#[test]
fn a_span_keeps_its_newest_events() {
    let event = |n: u64, derived: bool| Event {
        event_id: n.into(),
        event_type: EventType::CUSTOM,
        name: n.to_string(),
        timestamp_ns: n as i64,
        trace_id: Some(TraceId::from_u128(9)),
        span_id: SpanId::new(1),
        attributes: AttributeMap::new(),
        dropped_attributes: 0,
        derived,
        record: Some(RecordId {
            instance: INSTANCE,
            ring: 0,
            sequence: n,
        }),
    };
    let events = (0..10).map(|n| event(n, n == 0)).collect();
    let tree = TraceTree::build(Parts {
        spans: vec![span(1, 0, 0, Some(20))],
        events,
        max_events_per_span: 4,
        ..Parts::default()
    });
    let tree = tree.unwrap();
    let kept: Vec<_> = tree.events.iter().map(|e| e.timestamp_ns).collect();
    assert_eq!(kept, [0, 6, 7, 8, 9]);
    assert_eq!(tree.nodes[0].dropped_events, 5);
}

#[test]
fn nothing_is_no_tree() {
    assert_eq!(TraceTree::build(Parts::default()), None);
}
