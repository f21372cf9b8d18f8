//! What each option is called in files and in the environment: one line each.

use std::time::Duration;

use super::{spelling::Spelled, Config, Preset};
use crate::record::value::Value;

/// What [`Config::create_memory`] takes.
pub(super) const MEMORY: u64 = 64 << 20;
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Smallest and largest ring that [`ring_bytes`] asks for.
const RING: (usize, usize) = (16 << 10, 64 << 20);
/// What a small record takes in a ring, and what [`Stats::buffer_size`](crate::Stats) counts in.
const RECORD: usize = 64;

/// The ring in which so many small records have room.
pub(super) fn ring_bytes(records: usize) -> usize {
    let bytes = records.saturating_mul(RECORD).min(RING.1);
    bytes.next_power_of_two().max(RING.0)
}

/// What one option is called outside of code.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Setting {
    /// Its name in files: `ring.total_bytes` is `total_bytes` in `ring`.
    pub name: &'static str,
    /// Environment variables that set it; where several are set, the first.
    pub env: &'static [&'static str],
    /// The option that it is another spelling of.
    pub stands_for: Option<&'static str>,
    takes: fn() -> &'static str,
    set: fn(&mut Config, &Value) -> Result<(), String>,
    get: Option<fn(&Config) -> Value>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Setting").field(&self.name).finish()
    }
}

impl Setting {
    /// Every option that has one value; backends are described by [`BackendKind`](super::BackendKind).
    pub const fn all() -> &'static [Self] {
        SETTINGS
    }

    /// What it takes: "true or false".
    pub fn takes(&self) -> &'static str {
        (self.takes)()
    }

    /// Its value as files have it; `None` for another spelling of an option.
    pub fn get(&self, config: &Config) -> Option<Value> {
        self.get.map(|get| get(config))
    }

    /// Sets it from a value as files have it, or from text.
    ///
    /// # Errors
    /// A sentence with name, what is expected, and value. The range is checked by
    /// [`Config::validate`].
    pub fn set(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        (self.set)(config, value).map_err(|expected| {
            format!("{} must be {expected}, not {}", self.name, value.to_json())
        })
    }
}

fn kind_of<T: Spelled>(_: fn(&Config) -> &T) -> &'static str {
    T::TAKES
}

/// An option that is a field.
macro_rules! field {
    ($name:literal, $env:expr, $($field:ident).+) => {
        Setting {
            name: $name,
            env: $env,
            stands_for: None,
            takes: || kind_of(|config| &config.$($field).+),
            set: |config, value| {
                config.$($field).+ = Spelled::read(value)?;
                Ok(())
            },
            get: Some(|config| config.$($field).+.write()),
        }
    };
}

/// Another spelling of an option.
const fn other(
    name: &'static str,
    env: &'static [&'static str],
    stands_for: Option<&'static str>,
    takes: fn() -> &'static str,
    set: fn(&mut Config, &Value) -> Result<(), String>,
) -> Setting {
    Setting {
        name,
        env,
        stands_for,
        takes,
        set,
        get: None,
    }
}

/// OpenTelemetry's samplers: the rate, unless their argument says it, and whether what a caller in
/// another process decided counts more.
const SAMPLERS: &[(&str, Option<f64>, bool)] = &[
    ("always_on", Some(1.0), false),
    ("always_off", Some(0.0), false),
    ("traceidratio", None, false),
    ("parentbased_always_on", Some(1.0), true),
    ("parentbased_always_off", Some(0.0), true),
    ("parentbased_traceidratio", None, true),
];

/// The argument of a sampler.
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// Whether a variable means nothing beside what else is set: the argument of a sampler that takes
/// none.
pub(super) fn is_idle(setting: &Setting, get: &impl Fn(&str) -> Option<String>) -> bool {
    let takes_argument = |name: String| name.trim().ends_with("traceidratio");
    setting.env == [SAMPLER_ARG] && !get("OTEL_TRACES_SAMPLER").is_some_and(takes_argument)
}

