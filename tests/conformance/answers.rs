//! A store answers as the log does, row by row and in the same order.

use std::{fmt::Debug, path::Path, sync::Arc, time::Duration};

use emberlog::{
    backend::{BatchRange, Row, Scan},
    model::Origin,
    tail::{FrameSource, LogSource, Pulled},
    AttributeMap, Config, Filter, LogReader, Manager, Order, SpanId, SpanKind, Status, TraceId,
};

use crate::{
    backend::{Backend, Fresh},
    make::{self, log, range, Dice, Maker, FAR, TEXTS},
};

const NAMES: &[&str] = &[
    "ingest",
    "answer",
    "a\0b",
    "read",
    "parse",
    "ask",
    "inner",
    "cost",
    "count",
    "node.duration",
    "read finished",
    "ingest started",
    "node_execution_count",
    "happened",
    "nowhere",
    "",
    "*n*",
    "node.*",
    "*",
    "*started",
    "in*t",
    "a*b*c",
];
const TYPES: &[&str] = &[
    "node.failed",
    "node_failed",
    "graph.finished",
    "my.event",
    "tool.executed",
    "state.updated",
    "llm.request",
    "error.occurred",
    "nothing",
];
const ATTRIBUTES: &[(&str, &str)] = &[
    ("tokens", "20"),
    ("tokens", "20.0"),
    ("environment", "test"),
    ("deep", "true"),
    ("ratio", "NaN"),
    ("ratio", "0.5"),
    ("bytes", "{\"bytes\":\"00ff\"}"),
    ("node_id", "n1"),
    ("graph.id", "g1"),
    ("n", "3"),
    ("second", "true"),
    ("success", "false"),
    ("none", ""),
];

/// A workload with something of everything; `seed` makes runs differ.
fn record(manager: &Manager, runs: usize, seed: u64) {
    let mut dice = Dice(seed);
    for n in 0..runs as u64 {
        let run = manager.start_trace(dice.pick(&["ingest", "answer", "a\0b"]));
        run.set("graph_id", dice.pick(&["g1", "g2"]));
        if dice.roll(3) == 0 {
            run.set("graph_version", "7");
        }
        for kind in SpanKind::ALL {
            let mut span = run
                .span(dice.pick(&["read", "parse", "ask"]))
                .with_kind(*kind);
            span.set("node.id", dice.pick(&["n0", "n1", "n2"]));
            span.set("tokens", n * 10);
            span.set("ratio", if dice.roll(2) == 0 { f64::NAN } else { 0.5 });
            span.set("bytes", &[0u8, 255][..]);
            let inner = span.child("inner").with("deep", true);
            match dice.roll(5) {
                0 => inner.fail_with("Timeout", "it took \"too\" long"),
                1 => inner.end(Status::Cancelled),
                _ => inner.ok(),
            }
            run.event("my.event", "happened").with("n", n).record();
            match dice.roll(4) {
                0 => span.fail_with("ValueError", "bad\nthings"),
                _ => span.ok(),
            }
        }
        run.event("node_failed", "custom").record();
        run.metric("cost").unit("usd").counter(0.25);
        run.metric("count").gauge(u64::MAX);
        manager.metric("outside").histogram(f64::INFINITY);
        manager.event("state.updated", "outside").record();
        if let Some(id) = run.trace_id() {
            run.link(id, None);
        }
        match dice.roll(4) {
            0 => run.end(Status::Error),
            1 => run.end(Status::Cancelled),
            _ => run.ok(),
        }
    }
}

fn config(dir: &Path) -> Config {
    Config::new(dir)
        .custom("environment", "test")
        .resource("service.name", "conformance")
}

/// A log that two opens and several threads wrote.
fn write_log(dir: &Path) {
    let manager = Manager::open(config(dir)).unwrap();
    record(&manager, 12, 1);
    std::thread::scope(|scope| {
        for seed in 2..5 {
            let manager = &manager;
            scope.spawn(move || record(manager, 5, seed));
        }
    });
    manager.shutdown().unwrap();
    drop(manager);
    let manager = Manager::open(config(dir).custom("second", true)).unwrap();
    record(&manager, 5, 6);
    manager.shutdown().unwrap();
}

