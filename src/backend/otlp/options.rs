//! What can be set, in code and by the environment; what is set in code counts.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    env::Environment,
    resolve::{resolve, Settings},
    secret::{bare_url, Headers},
    Signal,
};
use crate::model::AttributeMap;

/// How requests are written and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Protobuf over HTTP/1.1; the default.
    #[default]
    HttpProtobuf,
    /// JSON over HTTP/1.1.
    HttpJson,
    /// gRPC; needs the feature `otlp-grpc`.
    Grpc,
}

impl Protocol {
    /// All, as files and the environment say them, and the documents' short one.
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("http/protobuf", Self::HttpProtobuf),
        ("http/json", Self::HttpJson),
        ("grpc", Self::Grpc),
        ("http", Self::HttpProtobuf),
    ];

    /// The spelling of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
            Self::Grpc => "grpc",
        }
    }
}

/// Whether requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// They are not; the default.
    #[default]
    None,
    /// With gzip.
    Gzip,
}

impl Compression {
    /// All, as files and the environment say them.
    pub(crate) const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("gzip", Self::Gzip)];
}

/// What events become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Events {
    /// Log records with an event name; the default.
    #[default]
    Logs,
    /// Events inside their span. Those outside of any trace remain log records.
    SpanEvents,
    /// Both.
    Both,
}

impl Events {
    /// All, as files say them.
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("logs", Self::Logs),
        ("span_events", Self::SpanEvents),
        ("both", Self::Both),
    ];
}

/// What sums and histograms count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Temporality {
    /// From the start of the instance; the default.
    #[default]
    Cumulative,
    /// From the point before.
    Delta,
}

impl Temporality {
    /// All, as files and the environment say them.
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("cumulative", Self::Cumulative),
        ("delta", Self::Delta),
        // All of our instruments are synchronous: counters and histograms are delta then.
        ("lowmemory", Self::Delta),
    ];
}

/// The form of histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HistogramForm {
    /// Fixed bounds that fit the unit; the default.
    #[default]
    Explicit,
    /// Buckets of a base-2 scale, at most 160.
    Exponential,
}

impl HistogramForm {
    /// All, as files and the environment say them.
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("explicit_bucket_histogram", Self::Explicit),
        ("base2_exponential_bucket_histogram", Self::Exponential),
    ];
}

/// Where requests go and how. What is `None` here is looked up in [`Options::all`], then in the
/// environment.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Target {
    /// `http://HOST:PORT`, `https://HOST:PORT`. In [`Options::all`] `/v1/traces` and the like are
    /// appended; that of one signal is taken as it is. Default `http://localhost:4318`, with gRPC
    /// `http://localhost:4317`.
    pub endpoint: Option<String>,
    /// How. Default: what the port stands for (4317 is gRPC, 4318 HTTP), else
    /// [`Protocol::HttpProtobuf`].
    pub protocol: Option<Protocol>,
    /// Headers that are added to those of [`Options::all`].
    pub headers: Headers,
    /// Default [`Compression::None`].
    pub compression: Option<Compression>,
    /// How long one request may take in all. Default 10 s; 1 ms to 1 h.
    pub timeout: Option<Duration>,
    /// PEM file with the certificates that the server's is checked against, instead of Mozilla's.
    pub certificate: Option<PathBuf>,
    /// PEM file with our own certificate, for servers that ask for one.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with its key.
    pub client_key: Option<PathBuf>,
    /// Whether an endpoint without scheme is reached without TLS. Default `false`; gRPC only.
    pub insecure: Option<bool>,
    /// Whether the signal is sent at all. Default `true`.
    pub enabled: Option<bool>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("endpoint", &self.endpoint.as_deref().map(bare_url))
            .field("protocol", &self.protocol)
            .field("headers", &self.headers)
            .field("compression", &self.compression)
            .field("timeout", &self.timeout)
            .field("certificate", &self.certificate)
            .field("client_certificate", &self.client_certificate)
            .field("client_key", &self.client_key)
            .field("insecure", &self.insecure)
            .field("enabled", &self.enabled)
            .finish()
    }
}

/// Files instead of a network: one per signal, of OTLP JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// `DIR/NAME.jsonl` becomes `DIR/NAME-traces.jsonl` and so on.
    pub path: PathBuf,
    /// A file that has this many bytes is set aside and a new one begun. Default 256 MiB; from
    /// 1 KiB.
    pub max_bytes: u64,
    /// Files that stay per signal, the current one included; older ones are removed. Default
    /// `None`: all.
    pub max_files: Option<u32>,
}

