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

use std::time::{Duration, Instant};

use emberlog::{Config, Manager, Overflow};

mod common;
use common::{
    operations::{operations, run, Operation},
    process_cpu,
};

/// Operations of one sample; fewer than fit into half a ring, so that no sample sees overflow.
const BURST: usize = 4096;

struct Row {
    operation: Operation,
    ns: Vec<f64>,
    cpu: Duration,
    calls: u32,
}

impl Row {
    /// Operations in a sample.
    fn count(&self) -> f64 {
        (BURST / self.operation.size) as f64
    }
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
    let run = run(&manager);
    let mut rows: Vec<Row> = operations(&manager, &run)
        .into_iter()
        .map(|operation| Row {
            operation,
            ns: Vec::new(),
            cpu: Duration::ZERO,
            calls: 0,
        })
        .collect();
    // `--only TEXT` keeps the reference and the rows whose names contain the text.
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--only") {
        let text = args.get(at + 1).cloned().unwrap_or_default();
        let mut number = 0;
        rows.retain(|row| {
            number += 1;
            number == 1 || row.operation.name.contains(&text)
        });
    }

    for round in 0..samples + 5 {
        for row in &mut rows {
            // The flusher's work for the last row must not be counted for this one.
            manager.flush().expect("flushed");
            let cpu = process_cpu();
            let begin = Instant::now();
            (row.operation.work)(BURST);
            let took = begin.elapsed();
            manager.flush().expect("flushed");
            if round >= 5 {
                row.ns.push(took.as_nanos() as f64 / row.count());
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
            row.operation.name,
            row.ns[0],
            middle,
            row.ns[row.ns.len() * 9 / 10],
            middle / reference,
            row.cpu.as_nanos() as f64 / f64::from(row.calls) / row.count(),
        );
    }
    println!("lost: {}", manager.stats().dropped_count);
    run.ok();
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
