//! Sinks that fail.

use std::time::{Duration, Instant};

use super::support::*;
use crate::{
    backend::SinkError,
    tail::{ExportError, Options, Tail, TailState},
};

#[test]
fn what_fails_is_tried_again_in_order() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store
        .get()
        .script
        .extend([Act::Retry, Act::Retry, Act::Retry]);
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(10);
    tail.export(end, LONG).unwrap();
    let stats = tail.stats();
    assert_eq!(store.get().rows, (0..10).collect::<Vec<_>>());
    assert_eq!(
        (stats.errors, stats.retries, stats.state),
        (3, 3, TailState::Running)
    );
    assert_eq!(stats.last_error.as_deref(), Some("busy"));
}

#[test]
fn the_breaker_opens_and_closes_and_attempts_become_rare() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store.get().always = Some(Act::Retry);
    let rare = Options {
        retry_min: Duration::from_millis(4),
        retry_max: Duration::from_millis(200),
        ..options()
    };
    let tail = start(dir.path(), &log, &store, rare);
    log.append(10);
    eventually("down", || tail.stats().state == TailState::Down);
    std::thread::sleep(Duration::from_millis(300));
    let before = store.get().writes;
    // Work goes on arriving, nudged by every flush.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        log.append(10);
        tail.nudge();
        std::thread::sleep(Duration::from_millis(1));
    }
    let attempts = store.get().writes - before;
    // Eight in half a second, which may have become more on a busy machine.
    let most = 8 + begun.elapsed().as_millis() as u64 / 62;
    assert!(attempts <= most, "{attempts} attempts");
    store.get().always = None;
    tail.export(log.end(), LONG).unwrap();
    assert_eq!(tail.stats().state, TailState::Running);
    let rows = store.get().rows.clone();
    assert_eq!(rows, (0..rows.len() as u64).collect::<Vec<_>>());
}

#[test]
fn an_unknown_outcome_is_asked_for_before_sending_again() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    store.get().script.push_back(Act::TakeAndFail);
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(10);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().writes, 1);
    assert_eq!(tail.stats().delivered, 10);
    assert_eq!(store.get().rows.len(), 10);
}

#[test]
fn a_poison_row_is_put_aside_and_the_rest_proceeds() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store.get().poison = vec![0, 13, 14, 63];
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(64);
    tail.export(end, LONG).unwrap();
    let wanted: Vec<u64> = (0..64).filter(|n| ![0, 13, 14, 63].contains(n)).collect();
    assert_eq!(store.get().rows, wanted);
    let stats = tail.stats();
    assert_eq!(
        (stats.quarantined, stats.delivered, stats.state),
        (4, 60, TailState::Running)
    );
    let aside = std::fs::read_to_string(dir.path().join("aside/fake.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 4);
    assert!(aside.contains(r#""error":"cannot store this""#) && aside.contains(r#""sequence":13"#));
    assert!(
        aside.contains(r#""name":"m63""#) && aside.contains(r#""to":"1:640""#),
        "{aside}"
    );
    // Few more attempts than halving needs.
    assert!(store.get().writes < 60, "{}", store.get().writes);
}

#[test]
fn poison_and_failures_together_lose_and_repeat_nothing() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    store.get().poison = (0..200).filter(|n| n % 7 == 3).collect();
    for _ in 0..40 {
        store
            .get()
            .script
            .extend([Act::Sleep(Duration::ZERO), Act::Retry, Act::TakeAndFail]);
    }
    let tail = start(dir.path(), &log, &store, options());
    for _ in 0..20 {
        log.append(10);
    }
    tail.export(log.end(), LONG).unwrap();
    let wanted: Vec<u64> = (0..200).filter(|n| n % 7 != 3).collect();
    assert_eq!(store.get().rows, wanted);
    let aside = std::fs::read_to_string(dir.path().join("aside/fake.jsonl")).unwrap();
    assert_eq!(aside.lines().count(), 200 - wanted.len());
}

#[test]
fn a_refusal_pauses_visibly_and_keeps_the_place() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store.get().always = Some(Act::Refuse);
    let tail = start(dir.path(), &log, &store, options());
    // Before anything is recorded.
    eventually("paused", || tail.stats().state == TailState::Paused);
    let end = log.append(10);
    let error = tail.export(end, Duration::from_millis(50)).unwrap_err();
    assert!(error.to_string().contains("paused") && error.to_string().contains("wrong password"));
    store.get().always = None;
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows.len(), 10);
}

#[test]
fn a_sink_that_cannot_be_opened_is_opened_later() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let (mut left, inner) = (3, store.clone());
    let open = move || {
        left -= 1;
        match left {
            2 => Err(SinkError::Retry("no such host".into())),
            1 => panic!("while opening"),
            _ => Ok(inner.sink()),
        }
    };
    let tail = Tail::start(dir.path(), log.clone(), open, options()).unwrap();
    let end = log.append(10);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows.len(), 10);
    assert_eq!(tail.stats().errors, 2);
}

#[test]
fn a_panic_is_caught_and_the_sink_made_again() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store.get().script.push_back(Act::Panic);
    let patient = Options {
        retry_min: Duration::from_millis(300),
        retry_max: Duration::from_millis(300),
        ..options()
    };
    let tail = start(dir.path(), &log, &store, patient);
    let end = log.append(10);
    eventually("failed", || tail.stats().state == TailState::Failed);
    assert!(tail.stats().last_error.unwrap().contains("sink on fire"));
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows.len(), 10);
    let (opened, met) = {
        let store = store.get();
        (store.opened, store.met)
    };
    assert_eq!((opened, met), (2, 2));
    assert_eq!(tail.stats().state, TailState::Running);
}

#[test]
fn what_retention_removed_is_counted() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    store.get().always = Some(Act::Retry);
    let tail = start(dir.path(), &log, &store, options());
    log.append(10);
    log.append(10);
    let floor = log.append(10);
    let end = log.append(5);
    eventually("an attempt", || store.get().writes > 0);
    drop(tail);
    log.remove_before(floor);
    store.get().always = None;
    let tail = start(dir.path(), &log, &store, options());
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows, (30..35).collect::<Vec<_>>());
    assert_eq!(
        (tail.stats().lost_to_retention, tail.stats().delivered),
        (30, 5)
    );
    drop(tail);
    // It is remembered.
    assert_eq!(
        start(dir.path(), &log, &store, options())
            .stats()
            .lost_to_retention,
        30
    );
}

#[test]
fn exporting_to_a_stopped_tail_says_so() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let tail = std::sync::Arc::new(start(dir.path(), &log, &store, options()));
    let waiting = {
        let tail = tail.clone();
        std::thread::spawn(move || tail.export(at(1_000), LONG))
    };
    std::thread::sleep(Duration::from_millis(50));
    // The last handle is in the other thread; stop through the shared state as shutdown does.
    tail.stop_for_test();
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, ExportError::Stopped { .. }), "{error}");
}
