//! Targets as URLs.
//!
//! | URL | what it is |
//! |---|---|
//! | `sqlite:PATH` | a SQLite database |
//! | `jsonl:PATH` | a file of JSON lines |
//! | `perfetto:PATH` | a trace file for the Perfetto UI |
//! | `postgresql://…`, `postgres://…` | a PostgreSQL database |
//! | `otlp+http://HOST:PORT`, `otlp+https://…` | an OpenTelemetry receiver, http/protobuf |
//! | `otlp+json://HOST:PORT`, `otlp+jsons://…` | the same with http/json |
//! | `otlp+grpc://HOST:PORT`, `otlp+grpcs://…` | the same with gRPC |
//! | `otlp-file:PATH` | files of OTLP JSON lines |
//!
//! No secret of a URL is ever shown: `Display` and `Debug` leave it out, [`Endpoint::hide`] takes it
//! out of what others say.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::address::{Address, Form};
use crate::{backend::BackendConfig, record::id::TraceId, tail::FrameSource};

/// Why a text is no target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It begins with nothing that is known.
    #[error("unknown target: expected one of {known}", known = known())]
    Scheme,
    /// There is no path behind the scheme.
    #[error("{scheme} needs a path: {scheme}PATH")]
    NoPath {
        /// The scheme, with its colon.
        scheme: &'static str,
    },
    /// There is no address behind the scheme.
    #[error("{scheme} needs an address: {scheme}HOST:PORT")]
    NoAddress {
        /// The scheme, with its colon and slashes.
        scheme: &'static str,
    },
    /// The address cannot be read, or not without showing what may be a password.
    #[error("{scheme}: {why}")]
    Address {
        /// The scheme, with its colon and slashes.
        scheme: &'static str,
        /// What is wrong; no part of the address.
        why: &'static str,
    },
    /// What the URL, the options and the environment say cannot be used.
    #[error("{0}")]
    Wrong(String),
    /// This build was made without it.
    #[error("{scheme} is not part of this build: it needs the feature {feature:?}")]
    NotBuilt {
        /// The scheme, with its colon.
        scheme: &'static str,
        /// What it was to be built with.
        feature: &'static str,
    },
    /// Rows can be written there, not read.
    #[error("nothing can be moved from {scheme}, only to it")]
    NoSource {
        /// The scheme, with its colon.
        scheme: &'static str,
    },
    /// It cannot be read.
    #[error("cannot read it")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An option says nothing to this target.
    #[error("{option} means nothing to {scheme}")]
    Option {
        /// The option as the command line names it.
        option: &'static str,
        /// The scheme, with its colon.
        scheme: &'static str,
    },
}

/// What rows are moved from.
pub type Source = Box<dyn FrameSource>;

/// Kinds of targets. A new one is a line in [`SCHEMES`] and one in [`Endpoint::backends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Jsonl,
    Perfetto,
    Postgres,
    OtlpHttp,
    OtlpJson,
    OtlpGrpc,
    OtlpFile,
}

impl Kind {
    /// How its address reads; `None` for a path.
    fn form(self) -> Option<Form> {
        match self {
            Self::Sqlite | Self::Jsonl | Self::Perfetto | Self::OtlpFile => None,
            Self::Postgres => Some(Form::Database),
            Self::OtlpHttp | Self::OtlpJson | Self::OtlpGrpc => Some(Form::Receiver),
        }
    }
}

/// The scheme that both spellings of it count as.
const POSTGRES: &str = "postgresql://";

/// What a target's text begins with, what it is, and the feature that brings it.
const SCHEMES: &[(&str, Kind, &str)] = &[
    ("sqlite:", Kind::Sqlite, "sqlite"),
    ("jsonl:", Kind::Jsonl, "jsonl"),
    ("perfetto:", Kind::Perfetto, "perfetto"),
    (POSTGRES, Kind::Postgres, "postgres"),
    ("postgres://", Kind::Postgres, "postgres"),
    ("otlp+http://", Kind::OtlpHttp, "otlp"),
    ("otlp+https://", Kind::OtlpHttp, "otlp"),
    ("otlp+json://", Kind::OtlpJson, "otlp"),
    ("otlp+jsons://", Kind::OtlpJson, "otlp"),
    ("otlp+grpc://", Kind::OtlpGrpc, "otlp-grpc"),
    ("otlp+grpcs://", Kind::OtlpGrpc, "otlp-grpc"),
    ("otlp-file:", Kind::OtlpFile, "otlp"),
];

fn known() -> String {
    let names = SCHEMES.iter().map(|(scheme, ..)| *scheme);
    names.collect::<Vec<_>>().join(", ")
}

