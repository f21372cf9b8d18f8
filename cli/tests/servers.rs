//! `export`, `migrate` and `analyze` with real servers: PostgreSQL, and receivers over HTTP and gRPC,
//! with and without TLS.
#![cfg(unix)]

mod common;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[path = "../../tests/support/otlp/mod.rs"]
mod receiver;

use std::{fs, path::Path, sync::Arc};

use common::{
    ask, emberlog,
    moving::{beside, dump, export, lines, migrate, segment_more, url},
    Log, Said,
};
use postgres::{Server, Wanted, DATABASE, PASSWORD, USER};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use receiver::{grpc, http, Shared};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    RootCertStore, ServerConfig,
};

/// Views with everything that is in a SQLite database.
const VIEWS: [&str; 5] = [
    "trace_details",
    "span_details",
    "event_details",
    "metric_details",
    "links",
];

fn postgresql(server: &Server, database: &str) -> String {
    format!("postgresql://{USER}@127.0.0.1:{}/{database}", server.port())
}

fn assert_same(left: &Path, right: &Path) {
    for view in VIEWS {
        let all = format!("SELECT * FROM {view} ORDER BY 1, 2, 3");
        assert_eq!(dump(left, &all), dump(right, &all), "{view}");
    }
}

#[test]
fn a_database_moves_to_postgresql_and_back_with_everything_that_is_in_it() {
    let log = Log::sample();
    // More than a page of each.
    segment_more(&log, 2_500);
    let server = Server::start();
    let (old, new) = (beside(&log, "old.db"), beside(&log, "new.db"));
    let records = export(&log, &["--to", &url("sqlite", &old)])["records"].clone();
    assert!(records.as_u64() > Some(5_000), "{records}");
    server.fresh("plain");
    server.fresh("other");
    let plain = postgresql(&server, "plain");
    // Into the documented tables, from there into partitions under other names, and back to SQLite.
    let parts =
        postgresql(&server, "other") + "?partitions=daily&table_prefix=a_&write_derived=true";
    let (from, state) = (url("sqlite", &old), beside(&log, "state"));
    let state = ["--state", state.to_str().unwrap()];
    let moved = migrate(&from, &plain, &state);
    assert_eq!(
        (&moved["records"], &moved["duplicates"]),
        (&records, &0.into())
    );
    let moved = migrate(&plain, &parts, &state);
    assert_eq!(
        (&moved["records"], &moved["duplicates"]),
        (&records, &0.into())
    );
    let moved = migrate(&parts, &url("sqlite", &new), &state);
    assert_eq!(
        (&moved["records"], &moved["duplicates"]),
        (&records, &0.into())
    );
    assert_same(&old, &new);
    // Nothing is left to be moved; all of it again changes nothing.
    assert_eq!(migrate(&plain, &parts, &state)["records"], 0);
    let again = [&state[..], &["--again"]].concat();
    let moved = migrate(&plain, &url("sqlite", &new), &again);
    assert_eq!(
        (&moved["records"], &moved["duplicates"]),
        (&records, &records)
    );
    assert_same(&old, &new);
    for to in [&plain, &parts] {
        let moved = migrate(&url("sqlite", &new), to, &again);
        assert_eq!(
            (&moved["records"], &moved["duplicates"]),
            (&records, &records),
            "{to}"
        );
    }
    // To files.
    for scheme in ["jsonl", "perfetto", "otlp-file"] {
        let path = beside(&log, &format!("{scheme}.jsonl"));
        let moved = migrate(&plain, &url(scheme, &path), &state);
        assert_eq!(moved["quarantined"], 0, "{scheme}: {moved}");
        assert!(
            moved["records"].as_u64() >= records.as_u64(),
            "{scheme}: {moved}"
        );
    }
    let rows = lines(&beside(&log, "jsonl.jsonl")).len() as u64;
    assert_eq!(Some(rows), records.as_u64());
    common::call(&["migrate", "--from", &plain, "--to", &plain])
        .failed(2, "--from and --to are the same database");
}

