//! Connection URLs. Nothing of a password gets into a problem.

use std::{str::FromStr, time::Duration};

use super::options::{Options, Partitions, Server, SslMode, Target};

/// The port of PostgreSQL.
pub(super) const PORT: u16 = 5432;

/// Every option that a URL may have.
const KNOWN: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "target_session_attrs",
    "application_name",
    "connect_timeout",
    "command_timeout",
    "min_size",
    "min_pool_size",
    "max_size",
    "max_pool_size",
    "pool_timeout",
    "schema",
    "table_prefix",
    "partitions",
    "write_derived",
];

/// What the URL says, and everything that is wrong with it.
pub(super) fn parse(text: &str) -> (Options, Vec<String>) {
    let mut parser = Parser {
        options: Options::default(),
        problems: Vec::new(),
        hosts: Vec::new(),
        ports: Vec::new(),
    };
    let rest = ["postgresql://", "postgres://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) => parser.url(rest),
        None => parser.problem("the URL must begin with postgresql:// or postgres://"),
    }
    parser.servers();
    (parser.options, parser.problems)
}

/// Hosts and ports together: one port for all, or one for each.
pub(super) fn servers(
    mut hosts: Vec<String>,
    ports: Vec<String>,
) -> Result<Vec<Server>, Vec<String>> {
    if hosts.is_empty() {
        hosts.push(String::new());
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        let (hosts, ports) = (hosts.len(), ports.len());
        return Err(vec![format!("{ports} ports for {hosts} hosts")]);
    }
    let mut problems = Vec::new();
    let mut server = |(at, host): (usize, String)| {
        let port = ports.get(at).or(ports.first()).map(String::as_str);
        let port = match port.unwrap_or_default() {
            "" => PORT,
            text => text.parse().unwrap_or_else(|_| {
                problems.push(format!("port {text:?} is no number in range"));
                PORT
            }),
        };
        let host = match host.is_empty() {
            true => "localhost".to_owned(),
            false => host,
        };
        Server { host, port }
    };
    let servers = hosts.into_iter().enumerate().map(&mut server).collect();
    match problems.is_empty() {
        true => Ok(servers),
        false => Err(problems),
    }
}

struct Parser {
    options: Options,
    problems: Vec<String>,
    hosts: Vec<String>,
    ports: Vec<String>,
}

