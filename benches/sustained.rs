//! How many spans per second one thread can record when none may be lost, and what a span then
//! costs the whole process: recorded, checksummed, indexed and in the log.
//!
//! ```text
//! cargo bench --bench sustained                        # 5 rounds of 20 million spans
//! cargo bench --bench sustained -- --spans 2000000 --rounds 3
//! ```
//!
//! The log lies in the temporary directory (`TMPDIR` names another) and is removed at the end; a
//! round needs 64 bytes of disk per span.

use std::time::{Duration, Instant};

use emberlog::{Config, Manager, Overflow, StaticName};

mod common;
use common::{option, process_cpu, quantile};

static NAME: StaticName = StaticName::new("bench");

fn main() {
    let (spans, rounds) = (option("--spans", 20_000_000), option("--rounds", 5));
    let mut rates = Vec::new();
    let mut costs = Vec::new();
    for round in 0..rounds {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = Config::new(dir.path()).ring(|ring| {
            ring.overflow = Overflow::Block {
                timeout: Duration::from_secs(10),
            };
        });
        let manager = Manager::open(config).expect("a fresh log");
        let run = manager.start_trace(&NAME);
        run.span(&NAME).ok();
        manager.flush().expect("flushed");
        let (cpu, begin) = (process_cpu(), Instant::now());
        for _ in 0..spans {
            run.span(&NAME).ok();
        }
        manager.flush().expect("flushed");
        let took = begin.elapsed();
        let cpu = process_cpu() - cpu;
        run.ok();
        let stats = manager.stats();
        rates.push(spans as f64 / took.as_secs_f64() / 1e6);
        costs.push(cpu.as_nanos() as f64 / spans as f64);
        println!(
            "round {round}: {:.1} M spans/s, process CPU {:.1} ns per span, lost {}",
            rates[round as usize], costs[round as usize], stats.dropped_count
        );
        manager.shutdown().expect("closed");
    }
    rates.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    println!(
        "median {:.1} M spans/s, process CPU {:.1} ns per span (least {:.1})",
        quantile(&rates, 0.5),
        quantile(&costs, 0.5),
        costs[0]
    );
}