/// In the order in which they are set: a preset first, attributes of OpenTelemetry's variables
/// before the service's name, which counts more, its sampler before our own rates.
static SETTINGS: &[Setting] = &[
    other(
        "preset",
        &["EMBERLOG_PRESET"],
        None,
        || "the name of a preset",
        |config, value| {
            let preset = value
                .as_str()
                .and_then(|name| Preset::from_name(name.trim()));
            let preset = preset.ok_or_else(|| {
                let names: Vec<_> = Preset::ALL.iter().map(|preset| preset.as_str()).collect();
                format!("one of {}", names.join(", "))
            })?;
            preset.apply(config);
            Ok(())
        },
    ),
    field!("enabled", &["EMBERLOG_ENABLED"], enabled),
    field!("dir", &["EMBERLOG_DIR"], dir),
    field!("in_memory", &["EMBERLOG_IN_MEMORY"], in_memory),
    field!("enable_traces", &["EMBERLOG_ENABLE_TRACES"], enable_traces),
    field!("enable_events", &["EMBERLOG_ENABLE_EVENTS"], enable_events),
    field!(
        "enable_metrics",
        &["EMBERLOG_ENABLE_METRICS"],
        enable_metrics
    ),
    other(
        "traces_sampler",
        &["OTEL_TRACES_SAMPLER"],
        None,
        || "the name of a sampler of OpenTelemetry",
        |config, value| {
            let name = value.as_str().unwrap_or_default().trim();
            let known = SAMPLERS.iter().find(|sampler| sampler.0 == name);
            let (_, rate, parent_based) = known.ok_or_else(|| {
                let names: Vec<_> = SAMPLERS.iter().map(|sampler| sampler.0).collect();
                format!("one of {}", names.join(", "))
            })?;
            // The rate of the others is the sampler's argument.
            config.sampling_rate = rate.unwrap_or(1.0);
            config.parent_based_sampling = *parent_based;
            Ok(())
        },
    ),
    other(
        "traces_sampler_arg",
        &[SAMPLER_ARG],
        Some("sampling_rate"),
        || "a number from 0 to 1; of the two samplers with `traceidratio` only",
        |config, value| {
            config.sampling_rate = f64::read(value)?;
            Ok(())
        },
    ),
    field!("sampling_rate", &["EMBERLOG_SAMPLING_RATE"], sampling_rate),
    field!(
        "graph_sampling_rates",
        &["EMBERLOG_GRAPH_SAMPLING_RATES"],
        graph_sampling_rates
    ),
    field!(
        "parent_based_sampling",
        &["EMBERLOG_PARENT_BASED_SAMPLING"],
        parent_based_sampling
    ),
    field!(
        "force_sample_on_error",
        &["EMBERLOG_FORCE_SAMPLE_ON_ERROR"],
        force_sample_on_error
    ),
    field!(
        "error_sample_rate",
        &["EMBERLOG_ERROR_SAMPLE_RATE"],
        error_sample_rate
    ),
    field!(
        "slow_threshold_seconds",
        &["EMBERLOG_SLOW_THRESHOLD_SECONDS"],
        slow_threshold_seconds
    ),
    field!(
        "enable_adaptive_sampling",
        &["EMBERLOG_ENABLE_ADAPTIVE_SAMPLING"],
        enable_adaptive_sampling
    ),
    field!(
        "capture_errors",
        &["EMBERLOG_CAPTURE_ERRORS"],
        capture_errors
    ),
    field!(
        "auto_instrument_graphs",
        &["EMBERLOG_AUTO_INSTRUMENT_GRAPHS"],
        auto_instrument_graphs
    ),
    field!(
        "auto_instrument_nodes",
        &["EMBERLOG_AUTO_INSTRUMENT_NODES"],
        auto_instrument_nodes
    ),
    field!(
        "instrument_nodes",
        &["EMBERLOG_INSTRUMENT_NODES"],
        instrument_nodes
    ),
    field!(
        "capture_inputs",
        &["EMBERLOG_CAPTURE_INPUTS"],
        capture_inputs
    ),
    field!(
        "capture_outputs",
        &["EMBERLOG_CAPTURE_OUTPUTS"],
        capture_outputs
    ),
    field!("capture_sizes", &["EMBERLOG_CAPTURE_SIZES"], capture_sizes),
    field!("capture_bytes", &["EMBERLOG_CAPTURE_BYTES"], capture_bytes),
    field!(
        "propagate_context",
        &["EMBERLOG_PROPAGATE_CONTEXT"],
        propagate_context
    ),
    field!(
        "metric_interval",
        &["EMBERLOG_METRIC_INTERVAL"],
        metric_interval
    ),
    other(
        "propagators",
        &["OTEL_PROPAGATORS"],
        Some("propagate_context"),
        || "a list; on if `tracecontext` or `baggage` is in it",
        |config, value| {
            let list = String::read(value)?.to_ascii_lowercase();
            let ours = |name: &str| matches!(name.trim(), "tracecontext" | "baggage");
            config.propagate_context = list.split(',').any(ours);
            Ok(())
        },
    ),
    field!(
        "resource_attributes",
        &["EMBERLOG_RESOURCE_ATTRIBUTES", "OTEL_RESOURCE_ATTRIBUTES"],
        resource_attributes
    ),
    other(
        "service_name",
        &["OTEL_SERVICE_NAME"],
        Some("resource_attributes"),
        || "text: the resource attribute `service.name`",
        |config, value| {
            let name = String::read(value)?;
            config.resource_attributes.set("service.name", name);
            Ok(())
        },
    ),
    field!(
        "custom_attributes",
        &["EMBERLOG_CUSTOM_ATTRIBUTES"],
        custom_attributes
    ),
    field!("metadata", &["EMBERLOG_METADATA"], metadata),
    field!(
        "max_events_per_span",
        &[
            "EMBERLOG_MAX_EVENTS_PER_SPAN",
            "OTEL_SPAN_EVENT_COUNT_LIMIT"
        ],
        max_events_per_span
    ),
    field!(
        "buffer_size",
        &["EMBERLOG_BUFFER_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        buffer_size
    ),
    field!(
        "export_interval",
        &["EMBERLOG_EXPORT_INTERVAL"],
        export_interval
    ),
    other(
        "export_interval_ms",
        &["OTEL_BSP_SCHEDULE_DELAY"],
        Some("export_interval"),
        || "a whole number of milliseconds",
        |config, value| {
            config.export_interval = Duration::from_millis(u64::read(value)?);
            Ok(())
        },
    ),
    field!(
        "shutdown_timeout",
        &["EMBERLOG_SHUTDOWN_TIMEOUT"],
        shutdown_timeout
    ),
    other(
        "async_export",
        &[],
        None,
        || "true",
        |_, value| match bool::read(value)? {
            true => Ok(()),
            false => Err("true, since backends have threads of their own (`export` waits)".into()),
        },
    ),
    field!("ring.ring_bytes", &["EMBERLOG_RING_BYTES"], ring.ring_bytes),
    other(
        "max_queue_size",
        &["EMBERLOG_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"],
        Some("ring.ring_bytes"),
        || "a whole number of small records (64 bytes); 1 to 1048576",
        |config, value| {
            let records = usize::read(value)?;
            if !(1..=RING.1 / RECORD).contains(&records) {
                return Err(format!("from 1 to {}", RING.1 / RECORD));
            }
            config.ring.ring_bytes = ring_bytes(records);
            Ok(())
        },
    ),
    field!(
        "ring.total_bytes",
        &["EMBERLOG_RING_TOTAL_BYTES"],
        ring.total_bytes
    ),
    field!(
        "ring.max_record_bytes",
        &["EMBERLOG_RING_MAX_RECORD_BYTES"],
        ring.max_record_bytes
    ),
    field!("ring.overflow", &["EMBERLOG_RING_OVERFLOW"], ring.overflow),
    field!(
        "ring.crash_safe",
        &["EMBERLOG_RING_CRASH_SAFE"],
        ring.crash_safe
    ),
    field!("ring.dir", &["EMBERLOG_RING_DIR"], ring.dir),
    field!(
        "ring.open_spans",
        &["EMBERLOG_RING_OPEN_SPANS"],
        ring.open_spans
    ),
    field!(
        "log.segment_bytes",
        &["EMBERLOG_LOG_SEGMENT_BYTES"],
        log.segment_bytes
    ),
    field!("log.sync", &["EMBERLOG_LOG_SYNC"], log.sync),
    field!(
        "log.retention_age",
        &["EMBERLOG_LOG_RETENTION_AGE"],
        log.retention_age
    ),
    other(
        "retention_days",
        &["EMBERLOG_RETENTION_DAYS"],
        Some("log.retention_age"),
        || "a whole number of days; at least 1",
        |config, value| {
            let days = u32::read(value)?;
            if days < 1 {
                return Err("at least 1".to_owned());
            }
            config.log.retention_age = Some(DAY * days);
            Ok(())
        },
    ),
    field!("log.max_bytes", &["EMBERLOG_LOG_MAX_BYTES"], log.max_bytes),
    field!(
        "log.hard_max_bytes",
        &["EMBERLOG_LOG_HARD_MAX_BYTES"],
        log.hard_max_bytes
    ),
    field!(
        "log.min_free_percent",
        &["EMBERLOG_LOG_MIN_FREE_PERCENT"],
        log.min_free_percent
    ),
    field!("log.on_full", &["EMBERLOG_LOG_ON_FULL"], log.on_full),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log, ring};

    /// Fails to compile when a field is added, and names the fields that need a line here.
    #[test]
    fn every_field_has_a_name_outside_of_code() {
        let Config {
            enabled: _,
            dir: _,
            in_memory: _,
            // Described by `BackendKind`.
            backends: _,
            enable_traces: _,
            enable_events: _,
            enable_metrics: _,
            sampling_rate: _,
            graph_sampling_rates: _,
            parent_based_sampling: _,
            force_sample_on_error: _,
            error_sample_rate: _,
            slow_threshold_seconds: _,
            enable_adaptive_sampling: _,
            capture_errors: _,
            auto_instrument_graphs: _,
            auto_instrument_nodes: _,
            instrument_nodes: _,
            capture_inputs: _,
            capture_outputs: _,
            capture_sizes: _,
            capture_bytes: _,
            // Said in code only.
            redact: _,
            propagate_context: _,
            metric_interval: _,
            resource_attributes: _,
            custom_attributes: _,
            metadata: _,
            max_events_per_span: _,
            buffer_size: _,
            export_interval: _,
            shutdown_timeout: _,
            ring,
            log,
        } = Config::default();
        let ring::Options {
            ring_bytes: _,
            total_bytes: _,
            max_record_bytes: _,
            overflow: _,
            crash_safe: _,
            dir: _,
            open_spans: _,
        } = ring;
        let log::Options {
            segment_bytes: _,
            sync: _,
            retention_age: _,
            max_bytes: _,
            hard_max_bytes: _,
            min_free_percent: _,
            on_full: _,
        } = log;
        let fields = SETTINGS.iter().filter(|setting| setting.get.is_some());
        assert_eq!(fields.count(), 30 + 7 + 7);
    }

    #[test]
    fn names_and_variables_are_given_once() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.extend(SETTINGS.iter().flat_map(|setting| setting.env));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for setting in SETTINGS {
            let known = |name| SETTINGS.iter().any(|other| other.name == name);
            assert!(setting.stands_for.is_none_or(known), "{setting:?}");
        }
    }
}
