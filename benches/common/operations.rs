//! The calls whose cost is measured: in time by `hot_path`, in instructions by `instructions`.

use std::hint::black_box;

use emberlog::{instrument::Observer, Manager, Run, StaticName, TraceOptions};

use super::Reference;

static NAME: StaticName = StaticName::new("bench");
static KEY_A: StaticName = StaticName::new("bench.a");
static KEY_B: StaticName = StaticName::new("bench.b");
static KEY_C: StaticName = StaticName::new("bench.c");

/// The trace of all calls that need one.
pub fn run(manager: &Manager) -> Run {
    manager.start_trace(&NAME)
}

/// A call to measure.
pub struct Operation {
    pub name: &'static str,
    /// Does so many of them, a multiple of eight.
    pub work: Box<dyn FnMut(usize)>,
    /// What counts as one: eight where a trace of eight spans is meant.
    pub size: usize,
}

/// All of them, the reference first.
pub fn operations(manager: &Manager, run: &Run) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut add = |name, size, work: Box<dyn FnMut(usize)>| {
        operations.push(Operation { name, work, size });
    };
    let mut reference = Reference::new();
    add(
        "reference: two clock reads, 64 bytes, publish",
        1,
        Box::new(move |calls| {
            for _ in 0..calls {
                reference.record();
            }
        }),
    );
    let r = run.clone();
    add(
        "span",
        1,
        Box::new(move |calls| {
            for _ in 0..calls {
                r.span(&NAME).ok();
            }
        }),
    );
    let r = run.clone();
    add(
        "span, 3 attributes",
        1,
        Box::new(move |calls| {
            for i in 0..calls as u64 {
                r.span(&NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .ok();
            }
        }),
    );
    let graph = Observer::new(manager, "bench");
    let (node, observed) = (graph.node("bench"), graph.start());
    add(
        "observed node",
        1,
        Box::new(move |calls| {
            for _ in 0..calls {
                observed.node(&node).ok();
            }
        }),
    );
    let r = run.clone();
    add(
        "step (one clock read ends and begins)",
        1,
        Box::new(move |calls| {
            let mut steps = r.steps();
            for _ in 0..calls {
                steps.enter(&NAME);
            }
            steps.ok();
        }),
    );
    let r = run.clone();
    add(
        "event, 3 fields",
        1,
        Box::new(move |calls| {
            for i in 0..calls as u64 {
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
        1,
        Box::new(move |calls| {
            for i in 0..calls {
                r.metric(&NAME).gauge(i as f64);
            }
        }),
    );
    let m = manager.clone();
    add(
        "trace with 8 spans, 2 attributes each",
        8,
        Box::new(move |calls| {
            for i in 0..calls as u64 / 8 {
                let run = m.start_trace(&NAME);
                for _ in 0..8 {
                    run.node(&NAME).with(&KEY_A, i).with(&KEY_B, i).ok();
                }
                run.ok();
            }
        }),
    );
    let refused = TraceOptions::new().remote_sampled(false, None);
    let unsampled = manager.start_trace_with(&NAME, &refused);
    let r = unsampled.clone();
    add(
        "span of a trace that is not sampled",
        1,
        Box::new(move |calls| {
            for _ in 0..calls {
                black_box(&r).span(&NAME).ok();
            }
        }),
    );
    add(
        "that span, 3 attributes",
        1,
        Box::new(move |calls| {
            for i in 0..calls as u64 {
                black_box(&unsampled)
                    .span(&NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .ok();
            }
        }),
    );
    let m = manager.clone();
    add(
        "trace that is not sampled, 8 spans",
        8,
        Box::new(move |calls| {
            for _ in 0..calls / 8 {
                let run = m.start_trace_with(&NAME, &refused);
                for _ in 0..8 {
                    run.node(&NAME).ok();
                }
                run.ok();
            }
        }),
    );
    let disabled = Manager::disabled().start_trace(&NAME);
    add(
        "disabled span",
        1,
        Box::new(move |calls| {
            for _ in 0..calls {
                black_box(&disabled).span(&NAME).ok();
            }
        }),
    );
    let disabled = Manager::disabled().start_trace(&NAME);
    add(
        "disabled span, 3 attributes",
        1,
        Box::new(move |calls| {
            for i in 0..calls as u64 {
                black_box(&disabled)
                    .span(&NAME)
                    .with(&KEY_A, i)
                    .with(&KEY_B, 1.5)
                    .with(&KEY_C, true)
                    .ok();
            }
        }),
    );
    #[cfg(feature = "macros")]
    add(
        "#[trace] function, nothing configured",
        1,
        Box::new(move |calls| {
            for i in 0..calls as u64 {
                black_box(traced(black_box(i)));
            }
        }),
    );
    operations
}

/// A function whose calls would be spans of the process's instance, which no bench has.
#[cfg(feature = "macros")]
#[emberlog::trace]
#[inline(never)]
fn traced(i: u64) -> u64 {
    i ^ 1
}
