//! Presets, backends and what each has for itself.

use super::*;

#[test]
pub(super) fn preset() {
    // As the documents have them: sampling rate, records, seconds, days, events per span, events at all.
    let documented = [
        ("development", 1.0, 100, 1.0, 30, 100, true),
        ("staging", 0.5, 1000, 10.0, 30, 100, true),
        ("production", 0.05, 10_000, 30.0, 365, 100, true),
        ("high_volume", 0.01, 50_000, 60.0, 30, 50, false),
        ("testing", 1.0, 10, 0.1, 30, 100, true),
        ("low_overhead", 0.01, 100_000, 120.0, 30, 10, false),
        ("max_visibility", 1.0, 1000, 5.0, 30, 1000, true),
        ("balanced", 1.0, 100, 5.0, 30, 100, true),
        ("balanced_cost", 0.1, 5000, 30.0, 60, 100, true),
    ];
    assert_eq!(documented.len(), Preset::ALL.len());
    for (name, rate, records, seconds, days, events, enable_events) in documented {
        let config = with(Config::new("log"), &[("preset", name)]);
        let expected = Config::new("log")
            .sampling_rate(rate)
            .buffer_size(records)
            .export_interval(Duration::from_secs_f64(seconds))
            .retention_days(days)
            .max_events_per_span(events)
            .enable_events(enable_events);
        assert_eq!(config, expected, "{name}");
        config.validate().unwrap();
    }
}

#[test]
pub(super) fn backends() {
    let dir = folder();
    let (one, first) = told(Duration::ZERO);
    let (two, second) = told(Duration::ZERO);
    let config = Config::new(dir.path())
        .backend(one)
        .backend(two.named("second"));
    let manager = Manager::open(config).unwrap();
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let rows: [usize; 2] = [first.try_iter().sum(), second.try_iter().sum()];
    assert!(rows[0] >= 6 && rows[0] == rows[1], "{rows:?}");
}

pub(super) fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
    Value::Map(entries.collect())
}

/// A configuration with one backend of this kind and these parameters.
#[cfg(feature = "sqlite")]
pub(super) fn one_backend(dir: &Path, kind: &str, parameters: &[(&str, Value)]) -> Config {
    let value = map(&[
        ("enabled", true.into()),
        ("dir", dir.to_str().unwrap().into()),
        ("backend", kind.into()),
        ("backend_config", map(parameters)),
    ]);
    Config::from_value(&value).unwrap()
}

#[cfg(feature = "sqlite")]
#[test]
pub(super) fn sqlite_db_path() {
    let dir = folder();
    let database = dir.path().join("here.db");
    let path = ("db_path", database.to_str().unwrap().into());
    let manager = Manager::open(one_backend(&dir.path().join("log"), "sqlite", &[path])).unwrap();
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let db = rusqlite::Connection::open(&database).unwrap();
    let traces: i64 = db
        .query_row("SELECT count(*) FROM traces", [], |row| row.get(0))
        .unwrap();
    assert_eq!(traces, 1);
}

#[cfg(feature = "sqlite")]
#[test]
pub(super) fn sqlite_busy_timeout() {
    for (timeout, waits) in [(Value::from("1h"), true), (Value::from(0), false)] {
        let dir = folder();
        let database = dir.path().join("busy.db");
        let parameters = [
            ("db_path", database.to_str().unwrap().into()),
            ("busy_timeout", timeout),
        ];
        let config = one_backend(&dir.path().join("log"), "sqlite", &parameters);
        let manager = Manager::open(config).unwrap();
        manager.export(LONG).unwrap();
        let db = rusqlite::Connection::open(&database).unwrap();
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        record_one_of_each(&manager);
        manager.flush().unwrap();
        if waits {
            // Longer than without the option.
            let late = manager.export(Duration::from_secs(7));
            assert!(late.is_err());
        } else {
            until("failed", || manager.stats().backends[0].errors > 0);
        }
        db.execute_batch("ROLLBACK").unwrap();
        manager.export(LONG).unwrap();
        assert_eq!(manager.stats().backends[0].errors == 0, waits);
    }
}

