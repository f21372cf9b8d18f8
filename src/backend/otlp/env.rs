//! The environment as the OpenTelemetry specification lays it down.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::{collections::BTreeMap, fmt, time::Duration};

use percent_encoding::percent_decode_str;

use super::{
    options::{Compression, HistogramForm, Protocol, Target, Temporality},
    secret::Headers,
    Signal,
};
use crate::model::AttributeMap;

/// Where variables come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Environment {
    /// The process.
    #[default]
    Process,
    /// A list.
    Fixed(BTreeMap<String, String>),
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("Process"),
            // Values may be keys.
            Self::Fixed(variables) => f.debug_set().entries(variables.keys()).finish(),
        }
    }
}

impl Environment {
    pub(super) fn fixed<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        Self::Fixed(variables.map(|(k, v)| (k.into(), v.into())).collect())
    }

    /// The value of a variable; an empty one counts as missing.
    fn get(&self, name: &str) -> Option<String> {
        let value = match self {
            Self::Process => std::env::var(name).ok(),
            Self::Fixed(variables) => variables.get(name).cloned(),
        };
        value.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }
}

/// What the environment says, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) all: Target,
    pub(super) traces: Target,
    pub(super) logs: Target,
    pub(super) metrics: Target,
    pub(super) temporality: Option<Temporality>,
    pub(super) histograms: Option<HistogramForm>,
    pub(super) resource: AttributeMap,
    pub(super) problems: Vec<String>,
}

impl Said {
    pub(super) fn read(environment: &Environment) -> Self {
        let mut problems = Vec::new();
        let all = target(environment, "OTEL_EXPORTER_OTLP", &mut problems);
        let mut of = |signal: Signal| {
            let prefix = format!("OTEL_EXPORTER_OTLP_{}", signal.as_str().to_uppercase());
            target(environment, &prefix, &mut problems)
        };
        let [traces, logs, metrics] = Signal::ALL.map(&mut of);
        let mut reader = Reader {
            environment,
            problems: &mut problems,
        };
        let temporality = reader.word(
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            Temporality::WORDS,
        );
        let histograms = reader.word(
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            HistogramForm::WORDS,
        );
        let mut resource: AttributeMap = reader
            .pairs("OTEL_RESOURCE_ATTRIBUTES")
            .into_iter()
            .collect();
        if let Some(name) = environment.get("OTEL_SERVICE_NAME") {
            resource.set("service.name", name);
        }
        Self {
            all,
            traces,
            logs,
            metrics,
            temporality,
            histograms,
            resource,
            problems,
        }
    }

    pub(super) fn target(&self, signal: Signal) -> &Target {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
            Signal::Metrics => &self.metrics,
        }
    }
}

struct Reader<'e> {
    environment: &'e Environment,
    problems: &'e mut Vec<String>,
}

impl Reader<'_> {
    /// One of some words, without regard to case.
    fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.environment.get(name)?;
        let found = words
            .iter()
            .find(|(word, _)| value.eq_ignore_ascii_case(word));
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let words = words.join(", ");
            self.problems
                .push(format!("{name} is {value:?}: expected one of {words}"));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// `key=value,key=value`, percent-encoded.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let text = self.environment.get(name).unwrap_or_default();
        let mut pairs = Vec::new();
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        for (at, part) in parts.enumerate() {
            let decoded = |text: &str| {
                let bytes = percent_decode_str(text.trim());
                bytes.decode_utf8().ok().map(|text| text.into_owned())
            };
            let pair = part.split_once('=');
            let pair = pair.and_then(|(key, value)| Some((decoded(key)?, decoded(value)?)));
            match pair.filter(|(key, _)| !key.is_empty()) {
                Some(pair) => pairs.push(pair),
                // The text may be a key.
                None => self
                    .problems
                    .push(format!("{name}: entry {} is no KEY=VALUE", at + 1)),
            }
        }
        pairs
    }
}

fn target(environment: &Environment, prefix: &str, problems: &mut Vec<String>) -> Target {
    let name = |what: &str| format!("{prefix}_{what}");
    let path = |what: &str| environment.get(&name(what)).map(Into::into);
    let mut reader = Reader {
        environment,
        problems,
    };
    let headers: Headers = reader.pairs(&name("HEADERS")).into_iter().collect();
    let protocol = reader.word(&name("PROTOCOL"), Protocol::WORDS);
    let compression = reader.word(&name("COMPRESSION"), Compression::WORDS);
    let insecure = reader.word(&name("INSECURE"), &[("true", true), ("false", false)]);
    let timeout = environment.get(&name("TIMEOUT")).and_then(|text| {
        let ms = text.parse().ok().map(Duration::from_millis);
        if ms.is_none() {
            let name = name("TIMEOUT");
            problems.push(format!("{name} is {text:?}: expected milliseconds"));
        }
        ms
    });
    Target {
        endpoint: environment.get(&name("ENDPOINT")),
        protocol,
        headers,
        compression,
        timeout,
        certificate: path("CERTIFICATE"),
        client_certificate: path("CLIENT_CERTIFICATE"),
        client_key: path("CLIENT_KEY"),
        insecure,
        enabled: None,
    }
}
