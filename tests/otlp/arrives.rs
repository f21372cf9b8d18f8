//! What is recorded arrives by OTLP, as OpenTelemetry has it, however the receiver behaves.

use std::{collections::HashMap, path::Path, time::Duration};

use emberlog::{
    backend::{
        otlp::{root_span_id, Compression, Events, Options, OtlpSink, Protocol, Signal},
        Sink,
    },
    tail::{self, LogSource, Tail},
    Config, Filter, Manager, SpanId, SpanKind, Status, TraceId, TraceOptions,
};
use opentelemetry_proto::tonic::{
    metrics::v1::{metric::Data, number_data_point},
    trace::v1::span::SpanKind as OtlpKind,
};

use crate::{
    receiver::{self, decode, http::Receiver, int, text},
    tails,
};

const LONG: Duration = Duration::from_secs(60);

fn options(receiver: &Receiver) -> Options {
    Options::new()
        .environment([("NOT", "used")])
        .endpoint(receiver.url())
        .timeout(Duration::from_secs(5))
}

fn open(dir: &Path, options: Options) -> Manager {
    let mut config = Config::new(dir.join("log"))
        .resource("service.name", "otlp-test")
        .custom("environment", "test")
        .otlp(options);
    config.ring.dir = Some(dir.join("rings"));
    config.export_interval = Duration::from_millis(20);
    Manager::open(config).unwrap()
}

#[test]
fn a_trace_is_a_tree_of_spans_with_the_trace_as_its_root() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let manager = open(dir.path(), options(&receiver).only(&[Signal::Traces]));
    let run = manager.start_trace("ingest");
    run.set("graph_id", "g1");
    let outer = run.node("read");
    outer
        .child("inner")
        .with("n", 7u64)
        .fail_with("Timeout", "too late");
    outer.ok();
    run.span("ask")
        .with_kind(SpanKind::LlmCall)
        .with("model", "m1")
        .with("input_tokens", 12)
        .ok();
    run.span("gone").end(Status::Cancelled);
    let id = run.trace_id().unwrap();
    run.ok();
    manager.export(LONG).unwrap();

    let spans = receiver.stored().spans();
    let by_name: HashMap<_, _> = spans
        .iter()
        .map(|span| (span.name.as_str(), span))
        .collect();
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let (_, instance) = manager.identity().unwrap();
    let root = by_name["ingest"];
    assert_eq!(root.span_id, root_span_id(id, instance).get().to_be_bytes());
    assert!(root.parent_span_id.is_empty());
    assert_eq!(text(&root.attributes, "graph_id"), Some("g1"));
    assert_eq!(text(&root.attributes, "environment"), Some("test"));
    for span in &spans {
        assert_eq!(span.trace_id, id.0);
        assert_eq!((span.span_id.len(), span.flags & 1), (8, 1));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(root.start_time_unix_nano <= span.start_time_unix_nano);
        assert_eq!(
            text(&span.attributes, "environment"),
            Some("test"),
            "{}",
            span.name
        );
    }
    assert_eq!(by_name["read"].parent_span_id, root.span_id);
    assert_eq!(
        text(&by_name["read"].attributes, "emberlog.kind"),
        Some("node_execution")
    );
    let inner = by_name["inner"];
    assert_eq!(inner.parent_span_id, by_name["read"].span_id);
    assert_eq!(int(&inner.attributes, "n"), Some(7));
    let status = |name: &str| by_name[name].status.clone().unwrap_or_default();
    assert_eq!(
        (status("inner").code, status("inner").message.as_str()),
        (2, "too late")
    );
    assert_eq!(text(&inner.attributes, "error.type"), Some("Timeout"));
    assert_eq!(inner.events[0].name, "exception");
    assert_eq!(
        (status("read").code, status("read").message.as_str()),
        (1, "")
    );
    assert_eq!(status("gone").code, 2);
    assert_eq!(
        text(&by_name["gone"].attributes, "emberlog.status"),
        Some("cancelled")
    );
    let ask = by_name["ask"];
    assert_eq!(ask.kind, OtlpKind::Client as i32);
    assert_eq!(text(&ask.attributes, "gen_ai.request.model"), Some("m1"));
    assert_eq!(text(&ask.attributes, "gen_ai.operation.name"), Some("chat"));
    assert_eq!(int(&ask.attributes, "gen_ai.usage.input_tokens"), Some(12));

    let resource = &receiver.stored().resources()[0].attributes;
    assert_eq!(text(resource, "service.name"), Some("otlp-test"));
    assert_eq!(text(resource, "telemetry.sdk.name"), Some("emberlog"));
    assert_eq!(
        text(resource, "service.instance.id"),
        Some(instance.to_string().as_str())
    );
    let seen = &receiver.stored().seen[0];
    assert_eq!(seen.path, "/v1/traces");
    assert_eq!(seen.headers["content-type"], "application/x-protobuf");
}

