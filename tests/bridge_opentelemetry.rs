//! What the SDK of OpenTelemetry collects is recorded: the real SDK with our exporters.
#![cfg(feature = "opentelemetry-0-33")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emberlog::{
    bridge::opentelemetry_0_33::{LogExporter, MetricExporter, SpanExporter},
    Aggregation, Config, Filter, Manager, Span, SpanKind as Kind, Status as Went, TraceId, Value,
};
use opentelemetry::{
    logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity},
    metrics::MeterProvider,
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceState, Tracer, TracerProvider,
    },
    Array, Context, InstrumentationScope, KeyValue, StringValue,
};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider, Resource,
};

fn open() -> (tempfile::TempDir, Manager) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).resource("service.name", "shop");
    (dir, Manager::open(config).unwrap())
}

fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("shop")
        .with_attribute(KeyValue::new("host.name", "h1"))
        .build()
}

fn span(manager: &Manager, name: &str) -> Span {
    let filter = Filter::new().name(name).all();
    let spans = manager.query_spans(&filter).unwrap();
    assert_eq!(spans.len(), 1, "{name}: {spans:?}");
    spans[0].clone()
}

/// Nanoseconds that the clocks may have drifted apart since the log was opened.
const DRIFT: i64 = 2_000_000;

#[test]
fn spans_keep_everything_that_they_say() {
    let (_dir, manager) = open();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(SpanExporter::new(&manager))
        .build();
    let scope = InstrumentationScope::builder("shop.http").with_version("1.2");
    let scope = scope.with_attributes([KeyValue::new("team", "core")]);
    let tracer = provider.tracer_with_scope(scope.build());
    let remote = SpanContext::new(
        opentelemetry::TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
        SpanId::from(0x00f0_67aa_0ba9_02b7),
        TraceFlags::SAMPLED,
        true,
        TraceState::from_key_value([("congo", "t61")]).unwrap(),
    );
    let begin = SystemTime::now() - Duration::from_secs(3600);
    let builder = tracer
        .span_builder("GET /orders")
        .with_kind(SpanKind::Server)
        .with_start_time(begin)
        .with_attributes([
            KeyValue::new("path", "/orders"),
            KeyValue::new("rows", 3_i64),
            KeyValue::new("ratio", 0.5),
            KeyValue::new("cached", true),
            KeyValue::new(
                "tags",
                opentelemetry::Value::Array(Array::String(vec![
                    StringValue::from("a"),
                    "b".into(),
                ])),
            ),
        ]);
    let context = Context::new().with_remote_span_context(remote.clone());
    let server = tracer.build_with_context(builder, &context);
    let server_context = server.span_context().clone();
    let inside = Context::new().with_span(server);
    let elsewhere = SpanContext::new(
        opentelemetry::TraceId::from(7),
        SpanId::from(8),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let builder = tracer.span_builder("query").with_kind(SpanKind::Client);
    let builder = builder.with_links(vec![Link::new(
        elsewhere,
        vec![KeyValue::new("why", "batch")],
        0,
    )]);
    let mut query = tracer.build_with_context(builder, &inside);
    let at = begin + Duration::from_millis(250);
    query.add_event_with_timestamp("retry", at, vec![KeyValue::new("attempt", 2_i64)]);
    query.set_status(Status::error("no route"));
    query.end();
    inside
        .span()
        .end_with_timestamp(begin + Duration::from_millis(1500));
    provider.shutdown().unwrap();

    let trace = TraceId::from_u128(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    let row = span(&manager, "GET /orders");
    assert_eq!(row.trace_id, trace);
    assert_eq!(
        row.span_id.get().to_be_bytes(),
        server_context.span_id().to_bytes()
    );
    assert_eq!(
        row.parent_span_id.map(|id| id.get()),
        Some(0x00f0_67aa_0ba9_02b7)
    );
    assert!(row.remote_parent);
    assert_eq!((row.kind, row.status), (Kind::Server, Went::Ok));
    let began = begin.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    assert!(
        (row.start_ns - began).abs() < DRIFT,
        "{} {began}",
        row.start_ns
    );
    let duration = row.duration_ns.unwrap();
    assert!(duration.abs_diff(1_500_000_000) < 10_000, "{duration}");
    for (key, value) in [
        ("path", "/orders".into()),
        ("rows", Value::I64(3)),
        ("ratio", Value::F64(0.5)),
        ("cached", Value::Bool(true)),
        ("tags", Value::Array(vec!["a".into(), "b".into()])),
        ("otel.scope.name", "shop.http".into()),
        ("otel.scope.version", "1.2".into()),
        ("otel.scope.team", "core".into()),
        ("tracestate", "congo=t61".into()),
    ] {
        assert_eq!(row.attributes.get(key), Some(&value), "{key}");
    }

    let query = span(&manager, "query");
    assert_eq!(
        (query.trace_id, query.parent_span_id),
        (trace, Some(row.span_id))
    );
    assert!(!query.remote_parent);
    assert_eq!((query.kind, query.status), (Kind::Client, Went::Error));
    assert_eq!(query.error.as_ref().unwrap().message, "no route");
    let links = manager.query_links(&Filter::new().all()).unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0].span_id, Some(query.span_id));
    assert_eq!(links[0].linked_trace_id, TraceId::from_u128(7));
    assert_eq!(links[0].linked_span_id.map(|id| id.get()), Some(8));
    assert_eq!(links[0].attributes.get("why"), Some(&"batch".into()));
    let events = manager
        .query_events(&Filter::new().event_type("retry"))
        .unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].trace_id, events[0].span_id),
        (Some(trace), Some(query.span_id))
    );
    assert!((events[0].timestamp_ns - began - 250_000_000).abs() < DRIFT);
    assert_eq!(events[0].attributes.get("attempt"), Some(&Value::I64(2)));

    // The part of the trace that is here can be asked for as one.
    let traces = manager.query_traces(&Filter::new()).unwrap();
    assert_eq!(traces.len(), 1);
    assert_eq!(
        (traces[0].trace_id, traces[0].name.as_str()),
        (trace, "GET /orders")
    );
    assert_eq!(
        (traces[0].status, traces[0].remote_parent),
        (Went::Ok, row.parent_span_id)
    );
    // What the log's own resource says is not said again.
    assert_eq!(
        traces[0].attributes.get("resource.host.name"),
        Some(&"h1".into())
    );
    assert_eq!(traces[0].attributes.get("resource.service.name"), None);
    assert_eq!(manager.stats().dropped_count, 0);
}

