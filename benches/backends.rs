//! What backends cost, and what it costs that they are down.
//!
//! ```text
//! cargo bench -p emberlog --features sqlite --bench backends             all parts
//! cargo bench -p emberlog --features sqlite --bench backends -- hanging  one of the parts
//! ```
//!
//! | part | compares |
//! |---|---|
//! | `sqlite` | a tail from the log into SQLite with raw rusqlite: the same rows, tables, indexes, batches and durability, the values made beforehand |
//! | `hanging` | recording while three backends hang with recording without one, per run of two nodes |
//! | `memory` | memory of the process after each million of spans, while a backend hangs |
//! | `catch-up` | rows per second of a SQLite backend after an outage, with those of a tail that began anew; order is checked |
//!
//! What is compared is done in turns; medians are printed. `EMBERLOG_BENCH_SPANS` sets the spans of
//! `memory` (default 20,000,000); the log is limited to 256 MiB on disk.

use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        Arc, Condvar, Mutex,
    },
    time::{Duration, Instant},
};

use emberlog::{
    backend::{
        sqlite::{Options, SqliteSink},
        BatchRange, Row, Sink, SinkError,
    },
    log::{OnFull, Position},
    model::Origin,
    tail::{self, LogSource, Tail},
    BackendConfig, Config, LogId, Manager,
};
use rusqlite::{params, Connection};

const LONG: Duration = Duration::from_secs(600);
const ROUNDS: usize = 5;

/// Hangs in its first batch until it is let go.
#[derive(Clone, Default)]
struct Hanging(Arc<(Mutex<bool>, Condvar)>);

impl Sink for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, _rows: &[Row]) -> Result<(), SinkError> {
        let (free, changed) = &*self.0;
        let _free = changed
            .wait_while(free.lock().unwrap(), |free| !*free)
            .unwrap();
        Ok(())
    }
}

impl Hanging {
    fn let_go(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_all();
    }
}

/// Processor time of the process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Wall and processor time of some work.
fn timed(work: impl FnOnce()) -> (f64, f64) {
    let (wall, busy) = (Instant::now(), cpu());
    work();
    (wall.elapsed().as_secs_f64(), (cpu() - busy).as_secs_f64())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn record_runs(manager: &Manager, runs: usize, nodes: usize) {
    for n in 0..runs {
        let run = manager.start_trace("graph_run");
        for _ in 0..nodes {
            run.node("node").with("tokens", n as u64).ok();
        }
        run.ok();
    }
}

fn sqlite() {
    const RUNS: usize = 10_000;
    const NODES: usize = 20;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("log");
    let manager = Manager::open(Config::new(&dir)).unwrap();
    for _ in 0..RUNS / 500 {
        record_runs(&manager, 500, NODES);
        manager.flush().unwrap();
    }
    manager.shutdown().unwrap();
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (ours_db, raw_db) = (
            temp.path().join(format!("ours{round}.db")),
            temp.path().join(format!("raw{round}.db")),
        );
        let ours = timed(|| by_tail(&dir, &ours_db));
        let values = Values::of(&ours_db);
        drop(SqliteSink::open("raw", Options::new(&raw_db)).unwrap());
        let raw = timed(|| values.insert(&raw_db, NODES));
        let rows = (RUNS * (NODES + 2)) as f64;
        println!(
            "sqlite: {:.0} rows/s, {:.0} per CPU second; raw rusqlite {:.0}, {:.0}",
            rows / ours.0,
            rows / ours.1,
            rows / raw.0,
            rows / raw.1
        );
        walls.push(raw.0 / ours.0);
        cpus.push(raw.1 / ours.1);
    }
    println!(
        "sqlite: median ratio {:.2} of rows per second, {:.2} of rows per CPU second",
        median(walls),
        median(cpus)
    );
}

fn by_tail(dir: &Path, db: &Path) {
    let mut options = tail::Options::new(db.file_stem().unwrap().to_string_lossy());
    options.buffer_size = 1000;
    let sink = Options::new(db);
    let open = move || {
        let sink = SqliteSink::open("sqlite", sink.clone())?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    };
    let source = LogSource::open(dir).unwrap();
    let end = emberlog::log::Snapshot::open(dir).unwrap().end();
    let tail = Tail::start(dir, source, open, options).unwrap();
    tail.export(end, LONG).unwrap();
}

type Table = Vec<Vec<rusqlite::types::Value>>;

/// Everything in a database, in memory.
struct Values {
    instances: Table,
    traces: Table,
    parts: Table,
    spans: Table,
}

const TRACES: &str = "trace_id, start_ns, name, end_ns, status, attributes, types, remote_parent, \
    sampling_rate, dropped, instance";
const PARTS: &str = "trace, instance, ring, sequence, name, start_ns, end_ns, status, attributes, \
    types, remote_parent, sampling_rate, dropped";
