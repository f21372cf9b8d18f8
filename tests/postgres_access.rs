//! How one gets into a PostgreSQL server, or does not; and that nobody sees the password.
#![cfg(all(unix, feature = "postgres"))]

#[path = "support/postgres_load.rs"]
mod load;
#[path = "support/postgres.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use emberlog::{
    backend::{
        postgres::{Options, PostgresReader, PostgresSink, SslMode},
        Scan, SinkError,
    },
    tail::TailState,
    BackendConfig, Config,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use load::{assert_arrived, end, manager, record, tail, LONG};
use support::{until, Server, Wanted, DATABASE, PASSWORD, USER};

/// An authority of the test's own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key for a server of these names, or for a user.
    fn issue(&self, names: &[&str], user: &str) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, user);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// How an attempt to get in ends.
#[derive(Debug, PartialEq)]
enum Got {
    In,
    Refused,
    Retry,
}

fn attempt(options: &Options) -> (Got, String) {
    match PostgresSink::open("postgres", options.clone()) {
        Ok(_) => (Got::In, String::new()),
        Err(error) => {
            let text = format!("{error} {error:?}");
            assert!(
                !text.contains(PASSWORD) && !text.contains("p%40ss"),
                "{text}"
            );
            match SinkError::from(error) {
                SinkError::Retry(_) => (Got::Retry, text),
                _ => (Got::Refused, text),
            }
        }
    }
}

#[test]
fn every_sslmode_means_what_libpq_says() {
    let temp = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (ca, wrong) = (
        file(temp.path(), "ca", &ours.pem),
        file(temp.path(), "wrong", &other.pem),
    );
    // The certificate is for another name than the address that is used below.
    let named = Server::with(&Wanted {
        tls: Some(ours.issue(&["localhost"], "server")),
        ..Wanted::default()
    });
    let plain = Server::start();
    use Got::{In, Refused};
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    for (mode, root, host, wanted) in [
        (Disable, None, "127.0.0.1", Refused),
        (Prefer, None, "127.0.0.1", In),
        (Require, None, "127.0.0.1", In),
        (Require, Some(&ca), "127.0.0.1", In),
        (Require, Some(&wrong), "127.0.0.1", Refused),
        (VerifyCa, Some(&ca), "127.0.0.1", In),
        (VerifyCa, Some(&wrong), "127.0.0.1", Refused),
        (VerifyCa, None, "127.0.0.1", Refused),
        (VerifyFull, Some(&ca), "localhost", In),
        (VerifyFull, Some(&ca), "127.0.0.1", Refused),
        (VerifyFull, Some(&wrong), "localhost", Refused),
    ] {
        let options = named.options().server(host, named.port()).tune(|o| {
            (o.sslmode, o.sslrootcert) = (mode, root.cloned());
        });
        let (got, text) = attempt(&options);
        assert_eq!(got, wanted, "{mode:?} {root:?} {host}: {text}");
        if got == In {
            let asked = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                WHERE a.application_name = 'emberlog test' AND NOT s.ssl";
            assert_eq!(named.ask(asked), "0", "{mode:?} without TLS");
        }
    }
    // A server without TLS.
    for (mode, wanted) in [
        (Disable, In),
        (Prefer, In),
        (Require, Refused),
        (VerifyFull, Refused),
    ] {
        let (got, text) = attempt(&plain.options().tune(|o| {
            (o.sslmode, o.sslrootcert) = (mode, Some(ca.clone()));
        }));
        assert_eq!(got, wanted, "{mode:?}: {text}");
    }
    // Files that are none.
    let empty = file(temp.path(), "empty", "");
    for path in [empty, temp.path().join("missing")] {
        let options = named.options().tune(|o| {
            (o.sslmode, o.sslrootcert) = (VerifyFull, Some(path.clone()));
        });
        let (got, text) = attempt(&options);
        assert_eq!(got, Refused);
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_server_may_ask_for_a_certificate() {
    let temp = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let server = Server::with(&Wanted {
        tls: Some(ours.issue(&["localhost"], "server")),
        client_ca: Some(ours.pem.clone()),
        ..Wanted::default()
    });
    let with = |(cert, key): (String, String), name: &str| {
        let cert = file(temp.path(), &format!("{name}.crt"), &cert);
        let key = file(temp.path(), &format!("{name}.key"), &key);
        server.options().tune(|o| {
            o.sslmode = SslMode::Require;
            (o.sslcert, o.sslkey) = (Some(cert), Some(key));
        })
    };
    assert_eq!(attempt(&with(ours.issue(&[], USER), "good")).0, Got::In);
    for (wrong, name) in [
        (ours.issue(&[], "somebody"), "somebody"),
        (Authority::new().issue(&[], USER), "foreign"),
    ] {
        let (got, text) = attempt(&with(wrong, name));
        assert_ne!(got, Got::In, "{name}: {text}");
    }
    let without = server.options().tune(|o| o.sslmode = SslMode::Require);
    assert_ne!(attempt(&without).0, Got::In);
}

#[test]
fn passwords_come_from_url_file_or_field() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::with(&Wanted {
        scram: true,
        ..Wanted::default()
    });
    let port = server.port();
    let url = format!("postgresql://{USER}:p%40ss%20w0rd%2F%25@127.0.0.1:{port}/{DATABASE}");
    assert_eq!(attempt(&Options::from_url(&url).unwrap()).0, Got::In);
    assert_eq!(attempt(&server.options()).0, Got::In);
    let passfile = file(
        temp.path(),
        "pass",
        &format!("127.0.0.1:{port}:*:{USER}:{PASSWORD}\n"),
    );
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&passfile, private).unwrap();
    let url = format!(
        "postgresql://{USER}@127.0.0.1:{port}/{DATABASE}?passfile={}",
        passfile.display()
    );
    assert_eq!(attempt(&Options::from_url(&url).unwrap()).0, Got::In);
    let (got, text) = attempt(&server.options().login(USER, "wrong"));
    assert_eq!(got, Got::Refused);
    assert!(text.contains("28P01"), "{text}");
    let (got, text) = attempt(&server.options().tune(|o| o.password = None));
    assert_eq!(got, Got::Refused, "{text}");
    let (got, text) = attempt(
        &server
            .options()
            .database("nope'\"; DROP DATABASE telemetry; --"),
    );
    assert_eq!(got, Got::Refused);
    assert!(text.contains("3D000"), "{text}");
    let (got, _) = attempt(&server.options_at(support::free_port()));
    assert_eq!(got, Got::Retry);
}

