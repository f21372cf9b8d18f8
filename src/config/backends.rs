//! The backends of a configuration as plain data, and what the environment says of them.

use super::{
    kinds::{BackendKind, Given, Make},
    settings::MEMORY,
    spelling::Spelled,
    Config,
};
use crate::{backend::BackendConfig, model::AttributeMap, record::value::Value};

/// What a file or the environment says about one backend.
struct Wish {
    kind: &'static BackendKind,
    /// By which of its names the kind was asked for.
    asked: &'static str,
    name: Option<String>,
    /// Its parameters.
    entries: Vec<(String, Value)>,
    /// What it has instead of what holds for all backends.
    tuning: Vec<(String, Value)>,
    /// The environment, where that is being read.
    variables: Option<Vec<(String, String)>>,
}

impl Wish {
    fn of(kind: &str) -> Result<Self, String> {
        let asked = kind.trim();
        let kind = BackendKind::from_name(asked)?;
        let alias = kind.aliases.iter().find(|alias| **alias == asked);
        Ok(Self {
            kind,
            asked: alias.unwrap_or(&kind.name),
            name: None,
            entries: Vec::new(),
            tuning: Vec::new(),
            variables: None,
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let entries = match value {
            Value::Str(kind) => return Self::of(kind),
            Value::Map(entries) => entries,
            _ => return Err(format!("backends: {} is no backend", value.to_json())),
        };
        let get = |key| entries.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        let kind = get("backend").and_then(Value::as_str);
        let mut wish = Self::of(kind.ok_or("backends: each needs a `backend`, its kind")?)?;
        for (key, value) in entries {
            match (key.as_str(), value) {
                ("backend", _) => {}
                ("name", Value::Str(name)) => wish.name = Some(name.clone()),
                ("backend_config", Value::Map(entries)) => wish.entries = entries.clone(),
                _ => wish.tuning.push((key.clone(), value.clone())),
            }
        }
        Ok(wish)
    }

    fn apply(self, config: &mut Config, problems: &mut Vec<String>) {
        let mut given = Given {
            asked: self.asked,
            name: self.name.clone(),
            variables: self.variables,
            ..Given::new(self.kind, &self.entries)
        };
        match self.kind.make {
            Make::Sinks(make) => {
                let mut made = make(&mut given);
                if let ([backend], Some(name)) = (&mut made[..], self.name) {
                    *backend = backend.clone().named(name);
                }
                for (key, value) in &self.tuning {
                    let all: Result<_, _> = made.iter().map(|b| tuned(b, key, value)).collect();
                    match all {
                        Ok(tuned) => made = tuned,
                        Err(expected) => problems.push(format!(
                            "backends.{key} must be {expected}, not {}",
                            value.to_json()
                        )),
                    }
                }
                config.backends.append(&mut made);
            }
            Make::Missing(feature) => problems.push(format!(
                "backend {} needs the feature {feature} of emberlog",
                self.kind.name
            )),
            Make::Memory => given.read("max_bytes", config.in_memory.insert(MEMORY)),
            Make::Nothing => config.enabled = false,
        }
        problems.append(&mut given.problems);
    }
}

/// What a backend can have for itself.
fn tuned(backend: &BackendConfig, key: &str, value: &Value) -> Result<BackendConfig, String> {
    let backend = backend.clone();
    Ok(match key {
        "buffer_size" => backend.buffer_size(Spelled::read(value)?),
        "export_interval" => backend.export_interval(Spelled::read(value)?),
        "retention_age" => backend.retention(Option::<_>::read(value)?),
        "begin" => backend.begin(Spelled::read(value)?),
        _ => {
            return Err(
                "left out: a backend has backend, name, backend_config, buffer_size, \
                 export_interval, retention_age and begin"
                    .to_owned(),
            )
        }
    })
}

/// What a file says about backends: the documents' one, or a list.
#[derive(Default)]
pub(super) struct Described {
    backend: Option<Value>,
    backend_config: Option<Value>,
    backends: Option<Value>,
}

impl Described {
    /// Whether the key is about backends.
    pub(super) fn take(&mut self, key: &str, value: &Value) -> bool {
        let place = match key {
            "backend" => &mut self.backend,
            "backend_config" => &mut self.backend_config,
            "backends" => &mut self.backends,
            _ => return false,
        };
        *place = Some(value.clone());
        true
    }

    pub(super) fn apply(self, config: &mut Config, problems: &mut Vec<String>) {
        let mut wishes = Vec::new();
        match (self.backend, self.backend_config) {
            (None, None) => {}
            (None, Some(_)) => problems.push("backend_config needs a backend".to_owned()),
            (Some(kind), parameters) => {
                let mut entries = vec![("backend".to_owned(), kind)];
                let named = |parameters| ("backend_config".to_owned(), parameters);
                entries.extend(parameters.map(named));
                wishes.push(Value::Map(entries));
            }
        }
        match self.backends {
            None => {}
            Some(Value::Array(list)) => wishes.extend(list),
            Some(other) => {
                problems.push(format!("backends must be a list, not {}", other.to_json()))
            }
        }
        for wish in wishes {
            match Wish::read(&wish) {
                Ok(wish) => wish.apply(config, problems),
                Err(problem) => problems.push(problem),
            }
        }
    }
}

/// A backend as a file has it, without its secrets.
pub(super) fn to_value(backend: &BackendConfig) -> Value {
    let mut entries = Vec::new();
    let mut entry = |key: &str, value| entries.push((key.to_owned(), value));
    let tuning = &backend.tuning;
    match backend.description() {
        Some(described) => {
            entry("backend", described.kind.into());
            entry("name", backend.name().into());
            entry("backend_config", described.parameters.shown.write());
        }
        None => {
            entry("backend", "code".into());
            entry("name", backend.name().into());
        }
    }
    if let Some(rows) = &tuning.buffer_size {
        entry("buffer_size", rows.write());
    }
    if let Some(interval) = &tuning.export_interval {
        entry("export_interval", interval.write());
    }
    if let Some(age) = &tuning.retention {
        entry("retention_age", age.write());
    }
    if tuning.begin != Default::default() {
        entry("begin", tuning.begin.write());
    }
    if !tuning.select.is_all() {
        // Refused where it is read: leaving it out would send what was kept back.
        entry("select", "code".into());
    }
    Value::Map(entries)
}

/// The variables of the environment; one that is empty is not set, as OpenTelemetry has it.
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    pub(super) fn new(all: Vec<(String, String)>) -> Self {
        Self(all)
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// What they say of the parameters of a kind.
    fn of_kind(&self, kind: &'static BackendKind) -> Vec<(String, Value)> {
        let parameters = kind.parameters.iter();
        parameters
            .filter_map(|p| Some((p.name.to_owned(), self.get(&kind.variable(p))?.into())))
            .collect()
    }

    /// Those of OpenTelemetry, which backends may read by themselves.
    fn of_otel(&self) -> Vec<(String, String)> {
        let ours = |(key, _): &&(String, String)| key.starts_with("OTEL_");
        self.0.iter().filter(ours).cloned().collect()
    }

    /// What stood there before changes where a variable says so.
    fn change(&self, backend: &mut BackendConfig, problems: &mut Vec<String>) {
        let Some(described) = backend.description() else {
            return;
        };
        let Ok(kind) = BackendKind::from_name(described.kind) else {
            return;
        };
        let mut set = self.of_kind(kind);
        // Which one of several it is stays.
        set.retain(|(key, _)| key != "signal");
        let exporter = |(key, _): &(String, String)| key.starts_with("OTEL_EXPORTER_OTLP");
        let otel = kind.name == "otlp" && self.0.iter().any(exporter);
        let Make::Sinks(make) = &kind.make else {
            return;
        };
        if set.is_empty() && !otel {
            return;
        }
        let mut entries = AttributeMap::new();
        // A connection string says all of it.
        if !set.iter().any(|(key, _)| key == "connection_string") {
            let before = &described.parameters;
            entries.clone_from(&before.shown);
            for (key, value) in before.secret.iter() {
                entries.set(key, value.clone());
            }
        }
        for (key, value) in set {
            entries.set(key, value);
        }
        let mut given = Given {
            variables: Some(self.of_otel()),
            ..Given::new(kind, entries.as_slice())
        };
        if let Some(made) = make(&mut given).pop() {
            *backend = made.in_place_of(backend);
        }
        problems.append(&mut given.problems);
    }
}

/// What the environment says: `EMBERLOG_BACKEND` names the backends, a variable of its own sets
/// each parameter.
pub(super) fn read_variables(
    config: &mut Config,
    variables: &Variables,
    problems: &mut Vec<String>,
) {
    if let Some(kinds) = variables.get("EMBERLOG_BACKEND") {
        // What code made stays: it has no name that could be meant.
        config.backends.retain(|b| b.description().is_none());
        for kind in kinds.split(',').filter(|kind| !kind.trim().is_empty()) {
            match Wish::of(kind) {
                Ok(mut wish) => {
                    wish.entries = variables.of_kind(wish.kind);
                    wish.variables = Some(variables.of_otel());
                    wish.apply(config, problems);
                }
                Err(problem) => problems.push(problem),
            }
        }
        return;
    }
    for backend in &mut config.backends {
        variables.change(backend, problems);
    }
}
