//! What is set about one signal as files have it, so that a configuration can be written and read
//! again. The environment is not part of it: it is read again as well.

use super::{
    options::{Compression, Events, HistogramForm, Options, Protocol, Target, Temporality},
    secret::bare_url,
    Signal,
};
use crate::{backend::Parameters, record::value::Value};

/// The word for a choice: the first that means it.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> Value {
    let found = words.iter().find(|(_, meaning)| *meaning == value);
    found.map_or("", |(word, _)| word).into()
}

/// Sets an address, and its secret part apart.
fn set_url(given: &mut Parameters, name: &'static str, url: &str) {
    let bare = bare_url(url);
    if bare != url {
        given.secret.set(name, url);
    }
    given.shown.set(name, bare);
}

impl Options {
    /// What is set about a signal, under the names of the parameters of the kind `otlp`.
    pub(super) fn parameters(&self, signal: Signal) -> Parameters {
        let (own, all) = (self.target(signal), &self.all);
        let mut given = Parameters::default();
        given.shown.set("signal", signal.as_str());
        if let Some(url) = &all.endpoint {
            set_url(&mut given, "endpoint", url);
        }
        if let Some(url) = &own.endpoint {
            set_url(&mut given, "signal_endpoint", url);
        }
        let mut headers: Vec<(String, Value)> = Vec::new();
        for (name, value) in all.headers.iter().chain(own.headers.iter()) {
            headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            headers.push((name.to_owned(), value.into()));
        }
        if !headers.is_empty() {
            given.secret.set("headers", Value::Map(headers));
        }
        let mut set = |name: &'static str, value: Option<Value>| {
            if let Some(value) = value {
                given.shown.set(name, value);
            }
        };
        fn first<'t, T>(targets: [&'t Target; 2], get: fn(&'t Target) -> Option<T>) -> Option<T> {
            targets.into_iter().find_map(get)
        }
        let both = [own, all];
        let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned().into();
        let protocol = first(both, |t| t.protocol);
        set("protocol", protocol.map(|p| word(Protocol::WORDS, p)));
        let compression = first(both, |t| t.compression);
        set(
            "compression",
            compression.map(|c| word(Compression::WORDS, c)),
        );
        let timeout = first(both, |t| t.timeout);
        set("timeout", timeout.map(|t| t.as_secs_f64().into()));
        set(
            "certificate",
            first(both, |t| t.certificate.as_ref()).map(path),
        );
        let certificate = first(both, |t| t.client_certificate.as_ref());
        set("client_certificate", certificate.map(path));
        set(
            "client_key",
            first(both, |t| t.client_key.as_ref()).map(path),
        );
        set("insecure", first(both, |t| t.insecure).map(Into::into));
        if let Some(file) = &self.file {
            set("file", Some(path(&file.path)));
            set("file_max_bytes", Some(file.max_bytes.into()));
            set(
                "file_max_files",
                file.max_files.map(|n| u64::from(n).into()),
            );
        }
        set("events", Some(word(Events::WORDS, self.events)));
        set("derived_events", Some(self.derived_events.into()));
        let temporality = self.temporality.map(|t| word(Temporality::WORDS, t));
        set("temporality", temporality);
        let histograms = self.histograms.map(|h| word(HistogramForm::WORDS, h));
        set("histograms", histograms);
        set("cardinality_limit", Some(self.cardinality_limit.into()));
        set("max_request_bytes", Some(self.max_request_bytes.into()));
        if !self.resource.is_empty() {
            let resource = self.resource.as_slice().to_vec();
            set("resource", Some(Value::Map(resource)));
        }
        given
    }
}
