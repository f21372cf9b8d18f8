//! TLS and mTLS: the right certificates are accepted, wrong and missing ones refused visibly.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use emberlog::{
    backend::otlp::{Options, Signal},
    tail::TailState,
    Config, Manager,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
    RootCertStore, ServerConfig,
};

use crate::receiver::{failed, http::Receiver};

const LONG: Duration = Duration::from_secs(60);

/// An authority of our own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name` and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn file(&self, dir: &Path, name: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, self.0.pem()).unwrap();
        path
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// A receiver with a certificate for `name`; with `clients` it asks for theirs.
fn receiver(authority: &Authority, name: &str, clients: Option<&Authority>) -> Receiver {
    let (certificate, key) = authority.issue(name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider)
                .build()
                .unwrap(),
        ),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    Receiver::with_tls(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

fn options(receiver: &Receiver) -> Options {
    Options::new()
        .environment([("NOT", "used")])
        .endpoint(format!("https://localhost:{}", receiver.port))
        .timeout(Duration::from_secs(5))
        .only(&[Signal::Traces])
}

fn open(dir: &Path, options: Options) -> Manager {
    let mut config = Config::new(dir.join("log")).otlp(options);
    config.ring.dir = Some(dir.join("rings"));
    config.export_interval = Duration::ZERO;
    let manager = Manager::open(config).unwrap();
    manager.start_trace("run").ok();
    manager
}

fn assert_arrives(dir: &Path, receiver: &Receiver, options: Options) {
    open(dir, options).export(LONG).unwrap();
    assert_eq!(receiver.stored().spans().len(), 1);
}

/// Nothing arrives, the tail says why, and its cursor stays.
fn assert_refused(dir: &Path, receiver: &Receiver, options: Options, why: &[&str]) {
    let manager = open(dir, options);
    manager.export(Duration::from_millis(700)).unwrap_err();
    let stats = failed(&manager);
    assert_eq!(stats.state, TailState::Paused, "{stats:?}");
    let text = stats.last_error.unwrap().to_lowercase();
    assert!(why.iter().any(|why| text.contains(why)), "{text}");
    assert_eq!(receiver.stored().spans().len(), 0);
}

#[test]
fn a_server_with_a_certificate_of_the_given_authority_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let receiver = receiver(&authority, "localhost", None);
    let mut options = options(&receiver);
    options.all.certificate = Some(authority.file(dir.path(), "ca.pem"));
    assert_arrives(dir.path(), &receiver, options);
}

#[test]
fn a_server_of_another_authority_or_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let right = receiver(&authority, "localhost", None);
    let mut wrong_root = options(&right);
    wrong_root.all.certificate = Some(other.file(dir.path(), "other.pem"));
    assert_refused(
        dir.path(),
        &right,
        wrong_root,
        &["certificate", "unknownissuer"],
    );

    let dir = tempfile::tempdir().unwrap();
    let elsewhere = receiver(&authority, "elsewhere.example", None);
    let mut options = options(&elsewhere);
    options.all.certificate = Some(authority.file(dir.path(), "ca.pem"));
    assert_refused(dir.path(), &elsewhere, options, &["certificate", "name"]);
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new(), Authority::new());
    let receiver = receiver(&authority, "localhost", Some(&clients));
    let (certificate, key) = clients.issue("client");
    let (certificate_file, key_file) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    fs::write(&certificate_file, certificate.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let mut options = options(&receiver);
    options.all.certificate = Some(authority.file(dir.path(), "ca.pem"));
    options.all.client_certificate = Some(certificate_file);
    options.all.client_key = Some(key_file);
    assert_arrives(dir.path(), &receiver, options);
}

#[test]
fn a_server_that_asks_for_a_certificate_takes_nothing_without() {
    let dir = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new(), Authority::new());
    let receiver = receiver(&authority, "localhost", Some(&clients));
    let mut options = options(&receiver);
    options.all.certificate = Some(authority.file(dir.path(), "ca.pem"));
    let manager = open(dir.path(), options);
    manager.export(Duration::from_millis(700)).unwrap_err();
    assert_eq!(receiver.stored().spans().len(), 0);
    assert!(failed(&manager).last_error.is_some());
}

#[test]
fn a_file_that_is_missing_or_no_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let receiver = receiver(&authority, "localhost", None);
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing").unwrap();
    for (path, why) in [
        (dir.path().join("none.pem"), "none.pem"),
        (empty, "holds no certificate"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(&receiver);
        options.all.certificate = Some(path);
        assert_refused(dir.path(), &receiver, options, &[why]);
    }
}
