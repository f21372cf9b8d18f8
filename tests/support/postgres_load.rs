//! Recording under trouble, and whether all of it arrived once.

#![allow(dead_code)] // each test file uses a part of it

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use emberlog::{
    backend::{
        postgres::{Options, PostgresReader, PostgresSink},
        Scan, Sink,
    },
    log::{Position, Snapshot},
    tail::{self, LogSource, Tail},
    Config, Filter, LogReader, Manager,
};

#[path = "tails.rs"]
mod tails;

pub const LONG: Duration = Duration::from_secs(120);

/// Whether the long versions are wanted.
pub fn deep() -> bool {
    std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1")
}

pub fn manager(dir: &Path) -> Manager {
    let config = Config::new(dir).custom("environment", "test");
    Manager::open(config.resource("service.name", "postgres test")).unwrap()
}

/// A tail that sends small batches soon and tries again soon.
pub fn tail(dir: &Path, options: &Options, tune: impl FnOnce(&mut tail::Options)) -> Tail {
    let mut of_tail = tail::Options::new("postgres");
    of_tail.export_interval = Duration::from_millis(5);
    of_tail.poll = Duration::from_millis(2);
    of_tail.retry_min = Duration::from_millis(10);
    of_tail.retry_max = Duration::from_millis(200);
    tune(&mut of_tail);
    tails::started(|| {
        let source = LogSource::open(dir).unwrap();
        let options = options.clone();
        let open = move || {
            let sink = PostgresSink::open("postgres", options.clone())?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        };
        Tail::start(dir, source, open, of_tail.clone())
    })
}

pub fn end(dir: &Path) -> Position {
    Snapshot::open(dir).unwrap().end()
}

/// Runs with something of every kind.
pub fn record(manager: &Manager, runs: u64) {
    for n in 0..runs {
        let run = manager.start_trace(["ingest", "answer"][(n % 2) as usize]);
        run.set("graph_id", "g1");
        for m in 0..4u64 {
            let mut span = run.node("step");
            span.set("node.id", format!("n{m}").as_str());
            span.set("tokens", n * 10);
            span.child("inner").ok();
            run.event("my.event", "happened").with("n", n).record();
            match m {
                3 => span.fail_with("ValueError", "bad\nthings"),
                _ => span.ok(),
            }
        }
        run.event("checkpoint", "saved").record();
        run.metric("cost").unit("usd").counter(0.25);
        if let Some(id) = run.trace_id() {
            run.link(id, None);
        }
        match n % 4 {
            0 => run.end(emberlog::Status::Error),
            _ => run.ok(),
        }
    }
}

/// Records beside `during`, and until at least `least` runs were made.
pub fn under_load<R>(manager: &Manager, least: u64, during: impl FnOnce() -> R) -> R {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut runs = 0;
            while !done.load(Ordering::Relaxed) || runs < least {
                record(manager, 1);
                runs += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Also when `during` panics, or nobody would ever see why.
        struct Done<'d>(&'d AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&done);
        during()
    })
}

/// One text per row that was recorded, sorted.
pub fn rows_of(store: &dyn Scan) -> Vec<String> {
    let mut all = Filter::new().all();
    all.recorded_only = true;
    let mut rows: Vec<String> = Vec::new();
    macro_rules! add {
        ($($query:ident)*) => {$(
            let found = store.$query(&all).unwrap();
            rows.extend(found.iter().map(|row| format!("{row:?}")));
        )*};
    }
    add!(traces spans events metrics links);
    rows.sort();
    rows
}

/// Everything in the log is in the database, once, and nothing else is.
#[track_caller]
pub fn assert_arrived(dir: &Path, options: &Options) -> usize {
    let log = rows_of(&LogReader::open(dir).unwrap());
    let database = rows_of(&PostgresReader::open(options.clone()).unwrap());
    assert!(!log.is_empty());
    let lost = log
        .iter()
        .filter(|row| database.binary_search(row).is_err());
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&String>::new(), "lost");
    assert_eq!(database.len(), log.len(), "more than once");
    log.len()
}
