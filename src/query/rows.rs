//! Records as rows: ids become texts, ticks become Unix nanoseconds.
//!
//! Queries and tails both come through here, so a row is the same wherever it is seen.

use std::{borrow::Cow, sync::Arc};

use crate::{
    backend::{Needs, Row, RowKind, TraceBegan, TraceEnded},
    clock::Anchor,
    log::{Frame, SegmentView},
    model::{AttributeMap, Event, Link, Metric, Span, Trace},
    query::failure::take_error,
    record::{
        attributes::{AttributeKey, Attributes},
        id::{InstanceId, RecordId, SpanId, TraceId},
        kinds::{Aggregation, EventType, SpanKind, Status},
        layout::{self, flag, NAME_NONE},
        names::NameMap,
        view::{Body, Record, RecordError},
    },
    sampling::Threshold,
};

pub(crate) use super::{
    partial::merge_trace,
    spare::{Spare, Texts},
};
pub(crate) use crate::model::Origin;

impl Origin {
    /// What a segment says.
    pub(crate) fn of(view: &SegmentView) -> Self {
        let info = view.resource();
        Self {
            instance: view.header().instance,
            resource: Arc::new(info.attributes.iter().cloned().collect()),
            custom: info.custom.clone(),
            derive_events: info.derive_events,
            derive_metrics: info.derive_metrics,
            max_events_per_span: info.max_events_per_span,
        }
    }

    /// What a resource record says.
    pub(crate) fn read(
        instance: InstanceId,
        names: &NameMap,
        record: &Record<'_>,
        body: &layout::Resource,
    ) -> Self {
        let derive = body.derive.to_native();
        let custom = attribute_map(names, &record.custom);
        Self {
            instance,
            resource: Arc::new(attribute_map(names, &record.attributes)),
            custom: custom.as_slice().to_vec(),
            derive_events: derive & 1 != 0,
            derive_metrics: derive & 2 != 0,
            max_events_per_span: body.max_events_per_span.to_native(),
        }
    }
}

/// The text of a name field.
fn text<'n>(names: &'n NameMap, id: u32, inline: Option<&'n str>) -> Cow<'n, str> {
    match (inline, names.get(id)) {
        (Some(text), _) | (None, Some(text)) => text.into(),
        (None, None) if id == NAME_NONE => "".into(),
        (None, None) => format!("#{id}").into(),
    }
}

/// Makes `map` that of a record.
fn fill(map: &mut AttributeMap, names: &NameMap, attributes: &Attributes<'_>) {
    map.refill(attributes.iter().map(|attribute| {
        let key = match attribute.key {
            AttributeKey::Text(text) => text.into(),
            AttributeKey::Id(id) => text(names, id, None),
        };
        (key, attribute.value)
    }));
}

fn attribute_map(names: &NameMap, attributes: &Attributes<'_>) -> AttributeMap {
    let mut map = AttributeMap::new();
    fill(&mut map, names, attributes);
    map
}

