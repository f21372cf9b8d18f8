//! When what is sent.

use std::time::{Duration, Instant};

use super::support::*;
use crate::tail::{ExportError, Options, TailState};

#[test]
fn a_full_batch_goes_at_once() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let options = Options {
        export_interval: Duration::ZERO,
        ..options()
    };
    let tail = start(dir.path(), &log, &store, options);
    for _ in 0..9 {
        log.append(1);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(store.get().rows.is_empty());
    log.append(1);
    eventually("ten rows", || store.get().rows.len() == 10);
    assert_eq!(store.get().batches, [10]);
    // Whole frames, so a batch may have some more.
    log.append(4);
    log.append(25);
    eventually("the rest", || store.get().rows.len() == 39);
    assert_eq!(store.get().batches, [10, 29]);
    assert_eq!(store.get().rows, (0..39).collect::<Vec<_>>());
    eventually("progress", || tail.stats().position == log.end());
    assert_eq!(tail.stats().delivered, 39);
    assert_eq!(tail.stats().batches, 2);
    assert_eq!(store.get().met, 1);
}

#[test]
fn the_interval_sends_what_is_there() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    // Long enough for two calls, however busy the machine is.
    let interval = Duration::from_secs(1);
    let options = Options {
        export_interval: interval,
        ..options()
    };
    let _tail = start(dir.path(), &log, &store, options);
    let begun = Instant::now();
    log.append(1);
    log.append(1);
    eventually("two rows", || store.get().rows.len() == 2);
    assert!(begun.elapsed() >= interval, "{:?}", begun.elapsed());
    assert_eq!(store.get().batches, [2]);
}

#[test]
fn a_nudge_and_an_export_send_at_once() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let slow = Options {
        export_interval: Duration::from_secs(60),
        poll: Duration::from_secs(60),
        ..options()
    };
    let tail = start(dir.path(), &log, &store, slow.clone());
    std::thread::sleep(Duration::from_millis(50));
    log.append(3);
    tail.nudge();
    eventually("three rows", || store.get().rows.len() == 3);
    let end = log.append(2);
    let begun = Instant::now();
    assert_eq!(tail.export(end, LONG).unwrap(), end);
    assert!(begun.elapsed() < slow.poll / 2);
    assert_eq!(store.get().rows.len(), 5);
    // Nothing to wait for.
    assert_eq!(tail.export(end, Duration::ZERO).unwrap(), end);
    // A position that nobody wrote is not reached.
    let error = tail
        .export(at(100_000), Duration::from_millis(30))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(
            error,
            ExportError::Timeout {
                state: TailState::Running,
                ..
            }
        ),
        "{text}"
    );
}

#[test]
fn an_idle_tail_looks_only_at_the_end_of_the_log() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(30);
    tail.export(end, LONG).unwrap();
    eventually("a tenth of a second in which nothing is read", || {
        let before = log.pulls();
        std::thread::sleep(Duration::from_millis(100));
        log.pulls() == before
    });
}

#[test]
fn frames_without_rows_count_as_delivered() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::transactional(),
    );
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(0);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().writes, 0);
    let left = tail.shutdown(LONG);
    assert_eq!((left.position, left.records, left.ended), (end, 0, true));
    let cursor = crate::tail::cursor::list(dir.path()).unwrap();
    assert_eq!(cursor[0].place.unwrap().position, end);
}

#[test]
fn shutdown_delivers_what_is_there_and_says_what_is_not() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let slow_interval = Duration::from_secs(60);
    let slow = Options {
        export_interval: slow_interval,
        ..options()
    };
    let tail = start(dir.path(), &log, &store, slow.clone());
    let end = log.append(7);
    let left = tail.shutdown(LONG);
    assert_eq!((left.position, left.records, left.ended), (end, 0, true));
    assert_eq!(store.get().rows.len(), 7);
    store.get().always = Some(Act::Retry);
    let tail = start(dir.path(), &log, &store, slow);
    log.append(5);
    let begun = Instant::now();
    let left = tail.shutdown(Duration::from_millis(100));
    assert!(begun.elapsed() < slow_interval / 2);
    assert_eq!((left.position, left.records), (end, 5));
    assert!(left.last_error.unwrap().contains("busy"));
}

#[test]
fn a_hanging_sink_delays_nobody() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let hangs = Duration::from_secs(60);
    store.get().script.push_back(Act::Sleep(hangs));
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(10);
    let begun = Instant::now();
    let late = tail.export(end, Duration::from_millis(50));
    assert!(matches!(late, Err(ExportError::Timeout { .. })));
    let left = tail.shutdown(Duration::from_millis(50));
    assert!(!left.ended);
    assert!(begun.elapsed() < hangs / 2);
}

#[test]
fn a_cursor_has_one_tail() {
    let (dir, log, store) = (
        tempfile::tempdir().unwrap(),
        FakeLog::new(),
        FakeStore::default(),
    );
    let tail = start(dir.path(), &log, &store, options());
    let second = || {
        let store = store.clone();
        crate::tail::Tail::start(dir.path(), log.clone(), move || Ok(store.sink()), options())
    };
    assert!(second().is_err());
    drop(tail);
    assert!(second().is_ok());
}

#[test]
fn old_rows_are_deleted_from_the_backend() {
    // Only that it is asked for with the right time; the first round comes after a minute.
    let mut delivery = {
        let store = FakeStore::default();
        let dir = tempfile::tempdir().unwrap();
        let quarantine = super::super::quarantine::Quarantine::new(dir.path(), "x");
        let make = Box::new(move || Ok(store.sink()));
        super::super::delivery::Delivery::new(make, quarantine, Default::default())
    };
    assert_eq!(delivery.retain(17).unwrap(), 3);
}