/// Rows that somebody wrote by hand with the statements of the documents.
#[test]
fn rows_of_somebody_else_move_too() {
    let log = Log::sample();
    let server = Server::start();
    server.fresh("hand");
    let from = postgresql(&server, "hand");
    let sqlite = beside(&log, "new.db");
    export(&log, &["--to", &from, "--type", "nothing"]);
    assert_eq!(server.sql("hand", "SELECT count(*) FROM traces"), "0");
    server.sql(
        "hand",
        r#"INSERT INTO traces VALUES ('00000000-0000-0000-0000-0000000000aa', 'by hand',
             '2026-01-01 00:00:00.25+00', '2026-01-01 00:00:01+00', 0.75, 'completed', '{"a": 1}');
           INSERT INTO traces VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff', 'open',
             '2026-01-01 00:00:00+00', NULL, NULL, NULL, NULL);
           INSERT INTO spans VALUES ('00000000-0000-0000-0000-000000000007',
             '00000000-0000-0000-0000-0000000000aa', NULL, 'node', 'INTERNAL',
             '2026-01-01 00:00:00.5+00', '2026-01-01 00:00:01+00', 0.5, 'failed', '{"n": [1, null]}');
           INSERT INTO events VALUES ('00000000-0000-0000-0000-000000000008',
             '00000000-0000-0000-0000-0000000000aa', NULL, 'node_failed', 'it failed',
             '2026-01-01 00:00:01+00', '{}');
           INSERT INTO metrics VALUES ('00000000-0000-0000-0000-000000000009', NULL, 'cost', 0.25,
             'usd', 'counter', '2026-01-01 00:00:01+00', '{}');"#,
    );
    let state = beside(&log, "state");
    let state = ["--state", state.to_str().unwrap()];
    let moved = migrate(&from, &url("sqlite", &sqlite), &state);
    // Two starts, an end, and three rows.
    assert_eq!(
        (&moved["records"], &moved["quarantined"]),
        (&6.into(), &0.into()),
        "{moved}"
    );
    let count = |sql: &str| common::moving::count(&sqlite, sql);
    assert_eq!(
        count("SELECT count(*) FROM traces WHERE end_time IS NULL AND name = 'open'"),
        1
    );
    assert_eq!(
        count(
            "SELECT count(*) FROM trace_details WHERE name = 'by hand' AND status = 'ok' \
             AND start_ns = 1767225600250000000 AND end_ns = 1767225601000000000 \
             AND attributes ->> 'a' = 1"
        ),
        1
    );
    assert_eq!(
        count(
            "SELECT count(*) FROM spans WHERE span_id = '0000000000000007' AND status = 'error' \
             AND attributes ->> 'source.span_id' IS NOT NULL AND duration = 0.5"
        ),
        1
    );
    let ids = |table: &str, key: &str| {
        let ids = "SELECT count(*) FROM TABLE WHERE attributes ->> 'KEY' LIKE '0000000000000000000000000000000_'";
        count(&ids.replace("TABLE", table).replace("KEY", key))
    };
    assert_eq!(ids("events", "source.event_id"), 1);
    assert_eq!(ids("metrics", "source.metric_id"), 1);
}

/// What an analysis says, but for the moment at which it was made.
fn findings(said: &Said) -> serde_json::Value {
    let mut found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(found["report"]["total_spans"].as_u64() > Some(0), "{found}");
    found["period"] = serde_json::Value::Null;
    found["report"]["analysis_period"] = serde_json::Value::Null;
    found
}

