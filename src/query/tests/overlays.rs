//! What rings hold, on top of a log that has some of it already.

use std::sync::Arc;

use super::make::{anchor, instance, origin, trace_id, Maker};
use crate::{
    clock::Anchor,
    query::{
        memory::MemorySegment,
        overlay::{Left, LeftOpen, LeftRing, Overlay},
        source::Segment,
        store::Open,
    },
    record::id::{SpanId, TraceId},
};

fn events(maker: &mut Maker, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let each = numbers.flat_map(|n| maker.event("e", "milestone", (TraceId::NONE, 0), n, &[]));
    each.collect()
}

/// A ring with the records 3 to 7 of which the log has those below `logged`.
fn overlay(logged: u64, ring_anchor: Option<Anchor>) -> Overlay {
    let mut maker = Maker::new();
    let words = events(&mut maker, 3..8);
    let mut segments = Vec::new();
    if logged > 0 {
        let mut data = MemorySegment::new(maker.names.map.clone());
        data.push((1, 1), 0, anchor(0), events(&mut maker, 0..logged));
        // Another ring says nothing about this one.
        data.push((2, 1), 0, anchor(0), events(&mut maker, 0..100));
        segments.push(Arc::new(Segment::memory(origin(0), data)));
    }
    let name = maker.names.id("e");
    let left = Left {
        instance: instance(0),
        names: maker.names.map,
        origin: None,
        anchor: None,
        sign: Some(50),
        rings: vec![LeftRing {
            thread: (1, 1),
            first: 3,
            words,
            anchor: ring_anchor,
            open: vec![LeftOpen {
                trace: trace_id(1),
                span: SpanId::new(5),
                parent: 4,
                name,
                kind: 2,
                flags: 0,
                start: 9,
            }],
        }],
    };
    left.overlay(&segments, None)
}

fn sequences(overlay: &Overlay) -> Vec<u64> {
    let segment = overlay.segment.iter();
    let entries = segment.flat_map(|segment| segment.entries());
    entries
        .flat_map(|e| e.first_sequence..e.end_sequence())
        .collect()
}

#[test]
fn only_what_the_log_lacks_is_added() {
    let at = Some(anchor(0));
    assert_eq!(sequences(&overlay(0, at)), [3, 4, 5, 6, 7]);
    assert_eq!(sequences(&overlay(3, at)), [3, 4, 5, 6, 7]);
    assert_eq!(sequences(&overlay(5, at)), [5, 6, 7]);
    assert_eq!(sequences(&overlay(8, at)), [0u64; 0]);
    assert_eq!(sequences(&overlay(90, at)), [0u64; 0]);
}

#[test]
fn open_spans_have_the_attributes_of_their_instance() {
    let overlay = overlay(5, Some(anchor(0)));
    assert_eq!(overlay.sign_ns, None);
    let [Open::Span(span)] = &overlay.open[..] else {
        panic!("{:?}", overlay.open);
    };
    assert_eq!((&*span.name, span.start_ns), ("e", 1_000_009));
    assert_eq!(
        span.attributes.get("env").and_then(|v| v.as_str()),
        Some("prod")
    );
    assert!(span.is_active());
}

#[test]
fn ticks_without_an_anchor_mean_nothing() {
    let overlay = overlay(5, None);
    assert!(overlay.segment.is_none() && overlay.open.is_empty());
}