#[test]
fn events_are_log_records_with_an_event_name_or_span_events_or_both() {
    for events in [Events::Logs, Events::SpanEvents, Events::Both] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let mut options = options(&receiver).only(&[Signal::Traces, Signal::Logs]);
        options.events = events;
        let manager = open(dir.path(), options);
        let run = manager.start_trace("run");
        run.event("graph.note", "of the trace").record();
        let span = run.span("work");
        let inside = span.id();
        run.event("cache.hit", "found").with("key", "k1").record();
        span.ok();
        let id = run.trace_id().unwrap();
        run.ok();
        manager.event("state.updated", "outside").record();
        manager.export(LONG).unwrap();

        let (_, instance) = manager.identity().unwrap();
        let root = root_span_id(id, instance).get().to_be_bytes();
        let logs = receiver.stored().logs();
        let mut names: Vec<_> = logs.iter().map(|log| log.event_name.as_str()).collect();
        names.sort_unstable();
        let all_logs = ["cache.hit", "graph.note", "state.updated"];
        match events {
            // What is outside of any trace has no span to go with.
            Events::SpanEvents => assert_eq!(names, ["state.updated"]),
            _ => assert_eq!(names, all_logs, "{events:?}"),
        }
        let outside = logs
            .iter()
            .find(|log| log.event_name == "state.updated")
            .unwrap();
        assert!(outside.trace_id.is_empty() && outside.span_id.is_empty());
        if let Some(hit) = logs.iter().find(|log| log.event_name == "cache.hit") {
            assert_eq!(hit.trace_id, id.0);
            assert_eq!(hit.span_id, inside.unwrap().get().to_be_bytes());
            assert_eq!(text(&hit.attributes, "key"), Some("k1"));
            assert_eq!(text(&hit.attributes, "environment"), Some("test"));
            assert_eq!(text(&hit.attributes, "log.record.uid").unwrap().len(), 32);
            assert_eq!(
                (hit.severity_number, hit.severity_text.as_str()),
                (9, "INFO")
            );
        }
        if let Some(note) = logs.iter().find(|log| log.event_name == "graph.note") {
            assert_eq!(note.span_id, root);
        }
        let spans = receiver.stored().spans();
        let events_of = |name: &str| -> Vec<String> {
            let span = spans.iter().find(|span| span.name == name).unwrap();
            span.events.iter().map(|event| event.name.clone()).collect()
        };
        match events {
            Events::Logs => assert!(events_of("work").is_empty() && events_of("run").is_empty()),
            _ => {
                assert_eq!(events_of("work"), ["cache.hit"]);
                assert_eq!(events_of("run"), ["graph.note"]);
            }
        }
    }
}

#[test]
fn derived_events_leave_only_where_they_are_asked_for() {
    for derived in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let mut options = options(&receiver).only(&[Signal::Logs]);
        options.derived_events = derived;
        let manager = open(dir.path(), options);
        let run = manager.start_trace("run");
        run.node("n").fail_with("E", "no");
        run.ok();
        manager.export(LONG).unwrap();
        let logs = receiver.stored().logs();
        let mut names: Vec<_> = logs.iter().map(|log| log.event_name.as_str()).collect();
        names.sort_unstable();
        let all = [
            "graph.finished",
            "graph.started",
            "node.failed",
            "node.started",
        ];
        assert_eq!(names, if derived { &all[..] } else { &[] });
        let failed = logs.iter().find(|log| log.event_name == "node.failed");
        assert!(failed.is_none_or(|log| log.severity_text == "ERROR"));
    }
}

