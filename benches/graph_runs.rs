//! What recording costs a graph runtime: runs of 8 nodes with 2 attributes each, recording off and
//! on in turns, for several lengths of a node.
//!
//! ```text
//! cargo bench --bench graph_runs                  # 1, 2, 5, 10, 50 us nodes, a minute
//! cargo bench --bench graph_runs -- --rounds 20
//! cargo bench --bench graph_runs -- --observed    # the same through an observer
//! cargo bench --bench graph_runs -- --threads 2   # so many do it at once
//! cargo bench --bench graph_runs --features sqlite -- --sqlite    # with a backend
//! ```
//!
//! A round does the same work with recording off, then on, and the other way round in the next.
//! Wall is that of the threads that work; CPU is that of the process until everything is logged, and
//! with a backend until everything is there.

use std::{
    hint::black_box,
    path::Path,
    thread,
    time::{Duration, Instant},
};

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

/// What the bench was told.
struct Plan {
    observed: bool,
    sqlite: bool,
    threads: u64,
    rounds: u64,
}

impl Plan {
    fn read() -> Self {
        let flag = |name: &str| std::env::args().any(|arg| arg == name);
        Self {
            observed: flag("--observed"),
            sqlite: flag("--sqlite"),
            threads: option("--threads", 1).max(1),
            rounds: option("--rounds", 100),
        }
    }

    fn config(&self, dir: &Path) -> Config {
        let config = Config::new(dir.join("log"));
        #[cfg(feature = "sqlite")]
        if self.sqlite {
            return config.sqlite(dir.join("spans.db"));
        }
        assert!(!self.sqlite, "--sqlite needs --features sqlite");
        config
    }
}

fn main() {
    let plan = Plan::read();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = Manager::open(plan.config(dir.path())).expect("a fresh log");
    let observer = Observer::new(&manager, "bench");
    let ids = [
        "read", "decode", "split", "count", "hash", "rank", "join", "store",
    ];
    let nodes: [Node; NODES as usize] = ids.map(|id| observer.node(id));
    let work = |recorded: bool, runs: u64, turns: u64| {
        for seed in 0..runs {
            if !recorded {
                bare(turns, seed);
            } else if plan.observed {
                let run = observer.start();
                observed(&run, &nodes, turns, seed);
                run.ok();
            } else {
                let run = manager.start_trace(&RUN);
                graph(&run, turns, seed);
                run.ok();
            }
        }
    };
    let arrive = || {
        manager.flush().expect("flushed");
        if plan.sqlite {
            manager.export(Duration::from_secs(60)).expect("exported");
        }
    };
    let per_us = calibrate();
    println!(
        "{}{}, {} thread{}; overhead in per cent: median (10th to 90th percentile of {} pairs)",
        match plan.observed {
            true => "observed runs of 8 nodes, graph and root included",
            false => "runs of 8 nodes with 2 attributes, root included",
        },
        if plan.sqlite { ", to SQLite" } else { "" },
        plan.threads,
        if plan.threads == 1 { "" } else { "s" },
        plan.rounds
    );
    for us in [1u64, 2, 5, 10, 50, 100, 1000] {
        let turns = (per_us * us as f64) as u64;
        // About 20 ms of work per half.
        let runs = (20_000 / (NODES * us)).max(1);
        let (mut wall, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..plan.rounds + 3 {
            let mut halves = [(0.0, 0.0); 2];
            for half in [round % 2, 1 - round % 2] {
                let (before, begin) = (process_cpu(), Instant::now());
                if plan.threads == 1 {
                    work(half == 1, runs, turns);
                } else {
                    thread::scope(|scope| {
                        for _ in 0..plan.threads {
                            scope.spawn(|| work(half == 1, runs, turns));
                        }
                    });
                }
                let took = begin.elapsed();
                arrive();
                let used = process_cpu() - before;
                halves[half as usize] = (took.as_secs_f64(), used.as_secs_f64());
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
            "nodes of {us:>4} us: wall {}   process CPU {}",
            show(&mut wall),
            show(&mut cpu)
        );
    }
    println!("lost {}", manager.stats().dropped_count);
}
