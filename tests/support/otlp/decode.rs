//! What a receiver got, back as our rows, as far as OTLP can hold them.
//!
//! Not in OTLP, and therefore `None`, zero or empty here: which thread recorded a span and the
//! identity of its record, ids and times of links, unsigned integers as a type of their own.

use std::{collections::BTreeMap, sync::Arc};

use emberlog::{
    backend::otlp::root_span_id, AttributeMap, Event, EventType, InstanceId, Link, RecordId, Span,
    SpanError, SpanId, SpanKind, Status, Trace, TraceId, Value,
};
use opentelemetry_proto::tonic::{
    common::v1::{any_value::Value as Any, AnyValue, KeyValue},
    logs::v1::LogRecord,
    resource::v1::Resource,
    trace::v1::Span as OtlpSpan,
};

use super::{int, text, Request, Stored};

/// Rows, each once, however often it came.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    pub traces: Vec<Trace>,
    pub spans: Vec<Span>,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
}

/// Attributes that emberlog adds to what was recorded.
const ADDED: &[&str] = &[
    "emberlog.kind",
    "emberlog.status",
    "emberlog.time_unix_nano",
    "emberlog.duration_nano",
    "emberlog.sampling_rate",
    "log.record.uid",
    "gen_ai.operation.name",
    "gen_ai.tool.name",
    "service.instance.id",
    "telemetry.sdk.name",
    "telemetry.sdk.language",
    "telemetry.sdk.version",
];

fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        None => Value::Null,
        Some(Any::BoolValue(v)) => Value::Bool(*v),
        Some(Any::IntValue(v)) => Value::I64(*v),
        Some(Any::DoubleValue(v)) => Value::F64(*v),
        Some(Any::StringValue(v)) => Value::Str(v.clone()),
        Some(Any::BytesValue(v)) => Value::Bytes(v.clone()),
        Some(Any::ArrayValue(v)) => Value::Array(v.values.iter().map(|v| value(Some(v))).collect()),
        Some(Any::KvlistValue(v)) => {
            let pairs = v.values.iter();
            Value::Map(
                pairs
                    .map(|p| (p.key.clone(), value(p.value.as_ref())))
                    .collect(),
            )
        }
        Some(other) => panic!("{other:?}"),
    }
}

/// A value as it comes back: OTLP has one type of integer.
pub fn as_it_returns(given: &Value) -> Value {
    match given {
        Value::U64(v) => match i64::try_from(*v) {
            Ok(v) => Value::I64(v),
            Err(_) => Value::Str(v.to_string()),
        },
        Value::Array(items) => Value::Array(items.iter().map(as_it_returns).collect()),
        Value::Map(items) => {
            let pairs = items
                .iter()
                .map(|(key, item)| (key.clone(), as_it_returns(item)));
            Value::Map(pairs.collect())
        }
        other => other.clone(),
    }
}

/// Attributes as they come back.
pub fn map_as_it_returns(given: &AttributeMap) -> AttributeMap {
    given
        .iter()
        .map(|(key, given)| (key, as_it_returns(given)))
        .collect()
}

fn map(attributes: &[KeyValue]) -> AttributeMap {
    let own = attributes
        .iter()
        .filter(|pair| !ADDED.contains(&pair.key.as_str()));
    own.map(|pair| (pair.key.as_str(), value(pair.value.as_ref())))
        .collect()
}

fn trace_id(bytes: &[u8]) -> TraceId {
    TraceId(bytes.try_into().expect("16 bytes"))
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    match bytes {
        [] => None,
        bytes => Some(
            SpanId::new(u64::from_be_bytes(bytes.try_into().expect("8 bytes"))).expect("no zero"),
        ),
    }
}

fn status(span: &OtlpSpan) -> Status {
    match text(&span.attributes, "emberlog.status") {
        Some(own) => own.parse().expect("a status"),
        None => match span.status.as_ref().map_or(0, |status| status.code) {
            0 => Status::Unset,
            1 => Status::Ok,
            _ => Status::Error,
        },
    }
}

fn kind(span: &OtlpSpan) -> SpanKind {
    match text(&span.attributes, "emberlog.kind") {
        Some(own) => own.parse().expect("a kind"),
        None => match span.kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
    }
}

/// Start and length.
fn times(span: &OtlpSpan) -> (i64, u64) {
    let length = span.end_time_unix_nano - span.start_time_unix_nano;
    match int(&span.attributes, "emberlog.time_unix_nano") {
        Some(start) => {
            let length = int(&span.attributes, "emberlog.duration_nano").expect("its length");
            (start, length as u64)
        }
        None => (span.start_time_unix_nano as i64, length),
    }
}

fn error(span: &OtlpSpan) -> Option<SpanError> {
    let event = span
        .events
        .iter()
        .rev()
        .find(|event| event.name == "exception")?;
    let said = |key: &str| text(&event.attributes, key).map(str::to_owned);
    let chain = event
        .attributes
        .iter()
        .find(|pair| pair.key == "exception.chain");
    let chain = match chain.map(|pair| value(pair.value.as_ref())) {
        Some(Value::Array(texts)) => texts
            .iter()
            .map(|text| text.as_str().expect("a text").to_owned())
            .collect(),
        _ => Vec::new(),
    };
    Some(SpanError {
        error_type: said("exception.type").unwrap_or_default(),
        message: said("exception.message").unwrap_or_default(),
        chain,
        stack_trace: said("exception.stacktrace"),
    })
}

