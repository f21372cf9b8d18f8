//! What is wrong with a configuration.

use std::{fmt, time::Duration};

use super::Config;
use crate::{
    record::attributes::{AttributeBuffer, MAX_TEXT},
    tail::is_name,
};

/// Least that a log in memory works in.
const LEAST_MEMORY: u64 = 8 << 20;
/// What each of the two lists of attributes may take where it is recorded.
const ATTRIBUTE_BYTES: usize = 32 << 10;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence per problem: field, range, value.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration: {}", self.problems.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// `Ok` if there is no problem.
    pub(super) fn check(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl Config {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = self.values_out_of_range();
        let no_dir = self.dir.as_os_str().is_empty();
        let no_place = no_dir && self.in_memory.is_none() && self.derived_dir().is_none();
        if self.enabled && no_place {
            problems.insert(
                0,
                "dir must name the directory of the log, not \"\"".to_owned(),
            );
        }
        if self.in_memory.is_some() && !no_dir {
            problems.insert(0, "in_memory and dir exclude each other".to_owned());
        }
        ConfigError::check(problems)
    }

    /// What is wrong whatever else may still be set.
    pub(super) fn values_out_of_range(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(bytes) = self.in_memory.filter(|bytes| *bytes < LEAST_MEMORY) {
            problems.push(format!(
                "in_memory must be at least 8 MiB, not {bytes} bytes"
            ));
        }
        let mut rate = |name: &str, rate: f64| {
            if !(0.0..=1.0).contains(&rate) {
                problems.push(format!("{name} must be between 0.0 and 1.0, not {rate:?}"));
            }
        };
        rate("sampling_rate", self.sampling_rate);
        if let Some(errors) = self.error_sample_rate {
            rate("error_sample_rate", errors);
        }
        for (graph, of_graph) in self.graph_sampling_rates.iter() {
            rate(&format!("graph_sampling_rates of {graph:?}"), of_graph);
        }
        if self.force_sample_on_error && self.error_sample_rate.is_some_and(|rate| rate < 1.0) {
            problems.push(
                "force_sample_on_error keeps every trace that failed: error_sample_rate must be 1 or \
                 left out"
                    .to_owned(),
            );
        }
        if self.buffer_size < 1 {
            problems.push("buffer_size must be at least 1, not 0".to_owned());
        }
        if self.max_events_per_span < 1 {
            problems.push("max_events_per_span must be at least 1, not 0".to_owned());
        }
        if !(1..=MAX_TEXT).contains(&self.capture_bytes) {
            problems.push(format!(
                "capture_bytes must be from 1 to {MAX_TEXT}, not {}",
                self.capture_bytes
            ));
        }
        for (at, backend) in self.backends.iter().enumerate() {
            let name = backend.name();
            if !is_name(name) {
                problems.push(format!(
                    "backends: {name:?} is no name: 1 to 64 letters, digits, '-', '_' or '.'"
                ));
            }
            let of_backend = |problem| format!("backend {name:?}: {problem}");
            problems.extend(backend.problems().into_iter().map(of_backend));
            if self.backends[..at].iter().any(|other| other.name() == name) {
                problems.push(format!("backends: two have the name {name:?}"));
            }
        }
        let of_ring = |problem| format!("ring.{problem}");
        problems.extend(self.ring.validate().into_iter().map(of_ring));
        if let Err(error) = self.log.validate() {
            let of_log = |problem: String| match self.log.retention_age {
                // The documents' name for what is most often wrong about it.
                Some(Duration::ZERO) if problem.starts_with("retention_age") => {
                    "retention_days must be at least 1, not 0".to_owned()
                }
                _ => format!("log.{problem}"),
            };
            problems.extend(error.problems.into_iter().map(of_log));
        }
        let (custom, resource) = self.attributes();
        for (name, attributes) in [("custom", custom), ("resource", resource)] {
            let mut buffer = AttributeBuffer::default();
            for (key, value) in attributes.iter() {
                buffer.push(key, value);
            }
            let bytes = buffer.words().len() * 8;
            if bytes > ATTRIBUTE_BYTES {
                problems.push(format!(
                    "{name}_attributes must take at most {ATTRIBUTE_BYTES} bytes, not {bytes}"
                ));
            }
        }
        problems
    }
}