/// What a target's URL does not say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// What the tracks of a Perfetto trace stand for: traces, instead of threads.
    pub tracks_of_traces: bool,
    /// Headers of every OTLP request, name and value.
    pub headers: Vec<(String, String)>,
    /// PEM file of the authorities that the target's certificate is checked against.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate; with `key`.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// What the backends of an OTLP target are named after. Default `otlp`.
    pub name: Option<String>,
    /// The log that OTLP metrics are added up beside, so that the next export goes on with the
    /// sums. Default `None`: they begin anew.
    pub log: Option<PathBuf>,
}

impl fmt::Debug for EndpointOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of headers are secrets.
        let headers: Vec<&String> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("EndpointOptions")
            .field("tracks_of_traces", &self.tracks_of_traces)
            .field("headers", &headers)
            .field("ca", &self.ca)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("name", &self.name)
            .field("log", &self.log)
            .finish()
    }
}

/// Where records go, or come from.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    kind: Kind,
    scheme: &'static str,
    feature: &'static str,
    /// What follows the scheme, secrets included.
    rest: String,
    /// Of a network target, what may be shown.
    address: Option<Address>,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let found = SCHEMES.iter().find_map(|(scheme, kind, feature)| {
            Some((scheme, kind, feature, text.strip_prefix(scheme)?))
        });
        let Some((scheme, kind, feature, rest)) = found else {
            return Err(EndpointError::Scheme);
        };
        let scheme = match kind {
            Kind::Postgres => POSTGRES,
            _ => *scheme,
        };
        let address = match kind.form() {
            None if rest.is_empty() => return Err(EndpointError::NoPath { scheme }),
            Some(_) if rest.is_empty() => return Err(EndpointError::NoAddress { scheme }),
            None => None,
            Some(form) => {
                let read = Address::read(rest, form);
                Some(read.map_err(|why| EndpointError::Address { scheme, why })?)
            }
        };
        Ok(Self {
            kind: *kind,
            scheme,
            feature,
            rest: rest.to_owned(),
            address,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_ref();
        let rest = address.map_or(&self.rest, |address| &address.shown);
        write!(f, "{}{rest}", self.scheme)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl Endpoint {
    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        self.address.is_none().then(|| Path::new(&self.rest))
    }

    /// Name of the cursor of a stream that goes there: the same for the same target, whatever the
    /// secrets in its URL.
    pub fn cursor_name(&self, stream: &str) -> String {
        let (place, file) = match &self.address {
            Some(address) => (address.shown.clone(), address.hosts.replace(':', "-")),
            None => {
                let path = Path::new(&self.rest);
                let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                (whole.display().to_string(), file.into_owned())
            }
        };
        let text = format!("{}{place} {stream}", self.scheme);
        let hash = TraceId::from_text(&text).0.as_u128() >> 64;
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let shown: String = file.chars().filter(allowed).take(24).collect();
        let scheme = self.scheme.trim_end_matches([':', '/']);
        format!("{scheme}-{shown}-{hash:016x}").replace('+', "-")
    }

    /// The backends that bring records there, one tail each.
    ///
    /// # Errors
    /// The build has none for it, or an option does not fit.
    pub fn backends(&self, options: &EndpointOptions) -> Result<Vec<BackendConfig>, EndpointError> {
        let scheme = self.scheme;
        if options.tracks_of_traces && self.kind != Kind::Perfetto {
            let option = "--tracks";
            return Err(EndpointError::Option { option, scheme });
        }
        let receiver = self.kind.form() == Some(Form::Receiver);
        let encrypted = self.kind == Kind::Postgres || receiver && scheme.ends_with("s://");
        for (option, given, fits) in [
            ("--header", !options.headers.is_empty(), receiver),
            ("--ca", options.ca.is_some(), encrypted),
            ("--cert", options.cert.is_some(), encrypted),
            ("--key", options.key.is_some(), encrypted),
        ] {
            if given && !fits {
                return Err(EndpointError::Option { option, scheme });
            }
        }
        match self.kind {
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => Ok(vec![BackendConfig::sqlite(&self.rest)]),
            #[cfg(feature = "jsonl")]
            Kind::Jsonl => Ok(vec![BackendConfig::jsonl(&self.rest)]),
            #[cfg(feature = "perfetto")]
            Kind::Perfetto => {
                use crate::backend::perfetto::Tracks;
                let tracks = match options.tracks_of_traces {
                    true => Tracks::Traces,
                    false => Tracks::Threads,
                };
                Ok(vec![BackendConfig::perfetto(&self.rest, tracks)])
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let made = self.database(options)?;
                Ok(vec![self.keeping(BackendConfig::postgres(made), options)])
            }
            #[cfg(feature = "otlp")]
            Kind::OtlpHttp | Kind::OtlpJson | Kind::OtlpFile => self.signals(options),
            #[cfg(feature = "otlp-grpc")]
            Kind::OtlpGrpc => self.signals(options),
            #[allow(unreachable_patterns)] // where everything is built in
            _ => Err(EndpointError::NotBuilt {
                scheme,
                feature: self.feature,
            }),
        }
    }

    /// The backend with all secrets taken out of what it says.
    #[cfg(any(feature = "otlp", feature = "postgres"))]
    fn keeping(&self, mut backend: BackendConfig, options: &EndpointOptions) -> BackendConfig {
        if let Some(address) = &self.address {
            backend.tuning.secrets = address.secrets.clone();
        }
        for (_, value) in &options.headers {
            backend = backend.secret(value);
        }
        backend
    }

    #[cfg(any(feature = "otlp", feature = "postgres"))]
    fn wrong(&self, problems: &dyn fmt::Display) -> EndpointError {
        EndpointError::Wrong(self.hide(&problems.to_string()))
    }

    #[cfg(feature = "postgres")]
    fn database(
        &self,
        options: &EndpointOptions,
    ) -> Result<crate::backend::postgres::Options, EndpointError> {
        use crate::backend::postgres::{Options, SslMode};
        let made = Options::from_url(&format!("{POSTGRES}{}", self.rest));
        let mut made = made.map_err(|error| self.wrong(&error))?;
        if let Some(ca) = &options.ca {
            made.sslrootcert = Some(ca.clone());
            // Who names an authority wants it to be asked.
            if !self.rest.contains("sslmode=") {
                made.sslmode = SslMode::VerifyFull;
            }
        }
        made.sslcert = options.cert.clone().or(made.sslcert);
        made.sslkey = options.key.clone().or(made.sslkey);
        match made.validate() {
            problems if problems.is_empty() => Ok(made),
            problems => Err(self.wrong(&problems.join("; "))),
        }
    }

    #[cfg(feature = "otlp")]
    fn signals(&self, options: &EndpointOptions) -> Result<Vec<BackendConfig>, EndpointError> {
        use crate::backend::otlp::{Options, Protocol};
        let http = match self.scheme.ends_with("s://") {
            true => "https",
            false => "http",
        };
        let network = |protocol| {
            let url = format!("{http}://{}", self.rest);
            Options::new().endpoint(url).protocol(protocol)
        };
        let mut made = match self.kind {
            Kind::OtlpJson => network(Protocol::HttpJson),
            Kind::OtlpGrpc => network(Protocol::Grpc),
            Kind::OtlpFile => Options::file(&self.rest),
            _ => network(Protocol::HttpProtobuf),
        };
        for (name, value) in &options.headers {
            made = made.header(name, value);
        }
        made.all.certificate.clone_from(&options.ca);
        made.all.client_certificate.clone_from(&options.cert);
        made.all.client_key.clone_from(&options.key);
        made.log_dir.clone_from(&options.log);
        if let Some(name) = &options.name {
            made.name.clone_from(name);
        }
        let backends = made.backends().map_err(|error| self.wrong(&error))?;
        let keeping = |backend| self.keeping(backend, options);
        Ok(backends.into_iter().map(keeping).collect())
    }

    /// What there is to be moved from there, each a source by its name.
    ///
    /// # Errors
    /// Nothing can be read from such a place, it cannot be read, or the build has nothing for it.
    pub fn sources(&self) -> Result<Vec<(&'static str, Source)>, EndpointError> {
        let scheme = self.scheme;
        match self.kind {
            #[cfg(feature = "sqlite")]
            Kind::Sqlite => {
                let tables = super::TableSource::all(Path::new(&self.rest));
                sources(tables)
            }
            #[cfg(feature = "postgres")]
            Kind::Postgres => {
                let options = self.reading()?;
                let tables = super::TableSource::of_postgres(&options);
                sources(tables)
            }
            #[allow(unreachable_patterns)] // where both are built in
            Kind::Sqlite | Kind::Postgres => Err(EndpointError::NotBuilt {
                scheme,
                feature: self.feature,
            }),
            _ => Err(EndpointError::NoSource { scheme }),
        }
    }

    /// The options of a PostgreSQL database that is read; certificates are named in its URL.
    ///
    /// # Errors
    /// It is no such database, or the URL is wrong.
    #[cfg(feature = "postgres")]
    pub fn reading(&self) -> Result<crate::backend::postgres::Options, EndpointError> {
        match self.kind {
            Kind::Postgres => self.database(&EndpointOptions::default()),
            _ => Err(EndpointError::NoSource {
                scheme: self.scheme,
            }),
        }
    }

    /// `text` without the secrets of the URL.
    pub fn hide(&self, text: &str) -> String {
        match &self.address {
            Some(address) => address.secrets.hide(text),
            None => text.to_owned(),
        }
    }
}

/// Tables as sources, each by its name.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn sources<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    tables: Result<Vec<super::TableSource>, E>,
) -> Result<Vec<(&'static str, Source)>, EndpointError> {
    let tables = tables.map_err(|error| EndpointError::Source(error.into()))?;
    let named = |table: super::TableSource| (table.table().as_str(), Box::new(table) as Source);
    Ok(tables.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names_of_cursors() {
        for url in [
            "sqlite:rows.db",
            "jsonl:/tmp/with space/ü.jsonl",
            "sqlite:/a/../b/x+y.db",
            "postgres://me@a-very-long-name-of-a-host.example.com:5432/db",
            "otlp+https://[::1]:4318/base",
            "otlp-file:spans.jsonl",
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            let name = endpoint.cursor_name("");
            // One backend per signal adds its name.
            crate::tail::cursor::check_name(&format!("{name}-metrics")).unwrap();
            assert_eq!(name, endpoint.cursor_name(""));
            assert_ne!(name, endpoint.cursor_name("--kind=llm_call"));
        }
        let name = |url: &str| url.parse::<Endpoint>().unwrap().cursor_name("");
        assert_ne!(name("sqlite:a/rows.db"), name("sqlite:b/rows.db"));
        let here = std::path::absolute("rows.db").unwrap();
        assert_eq!(
            name("sqlite:rows.db"),
            name(&format!("sqlite:{}", here.display()))
        );
    }

    #[test]
    fn what_is_no_target() {
        for (text, error) in [
            (
                "",
                "expected one of sqlite:, jsonl:, perfetto:, postgresql://",
            ),
            ("otlp+grpc://", "needs an address"),
            ("postgres://me:ca/nary@host/db", "percent-encoded"),
            ("otlp-file:", "needs a path"),
            ("mysql://x", "unknown target"),
            ("rows.db", "unknown target"),
            ("sqlite:", "needs a path"),
        ] {
            let said = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(said.contains(error), "{text}: {said}");
            assert!(!said.contains("nary"), "{text}: {said}");
        }
    }

    #[test]
    fn a_name_is_the_same_whatever_the_secret() {
        let parse = |url: &str| url.parse::<Endpoint>().unwrap();
        let same = [
            [
                "postgresql://me:canary-1@h/db",
                "postgres://me:canary-2@h/db",
            ],
            [
                "postgresql://me@h/db?password=canary-1",
                "postgresql://me@h/db",
            ],
            [
                "otlp+http://u:canary-1@h:4318",
                "otlp+http://canary-2@h:4318/?key=canary-3",
            ],
        ];
        for urls in same {
            let [a, b] = urls.map(parse);
            assert_eq!(a.cursor_name("x"), b.cursor_name("x"));
            for endpoint in [a, b] {
                let shown = format!("{endpoint} {endpoint:?} {}", endpoint.cursor_name("x"));
                assert!(!shown.contains("canary"), "{shown}");
                assert_eq!(endpoint.path(), None);
            }
        }
        let name = |url: &str| parse(url).cursor_name("");
        assert_ne!(name("postgresql://h/a"), name("postgresql://h/b"));
        assert_ne!(name("postgresql://h/a"), name("postgresql://h/a?schema=x"));
        assert_ne!(name("otlp+http://h:1"), name("otlp+http://h:2"));
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let options = EndpointOptions {
            headers: vec![("api-key".to_owned(), "canary".to_owned())],
            ..EndpointOptions::default()
        };
        assert!(!format!("{options:?}").contains("canary"));
        let endpoint: Endpoint = "postgresql://h/db".parse().unwrap();
        let said = endpoint.backends(&options).unwrap_err().to_string();
        assert_eq!(said, "--header means nothing to postgresql://");
        let options = EndpointOptions {
            ca: Some("ca.pem".into()),
            ..EndpointOptions::default()
        };
        let endpoint: Endpoint = "otlp+http://h:4318".parse().unwrap();
        let said = endpoint.backends(&options).unwrap_err().to_string();
        assert_eq!(said, "--ca means nothing to otlp+http://");
    }
}
