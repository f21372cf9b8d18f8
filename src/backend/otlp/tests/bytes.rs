//! What is written by hand is what `opentelemetry-proto` reads and would write, for any rows; and
//! the JSON says the same.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{any_value::Value as Any, AnyValue, KeyValue},
    trace::v1 as proto,
};
use proptest::prelude::*;
use prost::Message;

use super::super::{
    batch::{At, Form},
    options::{HistogramForm, Options, Protocol, Temporality},
    resolve::Settings,
    root_span_id,
    sink::OtlpSink,
    Signal,
};
use crate::{
    backend::{BatchRange, Row, Sink, TraceEnded},
    log::Position,
    model::{AttributeMap, Event, Metric, Origin, Span, SpanError, Trace},
    record::{
        id::{InstanceId, LogId, RecordId, SpanId, TraceId},
        kinds::{Aggregation, EventType, SpanKind, Status},
        value::Value,
    },
};

const INSTANCE: InstanceId = InstanceId([7; 16]);

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f64>().prop_map(Value::F64),
        prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Value::F64),
        ".{0,200}".prop_map(Value::Str),
        "[\\x00-\\x1f\"\\\\/{}\\[\\],:]{0,9}".prop_map(Value::Str),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((".{0,5}", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

fn attributes() -> impl Strategy<Value = AttributeMap> {
    let pairs = prop::collection::vec(("[a-z.]{0,12}", values()), 0..6);
    pairs.prop_map(|pairs| pairs.into_iter().collect())
}

fn trace_ids() -> impl Strategy<Value = TraceId> {
    (1u128..).prop_map(TraceId::from_u128)
}

fn span_ids() -> impl Strategy<Value = SpanId> {
    (1u64..).prop_map(|id| SpanId::new(id).unwrap())
}

fn record(sequence: u64) -> RecordId {
    RecordId {
        instance: INSTANCE,
        ring: 1,
        sequence,
    }
}

prop_compose! {
    fn spans()(
        trace_id in trace_ids(),
        span_id in span_ids(),
        parent_span_id in prop::option::of(span_ids()),
        remote_parent: bool,
        name in ".{0,40}",
        kind in prop::sample::select(SpanKind::ALL),
        start_ns in prop_oneof![0i64.., any::<i64>()],
        duration_ns in any::<u64>(),
        status in prop::sample::select(Status::ALL),
        attributes in attributes(),
        error in prop::option::of((".{0,9}", ".{0,99}", prop::collection::vec(".{0,9}", 0..3))),
        dropped_attributes: u32,
        sequence: u64,
    ) -> Span {
        let error = error.map(|(error_type, message, chain)| SpanError {
            error_type, message, chain, stack_trace: None,
        });
        Span {
            span_id, trace_id, parent_span_id, remote_parent, name, kind, start_ns,
            duration_ns: Some(duration_ns >> 1), status, attributes, error, dropped_attributes,
            thread: (1, 1), record: Some(record(sequence)), instance: INSTANCE,
        }
    }
}

prop_compose! {
    fn events()(
        event_type in ".{0,20}",
        name in ".{0,20}",
        timestamp_ns: i64,
        trace_id in prop::option::of(trace_ids()),
        span_id in prop::option::of(span_ids()),
        attributes in attributes(),
        dropped_attributes: u32,
        sequence: u64,
    ) -> Event {
        let id = record(sequence);
        Event {
            event_id: id.as_u128(0), event_type: EventType::new(&event_type), name, timestamp_ns,
            trace_id, span_id, attributes, dropped_attributes, derived: false, record: Some(id),
        }
    }
}

prop_compose! {
    fn metrics()(
        name in "[ab]",
        value in prop_oneof![any::<f64>(), -10.0..10.0, Just(0.0)],
        integer in prop::option::of(any::<i64>()),
        unit in prop::sample::select(vec!["seconds", "usd", ""]),
        aggregation in prop::sample::select(Aggregation::ALL),
        timestamp_ns in 0..i64::MAX,
        trace_id in prop::option::of(trace_ids()),
        key in "[xy]",
    ) -> Metric {
        let id = record(timestamp_ns as u64);
        Metric {
            metric_id: id.as_u128(0), name, value: integer.map_or(value, |i| i as f64),
            integer: integer.map(i128::from), unit: unit.to_owned(), aggregation, timestamp_ns,
            trace_id, span_id: None, attributes: [("key", key)].into_iter().collect(),
            dropped_attributes: 0, derived: false, record: Some(id),
        }
    }
}

fn traces() -> impl Strategy<Value = Trace> {
    (spans(), any::<f64>()).prop_map(|(span, _)| Trace {
        trace_id: span.trace_id,
        name: span.name,
        start_ns: span.start_ns / 2,
        end_ns: Some(span.start_ns / 2 + 1000),
        status: span.status,
        attributes: span.attributes,
        resource: Arc::default(),
        remote_parent: None,
        sampling_rate: 1.0,
        dropped_attributes: span.dropped_attributes,
        instance: INSTANCE,
    })
}

fn settings(signal: Signal, protocol: Protocol, tune: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options::new()
        .environment::<String, String>([])
        .endpoint("http://127.0.0.1:9")
        .protocol(protocol);
    tune(&mut options);
    let all = options.settings().unwrap();
    all.into_iter().find(|s| s.signal == signal).unwrap()
}

/// The one request that rows make.
fn body(
    signal: Signal,
    protocol: Protocol,
    rows: &[Row],
    tune: impl FnOnce(&mut Options),
) -> Vec<u8> {
    let settings = settings(signal, protocol, tune);
    let form = settings.form;
    assert_eq!(form == Form::Json, protocol == Protocol::HttpJson);
    let mut sink = OtlpSink::of(settings).unwrap();
    sink.meet(&Arc::new(Origin {
        instance: INSTANCE,
        resource: Arc::new([("service.name", "s")].into_iter().collect()),
        custom: Vec::new(),
        derive_events: true,
        derive_metrics: true,
        max_events_per_span: 100,
    }));
    let range = BatchRange {
        log: LogId([1; 16]),
        instance: INSTANCE,
        from: Position::START,
        to: Position {
            epoch: 1,
            offset: 1,
        },
    };
    let encoded = sink.encode(range, rows).unwrap();
    let mut body = Vec::new();
    encoded.request(At::default(), 64 << 20, &mut body);
    body
}

/// The mapping of values once more, in the structs of `opentelemetry-proto`.
fn any_value(value: &Value) -> AnyValue {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    let value = match value {
        Value::Null => return AnyValue { value: None },
        Value::Bool(v) => Any::BoolValue(*v),
        Value::I64(v) => Any::IntValue(*v),
        Value::U64(v) => match i64::try_from(*v) {
            Ok(v) => Any::IntValue(v),
            Err(_) => Any::StringValue(v.to_string()),
        },
        Value::F64(v) => Any::DoubleValue(*v),
        Value::Str(v) => Any::StringValue(v.clone()),
        Value::Bytes(v) => Any::BytesValue(v.clone()),
        Value::Array(items) => Any::ArrayValue(ArrayValue {
            values: items.iter().map(any_value).collect(),
        }),
        Value::Map(items) => Any::KvlistValue(KeyValueList {
            values: items.iter().map(|(key, value)| pair(key, value)).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: &Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any_value(value)),
        ..KeyValue::default()
    }
}

/// Whether no float of the rows is infinite or NaN.
fn is_finite(rows: &[Row]) -> bool {
    fn of(value: &Value) -> bool {
        match value {
            Value::F64(v) => v.is_finite(),
            Value::Array(items) => items.iter().all(of),
            Value::Map(items) => items.iter().all(|(_, item)| of(item)),
            _ => true,
        }
    }
    rows.iter().all(|row| match row {
        Row::Span(row) => row.attributes.iter().all(|(_, v)| of(v)),
        Row::TraceEnded(row) => row.trace.attributes.iter().all(|(_, v)| of(v)),
        Row::Event(row) => row.attributes.iter().all(|(_, v)| of(v)),
        _ => true,
    })
}

/// NaN is not equal to itself: compared is the text.
fn same<T: std::fmt::Debug>(a: &T, b: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(format!("{:?}", a), format!("{:?}", b));
    Ok(())
}

proptest! {
    #[test]
    fn spans_are_what_opentelemetry_proto_would_write(
        spans in prop::collection::vec(spans(), 1..4),
        trace in traces(),
    ) {
        let ended = TraceEnded { trace: trace.clone(), record: record(0) };
        let rows: Vec<Row> = spans.iter().cloned().map(Row::Span).chain([Row::TraceEnded(ended)]).collect();
        let bytes = body(Signal::Traces, Protocol::HttpProtobuf, &rows, |_| {});
        let request = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
        // Canonical: not a byte more than prost needs, fields in its order.
        prop_assert_eq!(&request.encode_to_vec(), &bytes);
        let json = body(Signal::Traces, Protocol::HttpJson, &rows, |_| {});
        if is_finite(&rows) {
            let from_json: ExportTraceServiceRequest = serde_json::from_slice(&json).unwrap();
            same(&from_json, &request)?;
        } else {
            // Its reader lacks the names that JSON has for what is no number.
            let _: serde_json::Value = serde_json::from_slice(&json).unwrap();
        }

        let scope = &request.resource_spans[0].scope_spans[0];
        prop_assert_eq!(scope.spans.len(), rows.len());
        for (span, row) in scope.spans.iter().zip(&spans) {
            let parent = row.parent_span_id.unwrap_or_else(|| root_span_id(row.trace_id, INSTANCE));
            let end = row.start_ns.saturating_add_unsigned(row.duration_ns.unwrap());
            let code = match row.status { Status::Unset => 0, Status::Ok => 1, _ => 2 };
            let message = row.error.as_ref().map_or("", |e| e.message.as_str());
            let status = (code != 0).then(|| proto::Status {
                code,
                message: if code == 2 { message.to_owned() } else { String::new() },
            });
            prop_assert_eq!(&span.trace_id, &row.trace_id.0);
            prop_assert_eq!(&span.span_id, &row.span_id.get().to_be_bytes());
            prop_assert_eq!(&span.parent_span_id, &parent.get().to_be_bytes());
            prop_assert_eq!(&span.name, &row.name);
            prop_assert_eq!(span.start_time_unix_nano, row.start_ns.max(0) as u64);
            prop_assert_eq!(span.end_time_unix_nano, end.max(0) as u64);
            prop_assert_eq!(span.dropped_attributes_count, row.dropped_attributes);
            prop_assert_eq!(&span.status, &status);
            prop_assert_eq!(span.flags, if row.remote_parent { 0x301 } else { 0x101 });
            let expected: Vec<_> = row.attributes.iter().map(|(k, v)| pair(k, v)).collect();
            same(&span.attributes[..expected.len()].to_vec(), &expected)?;
        }
        let root = scope.spans.last().unwrap();
        prop_assert_eq!(&root.span_id, &root_span_id(trace.trace_id, INSTANCE).get().to_be_bytes());
        prop_assert!(root.parent_span_id.is_empty());
    }

    #[test]
    fn log_records_are_what_opentelemetry_proto_would_write(
        events in prop::collection::vec(events(), 1..4),
    ) {
        let rows: Vec<Row> = events.iter().cloned().map(Row::Event).collect();
        let bytes = body(Signal::Logs, Protocol::HttpProtobuf, &rows, |_| {});
        let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        prop_assert_eq!(&request.encode_to_vec(), &bytes);
        let json = body(Signal::Logs, Protocol::HttpJson, &rows, |_| {});
        if is_finite(&rows) {
            let from_json: ExportLogsServiceRequest = serde_json::from_slice(&json).unwrap();
            same(&from_json, &request)?;
        } else {
            // Its reader lacks the names that JSON has for what is no number.
            let _: serde_json::Value = serde_json::from_slice(&json).unwrap();
        }
        for (log, row) in request.resource_logs[0].scope_logs[0].log_records.iter().zip(&events) {
            prop_assert_eq!(&log.event_name, row.event_type.as_str());
            same(&log.body, &Some(any_value(&Value::Str(row.name.clone()))))?;
            prop_assert_eq!(log.time_unix_nano, row.timestamp_ns.max(0) as u64);
            let trace = row.trace_id.map_or(Vec::new(), |id| id.0.to_vec());
            prop_assert_eq!(&log.trace_id, &trace);
            let expected: Vec<_> = row.attributes.iter().map(|(k, v)| pair(k, v)).collect();
            same(&log.attributes[..expected.len()].to_vec(), &expected)?;
        }
    }

    #[test]
    fn metrics_say_the_same_in_both_forms_and_not_a_byte_too_many(
        metrics in prop::collection::vec(metrics(), 1..12),
        exponential: bool,
        delta: bool,
    ) {
        let tune = |options: &mut Options| {
            options.histograms = exponential.then_some(HistogramForm::Exponential);
            options.temporality = delta.then_some(Temporality::Delta);
        };
        let rows: Vec<Row> = metrics.into_iter().map(Row::Metric).collect();
        let bytes = body(Signal::Metrics, Protocol::HttpProtobuf, &rows, tune);
        if bytes.is_empty() {
            return Ok(());
        }
        let request = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap();
        prop_assert_eq!(request.encoded_len(), bytes.len());
        let json = body(Signal::Metrics, Protocol::HttpJson, &rows, tune);
        if is_finite(&rows) {
            let from_json: ExportMetricsServiceRequest = serde_json::from_slice(&json).unwrap();
            same(&from_json, &request)?;
        } else {
            // Its reader lacks the names that JSON has for what is no number.
            let _: serde_json::Value = serde_json::from_slice(&json).unwrap();
        }
    }
}

/// The JSON itself, where the specification differs from protobuf's own.
#[test]
fn json_is_as_the_specification_spells_it() {
    let span = Span {
        span_id: SpanId::new(0xab).unwrap(),
        trace_id: TraceId::from_u128(0x5b8e_fff7_9803_8103_d269_b633_813f_c60c),
        parent_span_id: SpanId::new(1),
        remote_parent: false,
        name: "I'm a \"span\"".to_owned(),
        kind: SpanKind::Server,
        start_ns: 1_544_712_660_000_000_000,
        duration_ns: Some(1_000_000_000),
        status: Status::Ok,
        attributes: [
            ("n", Value::I64(-5)),
            ("b", Value::Bytes(vec![0, 255])),
            ("f", Value::F64(f64::NAN)),
        ]
        .into_iter()
        .collect(),
        error: None,
        dropped_attributes: 3,
        thread: (1, 1),
        record: Some(record(1)),
        instance: INSTANCE,
    };
    let json = body(
        Signal::Traces,
        Protocol::HttpJson,
        &[Row::Span(span)],
        |_| {},
    );
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    let expected = serde_json::json!({
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "00000000000000ab",
        "parentSpanId": "0000000000000001",
        "name": "I'm a \"span\"",
        "kind": 2,
        "startTimeUnixNano": "1544712660000000000",
        "endTimeUnixNano": "1544712661000000000",
        "attributes": [
            { "key": "n", "value": { "intValue": "-5" } },
            { "key": "b", "value": { "bytesValue": "AP8=" } },
            { "key": "f", "value": { "doubleValue": "NaN" } },
        ],
        "droppedAttributesCount": 3,
        "status": { "code": 1 },
        "flags": 257,
    });
    assert_eq!(span, &expected);
    assert_eq!(
        json["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"],
        "emberlog"
    );
}
