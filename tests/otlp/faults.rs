//! Receivers that fail: what arrives, how often, and what is said about it.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use emberlog::{
    backend::otlp::{Options, Signal},
    tail::{TailState, TailStats},
    Config, Manager,
};

use crate::receiver::{failed, http::Receiver, Act, Shared};

const LONG: Duration = Duration::from_secs(60);

fn options(receiver: &Receiver) -> Options {
    Options::new()
        .environment([("NOT", "used")])
        .endpoint(receiver.url())
        .timeout(Duration::from_secs(5))
        .only(&[Signal::Traces])
}

fn open(dir: &Path, options: Options) -> Manager {
    let mut config = Config::new(dir.join("log")).otlp(options);
    config.ring.dir = Some(dir.join("rings"));
    // Only what is asked for is sent, so that counts are exact.
    config.export_interval = Duration::ZERO;
    Manager::open(config).unwrap()
}

fn record(manager: &Manager, spans: u64) {
    let run = manager.start_trace("run");
    for n in 0..spans {
        run.span(format!("span-{n}").as_str()).with("n", n).ok();
    }
    run.ok();
}

fn stats(manager: &Manager) -> TailStats {
    manager.stats().backends.remove(0)
}

/// How often each span arrived.
fn counts(receiver: &Shared) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in receiver.stored().spans() {
        *counts.entry(span.name).or_insert(0) += 1;
    }
    counts
}

fn assert_each(receiver: &Shared, spans: usize, times: usize) {
    let counts = counts(receiver);
    assert_eq!(counts.len(), spans);
    assert!(counts.values().all(|count| *count == times), "{counts:?}");
}

#[test]
fn what_is_worth_another_try_is_tried_until_it_is_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let acts = [
        Act::status(503),
        Act::status(429),
        Act::status(502),
        Act::status(504),
        Act::DropBefore,
        Act::Garbage,
    ];
    let tries = acts.len();
    receiver.script(acts);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 10);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 11, 1);
    assert_eq!(receiver.stored().seen.len(), tries + 1);
    let stats = stats(&manager);
    assert_eq!((stats.errors, stats.retries), (tries as u64, tries as u64));
    assert_eq!(
        (stats.delivered, stats.quarantined, stats.rejected),
        (12, 0, 0)
    );
    assert_eq!(stats.state, TailState::Running);
}

#[test]
fn an_answer_that_is_lost_costs_one_batch_twice_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::DropAfter]);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 10);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 11, 2);
    record(&manager, 3);
    manager.export(LONG).unwrap();
    assert_eq!(receiver.stored().taken.len(), 3);
}

#[test]
fn a_receiver_that_hangs_is_left_after_the_timeout_and_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::Hang, Act::Hang]);
    let manager = open(
        dir.path(),
        options(&receiver).timeout(Duration::from_millis(200)),
    );
    record(&manager, 10);
    manager.export(LONG).unwrap();
    // The recording thread and the flusher go on while the sink hangs.
    receiver.script([Act::Hang]);
    record(&manager, 10);
    manager.flush().unwrap();
    manager.export(LONG).unwrap();
    assert_eq!(receiver.stored().spans().len(), 22);
    let text = stats(&manager).last_error.unwrap();
    assert!(text.contains("no answer in time"), "{text}");
}

#[test]
fn both_forms_of_retry_after_are_waited_for_whoever_is_in_a_hurry() {
    // Without the header somebody who waits is served within a second.
    let seconds = |_: &mut Instant| "2".to_owned();
    let date = |not_before: &mut Instant| {
        // A date has whole seconds.
        *not_before += Duration::from_secs(3);
        httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4))
    };
    let forms: [fn(&mut Instant) -> String; 2] = [seconds, date];
    for (n, form) in forms.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        let manager = open(dir.path(), options(&receiver));
        let mut not_before = Instant::now();
        let headers = vec![("retry-after", form(&mut not_before))];
        receiver.script([Act::Refuse(429, headers, String::new())]);
        record(&manager, 1);
        manager.export(LONG).unwrap();
        let seen = receiver.stored().seen.clone();
        assert_eq!(seen.len(), 2);
        if n == 0 {
            not_before = seen[0].at + Duration::from_secs(2);
        }
        assert!(seen[1].at >= not_before, "{:?}", seen[1].at - seen[0].at);
        assert_each(&receiver, 2, 1);
    }
}

#[test]
fn partial_success_is_counted_and_never_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::Partial(3, "too old"), Act::Partial(0, "deprecated")]);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 10);
    manager.export(LONG).unwrap();
    let first = stats(&manager);
    assert_eq!((first.rejected, first.errors), (3, 0));
    assert!(first
        .last_error
        .unwrap()
        .contains("3 rejected for good: too old"));
    record(&manager, 1);
    manager.export(LONG).unwrap();
    let second = stats(&manager);
    assert_eq!(
        (second.rejected, second.last_error.as_deref()),
        (3, Some("deprecated"))
    );
    assert_eq!(receiver.stored().seen.len(), 2);
}

#[test]
fn a_poison_span_is_put_aside_and_all_others_arrive_once() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.poison("span-37");
    let mut options = options(&receiver);
    // Several requests per batch: what was taken before the blame must not come again.
    options.max_request_bytes = 1 << 12;
    let manager = open(dir.path(), options);
    record(&manager, 100);
    manager.export(LONG).unwrap();
    let counts = counts(&receiver);
    assert_eq!(counts.len(), 100, "all but one of 100 and the root");
    assert!(!counts.contains_key("span-37"));
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    let stats = stats(&manager);
    assert_eq!((stats.quarantined, stats.state), (1, TailState::Running));
    let aside = std::fs::read_to_string(dir.path().join("log/aside/otlp-traces.jsonl")).unwrap();
    assert!(
        aside.contains("span-37") && aside.contains("cannot be decoded"),
        "{aside}"
    );
}