/// Everything in a log, to a store, in batches of some frames.
pub fn deliver(dir: &Path, store: &dyn Backend) {
    let mut source = LogSource::open(dir).unwrap();
    let log = source.log();
    let mut sink = store.sink();
    let mut dice = Dice(5);
    let mut from = sink.position(log).unwrap().unwrap_or_default();
    let mut rows: Vec<Row> = Vec::new();
    let mut origins: Vec<Arc<Origin>> = Vec::new();
    let mut to = from;
    loop {
        let pulled = source.pull(to, &mut rows).unwrap();
        match pulled {
            Pulled::Frame { next, origin, .. } => {
                to = next;
                origins.push(origin);
                if dice.roll(3) > 0 {
                    continue;
                }
            }
            Pulled::End { .. } if rows.is_empty() => return,
            Pulled::End { .. } => {}
            other => panic!("{other:?}"),
        }
        for origin in &origins {
            sink.meet(origin);
        }
        let instance = origins.last().unwrap().instance;
        let range = BatchRange {
            log,
            instance,
            from,
            to,
        };
        sink.write(range, &rows).unwrap();
        rows.clear();
        from = to;
    }
}

/// What random filters choose from.
struct Known {
    traces: Vec<TraceId>,
    spans: Vec<SpanId>,
    times: Vec<i64>,
    lengths: Vec<u64>,
}

impl Known {
    fn of(log: &LogReader) -> Self {
        let spans = log.spans(&Filter::new().all()).unwrap();
        let traces = log.traces(&Filter::new().all()).unwrap();
        Self {
            traces: traces.iter().map(|trace| trace.trace_id).collect(),
            spans: spans.iter().map(|span| span.span_id).collect(),
            times: spans
                .iter()
                .flat_map(|span| [span.start_ns, span.start_ns + 1])
                .collect(),
            lengths: spans.iter().filter_map(|span| span.duration_ns).collect(),
        }
    }

    fn filter(&self, dice: &mut Dice) -> Filter {
        let mut filter = Filter::new().all();
        for _ in 0..1 + dice.roll(3) {
            filter = match dice.roll(17) {
                0 | 1 => filter.name(dice.pick(NAMES)),
                2 => filter.status(Status::ALL[dice.roll(Status::ALL.len())]),
                3 => filter.kind(SpanKind::ALL[dice.roll(SpanKind::ALL.len())]),
                4 => filter.event_type(dice.pick(TYPES)),
                5 => filter.trace_id(self.traces[dice.roll(self.traces.len())]),
                6 => filter.span_id(self.spans[dice.roll(self.spans.len())]),
                7 => filter.since_ns(self.times[dice.roll(self.times.len())]),
                8 => filter.until_ns(self.times[dice.roll(self.times.len())]),
                9 => {
                    let ns = self.lengths[dice.roll(self.lengths.len())];
                    filter.min_duration(Duration::from_nanos(ns))
                }
                10 | 11 => {
                    let (key, value) = ATTRIBUTES[dice.roll(ATTRIBUTES.len())];
                    filter.attribute(key, value)
                }
                12 => filter.graph(dice.pick(&["g1", "g2", "ingest", "nowhere"])),
                13 => filter.graph_version(dice.pick(&["7", "8"])),
                14 => filter.node(dice.pick(&["n0", "n1", "n9"])),
                15 => filter.error_type(dice.pick(&["Timeout", "ValueError", "no"])),
                _ if dice.roll(3) == 0 => filter.active(),
                _ => filter,
            };
        }
        filter.recorded_only = dice.roll(4) == 0;
        filter.order = [Order::Newest, Order::Oldest, Order::Slowest][dice.roll(3)];
        match dice.roll(4) {
            0 => filter.offset(dice.roll(8)).limit(dice.roll(20)),
            1 => filter.limit(1 + dice.roll(3)),
            _ => filter,
        }
    }
}