#[test]
fn measurements_leave_aggregated_with_those_that_follow_from_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let manager = open(dir.path(), options(&receiver).only(&[Signal::Metrics]));
    let run = manager.start_trace("run");
    for n in 0..10u64 {
        run.metric("cost")
            .unit("usd")
            .with("model", "m1")
            .counter(0.5);
        run.metric("size").unit("bytes").histogram(n);
        run.metric("depth").gauge(n);
        let node = run.node("n");
        match n {
            9 => node.fail_with("E", "no"),
            _ => node.ok(),
        }
    }
    let id = run.trace_id().unwrap();
    run.ok();
    manager.export(LONG).unwrap();

    let metrics = receiver.stored().metrics();
    // Cumulative: of each series the last point says it all.
    let last = |name: &str| metrics.iter().rev().find(|m| m.name == name).unwrap();
    let cost = last("cost");
    assert_eq!(cost.unit, "{USD}");
    let Some(Data::Sum(sum)) = &cost.data else {
        panic!("{cost:?}")
    };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    let point = &sum.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(5.0)));
    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano < point.time_unix_nano);
    assert_eq!(text(&point.attributes, "model"), Some("m1"));
    assert_eq!(text(&point.attributes, "environment"), Some("test"));
    assert_eq!(point.exemplars[0].trace_id, id.0);
    let Some(Data::Gauge(depth)) = &last("depth").data else {
        panic!("no gauge")
    };
    assert_eq!(
        depth.data_points[0].value,
        Some(number_data_point::Value::AsInt(9))
    );
    let Some(Data::Histogram(size)) = &last("size").data else {
        panic!("no histogram")
    };
    assert_eq!(last("size").unit, "By");
    let point = &size.data_points[0];
    assert_eq!(
        (point.count, point.sum, point.max),
        (10, Some(45.0), Some(9.0))
    );
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 10);
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    let total = |name: &str| match &last(name).data {
        Some(Data::Sum(sum)) => sum.data_points[0].value,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        total("node_execution_count"),
        Some(number_data_point::Value::AsInt(10))
    );
    assert_eq!(
        total("node.error"),
        Some(number_data_point::Value::AsInt(1))
    );
    let Some(Data::Histogram(duration)) = &last("node.duration").data else {
        panic!("no duration")
    };
    assert_eq!(
        (
            last("node.duration").unit.as_str(),
            duration.data_points[0].count
        ),
        ("s", 10)
    );
}

