//! The memory backend holds the newest rows, no more than it may, and counts the others.

use std::{path::Path, time::Duration};

use emberlog::{
    backend::{
        memory::{MemoryStore, Options},
        Scan,
    },
    BackendConfig, Config, Filter, Manager, TraceId,
};

const LONG: Duration = Duration::from_secs(60);

fn open(dir: &Path, store: &MemoryStore) -> Manager {
    Manager::open(Config::new(dir).backend(BackendConfig::memory(store))).unwrap()
}

/// The numbers of all events that are there, the newest first.
fn numbers(store: &MemoryStore) -> Vec<i64> {
    let mut all = Filter::new().all();
    all.recorded_only = true;
    let events = store.events(&all).unwrap().into_iter();
    let number = |event: emberlog::Event| event.attributes.get("n").unwrap().as_i64().unwrap();
    events.map(number).collect()
}

#[test]
fn beyond_its_rows_the_oldest_go_first_and_are_counted() {
    let temp = tempfile::tempdir().unwrap();
    let store = MemoryStore::new(Options {
        max_rows: 100,
        max_bytes: usize::MAX,
    });
    let manager = open(temp.path(), &store);
    let mut traces: Vec<TraceId> = Vec::new();
    for n in 0..500i64 {
        let run = manager.start_trace("run");
        traces.extend(run.trace_id());
        run.event("my.own", "happened").with("n", n).record();
        run.ok();
        // In several batches.
        if n % 120 == 0 {
            manager.export(LONG).unwrap();
        }
    }
    manager.export(LONG).unwrap();
    let stats = store.stats();
    // A start, an event and an end each.
    assert_eq!((stats.rows as u64, stats.evicted), (100, 3 * 500 - 100));
    // 33 whole traces, and the end of the one before.
    let newest: Vec<i64> = (467..500).rev().collect();
    assert_eq!(numbers(&store), newest);
    let rows = |trace: TraceId| {
        let filter = Filter::new().all().trace_id(trace);
        (
            store.traces(&filter).unwrap().len(),
            store.spans(&filter).unwrap().len(),
        )
    };
    assert_eq!(rows(traces[499]).0, 1);
    assert_eq!(rows(traces[0]), (0, 0));
    // What is forgotten on purpose does not count.
    store.clear();
    assert_eq!(
        (store.stats().rows, store.stats().evicted),
        (0, stats.evicted)
    );
    // The log still has all of it.
    assert_eq!(
        manager.query_traces(&Filter::new().all()).unwrap().len(),
        500
    );
}

#[test]
fn beyond_its_bytes_the_oldest_go_first_and_are_counted() {
    const BYTES: usize = 1 << 20;
    let temp = tempfile::tempdir().unwrap();
    let store = MemoryStore::new(Options {
        max_rows: usize::MAX,
        max_bytes: BYTES,
    });
    let manager = open(temp.path(), &store);
    let text = "x".repeat(10_000);
    for n in 0..400i64 {
        let event = manager.event("my.own", "happened").with("n", n);
        event.with("text", text.as_str()).record();
        // A ring holds fewer of them.
        if n % 20 == 0 {
            manager.flush().unwrap();
        }
    }
    manager.export(LONG).unwrap();
    let stats = store.stats();
    assert!(stats.bytes <= BYTES, "{stats:?}");
    // As many as there is room for, and no fewer.
    assert!(stats.bytes > BYTES - 20_000, "{stats:?}");
    assert_eq!(stats.rows as u64 + stats.evicted, 400);
    let there = numbers(&store);
    assert_eq!(there.len(), stats.rows);
    let newest: Vec<i64> = (400 - stats.rows as i64..400).rev().collect();
    assert_eq!(there, newest);
}
