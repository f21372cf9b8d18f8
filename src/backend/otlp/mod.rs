//! OTLP: traces, logs and metrics into any OpenTelemetry collector or platform, or into files.
//!
//! Always true:
//! - each signal is a tail of its own: what one receiver refuses holds up nobody else
//! - a batch is acknowledged when every request of it was; after a crash at most the requests of
//!   one batch come twice (OTLP has no way to tell a receiver so), and none is missing
//! - what a receiver took but rejected (`partial_success`) is counted and never sent again
//! - nothing here records telemetry, and no header value or password is ever shown
//!
//! | to see | begin here |
//! |---|---|
//! | what can be set | [`Options`] in `options`, `env` (`describe`: as files have it); what counts in the end: `resolve` |
//! | our rows as OTLP | `spans`, `logs`, `metrics`; `values`, `genai`, `units`; what a span carries that is a record of its own: `pending` |
//! | bytes | `encode` (fields as protobuf or JSON), `batch` (requests of a bounded size) |
//! | measurements as sums and histograms | `aggregate`, `distribution`, `exponential`; kept across restarts: `journal` |
//! | what a tail calls | [`OtlpSink`] in `sink` |
//! | the network | `send` |
//!
//! `docs/otlp.md` has the mapping and the guarantees in full.

mod aggregate;
mod batch;
mod describe;
mod distribution;
mod encode;
mod env;
mod exponential;
mod genai;
mod journal;
mod logs;
mod metrics;
mod options;
mod pending;
mod resolve;
mod secret;
mod send;
mod sink;
mod spans;
#[cfg(test)]
mod tests;
mod units;
mod values;

use std::{fmt, path::Path};

pub use options::{
    Compression, Events, FileOptions, HistogramForm, Options, OptionsError, Protocol, Target,
    Temporality,
};
pub use secret::Headers;
pub use sink::OtlpSink;

pub use crate::record::id::root_span_id;

use super::BackendConfig;

/// One of OpenTelemetry's signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// `traces`, `logs` or `metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The path that HTTP receivers take it under.
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Options {
    /// The backends that send what these options say: one per signal, `NAME-traces`, `NAME-logs`
    /// and `NAME-metrics`.
    ///
    /// # Errors
    /// [`OptionsError`] with all problems at once.
    pub fn backends(&self) -> Result<Vec<BackendConfig>, OptionsError> {
        let settings = self.settings()?;
        let backend = |settings: resolve::Settings| {
            let name = settings.name.clone();
            let rows = match settings.signal {
                Signal::Metrics => Some(settings.metric_rows),
                _ => None,
            };
            let parameters = self.parameters(settings.signal);
            let needs = settings.needs();
            let secrets = settings.headers.clone();
            let open = move |log: Option<&Path>| {
                let mut settings = settings.clone();
                settings.log_dir = settings.log_dir.or_else(|| log.map(Into::into));
                Ok(Box::new(OtlpSink::of(settings)?) as Box<_>)
            };
            let backend = BackendConfig::beside_log(name, open).batches_of(rows);
            let backend = backend.needing(needs);
            let backend = backend.described("otlp", parameters);
            secrets.secrets().fold(backend, BackendConfig::secret)
        };
        Ok(settings.into_iter().map(backend).collect())
    }
}
