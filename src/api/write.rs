//! From handles to records: each function here writes exactly one record into the thread's ring.

use rend::{u16_le, u32_le, u64_le};
use rkyv::Portable;

use super::local::{Local, BUFFER_WORDS, MAX_POOLED_WORDS};
use crate::record::{
    attributes::AttributeBuffer,
    id::TraceId,
    kinds::{Aggregation, SpanKind, Status},
    layout::{self, flag, Header, RecordKind},
    view::words_of,
};

/// Pushes a record: its fixed part, made by `fixed` when it is known what follows, and the
/// attributes, within what a record may hold.
#[inline(always)]
fn push<T: Portable + Copy, const N: usize>(
    local: &mut Local,
    held: bool,
    kind: RecordKind,
    attributes: Option<Box<AttributeBuffer>>,
    fixed: impl Fn(List) -> T,
) {
    match attributes {
        None => push_words::<N>(local, held, kind, || words_of(&fixed(List::NOTHING)), &[]),
        Some(mut buffer) => {
            push_list::<T, N>(local, held, kind, &mut buffer, fixed);
            local.recycle(buffer);
        }
    }
}

/// The same with a list that may be cut here.
// Apart from what has no attributes, which does not pay for those of others.
#[inline(always)]
fn push_list<T: Portable + Copy, const N: usize>(
    local: &mut Local,
    held: bool,
    kind: RecordKind,
    buffer: &mut AttributeBuffer,
    fixed: impl Fn(List) -> T,
) {
    let list = List::of(local, held, N, buffer);
    push_words::<N>(local, held, kind, || words_of(&fixed(list)), buffer.words());
}