#[test]
fn a_wrong_password_pauses_and_the_right_one_goes_on_where_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let server = Server::with(&Wanted {
        scram: true,
        ..Wanted::default()
    });
    let options = server.options();
    let manager = manager(dir);
    let first = tail(dir, &options, |_| ());
    record(&manager, 5);
    manager.flush().unwrap();
    first.export(end(dir), LONG).unwrap();
    let delivered = first.stats().position;
    drop(first);
    record(&manager, 5);
    manager.flush().unwrap();
    let refused = tail(dir, &options.clone().login(USER, "hunter2-secret"), |_| ());
    until("it is refused", || {
        refused.stats().state == TailState::Paused
    });
    let stats = refused.stats();
    assert_eq!((stats.position, stats.quarantined), (delivered, 0));
    let shown = format!("{stats:?}");
    assert!(
        shown.contains("28P01") && !shown.contains("hunter2"),
        "{shown}"
    );
    drop(refused);
    let second = tail(dir, &options, |_| ());
    second.export(end(dir), LONG).unwrap();
    assert_arrived(dir, &options);
}

#[test]
fn nobody_sees_the_password() {
    let secret = "hunter2-canary";
    let temp = tempfile::tempdir().unwrap();
    let server = Server::with(&Wanted {
        scram: true,
        ..Wanted::default()
    });
    let url = format!(
        "postgresql://{USER}:{secret}@127.0.0.1:{}/{DATABASE}",
        server.port()
    );
    let options = Options::from_url(&url).unwrap().tune(|o| {
        o.connect_timeout = Duration::from_secs(2);
    });
    let backend = BackendConfig::postgres(options.clone());
    let mut config = Config::new(temp.path().join("log")).backend(backend);
    config.shutdown_timeout = Duration::from_millis(200);
    let mut seen = vec![format!("{options:?} {config:?}")];
    let manager = emberlog::Manager::open(config).unwrap();
    record(&manager, 1);
    until("it is refused", || {
        manager.stats().backends[0].state == TailState::Paused
    });
    seen.push(format!("{:?}", manager.stats()));
    let error = manager.export(Duration::from_millis(100)).unwrap_err();
    seen.push(format!("{error} {error:?}"));
    seen.push(format!("{:?}", manager.shutdown()));
    for bad in [
        "?sslmode=x",
        "?foo=1",
        "?max_size=0",
        "?port=x",
        "?table_prefix=%22",
    ] {
        let error = Options::from_url(&format!("{url}{bad}")).unwrap_err();
        seen.push(format!("{error} {error:?}"));
    }
    let session = "SELECT string_agg(query || application_name, ' ') FROM pg_stat_activity";
    seen.push(server.ask(session));
    for text in seen {
        assert!(!text.contains("canary"), "{text}");
    }
}