/// An OTLP backend: three tails, one per signal.
///
/// ```
/// use emberlog::backend::otlp::{Compression, Options};
/// let options = Options::new()
///     .endpoint("http://localhost:4318")
///     .header("api-key", "secret")
///     .compression(Compression::Gzip);
/// assert!(options.validate().is_ok());
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// For all signals.
    pub all: Target,
    /// For traces, beating `all`.
    pub traces: Target,
    /// For logs, beating `all`.
    pub logs: Target,
    /// For metrics, beating `all`.
    pub metrics: Target,
    /// Files instead of a network.
    pub file: Option<FileOptions>,
    /// What events become. Default [`Events::Logs`].
    pub events: Events,
    /// Whether events that follow from spans and traces (`node.finished` and the like) leave as
    /// well. Default `false`: receivers bill them.
    pub derived_events: bool,
    /// Default [`Temporality::Cumulative`].
    pub temporality: Option<Temporality>,
    /// Default [`HistogramForm::Explicit`].
    pub histograms: Option<HistogramForm>,
    /// Series per metric; what is beyond is added up in one with `otel.metric.overflow`. Default
    /// 2,000; 2 to 1,000,000.
    pub cardinality_limit: usize,
    /// Largest request before compression. Default 4 MiB; 1 KiB to 64 MiB.
    pub max_request_bytes: usize,
    /// Rows after which the metrics of a batch leave aggregated. Default 20,000; from 1.
    pub metric_rows: usize,
    /// Attributes of the resource; they beat those that were recorded.
    pub resource: AttributeMap,
    /// Name of the cursors: `NAME-traces` and so on. Default `otlp`.
    pub name: String,
    /// The log that rows come from: what a restart forgets of open traces is looked up there, and
    /// the state of metrics is kept there. Default: that of the manager.
    pub log_dir: Option<PathBuf>,
    pub(super) environment: Environment,
}

/// Everything that is wrong with options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError {
    /// One sentence per problem: option or variable, value, range.
    pub problems: Vec<String>,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid OTLP options: {}", self.problems.join("; "))
    }
}

impl std::error::Error for OptionsError {}

impl Default for Options {
    fn default() -> Self {
        Self {
            all: Target::default(),
            traces: Target::default(),
            logs: Target::default(),
            metrics: Target::default(),
            file: None,
            events: Events::default(),
            derived_events: false,
            temporality: None,
            histograms: None,
            cardinality_limit: 2000,
            max_request_bytes: 4 << 20,
            metric_rows: 20_000,
            resource: AttributeMap::new(),
            name: "otlp".to_owned(),
            log_dir: None,
            environment: Environment::Process,
        }
    }
}

impl Options {
    /// What the environment says, and the defaults of the specification.
    pub fn new() -> Self {
        Self::default()
    }

    /// OTLP JSON lines in files beside `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(FileOptions {
                path: path.into(),
                max_bytes: 256 << 20,
                max_files: None,
            }),
            ..Self::default()
        }
    }

    /// Sets where requests of all signals go.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.all.endpoint = Some(url.into());
        self
    }

    /// Sets how requests are written and sent.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.all.protocol = Some(protocol);
        self
    }

    /// Sets a header of every request. `timeout` is no header but seconds for [`Target::timeout`].
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.all.headers.set(name, value);
        self
    }

    /// Sets whether requests are compressed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.all.compression = Some(compression);
        self
    }

    /// Sets how long one request may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.all.timeout = Some(timeout);
        self
    }

    /// Sets an attribute of the resource.
    #[must_use]
    pub fn resource(
        mut self,
        key: impl Into<String>,
        value: impl Into<crate::record::value::Value>,
    ) -> Self {
        self.resource.set(key, value);
        self
    }

    /// Sends only these signals.
    #[must_use]
    pub fn only(mut self, signals: &[Signal]) -> Self {
        for signal in Signal::ALL {
            self.target_mut(signal).enabled = Some(signals.contains(&signal));
        }
        self
    }

    /// Takes these variables instead of the environment of the process; none with an empty list.
    #[must_use]
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment = Environment::fixed(variables);
        self
    }

    /// The options of one signal.
    pub fn target(&self, signal: Signal) -> &Target {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
            Signal::Metrics => &self.metrics,
        }
    }

    /// The options of one signal, to be changed.
    pub fn target_mut(&mut self, signal: Signal) -> &mut Target {
        match signal {
            Signal::Traces => &mut self.traces,
            Signal::Logs => &mut self.logs,
            Signal::Metrics => &mut self.metrics,
        }
    }

    /// Checks everything, the environment included.
    ///
    /// # Errors
    /// [`OptionsError`] with all problems at once.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.settings().map(drop)
    }

    /// What counts, per signal that is sent.
    pub(super) fn settings(&self) -> Result<Vec<Settings>, OptionsError> {
        resolve(self)
    }
}

impl From<&str> for Options {
    /// [`Options::endpoint`].
    fn from(endpoint: &str) -> Self {
        Self::new().endpoint(endpoint)
    }
}

impl From<String> for Options {
    /// [`Options::endpoint`].
    fn from(endpoint: String) -> Self {
        Self::new().endpoint(endpoint)
    }
}
