//! What rings hold on top of the log: records that are not in it yet, spans that are open.
//!
//! Always true:
//! - the rings are read before the log is: what the flusher moves in between is then in both, and
//!   [`Left::fresh`] leaves out what the log has by (instance, ring, sequence)
//! - nothing of it outlives the query; the next one reads the rings again

use std::{path::Path, sync::Arc};

use ahash::AHashMap;

use crate::{
    clock::Anchor,
    model::{AttributeMap, Span, Trace},
    record::{
        id::{InstanceId, LogId, SpanId, TraceId},
        kinds::Status,
        layout::{flag, is_held},
        names::NameMap,
        peek,
        view::bytes_of,
        Body, Record,
    },
    ring,
};

use super::{
    memory::MemorySegment,
    rows::{self, sampling_rate, Context, Origin},
    source::Segment,
    store::Open,
};

/// What one instance has in its rings.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) instance: InstanceId,
    pub(super) names: NameMap,
    /// What its resource record says, where the rings have one.
    pub(super) origin: Option<Origin>,
    /// Converts ticks where a ring has no anchor of its own.
    pub(super) anchor: Option<Anchor>,
    /// Tick of the last sign of life.
    pub(super) sign: Option<u64>,
    pub(super) rings: Vec<LeftRing>,
}

/// What is in one ring.
#[derive(Debug)]
pub(super) struct LeftRing {
    /// Ring and lease.
    pub(super) thread: (u32, u32),
    /// Sequence of the first record.
    pub(super) first: u64,
    /// Whole records.
    pub(super) words: Vec<u64>,
    pub(super) anchor: Option<Anchor>,
    pub(super) open: Vec<LeftOpen>,
}

/// What is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftOpen {
    pub(super) trace: TraceId,
    /// `None` is the trace itself.
    pub(super) span: Option<SpanId>,
    pub(super) parent: u64,
    pub(super) name: u32,
    pub(super) kind: u8,
    pub(super) flags: u16,
    /// Tick of its start.
    pub(super) start: u64,
}

/// What instances of a log have in the rings below `dir`, living or dead.
pub(super) fn read(dir: &Path, log: LogId) -> Vec<Left> {
    let left = ring::left(Some(dir), log, None);
    left.into_iter().map(adopt).collect()
}

fn adopt(left: ring::LeftInstance) -> Left {
    let mut names = NameMap::default();
    for (id, text) in &left.names {
        names.define(*id, text);
    }
    let mut origin = None;
    if let Ok(record) = Record::read(bytes_of(&left.resource), 0) {
        if let Body::Resource(resource) = record.body {
            origin = Some(Origin::read(left.instance, &names, &record, resource));
        }
    }
    // Held traces are hidden until they are in the log.
    let shown = left.rings.into_iter().filter(|ring| !is_held(ring.ring));
    let rings = shown.map(ring::LeftRing::checked);
    let rings = rings.map(|ring| LeftRing {
        thread: (ring.ring, ring.lease),
        first: ring.first_sequence,
        words: ring.records,
        anchor: ring.anchor,
        open: ring.open.iter().map(|(_, open)| adopt_open(open)).collect(),
    });
    Left {
        instance: left.instance,
        names,
        origin,
        anchor: left.anchor,
        sign: left.last_sign_of_life,
        rings: rings.collect(),
    }
}

fn adopt_open(open: &ring::OpenSpan) -> LeftOpen {
    LeftOpen {
        trace: TraceId(open.trace),
        span: SpanId::new(open.span),
        parent: open.parent,
        name: open.name,
        kind: open.kind,
        flags: open.flags,
        start: open.start,
    }
}

/// The overlay of one instance, ready for a store.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) segment: Option<Arc<Segment>>,
    pub(super) open: Vec<Open>,
    /// Last sign of life, Unix nanoseconds.
    pub(super) sign_ns: Option<i64>,
}

