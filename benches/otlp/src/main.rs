//! emberlog's OTLP tail beside opentelemetry-otlp's exporter, sending the same spans to the same
//! receiver, in one interleaved run.
//!
//! ```text
//! cargo run --release --manifest-path benches/otlp/Cargo.toml            # some minutes
//! cargo run --release --manifest-path benches/otlp/Cargo.toml -- --quick
//! ```
//!
//! The receiver is a process of its own; what is measured is the CPU time of this one, and the
//! bytes that reach the receiver's socket. Two comparisons per protocol:
//!
//! - *sending*: opentelemetry-otlp's exporter gets batches that were built before; emberlog's tail
//!   reads its log, makes rows, encodes and sends
//! - *in all*: from recording a span to its delivery, with the batch processor on one side and
//!   ring, flusher, log and tail on the other
//!
//! Last, a tail whose port is dead is left alone for a while, and its CPU is shown.

mod receiver;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use emberlog::{
    backend::otlp::{Compression, Options, OtlpSink, Protocol, Signal},
    backend::Sink,
    tail::{self, LogSource, Tail},
    Config, Manager, Overflow, StaticName,
};
use opentelemetry::{
    trace::{Span as _, TraceContextExt, Tracer, TracerProvider as _},
    Context, KeyValue,
};
use opentelemetry_otlp::{Protocol as TheirProtocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter as _,
    },
    Resource,
};

static RUN: StaticName = StaticName::new("run");
static NODE: StaticName = StaticName::new("node");
static A: StaticName = StaticName::new("user.id");
static B: StaticName = StaticName::new("cache.hit");
static C: StaticName = StaticName::new("model.name");

const LONG: Duration = Duration::from_secs(120);
/// Spans below each root.
const PER_ROOT: usize = 63;
/// Spans of a batch, on both sides.
const BATCH: usize = 512;

/// CPU time of this process.
fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// A receiver in a process of its own.
struct Receiver {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    http: u16,
    grpc: u16,
}

/// What the receiver got since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    spans: u64,
    bytes: u64,
}

impl Receiver {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("receiver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the receiver starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let [http, grpc] = numbers(&mut out);
        Self {
            child,
            out,
            http: http as u16,
            grpc: grpc as u16,
        }
    }

    fn got(&mut self) -> Got {
        use std::io::Write;
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"\n").expect("the receiver listens");
        let [spans, bytes] = numbers(&mut self.out);
        Got { spans, bytes }
    }

    fn url(&self, protocol: Protocol) -> String {
        let port = match protocol {
            Protocol::Grpc => self.grpc,
            _ => self.http,
        };
        format!("http://127.0.0.1:{port}")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn numbers(out: &mut impl BufRead) -> [u64; 2] {
    let mut line = String::new();
    out.read_line(&mut line).expect("the receiver answers");
    let mut words = line.split_whitespace().map(|word| word.parse().expect("a number"));
    [words.next().expect("two numbers"), words.next().expect("two numbers")]
}

/// One measured run.
struct Measured {
    cpu: Duration,
    got: Got,
}

fn record_ours(manager: &Manager, spans: usize) {
    for _ in 0..spans / (PER_ROOT + 1) {
        let run = manager.start_trace(&RUN);
        for n in 0..PER_ROOT {
            let span = run.span(&NODE).with(&A, n as u64).with(&B, true);
            span.with(&C, "small-model-v3").ok();
        }
        run.ok();
    }
}

fn record_theirs(tracer: &impl Tracer<Span = opentelemetry_sdk::trace::Span>, spans: usize) {
    for _ in 0..spans / (PER_ROOT + 1) {
        let root = tracer.start("run");
        let context = Context::new().with_span(root);
        for n in 0..PER_ROOT {
            let mut span = tracer.start_with_context("node", &context);
            span.set_attribute(KeyValue::new("user.id", n as i64));
            span.set_attribute(KeyValue::new("cache.hit", true));
            span.set_attribute(KeyValue::new("model.name", "small-model-v3"));
            span.set_status(opentelemetry::trace::Status::Ok);
            span.end();
        }
        context.span().end();
    }
}

fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::new(dir.join("log")).resource("service.name", "bench");
    config.ring.overflow = Overflow::Block {
        timeout: Duration::from_secs(10),
    };
    config.ring.dir = Some(dir.join("rings"));
    config.buffer_size = BATCH;
    config
}

