//! Where records are brought, as typed: the URL, what goes with it, and what is known when it fails.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use emberlog::{
    backend::BackendConfig,
    export::{Endpoint, EndpointOptions},
};

use crate::{
    args::{TargetArgs, Tracks},
    failure::Failure,
};

/// A target that may be used.
pub struct Target {
    endpoint: Endpoint,
    options: EndpointOptions,
    /// One tail each.
    pub backends: Vec<BackendConfig>,
    /// How long to go on trying while it does not answer.
    pub retry_for: Duration,
}

impl Target {
    /// Checks what was typed. Nothing is opened yet.
    pub fn new(args: &TargetArgs) -> Result<Self, Failure> {
        let endpoint = endpoint("--to", &args.to)?;
        let headers = args.header.iter().enumerate();
        let headers = headers.map(|(at, text)| header(at + 1, text));
        let options = EndpointOptions {
            tracks_of_traces: args.tracks == Some(Tracks::Traces),
            headers: headers.collect::<Result<_, _>>()?,
            ca: args.ca.clone(),
            cert: args.cert.clone(),
            key: args.key.clone(),
            ..EndpointOptions::default()
        };
        let backends = endpoint.backends(&options);
        Ok(Self {
            backends: backends.map_err(|error| Failure::because("--to", &error))?,
            endpoint,
            options,
            retry_for: args.retry_for,
        })
    }

    /// Its name, without secrets.
    pub fn name(&self) -> String {
        self.endpoint.to_string()
    }

    /// The file, if it is one that is there.
    pub fn file(&self) -> Option<PathBuf> {
        self.endpoint.path()?.canonicalize().ok()
    }

    /// The tails of a stream, each with the name of its cursor. `log` is where metrics of OTLP are
    /// added up.
    pub fn tails(
        &self,
        given: Option<&str>,
        stream: &str,
        log: Option<&Path>,
    ) -> Result<Vec<(String, BackendConfig)>, Failure> {
        let name = given.map_or_else(|| self.endpoint.cursor_name(stream), str::to_owned);
        let options = EndpointOptions {
            name: Some(name.clone()),
            log: log.map(Path::to_owned),
            ..self.options.clone()
        };
        let several = self.backends.len() > 1;
        let backends = match self.endpoint.path() {
            // A file is open once, however many logs go there.
            Some(_) if !several => Ok(self.backends.clone()),
            _ => self.endpoint.backends(&options),
        };
        let backends = backends.map_err(|error| Failure::because("--to", &error))?;
        let cursor = |backend: BackendConfig| match several {
            // They are named after the stream and their signal.
            true => (backend.name().to_owned(), backend),
            false => (name.clone(), backend),
        };
        Ok(backends.into_iter().map(cursor).collect())
    }

    /// Why it failed, without secrets.
    pub fn trouble(&self, what: &str) -> Failure {
        Failure::new(self.hide(what))
    }

    /// A text without the secrets of the URL.
    pub fn hide(&self, text: &str) -> String {
        self.endpoint.hide(text)
    }

    /// Refuses a target that lies where the log lies.
    pub fn is_outside(&self, dir: &Path) -> Result<(), Failure> {
        let Some(parent) = self.endpoint.path().and_then(Path::parent) else {
            return Ok(());
        };
        let same = |a: &Path, b: &Path| a.canonicalize().ok().zip(b.canonicalize().ok());
        match same(parent, dir) {
            Some((parent, dir)) if parent == dir => Err(Failure::new(format!(
                "{} lies in the log directory; name a file outside of it",
                self.name()
            ))),
            _ => Ok(()),
        }
    }
}

/// `NAME=VALUE` or `NAME=env:VARIABLE`. Nothing but the name is repeated: a value may be a key.
fn header(number: usize, text: &str) -> Result<(String, String), Failure> {
    let wrong = |what: &str| Failure::new(format!("--header {number}: {what}"));
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| wrong("expected NAME=VALUE"))?;
    let value = match value.strip_prefix("env:") {
        Some(variable) => std::env::var(variable)
            .map_err(|_| wrong(&format!("the variable {variable:?} is not set")))?,
        None => value.to_owned(),
    };
    Ok((name.to_owned(), value))
}

/// Where rows are moved from, as typed.
pub fn source(text: &str) -> Result<Endpoint, Failure> {
    endpoint("--from", text)
}

/// The URL that a text means: itself, or what stands in the variable that it names.
fn endpoint(flag: &str, text: &str) -> Result<Endpoint, Failure> {
    let url = match text.strip_prefix("env:") {
        Some(name) => std::env::var(name)
            .map_err(|_| Failure::new(format!("{flag}: the variable {name:?} is not set")))?,
        None => text.to_owned(),
    };
    url.parse().map_err(|error| Failure::because(flag, &error))
}