const SPANS: &str = "trace, span_id, parent_span_id, name, kind, start_ns, duration_ns, status, \
    attributes, types, error, remote_parent, dropped, instance, ring, lease, sequence";
const INSTANCES: &str = "id, instance, high, low, resource, derive_events, derive_metrics";

impl Values {
    fn of(db: &Path) -> Self {
        let db = Connection::open(db).unwrap();
        let read = |table: &str, columns: &str, order: &str| -> Table {
            let sql = format!("SELECT {columns} FROM {table} ORDER BY {order}");
            let mut select = db.prepare(&sql).unwrap();
            let count = select.column_count();
            let row = |row: &rusqlite::Row<'_>| (0..count).map(|at| row.get(at)).collect();
            let rows = select.query_map([], row).unwrap();
            rows.map(Result::unwrap).collect()
        };
        Self {
            instances: read("instances", INSTANCES, "id"),
            traces: read("trace_rows", TRACES, "id"),
            parts: read("trace_parts", PARTS, "trace, sequence"),
            spans: read("span_rows", SPANS, "rowid"),
        }
    }

    /// As a program that knows what it wants to insert would do it: a transaction per thousand
    /// rows, the trace first and its end at its end.
    fn insert(&self, db: &Path, nodes: usize) {
        let db = Connection::open(db).unwrap();
        db.execute_batch(
            "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8192;
             PRAGMA wal_autocheckpoint = 2000;",
        )
        .unwrap();
        let insert = |table: &str, columns: &str| {
            let marks: Vec<_> = columns.split(',').map(|_| "?").collect();
            let sql = format!(
                "INSERT INTO {table} ({columns}) VALUES ({})",
                marks.join(", ")
            );
            db.prepare(&sql).unwrap()
        };
        let mut instance = insert("instances", INSTANCES);
        for row in &self.instances {
            instance.execute(rusqlite::params_from_iter(row)).unwrap();
        }
        let mut part = insert("trace_parts", PARTS);
        let mut span = insert("span_rows", SPANS);
        let sql = "INSERT INTO trace_rows (trace_id, seen_ns) VALUES (?1, ?2)";
        let mut begin = db.prepare(sql).unwrap();
        let sql = "UPDATE trace_rows SET start_ns = ?2, name = ?3, end_ns = ?4, status = ?5, \
            attributes = ?6, types = ?7, remote_parent = ?8, sampling_rate = ?9, dropped = ?10, \
            instance = ?11 WHERE trace_id = ?1";
        let mut finish = db.prepare(sql).unwrap();
        let per_batch = 1000 / (nodes + 2);
        for (n, traces) in self.traces.chunks(per_batch).enumerate() {
            db.execute_batch("BEGIN IMMEDIATE").unwrap();
            for (m, trace) in traces.iter().enumerate() {
                let at = n * per_batch + m;
                begin.execute(params![trace[0], trace[1]]).unwrap();
                let parts = &self.parts[at * 2..at * 2 + 2];
                for row in parts {
                    part.execute(rusqlite::params_from_iter(row)).unwrap();
                }
                for row in &self.spans[at * nodes..(at + 1) * nodes] {
                    span.execute(rusqlite::params_from_iter(row)).unwrap();
                }
                finish.execute(rusqlite::params_from_iter(trace)).unwrap();
            }
            db.execute_batch("COMMIT").unwrap();
        }
    }
}

/// Opens a manager; where `sink` is given, with three backends that hang.
fn manager(dir: &Path, sink: Option<&Hanging>) -> Manager {
    let mut config = Config::new(dir).log(|log| {
        log.max_bytes = Some(256 << 20);
        log.hard_max_bytes = Some(512 << 20);
        log.on_full = OnFull::DeleteOldest;
    });
    config.shutdown_timeout = Duration::from_secs(2);
    for name in ["hanging", "hanging-too", "hanging-as-well"] {
        let Some(sink) = sink.cloned() else { break };
        let backend = BackendConfig::new(name, move || Ok(Box::new(sink.clone())));
        config = config.backend(backend.buffer_size(1));
    }
    Manager::open(config).unwrap()
}

fn hanging() {
    const RUNS: usize = 100_000;
    let temp = tempfile::tempdir().unwrap();
    let sink = Hanging::default();
    let managers = [
        manager(&temp.path().join("none"), None),
        manager(&temp.path().join("hanging"), Some(&sink)),
    ];
    let (mut costs, mut tails) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS * 2 {
        for (which, manager) in managers.iter().enumerate() {
            let mut took: Vec<u32> = Vec::with_capacity(RUNS);
            for n in 0..RUNS {
                let begun = Instant::now();
                let run = manager.start_trace("graph_run");
                run.node("node").with("tokens", n as u64).ok();
                run.node("node").with("tokens", n as u64).ok();
                run.ok();
                took.push(begun.elapsed().as_nanos() as u32);
                // A graph does something too; the rings are not what is measured.
                if n % 1000 == 0 {
                    manager.flush().unwrap();
                }
            }
            took.sort_unstable();
            costs[which].push(f64::from(took[RUNS / 2]));
            tails[which].push(f64::from(took[RUNS - RUNS / 1000]));
        }
    }
    let [none, hang] = costs.map(median);
    let [none_tail, hang_tail] = tails.map(median);
    println!("hanging: a run of two nodes takes {none:.0} ns without, {hang:.0} ns while three backends hang: {:.3}x", hang / none);
    println!(
        "hanging: p99.9 {none_tail:.0} ns without, {hang_tail:.0} ns with: {:.3}x",
        hang_tail / none_tail
    );
    sink.let_go();
}

