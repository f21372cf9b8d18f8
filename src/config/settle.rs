//! What opening makes of a configuration: whether to record at all, where, and with which
//! attributes.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use super::{validate::ConfigError, Config};
use crate::{
    model::AttributeMap,
    record::id::TraceId,
    sampling::{Outcome, Rules, Threshold},
};

/// The log of a configuration that names backends, and none of them a file.
const LOG_NAME: &str = "telemetry.emberlog";
/// What is added to the name of a database.
const LOG_SUFFIX: &str = ".emberlog";

/// The variable that turns everything off, if one does.
fn switched_off() -> Option<&'static str> {
    let says = |name, words: &[&str]| {
        let value = env::var_os(name)?;
        let value = value.to_str()?.trim();
        words
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word))
            .then_some(name)
    };
    says("EMBERLOG_DISABLED", &["true", "1", "yes", "on"])
        // Nothing but this word, as OpenTelemetry has it.
        .or_else(|| says("OTEL_SDK_DISABLED", &["true"]))
}

impl Config {
    /// What a manager works with; `None` if it records nothing.
    pub(crate) fn settled(mut self) -> Result<Option<Self>, ConfigError> {
        self.validate()?;
        if !self.enabled {
            if let Some(backend) = self.backends.first() {
                warn_once(backend.name());
            }
            return Ok(None);
        }
        // The one thing in which the environment counts more than code.
        if switched_off().is_some() {
            return Ok(None);
        }
        if self.in_memory.is_none() && self.dir.as_os_str().is_empty() {
            self.dir = self.derived_dir().unwrap_or_default();
        }
        (self.custom_attributes, self.resource_attributes) = self.attributes();
        Ok(Some(self))
    }

    /// Whether a trace with this id is recorded: what `sampling_rate` says, the same in every
    /// process. Rates of graphs and callers in other processes are not asked.
    ///
    /// ```
    /// # use emberlog::{Config, TraceId};
    /// let config = Config::default().sampling_rate(0.25);
    /// let id = "4BF92F35-77B3-4DA6-A3CE-929D0E0E4736".parse::<TraceId>()?;
    /// assert!(config.should_sample(id));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn should_sample(&self, trace: TraceId) -> bool {
        Threshold::of_rate(self.sampling_rate).keeps(trace)
    }

    /// What the recording side asks.
    pub(crate) fn sampling_rules(&self) -> Rules {
        Rules::new(
            self.sampling_rate,
            self.graph_sampling_rates.clone(),
            self.parent_based_sampling,
            self.kept_outcomes(),
        )
    }

    /// What is kept although it was sampled out.
    pub(crate) fn kept_outcomes(&self) -> Outcome {
        const SLOW: Duration = Duration::from_secs(1);
        let slow = self.slow_threshold_seconds;
        Outcome {
            errors: match self.force_sample_on_error {
                true => Some(1.0),
                false => self.error_sample_rate,
            },
            slow,
            adaptive: self.enable_adaptive_sampling.then(|| slow.unwrap_or(SLOW)),
        }
    }

    /// The threshold of traces that a crash left open, for the next open.
    pub(crate) fn kept_orphans(&self) -> u64 {
        let rate = self.kept_outcomes().errors.unwrap_or(0.0);
        Threshold::of_rate(rate).bits()
    }

    /// Where the log is if nobody says so.
    pub(super) fn derived_dir(&self) -> Option<PathBuf> {
        let database = self.backends.iter().find_map(|backend| {
            let described = backend.description()?;
            let path = described.parameters.shown.get("db_path")?.as_str()?;
            let mut name = Path::new(path).file_name()?.to_owned();
            name.push(LOG_SUFFIX);
            Some(Path::new(path).with_file_name(name))
        });
        let elsewhere = || (!self.backends.is_empty()).then(|| LOG_NAME.into());
        database.or_else(elsewhere)
    }

    /// Custom and resource attributes with the documents' metadata among them.
    pub(super) fn attributes(&self) -> (AttributeMap, AttributeMap) {
        let mut custom = self.custom_attributes.clone();
        custom.fill_from(self.metadata.as_slice());
        let mut resource = self.resource_attributes.clone();
        let otlp = |kind| kind == "otlp";
        let mut kinds = self.backends.iter().filter_map(|b| b.description());
        if kinds.any(|described| otlp(described.kind)) {
            resource.fill_from(self.metadata.as_slice());
        }
        (custom, resource)
    }
}

/// Says on the error output that a backend was configured in vain; once per process.
fn warn_once(backend: &str) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        eprintln!(
            "emberlog: backend {backend:?} is configured, but enabled is false: nothing is \
             recorded. Set enabled = true, or take the backend out."
        );
    });
}
