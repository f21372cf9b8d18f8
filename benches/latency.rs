//! How long single records take: quantiles up to the worst one in ten thousand, beside the
//! reference loop, in turns of 4,096 records each.
//!
//! ```text
//! cargo bench --bench latency                   # 2,000 turns each
//! cargo bench --bench latency -- --rounds 200
//! ```
//!
//! Each record is timed on its own, so every row has a third clock reading in it. Ours are read by
//! the flusher meanwhile; the second reference shows what being read costs the one who writes.

use std::time::Duration;

use emberlog::{Config, Manager, Overflow, StaticName};

mod common;
use common::{option, quantile, Reference};

static NAME: StaticName = StaticName::new("bench");
static KEY: StaticName = StaticName::new("bench.key");
const TURN: usize = 4096;

/// Name, what is done, nanoseconds of each.
type Row = (&'static str, Box<dyn FnMut()>, Vec<f64>);

fn main() {
    let rounds = option("--rounds", 2_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config::new(dir.path()).ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(1),
        };
    });
    let manager = Manager::open(config).expect("a fresh log");
    let run = manager.start_trace(&NAME);
    let mut reference = Reference::new();
    let mut rows: Vec<Row> = Vec::new();
    rows.push((
        "reference",
        Box::new(move || reference.record()),
        Vec::new(),
    ));
    let mut drained = Reference::drained();
    rows.push((
        "reference, read by another thread",
        Box::new(move || drained.record()),
        Vec::new(),
    ));
    let r = run.clone();
    rows.push(("span", Box::new(move || r.span(&NAME).ok()), Vec::new()));
    let r = run.clone();
    let attributes = move || {
        r.span(&NAME)
            .with(&KEY, 1)
            .with(&KEY, 2.5)
            .with(&KEY, true)
            .ok()
    };
    rows.push(("span, 3 attributes", Box::new(attributes), Vec::new()));
    let r = run.clone();
    rows.push((
        "event",
        Box::new(move || r.event(&NAME, &NAME).record()),
        Vec::new(),
    ));
    let r = run.clone();
    rows.push((
        "metric",
        Box::new(move || r.metric(&NAME).gauge(1.0)),
        Vec::new(),
    ));

    let clock = quanta::Clock::new();
    for round in 0..rounds + 2 {
        for (_, record, times) in &mut rows {
            let mut ticks = [0u32; TURN];
            for tick in &mut ticks {
                let begin = clock.raw();
                record();
                *tick = (clock.raw() - begin).min(u64::from(u32::MAX)) as u32;
            }
            if round >= 2 {
                let ns = |ticks: &u32| clock.delta_as_nanos(0, u64::from(*ticks)) as f64;
                times.extend(ticks.iter().map(ns));
            }
            manager.flush().expect("flushed");
        }
    }
    println!(
        "{:<34} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}   ratio of p99.9",
        "one record, ns", "p50", "p90", "p99", "p99.9", "p99.99", "max"
    );
    let mut base = 0.0;
    for (name, _, times) in &mut rows {
        times.sort_by(f64::total_cmp);
        let at = |share| quantile(times, share);
        if base == 0.0 {
            base = at(0.999);
        }
        println!(
            "{name:<34} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>10.0}   {:.2}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(0.9999),
            at(1.0),
            at(0.999) / base
        );
    }
    println!("lost {}", manager.stats().dropped_count);
    run.ok();
}
