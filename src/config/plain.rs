//! A configuration as plain data: keys and values as a file has them, in both directions.

use super::{
    backends::{self, Described},
    settings::Setting,
    validate::ConfigError,
    Config,
};
use crate::record::value::Value;

impl Config {
    /// Every option that has a value outside of code, under its name in files; the options of rings
    /// and log in `ring` and `log`, backends in `backends`. Secrets are left out. A backend that
    /// was made in code has no description, and cannot be read back.
    ///
    /// ```
    /// # use emberlog::Config;
    /// let config = Config::create_memory().buffer_size(50);
    /// assert_eq!(Config::from_value(&config.to_value())?, config);
    /// # Ok::<_, emberlog::ConfigError>(())
    /// ```
    #[doc(alias = "to_dict")]
    pub fn to_value(&self) -> Value {
        let mut top: Vec<(String, Value)> = Vec::new();
        for setting in Setting::all() {
            let Some(value) = setting.get(self) else {
                continue;
            };
            let Some((section, name)) = setting.name.split_once('.') else {
                top.push((setting.name.to_owned(), value));
                continue;
            };
            let entry = (name.to_owned(), value);
            match top.iter_mut().find(|(key, _)| key == section) {
                Some((_, Value::Map(entries))) => entries.push(entry),
                _ => top.push((section.to_owned(), Value::Map(vec![entry]))),
            }
        }
        let backends = self.backends.iter().map(backends::to_value).collect();
        top.push(("backends".to_owned(), Value::Array(backends)));
        Value::Map(top)
    }

    /// Reads what [`Config::to_value`] wrote, or what a person did with the same names; also the
    /// documents' `backend` and `backend_config`. What is not mentioned is as by default.
    ///
    /// ```
    /// # use emberlog::{Config, Value};
    /// let wrong = Value::Map(vec![
    ///     ("buffer_size".into(), 0.into()),
    ///     ("export_interval".into(), (-1.0).into()),
    /// ]);
    /// let problems = Config::from_value(&wrong).unwrap_err().problems;
    /// assert_eq!(problems[0], "export_interval must be at least 0, not -1.0");
    /// assert_eq!(problems[1], "buffer_size must be at least 1, not 0");
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with all problems at once: unknown names, values of another kind, values out
    /// of range. That a place is missing is no problem before a manager is opened.
    pub fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut problems = config.read(value);
        problems.extend(config.values_out_of_range());
        ConfigError::check(problems)?;
        Ok(config)
    }

    fn read(&mut self, value: &Value) -> Vec<String> {
        let Value::Map(entries) = value else {
            return vec![format!(
                "keys and values are expected, not {}",
                value.to_json()
            )];
        };
        let (mut given, mut problems) = (Vec::new(), Vec::new());
        let mut described = Described::default();
        for (key, value) in flat(entries) {
            if let Some(setting) = Setting::all().iter().find(|s| s.name == key) {
                given.push((setting, value));
            } else if !described.take(&key, value) {
                problems.push(format!("{key} is no option"));
            }
        }
        for (at, (setting, _)) in given.iter().enumerate() {
            let what = |setting: &Setting| setting.stands_for.unwrap_or(setting.name);
            let twice = given[..at].iter().find(|(s, _)| what(s) == what(setting));
            // The service's name is one of the attributes.
            if let Some((other, _)) = twice.filter(|_| what(setting) != "resource_attributes") {
                problems.push(format!(
                    "{} and {} say the same: one of them is enough",
                    other.name, setting.name
                ));
            }
        }
        // In the order of the table, not of the file: a preset does not undo what stands above it.
        for setting in Setting::all() {
            for (_, value) in given.iter().filter(|(s, _)| s.name == setting.name) {
                problems.extend(setting.set(self, value).err());
            }
        }
        described.apply(self, &mut problems);
        problems
    }
}

/// `ring` and `log` opened up: `ring.total_bytes`.
fn flat(entries: &[(String, Value)]) -> Vec<(String, &Value)> {
    let mut flat = Vec::new();
    for (key, value) in entries {
        match value {
            Value::Map(inner) if key == "ring" || key == "log" => {
                flat.extend(inner.iter().map(|(name, v)| (format!("{key}.{name}"), v)));
            }
            _ => flat.push((key.clone(), value)),
        }
    }
    flat
}