/// Pushes a fixed part and the attributes behind it. `fixed` is called when its place in the ring is
/// known, so that what it reads goes from there to here through registers.
#[inline(always)]
fn push_words<const N: usize>(
    local: &mut Local,
    held: bool,
    kind: RecordKind,
    fixed: impl FnOnce() -> [u64; N],
    list: &[u64],
) {
    let Some(ring) = local.rings.of(held, &local.engine) else {
        return local.lose(kind);
    };
    ring.push(kind, N + list.len(), |words| {
        let (head, tail) = words.split_at_mut(N);
        head.copy_from_slice(&fixed());
        tail.copy_from_slice(list);
    });
    // The gate may have closed since the caller looked.
    if !local.gate.is_open() {
        ring.too_late(kind);
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
    const NOTHING: Self = Self {
        words: 0,
        count: 0,
        dropped: 0,
        flags: 0,
    };

    /// Measures a list, after cutting it to what a record of `fixed` words may hold.
    #[inline(always)]
    fn of(local: &mut Local, held: bool, fixed: usize, buffer: &mut AttributeBuffer) -> Self {
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
#[derive(Clone, Copy, Debug)]
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

impl SpanEnd {
    const WORDS: usize = layout::Span::WORDS;

    #[inline(always)]
    fn fixed(&self, list: List) -> layout::Span {
        layout::Span {
            header: Header::new(RecordKind::Span, Self::WORDS + list.words, self.name),
            trace_id: self.trace.0,
            span_id: u64_le::from_native(self.id),
            parent: u64_le::from_native(self.parent),
            end: u64_le::from_native(self.end),
            // The counter of another core may lag by a few ticks.
            ticks: u64_le::from_native(self.end.saturating_sub(self.start)),
            kind: self.kind as u8,
            status: self.status as u8,
            flags: u16_le::from_native(self.flags | list.flags),
            attributes: u16_le::from_native(list.count),
            dropped: u16_le::from_native(list.dropped),
        }
    }
}

/// Writes a span.
pub(super) fn span(local: &mut Local, span: SpanEnd, attributes: Option<Box<AttributeBuffer>>) {
    const WORDS: usize = SpanEnd::WORDS;
    let fixed = |list| span.fixed(list);
    push::<_, WORDS>(local, span.held, RecordKind::Span, attributes, fixed);
}

/// Writes a span with the attributes that its block has, and forgets them.
#[inline(always)]
pub(super) fn span_with(
    local: &mut Local,
    held: bool,
    attributes: &mut AttributeBuffer,
    span: impl Fn() -> SpanEnd,
) {
    const WORDS: usize = SpanEnd::WORDS;
    if attributes.is_empty() {
        let fixed = || words_of(&span().fixed(List::NOTHING));
        return push_words::<WORDS>(local, held, RecordKind::Span, fixed, &[]);
    }
    let fixed = |list| span().fixed(list);
    push_list::<_, WORDS>(local, held, RecordKind::Span, attributes, fixed);
    attributes.clear();
    if attributes.capacity() > MAX_POOLED_WORDS {
        *attributes = AttributeBuffer::with_capacity(BUFFER_WORDS);
    }
}

/// Writes that a span began. Attributes that would make it too long are left to its end, all but a
/// spelled-out name.
#[cold]
pub(super) fn span_start(local: &mut Local, span: SpanEnd, attributes: Option<&AttributeBuffer>) {
    const WORDS: usize = layout::SpanStart::WORDS;
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
    let words = WORDS + list.map_or(0, |list| list.words().len());
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
    let list = list.map_or(&[][..], AttributeBuffer::words);
    push_words(
        local,
        span.held,
        RecordKind::SpanStart,
        || words_of::<_, WORDS>(&fixed),
        list,
    );
}

/// Writes that a trace began.
pub(super) fn trace_start(
    local: &mut Local,
    start: TraceBegin,
    attributes: Option<Box<AttributeBuffer>>,
) {
    const WORDS: usize = layout::TraceStart::WORDS;
    push::<_, WORDS>(
        local,
        start.held,
        RecordKind::TraceStart,
        attributes,
        |list| layout::TraceStart {
            header: Header::new(RecordKind::TraceStart, WORDS + list.words, start.name),
            trace_id: start.trace.0,
            tick: u64_le::from_native(start.tick),
            remote_parent: u64_le::from_native(start.remote_parent),
            threshold: u64_le::from_native(start.threshold),
            flags: u16_le::from_native(start.flags | list.flags),
            attributes: u16_le::from_native(list.count),
            dropped: u32_le::from_native(u32::from(list.dropped)),
            reserved: [0; 8],
        },
    );
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
    attributes: Option<Box<AttributeBuffer>>,
) {
    const WORDS: usize = layout::TraceEnd::WORDS;
    push::<_, WORDS>(local, end.held, RecordKind::TraceEnd, attributes, |list| {
        layout::TraceEnd {
            header: Header::new(RecordKind::TraceEnd, WORDS + list.words, end.name),
            trace_id: end.trace.0,
            end: u64_le::from_native(end.end),
            ticks: u64_le::from_native(end.end.saturating_sub(end.start)),
            status: end.status as u8,
            reserved: 0,
            flags: u16_le::from_native(end.flags | list.flags),
            attributes: u16_le::from_native(list.count),
            dropped: u16_le::from_native(list.dropped),
            reserved2: end.threshold.to_le_bytes(),
        }
    });
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

/// Writes an event.
pub(super) fn event(
    local: &mut Local,
    point: Point,
    event_type: u32,
    attributes: Option<Box<AttributeBuffer>>,
) {
    const WORDS: usize = layout::Event::WORDS;
    push::<_, WORDS>(local, point.held, RecordKind::Event, attributes, |list| {
        layout::Event {
            header: Header::new(RecordKind::Event, WORDS + list.words, point.name),
            trace_id: point.trace.0,
            span_id: u64_le::from_native(point.span),
            tick: u64_le::from_native(point.tick),
            event_type: u32_le::from_native(event_type),
            flags: u16_le::from_native(list.flags),
            attributes: u16_le::from_native(list.count),
            dropped: u16_le::from_native(list.dropped),
            reserved: [0; 6],
        }
    });
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
    attributes: Option<Box<AttributeBuffer>>,
) {
    const WORDS: usize = layout::Metric::WORDS;
    push::<_, WORDS>(local, point.held, RecordKind::Metric, attributes, |list| {
        layout::Metric {
            header: Header::new(RecordKind::Metric, WORDS + list.words, point.name),
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
        }
    });
}

/// Writes a link.
pub(super) fn link(
    local: &mut Local,
    held: bool,
    (trace, span): (TraceId, u64),
    (linked_trace, linked_span): (TraceId, u64),
    tick: u64,
    attributes: Option<Box<AttributeBuffer>>,
) {
    const WORDS: usize = layout::Link::WORDS;
    push::<_, WORDS>(local, held, RecordKind::Link, attributes, |list| {
        layout::Link {
            header: Header::new(RecordKind::Link, WORDS + list.words, layout::NAME_NONE),
            trace_id: trace.0,
            span_id: u64_le::from_native(span),
            linked_trace_id: linked_trace.0,
            linked_span_id: u64_le::from_native(linked_span),
            tick: u64_le::from_native(tick),
            flags: u16_le::from_native(list.flags),
            attributes: u16_le::from_native(list.count),
            dropped: u16_le::from_native(list.dropped),
            reserved: [0; 2],
        }
    });
}
