//! Backends by name: the one place where a backend gets a line so that files and the environment
//! can ask for it.

mod otlp;
mod postgresql;

use super::spelling::Spelled;
use crate::{backend::BackendConfig, model::AttributeMap, record::value::Value};

/// A kind of backend as files and the environment name it.
#[derive(Debug)]
#[non_exhaustive]
pub struct BackendKind {
    /// Its name.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
    /// What can be set about it.
    pub parameters: &'static [Parameter],
    pub(super) make: Make,
}

/// What can be set about a backend of one kind.
#[derive(Debug)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// What it takes, and what it does.
    pub about: &'static str,
    /// Whether it is never written.
    pub secret: bool,
}

/// What asking for a kind of backend leads to.
#[derive(Debug)]
pub(super) enum Make {
    /// Sinks: one, or one for each kind of data. Where there is one it has the name that was asked
    /// for, where there are several their names begin with it.
    #[cfg_attr(
        not(any(feature = "otlp", feature = "postgres", feature = "sqlite")),
        expect(dead_code, reason = "no backend is built in")
    )]
    Sinks(fn(&mut Given) -> Vec<BackendConfig>),
    /// This feature is not built in.
    #[cfg_attr(
        all(feature = "otlp", feature = "postgres", feature = "sqlite"),
        expect(dead_code, reason = "everything is built in")
    )]
    Missing(&'static str),
    /// The log itself, in memory.
    Memory,
    /// Nothing is recorded.
    Nothing,
}

/// A parameter that may be seen.
const fn shown(
    name: &'static str,
    aliases: &'static [&'static str],
    about: &'static str,
) -> Parameter {
    Parameter {
        name,
        aliases,
        about,
        secret: false,
    }
}

/// One line each. A kind with a sink reads its parameters into the options of its backend, and
/// [`BackendConfig`] describes itself by what it was made from, secrets apart.
static KINDS: &[BackendKind] = &[
    BackendKind {
        name: "memory",
        aliases: &[],
        about: "The log alone, in memory: gone with the manager (`in_memory`).",
        parameters: &[shown(
            "max_bytes",
            &[],
            "What it may take; the oldest goes first. Default: 64 MiB; from 8 MiB.",
        )],
        make: Make::Memory,
    },
    BackendKind {
        name: "noop",
        aliases: &[],
        about: "Nothing is recorded, as with `enabled` = false.",
        parameters: &[],
        make: Make::Nothing,
    },
    BackendKind {
        name: "otlp",
        aliases: &["otlp_http", "otlp_grpc"],
        about: "An OpenTelemetry collector or platform, or files (feature `otlp`, for gRPC \
                `otlp-grpc`). What is not set is as the variables `OTEL_EXPORTER_OTLP_…` say, see \
                [otlp.md](otlp.md).",
        parameters: otlp::PARAMETERS,
        make: otlp::MAKE,
    },
    BackendKind {
        name: "postgresql",
        aliases: &["postgres"],
        about: "A PostgreSQL database (feature `postgres`), see [postgres.md](postgres.md).",
        parameters: postgresql::PARAMETERS,
        make: postgresql::MAKE,
    },
    BackendKind {
        name: "sqlite",
        aliases: &[],
        about: "A SQLite database (feature `sqlite`).",
        parameters: &[
            shown(
                "db_path",
                &["path"],
                "The file; created if it is missing. Default: spark_telemetry.db.",
            ),
            shown(
                "busy_timeout",
                &["timeout"],
                "How long to wait for a lock that somebody else holds. Default: 5 s; 0 to 1 hour.",
            ),
            shown(
                "write_derived",
                &[],
                "Writes out the events and metrics that follow from spans and traces, for programs \
                 that read the tables. Default: false.",
            ),
        ],
        #[cfg(feature = "sqlite")]
        make: Make::Sinks(sqlite),
        #[cfg(not(feature = "sqlite"))]
        make: Make::Missing("sqlite"),
    },
];

#[cfg(feature = "sqlite")]
fn sqlite(given: &mut Given) -> Vec<BackendConfig> {
    let mut options = crate::backend::sqlite::Options::default();
    given.read("db_path", &mut options.path);
    given.read("busy_timeout", &mut options.busy_timeout);
    given.read("write_derived", &mut options.write_derived);
    if options.busy_timeout > std::time::Duration::from_secs(3600) {
        given.refuse(
            "busy_timeout",
            "at most 1 hour",
            options.busy_timeout.write(),
        );
    }
    vec![BackendConfig::sqlite_with(options)]
}