impl Parser {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn url(&mut self, rest: &str) {
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, database) = match rest.split_once('/') {
            Some((authority, database)) => (authority, database),
            None => (rest, ""),
        };
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if let Some(login) = login {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (login, None),
            };
            if !user.is_empty() {
                self.options.user = self.decoded("user", user);
            }
            if let Some(password) = password {
                self.options.password = self.decoded("password", password).map(Into::into);
            }
        }
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            self.host(host);
        }
        if !database.is_empty() {
            if let Some(database) = self.decoded("database", database) {
                self.options.database = database;
            }
        }
        for pair in query.unwrap_or_default().split('&') {
            if let Some((key, value)) = pair.split_once('=') {
                self.option(key, value);
            } else if !pair.is_empty() {
                self.problem("an option of the URL lacks its value: write name=value");
            }
        }
    }

    /// `name`, `name:port`, `[address]`, `[address]:port`.
    fn host(&mut self, text: &str) {
        let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            Some((address, rest)) => (address, rest.strip_prefix(':')),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let host = self.decoded("host", host).unwrap_or_default();
        self.hosts.push(host);
        self.ports.push(port.unwrap_or_default().to_owned());
    }

    fn option(&mut self, key: &str, value: &str) {
        let Some(key) = self.decoded("the name of an option", key) else {
            return;
        };
        if !KNOWN.contains(&key.as_str()) {
            let known = KNOWN.join(", ");
            self.problem(format!("unknown option {key:?}; known are {known}"));
            return;
        }
        let Some(value) = self.decoded(&key, value) else {
            return;
        };
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key.as_str() {
            "host" => self.hosts = list(),
            "port" => self.ports = list(),
            "user" => self.options.user = Some(value),
            "password" => self.options.password = Some(value.into()),
            "dbname" => self.options.database = value,
            "passfile" => self.options.passfile = Some(value.into()),
            "sslmode" => self.options.sslmode = self.one_of(&key, &value, SslMode::ALL),
            "sslrootcert" => self.options.trust(&value),
            "sslcert" => self.options.sslcert = Some(value.into()),
            "sslkey" => self.options.sslkey = Some(value.into()),
            "target_session_attrs" => {
                self.options.target = self.one_of(&key, &value, Target::ALL);
            }
            "application_name" => self.options.application_name = value,
            "connect_timeout" => self.options.connect_timeout = self.seconds(&key, &value),
            "command_timeout" => self.options.command_timeout = self.seconds(&key, &value),
            "pool_timeout" => self.options.pool_timeout = self.seconds(&key, &value),
            "min_size" | "min_pool_size" => self.options.min_size = self.number(&key, &value),
            "max_size" | "max_pool_size" => self.options.max_size = self.number(&key, &value),
            "schema" => self.options.schema = Some(value),
            "table_prefix" => self.options.table_prefix = value,
            "partitions" => self.options.partitions = self.one_of(&key, &value, Partitions::ALL),
            _ => {
                let words = [("true", true), ("false", false)];
                self.options.write_derived = self.one_of(&key, &value, &words);
            }
        }
    }

    fn servers(&mut self) {
        if self.hosts.is_empty() && self.ports.is_empty() {
            return;
        }
        let hosts = std::mem::take(&mut self.hosts);
        match servers(hosts, std::mem::take(&mut self.ports)) {
            Ok(servers) => self.options.servers = servers,
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn one_of<T: Copy + Default>(&mut self, what: &str, text: &str, of: &[(&str, T)]) -> T {
        if let Some((_, value)) = of.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
        self.problem(format!(
            "{what} {text:?} must be one of {}",
            names.join(", ")
        ));
        T::default()
    }

    fn number<T: FromStr + Default>(&mut self, what: &str, text: &str) -> T {
        text.parse().unwrap_or_else(|_| {
            self.problem(format!("{what} {text:?} is no number in range"));
            T::default()
        })
    }

    fn seconds(&mut self, what: &str, text: &str) -> Duration {
        let seconds = text
            .parse()
            .ok()
            .and_then(|s| Duration::try_from_secs_f64(s).ok());
        seconds.unwrap_or_else(|| {
            self.problem(format!("{what} {text:?} is no number of seconds"));
            Duration::from_secs(1)
        })
    }

    /// Percent-decoded. `what` is not shown if it is the password.
    fn decoded(&mut self, what: &str, text: &str) -> Option<String> {
        let decoded = decode(text);
        if decoded.is_none() {
            self.problem(format!(
                "{what}: '%' must be followed by two hex digits, and all together be UTF-8"
            ));
        }
        decoded
    }
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> Options {
        Options::from_url(text).unwrap()
    }

    fn problems(text: &str) -> Vec<String> {
        Options::from_url(text).unwrap_err().problems
    }

    #[test]
    fn documented_urls_mean_what_they_say() {
        let server = |host: &str, port| Server {
            host: host.into(),
            port,
        };
        let local = ok("postgresql://localhost/telemetry");
        assert_eq!(local.servers, [server("localhost", 5432)]);
        assert_eq!((local.database.as_str(), &local.user), ("telemetry", &None));
        let full = ok("postgres://me:p%40ss%20w0rd%2F%25@db:6000/t%20x?sslmode=require");
        assert_eq!(full.servers, [server("db", 6000)]);
        assert_eq!(full.user.as_deref(), Some("me"));
        assert_eq!(full.password.as_ref().unwrap().expose(), "p@ss w0rd/%");
        assert_eq!(
            (full.database.as_str(), full.sslmode),
            ("t x", SslMode::Require)
        );
        let pool = ok("postgresql://u:p@h/t?min_size=10&max_size=20&command_timeout=2.5");
        assert_eq!((pool.min_size, pool.max_size), (10, 20));
        assert_eq!(pool.command_timeout, Duration::from_millis(2500));
        assert_eq!(ok("postgresql://"), Options::default());
        let two = ok("postgresql://a:1,[::1]:2/x?target_session_attrs=read-write");
        assert_eq!(two.servers, [server("a", 1), server("::1", 2)]);
        assert_eq!(two.target, Target::ReadWrite);
        let socket = ok("postgresql:///x?host=/var/run/postgresql&port=5433");
        assert_eq!(socket.servers, [server("/var/run/postgresql", 5433)]);
        assert_eq!(
            ok("postgresql://h/x?host=a,b&port=7").servers,
            [server("a", 7), server("b", 7)]
        );
        let at = ok("postgresql://u:a@b@h/x");
        assert_eq!(at.password.unwrap().expose(), "a@b");
        let more =
            ok("postgresql://h/x?schema=tele&table_prefix=a_&partitions=daily&write_derived=true");
        assert_eq!(more.partitions, Partitions::Daily);
        assert!(more.write_derived);
    }

    #[test]
    fn every_mistake_is_named_and_no_password_is() {
        let all = problems("postgresql://u:hunter%zz2@h:99999/x?sslmode=no&foo=1&max_size=0&bar");
        let text = all.join("\n");
        for part in [
            "password: '%'",
            "port \"99999\"",
            "sslmode \"no\"",
            "\"foo\"",
            "max_size 0",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("hunter"), "{text}");
        assert!(problems("mysql://h/x")[0].contains("postgresql://"));
        assert!(problems("postgresql://h/x?port=1,2")[0].contains("2 ports"));
        for (prefix, schema) in [
            ("a-b", "x"),
            ("1a", "x"),
            ("ok_", "a\"b"),
            ("A", "x"),
            ("é", "x"),
        ] {
            let url = format!("postgresql://h/x?table_prefix={prefix}&schema={schema}");
            assert_eq!(problems(&url).len(), 1, "{url}");
        }
        assert!(problems("postgresql://h/x?sslcert=a")[0].contains("together"));
        let shown = format!("{:?}", ok("postgresql://u:hunter2@h/x"));
        assert!(
            !shown.contains("hunter2") && shown.contains("***"),
            "{shown}"
        );
    }
}
