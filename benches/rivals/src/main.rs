//! emberlog beside what people use today, in one interleaved run.
//!
//! ```text
//! cargo run --release --manifest-path benches/rivals/Cargo.toml            # some minutes
//! cargo run --release --manifest-path benches/rivals/Cargo.toml -- --quick
//! ```
//!
//! Each row records 4,096 spans per sample, rows take turns, and between two rows everybody's
//! background work is given time to settle. Printed are minimum, median and 90th percentile of the
//! recording thread's nanoseconds per span, and the CPU of the whole process per span until the
//! sample had settled. emberlog keeps its spans in a log on disk; the rivals hand theirs to an
//! exporter that throws them away.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use emberlog::{Config, Manager, Overflow, StaticName};
use fastrace::prelude::{LocalSpan, SpanContext, SpanRecord};
use opentelemetry::{
    trace::{Span as _, TraceContextExt, Tracer, TracerProvider as _},
    Context, KeyValue,
};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;

const SPANS: usize = 4096;

static NODE: StaticName = StaticName::new("node");
static ROOT: StaticName = StaticName::new("run");
static A: StaticName = StaticName::new("a");
static B: StaticName = StaticName::new("b");
static C: StaticName = StaticName::new("c");

struct Row {
    name: String,
    work: Box<dyn FnMut()>,
    settle: Box<dyn FnMut()>,
    ns: Vec<f64>,
    cpu: Duration,
}

#[derive(Debug)]
struct Discard;

impl SpanExporter for Discard {
    async fn export(&self, batch: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        black_box(batch.len());
        Ok(())
    }
}

struct Nowhere;

impl fastrace::collector::Reporter for Nowhere {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        black_box(spans.len());
    }
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let samples = if quick { 15 } else { 150 };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = Config::new(dir.path())
        .ring(|ring| ring.overflow = Overflow::Block { timeout: Duration::from_secs(1) });
    let manager = Manager::open(config).expect("a fresh log");
    fastrace::set_reporter(Nowhere, fastrace::collector::Config::default());
    let provider = SdkTracerProvider::builder().with_batch_exporter(Discard).build();

    let mut rows = Vec::new();
    reference(&mut rows);
    for per_root in [64, 8] {
        ours(&mut rows, &manager, per_root, false);
        fastrace(&mut rows, per_root, false);
        otel(&mut rows, &provider, per_root, false);
        tracing_alone(&mut rows, per_root);
        tracing_ours(&mut rows, &manager, per_root);
        tracing_otel(&mut rows, &provider, per_root);
    }
    ours(&mut rows, &manager, 64, true);
    fastrace(&mut rows, 64, true);
    otel(&mut rows, &provider, 64, true);

    for round in 0..samples + 2 {
        for row in &mut rows {
            (row.settle)();
            let cpu = process_cpu();
            let begin = Instant::now();
            (row.work)();
            let took = begin.elapsed();
            (row.settle)();
            if round >= 2 {
                row.ns.push(took.as_nanos() as f64 / SPANS as f64);
                row.cpu += process_cpu() - cpu;
            }
        }
    }
    println!("{:<52} {:>8} {:>8} {:>8} {:>10}", "per span", "min ns", "median", "p90", "CPU ns");
    for row in &mut rows {
        row.ns.sort_by(f64::total_cmp);
        println!(
            "{:<52} {:>8.1} {:>8.1} {:>8.1} {:>10.1}",
            row.name,
            row.ns[0],
            row.ns[row.ns.len() / 2],
            row.ns[row.ns.len() * 9 / 10],
            row.cpu.as_nanos() as f64 / row.ns.len() as f64 / SPANS as f64
        );
    }
    println!("emberlog lost {}", manager.stats().dropped_count);
}

fn add(rows: &mut Vec<Row>, name: String, settle: impl FnMut() + 'static, work: impl FnMut() + 'static) {
    rows.push(Row {
        name,
        work: Box::new(work),
        settle: Box::new(settle),
        ns: Vec::new(),
        cpu: Duration::ZERO,
    });
}

