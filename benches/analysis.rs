//! What an analysis costs: 10,000 traces of 8 spans, and ten million spans.
//!
//! ```text
//! cargo bench --bench analysis                 # writes 1.3 GB to the temporary folder, a minute
//! cargo bench --bench analysis -- --quick      # 10,000 traces only
//! cargo bench --bench analysis -- --dir DIR    # keeps the logs there, for another run
//! ```
//!
//! Each analysis runs in a process of its own that opens the log, reads it and makes the report, as
//! `emberlog analyze` does. Printed are the least and the median of the wall time inside that
//! process, the median of its CPU time, and the peak of its resident memory, mapped files included.

#[path = "../tests/analysis_support/hand.rs"]
mod hand;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use emberlog::{
    analysis::Analyzer,
    query::{LogReader, Rings},
};
use hand::{Log, Span, Val};

const PER_TRACE: u64 = 8;
const RINGS: u64 = 8;
const NODES: [&str; 8] = [
    "fetch", "parse", "embed", "search", "rank", "prompt", "answer", "store",
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    if let Some(dir) = after("--measure") {
        return measure(Path::new(&dir));
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = after("--dir").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let quick = args.iter().any(|arg| arg == "--quick");
    let sizes: &[(u64, usize)] = match quick {
        true => &[(10_000, 15)],
        false => &[(10_000, 15), (1_250_000, 5)],
    };
    for (traces, rounds) in sizes {
        let log = dir.join(format!("{traces}"));
        if !log.join("LOG").exists() {
            let start = Instant::now();
            write(&log, *traces);
            eprintln!("wrote {traces} traces in {:.1?}", start.elapsed());
        }
        run(&log, *traces, *rounds);
    }
}

/// Traces run on eight rings at a time; frames hold up to 60 KiB.
fn write(dir: &Path, traces: u64) {
    let mut log = Log::open(dir, 64 << 20);
    let mut random = 7u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 11
    };
    let mut pending: Vec<(u64, Vec<u64>)> = vec![(0, Vec::new()); RINGS as usize];
    for n in 0..traces {
        let ring = (n % RINGS) as usize;
        let at = (n / RINGS) * 100_000 + n % RINGS * 700;
        let low = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
        let trace = u128::from(low.rotate_left(17)) << 64 | u128::from(low);
        let fails = n % 100 == 7;
        let about = [
            ("graph_id", Val::Text("g1")),
            ("graph_version", Val::Text("1.4")),
        ];
        let mut records = vec![log.trace_start("flow", trace, at, 0, &about)];
        let mut start = at + 500;
        for (number, node) in (0..PER_TRACE).zip(NODES) {
            // Most are short, few are long, none are alike.
            let length = 200 + (next() & ((1 << (next() % 22)) - 1));
            let failed = fails && number == PER_TRACE - 1;
            let id = [("node.id", Val::Text(node))];
            let error = [
                ("node.id", Val::Text(node)),
                ("error.type", Val::Text("Timeout")),
                ("exception.message", Val::Text("no answer in 30 s")),
            ];
            records.push(log.span(&Span {
                trace,
                id: n * PER_TRACE + number + 1,
                parent: 0,
                name: node,
                start,
                length,
                kind: 2,
                status: if failed { 2 } else { 1 },
                attributes: if failed { &error } else { &id },
            }));
            start += length + 300;
        }
        let end = (start, start - at);
        records.push(log.trace_end("flow", trace, end, if fails { 2 } else { 1 }, &[]));
        let (count, words) = &mut pending[ring];
        *count += records.len() as u64;
        records.iter().for_each(|record| words.extend(record));
        if words.len() * 8 > 60 << 10 {
            let (count, words) = std::mem::take(&mut pending[ring]);
            log.frame(ring, count, &words);
            if next() % 4 == 0 {
                log.commit();
            }
        }
    }
    for (ring, (count, words)) in pending.into_iter().enumerate() {
        log.frame(ring, count, &words);
    }
    log.close();
}

/// One analysis, as a program would do it; prints what it cost as numbers.
fn measure(dir: &Path) {
    let start = Instant::now();
    let reader = LogReader::open_with(dir, Rings::Ignore).expect("a log");
    let analyzer = Analyzer::new().since_ns(i64::MIN).graph("g1");
    let analysis = analyzer.log(&reader).expect("readable");
    let wall = start.elapsed();
    let report = analysis.report.expect("enough traces");
    assert_eq!(report.total_spans, report.total_executions * PER_TRACE);
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec;
    println!(
        "{} {cpu} {} {}",
        wall.as_nanos(),
        peak_memory(),
        report.total_executions
    );
}

/// Most memory that was resident at a time, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

fn run(log: &Path, traces: u64, rounds: usize) {
    let exe = std::env::current_exe().expect("this program");
    let mut rows: Vec<[u64; 4]> = (0..rounds)
        .map(|_| {
            let output = Command::new(&exe).arg("--measure").arg(log).output();
            let output = output.expect("it starts");
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).expect("numbers");
            let numbers = text
                .split_whitespace()
                .map(|n| n.parse().expect("a number"));
            let numbers: Vec<u64> = numbers.collect();
            numbers.try_into().expect("four numbers")
        })
        .collect();
    assert!(rows.iter().all(|row| row[3] == traces));
    rows.sort_unstable();
    let (least, median) = (rows[0], rows[rows.len() / 2]);
    let time = Duration::from_nanos;
    println!(
        "{:>10} spans: wall {:.1?} least, {:.1?} median; cpu {:.1?}; memory {} MB",
        traces * PER_TRACE,
        time(least[0]),
        time(median[0]),
        time(median[1]),
        rows.iter().map(|row| row[2]).max().unwrap_or(0) / 1024,
    );
}
