//! Ended anywhere, started again: each row once in a store that keeps positions.

use std::time::Duration;

use super::support::*;
use crate::{
    backend::Begin,
    log::Position,
    record::id::InstanceId,
    tail::{
        cursor::{self, CursorError},
        Options, TailState,
    },
};

fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *seed >> 33
}

#[test]
fn each_row_once_wherever_it_is_stopped() {
    for seed in 0..8 {
        let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
        let store = FakeStore::transactional();
        let mut seed = seed * 77 + 1;
        for _ in 0..15 {
            let options = Options {
                buffer_size: 1 + random(&mut seed) as usize % 20,
                export_interval: Duration::from_millis(1),
                ..options()
            };
            let tail = start(dir.path(), &log, &store, options);
            for _ in 0..random(&mut seed) % 6 {
                log.append(random(&mut seed) % 9);
                let act = match random(&mut seed) % 5 {
                    0 => Act::TakeAndFail,
                    1 => Act::Retry,
                    2 => Act::Sleep(Duration::from_millis(1)),
                    _ => continue,
                };
                store.get().script.push_back(act);
            }
            std::thread::sleep(Duration::from_millis(random(&mut seed) % 6));
            match random(&mut seed) % 3 {
                // The cursor file is lost: the store knows.
                0 => {
                    drop(tail);
                    eventually("the cursor is free", || {
                        match cursor::drop_cursor(dir.path(), "fake") {
                            Err(CursorError::Locked { .. }) => false,
                            other => other.is_ok(),
                        }
                    });
                }
                _ => drop(tail),
            }
        }
        let tail = start(dir.path(), &log, &store, options());
        tail.export(log.end(), LONG).unwrap();
        let rows = store.get().rows.clone();
        assert_eq!(rows, (0..rows.len() as u64).collect::<Vec<_>>());
        assert_eq!(log.end(), tail.stats().position);
    }
}

#[test]
fn a_store_that_lost_rows_gets_them_again() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    let tail = start(dir.path(), &log, &store, options());
    for _ in 0..5 {
        log.append(10);
    }
    tail.export(log.end(), LONG).unwrap();
    drop(tail);
    {
        // An older backup of it.
        let mut store = store.get();
        store.rows.truncate(20);
        store.position = Some(at(200));
    }
    let tail = start(dir.path(), &log, &store, options());
    eventually("all rows", || store.get().rows.len() == 50);
    {
        // While it runs, noticed at the next failure.
        let mut store = store.get();
        store.rows.clear();
        store.position = None;
        store.script.push_back(Act::Retry);
    }
    let end = log.append(1);
    tail.export(end, LONG).unwrap();
    eventually("all rows again", || store.get().rows.len() == 51);
    assert_eq!(store.get().rows, (0..51).collect::<Vec<_>>());
}

#[test]
fn an_export_right_after_a_start_waits_for_what_the_store_says() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    let tail = start(dir.path(), &log, &store, options());
    for _ in 0..5 {
        log.append(10);
    }
    tail.export(log.end(), LONG).unwrap();
    drop(tail);
    {
        // The cursor file says that everything is delivered; an older backup does not, and it is
        // some time until that is known.
        let mut store = store.get();
        store.rows.truncate(20);
        store.position = Some(at(200));
        store.slow_answer = Duration::from_millis(150);
    }
    let tail = start(dir.path(), &log, &store, options());
    assert_eq!(tail.stats().position, log.end());
    let nothing_yet = tail.export(log.end(), Duration::from_millis(10));
    assert!(nothing_yet.is_err());
    tail.export(log.end(), LONG).unwrap();
    assert_eq!(store.get().rows, (0..50).collect::<Vec<_>>());
}

#[test]
fn what_was_before_its_beginning_is_never_sent() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    let from_the_end = Options {
        begin: Begin::End,
        ..options()
    };
    log.append(10);
    let tail = start(dir.path(), &log, &store, from_the_end.clone());
    eventually("it runs", || tail.stats().state == TailState::Running);
    let end = log.append(5);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows, (10..15).collect::<Vec<_>>());
    drop(tail);
    // Not when the store lost everything, and not when nothing says any more how it began.
    for options in [from_the_end, options()] {
        {
            let mut store = store.get();
            store.rows.clear();
            store.position = None;
        }
        let tail = start(dir.path(), &log, &store, options);
        tail.export(log.end(), LONG).unwrap();
        assert_eq!(store.get().rows, (10..15).collect::<Vec<_>>());
    }
}

#[test]
fn a_store_that_has_the_position_of_another_copy_is_gone_over_again() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    let tail = start(dir.path(), &log, &store, options());
    for _ in 0..3 {
        log.append(10);
    }
    tail.export(log.end(), LONG).unwrap();
    drop(tail);
    // The same positions, other records: the other copy of the log wrote 20 and 21.
    {
        let mut store = store.get();
        store.rows = (0..10).chain([1000, 1001]).collect();
        store.instance = Some(InstanceId([5; 16]));
    }
    let tail = start(dir.path(), &log, &store, options());
    tail.export(log.end(), LONG).unwrap();
    let mut rows = store.get().rows.clone();
    rows.sort();
    assert_eq!(rows, (0..30).chain([1000, 1001]).collect::<Vec<_>>());
    assert!(tail.stats().last_error.unwrap().contains("was copied"));
    // Not over and over: a failure later does not begin it again.
    let writes = store.get().writes;
    store.get().script.push_back(Act::Retry);
    let end = log.append(1);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().writes, writes + 2);
}

#[test]
fn a_store_that_is_ahead_of_the_log_is_not_believed() {
    let (dir, log) = (tempfile::tempdir().unwrap(), FakeLog::new());
    let store = FakeStore::transactional();
    store.get().position = Some(Position {
        epoch: 7,
        offset: 5,
    });
    let tail = start(dir.path(), &log, &store, options());
    let end = log.append(10);
    tail.export(end, LONG).unwrap();
    assert_eq!(store.get().rows.len(), 10);
    let stats = tail.stats();
    assert_eq!(stats.state, TailState::Running);
    assert!(stats.last_error.unwrap().contains("past its end"));
}