#[test]
fn an_analysis_of_postgresql_is_that_of_the_log() {
    let log = Log::sample();
    let server = Server::with(&Wanted {
        scram: true,
        ..Wanted::default()
    });
    let to = postgresql(&server, DATABASE);
    let run = |args: &[&str], password: &str| -> Said {
        let mut command = emberlog();
        command.args(args).arg("--dir").arg(&log.dir);
        command.env("PGPASSWORD", password).env("PLACE", &to);
        command.output().unwrap().into()
    };
    let sent = run(&["export", "--json", "--to", "env:PLACE"], PASSWORD).object();
    assert_eq!(sent["records"], 50);
    let analyze = [
        "analyze",
        "--min-executions",
        "1",
        "--since",
        "all",
        "--json",
    ];
    let by_log = run(&analyze, PASSWORD);
    for from in ["env:PLACE", &to] {
        let by_server = run(&[&analyze[..], &["--from", from]].concat(), PASSWORD);
        assert_eq!(by_server.code, by_log.code, "{}", by_server.err);
        assert_eq!(findings(&by_server), findings(&by_log));
    }
    let refused = run(&["analyze", "--from", &to], "hunter2-canary");
    refused.failed(2, "28P01");
    assert!(!refused.err.contains("canary"), "{}", refused.err);
    let nothing = run(
        &["migrate", "--from", &to, "--to", "jsonl:x"],
        "hunter2-canary",
    );
    nothing.failed(2, "28P01");
    assert!(!nothing.err.contains("canary"), "{}", nothing.err);
}

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name` and its key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // Another one than the authority's, or it seems to have signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Files with the authority, a certificate of ours and its key; the options that name them.
    fn files(&self, dir: &Path, name: &str) -> Vec<String> {
        let (certificate, key) = self.issue(name);
        let mut args = Vec::new();
        for (option, pem) in [("ca", self.0.pem()), ("cert", certificate), ("key", key)] {
            let path = dir.join(format!("{option}.pem"));
            fs::write(&path, pem).unwrap();
            args.extend([format!("--{option}"), path.display().to_string()]);
        }
        args
    }

    /// A server's side of TLS that asks for our certificates.
    fn server(&self) -> Arc<ServerConfig> {
        use rustls::pki_types::pem::PemObject;
        let (certificate, key) = self.issue("localhost");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(chain, key);
        Arc::new(config.unwrap())
    }
}

/// Sends the log there, with these options and the header `x-key`; then once more, when nothing is
/// left. Without the certificates it is refused, if there are any.
fn assert_arrives(log: &Log, to: &str, options: &[String], shared: &Shared) {
    let run = |options: &[String]| -> Said {
        let args = ["export", "--json", "--retry-for", "100ms", "--to", to];
        let mut command = emberlog();
        command.args(args).args(options).arg("--dir").arg(&log.dir);
        command
            .args(["--header", "x-key=env:KEY"])
            .env("KEY", "hunter2-canary");
        command.env("SSL_CERT_FILE", "/nonexistent");
        command.output().unwrap().into()
    };
    if !options.is_empty() {
        // The authority alone is not enough where we are to say who we are.
        let refused = run(&options[..2]);
        assert_eq!(refused.code, Some(2), "{}", refused.out);
        assert!(!refused.err.contains("canary"), "{}", refused.err);
        assert_eq!(shared.stored().spans().len(), 0);
    }
    let first = run(options);
    assert!(
        first.object()["records"].as_u64() > Some(0),
        "{}",
        first.err
    );
    {
        let stored = shared.stored();
        // 20 that were recorded, and the roots of their traces.
        assert!(stored.spans().len() > 20 && !stored.metrics().is_empty());
        let key = |seen: &receiver::Seen| seen.headers.get("x-key").cloned();
        assert!(stored
            .seen
            .iter()
            .all(|seen| key(seen).as_deref() == Some("hunter2-canary")));
    }
    let requests = shared.stored().seen.len();
    assert_eq!(run(options).object()["records"], 0);
    assert_eq!(shared.stored().seen.len(), requests);
}

#[test]
fn receivers_with_and_without_tls_get_every_signal() {
    let authority = Authority::new();
    let tls = || {
        let (certificate, key) = authority.issue("localhost");
        grpc::Tls {
            certificate,
            key,
            clients: Some(authority.0.pem()),
        }
    };
    let with = |name: &str, port: u16, shared: &Shared, encrypted: bool| {
        let log = Log::sample();
        let options = match encrypted {
            true => authority.files(log.dir.parent().unwrap(), "us"),
            false => Vec::new(),
        };
        assert_arrives(
            &log,
            &format!("{name}://localhost:{port}"),
            &options,
            shared,
        );
    };
    let plain = grpc::Receiver::start();
    with("otlp+grpc", plain.port, &plain.shared, false);
    let secure = grpc::Receiver::with(Some(tls()), 4 << 20);
    with("otlp+grpcs", secure.port, &secure.shared, true);
    let secure = http::Receiver::with_tls(authority.server());
    with("otlp+https", secure.port, &secure.shared, true);
    let secure = http::Receiver::with_tls(authority.server());
    with("otlp+jsons", secure.port, &secure.shared, true);
}

#[test]
fn postgresql_over_tls_is_asked_who_it_is_and_asks_who_we_are() {
    let authority = Authority::new();
    let log = Log::sample();
    let server = Server::with(&Wanted {
        scram: true,
        tls: Some(authority.issue("localhost")),
        client_ca: Some(authority.0.pem()),
        ..Wanted::default()
    });
    let options = authority.files(log.dir.parent().unwrap(), USER);
    let to = format!("postgresql://{USER}@localhost:{}/{DATABASE}", server.port());
    let run = |options: &[String], more: &[&str]| -> Said {
        let mut command = emberlog();
        command.args(["export", "--json", "--retry-for", "100ms", "--to", &to]);
        command.args(options).args(more).arg("--dir").arg(&log.dir);
        command.env("PGPASSWORD", PASSWORD).output().unwrap().into()
    };
    let refused = run(&options[..2], &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.out);
    assert!(!refused.err.contains(PASSWORD), "{}", refused.err);
    assert_eq!(run(&options, &[]).object()["records"], 50);
    assert_eq!(run(&options, &[]).object()["records"], 0);
    assert_eq!(
        run(&options, &["--from-position", "0"]).object()["records"],
        50
    );
    assert_eq!(server.count("spans"), 20);
}

/// The directory that the demo writes goes to every scheme.
#[test]
fn the_log_of_the_demo_goes_to_every_server() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    let input = at.join("input");
    fs::create_dir_all(&input).unwrap();
    for number in 0..20 {
        fs::write(
            input.join(format!("{number}.txt")),
            "some words, and others",
        )
        .unwrap();
    }
    let mut command = emberlog();
    command.current_dir(at);
    command.args([
        "demo",
        "--input",
        "input",
        "--threads",
        "2",
        "--runs",
        "44",
        "--json",
    ]);
    let found = Said::from(command.output().unwrap()).object();
    let dir = at.join("emberlog-demo");
    let server = Server::start();
    let (http, json, grpc) = (
        http::Receiver::start(),
        http::Receiver::start(),
        grpc::Receiver::start(),
    );
    let database = postgresql(&server, DATABASE);
    let to = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let targets = [
        to("otlp+http", http.port),
        to("otlp+json", json.port),
        to("otlp+grpc", grpc.port),
        url("otlp-file", &at.join("lines.jsonl")),
        database.clone(),
    ];
    let spans = found["spans"].as_u64().unwrap();
    for target in &targets {
        let report = ask(&dir, &["export", "--json", "--to", target]).object();
        assert_eq!(report["quarantined"], 0, "{target}: {report}");
        assert!(
            report["spans"].as_u64() >= Some(spans),
            "{target}: {report}"
        );
    }
    for receiver in [&http.shared, &json.shared, &grpc.shared] {
        let stored = receiver.stored();
        let roots = found["traces"].as_u64().unwrap_or(0);
        assert!(
            stored.spans().len() as u64 >= spans + roots,
            "{}",
            stored.spans().len()
        );
    }
    assert_eq!(server.count("spans"), spans);
    // And its database moves to a server that has all of it.
    let from = url("sqlite", &dir.join("demo.db"));
    let moved = migrate(&from, &database, &[]);
    assert_eq!(moved["records"], found["sqlite_rows"]);
    assert_eq!(server.count("spans"), spans);
}
