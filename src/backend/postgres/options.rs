//! Where the database is, how to reach it, and what is kept there.

use std::{fmt, path::PathBuf, time::Duration};

use super::url;

/// How a connection is protected, as libpq names and means it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it; who the server is remains unknown.
    #[default]
    Prefer,
    /// TLS or nothing; who the server is remains unknown, unless `sslrootcert` is given: then as
    /// [`SslMode::VerifyCa`].
    Require,
    /// TLS, and the certificate was issued by an authority that is trusted.
    VerifyCa,
    /// TLS, and the certificate is that of the host that was asked for.
    VerifyFull,
}

impl SslMode {
    /// All, by the names that URLs use.
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

/// Which server of several is good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Any that answers.
    #[default]
    Any,
    /// One that can be written to: after a failover the new primary.
    ReadWrite,
    /// One that cannot, for queries on a standby.
    ReadOnly,
}

impl Target {
    /// All, by the names that URLs use.
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
    ];
}

/// How the tables of spans, events, metrics and links are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitions {
    /// The documented tables with their foreign keys; retention deletes rows.
    #[default]
    None,
    /// One partition per day, for volume: retention drops them whole. The time is part of every
    /// key and there are no foreign keys. Holds for tables that are created; those that exist stay
    /// as they are.
    Daily,
}

impl Partitions {
    /// All, by the names that URLs use.
    pub(crate) const ALL: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("daily", Self::Daily)];
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Password {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name, address, or the directory of a Unix socket (begins with `/`).
    pub host: String,
    /// Port. Default 5432.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which database, how to reach it, how patient to be, and how the tables are to look.
///
/// ```
/// use emberlog::backend::postgres::{Options, SslMode};
/// let mut options = Options::from_url("postgresql://me@db.example.com/telemetry?sslmode=require")?;
/// options.sslmode = SslMode::VerifyFull;
/// assert!(options.validate().is_empty());
/// # Ok::<_, emberlog::backend::postgres::OptionsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Servers, tried in this order. Default: `localhost:5432`.
    pub servers: Vec<Server>,
    /// Which of them is good enough. Default: any.
    pub target: Target,
    /// Who connects. Default: the variable `PGUSER`, else the user of this process.
    pub user: Option<String>,
    /// The password. Default: the variable `PGPASSWORD`, else the password file.
    pub password: Option<Password>,
    /// File of passwords in the form of `.pgpass`; one that others may read is passed over.
    /// Default: the variable `PGPASSFILE`, else `~/.pgpass`.
    pub passfile: Option<PathBuf>,
    /// Name of the database. Default `spark_telemetry`.
    pub database: String,
    /// How the connection is protected. Default: [`SslMode::Prefer`].
    pub sslmode: SslMode,
    /// Certificates of the authorities to trust, PEM. Default: those of the system.
    pub sslrootcert: Option<PathBuf>,
    /// Our certificate, for servers that ask for one, PEM; with [`Options::sslkey`].
    pub sslcert: Option<PathBuf>,
    /// Its key, PEM.
    pub sslkey: Option<PathBuf>,
    /// What the server shows of us in `pg_stat_activity`. Default `emberlog`.
    pub application_name: String,
    /// How long to wait for a connection. Default 10 seconds, 1 ms to 1 hour.
    pub connect_timeout: Duration,
    /// How long to wait for any answer; also for how long the server works on a statement or waits
    /// for the next one. Default 60 seconds, 10 ms to 1 day.
    pub command_timeout: Duration,
    /// Connections that a reader keeps. Default 0, up to `max_size`.
    pub min_size: u32,
    /// Most connections of a reader; a writer has one. Default 4, 1 to 1000.
    pub max_size: u32,
    /// How long a query waits while all connections are in use. Default 30 seconds, 1 ms to 1 hour.
    pub pool_timeout: Duration,
    /// Schema of the tables, which must exist. Default: the first of the user's `search_path`.
    pub schema: Option<String>,
    /// What the names of all tables and indexes begin with. Default: nothing; up to 20 lower-case
    /// letters, digits and `_`, no digit first.
    pub table_prefix: String,
    /// How tables are laid out that are created. Default: without partitions.
    pub partitions: Partitions,
    /// Write events and metrics that follow from spans and traces into the tables as well, for
    /// people who query by hand; about six rows more per node. Queries through this library give
    /// them in any case. Default: false.
    pub write_derived: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: vec![Server {
                host: "localhost".to_owned(),
                port: url::PORT,
            }],
            target: Target::Any,
            user: None,
            password: None,
            passfile: None,
            database: "spark_telemetry".to_owned(),
            sslmode: SslMode::Prefer,
            sslrootcert: None,
            sslcert: None,
            sslkey: None,
            application_name: "emberlog".to_owned(),
            connect_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(60),
            min_size: 0,
            max_size: 4,
            pool_timeout: Duration::from_secs(30),
            schema: None,
            table_prefix: String::new(),
            partitions: Partitions::None,
            write_derived: false,
        }
    }
}

/// Everything that is wrong with a URL or with options; secrets are not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL options: {}", problems.join("; "))]
pub struct OptionsError {
    /// One sentence per problem.
    pub problems: Vec<String>,
}

/// Whether a text can name a schema or begin a table's name without being quoted.
fn is_identifier(text: &str, longest: usize) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_');
    text.len() <= longest
        && text.bytes().all(plain)
        && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