#[test]
fn requests_that_are_too_large_are_halved_and_that_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.largest(4000);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 200);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 201, 1);
    let refused = |receiver: &Receiver| {
        let seen = &receiver.stored().seen;
        seen.iter().filter(|seen| seen.bytes > 4000).count()
    };
    let first = refused(&receiver);
    assert!((1..10).contains(&first), "{first}");
    record(&manager, 200);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 201, 2);
    assert_eq!(refused(&receiver), first, "it was not remembered");
    assert_eq!(stats(&manager).errors, 0);
}

#[test]
fn one_span_that_is_larger_than_any_request_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.largest(4000);
    let manager = open(dir.path(), options(&receiver));
    let run = manager.start_trace("run");
    run.span("large")
        .with("text", "x".repeat(8000).as_str())
        .ok();
    run.span("small").ok();
    run.ok();
    manager.export(LONG).unwrap();
    assert_each(&receiver, 2, 1);
    assert_eq!(stats(&manager).quarantined, 1);
}

#[test]
fn refused_credentials_and_wrong_addresses_pause_it_with_its_cursor_kept() {
    for status in [401, 403, 404, 301, 500] {
        let dir = tempfile::tempdir().unwrap();
        let receiver = Receiver::start();
        receiver.otherwise(Some(Act::status(status)));
        let manager = open(dir.path(), options(&receiver));
        record(&manager, 10);
        manager.export(Duration::from_millis(500)).unwrap_err();
        let paused = failed(&manager);
        assert_eq!(paused.state, TailState::Paused, "{status}: {paused:?}");
        assert_eq!((paused.quarantined, paused.delivered), (0, 0));
        assert!(paused.last_error.unwrap().contains(&status.to_string()));
        receiver.otherwise(None);
        manager.export(LONG).unwrap();
        assert_each(&receiver, 11, 1);
    }
}

#[test]
fn garbage_behind_a_success_is_a_success_and_a_web_page_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::Answer(
        "application/x-protobuf",
        b"\xff\xff\xff".to_vec(),
    )]);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 1);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 2, 1);
    assert!(stats(&manager).last_error.unwrap().contains("not OTLP"));
    // A sign-in page answers 200 as well.
    let page = Act::Answer("text/html; charset=utf-8", b"<html>sign in".to_vec());
    receiver.script([page]);
    record(&manager, 1);
    manager.export(LONG).unwrap();
    assert_eq!(stats(&manager).errors, 1);
    assert_eq!(receiver.stored().taken.len(), 3);
}

#[test]
fn an_answer_without_end_is_cut_at_four_mebibytes() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    receiver.script([Act::Refuse(503, Vec::new(), "x".repeat(5 << 20))]);
    let manager = open(dir.path(), options(&receiver));
    record(&manager, 1);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 2, 1);
    let text = stats(&manager).last_error.unwrap();
    assert!(text.len() < 1000, "{}", text.len());
}

#[test]
fn nobody_there_is_tried_again_until_somebody_is() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = Options::new()
        .environment([("NOT", "used")])
        .endpoint(format!("http://{address}"))
        .only(&[Signal::Traces]);
    let manager = open(dir.path(), options);
    record(&manager, 10);
    let begun = Instant::now();
    manager.export(Duration::from_millis(300)).unwrap_err();
    assert!(begun.elapsed() < LONG);
    assert_eq!(stats(&manager).delivered, 0);
    let receiver = Receiver::on(std::net::TcpListener::bind(address).unwrap(), None);
    manager.export(LONG).unwrap();
    assert_each(&receiver, 11, 1);
}

#[test]
fn no_secret_is_shown_also_when_everything_fails() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let echo = "denied: Bearer canary-token for me:canary-password".to_owned();
    receiver.otherwise(Some(Act::Refuse(401, Vec::new(), echo)));
    let address = format!(
        "http://me:canary-password@127.0.0.1:{}/?k=canary-query",
        receiver.port
    );
    let mut options = options(&receiver)
        .endpoint(address)
        .header("x-token", "Bearer canary-token");
    options.traces.headers.set("x-signal", "canary-signal");
    let config = Config::new(dir.path().join("log")).otlp(options.clone());
    let mut shown = format!("{options:?} {options:#?} {config:?}");
    let manager = open(dir.path(), options);
    record(&manager, 1);
    let error = manager.export(Duration::from_millis(300)).unwrap_err();
    failed(&manager);
    shown.push_str(&format!("{error} {error:?} {:?}", manager.stats()));
    drop(manager);
    // And with nobody there.
    let options = Options::new()
        .endpoint("http://me:canary-password@127.0.0.1:1/?k=canary-query")
        .header("x-token", "canary-token");
    let manager = open(dir.path(), options);
    let error = manager.export(Duration::from_millis(300)).unwrap_err();
    failed(&manager);
    shown.push_str(&format!("{error} {error:?} {:?}", manager.stats()));
    assert!(shown.contains("127.0.0.1"), "{shown}");
    assert!(!shown.contains("canary-token"), "{shown}");
    assert!(!shown.contains("canary-query"), "{shown}");
    assert!(!shown.contains("canary-signal"), "{shown}");
    let of_user = "Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk";
    assert!(!shown.contains(of_user), "{shown}");
    assert!(!shown.contains("canary-password"), "{shown}");
    let sent = receiver.stored().seen[0].headers.clone();
    assert_eq!(sent["authorization"], of_user);
    assert_eq!(sent["x-token"], "Bearer canary-token");
}
