//! Each option changes something that can be seen. The table at the end names the test of each; an
//! option without one fails.

#[path = "config_options/backends.rs"]
mod backends;
mod config_support;
#[path = "config_options/delivered.rs"]
mod delivered;
#[path = "config_options/kept.rs"]
mod kept;
#[path = "config_options/recorded.rs"]
mod recorded;

use std::{
    path::Path,
    process::Command,
    sync::{
        atomic::{AtomicU64, Ordering},
        Barrier,
    },
    time::Duration,
};

use backends::*;
use config_support::{open, refusing, told, until, with};
use delivered::*;
use emberlog::{
    config::{BackendKind, Setting},
    instrument::Observer,
    log::{Position, Snapshot},
    AttributeMap, Config, EngineState, Filter, LogReader, Manager, Preset, Span, SpanKind, Status,
    TraceId, TraceOptions, Value,
};
use kept::*;
use recorded::*;

const LONG: Duration = Duration::from_secs(60);

/// A run with a span, an event and a metric inside, and an event and a metric outside.
fn record_one_of_each(manager: &Manager) {
    let run = manager.start_trace("run");
    let span = run.node("work");
    run.event("milestone", "half").record();
    run.metric("load").gauge(0.5);
    span.fail_with("Timeout", "too slow");
    run.ok();
    manager.event("milestone", "outside").record();
    manager.metric("temperature").gauge(20.0);
}

/// Names of traces, spans, events and metrics, sorted.
fn names(manager: &Manager) -> [Vec<String>; 4] {
    let all = Filter::new().all();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let traces = manager.query_traces(&all).unwrap();
    let spans = manager.query_spans(&all).unwrap();
    let events = manager.query_events(&all).unwrap();
    let metrics = manager.query_metrics(&all).unwrap();
    [
        sorted(traces.into_iter().map(|row| row.name).collect()),
        sorted(spans.into_iter().map(|row| row.name).collect()),
        sorted(events.into_iter().map(|row| row.name).collect()),
        sorted(metrics.into_iter().map(|row| row.name).collect()),
    ]
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// An option and its test.
type Proved = (&'static str, fn());

const PROVED: &[Proved] = &[
    ("preset", preset),
    ("enabled", enabled),
    ("dir", dir),
    ("in_memory", in_memory),
    ("enable_traces", enable_traces),
    ("enable_events", enable_events),
    ("enable_metrics", enable_metrics),
    ("traces_sampler", traces_sampler),
    ("traces_sampler_arg", traces_sampler_arg),
    ("sampling_rate", sampling_rate),
    ("graph_sampling_rates", graph_sampling_rates),
    ("parent_based_sampling", parent_based_sampling),
    ("force_sample_on_error", force_sample_on_error),
    ("error_sample_rate", error_sample_rate),
    ("slow_threshold_seconds", slow_threshold_seconds),
    ("enable_adaptive_sampling", enable_adaptive_sampling),
    ("capture_errors", capture_errors),
    ("auto_instrument_graphs", auto_instrument_graphs),
    ("auto_instrument_nodes", auto_instrument_nodes),
    ("instrument_nodes", instrument_nodes),
    ("capture_inputs", capture_inputs),
    ("capture_outputs", capture_outputs),
    ("capture_sizes", capture_sizes),
    ("capture_bytes", capture_bytes),
    ("propagate_context", propagate_context),
    ("metric_interval", metric_interval),
    ("propagators", propagators),
    ("resource_attributes", resource_attributes),
    ("service_name", service_name),
    ("custom_attributes", custom_attributes),
    ("metadata", metadata),
    ("max_events_per_span", max_events_per_span),
    ("buffer_size", buffer_size),
    ("export_interval", export_interval),
    ("export_interval_ms", export_interval_ms),
    ("shutdown_timeout", shutdown_timeout),
    ("async_export", async_export),
    ("ring.ring_bytes", ring_bytes),
    ("max_queue_size", max_queue_size),
    ("ring.total_bytes", total_bytes),
    ("ring.max_record_bytes", max_record_bytes),
    ("ring.overflow", overflow),
    ("ring.crash_safe", crash_safe),
    ("ring.dir", ring_dir),
    ("ring.open_spans", open_spans),
    ("log.segment_bytes", segment_bytes),
    ("log.sync", sync),
    ("log.retention_age", retention_age),
    ("retention_days", retention_days),
    ("log.max_bytes", max_bytes),
    ("log.hard_max_bytes", hard_max_bytes),
    ("log.min_free_percent", min_free_percent),
    ("log.on_full", on_full),
    ("backends", backends),
    ("memory.max_bytes", memory_max_bytes),
    #[cfg(feature = "sqlite")]
    ("sqlite.db_path", sqlite_db_path),
    #[cfg(feature = "sqlite")]
    ("sqlite.busy_timeout", sqlite_busy_timeout),
    #[cfg(feature = "sqlite")]
    ("sqlite.write_derived", sqlite_write_derived),
];

/// That a test function stands here too makes the compiler check that it is there.
#[test]
fn every_option_has_a_test() {
    let mut options: Vec<String> = Setting::all().iter().map(|s| s.name.to_owned()).collect();
    options.push("backends".to_owned());
    let built = |kind: &&BackendKind| match kind.name {
        "sqlite" => cfg!(feature = "sqlite"),
        // `tests/config_backends.rs` has an example of each of theirs; what they do is proved with
        // servers.
        "otlp" | "postgresql" => false,
        _ => true,
    };
    for kind in BackendKind::all().iter().filter(built) {
        options.extend(
            kind.parameters
                .iter()
                .map(|p| format!("{}.{}", kind.name, p.name)),
        );
    }
    let proved: Vec<_> = PROVED.iter().map(|(name, _)| *name).collect();
    assert_eq!(options, proved);
}
