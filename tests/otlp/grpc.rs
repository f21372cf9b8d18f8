//! The same over gRPC: what arrives, what its codes mean, TLS on both sides.

use std::{collections::BTreeMap, path::Path, time::Duration};

use emberlog::{
    backend::otlp::{Compression, Options, Protocol, Signal},
    tail::{TailState, TailStats},
    Config, Manager,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::receiver::{
    failed,
    grpc::{Receiver, Tls},
    Act, Shared,
};

const LONG: Duration = Duration::from_secs(60);

fn options(receiver: &Receiver) -> Options {
    Options::new()
        .environment([("NOT", "used")])
        .endpoint(receiver.url())
        .protocol(Protocol::Grpc)
        .timeout(Duration::from_secs(5))
}

fn open(dir: &Path, options: Options) -> Manager {
    let mut config = Config::new(dir.join("log")).otlp(options);
    config.ring.dir = Some(dir.join("rings"));
    config.export_interval = Duration::ZERO;
    Manager::open(config).unwrap()
}

fn record(manager: &Manager, spans: u64) {
    let run = manager.start_trace("run");
    for n in 0..spans {
        run.span(format!("span-{n}").as_str()).with("n", n).ok();
    }
    run.event("an.event", "e").record();
    run.metric("hits").counter(spans);
    run.ok();
}

fn stats(manager: &Manager) -> TailStats {
    manager.stats().backends.remove(0)
}

fn assert_each(receiver: &Shared, spans: usize, times: usize) {
    let mut counts = BTreeMap::new();
    for span in receiver.stored().spans() {
        *counts.entry(span.name).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), spans);
    assert!(counts.values().all(|count| *count == times), "{counts:?}");
}

#[test]
fn all_three_signals_arrive_with_their_headers_compressed_or_not() {
    for compression in [Compression::None, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let options = options(&receiver)
            .header("X-Key", "k")
            .compression(compression);
        let manager = open(dir.path(), options);
        record(&manager, 10);
        manager.export(LONG).unwrap();
        assert_each(&receiver, 11, 1);
        let stored = receiver.stored();
        assert_eq!((stored.logs().len(), stored.metrics().len()), (1, 1));
        assert!(stored.seen.iter().all(|seen| seen.headers["x-key"] == "k"));
    }
}

#[test]
fn only_the_codes_that_the_specification_lists_are_tried_again_soon() {
    // Code, state after it: 1 cancelled, 4 deadline, 8 exhausted, 10 aborted, 11 out of range,
    // 14 unavailable, 15 data loss; 2 unknown, 5 not found, 7 denied, 12 unimplemented, 13
    // internal, 16 unauthenticated.
    for code in [1, 4, 10, 11, 14, 15, 2, 5, 7, 8, 12, 13, 16] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        receiver.otherwise(Some(Act::status(code)));
        let manager = open(dir.path(), options(&receiver).only(&[Signal::Traces]));
        record(&manager, 1);
        manager.export(Duration::from_millis(300)).unwrap_err();
        let paused = !matches!(code, 1 | 4 | 10 | 11 | 14 | 15);
        let state = failed(&manager).state;
        assert_eq!(state == TailState::Paused, paused, "{code}: {state}");
        receiver.otherwise(None);
        manager.export(LONG).unwrap();
        assert_each(&receiver, 2, 1);
    }
}

#[test]
fn retry_info_is_waited_for_whoever_is_in_a_hurry() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let headers = vec![("retry-after", "2".to_owned())];
    receiver.script([Act::Refuse(429, headers, String::new())]);
    let manager = open(dir.path(), options(&receiver).only(&[Signal::Traces]));
    record(&manager, 1);
    manager.export(LONG).unwrap();
    let seen = receiver.stored().seen.clone();
    assert_eq!(seen.len(), 2);
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_each(&receiver, 2, 1);
}

#[test]
fn partial_success_hangs_and_lost_answers() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::Hang, Act::DropAfter, Act::Partial(2, "too old")]);
    let options = options(&receiver).only(&[Signal::Traces]);
    let manager = open(dir.path(), options.timeout(Duration::from_millis(300)));
    record(&manager, 10);
    manager.export(LONG).unwrap();
    // Once without an answer, once for good.
    assert_each(&receiver, 11, 2);
    let stats = stats(&manager);
    assert_eq!((stats.rejected, stats.errors, stats.quarantined), (2, 2, 0));
}

#[test]
fn messages_that_are_too_large_are_halved_and_a_poison_span_is_put_aside() {
    // By the words of grpc-go, and by tonic's own limit.
    for tonic_limit in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::with(None, if tonic_limit { 4000 } else { 4 << 20 });
        if !tonic_limit {
            receiver.largest(4000);
        }
        receiver.poison("span-37");
        let manager = open(dir.path(), options(&receiver).only(&[Signal::Traces]));
        record(&manager, 200);
        manager.export(LONG).unwrap();
        assert_each(&receiver, 200, 1);
        assert_eq!(stats(&manager).quarantined, 1);
    }
}

/// Certificate and key for `name`.
fn issue(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn tls_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (servers, clients) = (authority(), authority());
    let (certificate, key) = issue(&servers, "localhost");
    let tls = Tls {
        certificate,
        key,
        clients: Some(clients.pem()),
    };
    let receiver = Receiver::with(Some(tls), 4 << 20);
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = issue(&clients, "client");
    let mut right = options(&receiver)
        .endpoint(format!("https://localhost:{}", receiver.port))
        .only(&[Signal::Traces]);
    right.all.certificate = Some(file("ca.pem", &servers.pem()));
    let mut wrong = right.clone();
    wrong.all.certificate = Some(file("other.pem", &clients.pem()));
    let without = right.clone();
    right.all.client_certificate = Some(file("c.pem", &certificate));
    right.all.client_key = Some(file("k.pem", &key));
    for (n, bad) in [wrong, without].into_iter().enumerate() {
        let manager = open(&dir.path().join(n.to_string()), bad);
        record(&manager, 1);
        manager.export(Duration::from_millis(700)).unwrap_err();
        assert_eq!(receiver.stored().spans().len(), 0);
        let stats = failed(&manager);
        assert!(stats.last_error.is_some());
        if n == 0 {
            assert_eq!(stats.state, TailState::Paused, "{stats:?}");
        }
    }
    let manager = open(&dir.path().join("right"), right);
    record(&manager, 1);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 2, 1);
}
