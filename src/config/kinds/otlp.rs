//! The kind `otlp`: three backends, one per signal, or the one that is named.

use super::{shown, Make, Parameter};

pub(super) static PARAMETERS: &[Parameter] = &[
    shown(
        "signal",
        &[],
        "traces, logs or metrics: this one alone, under the backend's `name` as it stands. Default: \
         all three, as `NAME-traces` and so on.",
    ),
    shown(
        "endpoint",
        &[],
        "`http://HOST:PORT` or `https://…`; over HTTP `/v1/traces` and so on are appended. Default: \
         `http://localhost:4318`, with gRPC `http://localhost:4317`. User, password and query are \
         secret.",
    ),
    shown(
        "signal_endpoint",
        &[],
        "The address of the one `signal`, taken as it stands. Default: from `endpoint`.",
    ),
    shown(
        "protocol",
        &[],
        "http/protobuf (also http), http/json or grpc. Default: that of the name `otlp_http` or \
         `otlp_grpc`, else grpc for port 4317, else http/protobuf.",
    ),
    Parameter {
        name: "headers",
        aliases: &[],
        about: "Headers of every request; one that is called `timeout` is a timeout in seconds. \
                Default: none.",
        secret: true,
    },
    shown("compression", &[], "none or gzip. Default: none."),
    shown(
        "timeout",
        &["timeout_seconds"],
        "How long one request may take in all. Default: 10 s; 1 ms to 1 hour.",
    ),
    shown(
        "certificate",
        &[],
        "PEM file of the authorities to trust. Default: Mozilla's.",
    ),
    shown(
        "client_certificate",
        &[],
        "PEM file of our certificate, with `client_key`. Default: none.",
    ),
    shown("client_key", &[], "PEM file of its key. Default: none."),
    shown(
        "insecure",
        &[],
        "Whether a gRPC address without scheme is reached without TLS. Default: false.",
    ),
    shown(
        "file",
        &[],
        "Files of OTLP JSON lines instead of a network: `DIR/NAME.jsonl` becomes \
         `DIR/NAME-traces.jsonl` and so on. Default: none.",
    ),
    shown(
        "file_max_bytes",
        &[],
        "Bytes after which a file is set aside. Default: 256 MiB; from 1 KiB.",
    ),
    shown("file_max_files", &[], "Files that stay per signal. Default: all."),
    shown(
        "events",
        &[],
        "logs, span_events or both: what events become. Default: logs.",
    ),
    shown(
        "derived_events",
        &[],
        "Whether events that follow from spans leave as well. Default: false.",
    ),
    shown(
        "temporality",
        &[],
        "cumulative, delta or lowmemory (as delta). Default: cumulative.",
    ),
    shown(
        "histograms",
        &[],
        "explicit_bucket_histogram or base2_exponential_bucket_histogram. Default: the first.",
    ),
    shown(
        "cardinality_limit",
        &[],
        "Series per metric. Default: 2000; 2 to 1000000.",
    ),
    shown(
        "max_request_bytes",
        &[],
        "Largest request before compression. Default: 4 MiB; 1 KiB to 64 MiB.",
    ),
    shown(
        "resource",
        &[],
        "Attributes of the resource; they count more than what was recorded. Default: none.",
    ),
];

#[cfg(not(feature = "otlp"))]
pub(super) const MAKE: Make = Make::Missing("otlp");
#[cfg(feature = "otlp")]
pub(super) const MAKE: Make = Make::Sinks(built::make);

#[cfg(feature = "otlp")]
mod built {
    use crate::{
        backend::{
            otlp::{
                Compression, Events, FileOptions, HistogramForm, Options, Protocol, Signal,
                Temporality,
            },
            BackendConfig,
        },
        config::{
            kinds::Given,
            spelling::{words, Spelled},
        },
        model::AttributeMap,
        record::value::Value,
    };

    words!(
        Signal,
        "traces, logs or metrics",
        &[
            ("traces", Signal::Traces),
            ("logs", Signal::Logs),
            ("metrics", Signal::Metrics)
        ]
    );
    words!(
        Protocol,
        "http/protobuf, http/json or grpc",
        Protocol::WORDS
    );
    words!(Compression, "none or gzip", Compression::WORDS);
    words!(Events, "logs, span_events or both", Events::WORDS);
    words!(
        Temporality,
        "cumulative, delta or lowmemory",
        Temporality::WORDS
    );
    words!(
        HistogramForm,
        "explicit_bucket_histogram or base2_exponential_bucket_histogram",
        HistogramForm::WORDS
    );

    /// The protocol that the name of the kind says.
    fn protocol(given: &mut Given) -> Option<Protocol> {
        let mut protocol = None;
        given.read("protocol", &mut protocol);
        let grpc = protocol.map(|protocol| protocol == Protocol::Grpc);
        match (given.asked, grpc) {
            ("otlp_grpc", None) => Some(Protocol::Grpc),
            ("otlp_http", None) => Some(Protocol::HttpProtobuf),
            ("otlp_grpc", Some(false)) | ("otlp_http", Some(true)) => {
                let expected = format!("one of those that {} means", given.asked);
                given.refuse("protocol", &expected, Spelled::write(&protocol));
                None
            }
            _ => protocol,
        }
    }

    pub(super) fn make(given: &mut Given) -> Vec<BackendConfig> {
        let mut options = Options::new();
        if let Some(variables) = &given.variables {
            options = options.environment(variables.iter().cloned());
        }
        if let Some(name) = &given.name {
            options.name.clone_from(name);
        }
        let all = &mut options.all;
        all.protocol = protocol(given);
        given.read("endpoint", &mut all.endpoint);
        let mut headers = AttributeMap::new();
        given.read("headers", &mut headers);
        for (name, value) in headers.iter() {
            let text = match value {
                Value::Str(text) => text.clone(),
                other => other.to_json(),
            };
            all.headers.set(name, text);
        }
        given.read("compression", &mut all.compression);
        given.read("timeout", &mut all.timeout);
        given.read("certificate", &mut all.certificate);
        given.read("client_certificate", &mut all.client_certificate);
        given.read("client_key", &mut all.client_key);
        given.read("insecure", &mut all.insecure);
        let mut path = None;
        given.read("file", &mut path);
        if let Some(path) = path {
            let mut file = FileOptions {
                path,
                max_bytes: 256 << 20,
                max_files: None,
            };
            given.read("file_max_bytes", &mut file.max_bytes);
            given.read("file_max_files", &mut file.max_files);
            options.file = Some(file);
        }
        given.read("events", &mut options.events);
        given.read("derived_events", &mut options.derived_events);
        given.read("temporality", &mut options.temporality);
        given.read("histograms", &mut options.histograms);
        given.read("cardinality_limit", &mut options.cardinality_limit);
        given.read("max_request_bytes", &mut options.max_request_bytes);
        given.read("resource", &mut options.resource);
        let (mut signal, mut address) = (None, None);
        given.read("signal", &mut signal);
        given.read("signal_endpoint", &mut address);
        match (signal, address) {
            (Some(signal), address) => {
                options = options.only(&[signal]);
                options.target_mut(signal).endpoint = address;
            }
            (None, Some(_)) => given.say("signal_endpoint", ["needs a signal".to_owned()]),
            (None, None) => {}
        }
        match options.backends() {
            Ok(backends) => backends,
            Err(error) => {
                let kind = given.kind.name;
                let of_kind = |problem| format!("{kind}: {problem}");
                given
                    .problems
                    .extend(error.problems.into_iter().map(of_kind));
                Vec::new()
            }
        }
    }
}
