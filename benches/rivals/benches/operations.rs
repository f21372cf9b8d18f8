//! Each recording call and each query on its own, with Criterion's statistics: for following one
//! figure from commit to commit. What to compare with what is in `hot_path`, in one run.
//!
//! ```text
//! cargo bench --manifest-path benches/rivals/Cargo.toml
//! cargo bench --manifest-path benches/rivals/Cargo.toml -- query
//! ```

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{criterion_group, criterion_main, BatchSize, Criterion};
use emberlog::{
    query::{
        filter::{Filter, Order},
        LogReader,
    },
    Config, Manager, Overflow, StaticName,
};

static NAME: StaticName = StaticName::new("bench");
static A: StaticName = StaticName::new("bench.a");
static B: StaticName = StaticName::new("bench.b");
static C: StaticName = StaticName::new("bench.c");

fn manager(dir: &tempfile::TempDir) -> Manager {
    let config = Config::new(dir.path()).ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(1),
        };
    });
    Manager::open(config).expect("a fresh log")
}

/// Calls `work` in bursts that fit into the ring, and times those alone: Criterion asks for millions
/// of calls, so otherwise the disk would be measured.
fn bursts(manager: &Manager, calls: u64, mut work: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = calls;
    while left > 0 {
        let burst = left.min(256);
        let begin = Instant::now();
        for _ in 0..burst {
            work();
        }
        total += begin.elapsed();
        left -= burst;
        manager.flush().expect("flushed");
    }
    total
}

fn record(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = manager(&dir);
    let run = manager.start_trace(&NAME);
    let disabled = Manager::disabled().start_trace(&NAME);
    let mut steps = run.steps();
    let mut group = c.benchmark_group("record");
    let mut add = |name: &str, work: &mut dyn FnMut()| {
        group.bench_function(name, |b| {
            b.iter_custom(|calls| bursts(&manager, calls, &mut *work));
        });
    };
    add("span", &mut || run.span(&NAME).ok());
    add("span with 3 attributes", &mut || {
        let span = run.span(&NAME).with(&A, black_box(7)).with(&B, 1.5);
        span.with(&C, true).ok();
    });
    add("step", &mut || steps.enter(&NAME));
    add("event with 3 fields", &mut || {
        let event = run.event(&NAME, &NAME).with(&A, black_box(7));
        event.with(&B, 1.5).with(&C, true).record();
    });
    add("metric", &mut || run.metric(&NAME).gauge(black_box(1.0)));
    add("trace with 8 nodes", &mut || {
        let run = manager.start_trace(&NAME);
        for _ in 0..8 {
            run.node(&NAME).ok();
        }
        run.ok();
    });
    add("disabled span", &mut || {
        black_box(&disabled).span(&NAME).ok()
    });
    group.finish();
    steps.ok();
    run.ok();
}

fn query(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = manager(&dir);
    let mut ids = Vec::new();
    for _ in 0..100_000 {
        let run = manager.start_trace(&NAME);
        ids.extend(run.trace_id());
        for _ in 0..8 {
            run.node(&NAME).ok();
        }
        run.ok();
    }
    manager.shutdown().expect("a closed log");
    let reader = LogReader::open(dir.path()).expect("a log");
    let mut group = c.benchmark_group("query 800,000 spans");
    let mut next = 0;
    group.bench_function("trace by id", |b| {
        b.iter_batched(
            || {
                next += 7919;
                ids[next % ids.len()]
            },
            |id| reader.trace(id).expect("readable"),
            BatchSize::SmallInput,
        );
    });
    for order in [Order::Newest, Order::Slowest] {
        let filter = Filter::new().order(order).limit(10);
        group.bench_function(format!("{order:?} 10 spans"), |b| {
            b.iter(|| reader.spans(&filter).expect("readable"));
        });
        group.bench_function(format!("{order:?} 10 traces"), |b| {
            b.iter(|| reader.traces(&filter).expect("readable"));
        });
    }
    group.finish();
}

criterion_group!(benches, record, query);
criterion_main!(benches);
