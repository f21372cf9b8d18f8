//! What recording costs the thread that records, and the process: all in one interleaved run.
//!
//! ```text
//! cargo bench --bench hot_path            # about a minute
//! cargo bench --bench hot_path -- --quick # a few seconds
//! ```
//!
//! Each row is measured in turn, many times; printed are minimum, median and 90th percentile of
//! the nanoseconds per operation, the ratio of the medians to the reference loop, and the CPU of
//! the whole process per operation, flusher included.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use emberlog::{Config, Manager, Overflow, Run, StaticName};

mod common;
use common::{process_cpu, Reference};

static NAME: StaticName = StaticName::new("bench");
static KEY_A: StaticName = StaticName::new("bench.a");
static KEY_B: StaticName = StaticName::new("bench.b");
static KEY_C: StaticName = StaticName::new("bench.c");

/// Operations of one sample; fewer than fit into half a ring, so that no sample sees overflow.
const BURST: usize = 4096;

struct Row {
    name: &'static str,
    work: Box<dyn FnMut()>,
    /// Operations that one call of `work` does.
    operations: usize,
    ns: Vec<f64>,
    cpu: Duration,
    calls: u32,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let samples = if quick { 60 } else { 600 };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config::new(dir.path()).ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(1),
        };
    });
    let manager = Manager::open(config).expect("a fresh log");
    let run = manager.start_trace(&NAME);
    let mut rows = rows(&manager, &run);
    // `--only TEXT` keeps the reference and the rows whose names contain the text.
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--only") {
        let text = args.get(at + 1).cloned().unwrap_or_default();
        let mut number = 0;
        rows.retain(|row| {
            number += 1;
            number == 1 || row.name.contains(&text)
        });
    }

    for round in 0..samples + 5 {
        for row in &mut rows {
            // The flusher's work for the last row must not be counted for this one.
            manager.flush().expect("flushed");
            let cpu = process_cpu();
            let begin = Instant::now();
            (row.work)();
            let took = begin.elapsed();
            manager.flush().expect("flushed");
            if round >= 5 {
                row.ns.push(took.as_nanos() as f64 / row.operations as f64);
                row.cpu += process_cpu() - cpu;
                row.calls += 1;
            }
        }
    }

    let reference = median(&mut rows[0].ns);
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>7} {:>9}",
        "operation", "min ns", "median", "p90", "ratio", "CPU ns/op"
    );
    for row in &mut rows {
        let middle = median(&mut row.ns);
        println!(
            "{:<44} {:>8.1} {:>8.1} {:>8.1} {:>7.2} {:>9.1}",
            row.name,
            row.ns[0],
            middle,
            row.ns[row.ns.len() * 9 / 10],
            middle / reference,
            row.cpu.as_nanos() as f64 / f64::from(row.calls) / row.operations as f64,
        );
    }
    println!("lost: {}", manager.stats().dropped_count);
    run.ok();
}

fn rows(manager: &Manager, run: &Run) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut reference = Reference::new();
    let mut add = |name, operations, work: Box<dyn FnMut()>| {
        rows.push(Row {
            name,
            work,
            operations,
            ns: Vec::new(),
            cpu: Duration::ZERO,
            calls: 0,
        });
    };
    add(
        "reference: two clock reads, 64 bytes, publish",
        BURST,
        Box::new(move || {
            for _ in 0..BURST {
                reference.record();
            }
        }),
    );
    let r = run.clone();
    add(
        "span",
        BURST,
        Box::new(move || {
            for _ in 0..BURST {
                r.span(&NAME).ok();
            }
        }),
    );
    let r = run.clone();
    add(
        "span, 3 attributes",
        BURST,
        Box::new(move || {
            for i in 0..BURST as u64 {
                r.span(&NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .ok();
            }
        }),
    );
    let r = run.clone();
    add(
        "step (one clock read ends and begins)",
        BURST,
        Box::new(move || {
            let mut steps = r.steps();
            for _ in 0..BURST {
                steps.enter(&NAME);
            }
            steps.ok();
        }),
    );
    let r = run.clone();
    add(
        "event, 3 fields",
        BURST,
        Box::new(move || {
            for i in 0..BURST as u64 {
                r.event(&NAME, &NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .record();
            }
        }),
    );
    let r = run.clone();
    add(
        "metric",
        BURST,
        Box::new(move || {
            for i in 0..BURST {
                r.metric(&NAME).gauge(i as f64);
            }
        }),
    );
    let m = manager.clone();
    add(
        "trace with 8 spans, 2 attributes each",
        BURST / 8,
        Box::new(move || {
            for i in 0..BURST as u64 / 8 {
                let run = m.start_trace(&NAME);
                for _ in 0..8 {
                    run.node(&NAME).with(&KEY_A, i).with(&KEY_B, i).ok();
                }
                run.ok();
            }
        }),
    );
    let disabled = Manager::disabled().start_trace(&NAME);
    add(
        "disabled span",
        BURST,
        Box::new(move || {
            for _ in 0..BURST {
                black_box(&disabled).span(&NAME).ok();
            }
        }),
    );
    let disabled = Manager::disabled().start_trace(&NAME);
    add(
        "disabled span, 3 attributes",
        BURST,
        Box::new(move || {
            for i in 0..BURST as u64 {
                black_box(&disabled)
                    .span(&NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .ok();
            }
        }),
    );
    rows
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
