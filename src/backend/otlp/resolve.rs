//! From options and environment to what counts, per signal.
//!
//! Set for one signal in code beats set for all in code beats the environment's word for one
//! signal beats its word for all beats the default.

use std::{fmt, path::PathBuf, time::Duration};

use base64::{prelude::BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;
use ureq::http::{HeaderName, HeaderValue, Uri};

use super::{
    batch::Form,
    env::Said,
    options::{
        Compression, Events, FileOptions, HistogramForm, Options, OptionsError, Protocol, Target,
        Temporality,
    },
    secret::{bare_url, Headers},
    values::Resource,
    Signal,
};
use crate::backend::{Needs, RowKind};

/// Where requests go.
#[derive(Clone, PartialEq)]
pub(super) enum Place {
    /// A POST to this address.
    Http { url: String },
    /// Calls to this address.
    Grpc { url: String },
    /// Lines of a file.
    File(FileOptions),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url } => write!(f, "{}", bare_url(url)),
            Self::Grpc { url } => write!(f, "grpc {}", bare_url(url)),
            Self::File(file) => write!(f, "{}", file.path.display()),
        }
    }
}

/// The files of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// All that one tail needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) signal: Signal,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) headers: Headers,
    pub(super) compression: Compression,
    pub(super) timeout: Duration,
    pub(super) tls: TlsFiles,
    pub(super) max_request_bytes: usize,
    pub(super) events: Events,
    pub(super) derived_events: bool,
    pub(super) temporality: Temporality,
    pub(super) histograms: HistogramForm,
    pub(super) cardinality_limit: usize,
    pub(super) metric_rows: usize,
    pub(super) resource: Resource,
    pub(super) log_dir: Option<PathBuf>,
}

impl Settings {
    /// The rows that make something of the signal.
    pub(super) fn needs(&self) -> Needs {
        use RowKind::{Event, Link, Metric, Span, Trace};
        match self.signal {
            Signal::Traces if self.events == Events::Logs => Needs::of(&[Trace, Span, Link]),
            Signal::Traces => Needs::of(&[Trace, Span, Link, Event]),
            Signal::Logs if self.derived_events => Needs::of(&[Trace, Span, Event]),
            Signal::Logs => Needs::of(&[Event]),
            // Executions of nodes are measurements of their own.
            Signal::Metrics => Needs::of(&[Metric, Span]).only_nodes(),
        }
    }
}

/// The layers in which a signal's target is looked up, first one first.
type Layers<'t> = [&'t Target; 4];

fn first<'t, T>(layers: &Layers<'t>, get: impl Fn(&'t Target) -> Option<&'t T>) -> Option<&'t T> {
    layers.iter().find_map(|target| get(target))
}

pub(super) fn resolve(options: &Options) -> Result<Vec<Settings>, OptionsError> {
    let mut said = Said::read(&options.environment);
    let mut problems = std::mem::take(&mut said.problems);
    let mut in_range = |name: &str, value: u64, least: u64, most: u64| {
        if !(least..=most).contains(&value) {
            problems.push(format!("{name} is {value}: expected {least} to {most}"));
        }
    };
    let bytes = options.max_request_bytes as u64;
    in_range("max_request_bytes", bytes, 1 << 10, 64 << 20);
    let series = options.cardinality_limit as u64;
    in_range("cardinality_limit", series, 2, 1_000_000);
    in_range("metric_rows", options.metric_rows as u64, 1, 10_000_000);
    if let Some(file) = &options.file {
        in_range("file.max_bytes", file.max_bytes, 1 << 10, u64::MAX);
        in_range(
            "file.max_files",
            file.max_files.unwrap_or(1).into(),
            1,
            u32::MAX.into(),
        );
        if file.path.file_name().is_none() {
            problems.push("file.path names no file".to_owned());
        }
    }
    let mut settings = Vec::new();
    for signal in Signal::ALL {
        let layers = [
            options.target(signal),
            &options.all,
            said.target(signal),
            &said.all,
        ];
        if first(&layers, |t| t.enabled.as_ref()) == Some(&false) {
            continue;
        }
        let reached = reach(signal, &layers, options.file.as_ref());
        match reached {
            Ok((place, form, headers, timeout)) => settings.push(Settings {
                signal,
                name: format!("{}-{}", options.name, signal.as_str()),
                place,
                form,
                headers,
                timeout,
                compression: *first(&layers, |t| t.compression.as_ref())
                    .unwrap_or(&Compression::None),
                tls: TlsFiles {
                    ca: first(&layers, |t| t.certificate.as_ref()).cloned(),
                    client: client(&layers, &mut problems),
                },
                max_request_bytes: options.max_request_bytes,
                events: options.events,
                derived_events: options.derived_events,
                temporality: options.temporality.or(said.temporality).unwrap_or_default(),
                histograms: options.histograms.or(said.histograms).unwrap_or_default(),
                cardinality_limit: options.cardinality_limit,
                metric_rows: options.metric_rows,
                resource: Resource {
                    overriding: options.resource.clone(),
                    defaults: said.resource.clone(),
                },
                log_dir: options.log_dir.clone(),
            }),
            Err(found) => problems.extend(found),
        }
    }
    // What all signals share is wrong once.
    let mut seen = std::collections::BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(OptionsError { problems }),
    }
}

