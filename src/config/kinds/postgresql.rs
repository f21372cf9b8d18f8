//! The kind `postgresql`: the options of a URL, each by its name, or a URL.

use super::{shown, Make, Parameter};

pub(super) static PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "connection_string",
        aliases: &["url"],
        about: "`postgresql://[user[:password]@][host][:port][/database][?option=value&…]`; what is \
                set beside it counts more. It is written as its parts.",
        secret: true,
    },
    shown(
        "host",
        &[],
        "Name, address or the directory of a Unix socket; several with commas are tried in turn. \
         Default: localhost.",
    ),
    shown("port", &[], "Of all hosts, or one for each, with commas. Default: 5432."),
    shown("database", &["dbname"], "Its name. Default: spark_telemetry."),
    shown(
        "user",
        &[],
        "Default: the variable `PGUSER`, else the user of the process.",
    ),
    Parameter {
        name: "password",
        aliases: &[],
        about: "Default: the variable `PGPASSWORD`, else the password file.",
        secret: true,
    },
    shown(
        "passfile",
        &[],
        "File in the form of `.pgpass`. Default: the variable `PGPASSFILE`, else `~/.pgpass`.",
    ),
    shown(
        "sslmode",
        &[],
        "disable, prefer, require, verify-ca or verify-full. Default: prefer.",
    ),
    shown(
        "sslrootcert",
        &[],
        "PEM file of the authorities to trust; `system` means verify-full with those of the system. \
         Default: those of the system.",
    ),
    shown("sslcert", &[], "PEM file of our certificate, with `sslkey`. Default: none."),
    shown("sslkey", &[], "PEM file of its key. Default: none."),
    shown(
        "target_session_attrs",
        &[],
        "any, read-write or read-only: which of several servers will do. Default: any.",
    ),
    shown(
        "application_name",
        &[],
        "What `pg_stat_activity` shows. Default: emberlog.",
    ),
    shown(
        "connect_timeout",
        &[],
        "Until a server that does not answer is given up. Default: 10 s; 1 ms to 1 hour.",
    ),
    shown(
        "command_timeout",
        &[],
        "Until any answer is given up. Default: 60 s; 10 ms to 1 day.",
    ),
    shown(
        "min_pool_size",
        &["min_size"],
        "Connections that a reader keeps. Default: 0; up to `max_pool_size`.",
    ),
    shown(
        "max_pool_size",
        &["max_size"],
        "Most connections of a reader; a writer has one. Default: 4; 1 to 1000.",
    ),
    shown(
        "pool_timeout",
        &[],
        "How long a query waits while all connections are in use. Default: 30 s; 1 ms to 1 hour.",
    ),
    shown(
        "schema",
        &[],
        "Where the tables are; it must exist. Default: the first of the `search_path`.",
    ),
    shown(
        "table_prefix",
        &[],
        "What the names of tables begin with: up to 20 of a-z, 0-9, _. Default: nothing.",
    ),
    shown(
        "partitions",
        &[],
        "none, or daily for tables that are created. Default: none.",
    ),
    shown(
        "write_derived",
        &[],
        "Writes out the events and metrics that follow from spans and traces, for programs that \
         read the tables. Default: false.",
    ),
];

#[cfg(not(feature = "postgres"))]
pub(super) const MAKE: Make = Make::Missing("postgres");
#[cfg(feature = "postgres")]
pub(super) const MAKE: Make = Make::Sinks(built::make);

#[cfg(feature = "postgres")]
mod built {
    use crate::{
        backend::{
            postgres::{Options, Partitions, SslMode, Target},
            BackendConfig,
        },
        config::{
            kinds::Given,
            spelling::{words, Spelled},
        },
        record::value::Value,
    };

    words!(
        SslMode,
        "disable, prefer, require, verify-ca or verify-full",
        SslMode::ALL
    );
    words!(Target, "any, read-write or read-only", Target::ALL);
    words!(Partitions, "none or daily", Partitions::ALL);

    /// A port, or ports with commas.
    struct Ports(String);

    impl Spelled for Ports {
        const TAKES: &'static str = "a number from 1 to 65535, or several with commas";

        fn read(value: &Value) -> Result<Self, String> {
            match value {
                Value::Str(text) => Ok(Self(text.clone())),
                value => u64::read(value)
                    .map(|port| Self(port.to_string()))
                    .map_err(|_| Self::TAKES.to_owned()),
            }
        }

        fn write(&self) -> Value {
            self.0.as_str().into()
        }
    }

    pub(super) fn make(given: &mut Given) -> Vec<BackendConfig> {
        let mut options = Options::default();
        let mut text = |name| {
            let mut text: Option<String> = None;
            given.read(name, &mut text);
            text
        };
        let (url, host) = (text("connection_string"), text("host"));
        let (password, trusted) = (text("password"), text("sslrootcert"));
        if let Some(url) = url {
            match Options::from_url(&url) {
                Ok(said) => options = said,
                Err(error) => given.say("connection_string", error.problems),
            }
        }
        let mut ports: Option<Ports> = None;
        given.read("port", &mut ports);
        if host.is_some() || ports.is_some() {
            let ports = ports.as_ref().map(|ports| ports.0.as_str());
            if let Err(problems) = options.set_servers(host.as_deref(), ports) {
                given.say("host and port", problems);
            }
        }
        if let Some(password) = password {
            options.password = Some(password.into());
        }
        given.read("sslmode", &mut options.sslmode);
        if let Some(file) = trusted {
            options.trust(&file);
        }
        given.read("database", &mut options.database);
        given.read("user", &mut options.user);
        given.read("passfile", &mut options.passfile);
        given.read("sslcert", &mut options.sslcert);
        given.read("sslkey", &mut options.sslkey);
        given.read("target_session_attrs", &mut options.target);
        given.read("application_name", &mut options.application_name);
        given.read("connect_timeout", &mut options.connect_timeout);
        given.read("command_timeout", &mut options.command_timeout);
        given.read("min_pool_size", &mut options.min_size);
        given.read("max_pool_size", &mut options.max_size);
        given.read("pool_timeout", &mut options.pool_timeout);
        given.read("schema", &mut options.schema);
        given.read("table_prefix", &mut options.table_prefix);
        given.read("partitions", &mut options.partitions);
        given.read("write_derived", &mut options.write_derived);
        vec![BackendConfig::postgres(options)]
    }
}
