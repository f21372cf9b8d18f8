//! From handles to records: each function here writes exactly one record into the thread's ring.

use rend::{u16_le, u32_le, u64_le};

use super::local::Local;
use crate::record::{
    attributes::AttributeBuffer,
    id::TraceId,
    kinds::{Aggregation, SpanKind, Status},
    layout::{self, flag, Header, RecordKind},
    view::words_of,
};

/// Pushes a fixed part and the attributes behind it.
#[inline(always)]
fn push<const N: usize>(
    local: &mut Local,
    held: bool,
    kind: RecordKind,
    fixed: [u64; N],
    attributes: Option<&AttributeBuffer>,
) {
    let list = attributes.map_or(&[][..], AttributeBuffer::words);
    let Some(ring) = local.ring(held) else {
        return local.lose(kind);
    };
    ring.push(kind, N + list.len(), |words| {
        let (head, tail) = words.split_at_mut(N);
        head.copy_from_slice(&fixed);
        tail.copy_from_slice(list);
    });
    // The gate may have closed since the caller looked.
    if !local.engine.gate.is_open() {
        if let Some(ring) = local.ring(held) {
            ring.too_late(kind);
        }
    }
}

/// What a record says about its attribute list.
#[derive(Clone, Copy)]
struct List {
    words: usize,
    count: u16,
    dropped: u16,
    flags: u16,
}

impl List {
    /// Measures `attributes`, after cutting them to what a record of `fixed` words may hold.
    #[inline(always)]
    fn of(
        local: &mut Local,
        held: bool,
        fixed: usize,
        attributes: Option<&mut Box<AttributeBuffer>>,
    ) -> Self {
        let Some(buffer) = attributes else {
            return Self {
                words: 0,
                count: 0,
                dropped: 0,
                flags: 0,
            };
        };
        if let Some(redactor) = local.redactor() {
            redactor.apply(buffer);
        }
        let most = local.max_words(held);
        if fixed + buffer.words().len() > most {
            buffer.fit(most.saturating_sub(fixed));
        }
        Self {
            words: buffer.words().len(),
            count: buffer.count(),
            dropped: buffer.dropped(),
            flags: if buffer.is_truncated() {
                flag::TRUNCATED
            } else {
                0
            },
        }
    }
}

/// A span that ends.
#[derive(Clone, Copy)]
pub(super) struct SpanEnd {
    pub(super) trace: TraceId,
    pub(super) name: u32,
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: SpanKind,
    pub(super) status: Status,
    pub(super) flags: u16,
    /// Whether its trace is held.
    pub(super) held: bool,
}

