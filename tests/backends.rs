//! A manager with backends: what is recorded arrives, and a backend's trouble is nobody else's.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Condvar, Mutex,
    },
    time::{Duration, Instant},
};

use emberlog::{
    backend::{
        memory::{MemoryStore, Options},
        BatchRange, Begin, Row, RowKind, Scan, Select, Sink, SinkError,
    },
    log::Position,
    tail::TailState,
    BackendConfig, Config, Filter, FlushError, LogId, Manager, SpanId, Status, TraceOptions, Value,
};

/// Counts rows; fails as often as it is told to.
struct Counting {
    spans: Arc<AtomicU64>,
    failures: u64,
}

impl Sink for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(SinkError::Retry("not now".into()));
        }
        let spans = rows
            .iter()
            .filter(|row| matches!(row, Row::Span(_)))
            .count();
        self.spans.fetch_add(spans as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn counting(spans: &Arc<AtomicU64>, failures: u64) -> BackendConfig {
    let spans = Arc::clone(spans);
    BackendConfig::new("counting", move || {
        Ok(Box::new(Counting {
            spans: Arc::clone(&spans),
            failures,
        }))
    })
}

fn record(manager: &Manager, runs: usize) {
    for _ in 0..runs {
        let run = manager.start_trace("run");
        run.node("a").ok();
        run.node("b").ok();
        run.ok();
    }
}

#[test]
fn export_waits_until_every_backend_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let spans = Arc::new(AtomicU64::new(0));
    let config = Config::new(dir.path()).backend(counting(&spans, 2));
    let manager = Manager::open(config).unwrap();
    record(&manager, 100);
    manager.export(Duration::from_secs(20)).unwrap();
    assert_eq!(spans.load(Ordering::Relaxed), 200);
    let stats = manager.stats();
    assert_eq!(
        (stats.backends[0].errors, stats.backends[0].state),
        (2, TailState::Running)
    );
    assert_eq!(stats.backends[0].position, stats.logged);
}

#[test]
fn ending_delivers_what_is_left_and_the_next_open_goes_on_there() {
    let dir = tempfile::tempdir().unwrap();
    let spans = Arc::new(AtomicU64::new(0));
    for round in 1..=3 {
        let manager = Manager::open(Config::new(dir.path()).backend(counting(&spans, 0))).unwrap();
        record(&manager, 10);
        let ended = manager.shutdown().unwrap();
        assert_eq!(
            (ended.backends[0].records, ended.backends[0].ended),
            (0, true)
        );
        assert_eq!(spans.load(Ordering::Relaxed), round * 20);
    }
}

#[test]
fn a_backend_that_is_down_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let spans = Arc::new(AtomicU64::new(0));
    let mut config = Config::new(dir.path()).backend(counting(&spans, u64::MAX));
    config.shutdown_timeout = Duration::from_millis(300);
    let manager = Manager::open(config).unwrap();
    record(&manager, 1000);
    manager.flush().unwrap();
    let error = manager.export(Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, FlushError::Backend(_)), "{error}");
    assert!(error.to_string().contains("not now"), "{error}");
    let begin = Instant::now();
    let ended = manager.shutdown().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(ended.backends[0].records > 0);
    // Nothing is lost: a backend that works gets all of it.
    let manager = Manager::open(Config::new(dir.path()).backend(counting(&spans, 0))).unwrap();
    manager.export(Duration::from_secs(20)).unwrap();
    assert_eq!(spans.load(Ordering::Relaxed), 2000);
}

#[test]
fn two_backends_of_one_name_are_refused_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let spans = Arc::new(AtomicU64::new(0));
    let path = dir.path().join("log");
    let config = Config::new(&path)
        .backend(counting(&spans, 0))
        .backend(counting(&spans, 0))
        .backend(counting(&spans, 0).named("../escape"));
    let text = Manager::open(config).unwrap_err().to_string();
    assert!(
        text.contains("two have the name") && text.contains("escape"),
        "{text}"
    );
    assert!(!path.exists());
}

const LONG: Duration = Duration::from_secs(30);

fn all() -> Filter {
    let mut all = Filter::new().all();
    all.recorded_only = true;
    all
}

/// How many traces, spans, events, metrics and links are there.
fn counts(store: &MemoryStore) -> [usize; 5] {
    [
        store.traces(&all()).unwrap().len(),
        store.spans(&all()).unwrap().len(),
        store.events(&all()).unwrap().len(),
        store.metrics(&all()).unwrap().len(),
        store.links(&all()).unwrap().len(),
    ]
}

