//! Everything that can be configured, gathered from the stages that it tunes.
//!
//! Always true:
//! - an option exists only where a stage acts on it, and has the same name in code, in files and in
//!   the environment
//! - what is wrong is reported all at once, and before anything is opened
//! - a secret is never written: it comes from code or from the environment
//!
//! | to see | begin here |
//! |---|---|
//! | the options and what they do | [`Config`], and the options of `ring` and `log` |
//! | what they are called outside of code | `settings`, one line each; of backends: `kinds` |
//! | how values are spelled | `spelling` |
//! | a configuration as plain data | `plain`, its backends in `backends`; `serde` on top of it |
//! | the environment | `environment` |
//! | what opening makes of it | `settle` |

mod backends;
mod builder;
mod environment;
mod kinds;
mod plain;
mod presets;
#[cfg(feature = "serde")]
mod serde;
mod settings;
mod settle;
mod spelling;
mod validate;

pub use kinds::{BackendKind, Parameter};
pub use presets::Preset;
pub use settings::Setting;
pub use validate::ConfigError;

use std::{path::PathBuf, time::Duration};

use crate::{
    backend::BackendConfig, log, model::AttributeMap, record::redact::Redactor, ring,
    sampling::GraphRates,
};

/// Configuration of a [`Manager`](crate::Manager).
///
/// ```
/// use emberlog::Config;
/// let config = Config::new("./telemetry").resource("service.name", "indexer");
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Whether anything is recorded. Default: false; true for configurations that name a place
    /// ([`Config::new`], [`Config::create_sqlite`] and the like). Backends without it are warned
    /// about, once per process.
    pub enabled: bool,
    /// The log directory; created if it is missing. Default: beside the database of the first
    /// SQLite backend (`telemetry.db.emberlog`), with other backends `telemetry.emberlog` in the
    /// working directory; without a backend it must be named.
    pub dir: PathBuf,
    /// Instead of a directory: keeps the log in memory, where it takes at most so many bytes, oldest
    /// out first, and is gone with the manager: the documents' memory backend. Default: none; from
    /// 8 MiB.
    pub in_memory: Option<u64>,
    /// Where records go besides the log. Default: nowhere. Each has its own name and its own place
    /// in the log.
    pub backends: Vec<BackendConfig>,
    /// Record traces and spans. Default: true.
    pub enable_traces: bool,
    /// Record events and let readers derive them. Default: true.
    pub enable_events: bool,
    /// Record metrics and let readers derive them. Default: true.
    pub enable_metrics: bool,
    /// Part of all traces that is recorded, 0 to 1. The trace id alone decides which, alike in every
    /// process; of the others nothing is recorded, of no kind. Default: 1.
    pub sampling_rate: f64,
    /// Rates of graphs that `sampling_rate` is not for, by patterns of their ids (`*` stands for any
    /// characters): of `TraceOptions::graph`, else the name of the trace. Default: none.
    pub graph_sampling_rates: GraphRates,
    /// What a caller in another process decided counts before our own rates. Default: true.
    pub parent_based_sampling: bool,
    /// Keep traces that end in an error although they were sampled out. Default: false.
    pub force_sample_on_error: bool,
    /// Part of the traces that end in an error that is kept at least, 0 to 1. Default: none; what
    /// `sampling_rate` says.
    pub error_sample_rate: Option<f64>,
    /// Keep traces that take at least so long although they were sampled out. Default: none.
    pub slow_threshold_seconds: Option<Duration>,
    /// Keep traces that were sampled out with a chance that grows with their length, up to all at
    /// `slow_threshold_seconds`, here 1 s by default. Default: false.
    pub enable_adaptive_sampling: bool,
    /// Keep type, message and causes of errors. Default: true.
    pub capture_errors: bool,
    /// Give each run of an observed graph a trace and a span. Default: true.
    pub auto_instrument_graphs: bool,
    /// Give each execution of an observed node a span. Default: true.
    pub auto_instrument_nodes: bool,
    /// The nodes, by id or name, that get spans of their own. Default: none, which is all.
    pub instrument_nodes: Vec<String>,
    /// Keep what goes into observed nodes, as text. Default: false.
    pub capture_inputs: bool,
    /// Keep what comes out of observed nodes, as text. Default: false.
    pub capture_outputs: bool,
    /// Keep how long these texts are: `input_size` and `output_size`, in bytes. Default: false.
    pub capture_sizes: bool,
    /// Bytes after which these texts are cut. Default: 4 KiB; 1 byte to 512 KiB.
    pub capture_bytes: usize,
    /// Judges every attribute, event field and error text before it is recorded; in code only.
    /// Default: none.
    pub redact: Option<Redactor>,
    /// Continue traces of other processes that call, and let those that are called continue ours.
    /// Default: true; off, nothing is sent, and what comes is ignored.
    pub propagate_context: bool,
    /// Time between two records of a series of measurements that add up in memory. Default: 10 s;
    /// 0 = only when `flush`, a query of the manager or the shutdown asks.
    pub metric_interval: Duration,
    /// Attributes of the process: `service.name` and the like. Default: none; up to 32 KiB.
    pub resource_attributes: AttributeMap,
    /// Attributes that every trace, span, event and metric gets. Default: none; up to 32 KiB.
    pub custom_attributes: AttributeMap,
    /// The documents' global metadata: added to `custom_attributes`, and with an OTLP backend also
    /// to `resource_attributes`, where those have no such key. Default: none.
    pub metadata: AttributeMap,
    /// Newest events that a span keeps when it is read. Default: 100; at least 1.
    pub max_events_per_span: u32,
    /// Records of any kind after which a backend gets a batch. Default: 1000; at least 1.
    pub buffer_size: usize,
    /// Time after which a backend gets a batch, however small. Default: 10 s; 0 = only full
    /// batches, and what `flush` and `export` ask for.
    pub export_interval: Duration,
    /// How long an ending process waits for its log and its backends. Default: 5 s.
    pub shutdown_timeout: Duration,
    /// The memory between threads and flusher.
    pub ring: ring::Options,
    /// The log: segments, syncs, retention.
    pub log: log::Options,
}

/// The documents' name of [`Config`].
pub type TelemetryConfig = Config;

impl Default for Config {
    /// Records nothing until it is enabled and names a place.
    fn default() -> Self {
        Self {
            enabled: false,
            dir: PathBuf::new(),
            in_memory: None,
            backends: Vec::new(),
            enable_traces: true,
            enable_events: true,
            enable_metrics: true,
            sampling_rate: 1.0,
            graph_sampling_rates: GraphRates::default(),
            parent_based_sampling: true,
            force_sample_on_error: false,
            error_sample_rate: None,
            slow_threshold_seconds: None,
            enable_adaptive_sampling: false,
            capture_errors: true,
            auto_instrument_graphs: true,
            auto_instrument_nodes: true,
            instrument_nodes: Vec::new(),
            capture_inputs: false,
            capture_outputs: false,
            capture_sizes: false,
            capture_bytes: 4 << 10,
            redact: None,
            propagate_context: true,
            metric_interval: Duration::from_secs(10),
            resource_attributes: AttributeMap::new(),
            custom_attributes: AttributeMap::new(),
            metadata: AttributeMap::new(),
            max_events_per_span: 100,
            buffer_size: 1000,
            export_interval: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(5),
            ring: ring::Options::default(),
            log: log::Options::default(),
        }
    }
}