fn client(layers: &Layers<'_>, problems: &mut Vec<String>) -> Option<(PathBuf, PathBuf)> {
    let certificate = first(layers, |t| t.client_certificate.as_ref());
    let key = first(layers, |t| t.client_key.as_ref());
    if certificate.is_some() != key.is_some() {
        problems.push("client_certificate and client_key belong together: one is missing".into());
    }
    Some((certificate?.clone(), key?.clone()))
}

type Reached = (Place, Form, Headers, Duration);

fn reach(
    signal: Signal,
    layers: &Layers<'_>,
    file: Option<&FileOptions>,
) -> Result<Reached, Vec<String>> {
    let mut problems = Vec::new();
    let mut headers = Headers::new();
    for target in layers.iter().rev() {
        for (name, value) in target.headers.iter() {
            headers.set(name, value);
        }
    }
    let mut timeout = first(layers, |t| t.timeout.as_ref()).copied();
    if let Some(text) = headers.take("timeout") {
        // The documents' spelling: seconds.
        match text
            .trim()
            .parse()
            .ok()
            .and_then(|s| Duration::try_from_secs_f64(s).ok())
        {
            Some(said) => timeout = timeout.or(Some(said)),
            None => problems.push("header \"timeout\" stands for seconds and is no number".into()),
        }
    }
    let timeout = timeout.unwrap_or(Duration::from_secs(10));
    if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(3600) {
        problems.push(format!("timeout is {timeout:?}: expected 1 ms to 1 h"));
    }
    for (name, value) in headers.iter() {
        let fine = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
        if !fine {
            problems.push(format!("header {name:?}: its name or value cannot be sent"));
        }
    }
    let (place, form) = match file {
        Some(file) => (Place::File(file.clone()), Form::Json),
        None => match network(signal, layers, &mut headers) {
            Ok(reached) => reached,
            Err(problem) => {
                problems.push(problem);
                return Err(problems);
            }
        },
    };
    match problems.is_empty() {
        true => Ok((place, form, headers, timeout)),
        false => Err(problems),
    }
}

fn network(
    signal: Signal,
    layers: &Layers<'_>,
    headers: &mut Headers,
) -> Result<(Place, Form), String> {
    // Which layer names the address matters: that of one signal is taken as it is.
    let named = layers.iter().position(|target| target.endpoint.is_some());
    let endpoint = named.and_then(|at| layers[at].endpoint.as_deref());
    let own = matches!(named, Some(0 | 2));
    let protocol = first(layers, |t| t.protocol.as_ref()).copied();
    let shown = bare_url(endpoint.unwrap_or_default());
    let port = endpoint.and_then(|url| with_scheme(url, true).parse::<Uri>().ok()?.port_u16());
    let protocol = protocol.unwrap_or(match port {
        Some(4317) => Protocol::Grpc,
        _ => Protocol::HttpProtobuf,
    });
    let grpc = protocol == Protocol::Grpc;
    if grpc && cfg!(not(feature = "otlp-grpc")) {
        return Err(format!(
            "endpoint {shown:?} is to be reached by gRPC, which this build lacks: enable the \
             feature otlp-grpc, or set the protocol to http/protobuf"
        ));
    }
    let endpoint = endpoint.unwrap_or(match grpc {
        true => "http://localhost:4317",
        false => "http://localhost:4318",
    });
    let insecure = first(layers, |t| t.insecure.as_ref()) == Some(&true);
    let bare = !endpoint.contains("://");
    if bare && !grpc {
        return Err(format!(
            "endpoint {shown:?} has no scheme: expected http:// or https://"
        ));
    }
    let endpoint = with_scheme(endpoint, insecure);
    let wrong = |why: &str| format!("endpoint {shown:?} is no address: {why}");
    let uri: Uri = endpoint.parse().map_err(|e| wrong(&format!("{e}")))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("expected http:// or https://"));
    }
    let authority = uri.authority().map_or("", |a| a.as_str());
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        return Err(wrong("there is no host"));
    }
    if !user.is_empty() {
        let user = percent_decode_str(user).collect::<Vec<u8>>();
        let text = String::from_utf8_lossy(&user);
        if let Some((_, password)) = text.split_once(':') {
            headers.also_hide(password);
        }
        let basic = format!("Basic {}", BASE64_STANDARD.encode(&user));
        headers.set("authorization", basic);
    }
    if let Some(query) = uri.query() {
        headers.also_hide(query);
    }
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let path = match (own, uri.path().trim_end_matches('/')) {
        (true, _) => uri.path().to_owned(),
        (false, path) => {
            // People paste the address of one signal.
            let base = Signal::ALL.iter().find_map(|s| path.strip_suffix(s.path()));
            format!("{}{}", base.unwrap_or(path), signal.path())
        }
    };
    Ok(match protocol {
        Protocol::Grpc => {
            let url = format!("{scheme}://{host}");
            (Place::Grpc { url }, Form::Proto)
        }
        _ => {
            let form = match protocol {
                Protocol::HttpJson => Form::Json,
                _ => Form::Proto,
            };
            let url = format!("{scheme}://{host}{path}{query}");
            (Place::Http { url }, form)
        }
    })
}

fn with_scheme(url: &str, insecure: bool) -> String {
    match (url.contains("://"), insecure) {
        (true, _) => url.to_owned(),
        (false, true) => format!("http://{url}"),
        (false, false) => format!("https://{url}"),
    }
}