fn options(url: &str, protocol: Protocol, gzip: bool) -> Options {
    Options::new()
        .environment([("NOT", "used")])
        .endpoint(url)
        .protocol(protocol)
        .compression(if gzip { Compression::Gzip } else { Compression::None })
        .only(&[Signal::Traces])
}

/// A tail from a log that is there to the receiver.
fn ours_sending(receiver: &mut Receiver, protocol: Protocol, spans: usize) -> Measured {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = Manager::open(config(dir.path())).expect("a fresh log");
    record_ours(&manager, spans);
    let end = manager.flush().expect("it is logged");
    let log = dir.path().join("log");
    let mut options = options(&receiver.url(protocol), protocol, false);
    options.log_dir = Some(log.clone());
    let open = move || Ok(Box::new(OtlpSink::open(Signal::Traces, &options)?) as Box<dyn Sink>);
    let mut how = tail::Options::new("otlp-traces");
    how.buffer_size = BATCH;
    receiver.got();
    let before = cpu();
    let source = LogSource::open(&log).expect("the log opens");
    let tail = Tail::start(&log, source, open, how).expect("the tail starts");
    tail.export(end, LONG).expect("all is sent");
    Measured {
        cpu: cpu() - before,
        got: receiver.got(),
    }
}

/// From recording to delivery.
fn ours_in_all(receiver: &mut Receiver, protocol: Protocol, spans: usize) -> Measured {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = options(&receiver.url(protocol), protocol, false);
    let manager = Manager::open(config(dir.path()).otlp(options)).expect("a fresh log");
    receiver.got();
    let before = cpu();
    record_ours(&manager, spans);
    manager.export(LONG).expect("all is sent");
    Measured {
        cpu: cpu() - before,
        got: receiver.got(),
    }
}

fn exporter(receiver: &Receiver, protocol: Protocol) -> SpanExporter {
    let url = receiver.url(protocol);
    let mut exporter = match protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_endpoint(url).build(),
        _ => SpanExporter::builder()
            .with_http()
            .with_protocol(TheirProtocol::HttpBinary)
            .with_endpoint(format!("{url}/v1/traces"))
            .build(),
    }
    .expect("an exporter");
    exporter.set_resource(&resource());
    exporter
}

fn resource() -> Resource {
    Resource::builder().with_service_name("bench").build()
}

/// Keeps what it is given.
#[derive(Clone, Debug, Default)]
struct Kept(std::sync::Arc<std::sync::Mutex<Vec<SpanData>>>);

impl opentelemetry_sdk::trace::SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.lock().expect("nobody panicked").extend(batch);
        Ok(())
    }
}

/// The exporter, given batches that were built before.
fn theirs_sending(
    receiver: &mut Receiver,
    protocol: Protocol,
    spans: usize,
    runtime: &tokio::runtime::Runtime,
) -> Measured {
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .with_resource(resource())
        .build();
    record_theirs(&provider.tracer("bench"), spans);
    let spans = std::mem::take(&mut *kept.0.lock().expect("nobody panicked"));
    let batches: Vec<Vec<SpanData>> = spans.chunks(BATCH).map(<[_]>::to_vec).collect();
    drop(spans);
    let inside = runtime.enter();
    let exporter = exporter(receiver, protocol);
    drop(inside);
    receiver.got();
    let before = cpu();
    for batch in batches {
        match protocol {
            Protocol::Grpc => runtime.block_on(exporter.export(batch)),
            _ => futures_block_on(exporter.export(batch)),
        }
        .expect("the batch is sent");
    }
    Measured {
        cpu: cpu() - before,
        got: receiver.got(),
    }
}

