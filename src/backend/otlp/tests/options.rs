//! What counts when code, signal and environment disagree; what is wrong is said at once.

use std::time::Duration;

use super::super::{
    batch::Form,
    options::{Compression, HistogramForm, Options, Protocol, Temporality},
    resolve::{Place, Settings},
    Signal,
};
use crate::{config::Config, record::value::Value};

fn settings(options: &Options) -> Vec<Settings> {
    options.settings().unwrap()
}

fn urls(options: &Options) -> Vec<String> {
    let of = |settings: Settings| match settings.place {
        Place::Http { url } => url,
        place => format!("{place:?}"),
    };
    settings(options).into_iter().map(of).collect()
}

fn with<'e>(variables: &[(&'e str, &'e str)]) -> Options {
    Options::new().environment(variables.iter().copied())
}

#[test]
fn without_a_word_it_is_http_protobuf_to_localhost() {
    let all = ["traces", "logs", "metrics"].map(|s| format!("http://localhost:4318/v1/{s}"));
    assert_eq!(urls(&with(&[])), all);
    let first = &settings(&with(&[]))[0];
    assert_eq!(
        (first.form, first.compression),
        (Form::Proto, Compression::None)
    );
    assert_eq!(
        (first.timeout, first.max_request_bytes),
        (Duration::from_secs(10), 4 << 20)
    );
    assert_eq!(first.name, "otlp-traces");
}

#[test]
fn an_address_for_all_gets_paths_and_one_for_a_signal_is_taken_as_it_is() {
    let cases = [
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h:4318/", "http://h:4318/v1/traces"),
        ("https://h/base/", "https://h/base/v1/traces"),
        ("http://h/v1/logs", "http://h/v1/traces"),
        ("http://h:1/?k=v", "http://h:1/v1/traces?k=v"),
    ];
    for (url, expected) in cases {
        assert_eq!(urls(&with(&[]).endpoint(url))[0], expected);
        assert_eq!(
            urls(&with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]))[0],
            expected
        );
    }
    let own = with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:2/here"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:3"),
    ]);
    let expected = [
        "http://all:1/v1/traces",
        "http://logs:2/here",
        "http://metrics:3/",
    ];
    assert_eq!(urls(&own), expected);
    // What is set in code counts, also what is set for all against the environment's one signal.
    let all = ["traces", "logs", "metrics"].map(|s| format!("http://code:4/v1/{s}"));
    assert_eq!(urls(&own.endpoint("http://code:4")), all);
}

#[test]
fn every_variable_is_heard_and_code_beats_it() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,x=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "700"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_SERVICE_NAME", "named"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
    ];
    let all = settings(&with(&variables));
    let headers = |settings: &Settings| -> Vec<(String, String)> {
        let headers = settings.headers.iter();
        headers.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    };
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!((all[0].form, all[1].form), (Form::Proto, Form::Json));
    assert_eq!(headers(&all[0]), [pair("api-key", "a b"), pair("x", "2")]);
    assert_eq!(headers(&all[1]), [pair("api-key", "a b"), pair("x", "1")]);
    assert_eq!(all[0].compression, Compression::Gzip);
    assert_eq!(all[1].compression, Compression::None);
    assert_eq!(all[0].timeout, Duration::from_millis(2500));
    assert_eq!(all[2].timeout, Duration::from_millis(700));
    assert_eq!(all[0].tls.ca.as_deref(), Some("/ca.pem".as_ref()));
    assert_eq!(all[0].tls.client, Some(("/c.pem".into(), "/k.pem".into())));
    assert_eq!(all[2].temporality, Temporality::Delta);
    assert_eq!(all[2].histograms, HistogramForm::Exponential);
    let resource = &all[0].resource.defaults;
    assert_eq!(resource.get("service.name"), Some(&Value::from("named")));
    assert_eq!(resource.get("team"), Some(&Value::from("a,b")));

    let mut code = with(&variables)
        .protocol(Protocol::HttpProtobuf)
        .header("X", "3")
        .compression(Compression::None)
        .timeout(Duration::from_secs(1));
    code.temporality = Some(Temporality::Cumulative);
    code.histograms = Some(HistogramForm::Explicit);
    for one in settings(&code) {
        assert_eq!(
            (one.form, one.compression),
            (Form::Proto, Compression::None)
        );
        assert_eq!(one.timeout, Duration::from_secs(1));
        assert!(headers(&one)
            .iter()
            .any(|(k, v)| k.eq_ignore_ascii_case("x") && v == "3"));
        assert_eq!(one.temporality, Temporality::Cumulative);
        assert_eq!(one.histograms, HistogramForm::Explicit);
    }
}

#[test]
fn the_documents_spellings_are_understood() {
    // C-13: the header `timeout` is a timeout in seconds and is not sent.
    let one = &settings(&with(&[]).header("timeout", "30"))[0];
    assert_eq!(
        (one.timeout, one.headers.iter().count()),
        (Duration::from_secs(30), 0)
    );
    // C-12: port 4317 is gRPC, unless the protocol says something else.
    let port = with(&[]).endpoint("http://localhost:4317");
    match cfg!(feature = "otlp-grpc") {
        true => assert!(matches!(settings(&port)[0].place, Place::Grpc { .. })),
        false => {
            let problems = port.settings().unwrap_err().problems;
            assert!(problems[0].contains("otlp-grpc"), "{problems:?}");
        }
    }
    let said = port.protocol(Protocol::HttpProtobuf);
    assert_eq!(urls(&said)[0], "http://localhost:4317/v1/traces");
}

#[test]
fn all_problems_are_said_at_once_and_no_secret() {
    let mut options = with(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "canary-env"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"),
    ])
    .endpoint("ftp://me:canary-password@h/?key=canary-query")
    .header("bad name", "canary-header")
    .header("timeout", "canary-timeout");
    options.max_request_bytes = 65 << 20;
    options.cardinality_limit = 1;
    let error = options.validate().unwrap_err();
    let text = format!("{error} {error:?} {options:?}");
    let parts = [
        "carrier-pigeon",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "client_key",
        "ftp://h/",
        "bad name",
        "seconds",
        "max_request_bytes",
        "cardinality_limit",
    ];
    for part in parts {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("canary"), "{text}");
    // And the configuration of the whole engine says it too.
    let error = Config::new("/nowhere")
        .otlp(options)
        .validate()
        .unwrap_err();
    assert!(error.to_string().contains("max_request_bytes"), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn user_and_password_become_a_header() {
    let one = &settings(&with(&[]).endpoint("http://me:p%40ss@h:1"))[0];
    assert_eq!(
        one.place,
        Place::Http {
            url: "http://h:1/v1/traces".to_owned()
        }
    );
    let headers: Vec<_> = one.headers.iter().collect();
    assert_eq!(headers, [("authorization", "Basic bWU6cEBzcw==")]);
}

#[test]
fn only_the_signals_that_are_asked_for_are_backends() {
    let names = |options: &Options| -> Vec<String> {
        let backends = options.backends().unwrap();
        backends.iter().map(|b| b.name().to_owned()).collect()
    };
    assert_eq!(
        names(&with(&[])),
        ["otlp-traces", "otlp-logs", "otlp-metrics"]
    );
    assert_eq!(names(&with(&[]).only(&[Signal::Logs])), ["otlp-logs"]);
}