/// Writes a span.
#[inline(always)]
pub(super) fn span(local: &mut Local, span: SpanEnd, mut attributes: Option<Box<AttributeBuffer>>) {
    let list = List::of(local, span.held, layout::Span::WORDS, attributes.as_mut());
    let fixed = layout::Span {
        header: Header::new(
            RecordKind::Span,
            layout::Span::WORDS + list.words,
            span.name,
        ),
        trace_id: span.trace.0,
        span_id: u64_le::from_native(span.id),
        parent: u64_le::from_native(span.parent),
        end: u64_le::from_native(span.end),
        // The counter of another core may lag by a few ticks.
        ticks: u64_le::from_native(span.end.saturating_sub(span.start)),
        kind: span.kind as u8,
        status: span.status as u8,
        flags: u16_le::from_native(span.flags | list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u16_le::from_native(list.dropped),
    };
    push::<{ layout::Span::WORDS }>(
        local,
        span.held,
        RecordKind::Span,
        words_of(&fixed),
        attributes.as_deref(),
    );
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}

/// Writes that a span began. Attributes that would make it too long are left to its end, all but a
/// spelled-out name.
#[cold]
pub(super) fn span_start(local: &mut Local, span: SpanEnd, attributes: Option<&AttributeBuffer>) {
    let room = local.max_words(span.held) - layout::SpanStart::WORDS;
    let mut redacted = None;
    let attributes = match (attributes, local.redactor()) {
        (Some(list), Some(redactor)) => {
            let list = redacted.insert(list.clone());
            redactor.apply(list);
            Some(&*list)
        }
        (attributes, _) => attributes,
    };
    let mut name = None;
    let list = match attributes {
        Some(list) if list.words().len() > room => {
            let name = name.insert(list.only_names());
            if name.words().len() > room {
                name.fit(room);
            }
            Some(&*name)
        }
        list => list,
    };
    let words = layout::SpanStart::WORDS + list.map_or(0, |list| list.words().len());
    let truncated = list.is_some_and(AttributeBuffer::is_truncated);
    let fixed = layout::SpanStart {
        header: Header::new(RecordKind::SpanStart, words, span.name),
        trace_id: span.trace.0,
        span_id: u64_le::from_native(span.id),
        parent: u64_le::from_native(span.parent),
        tick: u64_le::from_native(span.start),
        kind: span.kind as u8,
        reserved: 0,
        flags: u16_le::from_native(span.flags | if truncated { flag::TRUNCATED } else { 0 }),
        attributes: u16_le::from_native(list.map_or(0, AttributeBuffer::count)),
        dropped: u16_le::from_native(list.map_or(0, AttributeBuffer::dropped)),
    };
    let fixed: [u64; layout::SpanStart::WORDS] = words_of(&fixed);
    push(local, span.held, RecordKind::SpanStart, fixed, list);
}

/// Writes that a trace began.
pub(super) fn trace_start(
    local: &mut Local,
    start: TraceBegin,
    mut attributes: Option<Box<AttributeBuffer>>,
) {
    let list = List::of(
        local,
        start.held,
        layout::TraceStart::WORDS,
        attributes.as_mut(),
    );
    let fixed = layout::TraceStart {
        header: Header::new(
            RecordKind::TraceStart,
            layout::TraceStart::WORDS + list.words,
            start.name,
        ),
        trace_id: start.trace.0,
        tick: u64_le::from_native(start.tick),
        remote_parent: u64_le::from_native(start.remote_parent),
        threshold: u64_le::from_native(start.threshold),
        flags: u16_le::from_native(start.flags | list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u32_le::from_native(u32::from(list.dropped)),
        reserved: [0; 8],
    };
    let fixed: [u64; layout::TraceStart::WORDS] = words_of(&fixed);
    push(
        local,
        start.held,
        RecordKind::TraceStart,
        fixed,
        attributes.as_deref(),
    );
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}

/// A trace that begins.
#[derive(Clone, Copy)]
pub(super) struct TraceBegin {
    pub(super) trace: TraceId,
    pub(super) name: u32,
    pub(super) tick: u64,
    pub(super) remote_parent: u64,
    pub(super) threshold: u64,
    pub(super) flags: u16,
    /// Whether it is held until it is known how it went.
    pub(super) held: bool,
    /// Where it is shown as open.
    pub(super) shown: Option<Shown>,
}

/// A slot of an open-span table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Ring and lease.
    pub(super) ring: (u32, u32),
    pub(super) slot: u16,
}

/// A trace that ends.
#[derive(Clone, Copy)]
pub(super) struct TraceFinish {
    pub(super) trace: TraceId,
    pub(super) name: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) status: Status,
    pub(super) flags: u16,
    /// The threshold that its outcome put it under, plus one; 0 if that of its start holds.
    pub(super) threshold: u64,
    pub(super) held: bool,
}

/// Writes that a trace ended.
pub(super) fn trace_end(
    local: &mut Local,
    end: TraceFinish,
    mut attributes: Option<Box<AttributeBuffer>>,
) {
    let list = List::of(
        local,
        end.held,
        layout::TraceEnd::WORDS,
        attributes.as_mut(),
    );
    let fixed = layout::TraceEnd {
        header: Header::new(
            RecordKind::TraceEnd,
            layout::TraceEnd::WORDS + list.words,
            end.name,
        ),
        trace_id: end.trace.0,
        end: u64_le::from_native(end.end),
        ticks: u64_le::from_native(end.end.saturating_sub(end.start)),
        status: end.status as u8,
        reserved: 0,
        flags: u16_le::from_native(end.flags | list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u16_le::from_native(list.dropped),
        reserved2: end.threshold.to_le_bytes(),
    };
    let fixed: [u64; layout::TraceEnd::WORDS] = words_of(&fixed);
    push(
        local,
        end.held,
        RecordKind::TraceEnd,
        fixed,
        attributes.as_deref(),
    );
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}

/// Where and when a point in time is.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) trace: TraceId,
    pub(super) span: u64,
    pub(super) name: u32,
    pub(super) tick: u64,
    pub(super) held: bool,
}