/// Traces with spans of different lengths; every fourth fails.
fn record_mixed(manager: &Manager, runs: u64) {
    for n in 0..runs {
        let caller = TraceOptions::new().remote_parent(SpanId::new(n + 1).unwrap());
        let run = manager.start_trace_with(["ingest", "answer"][n as usize % 2], &caller);
        run.set("number", n);
        run.node("read").ok();
        let span = run.node("read slowly");
        std::thread::sleep(Duration::from_millis(2));
        span.ok();
        run.event("my.event", "happened").record();
        run.metric("cost").counter(1.0);
        run.end(if n % 4 == 0 {
            Status::Error
        } else {
            Status::Ok
        });
    }
}

#[test]
fn each_backend_has_its_own_rows_and_its_own_pace() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [MemoryStore; 6] = std::array::from_fn(|_| MemoryStore::default());
    let select = [
        Select::new(),
        Select::new()
            .kinds([RowKind::Span])
            .filter(Filter::new().name("*slow*")),
        Select::new().filter(Filter::new().status(Status::Error)),
        Select::new().filter(Filter::new().min_duration(Duration::from_millis(2))),
        Select::new().sampled(0.0),
        Select::new().kinds([RowKind::Event, RowKind::Metric, RowKind::Link]),
    ];
    let mut config = Config::new(dir.path());
    for (n, (store, select)) in stores.iter().zip(select).enumerate() {
        let backend = BackendConfig::memory(store).named(format!("m{n}"));
        let backend = backend.select(select).buffer_size(1 + n * 7);
        config = config.backend(backend.export_interval(Duration::from_millis(n as u64)));
    }
    let manager = Manager::open(config).unwrap();
    record_mixed(&manager, 20);
    manager.event("custom", "of nobody").record();
    manager.export(LONG).unwrap();
    assert_eq!(counts(&stores[0]), [20, 40, 21, 20, 0]);
    assert_eq!(counts(&stores[1]), [0, 20, 0, 0, 0]);
    // A status says nothing of events and metrics.
    assert_eq!(counts(&stores[2]), [5, 0, 21, 20, 0]);
    let failed = stores[2].traces(&all()).unwrap();
    // With what its start tells, which was written before anybody knew how it ends.
    let callers = failed
        .iter()
        .map(|trace| trace.remote_parent.map(SpanId::get));
    assert_eq!(callers.collect::<Vec<_>>(), [17, 13, 9, 5, 1].map(Some));
    let number = |n: usize| failed[n].attributes.get("number").cloned();
    assert_eq!(
        (number(0), number(4)),
        (Some(Value::U64(16)), Some(Value::U64(0)))
    );
    assert!(failed.iter().all(|trace| trace.status == Status::Error));
    assert_eq!(counts(&stores[3])[..2], [20, 20]);
    assert_eq!(counts(&stores[4]), [0, 0, 1, 0, 0]);
    assert_eq!(counts(&stores[5]), [0, 0, 21, 20, 0]);
    let stats = manager.stats();
    assert!(stats
        .backends
        .iter()
        .all(|tail| tail.position == stats.logged));
    let batches: Vec<u64> = stats.backends.iter().map(|tail| tail.batches).collect();
    assert!(batches[0] >= batches[3], "{batches:?}");
    let slowest = &stats.backends[0];
    assert!(slowest.export_latency_p50 <= slowest.export_latency_p99);
    assert!(slowest.export_latency_p99 <= slowest.export_latency_max);
}

#[test]
fn a_backend_that_is_added_later_begins_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let [everything, news, restarted] = std::array::from_fn(|_| MemoryStore::default());
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    record(&manager, 10);
    manager.shutdown().unwrap();
    let later = |news: &MemoryStore| {
        Config::new(dir.path())
            .backend(BackendConfig::memory(&everything).named("all"))
            .backend(BackendConfig::memory(news).named("news").begin(Begin::End))
    };
    let manager = Manager::open(later(&news)).unwrap();
    record(&manager, 3);
    manager.export(LONG).unwrap();
    assert_eq!((counts(&everything)[0], counts(&news)[0]), (13, 3));
    drop(manager);
    // Only the first start of all counts as the beginning.
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    record(&manager, 2);
    drop(manager);
    let manager = Manager::open(later(&restarted)).unwrap();
    manager.export(LONG).unwrap();
    assert_eq!((counts(&everything)[0], counts(&restarted)[0]), (15, 2));
}