#[test]
fn a_root_that_fails_is_a_trace_that_failed() {
    let (_dir, manager) = open();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(SpanExporter::new(&manager))
        .build();
    let tracer = provider.tracer("t");
    tracer.in_span("outer", |context| {
        tracer.in_span("inner", |_| ());
        context.span().set_status(Status::error("broken"));
    });
    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert_eq!((trace.name.as_str(), trace.status), ("outer", Went::Error));
    let outer = span(&manager, "outer");
    assert_eq!((outer.parent_span_id, outer.remote_parent), (None, false));
    assert_eq!(span(&manager, "inner").parent_span_id, Some(outer.span_id));
    // After its end the manager takes nothing, and says so.
    manager.shutdown().unwrap();
    let exporter = SpanExporter::new(&manager);
    let late = opentelemetry_sdk::trace::SpanExporter::export(&exporter, Vec::new());
    let mut late = std::pin::pin!(late);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let told = std::future::Future::poll(late.as_mut(), &mut context);
    assert!(matches!(told, std::task::Poll::Ready(Err(_))));
}

#[test]
fn log_records_become_events() {
    let (_dir, manager) = open();
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_simple_exporter(LogExporter::new(&manager))
        .build();
    let logger = provider.logger("shop.db");
    let at = SystemTime::now() - Duration::from_secs(60);
    let mut record = logger.create_log_record();
    record.set_timestamp(at);
    record.set_severity_number(Severity::Warn);
    record.set_severity_text("WARN");
    record.set_target("db");
    record.set_body("slow query".into());
    record.add_attribute("rows", 3_i64);
    record.add_attribute(
        "list",
        AnyValue::ListAny(Box::new(vec![1.into(), "x".into()])),
    );
    record.set_trace_context(opentelemetry::TraceId::from(9), SpanId::from(10), None);
    logger.emit(record);
    let mut record = logger.create_log_record();
    record.set_event_name("order.placed");
    record.set_body(AnyValue::Map(Box::new(
        [("id".into(), AnyValue::Int(7))].into_iter().collect(),
    )));
    logger.emit(record);

    let slow = &manager
        .query_events(&Filter::new().event_type("log"))
        .unwrap()[0];
    assert_eq!(slow.name, "slow query");
    assert_eq!(slow.trace_id, Some(TraceId::from_u128(9)));
    assert_eq!(slow.span_id.map(|id| id.get()), Some(10));
    let expected = at.duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    assert!((slow.timestamp_ns - expected).abs() < DRIFT);
    for (key, value) in [
        ("level", "WARN".into()),
        ("target", "db".into()),
        ("rows", Value::I64(3)),
        ("list", Value::Array(vec![Value::I64(1), "x".into()])),
        ("otel.scope.name", "shop.db".into()),
        ("resource.host.name", "h1".into()),
    ] {
        assert_eq!(slow.attributes.get(key), Some(&value), "{key}");
    }
    let placed = &manager
        .query_events(&Filter::new().event_type("order.placed"))
        .unwrap()[0];
    let body = Value::Map(vec![("id".to_owned(), Value::I64(7))]);
    assert_eq!(placed.attributes.get("body"), Some(&body));
    assert_eq!((placed.trace_id, placed.span_id), (None, None));
}

