//! The environment: its variables count more than what stood in the configuration before, and less
//! than what code sets afterwards.

use std::env;

use super::{
    backends::{self, Variables},
    settings::{is_idle, Setting},
    spelling::Spelled,
    validate::ConfigError,
    Config,
};
use crate::{model::AttributeMap, record::value::Value};

impl Config {
    /// What the environment says, and defaults.
    ///
    /// # Errors
    /// See [`Config::env`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::default().env()
    }

    /// Sets what the variables of the environment say: `EMBERLOG_BUFFER_SIZE` and so on, listed in
    /// `docs/configuration.md`. What is set after it counts more, so
    /// `Config::new(dir).env()?.buffer_size(50)` is never overruled.
    ///
    /// # Errors
    /// [`ConfigError`] with all problems at once.
    pub fn env(self) -> Result<Self, ConfigError> {
        // What is not text cannot be one of ours.
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        self.vars(env::vars_os().filter_map(text))
    }

    /// [`Config::env`] with other variables.
    ///
    /// ```
    /// # use emberlog::Config;
    /// let config = Config::new("./telemetry")
    ///     .vars([("EMBERLOG_EXPORT_INTERVAL", "500ms"), ("OTEL_SERVICE_NAME", "indexer")])?;
    /// assert_eq!(config.export_interval.as_millis(), 500);
    /// assert_eq!(config.resource_attributes.get("service.name"), Some(&"indexer".into()));
    /// # Ok::<_, emberlog::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with all problems at once.
    pub fn vars<K: Into<String>, V: Into<String>>(
        mut self,
        vars: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let vars = vars.into_iter().map(|(k, v)| (k.into(), v.into()));
        let variables = Variables::new(vars.collect());
        let mut problems = Vec::new();
        let get = |name: &str| variables.get(name);
        for setting in Setting::all().iter().filter(|s| !is_idle(s, &get)) {
            let set = setting
                .env
                .iter()
                .find_map(|name| Some((*name, variables.get(name)?)));
            if let Some((name, text)) = set {
                if let Err(problem) = self.set_text(setting, &text) {
                    problems.push(format!("{name}: {problem}"));
                }
            }
        }
        backends::read_variables(&mut self, &variables, &mut problems);
        problems.extend(self.values_out_of_range());
        ConfigError::check(problems)?;
        Ok(self)
    }

    /// Attributes are added, everything else is replaced.
    fn set_text(&mut self, setting: &Setting, text: &str) -> Result<(), String> {
        let mut value = Value::from(text);
        if let Some(Value::Map(before)) = setting.get(self) {
            if let Ok(added) = AttributeMap::read(&value) {
                let mut all: AttributeMap = before.into_iter().collect();
                for (key, value) in added.iter() {
                    all.set(key, value.clone());
                }
                value = all.write();
            }
        }
        setting.set(self, &value)
    }
}
