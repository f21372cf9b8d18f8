//! Spans and traces as OTLP's spans.
//!
//! A trace becomes the root span: its id is [`root_span_id`], and what has no parent of its own
//! gets it as parent.

use super::{
    encode::{
        fields::{span, span_event, span_link, status},
        Out,
    },
    genai,
    pending::Attached,
    values::{pairs, unix, Pairs},
};
use crate::{
    model::{AttributeMap, Event, Link, Span, SpanError, Trace},
    record::{
        id::{root_span_id, InstanceId, SpanId},
        kinds::{SpanKind, Status},
        value::Value,
    },
    sampling::Threshold,
};

/// Lowest bit of the flags: the trace is sampled, or it would not leave.
const SAMPLED: u32 = 1;
/// Whether the parent is remote is known.
const KNOWS_REMOTE: u32 = 0x100;
/// It is.
const IS_REMOTE: u32 = 0x200;

/// Attribute with our own kind of span, where OTLP has no such kind.
pub(super) const KIND: &str = "emberlog.kind";
/// Attribute with our own status, where OTLP has no such status.
pub(super) const STATUS: &str = "emberlog.status";
/// Attribute with Unix nanoseconds before 1970, which OTLP cannot hold.
pub(super) const TIME: &str = "emberlog.time_unix_nano";
/// Attribute with the length of a span that began before 1970, in nanoseconds.
pub(super) const DURATION: &str = "emberlog.duration_nano";
/// Attribute of events that came when their span had left already.
pub(super) const SPAN: &str = "emberlog.span_id";

/// The kinds that OTLP knows.
fn kind(kind: SpanKind) -> u32 {
    match kind {
        SpanKind::Server => 2,
        SpanKind::Client | SpanKind::LlmCall => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
        _ => 1,
    }
}

/// Whether OTLP has that very kind.
fn is_known(kind: SpanKind) -> bool {
    matches!(
        kind,
        SpanKind::Internal
            | SpanKind::Server
            | SpanKind::Client
            | SpanKind::Producer
            | SpanKind::Consumer
    )
}

/// OTLP's three statuses; a message only where it is an error.
fn write_status<O: Out>(out: &mut O, how: Status, message: &str) {
    let code = match how {
        Status::Unset => return,
        Status::Ok => 1,
        Status::Error | Status::Cancelled | Status::Orphaned => 2,
    };
    out.message(span::STATUS, |out| {
        if code == 2 {
            out.text(status::MESSAGE, message);
        }
        out.uint32(status::CODE, code);
    });
}

/// Our own word for how it went, where OTLP has none.
fn own_status<O: Out>(pairs: &mut Pairs<'_, O>, how: Status) {
    if matches!(how, Status::Cancelled | Status::Orphaned) {
        pairs.text(STATUS, how.as_str());
    }
}

fn time_before_1970<O: Out>(pairs: &mut Pairs<'_, O>, ns: i64) {
    if ns < 0 {
        pairs.int(TIME, ns);
    }
}

fn length_before_1970<O: Out>(pairs: &mut Pairs<'_, O>, start_ns: i64, end_ns: i64) {
    if start_ns < 0 {
        pairs.int(DURATION, end_ns.saturating_sub(start_ns));
    }
}

fn error_type<O: Out>(pairs: &mut Pairs<'_, O>, has: &AttributeMap, name: &str) {
    if has.get("error.type").is_none() && !name.is_empty() {
        pairs.text("error.type", name);
    }
}

