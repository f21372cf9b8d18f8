//! Exporters for the SDK of OpenTelemetry: what it collects is recorded here.
//!
//! Always true:
//! - ids, times, links and parents are those of OpenTelemetry; a parent in another process stays one
//! - a span that has no parent in this process is also a trace, so that traces can be asked for
//! - a span without an error is [`Ok`](crate::Status::Ok)
//! - what says where something comes from is kept: the scope as attributes `otel.scope.*`, what the
//!   resource has besides that of the log as attributes `resource.*` of traces, logs and metrics
//!
//! One file for each signal; `values` turns values of OpenTelemetry into ours.

mod logs;
mod metrics;
mod spans;
mod values;

pub use logs::LogExporter;
pub use metrics::MetricExporter;
pub use spans::SpanExporter;
