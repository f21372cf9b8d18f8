//! OTLP as a configuration names it reaches a receiver: address, headers, resource, the environment's
//! word; and what it keeps beside the log is there, wherever that turns out to be.

use std::time::Duration;

use emberlog::{Config, Filter, Manager, Value};

use crate::receiver::{http::Receiver, text};

const LONG: Duration = Duration::from_secs(60);

fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
    Value::Map(entries.collect())
}

fn record(manager: &Manager) {
    let run = manager.start_trace("run");
    run.node("work").ok();
    run.event("my.own", "happened").record();
    run.metric("load").counter(1.0);
    run.ok();
}

#[test]
fn metadata_and_resource_attributes_arrive_as_the_resource() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    // The directory is named after the backend.
    let config = Config::create_otlp(receiver.url())
        .metadata("service.name", "indexer")
        .metadata("team", "core")
        .resource("deployment.environment", "test")
        .dir(dir.path().join("log"));
    let manager = Manager::open(config).unwrap();
    record(&manager);
    manager.export(LONG).unwrap();
    let stored = receiver.stored();
    assert!(!stored.logs().is_empty() && !stored.metrics().is_empty());
    for resource in stored.resources() {
        for (key, value) in [
            ("service.name", "indexer"),
            ("team", "core"),
            ("deployment.environment", "test"),
        ] {
            assert_eq!(text(&resource.attributes, key), Some(value), "{resource:?}");
        }
    }
    for span in stored.spans() {
        assert_eq!(text(&span.attributes, "team"), Some("core"), "{span:?}");
    }
    // A backend that only sends does not answer; the log does.
    assert_eq!(manager.query_traces(&Filter::new()).unwrap().len(), 1);
}

#[test]
fn a_file_and_the_environment_say_where_and_how() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Receiver::start(), Receiver::start());
    let logs = [
        ("signal", "logs".into()),
        (
            "signal_endpoint",
            format!("{}/v1/logs", second.url()).into(),
        ),
    ];
    let file = map(&[
        ("enabled", true.into()),
        ("dir", dir.path().join("log").to_str().unwrap().into()),
        (
            "backends",
            Value::Array(vec![
                map(&[
                    ("backend", "otlp_http".into()),
                    (
                        "backend_config",
                        map(&[("headers", map(&[("api-key", "hunter2".into())]))]),
                    ),
                ]),
                map(&[
                    ("backend", "otlp".into()),
                    ("name", "second".into()),
                    ("backend_config", map(&logs)),
                ]),
            ]),
        ),
    ]);
    let config = Config::from_value(&file).unwrap();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", first.url()),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-traces=1".to_owned()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
        ("OTEL_SERVICE_NAME", "from-the-environment".to_owned()),
    ];
    let manager = Manager::open(config.vars(variables).unwrap()).unwrap();
    record(&manager);
    manager.export(LONG).unwrap();
    let names: Vec<_> = manager
        .stats()
        .backends
        .into_iter()
        .map(|b| b.name)
        .collect();
    assert_eq!(
        names,
        ["otlp-traces", "otlp-logs", "otlp-metrics", "second"]
    );
    let there = |receiver: &Receiver| {
        let stored = receiver.stored();
        for seen in &stored.seen {
            let header = |name: &str| seen.headers.get(name).map(String::as_str);
            assert_eq!(header("content-encoding"), Some("gzip"));
            let mine = receiver.port == first.port;
            assert_eq!(header("api-key"), mine.then_some("hunter2"), "{seen:?}");
            assert_eq!(header("x-traces").is_some(), seen.path == "/v1/traces");
        }
        let of = stored.resources();
        let service = "from-the-environment";
        assert!(of
            .iter()
            .all(|r| text(&r.attributes, "service.name") == Some(service)));
        (
            stored.spans().len(),
            stored.logs().len(),
            !stored.metrics().is_empty(),
        )
    };
    assert_eq!(there(&first), (2, 1, true));
    assert_eq!(there(&second), (0, 1, false));
    // Sums go on where they were: what they stand at is kept beside the log.
    assert!(dir.path().join("log/cursors/otlp-metrics.series").exists());
}