impl BackendKind {
    /// Every kind.
    pub const fn all() -> &'static [Self] {
        KINDS
    }

    /// The kind of this name.
    ///
    /// # Errors
    /// A sentence that lists all names.
    pub fn from_name(name: &str) -> Result<&'static Self, String> {
        let fits = |kind: &&Self| kind.name == name || kind.aliases.contains(&name);
        KINDS.iter().find(fits).ok_or_else(|| {
            let names = |kind: &'static Self| [kind.name].into_iter().chain(kind.aliases.to_vec());
            let names: Vec<_> = KINDS.iter().flat_map(names).collect();
            format!("backend must be one of {}, not {name:?}", names.join(", "))
        })
    }

    /// The environment variable that sets a parameter.
    pub fn variable(&self, parameter: &Parameter) -> String {
        format!("EMBERLOG_{}_{}", self.name, parameter.name).to_uppercase()
    }

    fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        let fits = |p: &&Parameter| p.name == name || p.aliases.contains(&name);
        self.parameters.iter().find(fits)
    }
}

/// The parameters of one backend while it is made.
pub(super) struct Given {
    pub(super) kind: &'static BackendKind,
    /// The name by which the kind was asked for.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(dead_code, reason = "no kind that is built in has names that say more")
    )]
    pub(super) asked: &'static str,
    /// The backend's name, where one is given.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(dead_code, reason = "no kind that is built in makes several backends")
    )]
    pub(super) name: Option<String>,
    /// The variables that stand for the environment, where that is being read.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(
            dead_code,
            reason = "no kind that is built in has variables of its own"
        )
    )]
    pub(super) variables: Option<Vec<(String, String)>>,
    pub(super) values: AttributeMap,
    pub(super) problems: Vec<String>,
}

impl Given {
    pub(super) fn new(kind: &'static BackendKind, entries: &[(String, Value)]) -> Self {
        let (mut values, mut problems) = (AttributeMap::new(), Vec::new());
        for (key, value) in entries {
            match kind.parameter(key) {
                Some(parameter) => values.set(parameter.name, value.clone()),
                None => problems.push(format!("{}.{key} is no parameter", kind.name)),
            }
        }
        Self {
            kind,
            asked: kind.name,
            name: None,
            variables: None,
            values,
            problems,
        }
    }

    /// Leaves `into` as it is where nothing is given.
    pub(super) fn read<T: Spelled>(&mut self, name: &'static str, into: &mut T) {
        let Some(value) = self.values.get(name).cloned() else {
            return;
        };
        match T::read(&value) {
            Ok(value) => *into = value,
            Err(expected) => self.refuse(name, &expected, value),
        }
    }

    /// What is wrong with parameters, in words that show no secret.
    #[cfg(any(feature = "otlp", feature = "postgres"))]
    fn say(&mut self, name: &str, problems: impl IntoIterator<Item = String>) {
        let kind = self.kind.name;
        let said = |problem| format!("{kind}.{name}: {problem}");
        self.problems.extend(problems.into_iter().map(said));
    }

    fn refuse(&mut self, name: &str, expected: &str, value: Value) {
        let secret = self.kind.parameter(name).is_some_and(|p| p.secret);
        let value = if secret { "that" } else { &value.to_json() };
        let kind = self.kind.name;
        self.problems
            .push(format!("{kind}.{name} must be {expected}, not {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend::Parameters, config::Config};

    static KIND: BackendKind = BackendKind {
        name: "vault",
        aliases: &[],
        about: "",
        parameters: &[
            Parameter {
                name: "retries",
                aliases: &["tries"],
                about: "",
                secret: false,
            },
            Parameter {
                name: "password",
                aliases: &[],
                about: "",
                secret: true,
            },
        ],
        make: Make::Nothing,
    };

    #[test]
    fn a_secret_is_neither_written_nor_shown() {
        let backend =
            || BackendConfig::new("vault", || Err(crate::backend::SinkError::Retry("".into())));
        let attributes =
            |key: &str, value: &str| [(key, value)].into_iter().collect::<AttributeMap>();
        let described = |secret| {
            let parameters = Parameters {
                shown: attributes("host", "h"),
                secret: attributes("password", secret),
            };
            backend().described("vault", parameters)
        };
        let config = Config::new("log").backend(described("hunter2"));
        let written = config.to_value().to_json();
        assert!(
            written.contains(r#""host":"h""#) && !written.contains("hunter2"),
            "{written}"
        );
        let shown = format!("{config:?}");
        assert!(
            shown.contains("vault") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert_ne!(described("hunter2"), described("hunter3"));

        let entries = [
            ("password".to_owned(), Value::from(7)),
            ("tries".to_owned(), Value::from("many")),
        ];
        let mut given = Given::new(&KIND, &entries);
        let (mut password, mut retries) = (String::new(), 3u32);
        given.read("password", &mut password);
        given.read("retries", &mut retries);
        assert_eq!(retries, 3);
        assert_eq!(given.problems[0], "vault.password must be text, not that");
        assert!(given.problems[1].starts_with("vault.retries must be a whole number"));
        assert_eq!(
            KIND.variable(&KIND.parameters[1]),
            "EMBERLOG_VAULT_PASSWORD"
        );
    }
}