impl Left {
    /// What of it the log does not have. `segments` are those of the log, `anchor` the newest one
    /// that they have of this instance.
    pub(super) fn overlay(self, segments: &[Arc<Segment>], anchor: Option<Anchor>) -> Overlay {
        let own = segments
            .iter()
            .filter(|s| s.origin.instance == self.instance);
        let anchor = self.anchor.or(anchor);
        let logged_origin = own.clone().next_back().map(|s| s.origin.clone());
        let origin = logged_origin.or(self.origin);
        let origin = origin.unwrap_or_else(|| unknown(self.instance));
        let logged = logged(own);
        let mut open = Vec::new();
        let mut data = MemorySegment::new(self.names);
        for ring in self.rings {
            // Ticks mean nothing without one; recovery will ask the log for it.
            let Some(anchor) = ring.anchor.or(anchor) else {
                continue;
            };
            let context = Context {
                names: data.names(),
                origin: &origin,
                anchor,
                thread: ring.thread,
            };
            open.extend(ring.open.iter().map(|open| open_row(&context, open)));
            let next = logged.get(&ring.thread.0).copied().unwrap_or(0);
            let (first, words) = fresh(ring.first, ring.words, next);
            if !words.is_empty() {
                data.push(ring.thread, first, anchor, words);
            }
        }
        let sign = anchor.zip(self.sign);
        Overlay {
            open,
            sign_ns: sign.map(|(anchor, tick)| anchor.unix_ns(tick)),
            segment: (!data.entries().is_empty()).then(|| Arc::new(Segment::memory(origin, data))),
        }
    }
}

/// Sequence after the last record that the log has of each ring.
fn logged<'a>(segments: impl Iterator<Item = &'a Arc<Segment>>) -> AHashMap<u32, u64> {
    let mut next: AHashMap<u32, u64> = AHashMap::new();
    for entry in segments.flat_map(|segment| segment.entries()) {
        if entry.kind == crate::log::FrameKind::Records {
            let end = next.entry(entry.ring).or_insert(0);
            *end = entry.end_sequence().max(*end);
        }
    }
    next
}

/// The records from sequence `next` on, with the sequence of the first of them.
fn fresh(first: u64, words: Vec<u64>, next: u64) -> (u64, Vec<u64>) {
    let bytes = bytes_of(&words);
    let (mut at, mut sequence) = (0, first);
    while sequence < next {
        let Ok(head) = peek(bytes, at) else {
            return (next, Vec::new());
        };
        at += head.size;
        sequence += 1;
    }
    (sequence, words.get(at / 8..).unwrap_or_default().to_vec())
}

/// What is known of an instance that has nothing in the log.
fn unknown(instance: InstanceId) -> Origin {
    Origin {
        instance,
        resource: Arc::default(),
        custom: Vec::new(),
        derive_events: false,
        derive_metrics: false,
        max_events_per_span: 0,
    }
}

/// An open span or trace as a row.
fn open_row(context: &Context<'_>, open: &LeftOpen) -> Open {
    let origin = context.origin;
    let name = context.text(open.name, None);
    let start_ns = context.anchor.unix_ns(open.start);
    let attributes: AttributeMap = origin.custom.iter().cloned().collect();
    let Some(span_id) = open.span else {
        return Open::Trace(Trace {
            trace_id: open.trace,
            name,
            start_ns,
            end_ns: None,
            status: Status::Unset,
            attributes,
            resource: origin.resource.clone(),
            remote_parent: SpanId::new(open.parent),
            sampling_rate: sampling_rate(0),
            dropped_attributes: 0,
            instance: origin.instance,
        });
    };
    Open::Span(Span {
        span_id,
        trace_id: open.trace,
        parent_span_id: SpanId::new(open.parent),
        remote_parent: open.flags & flag::REMOTE_PARENT != 0,
        name,
        kind: rows::span_kind(open.kind),
        start_ns,
        duration_ns: None,
        status: Status::Unset,
        attributes,
        error: None,
        dropped_attributes: 0,
        thread: context.thread,
        record: None,
        instance: origin.instance,
    })
}
