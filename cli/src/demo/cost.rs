//! What recording one node costs, without any work in it.
//!
//! In the rounds the cost of a span drowns in the noise of the work. Here runs are empty: only the
//! calls of the runtime are left, and the time that they take is the cost.

use std::time::{Duration, Instant};

use super::{
    graph::NODES,
    measure::{process_cpu, Spread},
    record::Engine,
    recorder::{Recorder, Steps},
};
use crate::failure::Failure;

/// Runs between two waits for the log: few enough that no ring fills up.
const RUNS: u64 = 1_000;
/// How long to measure.
const TIME: Duration = Duration::from_millis(800);

/// Cost of one recorded node, its share of its run's start and end included.
pub struct Cost {
    /// Nanoseconds on the thread that records.
    pub thread_ns: Spread,
    /// CPU nanoseconds of the whole process until the span is in the log.
    pub process_ns: Option<f64>,
}

/// Measures in a log of its own, in the temporary directory, which is deleted afterwards.
pub fn measure() -> Result<Cost, Failure> {
    let dir = std::env::temp_dir().join(format!("emberlog-demo-cost-{}", std::process::id()));
    std::fs::create_dir(&dir)
        .map_err(|e| Failure::because(format!("cannot create {}", dir.display()), &e))?;
    let cost = measure_in(&dir);
    // Created above, by this process, under a name that was free.
    let _ = std::fs::remove_dir_all(&dir);
    cost
}

fn measure_in(dir: &std::path::Path) -> Result<Cost, Failure> {
    let engine = Engine::open(dir)?;
    let nodes = RUNS * NODES.len() as u64;
    empty_runs(&engine); // The first pays for rings, files and names.
    engine.settle()?;
    let (mut batches, mut spans) = (Vec::new(), 0u64);
    let cpu = process_cpu();
    let begin = Instant::now();
    while begin.elapsed() < TIME {
        let start = Instant::now();
        empty_runs(&engine);
        batches.push(start.elapsed().as_nanos() as f64 / nodes as f64);
        spans += nodes;
        engine.settle()?;
    }
    let cpu = cpu
        .zip(process_cpu())
        .map(|(before, after)| after.saturating_sub(before));
    engine.close()?;
    let thread_ns =
        Spread::of(batches).ok_or_else(|| Failure::new("no time to measure the cost of a span"))?;
    Ok(Cost {
        thread_ns,
        process_ns: cpu.map(|cpu| cpu.as_nanos() as f64 / spans.max(1) as f64),
    })
}

fn empty_runs(engine: &Engine) {
    for number in 0..RUNS {
        engine.run("src/lib.rs", |steps| {
            for node in 0..NODES.len() {
                steps.enter(node);
                steps.counted(node, number);
            }
            None
        });
    }
}
