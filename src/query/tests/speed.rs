//! What queries cost on a log of ten million spans. Run by hand:
//! `cargo test --release --lib query::tests::speed -- --ignored --nocapture`.
//! `SPANS` sets another size, `DIR` a directory to use and keep, `ONLY` a part of a row's name.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    logs::Writing,
    make::{Random, Spanned},
};
use crate::{
    query::{
        filter::{Filter, Order},
        LogReader,
    },
    record::{
        id::TraceId,
        kinds::{SpanKind, Status},
        value::Value,
    },
};

const PER_TRACE: u64 = 8;
const RINGS: u64 = 8;

fn trace(n: u64) -> TraceId {
    let low = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    TraceId::from_u128(u128::from(low.rotate_left(17)) << 64 | u128::from(low))
}

/// Traces run on eight rings at a time; each ring's frames hold 64 KiB of them.
fn fill(log: &mut Writing, traces: u64) {
    let mut random = Random(7);
    let mut pending: Vec<Vec<Vec<u64>>> = vec![Vec::new(); RINGS as usize];
    let mut bytes = [0; RINGS as usize];
    for n in 0..traces {
        let ring = (n % RINGS) as usize;
        let at = (n / RINGS) * 10_000 + n % RINGS * 700;
        let id = trace(n);
        let failed = n % 1000 == 7;
        let status = if failed { Status::Error } else { Status::Ok };
        let out = &mut pending[ring];
        out.push(
            log.maker
                .trace_start("flow", id, at, &[("graph_id", Value::from("g1"))]),
        );
        for span in 0..PER_TRACE {
            // Most are short, few are long, none are alike.
            let length = 200 + (random.next() & ((1 << random.below(24)) - 1));
            let node = random.pick(&["fetch", "parse", "store", "rank"]);
            let attributes = [("node.id", Value::from(node))];
            out.push(log.maker.span(&Spanned {
                name: node,
                trace: id,
                span: n * PER_TRACE + span + 1,
                parent: 0,
                start: at + span * 1000,
                end: at + span * 1000 + length,
                kind: SpanKind::NodeExecution,
                status,
                attributes: if span == 0 { &attributes } else { &[] },
            }));
        }
        out.push(log.maker.trace_end(
            "flow",
            id,
            (
                at,
                at + 9000 + (random.next() & ((1 << random.below(24)) - 1)),
            ),
            status,
            &[],
        ));
        bytes[ring] += out
            .iter()
            .rev()
            .take(10)
            .map(|r| r.len() * 8)
            .sum::<usize>();
        if bytes[ring] > 60 << 10 {
            log.frame(ring, &std::mem::take(out));
            bytes[ring] = 0;
            if random.one_in(4) {
                log.commit();
            }
        }
    }
    for (ring, records) in pending.iter().enumerate() {
        log.frame(ring, records);
    }
    log.commit();
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("RssAnon"));
    let kb = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    kb.unwrap_or(0)
}

fn timed<R>(what: &str, rounds: u32, mut run: impl FnMut(u32) -> R) {
    let only = std::env::var("ONLY");
    if only.is_ok_and(|only| !what.contains(&only)) {
        return;
    }
    let mut times: Vec<Duration> = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        std::hint::black_box(run(round));
        times.push(start.elapsed());
    }
    times.sort();
    let at = |p: usize| times[(times.len() * p / 100).min(times.len() - 1)];
    println!(
        "{what:34} p50 {:>11.3?}  p99 {:>11.3?}  max {:>11.3?}  anon {} MB",
        at(50),
        at(99),
        at(100),
        memory() / 1024
    );
}

#[test]
#[ignore = "writes gigabytes"]
fn ten_million_spans() {
    let spans: u64 = std::env::var("SPANS").map_or(10_000_000, |n| n.parse().unwrap());
    let traces = spans / PER_TRACE;
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("DIR").map(PathBuf::from);
    let dir = kept.unwrap_or_else(|| temporary.path().to_owned());
    let start = Instant::now();
    if !dir.join("LOG").exists() {
        let mut log = Writing::open(&dir, 64 << 20);
        fill(&mut log, traces);
        log.close();
    }
    println!("written in {:?}", start.elapsed());
    let start = Instant::now();
    let reader = LogReader::open(&dir).unwrap();
    let first = reader.traces(&Filter::new().limit(1)).unwrap();
    println!(
        "opened with a first answer in {:?}; {:?}",
        start.elapsed(),
        first[0].start_ns
    );

    let mut random = Random(99);
    timed("trace by id", 2000, |_| {
        let tree = reader.trace(trace(random.below(traces))).unwrap().unwrap();
        assert_eq!(tree.nodes.len() as u64, PER_TRACE);
    });
    timed("spans of a trace", 500, |_| {
        let f = Filter::new().trace_id(trace(random.below(traces)));
        assert_eq!(reader.spans(&f).unwrap().len() as u64, PER_TRACE);
    });
    timed("a trace that is not there", 500, |n| {
        assert!(reader
            .trace(trace(traces + u64::from(n)))
            .unwrap()
            .is_none());
    });
    let ten = |order| Filter::new().order(order).limit(10);
    for order in [Order::Newest, Order::Oldest, Order::Slowest] {
        timed(&format!("{order:?} 10 spans"), 200, |_| {
            reader.spans(&ten(order)).unwrap()
        });
        timed(&format!("{order:?} 10 traces"), 200, |_| {
            reader.traces(&ten(order)).unwrap()
        });
    }
    timed("newest 10 events", 20, |_| {
        reader.events(&ten(Order::Newest)).unwrap()
    });
    timed("newest 10 metrics", 20, |_| {
        reader.metrics(&ten(Order::Newest)).unwrap()
    });
    let failed = Filter::new().status(Status::Error);
    timed("newest 100 failed traces", 5, |_| {
        reader.traces(&failed).unwrap()
    });
    timed("newest 100 failed spans", 5, |_| {
        reader.spans(&failed.clone().limit(100)).unwrap()
    });
    let rare = Filter::new().name("no such name").limit(10);
    timed("spans with a name that none has", 3, |_| {
        reader.spans(&rare).unwrap()
    });
    let node = Filter::new().node("rank").limit(1000);
    timed("newest 1000 spans of a node", 5, |_| {
        reader.spans(&node).unwrap()
    });
    let graph = Filter::new().graph("g1").limit(1000);
    timed("newest 1000 spans of a graph", 5, |_| {
        reader.spans(&graph).unwrap()
    });
    timed("all failed traces", 1, |_| {
        let found = reader.traces_iter(&failed).unwrap();
        assert_eq!(found.count() as u64, traces.div_ceil(1000));
    });
    timed("all traces", 1, |_| {
        let all = reader.traces_iter(&Filter::new()).unwrap();
        assert_eq!(all.count() as u64, traces);
    });
    timed("all spans", 1, |_| {
        let all = reader.spans_iter(&Filter::new()).unwrap();
        assert_eq!(all.count() as u64, traces * PER_TRACE);
    });
    timed("prefix of a trace id", 1, |_| {
        let id = trace(traces / 2).to_string();
        reader.trace_by_prefix(&id[..12], 2).unwrap()
    });
}