/// Compares two answers; says how many rows there were.
#[track_caller]
fn same<T: Debug>(filter: &Filter, want: Vec<T>, have: Vec<T>) -> usize {
    assert_eq!(have.len(), want.len(), "{filter:?}");
    let count = want.len();
    // Which of equally slow rows a cut leaves out is nobody's promise.
    let cut = filter.offset > 0 || filter.limit.is_some_and(|limit| limit < usize::MAX);
    if filter.order == Order::Slowest && cut {
        return count;
    }
    let text = |rows: Vec<T>| -> Vec<String> {
        // NaN has the same text as NaN.
        let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        // On the log a trace takes its place before its start is known to the nanosecond, so
        // that equally slow ones may change places.
        if filter.order == Order::Slowest {
            rows.sort();
        }
        rows
    };
    for (have, want) in text(have).iter().zip(&text(want)) {
        assert_eq!(have, want, "{filter:?}");
    }
    count
}

/// Asks both everything that can be asked with a filter; says how many rows there were.
#[track_caller]
fn ask_both(log: &dyn Scan, store: &dyn Scan, filter: &Filter) -> [usize; 5] {
    [
        same(
            filter,
            log.traces(filter).unwrap(),
            store.traces(filter).unwrap(),
        ),
        same(
            filter,
            log.spans(filter).unwrap(),
            store.spans(filter).unwrap(),
        ),
        same(
            filter,
            log.events(filter).unwrap(),
            store.events(filter).unwrap(),
        ),
        same(
            filter,
            log.metrics(filter).unwrap(),
            store.metrics(filter).unwrap(),
        ),
        same(
            filter,
            log.links(filter).unwrap(),
            store.links(filter).unwrap(),
        ),
    ]
}

pub fn the_log_and_the_store_answer_alike(fresh: Fresh<'_>) {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let store = fresh();
    deliver(dir.path(), &*store);
    let log = LogReader::open(dir.path()).unwrap();
    let scan = store.scan().unwrap();
    let known = Known::of(&log);
    let all = ask_both(&log, &*scan, &Filter::new().all());
    assert!(all.iter().all(|rows| *rows > 20), "{all:?}");
    ask_both(&log, &*scan, &Filter::new());
    let mut dice = Dice(2026);
    let mut answered = [0; 5];
    for _ in 0..400 {
        let rows = ask_both(&log, &*scan, &known.filter(&mut dice));
        for (answered, rows) in answered.iter_mut().zip(rows) {
            *answered += usize::from(rows > 0);
        }
    }
    // Filters that never fit would prove nothing.
    assert!(answered.iter().all(|filters| *filters > 40), "{answered:?}");
    store.assert_sound();
}

pub fn rows_of_one_moment_come_in_order(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let mut sink = store.sink();
    sink.meet(&maker.origin);
    let mut rows = Vec::new();
    for _ in 0..50 {
        let mut event = maker.event(Some(1), "my.own", "e", AttributeMap::new());
        event.timestamp_ns = make::T0;
        let mut metric = maker.metric(Some(1), "m", 0.0);
        metric.timestamp_ns = make::T0;
        rows.extend([Row::Event(event), Row::Metric(metric)]);
    }
    for (n, rows) in rows.chunks(7).enumerate() {
        let from = n as u64 * 10;
        sink.write(range(log(1), &maker, from, from + 10), rows)
            .unwrap();
    }
    drop(sink);
    let scan = store.scan().unwrap();
    for order in [Order::Oldest, Order::Newest] {
        let filter = Filter::new().order(order);
        let events = scan
            .events(&filter)
            .unwrap()
            .into_iter()
            .map(|row| row.record);
        let metrics = scan
            .metrics(&filter)
            .unwrap()
            .into_iter()
            .map(|row| row.record);
        for records in [events.collect::<Vec<_>>(), metrics.collect()] {
            let mut numbers: Vec<u64> = records.iter().map(|id| id.unwrap().sequence).collect();
            if order == Order::Newest {
                numbers.reverse();
            }
            assert_eq!(numbers.len(), 50);
            assert!(numbers.is_sorted(), "{order:?} {numbers:?}");
        }
    }
}