#[test]
fn nothing_is_sent_before_somebody_asks_if_the_interval_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let [asked, timed] = std::array::from_fn(|_| MemoryStore::default());
    let config = Config::new(dir.path())
        .backend(
            BackendConfig::memory(&asked)
                .named("a")
                .export_interval(Duration::ZERO),
        )
        .backend(
            BackendConfig::memory(&timed)
                .named("b")
                .export_interval(Duration::from_millis(1)),
        );
    let manager = Manager::open(config).unwrap();
    record(&manager, 5);
    let until = Instant::now() + LONG;
    while counts(&timed)[0] < 5 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    assert_eq!(counts(&asked), [0; 5]);
    manager.flush().unwrap();
    while counts(&asked)[0] < 5 {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

/// Hangs in its first batch until it is let go.
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

#[test]
fn one_that_hangs_and_one_that_panics_touch_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = MemoryStore::new(Options::default());
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let hanging = {
        let gate = Arc::clone(&gate);
        BackendConfig::new("hanging", move || Ok(Box::new(Hanging(Arc::clone(&gate)))))
    };
    let panicking = BackendConfig::new("panicking", || panic!("on fire"));
    let mut config = Config::new(dir.path())
        .backend(hanging.buffer_size(1))
        .backend(panicking)
        .backend(BackendConfig::memory(&store).buffer_size(1));
    config.shutdown_timeout = Duration::from_millis(500);
    let manager = Manager::open(config).unwrap();
    for round in 1..=20 {
        record(&manager, 5);
        manager.flush().unwrap();
        let until = Instant::now() + LONG;
        while counts(&store)[1] < round * 10 {
            assert!(Instant::now() < until, "{:?}", counts(&store));
            std::thread::yield_now();
        }
    }
    let error = manager.export(Duration::from_millis(100)).unwrap_err();
    assert!(error.to_string().contains("\"hanging\""), "{error}");
    let state = |name: &str| {
        let backends = manager.stats().backends;
        let found = backends.iter().find(|tail| tail.name == name);
        found.unwrap().state
    };
    // Where backtraces are asked for, a panic takes a while.
    let until = Instant::now() + LONG;
    while state("panicking") != TailState::Failed {
        assert!(Instant::now() < until, "{:?}", state("panicking"));
        std::thread::yield_now();
    }
    assert_eq!(state("memory"), TailState::Running);
    let ended = manager.shutdown().unwrap();
    let left: Vec<_> = ended
        .backends
        .iter()
        .map(|left| (left.records > 0, left.ended))
        .collect();
    assert_eq!(
        left,
        [(true, false), (true, true), (false, true)],
        "{ended:?}"
    );
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[test]
fn two_managers_of_one_process_keep_to_their_own_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [MemoryStore; 2] = std::array::from_fn(|_| MemoryStore::default());
    let open = |n: usize| {
        let mut config = Config::new(dir.path().join(n.to_string()))
            .custom("manager", n as u64)
            .backend(BackendConfig::memory(&stores[n]));
        config.enable_metrics = n == 1;
        Manager::open(config).unwrap()
    };
    let managers = [open(0), open(1)];
    // Interleaved, on the same threads: names, rings and contexts are those of the process.
    for n in 0..40 {
        record_mixed(&managers[n % 2], 1);
        let outer = managers[0].start_trace("outer");
        let inner = managers[1].start_trace("inner");
        inner.node("n").ok();
        outer.node("n").ok();
        inner.ok();
        outer.ok();
    }
    for (n, manager) in managers.iter().enumerate() {
        manager.export(LONG).unwrap();
        assert_eq!(counts(&stores[n]), [60, 80, 20, n * 20, 0]);
        let own = [("manager", n.to_string())];
        let wrong = ["inner", "outer"][n];
        assert!(stores[n].traces(&all().name(wrong)).unwrap().is_empty());
        let with_own = all().attribute(own[0].0, own[0].1.as_str());
        assert_eq!(stores[n].spans(&with_own).unwrap().len(), 80);
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_has_every_row_once_after_a_normal_end() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("t.db");
    for _ in 0..2 {
        let config = Config::new(dir.path().join("log")).sqlite(&database);
        let manager = Manager::open(config).unwrap();
        record(&manager, 50);
        let ended = manager.shutdown().unwrap();
        assert_eq!(ended.backends[0].records, 0, "{ended:?}");
    }
    let db = rusqlite::Connection::open(&database).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM traces WHERE status = 'ok'"),
        100
    );
    assert_eq!(count("SELECT count(*) FROM spans"), 200);
    assert_eq!(
        count("SELECT count(*) FROM events WHERE type = 'node.finished'"),
        200
    );
    assert_eq!(
        count("SELECT count(*) FROM metrics WHERE name = 'node.duration'"),
        200
    );
    let columns = db.prepare("SELECT * FROM traces").unwrap();
    let names: Vec<_> = columns
        .column_names()
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let documented = [
        "trace_id",
        "name",
        "start_time",
        "end_time",
        "duration",
        "status",
        "attributes",
    ];
    assert_eq!(names, documented);
}