/// Host, port, user and so on from a file, the password from the environment.
#[test]
fn a_configuration_from_a_file_and_the_environment_delivers() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::with(&Wanted {
        scram: true,
        ..Wanted::default()
    });
    let parameters: Vec<(String, emberlog::Value)> = vec![
        ("host".into(), "127.0.0.1".into()),
        ("port".into(), i64::from(server.port()).into()),
        ("user".into(), USER.into()),
        ("database".into(), DATABASE.into()),
    ];
    let file = emberlog::Value::Map(vec![
        ("enabled".into(), true.into()),
        (
            "dir".into(),
            temp.path().join("log").to_str().unwrap().into(),
        ),
        ("backend".into(), "postgresql".into()),
        ("backend_config".into(), emberlog::Value::Map(parameters)),
    ]);
    let config = Config::from_value(&file).unwrap();
    let config = config
        .vars([("EMBERLOG_POSTGRESQL_PASSWORD", PASSWORD)])
        .unwrap();
    let manager = emberlog::Manager::open(config).unwrap();
    record(&manager, 3);
    manager.export(LONG).unwrap();
    assert_eq!(server.count("traces"), 3);
}

/// Each of these queries needs a connection for as long as the server sleeps.
#[test]
fn a_query_says_when_the_pool_is_exhausted_and_a_larger_one_serves() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let log = load::manager(temp.path());
    let tail = load::tail(temp.path(), &server.options(), |_| ());
    record(&log, 1);
    log.flush().unwrap();
    tail.export(load::end(temp.path()), LONG).unwrap();
    drop(tail);
    let answers = |max_size: u32| {
        let options = server.options().tune(|o| {
            o.pool_timeout = Duration::from_millis(300);
            (o.min_size, o.max_size) = (max_size, max_size);
        });
        let reader = PostgresReader::open(options).unwrap();
        // All connections are there before the server sleeps.
        let (asked, answered) = std::sync::mpsc::channel();
        let connected =
            "pg_stat_activity WHERE application_name = 'emberlog test' AND state = 'idle'";
        until("the pool is filled", || {
            reader.traces(&emberlog::Filter::new()).unwrap();
            server.count(connected) >= u64::from(max_size)
        });
        std::thread::scope(|scope| {
            server.pause();
            for _ in 0..2 {
                let (reader, asked) = (&reader, asked.clone());
                scope.spawn(move || {
                    let answer = reader.traces(&emberlog::Filter::new());
                    asked.send(answer.map(|rows| rows.len())).unwrap();
                });
            }
            // One of two is turned away while the server sleeps; with two connections none is.
            let first = (max_size == 1).then(|| answered.recv().unwrap());
            server.go_on();
            let rest = answered.iter().take(2 - usize::from(first.is_some()));
            first.into_iter().chain(rest).collect::<Vec<_>>()
        })
    };
    let one = answers(1);
    let error = one[0].as_ref().unwrap_err();
    let error = format!("{error} {}", std::error::Error::source(error).unwrap());
    assert!(
        error.contains("max_pool_size is 1, pool_timeout 300ms"),
        "{error}"
    );
    assert_eq!(*one[1].as_ref().unwrap(), 1);
    for answer in answers(2) {
        assert_eq!(answer.unwrap(), 1);
    }
}