/// The rows of a frame in the order of its records, for tails; `origin` is [`Origin::of`] `view`.
/// Nothing derived is among them, and nothing that is not needed. Their texts go into `spare` memory
/// as far as there is some.
///
/// # Errors
/// The first record that cannot be read, after the rows of all others.
pub(crate) fn frame_rows(
    frame: &Frame<'_>,
    view: &SegmentView,
    origin: &Origin,
    needs: Needs,
    spare: &mut Spare,
    rows: &mut Vec<Row>,
) -> Result<(), RecordError> {
    let context = Context::of(frame, view.names(), origin);
    let mut result = Ok(());
    for record in frame.records() {
        match record {
            Ok((id, record)) if is_needed(needs, &record.body) => {
                rows.extend(row_in(&context, id, &record, spare));
            }
            Ok(_) => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Whether a record becomes a row that is needed.
#[inline]
fn is_needed(needs: Needs, body: &Body<'_>) -> bool {
    match body {
        Body::TraceStart(_) | Body::TraceEnd(_) => needs.takes(RowKind::Trace),
        Body::Span(body) => needs.takes_span(Some(span_kind(body.kind))),
        Body::SpanStart(_) => needs.takes_span(None),
        Body::Event(_) => needs.takes(RowKind::Event),
        Body::Metric(_) => needs.takes(RowKind::Metric),
        Body::Link(_) => needs.takes(RowKind::Link),
        _ => false,
    }
}

/// What a record needs to become a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// Names of the segment.
    pub(crate) names: &'a NameMap,
    /// The instance that wrote the segment.
    pub(crate) origin: &'a Origin,
    /// The clock anchor of the frame.
    pub(crate) anchor: Anchor,
    /// Ring and lease of the frame.
    pub(crate) thread: (u32, u32),
}

/// When a span began and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Unix nanoseconds.
    pub(crate) start_ns: i64,
    /// Unix nanoseconds.
    pub(crate) end_ns: i64,
    /// Nanoseconds.
    pub(crate) duration_ns: u64,
}

impl Times {
    /// From what a span or the end of a trace stores.
    #[inline]
    pub(crate) fn new(anchor: &Anchor, end_tick: u64, ticks: u64) -> Self {
        let end_ns = anchor.unix_ns(end_tick);
        let duration_ns = anchor.duration_ns(ticks);
        let start_ns = end_ns.saturating_sub_unsigned(duration_ns);
        Self {
            start_ns,
            end_ns,
            duration_ns,
        }
    }
}

/// The probability that a trace with this rejection threshold is kept.
pub(crate) fn sampling_rate(threshold: u64) -> f64 {
    Threshold::from_bits(threshold).rate()
}

pub(crate) fn status(code: u8) -> Status {
    Status::from_u8(code).unwrap_or_default()
}

pub(crate) fn span_kind(code: u8) -> SpanKind {
    SpanKind::from_u8(code).unwrap_or_default()
}

fn some_trace(bytes: [u8; 16]) -> Option<TraceId> {
    let id = TraceId(bytes);
    (!id.is_none()).then_some(id)
}

/// The row of one record; `None` for the kinds that are no rows.
pub(crate) fn row(context: &Context<'_>, id: RecordId, record: &Record<'_>) -> Option<Row> {
    row_in(context, id, record, &mut Spare::default())
}

/// The same in memory that other rows had.
fn row_in(
    context: &Context<'_>,
    id: RecordId,
    record: &Record<'_>,
    spare: &mut Spare,
) -> Option<Row> {
    Some(match record.body {
        Body::TraceStart(body) => Row::TraceBegan(TraceBegan {
            trace: context.trace_began(record, body),
            record: id,
        }),
        Body::TraceEnd(body) => Row::TraceEnded(TraceEnded {
            trace: context.trace_ended(record, body),
            record: id,
        }),
        Body::Span(body) => Row::Span(context.span_in(spare.take(), id, record, body)),
        Body::SpanStart(body) => Row::Span(context.span_began(id, record, body)),
        Body::Event(body) => Row::Event(context.event_in(spare.take(), id, record, body)),
        Body::Metric(body) => Row::Metric(context.metric_in(spare.take(), id, record, body)),
        Body::Link(body) => Row::Link(context.link(id, record, body)),
        Body::Name(_)
        | Body::Resource(_)
        | Body::Anchor(_)
        | Body::Loss(_)
        | Body::Lease(_)
        | Body::Gap(_) => return None,
    })
}

impl<'a> Context<'a> {
    /// Of the records of a frame.
    pub(crate) fn of(frame: &Frame<'_>, names: &'a NameMap, origin: &'a Origin) -> Self {
        Self {
            names,
            origin,
            anchor: frame.anchor,
            thread: (frame.header.ring, frame.header.lease),
        }
    }
}

impl Context<'_> {
    /// The text of a name field.
    pub(crate) fn text(&self, id: u32, inline: Option<&str>) -> String {
        text(self.names, id, inline).into_owned()
    }

    /// Makes the texts those of a record, without the attributes of the instance.
    fn fill(&self, texts: &mut Texts, record: &Record<'_>) {
        let name = record.body.header().name.to_native();
        texts.name.clear();
        let name = text(self.names, name, record.inline_name);
        texts.name.push_str(&name);
        fill(&mut texts.attributes, self.names, &record.attributes);
    }

    /// The attributes of a record, without those of the instance.
    fn own(&self, attributes: &Attributes<'_>) -> AttributeMap {
        attribute_map(self.names, attributes)
    }

    /// The attributes of a record, those of the instance filled in.
    fn attributes(&self, record: &Record<'_>) -> AttributeMap {
        let mut map = self.own(&record.attributes);
        map.fill_from(&self.origin.custom);
        map
    }

    fn name(&self, record: &Record<'_>) -> String {
        self.text(record.body.header().name.to_native(), record.inline_name)
    }

    /// What the start of a trace tells.
    pub(crate) fn trace_began(&self, record: &Record<'_>, body: &layout::TraceStart) -> Trace {
        Trace {
            trace_id: TraceId(body.trace_id),
            name: self.name(record),
            start_ns: self.anchor.unix_ns(body.tick.to_native()),
            end_ns: None,
            status: Status::Unset,
            attributes: self.attributes(record),
            resource: self.origin.resource.clone(),
            remote_parent: SpanId::new(body.remote_parent.to_native()),
            sampling_rate: sampling_rate(body.threshold.to_native()),
            dropped_attributes: body.dropped.to_native(),
            instance: self.origin.instance,
        }
    }

    /// What the end of a trace alone tells; the attributes of the instance came with its start.
    pub(crate) fn trace_ended(&self, record: &Record<'_>, body: &layout::TraceEnd) -> Trace {
        let times = Times::new(&self.anchor, body.end.to_native(), body.ticks.to_native());
        Trace {
            trace_id: TraceId(body.trace_id),
            name: self.name(record),
            start_ns: times.start_ns,
            end_ns: Some(times.end_ns),
            status: status(body.status),
            attributes: self.own(&record.attributes),
            resource: self.origin.resource.clone(),
            remote_parent: None,
            sampling_rate: 1.0,
            dropped_attributes: body.dropped.to_native().into(),
            instance: self.origin.instance,
        }
    }

    /// A span that ended.
    pub(crate) fn span(&self, id: RecordId, record: &Record<'_>, body: &layout::Span) -> Span {
        self.span_in(Texts::default(), id, record, body)
    }

    #[inline]
    fn span_in(
        &self,
        mut texts: Texts,
        id: RecordId,
        record: &Record<'_>,
        body: &layout::Span,
    ) -> Span {
        let times = Times::new(&self.anchor, body.end.to_native(), body.ticks.to_native());
        let status = status(body.status);
        self.fill(&mut texts, record);
        let error = take_error(&mut texts.attributes, status);
        texts.attributes.fill_from(&self.origin.custom);
        Span {
            span_id: span_id(body.span_id.to_native()),
            trace_id: TraceId(body.trace_id),
            parent_span_id: SpanId::new(body.parent.to_native()),
            remote_parent: body.flags.to_native() & flag::REMOTE_PARENT != 0,
            name: texts.name,
            kind: span_kind(body.kind),
            start_ns: times.start_ns,
            duration_ns: Some(times.duration_ns),
            status,
            attributes: texts.attributes,
            error,
            dropped_attributes: body.dropped.to_native().into(),
            thread: self.thread,
            record: Some(id),
            instance: self.origin.instance,
        }
    }

    /// A span of which only the start is known.
    pub(crate) fn span_began(
        &self,
        id: RecordId,
        record: &Record<'_>,
        body: &layout::SpanStart,
    ) -> Span {
        Span {
            span_id: span_id(body.span_id.to_native()),
            trace_id: TraceId(body.trace_id),
            parent_span_id: SpanId::new(body.parent.to_native()),
            remote_parent: body.flags.to_native() & flag::REMOTE_PARENT != 0,
            name: self.name(record),
            kind: span_kind(body.kind),
            start_ns: self.anchor.unix_ns(body.tick.to_native()),
            duration_ns: None,
            status: Status::Unset,
            attributes: self.attributes(record),
            error: None,
            dropped_attributes: body.dropped.to_native().into(),
            thread: self.thread,
            record: Some(id),
            instance: self.origin.instance,
        }
    }

    /// An event.
    pub(crate) fn event(&self, id: RecordId, record: &Record<'_>, body: &layout::Event) -> Event {
        self.event_in(Texts::default(), id, record, body)
    }

    fn event_in(
        &self,
        mut texts: Texts,
        id: RecordId,
        record: &Record<'_>,
        body: &layout::Event,
    ) -> Event {
        self.fill(&mut texts, record);
        texts.attributes.fill_from(&self.origin.custom);
        Event {
            event_id: id.as_u128(0),
            event_type: self.event_type(body.event_type.to_native(), record.inline_second),
            name: texts.name,
            timestamp_ns: self.anchor.unix_ns(body.tick.to_native()),
            trace_id: some_trace(body.trace_id),
            span_id: SpanId::new(body.span_id.to_native()),
            attributes: texts.attributes,
            dropped_attributes: body.dropped.to_native().into(),
            derived: false,
            record: Some(id),
        }
    }

    /// The type of an event.
    pub(crate) fn event_type(&self, id: u32, inline: Option<&str>) -> EventType {
        match (inline, self.names.get(id)) {
            (Some(text), _) | (None, Some(text)) => EventType::new(text),
            (None, None) if id == NAME_NONE => EventType::CUSTOM,
            (None, None) => EventType::new(&format!("#{id}")),
        }
    }

    /// A metric. The documents also pass its trace as an attribute (C-22).
    pub(crate) fn metric(
        &self,
        id: RecordId,
        record: &Record<'_>,
        body: &layout::Metric,
    ) -> Metric {
        self.metric_in(Texts::default(), id, record, body)
    }

    fn metric_in(
        &self,
        mut texts: Texts,
        id: RecordId,
        record: &Record<'_>,
        body: &layout::Metric,
    ) -> Metric {
        let bits = body.value.to_native();
        let (value, integer) = match body.value_type {
            1 => (bits as i64 as f64, Some(i128::from(bits as i64))),
            2 => (bits as f64, Some(i128::from(bits))),
            _ => (f64::from_bits(bits), None),
        };
        self.fill(&mut texts, record);
        let Texts {
            name,
            mut attributes,
        } = texts;
        attributes.fill_from(&self.origin.custom);
        let trace_id = some_trace(body.trace_id).or_else(|| {
            let text = attributes.get("trace_id")?.as_str()?;
            Some(TraceId::from_text(text).0)
        });
        Metric {
            metric_id: id.as_u128(0),
            name,
            value,
            integer,
            unit: self.text(body.unit.to_native(), record.inline_second),
            aggregation: Aggregation::from_u8(body.aggregation).unwrap_or_default(),
            timestamp_ns: self.anchor.unix_ns(body.tick.to_native()),
            trace_id,
            span_id: SpanId::new(body.span_id.to_native()),
            attributes,
            dropped_attributes: body.dropped.to_native().into(),
            derived: false,
            record: Some(id),
        }
    }

    /// A link.
    pub(crate) fn link(&self, id: RecordId, record: &Record<'_>, body: &layout::Link) -> Link {
        Link {
            link_id: id.as_u128(0),
            trace_id: TraceId(body.trace_id),
            span_id: SpanId::new(body.span_id.to_native()),
            linked_trace_id: TraceId(body.linked_trace_id),
            linked_span_id: SpanId::new(body.linked_span_id.to_native()),
            timestamp_ns: self.anchor.unix_ns(body.tick.to_native()),
            attributes: self.attributes(record),
            record: Some(id),
        }
    }
}

/// A span id from a file; 0, which no writer gives, becomes all ones.
pub(crate) fn span_id(id: u64) -> SpanId {
    const ODD: SpanId = match SpanId::new(u64::MAX) {
        Some(id) => id,
        None => unreachable!(),
    };
    SpanId::new(id).unwrap_or(ODD)
}