#[test]
fn json_and_gzip_say_the_same_as_protobuf() {
    let dir = tempfile::tempdir().unwrap();
    let receivers = [Receiver::start(), Receiver::start(), Receiver::start()];
    let [proto, json, gzip] = &receivers;
    let named = |receiver: &Receiver, name: &str| {
        let mut options = options(receiver);
        options.name = name.to_owned();
        options
    };
    let mut config = Config::new(dir.path().join("log"))
        .otlp(named(proto, "proto"))
        .otlp(named(json, "json").protocol(Protocol::HttpJson))
        .otlp(named(gzip, "gzip").compression(Compression::Gzip));
    config.ring.dir = Some(dir.path().join("rings"));
    config.export_interval = Duration::ZERO;
    let manager = Manager::open(config).unwrap();
    for n in 0..50u64 {
        let run = manager.start_trace("run");
        let node = run.node("a \"node\"\n");
        run.event("some.event", "é")
            .with("bytes", &[0u8, 255][..])
            .record();
        run.metric("m").with("key", n % 3).counter(n);
        match n % 2 {
            0 => node.fail_with("E", "text \u{1}"),
            _ => node.ok(),
        }
        run.ok();
    }
    manager.export(LONG).unwrap();
    let sorted = |receiver: &Receiver| {
        let stored = receiver.stored();
        let mut all: Vec<String> = Vec::new();
        all.extend(stored.spans().iter().map(|span| format!("{span:?}")));
        all.extend(stored.logs().iter().map(|log| format!("{log:?}")));
        all.extend(stored.metrics().iter().map(|metric| format!("{metric:?}")));
        all.sort();
        all
    };
    let expected = sorted(proto);
    assert!(expected.len() > 150, "{}", expected.len());
    for other in [json, gzip] {
        assert_eq!(sorted(other), expected);
    }
    let bytes = |receiver: &Receiver| {
        let stored = receiver.stored();
        stored
            .seen
            .iter()
            .map(|seen| (seen.wire, seen.bytes))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let ((_, plain), (wire, unpacked)) = (bytes(proto), bytes(gzip));
    assert_eq!(unpacked, plain);
    assert!(wire < plain / 2, "{wire} of {plain}");
    assert_eq!(gzip.stored().seen[0].headers["content-encoding"], "gzip");
    assert_eq!(
        json.stored().seen[0].headers["content-type"],
        "application/json"
    );
}

/// A sink that was opened anew knows what the one before it was told: the log has it.
#[test]
fn a_trace_that_is_open_across_a_restart_of_the_tail_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let log = dir.path().join("log");
    let mut config = Config::new(&log);
    config.ring.dir = Some(dir.path().join("rings"));
    let manager = Manager::open(config).unwrap();
    let tail = || {
        let mut options = options(&receiver).only(&[Signal::Traces]);
        options.events = Events::SpanEvents;
        options.log_dir = Some(log.clone());
        tails::started(|| {
            let options = options.clone();
            let open =
                move || Ok(Box::new(OtlpSink::open(Signal::Traces, &options)?) as Box<dyn Sink>);
            let source = LogSource::open(&log).unwrap();
            Tail::start(&log, source, open, tail::Options::new("otlp-traces"))
        })
    };
    let other = TraceId::from_u128(77);
    let parent = SpanId::new(5).unwrap();
    let started = TraceOptions::new().remote_parent(parent);
    let run = manager.start_trace_with("run", &started);
    run.set("early", "yes");
    let span = run.span("work");
    run.event("early.event", "before").record();
    run.link_from(span.id(), other, SpanId::new(6));
    let end = manager.flush().unwrap();
    let first = tail();
    first.export(end, LONG).unwrap();
    drop(first);
    assert!(receiver.stored().spans().is_empty());
    span.ok();
    run.ok();
    let end = manager.flush().unwrap();
    tail().export(end, LONG).unwrap();
    let spans = receiver.stored().spans();
    let root = spans.iter().find(|span| span.name == "run").unwrap();
    let work = spans.iter().find(|span| span.name == "work").unwrap();
    assert_eq!(root.parent_span_id, parent.get().to_be_bytes());
    assert_eq!(root.kind, OtlpKind::Server as i32);
    assert_eq!(root.flags & 0x300, 0x300);
    assert_eq!(work.parent_span_id, root.span_id);
    let events: Vec<_> = work
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(events, ["early.event"]);
    assert_eq!(work.links.len(), 1);
    assert_eq!(work.links[0].trace_id, other.0);
    assert_eq!(work.links[0].span_id, 6u64.to_be_bytes());
}

