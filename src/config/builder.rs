//! Configurations in code: what to begin with, and a method per option.

use std::{path::PathBuf, time::Duration};

use super::{settings, Config, Preset};
use crate::{
    backend::BackendConfig,
    log,
    record::{
        attributes::ValueRef,
        redact::{Redaction, Redactor},
        value::Value,
    },
    ring,
};

/// What to begin with.
impl Config {
    /// Records into the log at `dir`, with defaults for everything else.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            enabled: true,
            dir: dir.into(),
            ..Self::default()
        }
    }

    /// Records nothing.
    #[doc(alias = "create_noop")]
    pub fn disabled() -> Self {
        Self::default()
    }

    /// Records into a SQLite database, and a log beside it that queries are answered from. The
    /// documents' default is `spark_telemetry.db`.
    ///
    /// ```
    /// # use emberlog::Config;
    /// # use std::time::Duration;
    /// let config = Config::create_sqlite("telemetry.db")
    ///     .export_interval(Duration::from_secs(1))
    ///     .retention_days(90);
    /// assert!(config.enabled);
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn create_sqlite(db_path: impl Into<PathBuf>) -> Self {
        Self::new("").sqlite(db_path)
    }

    /// Records into a PostgreSQL database, and a log of its own that queries are answered from:
    /// `telemetry.emberlog` in the working directory unless [`Config::dir`] names another. Takes
    /// [`Options`](crate::backend::postgres::Options) or a connection URL, which may be an `Option`:
    /// what the environment lacks is a problem that [`Config::validate`] reports, as everything
    /// else that is wrong with it.
    ///
    /// ```
    /// use emberlog::{backend::postgres::Options, Config};
    /// let by_fields = Options::default().server("db.example.com", 5432).login("me", "secret");
    /// assert!(Config::create_postgresql(by_fields).validate().is_ok());
    /// let by_url = Config::create_postgresql("postgresql://me@db.example.com/telemetry");
    /// assert!(by_url.retention_days(90).validate().is_ok());
    /// let unset: Option<String> = None; // std::env::var("TELEMETRY_DB").ok()
    /// let error = Config::create_postgresql(unset).validate().unwrap_err();
    /// assert!(error.to_string().contains("connection string is missing"));
    /// ```
    #[cfg(feature = "postgres")]
    pub fn create_postgresql<T>(database: T) -> Self
    where
        T: TryInto<crate::backend::postgres::Options>,
        T::Error: Into<crate::backend::postgres::OptionsError>,
    {
        let config = Self::new("");
        match database.try_into() {
            Ok(options) => config.postgres(options),
            Err(error) => {
                let problems = error.into().problems;
                config.backend(BackendConfig::wrong("postgres", &problems))
            }
        }
    }

    /// Sends by OTLP what is recorded, and keeps a log that queries are answered from:
    /// `telemetry.emberlog` in the working directory unless [`Config::dir`] names another. Takes
    /// [`Options`](crate::backend::otlp::Options) or an endpoint; what neither says, the
    /// environment says (`OTEL_EXPORTER_OTLP_…`).
    ///
    /// ```
    /// use emberlog::{backend::otlp::Options, Config};
    /// let config = Config::create_otlp("http://localhost:4318").metadata("service.name", "indexer");
    /// assert!(config.validate().is_ok());
    /// let options = Options::new().endpoint("https://api.example.com").header("api-key", "secret");
    /// assert!(Config::create_otlp(options).validate().is_ok());
    /// ```
    #[cfg(feature = "otlp")]
    pub fn create_otlp(to: impl Into<crate::backend::otlp::Options>) -> Self {
        Self::new("").otlp(to.into())
    }

    /// Records into memory of at most `max_bytes`, without a directory: everything can be queried,
    /// and is gone when the process ends.
    ///
    /// ```
    /// use emberlog::{Config, Filter, Manager};
    /// let manager = Manager::open(Config::in_memory(64 << 20))?;
    /// manager.start_trace("graph_run").ok();
    /// assert_eq!(manager.query_traces(&Filter::new().limit(1))?.len(), 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_memory(max_bytes: u64) -> Self {
        Self {
            in_memory: Some(max_bytes),
            ..Self::new("")
        }
    }

    /// Records into memory: [`Config::in_memory`] with 64 MiB.
    pub fn create_memory() -> Self {
        Self::in_memory(settings::MEMORY)
    }

    /// Records nothing.
    pub fn create_noop() -> Self {
        Self::disabled()
    }
}