/// Writes the fields of a finished span.
#[inline]
pub(super) fn write_span<O: Out>(out: &mut O, row: &Span, attached: Option<&Attached>, rate: f64) {
    let end = row.end_ns().unwrap_or(row.start_ns);
    let parent = row.parent_span_id;
    let parent = parent.unwrap_or_else(|| root_span_id(row.trace_id, row.instance));
    out.id(span::TRACE_ID, &row.trace_id.0);
    out.id(span::SPAN_ID, &row.span_id.get().to_be_bytes());
    if let Some(state) = trace_state(rate) {
        out.text(span::TRACE_STATE, &state);
    }
    out.id(span::PARENT, &parent.get().to_be_bytes());
    out.text(span::NAME, &row.name);
    out.uint32(span::KIND, kind(row.kind));
    out.fixed64(span::START, unix(row.start_ns));
    out.fixed64(span::END, unix(end));
    pairs(out, span::ATTRIBUTES, |pairs| {
        pairs.all(&row.attributes);
        if !is_known(row.kind) {
            pairs.text(KIND, row.kind.as_str());
        }
        own_status(pairs, row.status);
        if let Some(error) = &row.error {
            error_type(pairs, &row.attributes, &error.error_type);
        }
        time_before_1970(pairs, row.start_ns);
        length_before_1970(pairs, row.start_ns, end);
        genai::add(pairs, row);
    });
    out.uint32(span::DROPPED_ATTRIBUTES, row.dropped_attributes);
    events(out, attached, |out| {
        if let Some(error) = &row.error {
            out.item(span::EVENTS, |out| exception(out, error, end));
        }
    });
    links(out, attached);
    let message = row.error.as_ref().map_or("", |e| e.message.as_str());
    write_status(out, row.status, message);
    let remote = if row.remote_parent { IS_REMOTE } else { 0 };
    out.fixed32(span::FLAGS, SAMPLED | KNOWS_REMOTE | remote);
}

/// What is known of a trace when its root span leaves.
pub(super) struct Root<'r> {
    /// What its end tells.
    pub(super) ended: &'r Trace,
    /// What its start told, if that is known.
    pub(super) began: Option<&'r Trace>,
    /// Attributes of all rows of the instance.
    pub(super) custom: &'r [(String, Value)],
}

/// Writes the fields of the root span.
pub(super) fn write_root<O: Out>(out: &mut O, root: &Root<'_>, attached: Option<&Attached>) {
    let Root { ended, began, .. } = *root;
    let end = ended.end_ns.unwrap_or(ended.start_ns);
    let start = began.map_or(ended.start_ns, |began| began.start_ns.min(ended.start_ns));
    let names = [Some(ended), began];
    let mut names = names.iter().flatten().map(|trace| trace.name.as_str());
    let name = names.find(|name| !name.is_empty()).unwrap_or("trace");
    let mut attributes = began.map_or_else(AttributeMap::new, |began| began.attributes.clone());
    for (key, value) in ended.attributes.iter() {
        attributes.set(key, value.clone());
    }
    attributes.fill_from(root.custom);
    let id = root_span_id(ended.trace_id, ended.instance);
    let mut rate = began.map_or(1.0, |began| began.sampling_rate);
    if let Some(kept) = attributes
        .first_of(&["sampling.rate"])
        .and_then(Value::as_f64)
    {
        rate = kept;
    }
    out.id(span::TRACE_ID, &ended.trace_id.0);
    out.id(span::SPAN_ID, &id.get().to_be_bytes());
    if let Some(state) = trace_state(rate) {
        out.text(span::TRACE_STATE, &state);
    }
    let parent = began.and_then(|began| began.remote_parent);
    if let Some(parent) = parent {
        out.id(span::PARENT, &parent.get().to_be_bytes());
    }
    out.text(span::NAME, name);
    // Called from another process, it is what serves the call, unless it says what it is.
    let told = attributes.get(KIND).and_then(Value::as_str);
    let told = told.and_then(|told| told.parse().ok());
    let by_parent = match parent {
        Some(_) => SpanKind::Server,
        None => SpanKind::Internal,
    };
    out.uint32(span::KIND, kind(told.unwrap_or(by_parent)));
    out.fixed64(span::START, unix(start));
    out.fixed64(span::END, unix(end));
    let message = attributes.first_of(&["exception.message", "error.message", "error"]);
    let message = message
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    pairs(out, span::ATTRIBUTES, |pairs| {
        pairs.all(&attributes);
        own_status(pairs, ended.status);
        if let Some(Value::Str(name)) = attributes.get("exception.type") {
            error_type(pairs, &attributes, name);
        }
        time_before_1970(pairs, start);
        length_before_1970(pairs, start, end);
        if rate < 1.0 {
            pairs.value("emberlog.sampling_rate", &Value::F64(rate));
        }
    });
    let dropped = began.map_or(0, |began| began.dropped_attributes);
    out.uint32(
        span::DROPPED_ATTRIBUTES,
        dropped.saturating_add(ended.dropped_attributes),
    );
    events(out, attached, |_| {});
    links(out, attached);
    write_status(out, ended.status, &message);
    let remote = if parent.is_some() { IS_REMOTE } else { 0 };
    out.fixed32(span::FLAGS, SAMPLED | KNOWS_REMOTE | remote);
}