#[test]
fn points_become_measurements() {
    let (_dir, manager) = open();
    let provider = SdkMeterProvider::builder()
        .with_resource(resource())
        .with_periodic_exporter(MetricExporter::new(&manager))
        .build();
    let meter = provider.meter("shop");
    let requests = meter.u64_counter("requests").with_unit("1").build();
    let open_now = meter.i64_up_down_counter("open").build();
    let load = meter.f64_gauge("load").build();
    let latency = meter
        .f64_histogram("latency")
        .with_unit("s")
        .with_boundaries(vec![0.1, 1.0])
        .build();
    let route = [KeyValue::new("route", "/orders")];
    requests.add(3, &route);
    open_now.add(5, &[]);
    load.record(0.5, &[]);
    for value in [0.05, 0.5, 0.7, 3.0] {
        latency.record(value, &[]);
    }
    provider.force_flush().unwrap();
    requests.add(4, &route);
    open_now.add(-2, &[]);
    provider.shutdown().unwrap();

    let rows = |name: &str| {
        let mut rows = manager
            .query_metrics(&Filter::new().name(name).all())
            .unwrap();
        rows.sort_by_key(|row| row.timestamp_ns);
        rows
    };
    let all = rows("requests");
    let told: Vec<_> = all
        .iter()
        .map(|row| (row.aggregation, row.integer))
        .collect();
    let counter = Aggregation::Counter;
    assert_eq!(told, [(counter, Some(3)), (counter, Some(4))]);
    assert_eq!(all[0].unit, "1");
    assert_eq!(all[0].attributes.get("route"), Some(&"/orders".into()));
    assert_eq!(
        all[0].attributes.get("otel.scope.name"),
        Some(&"shop".into())
    );
    let told: Vec<_> = rows("open")
        .iter()
        .map(|row| (row.aggregation, row.integer))
        .collect();
    let gauge = Aggregation::Gauge;
    assert_eq!(told, [(gauge, Some(5)), (gauge, Some(3))]);
    assert_eq!(rows("load")[0].value, 0.5);
    let latency = rows("latency");
    assert_eq!(latency.len(), 1, "{latency:?}");
    assert_eq!(latency[0].aggregation, Aggregation::Histogram);
    assert!((latency[0].value - 4.25 / 4.0).abs() < 1e-12);
    let Some(Value::Map(told)) = latency[0].attributes.get("emberlog.distribution") else {
        panic!("{latency:?}");
    };
    let entry = |name: &str| {
        told.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    assert_eq!(entry("count"), Some(&Value::U64(4)));
    assert_eq!(entry("min"), Some(&Value::F64(0.05)));
    assert_eq!(entry("max"), Some(&Value::F64(3.0)));
    let counts = [1, 2, 1].map(Value::U64).to_vec();
    assert_eq!(entry("counts"), Some(&Value::Array(counts)));
}