#[test]
fn files_hold_json_lines_once_also_when_the_last_ones_were_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out/telemetry.jsonl");
    let mut options = Options::file(&path).environment([("NOT", "used")]);
    options.file.as_mut().unwrap().max_bytes = 20_000;
    let mut expected = 0;
    for round in 0..5u64 {
        let manager = open(dir.path(), options.clone());
        for n in 0..40u64 {
            let run = manager.start_trace("run");
            run.node(format!("node-{round}-{n}").as_str()).ok();
            run.event("an.event", "e").record();
            run.ok();
            expected += 2;
        }
        manager.export(LONG).unwrap();
        manager.shutdown().unwrap();
        // What a crash between the lines and the word beside them leaves behind.
        for signal in Signal::ALL {
            let file = dir.path().join(format!("out/telemetry-{signal}.jsonl"));
            let mut bytes = std::fs::read(&file).unwrap_or_default();
            bytes.extend_from_slice(b"{\"resourceSpans\":[{\"half a line");
            std::fs::write(&file, bytes).unwrap();
        }
    }
    // The next open cuts off what was never acknowledged.
    drop(open(dir.path(), options));
    let mut names = std::collections::BTreeMap::new();
    let mut files = 0;
    for entry in std::fs::read_dir(dir.path().join("out")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("telemetry-traces") || !name.ends_with(".jsonl") {
            continue;
        }
        files += 1;
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let request = receiver::decode("/v1/traces", true, line.as_bytes());
            let mut stored = receiver::Stored::default();
            stored.taken.push(request);
            for span in stored.spans() {
                *names.entry(span.span_id).or_insert(0) += 1;
            }
        }
    }
    assert!(files > 1, "the file was never set aside");
    assert_eq!(names.len(), expected);
    assert!(names.values().all(|count| *count == 1));
}

/// What arrives, decoded, is what the log itself answers, as far as OTLP can hold it.
#[test]
fn what_arrives_is_what_the_log_has() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let manager = open(dir.path(), options(&receiver));
    for n in 0..30u64 {
        let started = match n % 3 {
            0 => TraceOptions::new().remote_parent(SpanId::new(n + 1).unwrap()),
            _ => TraceOptions::new(),
        };
        let run = manager.start_trace_with("run \0 é", &started);
        run.set("n", u64::MAX - n);
        for kind in SpanKind::ALL {
            let span = run.span("work").with_kind(*kind).with("small", n);
            let span = span
                .with("ratio", 0.1)
                .with("text", "a\0\"b")
                .with("bytes", &[0u8, 255][..]);
            run.event("my.own", "happened").with("n", n).record();
            run.link_from(span.id(), TraceId::from_u128(77), SpanId::new(6));
            match n % 4 {
                0 => span.fail_with("ValueError", "bad\nthings"),
                1 => span.end(Status::Cancelled),
                2 => span.end(Status::Unset),
                _ => span.ok(),
            }
        }
        run.event("of.trace", "happened").record();
        run.end([Status::Ok, Status::Error][n as usize % 2]);
    }
    manager.event("outside", "of any trace").record();
    manager.export(LONG).unwrap();

    let decoded = decode::rows(&receiver.stored());
    let mut all = Filter::new().all();
    all.recorded_only = true;
    let returns = decode::map_as_it_returns;
    let shown = |mut rows: Vec<String>| {
        rows.sort();
        rows
    };
    let mut spans = manager.query_spans(&all).unwrap();
    for span in &mut spans {
        span.attributes = returns(&span.attributes);
        (span.thread, span.record) = ((0, 0), None);
    }
    let text = |rows: &[emberlog::Span]| shown(rows.iter().map(|r| format!("{r:?}")).collect());
    assert_eq!(text(&decoded.spans), text(&spans));
    let mut traces = manager.query_traces(&all).unwrap();
    for trace in &mut traces {
        trace.attributes = returns(&trace.attributes);
    }
    let text = |rows: &[emberlog::Trace]| shown(rows.iter().map(|r| format!("{r:?}")).collect());
    assert_eq!(text(&decoded.traces), text(&traces));
    let mut events = manager.query_events(&all).unwrap();
    for event in &mut events {
        event.attributes = returns(&event.attributes);
    }
    let text = |rows: &[emberlog::Event]| shown(rows.iter().map(|r| format!("{r:?}")).collect());
    assert_eq!(text(&decoded.events), text(&events));
    assert_eq!(decoded.links.len(), 30 * SpanKind::ALL.len());
    assert!(decoded
        .links
        .iter()
        .all(|link| link.linked_span_id == SpanId::new(6)));
}