impl Options {
    /// What a URL says: `postgresql://[user[:password]@][host][:port][/database][?option=value&…]`,
    /// also `postgres://`. Several hosts are separated by commas; what is left out has its default,
    /// and special characters are percent-encoded.
    ///
    /// # Errors
    /// Everything that is wrong with it, unknown options by name.
    pub fn from_url(text: &str) -> Result<Self, OptionsError> {
        let (options, mut problems) = url::parse(text);
        problems.extend(options.validate());
        match problems.is_empty() {
            true => Ok(options),
            false => Err(OptionsError { problems }),
        }
    }

    /// On this server alone.
    #[must_use]
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        self.servers = vec![Server { host, port }];
        self
    }

    /// Replaces names or ports of servers, each a list with commas: as many ports as hosts, or one
    /// for all of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn set_servers(
        &mut self,
        hosts: Option<&str>,
        ports: Option<&str>,
    ) -> Result<(), Vec<String>> {
        let list = |text: &str| text.split(',').map(|t| t.trim().to_owned()).collect();
        let now = |of: fn(&Server) -> String| self.servers.iter().map(of).collect::<Vec<_>>();
        let hosts = hosts.map_or_else(|| now(|s| s.host.clone()), list);
        let mut ports = ports.map_or_else(|| now(|s| s.port.to_string()), list);
        if ports.len() == self.servers.len() && ports.len() != hosts.len() {
            // Those of other servers.
            ports.truncate(1);
        }
        self.servers = url::servers(hosts, ports)?;
        Ok(())
    }

    /// Trusts the authorities in this file; `system` means `verify-full` with those of the system.
    pub(crate) fn trust(&mut self, file: &str) {
        if file == "system" {
            // As libpq writes it: the system's, and nothing less than a full check.
            self.sslmode = SslMode::VerifyFull;
        } else {
            self.sslrootcert = Some(file.into());
        }
    }

    /// As this user with this password.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<Password>) -> Self {
        self.user = Some(user.into());
        self.password = Some(password.into());
        self
    }

    /// In this database.
    #[must_use]
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// Changes more of it.
    #[must_use]
    pub fn tune(mut self, tune: impl FnOnce(&mut Self)) -> Self {
        tune(&mut self);
        self
    }

    /// Everything that is wrong, one sentence per problem: field, value, range.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.servers.is_empty() {
            problems.push("servers is empty: name at least one".to_owned());
        }
        for server in &self.servers {
            if server.host.is_empty() || server.host.contains('\0') {
                problems.push(format!("host {:?} is no name or address", server.host));
            }
            if server.port == 0 {
                problems.push(format!("port of {} must be from 1 to 65535", server.host));
            }
        }
        let texts = [
            ("user", self.user.as_deref().unwrap_or("-")),
            ("database", &self.database),
            ("application_name", &self.application_name),
        ];
        for (what, text) in texts {
            if text.is_empty() || text.contains('\0') {
                problems.push(format!("{what} {text:?} is no name"));
            }
        }
        let second = Duration::from_secs(1);
        let times = [
            ("connect_timeout", self.connect_timeout, 1, 3600 * second),
            ("command_timeout", self.command_timeout, 10, 86_400 * second),
            ("pool_timeout", self.pool_timeout, 1, 3600 * second),
        ];
        for (what, time, least_ms, most) in times {
            if time < Duration::from_millis(least_ms) || time > most {
                problems.push(format!(
                    "{what} is {time:?}, it must be from {least_ms} ms to {most:?}"
                ));
            }
        }
        if !(1..=1000).contains(&self.max_size) || self.min_size > self.max_size {
            problems.push(format!(
                "min_size {} and max_size {} must be 0 <= min_size <= max_size <= 1000, max_size at \
                 least 1",
                self.min_size, self.max_size
            ));
        }
        if self.sslcert.is_some() != self.sslkey.is_some() {
            problems.push("sslcert and sslkey are given together or not at all".to_owned());
        }
        if !self.table_prefix.is_empty() && !is_identifier(&self.table_prefix, 20) {
            problems.push(format!(
                "table_prefix {:?} must be up to 20 of a-z, 0-9 and _, no digit first",
                self.table_prefix
            ));
        }
        if let Some(schema) = self.schema.as_deref().filter(|s| !is_identifier(s, 63)) {
            problems.push(format!(
                "schema {schema:?} must be 1 to 63 of a-z, 0-9 and _, no digit first"
            ));
        }
        problems
    }

    /// Servers and database, as messages name them.
    pub(super) fn place(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(Server::to_string).collect();
        format!("{}/{}", servers.join(","), self.database)
    }
}

impl TryFrom<&str> for Options {
    type Error = OptionsError;

    /// [`Options::from_url`].
    fn try_from(url: &str) -> Result<Self, OptionsError> {
        Self::from_url(url)
    }
}

impl TryFrom<String> for Options {
    type Error = OptionsError;

    /// [`Options::from_url`].
    fn try_from(url: String) -> Result<Self, OptionsError> {
        Self::from_url(&url)
    }
}

impl TryFrom<Option<String>> for Options {
    type Error = OptionsError;

    /// [`Options::from_url`] of what may be missing, such as a variable of the environment.
    fn try_from(url: Option<String>) -> Result<Self, OptionsError> {
        let missing = || OptionsError {
            problems: vec![
                "the connection string is missing: is the variable set that should have it?"
                    .to_owned(),
            ],
        };
        Self::from_url(&url.ok_or_else(missing)?)
    }
}

impl From<std::convert::Infallible> for OptionsError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
