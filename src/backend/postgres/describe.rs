//! Options as files have them, so that a configuration can be written and read again.

use std::path::Path;

use super::options::{Options, Partitions, Server, SslMode, Target};
use crate::{backend::Parameters, record::value::Value};

/// The word for a choice.
fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let found = words.iter().find(|(_, meaning)| *meaning == value);
    found.map_or("", |(word, _)| word)
}

fn ports(servers: &[Server]) -> Value {
    let mut ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    ports.dedup();
    match ports[..] {
        [port] => i64::from(port).into(),
        _ => {
            let all: Vec<_> = servers.iter().map(|s| s.port.to_string()).collect();
            all.join(",").into()
        }
    }
}

impl Options {
    /// Everything that is set, under the names that URLs use, the password apart.
    pub(super) fn parameters(&self) -> Parameters {
        let hosts: Vec<_> = self.servers.iter().map(|s| s.host.as_str()).collect();
        let mut given = Parameters::default();
        let mut set = |name: &'static str, value: Value| given.shown.set(name, value);
        set("host", hosts.join(",").into());
        set("port", ports(&self.servers));
        set("database", self.database.as_str().into());
        if let Some(user) = &self.user {
            set("user", user.as_str().into());
        }
        set("sslmode", word(SslMode::ALL, self.sslmode).into());
        let files = [
            ("passfile", &self.passfile),
            ("sslrootcert", &self.sslrootcert),
            ("sslcert", &self.sslcert),
            ("sslkey", &self.sslkey),
        ];
        let text = |path: &Path| Value::from(path.to_string_lossy().into_owned());
        for (name, path) in files {
            if let Some(path) = path {
                set(name, text(path));
            }
        }
        set(
            "target_session_attrs",
            word(Target::ALL, self.target).into(),
        );
        set("application_name", self.application_name.as_str().into());
        set("connect_timeout", self.connect_timeout.as_secs_f64().into());
        set("command_timeout", self.command_timeout.as_secs_f64().into());
        set("min_pool_size", i64::from(self.min_size).into());
        set("max_pool_size", i64::from(self.max_size).into());
        set("pool_timeout", self.pool_timeout.as_secs_f64().into());
        if let Some(schema) = &self.schema {
            set("schema", schema.as_str().into());
        }
        set("table_prefix", self.table_prefix.as_str().into());
        set("partitions", word(Partitions::ALL, self.partitions).into());
        set("write_derived", self.write_derived.into());
        if let Some(password) = &self.password {
            given.secret.set("password", password.expose());
        }
        given
    }
}