/// Two clock readings and 64 bytes through a ring of `rtrb`.
fn reference(rows: &mut Vec<Row>) {
    let clock = quanta::Clock::new();
    let (mut producer, mut consumer) = rtrb::RingBuffer::<[u64; 8]>::new(2 * SPANS);
    let work = move || {
        for _ in 0..SPANS {
            let start = clock.raw();
            let end = clock.raw();
            let _ = producer.push([start, end, 1, 2, 3, 4, 5, 6]);
        }
        while consumer.pop().is_ok() {}
    };
    add(rows, "reference: two clock reads + rtrb push and pop".into(), || {}, work);
}

fn ours(rows: &mut Vec<Row>, manager: &Manager, per_root: usize, attributes: bool) {
    let name = format!("emberlog, {per_root} per root{}", if attributes { ", 3 attributes" } else { "" });
    let (m, s) = (manager.clone(), manager.clone());
    let settle = move || drop(s.flush());
    add(rows, name, settle, move || {
        for _ in 0..SPANS / per_root {
            let run = m.start_trace(&ROOT);
            for i in 0..per_root as u64 {
                if attributes {
                    run.span(&NODE).with(&A, i).with(&B, 1.5).with(&C, true).ok();
                } else {
                    run.span(&NODE).ok();
                }
            }
            run.ok();
        }
    });
}

fn fastrace(rows: &mut Vec<Row>, per_root: usize, attributes: bool) {
    let name = format!("fastrace, {per_root} per root{}", if attributes { ", 3 attributes" } else { "" });
    add(rows, name, fastrace::flush, move || {
        for _ in 0..SPANS / per_root {
            let root = fastrace::Span::root("run", SpanContext::random());
            let _scope = root.set_local_parent();
            for i in 0..per_root as u64 {
                let span = LocalSpan::enter_with_local_parent("node");
                if attributes {
                    let _span = span.with_properties(|| {
                        [("a", i.to_string()), ("b", 1.5.to_string()), ("c", true.to_string())]
                    });
                }
            }
        }
    });
}

fn otel(rows: &mut Vec<Row>, provider: &SdkTracerProvider, per_root: usize, attributes: bool) {
    let name = format!(
        "opentelemetry_sdk, {per_root} per root{}",
        if attributes { ", 3 attributes" } else { "" }
    );
    let tracer = provider.tracer("bench");
    let settle = {
        let provider = provider.clone();
        move || drop(provider.force_flush())
    };
    add(rows, name, settle, move || {
        for _ in 0..SPANS / per_root {
            let root = Context::current().with_span(tracer.start("run"));
            for i in 0..per_root as i64 {
                let mut span = tracer.start_with_context("node", &root);
                if attributes {
                    span.set_attribute(KeyValue::new("a", i));
                    span.set_attribute(KeyValue::new("b", 1.5));
                    span.set_attribute(KeyValue::new("c", true));
                }
                span.end();
            }
        }
    });
}

/// What `tracing` and its registry cost without anybody who listens.
fn tracing_alone(rows: &mut Vec<Row>, per_root: usize) {
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry());
    let name = format!("tracing + its registry alone, {per_root} per root");
    tracing_spans(rows, name, dispatch, || {}, per_root);
}

fn tracing_ours(rows: &mut Vec<Row>, manager: &Manager, per_root: usize) {
    let layer = emberlog::bridge::tracing_subscriber_0_3::Layer::new(manager);
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let manager = manager.clone();
    let name = format!("tracing + emberlog's layer, {per_root} per root");
    tracing_spans(rows, name, dispatch, move || drop(manager.flush()), per_root);
}

fn tracing_otel(rows: &mut Vec<Row>, provider: &SdkTracerProvider, per_root: usize) {
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let provider = provider.clone();
    let name = format!("tracing + tracing-opentelemetry, {per_root} per root");
    tracing_spans(rows, name, dispatch, move || drop(provider.force_flush()), per_root);
}

fn tracing_spans(
    rows: &mut Vec<Row>,
    name: String,
    dispatch: tracing::Dispatch,
    settle: impl FnMut() + 'static,
    per_root: usize,
) {
    add(rows, name, settle, move || {
        tracing::dispatcher::with_default(&dispatch, || {
            for _ in 0..SPANS / per_root {
                let _root = tracing::info_span!("run").entered();
                for _ in 0..per_root {
                    let _span = tracing::info_span!("node").entered();
                }
            }
        });
    });
}

/// CPU time of the whole process.
fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