/// The trace state with the sampling threshold; none where everything is kept.
fn trace_state(rate: f64) -> Option<String> {
    let sampled = rate > 0.0 && rate < 1.0;
    sampled.then(|| Threshold::of_rate(rate).tracestate())?
}

fn events<O: Out>(out: &mut O, attached: Option<&Attached>, own: impl FnOnce(&mut O)) {
    out.list(span::EVENTS, |out| {
        for (event, late) in attached.iter().flat_map(|a| a.newest()) {
            out.item(span::EVENTS, |out| span_event(out, event, late));
        }
        own(out);
    });
    out.uint32(span::DROPPED_EVENTS, attached.map_or(0, Attached::dropped));
}

fn span_event<O: Out>(out: &mut O, event: &Event, late: Option<SpanId>) {
    out.fixed64(span_event::TIME, unix(event.timestamp_ns));
    out.text(span_event::NAME, event.event_type.as_str());
    pairs(out, span_event::ATTRIBUTES, |pairs| {
        pairs.all(&event.attributes);
        if !event.name.is_empty() && event.name != event.event_type.as_str() {
            pairs.text("event.label", &event.name);
        }
        if let Some(span) = late {
            pairs.text(SPAN, &span.to_string());
        }
        time_before_1970(pairs, event.timestamp_ns);
    });
    out.uint32(span_event::DROPPED_ATTRIBUTES, event.dropped_attributes);
}

/// What OpenTelemetry calls an error: an event of that name.
fn exception<O: Out>(out: &mut O, error: &SpanError, at_ns: i64) {
    out.fixed64(span_event::TIME, unix(at_ns));
    out.text(span_event::NAME, "exception");
    pairs(out, span_event::ATTRIBUTES, |pairs| {
        pairs.text("exception.type", &error.error_type);
        pairs.text("exception.message", &error.message);
        if let Some(trace) = &error.stack_trace {
            pairs.text("exception.stacktrace", trace);
        }
        if !error.chain.is_empty() {
            pairs.texts("exception.chain", &error.chain);
        }
    });
}

fn links<O: Out>(out: &mut O, attached: Option<&Attached>) {
    out.list(span::LINKS, |out| {
        for link in attached.iter().flat_map(|a| &a.links) {
            out.item(span::LINKS, |out| span_link(out, link));
        }
    });
}

fn span_link<O: Out>(out: &mut O, link: &Link) {
    // A link to a trace is one to its root, as far as that is ours.
    let instance = link
        .record
        .map_or(InstanceId([0; 16]), |record| record.instance);
    let to = link.linked_span_id;
    let to = to.unwrap_or_else(|| root_span_id(link.linked_trace_id, instance));
    out.id(span_link::TRACE_ID, &link.linked_trace_id.0);
    out.id(span_link::SPAN_ID, &to.get().to_be_bytes());
    pairs(out, span_link::ATTRIBUTES, |pairs| {
        pairs.all(&link.attributes)
    });
}