/// The blocking client must not run inside a runtime; its future is ready at once.
fn futures_block_on<F: std::future::Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::yield_now();
    }
}

/// The batch processor, from the start of a span to its delivery.
fn theirs_in_all(
    receiver: &mut Receiver,
    protocol: Protocol,
    spans: usize,
    runtime: &tokio::runtime::Runtime,
) -> Measured {
    let inside = runtime.enter();
    let exporter = exporter(receiver, protocol);
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(spans + 1)
        .with_max_export_batch_size(BATCH)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource())
        .build();
    drop(inside);
    receiver.got();
    let before = cpu();
    record_theirs(&provider.tracer("bench"), spans);
    provider.force_flush().expect("all is sent");
    let measured = Measured {
        cpu: cpu() - before,
        got: receiver.got(),
    };
    let _ = provider.shutdown();
    measured
}

/// CPU of a tail with something to send and nobody to send it to, in parts of a core.
fn dead_port(seconds: u64) -> f64 {
    let share = |with: bool| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = config(dir.path());
        config.export_interval = Duration::from_millis(100);
        if with {
            let options = options("http://127.0.0.1:1", Protocol::HttpProtobuf, false);
            config = config.otlp(options);
        }
        let manager = Manager::open(config).expect("a fresh log");
        record_ours(&manager, 64_000);
        manager.flush().expect("it is logged");
        // The first attempts come quickly, one after the other.
        std::thread::sleep(Duration::from_secs(2));
        let (before, begun) = (cpu(), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds));
        (cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64()
    };
    share(true) - share(false)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

type Row<'a> = (&'static str, &'a mut dyn FnMut(&mut Receiver) -> Measured);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "receiver") {
        receiver::serve();
        return;
    }
    if arguments.first().is_some_and(|a| a == "ours") {
        // For a profiler: our side alone.
        let mut receiver = Receiver::start();
        for _ in 0..8 {
            let measured = ours_sending(&mut receiver, Protocol::HttpProtobuf, 256_000);
            let ns = measured.cpu.as_nanos() as u64 / measured.got.spans.max(1);
            println!("{ns} ns CPU per span");
        }
        return;
    }
    let quick = arguments.iter().any(|a| a == "--quick");
    let (samples, spans) = if quick { (3, 64_000) } else { (9, 256_000) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut receiver = Receiver::start();
    println!("{spans} spans with 3 attributes, batches of {BATCH}, median of {samples} runs in turn");
    println!("protocol       what      who            ns CPU/span   bytes/span");
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let mut rows: [Row<'_>; 4] = [
            ("sending   emberlog     ", &mut |r| ours_sending(r, protocol, spans)),
            ("sending   opentelemetry", &mut |r| theirs_sending(r, protocol, spans, &runtime)),
            ("in all    emberlog     ", &mut |r| ours_in_all(r, protocol, spans)),
            ("in all    opentelemetry", &mut |r| theirs_in_all(r, protocol, spans, &runtime)),
        ];
        let mut found = vec![(Vec::new(), 0.0); rows.len()];
        for _ in 0..samples {
            for ((_, run), (ns, bytes)) in rows.iter_mut().zip(&mut found) {
                let measured = run(&mut receiver);
                let sent = measured.got.spans as f64;
                assert_eq!(measured.got.spans as usize, spans, "spans that arrived");
                ns.push(measured.cpu.as_nanos() as f64 / sent);
                *bytes = measured.got.bytes as f64 / sent;
            }
        }
        for ((name, _), (ns, bytes)) in rows.iter().zip(found) {
            println!("{:13}  {name}   {:9.0}   {bytes:10.1}", protocol.as_str(), median(ns));
        }
    }
    let seconds = if quick { 10 } else { 60 };
    println!("dead port: {:.4} % of a core more than without", dead_port(seconds) * 100.0);
}