#[cfg(feature = "sqlite")]
#[test]
pub(super) fn sqlite_write_derived() {
    for written in [true, false] {
        let dir = folder();
        let database = dir.path().join("derived.db");
        let parameters = [
            ("db_path", database.to_str().unwrap().into()),
            ("write_derived", written.into()),
        ];
        let config = one_backend(&dir.path().join("log"), "sqlite", &parameters);
        let manager = Manager::open(config).unwrap();
        record_one_of_each(&manager);
        manager.export(LONG).unwrap();
        let db = rusqlite::Connection::open(&database).unwrap();
        let sql = "SELECT count(*) FROM derived_metric_rows";
        let rows: i64 = db.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(rows > 0, written);
    }
}

/// A kind that is the log itself.
#[test]
pub(super) fn memory_max_bytes() {
    let config = |bytes: &str| {
        let parameters = map(&[("max_bytes", bytes.into())]);
        let entries = [
            ("enabled", true.into()),
            ("backend", "memory".into()),
            ("backend_config", parameters),
        ];
        Config::from_value(&map(&entries)).unwrap()
    };
    // What it records is more than the one holds, and less than the other does.
    for (bytes, kept) in [("8 MiB", false), ("256 MiB", true)] {
        let manager =
            Manager::open(with(config(bytes), &[("ring.overflow", "block:60s")])).unwrap();
        let text = "x".repeat(1000);
        for n in 0..20_000 {
            let event = manager.event("milestone", "big").with("n", n);
            event.with("text", text.as_str()).record();
        }
        manager.flush().unwrap();
        let all = manager.query_events(&Filter::new().all()).unwrap();
        assert_eq!(all.len() == 20_000, kept, "{bytes}: {}", all.len());
        assert_eq!(all[0].attributes.get("n"), Some(&19_999.into()));
    }
}

/// What a backend has for itself instead of what holds for all.
#[cfg(feature = "sqlite")]
#[test]
pub(super) fn options_of_one_backend() {
    let dir = folder();
    let database = |name: &str| dir.path().join(name);
    let backend = |name: &str, own: (&str, Value)| {
        let path = database(name).to_str().unwrap().into();
        map(&[
            ("backend", "sqlite".into()),
            ("name", name.into()),
            ("backend_config", map(&[("db_path", path)])),
            own,
        ])
    };
    let log = dir.path().join("log");
    let manager = open(&log, &[]);
    record_one_of_each(&manager);
    drop(manager);
    let value = map(&[
        ("enabled", true.into()),
        ("dir", log.to_str().unwrap().into()),
        ("export_interval", 0.into()),
        (
            "backends",
            Value::Array(vec![
                backend("all", ("buffer_size", 1_000_000.into())),
                backend("late", ("begin", "end".into())),
                backend("at-once", ("buffer_size", 1.into())),
                backend("soon", ("export_interval", "10ms".into())),
                backend("kept", ("retention_age", "none".into())),
            ]),
        ),
    ]);
    let config = Config::from_value(&value).unwrap();
    assert_eq!(Config::from_value(&config.to_value()).unwrap(), config);
    let manager = Manager::open(config).unwrap();
    let at = |name: &str| {
        let stats = manager.stats();
        let backend = stats.backends.iter().find(|b| b.name == name).unwrap();
        backend.delivered
    };
    until("delivered at once", || at("at-once") > 0);
    until("delivered soon", || at("soon") > 0);
    record_one_of_each(&manager);
    manager.export(LONG).unwrap();
    let traces = |name: &str| {
        let db = rusqlite::Connection::open(database(name)).unwrap();
        let sql = "SELECT count(*) FROM traces";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((traces("all"), traces("late")), (2, 1));

    let wrong = map(&[(
        "backends",
        Value::Array(vec![backend("x", ("select", "code".into()))]),
    )]);
    let problems = Config::from_value(&wrong).unwrap_err().problems;
    assert!(
        problems[0].starts_with("backends.select must be left out"),
        "{problems:?}"
    );
}
