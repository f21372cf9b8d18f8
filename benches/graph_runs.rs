//! What recording costs a graph runtime: runs of 8 nodes with 2 attributes each, recording off and
//! on in turns, for several lengths of a node.
//!
//! ```text
//! cargo bench --bench graph_runs                  # 1, 2, 5, 10, 50 us nodes, a minute
//! cargo bench --bench graph_runs -- --rounds 20
//! cargo bench --bench graph_runs -- --observed    # the same through an observer
//! ```
//!
//! A round does the same work with recording off, then on, and the other way round in the next.
//! Wall is that of the thread that works; CPU is that of the process until everything is logged.

use std::{hint::black_box, time::Instant};

use emberlog::{
    instrument::{GraphRun, Node, Observer},
    Config, Manager, Run, StaticName,
};

mod common;
use common::{node, option, process_cpu, quantile};

static RUN: StaticName = StaticName::new("run");
static NODE: StaticName = StaticName::new("node");
static ITEMS: StaticName = StaticName::new("items");
static BYTES: StaticName = StaticName::new("bytes");
const NODES: u64 = 8;

/// One graph run by hand.
fn graph(run: &Run, turns: u64, seed: u64) {
    for step in 0..NODES {
        let span = run.node(&NODE);
        let result = node(turns, seed + step);
        span.with(&ITEMS, step).with(&BYTES, result).ok();
    }
}

/// One graph run as a runtime drives it that instruments its nodes by itself.
fn observed(run: &GraphRun, nodes: &[Node], turns: u64, seed: u64) {
    for (step, node_of) in (0..).zip(nodes) {
        let active = run.node(node_of);
        black_box(node(turns, seed + step));
        active.ok();
    }
}

/// The same without a line of instrumentation.
fn bare(turns: u64, seed: u64) {
    for step in 0..NODES {
        black_box(node(turns, seed + step));
    }
}

/// How many turns take one microsecond here.
fn calibrate() -> f64 {
    let mut best = f64::MAX;
    for _ in 0..50 {
        let begin = Instant::now();
        node(100_000, 7);
        best = best.min(begin.elapsed().as_nanos() as f64 / 100_000.0);
    }
    1000.0 / best
}

fn main() {
    let rounds = option("--rounds", 100);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = Manager::open(Config::new(dir.path())).expect("a fresh log");
    let observer = Observer::new(&manager, "bench");
    let ids = [
        "read", "decode", "split", "count", "hash", "rank", "join", "store",
    ];
    let nodes = ids.map(|id| observer.node(id));
    assert_eq!(nodes.len() as u64, NODES);
    let by_observer = std::env::args().any(|arg| arg == "--observed");
    let per_us = calibrate();
    let what = match by_observer {
        true => "observed runs of 8 nodes, graph and root included",
        false => "runs of 8 nodes with 2 attributes, root included",
    };
    println!("{what}; overhead in per cent: median (10th to 90th percentile of {rounds} pairs)");
    for us in [1u64, 2, 5, 10, 50] {
        let turns = (per_us * us as f64) as u64;
        // About 20 ms of work per half.
        let runs = 20_000 / (NODES * us);
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..rounds + 3 {
            let mut halves = [(0.0, 0.0); 2];
            for half in [round % 2, 1 - round % 2] {
                manager.flush().expect("flushed");
                let (cpu, begin) = (process_cpu(), Instant::now());
                for seed in 0..runs {
                    if half == 0 {
                        bare(turns, seed);
                    } else if by_observer {
                        let run = observer.start();
                        observed(&run, &nodes, turns, seed);
                        run.ok();
                    } else {
                        let run = manager.start_trace(&RUN);
                        graph(&run, turns, seed);
                        run.ok();
                    }
                }
                let took = begin.elapsed();
                manager.flush().expect("flushed");
                let cpu = process_cpu() - cpu;
                halves[half as usize] = (took.as_secs_f64(), cpu.as_secs_f64());
            }
            if round >= 3 {
                wall.push((halves[1].0 / halves[0].0 - 1.0) * 100.0);
                cpu.push((halves[1].1 / halves[0].1 - 1.0) * 100.0);
            }
        }
        let show = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            let at = |share| quantile(values, share);
            format!("{:6.2} ({:6.2} to {:6.2})", at(0.5), at(0.1), at(0.9))
        };
        println!(
            "nodes of {us:>2} us: wall {}   process CPU {}",
            show(&mut wall),
            show(&mut cpu)
        );
    }
    println!("lost {}", manager.stats().dropped_count);
}
