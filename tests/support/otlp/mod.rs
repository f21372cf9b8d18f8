//! An OTLP receiver that behaves as badly as a test asks, and remembers what it took.
#![allow(dead_code)] // each test uses its part

pub mod decode;
pub mod grpc;
pub mod http;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{any_value, AnyValue, KeyValue},
    logs::v1::LogRecord,
    metrics::v1::Metric,
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Takes it.
    Take,
    /// Answers this status with these headers and this body, and takes nothing.
    Refuse(u16, Vec<(&'static str, String)>, String),
    /// Takes it, rejecting so many for good.
    Partial(i64, &'static str),
    /// Never answers.
    Hang,
    /// Closes the connection without having stored anything.
    DropBefore,
    /// Closes the connection after having stored it, without an answer.
    DropAfter,
    /// Stores it, and never answers.
    HangAfter,
    /// Answers bytes that are no HTTP.
    Garbage,
    /// Takes it, and answers 200 with this body.
    Answer(&'static str, Vec<u8>),
}

impl Act {
    pub fn status(status: u16) -> Self {
        Self::Refuse(status, Vec::new(), String::new())
    }
}

/// A decoded request.
#[derive(Clone, Debug)]
pub enum Request {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: HashMap<String, String>,
    /// Bytes of the body on the wire, and after decompression.
    pub wire: usize,
    pub bytes: usize,
    pub at: Instant,
}

/// What a receiver has.
#[derive(Default)]
pub struct Stored {
    pub seen: Vec<Seen>,
    pub taken: Vec<Request>,
    script: VecDeque<Act>,
    /// What it does when the script is over; `None` is to take.
    otherwise: Option<Act>,
    /// Requests that are longer get 413.
    largest: Option<usize>,
    /// Requests with this text get 400.
    poison: Option<String>,
    connections: usize,
}

impl Stored {
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.taken.iter().filter_map(|request| match request {
            Request::Traces(request) => Some(request),
            _ => None,
        });
        let resources = requests.flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes
            .flat_map(|scope| scope.spans.iter().cloned())
            .collect()
    }

    pub fn logs(&self) -> Vec<LogRecord> {
        let requests = self.taken.iter().filter_map(|request| match request {
            Request::Logs(request) => Some(request),
            _ => None,
        });
        let resources = requests.flat_map(|request| &request.resource_logs);
        let scopes = resources.flat_map(|resource| &resource.scope_logs);
        scopes
            .flat_map(|scope| scope.log_records.iter().cloned())
            .collect()
    }

    pub fn metrics(&self) -> Vec<Metric> {
        let requests = self.taken.iter().filter_map(|request| match request {
            Request::Metrics(request) => Some(request),
            _ => None,
        });
        let resources = requests.flat_map(|request| &request.resource_metrics);
        let scopes = resources.flat_map(|resource| &resource.scope_metrics);
        scopes
            .flat_map(|scope| scope.metrics.iter().cloned())
            .collect()
    }

    pub fn resources(&self) -> Vec<Resource> {
        let resources = self.taken.iter().flat_map(|request| match request {
            Request::Traces(r) => r
                .resource_spans
                .iter()
                .map(|r| r.resource.clone())
                .collect(),
            Request::Logs(r) => r.resource_logs.iter().map(|r| r.resource.clone()).collect(),
            Request::Metrics(r) => r
                .resource_metrics
                .iter()
                .map(|r| r.resource.clone())
                .collect::<Vec<_>>(),
        });
        resources.flatten().collect()
    }

    pub fn connections(&self) -> usize {
        self.connections
    }
}

/// What a receiver and its test share.
#[derive(Clone, Default)]
pub struct Shared(Arc<(Mutex<Stored>, Condvar)>);

impl Shared {
    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0 .0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What it does with the next requests, one after the other.
    pub fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.stored().script.extend(acts);
    }

    /// Forgets what is left of the script.
    pub fn end_script(&self) {
        self.stored().script.clear();
    }

    /// What it does with all requests behind the script.
    pub fn otherwise(&self, act: Option<Act>) {
        self.stored().otherwise = act;
    }

    /// Longer requests get 413.
    pub fn largest(&self, bytes: usize) {
        self.stored().largest = Some(bytes);
    }

    /// Requests with this text get 400.
    pub fn poison(&self, text: &str) {
        self.stored().poison = Some(text.to_owned());
    }

    /// Waits until a condition holds.
    pub fn wait(&self, what: &str, holds: impl Fn(&Stored) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut stored = self.stored();
        while !holds(&stored) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited in vain for {what}: there are {} spans, {} logs, {} metrics",
                stored.spans().len(),
                stored.logs().len(),
                stored.metrics().len()
            );
            stored = self.0 .1.wait_timeout(stored, left).unwrap().0;
        }
    }

    pub fn connected(&self) {
        self.stored().connections += 1;
    }

    /// A request came: what to do with it.
    pub fn came(&self, seen: Seen, body: &[u8]) -> Act {
        let mut stored = self.stored();
        let poison = stored.poison.as_ref().is_some_and(|poison| {
            body.windows(poison.len())
                .any(|part| part == poison.as_bytes())
        });
        let too_large = stored.largest.is_some_and(|largest| seen.bytes > largest);
        stored.seen.push(seen);
        let otherwise = stored.otherwise.clone().unwrap_or(Act::Take);
        let act = match (too_large, poison) {
            (true, _) => Act::status(413),
            (_, true) => Act::Refuse(400, Vec::new(), "cannot be decoded".to_owned()),
            _ => stored.script.pop_front().unwrap_or(otherwise),
        };
        drop(stored);
        self.0 .1.notify_all();
        act
    }

    /// A request is taken.
    pub fn take(&self, request: Request) {
        self.stored().taken.push(request);
        self.0 .1.notify_all();
    }
}

/// Decodes a body by its path and content type, strictly.
pub fn decode(path: &str, json: bool, body: &[u8]) -> Request {
    fn of<M: prost::Message + Default + serde::de::DeserializeOwned>(json: bool, body: &[u8]) -> M {
        match json {
            true => serde_json::from_slice(body)
                .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body))),
            false => M::decode(body).unwrap(),
        }
    }
    match path {
        "/v1/traces" => Request::Traces(of(json, body)),
        "/v1/logs" => Request::Logs(of(json, body)),
        "/v1/metrics" => Request::Metrics(of(json, body)),
        path => panic!("no such path: {path}"),
    }
}

/// The response with so many rejected.
pub fn partial(path: &str, json: bool, rejected: i64, message: &str) -> Vec<u8> {
    let field = match path {
        "/v1/traces" => "rejectedSpans",
        "/v1/logs" => "rejectedLogRecords",
        _ => "rejectedDataPoints",
    };
    if json {
        let answer = serde_json::json!({
            "partialSuccess": { field: rejected.to_string(), "errorMessage": message }
        });
        return answer.to_string().into_bytes();
    }
    // The three responses have one shape.
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: message.to_owned(),
        }),
    }
    .encode_to_vec()
}

/// An attribute.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

/// A text attribute.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attribute(attributes, key)? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// An integer attribute.
pub fn int(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match attribute(attributes, key)? {
        any_value::Value::IntValue(value) => Some(*value),
        _ => None,
    }
}

/// A value as OTLP has it.
pub fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// What the first backend says of itself once an attempt of it failed.
pub fn failed(manager: &emberlog::Manager) -> emberlog::tail::TailStats {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = manager.stats().backends.remove(0);
        if stats.errors > 0 {
            return stats;
        }
        assert!(Instant::now() < deadline, "nothing failed: {stats:?}");
        std::thread::yield_now();
    }
}
