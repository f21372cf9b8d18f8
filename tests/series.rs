//! Measurements that add up in memory: one record per series and interval, and nothing is lost.

use std::{sync::Barrier, time::Duration};

use emberlog::{Aggregation, Config, Filter, Manager, Metric, Value};

/// A log whose series are written only when somebody asks.
fn open() -> (tempfile::TempDir, Manager) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).metric_interval(Duration::ZERO);
    (dir, Manager::open(config).unwrap())
}

/// Oldest first.
fn rows(manager: &Manager, name: &str) -> Vec<Metric> {
    let filter = Filter::new().name(name).all();
    let mut rows = manager.query_metrics(&filter).unwrap();
    rows.sort_by_key(|row| row.timestamp_ns);
    rows
}

#[test]
fn a_series_writes_one_record_each_time_and_none_if_nothing_happened() {
    let (_dir, manager) = open();
    let meter = || manager.meter("bytes").unit("bytes").with("route", "/a");
    let counter = meter().counter();
    let other = manager
        .meter("bytes")
        .unit("bytes")
        .with("route", "/b")
        .counter();
    for _ in 0..1000 {
        counter.add(2);
    }
    // Who asks again gets the same series.
    meter().counter().add(1);
    other.add(7);
    manager.flush().unwrap();
    manager.flush().unwrap();
    counter.add(5);
    manager.flush().unwrap();
    let all = rows(&manager, "bytes");
    let of = |route: &str| -> Vec<_> {
        let mine = all
            .iter()
            .filter(|row| row.attributes.get("route") == Some(&route.into()));
        mine.map(|row| row.integer).collect()
    };
    assert_eq!(of("/a"), [Some(2001), Some(5)]);
    assert_eq!(of("/b"), [Some(7)]);
    assert!(all
        .iter()
        .all(|row| row.aggregation == Aggregation::Counter && row.unit == "bytes"));

    let gauge = manager.meter("load").gauge();
    gauge.set(3.0);
    gauge.add(-0.5);
    manager.flush().unwrap();
    manager.flush().unwrap();
    gauge.set(2.5);
    manager.flush().unwrap();
    let values: Vec<_> = rows(&manager, "load").iter().map(|row| row.value).collect();
    assert_eq!(values, [2.5, 2.5]);
}

#[test]
fn a_histogram_keeps_number_sum_extremes_and_sizes() {
    let (_dir, manager) = open();
    let histogram = manager.meter("latency").histogram();
    for value in [0.0, -4.0, 1.0, 1.01, 100.0, f64::NAN, f64::INFINITY] {
        histogram.record(value);
    }
    histogram.record_many(100.0, 3);
    manager.flush().unwrap();
    let all = rows(&manager, "latency");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].aggregation, Aggregation::Histogram);
    assert!((all[0].value - 398.01 / 8.0).abs() < 1e-9);
    let Some(Value::Map(told)) = all[0].attributes.get("emberlog.distribution") else {
        panic!("{all:?}");
    };
    let entry = |name: &str| told.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!(entry("count"), Value::U64(8));
    assert_eq!(
        (entry("min"), entry("max")),
        (Value::F64(-4.0), Value::F64(100.0))
    );
    let (Value::Array(values), Value::Array(counts)) = (entry("values"), entry("counts")) else {
        panic!("{told:?}");
    };
    let pairs = values
        .iter()
        .map(|v| v.as_f64().unwrap())
        .zip(counts.iter().map(|c| c.as_i64().unwrap()));
    for (value, expected, times) in pairs
        .clone()
        .zip([(0.0, 1), (-4.0, 1), (1.0, 2), (100.0, 4)])
        .map(|((value, count), (expected, times))| {
            assert_eq!(count, times);
            (value, expected, times)
        })
    {
        let near: f64 = value - expected;
        assert!(
            near.abs() <= f64::abs(expected) * 0.05,
            "{value} {expected} {times}"
        );
    }
    assert_eq!(pairs.count(), 4);
}

/// Every measurement is in exactly one record, whoever makes it and whenever records are written.
#[test]
fn nothing_is_lost_or_counted_twice_between_records() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let (dir, manager) = open();
    let start = Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let counter = manager.meter("jobs").counter();
                let histogram = manager.meter("sizes").histogram();
                start.wait();
                for i in 0..EACH {
                    counter.add(1);
                    histogram.record(i as f64);
                }
            });
        }
        start.wait();
        for _ in 0..50 {
            manager.flush().unwrap();
        }
    });
    // What is left is written at the end.
    manager.shutdown().unwrap();
    let reader = emberlog::LogReader::open(dir.path()).unwrap();
    let of = |name: &str| reader.metrics(&Filter::new().name(name).all()).unwrap();
    let jobs: i128 = of("jobs").iter().filter_map(|row| row.integer).sum();
    assert_eq!(jobs, i128::from(THREADS * EACH));
    let counted: i64 = of("sizes")
        .iter()
        .map(|row| match row.attributes.get("emberlog.distribution") {
            Some(Value::Map(told)) => told[0].1.as_i64().unwrap(),
            _ => panic!("{row:?}"),
        })
        .sum();
    assert_eq!(counted, (THREADS * EACH) as i64);
}

#[test]
fn attributes_without_end_add_up_in_one_series() {
    let (_dir, manager) = open();
    for i in 0..10_100 {
        manager.meter("many").with("user", i).counter().add(1);
    }
    manager.flush().unwrap();
    let all = rows(&manager, "many");
    assert_eq!(all.len(), 10_001);
    let overflow = Some(&Value::Bool(true));
    let rest = all
        .iter()
        .find(|row| row.attributes.get("otel.metric.overflow") == overflow);
    assert_eq!(rest.and_then(|row| row.integer), Some(100));
}

#[test]
fn where_nothing_is_recorded_handles_do_nothing() {
    let off = Manager::disabled();
    off.meter("x").counter().add(1);
    let (dir, _) = open();
    let config = Config::new(dir.path().join("none")).enable_metrics(false);
    let manager = Manager::open(config).unwrap();
    manager.meter("x").gauge().set(1.0);
    manager.flush().unwrap();
    assert!(rows(&manager, "x").is_empty());
    // One that outlives its manager.
    let (_dir, manager) = open();
    let histogram = manager.meter("x").histogram();
    manager.shutdown().unwrap();
    histogram.record(1.0);
    manager.meter("x").counter().add(1);
    assert!(rows(&manager, "x").is_empty());
}