/// One method per option; see the fields for what they do.
impl Config {
    /// Sets whether anything is recorded.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Sets the log directory.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Adds a backend that gets everything recorded.
    #[must_use]
    pub fn backend(mut self, backend: BackendConfig) -> Self {
        self.backends.push(backend);
        self
    }

    /// Adds a SQLite database that gets everything recorded; it is created if it is missing.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(self, path: impl Into<PathBuf>) -> Self {
        self.backend(BackendConfig::sqlite(path))
    }

    /// Adds a PostgreSQL database that gets everything recorded.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(self, options: crate::backend::postgres::Options) -> Self {
        self.backend(BackendConfig::postgres(options))
    }

    /// Sends everything recorded by OTLP: one backend per signal. What is wrong with the options
    /// is said by [`Config::validate`].
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn otlp(mut self, options: crate::backend::otlp::Options) -> Self {
        match options.backends() {
            Ok(backends) => self.backends.extend(backends),
            Err(error) => {
                let wrong = BackendConfig::wrong(&options.name, &error.problems);
                self.backends.push(wrong);
            }
        }
        self
    }

    /// Sets whether traces and spans are recorded.
    #[must_use]
    pub fn enable_traces(mut self, enable: bool) -> Self {
        self.enable_traces = enable;
        self
    }

    /// Sets whether events are recorded and derived.
    #[must_use]
    pub fn enable_events(mut self, enable: bool) -> Self {
        self.enable_events = enable;
        self
    }

    /// Sets whether metrics are recorded and derived.
    #[must_use]
    pub fn enable_metrics(mut self, enable: bool) -> Self {
        self.enable_metrics = enable;
        self
    }

    /// Sets which part of all traces is recorded, 0 to 1.
    #[must_use]
    pub fn sampling_rate(mut self, rate: f64) -> Self {
        self.sampling_rate = rate;
        self
    }

    /// Sets which part of the traces of a graph is recorded; `*` in its id stands for any characters.
    #[must_use]
    pub fn graph_sampling_rate(mut self, graph: impl Into<String>, rate: f64) -> Self {
        self.graph_sampling_rates.set(graph, rate);
        self
    }

    /// Sets whether what a caller in another process decided counts before our own rates.
    #[must_use]
    pub fn parent_based_sampling(mut self, parent_based: bool) -> Self {
        self.parent_based_sampling = parent_based;
        self
    }

    /// Sets whether traces that end in an error are kept although they were sampled out.
    #[must_use]
    pub fn force_sample_on_error(mut self, force: bool) -> Self {
        self.force_sample_on_error = force;
        self
    }

    /// Sets which part of the traces that end in an error is kept at least, 0 to 1.
    #[must_use]
    pub fn error_sample_rate(mut self, rate: impl Into<Option<f64>>) -> Self {
        self.error_sample_rate = rate.into();
        self
    }

    /// Sets how long traces take at least that are kept although they were sampled out.
    #[must_use]
    pub fn slow_threshold(mut self, length: impl Into<Option<Duration>>) -> Self {
        self.slow_threshold_seconds = length.into();
        self
    }

    /// Sets whether traces that were sampled out are kept with a chance that grows with their length.
    #[must_use]
    pub fn enable_adaptive_sampling(mut self, enable: bool) -> Self {
        self.enable_adaptive_sampling = enable;
        self
    }

    /// Sets whether type, message and causes of errors are kept.
    #[must_use]
    pub fn capture_errors(mut self, capture: bool) -> Self {
        self.capture_errors = capture;
        self
    }

    /// Sets whether each run of an observed graph gets a trace and a span.
    #[must_use]
    pub fn auto_instrument_graphs(mut self, instrument: bool) -> Self {
        self.auto_instrument_graphs = instrument;
        self
    }

    /// Sets whether each execution of an observed node gets a span.
    #[must_use]
    pub fn auto_instrument_nodes(mut self, instrument: bool) -> Self {
        self.auto_instrument_nodes = instrument;
        self
    }

    /// Sets which nodes, by id or name, get spans of their own; none = all.
    #[must_use]
    pub fn instrument_nodes<T: Into<String>>(mut self, nodes: impl IntoIterator<Item = T>) -> Self {
        self.instrument_nodes = nodes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether what goes into observed nodes is kept.
    #[must_use]
    pub fn capture_inputs(mut self, capture: bool) -> Self {
        self.capture_inputs = capture;
        self
    }

    /// Sets whether what comes out of observed nodes is kept.
    #[must_use]
    pub fn capture_outputs(mut self, capture: bool) -> Self {
        self.capture_outputs = capture;
        self
    }

    /// Sets whether it is kept how long inputs and outputs are.
    #[must_use]
    pub fn capture_sizes(mut self, capture: bool) -> Self {
        self.capture_sizes = capture;
        self
    }

    /// Sets after how many bytes inputs and outputs are cut.
    #[must_use]
    pub fn capture_bytes(mut self, bytes: usize) -> Self {
        self.capture_bytes = bytes;
        self
    }

    /// Lets `judge` see every attribute of traces, spans, events, metrics and links before it is
    /// recorded, whoever records it: event fields and the texts of errors
    /// (`exception.message` and the like) are attributes. Names are not; they should hold no data.
    ///
    /// It runs on the thread that records, which then allocates; it must not record anything itself
    /// (that is refused and counted). What it panics on is left out.
    ///
    /// ```
    /// use emberlog::{record::attributes::ValueRef, Config, Redaction};
    /// let config = Config::create_memory().redact(|key, value| match value {
    ///     _ if key == "password" => Redaction::Remove,
    ///     ValueRef::Str(text) if text.contains('@') => Redaction::Replace("someone".into()),
    ///     _ => Redaction::Keep,
    /// });
    /// ```
    #[must_use]
    pub fn redact(
        mut self,
        judge: impl Fn(&str, ValueRef<'_>) -> Redaction + Send + Sync + 'static,
    ) -> Self {
        self.redact = Some(Redactor::new(judge));
        self
    }

    /// Sets whether traces continue from and into other processes.
    #[must_use]
    pub fn propagate_context(mut self, propagate: bool) -> Self {
        self.propagate_context = propagate;
        self
    }

    /// Sets the time between two records of a series of measurements.
    #[must_use]
    pub fn metric_interval(mut self, interval: std::time::Duration) -> Self {
        self.metric_interval = interval;
        self
    }

    /// Sets an attribute of the process.
    #[must_use]
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.resource_attributes.set(key, value);
        self
    }

    /// Sets an attribute that every trace, span, event and metric gets.
    #[must_use]
    pub fn custom(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.custom_attributes.set(key, value);
        self
    }

    /// Sets an entry of the documents' global metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.set(key, value);
        self
    }

    /// Sets how many events a span keeps: the newest.
    #[must_use]
    pub fn max_events_per_span(mut self, events: u32) -> Self {
        self.max_events_per_span = events;
        self
    }

    /// Sets after how many records a backend gets a batch.
    #[must_use]
    pub fn buffer_size(mut self, records: usize) -> Self {
        self.buffer_size = records;
        self
    }

    /// Sets after how long a backend gets a batch, however small; zero: never for that reason.
    #[must_use]
    pub fn export_interval(mut self, interval: Duration) -> Self {
        self.export_interval = interval;
        self
    }

    /// Sets how long an ending process waits for its log and its backends.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets after how many days data is deleted, from the log and from backends:
    /// `log.retention_age` in days.
    #[must_use]
    pub fn retention_days(mut self, days: u32) -> Self {
        self.log.retention_age = Some(settings::DAY.saturating_mul(days));
        self
    }

    /// Sets how many small records a thread may be ahead of the log: `ring.ring_bytes` in records
    /// of 64 bytes, rounded up to what rings can have.
    #[must_use]
    pub fn max_queue_size(mut self, records: usize) -> Self {
        self.ring.ring_bytes = settings::ring_bytes(records);
        self
    }

    /// Sets what the preset says; what is set later counts.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        preset.apply(&mut self);
        self
    }

    /// Tunes the rings.
    #[must_use]
    pub fn ring(mut self, tune: impl FnOnce(&mut ring::Options)) -> Self {
        tune(&mut self.ring);
        self
    }

    /// Tunes the log.
    #[must_use]
    pub fn log(mut self, tune: impl FnOnce(&mut log::Options)) -> Self {
        tune(&mut self.log);
        self
    }
}