/// Writes an point.
pub(super) fn event(
    local: &mut Local,
    point: Point,
    event_type: u32,
    mut attributes: Option<Box<AttributeBuffer>>,
) {
    let list = List::of(local, point.held, layout::Event::WORDS, attributes.as_mut());
    let fixed = layout::Event {
        header: Header::new(
            RecordKind::Event,
            layout::Event::WORDS + list.words,
            point.name,
        ),
        trace_id: point.trace.0,
        span_id: u64_le::from_native(point.span),
        tick: u64_le::from_native(point.tick),
        event_type: u32_le::from_native(event_type),
        flags: u16_le::from_native(list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u16_le::from_native(list.dropped),
        reserved: [0; 6],
    };
    let fixed: [u64; layout::Event::WORDS] = words_of(&fixed);
    push(
        local,
        point.held,
        RecordKind::Event,
        fixed,
        attributes.as_deref(),
    );
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}

/// A measurement.
#[derive(Clone, Copy)]
pub(super) struct Measurement {
    pub(super) unit: u32,
    pub(super) value: u64,
    pub(super) value_type: u8,
    pub(super) aggregation: Aggregation,
}

/// Writes a measurement.
pub(super) fn metric(
    local: &mut Local,
    point: Point,
    measurement: Measurement,
    mut attributes: Option<Box<AttributeBuffer>>,
) {
    let list = List::of(
        local,
        point.held,
        layout::Metric::WORDS,
        attributes.as_mut(),
    );
    let fixed = layout::Metric {
        header: Header::new(
            RecordKind::Metric,
            layout::Metric::WORDS + list.words,
            point.name,
        ),
        trace_id: point.trace.0,
        span_id: u64_le::from_native(point.span),
        tick: u64_le::from_native(point.tick),
        value: u64_le::from_native(measurement.value),
        unit: u32_le::from_native(measurement.unit),
        aggregation: measurement.aggregation as u8,
        value_type: measurement.value_type,
        flags: u16_le::from_native(list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u16_le::from_native(list.dropped),
        reserved: [0; 4],
    };
    let fixed: [u64; layout::Metric::WORDS] = words_of(&fixed);
    push(
        local,
        point.held,
        RecordKind::Metric,
        fixed,
        attributes.as_deref(),
    );
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}

/// Writes a link.
pub(super) fn link(
    local: &mut Local,
    held: bool,
    (trace, span): (TraceId, u64),
    (linked_trace, linked_span): (TraceId, u64),
    tick: u64,
    mut attributes: Option<Box<AttributeBuffer>>,
) {
    let list = List::of(local, held, layout::Link::WORDS, attributes.as_mut());
    let fixed = layout::Link {
        header: Header::new(
            RecordKind::Link,
            layout::Link::WORDS + list.words,
            layout::NAME_NONE,
        ),
        trace_id: trace.0,
        span_id: u64_le::from_native(span),
        linked_trace_id: linked_trace.0,
        linked_span_id: u64_le::from_native(linked_span),
        tick: u64_le::from_native(tick),
        flags: u16_le::from_native(list.flags),
        attributes: u16_le::from_native(list.count),
        dropped: u16_le::from_native(list.dropped),
        reserved: [0; 2],
    };
    let fixed: [u64; layout::Link::WORDS] = words_of(&fixed);
    push(local, held, RecordKind::Link, fixed, attributes.as_deref());
    if let Some(buffer) = attributes {
        local.recycle(buffer);
    }
}