fn instance(resource: Option<&Resource>) -> InstanceId {
    let attributes = &resource.expect("a resource").attributes;
    let id = text(attributes, "service.instance.id").expect("its instance");
    id.parse().expect("an instance id")
}

fn root(span: &OtlpSpan, resource: &Resource) -> Trace {
    let (start_ns, length) = times(span);
    let rate = span
        .attributes
        .iter()
        .find(|pair| pair.key == "emberlog.sampling_rate");
    Trace {
        trace_id: trace_id(&span.trace_id),
        name: span.name.clone(),
        start_ns,
        end_ns: Some(start_ns.saturating_add_unsigned(length)),
        status: status(span),
        attributes: map(&span.attributes),
        resource: Arc::new(map(&resource.attributes)),
        remote_parent: span_id(&span.parent_span_id),
        sampling_rate: rate
            .and_then(|pair| value(pair.value.as_ref()).as_f64())
            .unwrap_or(1.0),
        dropped_attributes: span.dropped_attributes_count,
        instance: instance(Some(resource)),
    }
}

fn span(span: &OtlpSpan, instance: InstanceId) -> Span {
    let trace_id = trace_id(&span.trace_id);
    let (start_ns, length) = times(span);
    let error = error(span);
    let attributes = map(&span.attributes);
    let parent = span_id(&span.parent_span_id);
    Span {
        span_id: span_id(&span.span_id).expect("an id"),
        trace_id,
        parent_span_id: parent.filter(|parent| *parent != root_span_id(trace_id, instance)),
        remote_parent: span.flags & 0x200 != 0,
        name: span.name.clone(),
        kind: kind(span),
        start_ns,
        duration_ns: Some(length),
        status: status(span),
        attributes,
        error,
        dropped_attributes: span.dropped_attributes_count,
        thread: (0, 0),
        record: None,
        instance,
    }
}

fn event(log: &LogRecord, instance: InstanceId) -> Event {
    let uid = text(&log.attributes, "log.record.uid").expect("its id");
    let event_id = u128::from_str_radix(uid, 16).expect("hex");
    let place = event_id ^ u128::from_be_bytes(instance.0);
    let trace_id = (!log.trace_id.is_empty()).then(|| trace_id(&log.trace_id));
    let span = span_id(&log.span_id);
    let root = trace_id.map(|trace| root_span_id(trace, instance));
    let early = int(&log.attributes, "emberlog.time_unix_nano");
    Event {
        event_id,
        event_type: EventType::new(&log.event_name),
        name: match value(log.body.as_ref()) {
            Value::Str(name) => name,
            other => panic!("{other:?}"),
        },
        timestamp_ns: early.unwrap_or(log.time_unix_nano as i64),
        trace_id,
        span_id: span.filter(|span| Some(*span) != root),
        attributes: map(&log.attributes),
        dropped_attributes: log.dropped_attributes_count,
        derived: false,
        record: Some(RecordId {
            instance,
            ring: (place >> 64) as u32,
            sequence: place as u64,
        }),
    }
}

fn links(from: &OtlpSpan, is_root: bool, instance: InstanceId) -> impl Iterator<Item = Link> + '_ {
    from.links.iter().map(move |link| {
        let linked = trace_id(&link.trace_id);
        let span = span_id(&link.span_id);
        Link {
            link_id: 0,
            trace_id: trace_id(&from.trace_id),
            span_id: span_id(&from.span_id).filter(|_| !is_root),
            linked_trace_id: linked,
            linked_span_id: span.filter(|span| *span != root_span_id(linked, instance)),
            timestamp_ns: 0,
            attributes: map(&link.attributes),
            record: None,
        }
    })
}

/// Everything that was taken.
pub fn rows(stored: &Stored) -> Decoded {
    let mut spans = BTreeMap::new();
    let mut events = BTreeMap::new();
    for request in &stored.taken {
        match request {
            Request::Traces(request) => {
                for one in &request.resource_spans {
                    let resource = one.resource.as_ref().expect("a resource");
                    for found in one.scope_spans.iter().flat_map(|scope| &scope.spans) {
                        // Of what came twice the first counts.
                        let id = (found.trace_id.clone(), found.span_id.clone());
                        spans.entry(id).or_insert((found, resource));
                    }
                }
            }
            Request::Logs(request) => {
                for one in &request.resource_logs {
                    let instance = instance(one.resource.as_ref());
                    for log in one.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                        let row = event(log, instance);
                        events.entry(row.event_id).or_insert(row);
                    }
                }
            }
            Request::Metrics(_) => {}
        }
    }
    let mut decoded = Decoded {
        events: events.into_values().collect(),
        ..Decoded::default()
    };
    for (found, resource) in spans.into_values() {
        let instance = instance(Some(resource));
        let id = span_id(&found.span_id).expect("an id");
        let is_root = id == root_span_id(trace_id(&found.trace_id), instance);
        match is_root {
            true => decoded.traces.push(root(found, resource)),
            false => decoded.spans.push(span(found, instance)),
        }
        decoded.links.extend(links(found, is_root, instance));
    }
    decoded
}