/// Kilobytes that a line of `/proc/self/status` says.
fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or_default();
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Millions of spans after which every buffer has its size.
const WARM: usize = 3;

fn memory() {
    let spans = std::env::var("EMBERLOG_BENCH_SPANS").ok();
    let spans: usize = spans.and_then(|n| n.parse().ok()).unwrap_or(20_000_000);
    let temp = tempfile::tempdir().unwrap();
    let sink = Hanging::default();
    let manager = manager(temp.path(), Some(&sink));
    let mut heap = Vec::new();
    for million in 1..=spans.div_ceil(1_000_000) {
        for _ in 0..1000 {
            record_runs(&manager, 50, 20);
            manager.flush().unwrap();
        }
        heap.push(status("RssAnon") as f64 / 1024.0);
        println!(
            "memory: after {million} M spans {:.1} MiB of the process's own, {:.1} MiB in all with \
             what is mapped of the log",
            heap[heap.len() - 1],
            status("VmRSS") as f64 / 1024.0
        );
    }
    let dropped = manager.stats().dropped_count;
    // What runs in turns (two indexes of segments, the file of one) grows to its size first.
    let at = |million: usize| heap[million.min(heap.len()) - 1];
    let (warm, last) = (at(WARM), heap[heap.len() - 1]);
    println!(
        "memory: {:.2} MiB after 1 M spans, {:.2} after 5 M, {:.2} after 10 M, {last:.2} after the last; \
         {:+.1} % since {WARM} M, when two segments were written; {dropped} records lost",
        at(1),
        at(5),
        at(10),
        (last / warm - 1.0) * 100.0
    );
    sink.let_go();
}

/// SQLite that is out of reach for a while; sees to it that spans of a thread come in order.
struct Outage {
    inner: SqliteSink,
    over: Arc<AtomicBool>,
    /// Ring and sequence of the span before.
    last: Option<(u32, u64)>,
}

impl Sink for Outage {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        self.inner.position(log)
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.inner.meet(origin);
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        // Relaxed: a flag and nothing else.
        if !self.over.load(Relaxed) {
            return Err(SinkError::Retry("nobody there".into()));
        }
        self.inner.write(range, rows)?;
        let spans = rows.iter().filter_map(|row| match row {
            Row::Span(span) => span.record,
            _ => None,
        });
        for record in spans {
            let this = (record.ring, record.sequence);
            let (ring, before) = *self.last.get_or_insert((record.ring, 0));
            assert!(ring != this.0 || before < this.1, "{this:?} after {before}");
            self.last = Some(this);
        }
        Ok(())
    }
}

fn catch_up() {
    const RUNS: usize = 10_000;
    const NODES: usize = 20;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let temp = tempfile::tempdir().unwrap();
        let (dir, db) = (temp.path().join("log"), temp.path().join("late.db"));
        let over = Arc::new(AtomicBool::new(false));
        let up = over.clone();
        let backend = BackendConfig::new("sqlite", move || {
            let inner = SqliteSink::open("sqlite", Options::new(&db))?;
            let (over, last) = (up.clone(), None);
            Ok(Box::new(Outage { inner, over, last }))
        });
        let config = Config::new(&dir).backend(backend.buffer_size(1000));
        let manager = Manager::open(config).unwrap();
        for _ in 0..RUNS / 500 {
            record_runs(&manager, 500, NODES);
            manager.flush().unwrap();
        }
        over.store(true, Relaxed);
        let late = timed(|| {
            manager.export(LONG).unwrap();
        });
        manager.shutdown().unwrap();
        let anew = timed(|| by_tail(&dir, &temp.path().join("anew.db")));
        let rows = (RUNS * (NODES + 2)) as f64;
        println!(
            "catch-up: {:.0} rows/s after an outage, {:.0} rows/s from the beginning",
            rows / late.0,
            rows / anew.0
        );
        ratios.push(anew.0 / late.0);
    }
    println!("catch-up: median ratio {:.2}, in order", median(ratios));
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let parts: [(&str, fn()); 4] = [
        ("sqlite", sqlite),
        ("hanging", hanging),
        ("memory", memory),
        ("catch-up", catch_up),
    ];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}