pub fn hostile_filters_find_what_they_say(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.awkward();
    let mut sink = store.sink();
    sink.meet(&maker.origin);
    sink.write(range(log(1), &maker, 0, 10), &rows).unwrap();
    drop(sink);
    let scan = store.scan().unwrap();
    let everything = || Filter::new().all();
    for text in TEXTS {
        let mut by_name = everything().name(*text);
        by_name.recorded_only = true;
        let one = [
            scan.traces(&by_name).unwrap().len(),
            scan.spans(&by_name).unwrap().len(),
        ];
        assert_eq!(one, [1, 1], "{text:?}");
        assert_eq!(scan.metrics(&by_name).unwrap().len(), 1, "{text:?}");
        assert_eq!(scan.events(&by_name).unwrap().len(), 2, "{text:?}");
        let found = scan.events(&everything().event_type(*text)).unwrap();
        // An event without a type is a custom one.
        let as_it_says = |event: &emberlog::Event| event.event_type.as_str() == *text;
        assert!(
            found
                .iter()
                .all(|event| as_it_says(event) || text.is_empty()),
            "{text:?}"
        );
        assert!(!found.is_empty(), "{text:?}");
        let error = everything().error_type(*text);
        let failed = scan.spans(&error).unwrap();
        let fits = |span: &emberlog::Span| span.error.as_ref().unwrap().error_type == *text;
        assert!(failed.iter().all(fits), "{text:?}");
        // Everywhere else it must do no harm.
        for filter in [
            everything().attribute(*text, *text),
            everything().graph(*text).graph_version(*text),
            everything().node(*text),
            everything().attribute("key 20", *text),
            everything().name(format!("*{text}*")),
        ] {
            scan.traces(&filter).unwrap();
            scan.spans(&filter).unwrap();
            scan.events(&filter).unwrap();
            scan.metrics(&filter).unwrap();
            scan.links(&filter).unwrap();
        }
    }
    drop(scan);
    crate::backend::assert_holds(&*store, &rows, &[maker.origin], "after hostile filters");
}

pub fn times_far_away_are_found(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.awkward();
    let mut sink = store.sink();
    sink.meet(&maker.origin);
    sink.write(range(log(1), &maker, 0, 10), &rows).unwrap();
    drop(sink);
    let scan = store.scan().unwrap();
    let [past, future] = FAR;
    let names = |filter: &Filter| -> Vec<[usize; 4]> {
        let mut filter = filter.clone().name("far");
        filter.recorded_only = true;
        vec![[
            scan.traces(&filter).unwrap().len(),
            scan.spans(&filter).unwrap().len(),
            scan.events(&filter).unwrap().len(),
            scan.metrics(&filter).unwrap().len(),
        ]]
    };
    let all = || Filter::new().all();
    assert_eq!(names(&all()), [[2; 4]]);
    for (filter, rows) in [
        (all().until_ns(past), 1),
        (all().until_ns(past - 1), 0),
        (all().since_ns(past), 2),
        (all().since_ns(past + 1), 1),
        (all().since_ns(future), 1),
        (all().since_ns(future + 1), 0),
        (all().since_ns(i64::MIN).until_ns(i64::MAX), 2),
    ] {
        assert_eq!(names(&filter), [[rows; 4]], "{filter:?}");
    }
    let newest = scan.traces(&Filter::new().limit(1)).unwrap();
    assert_eq!(newest[0].start_ns, future);
    let oldest = scan
        .traces(&Filter::new().order(Order::Oldest).limit(1))
        .unwrap();
    assert_eq!(oldest[0].start_ns, past);
}
