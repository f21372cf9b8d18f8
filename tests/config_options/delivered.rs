//! What every row has, and when rows leave for backends.

use super::*;

#[test]
pub(super) fn resource_attributes() {
    let dir = folder();
    let text = "service.name=indexer,k8s.pod.name=pod-1";
    let manager = open(dir.path(), &[("resource_attributes", text)]);
    record_one_of_each(&manager);
    let resource = &manager.query_traces(&Filter::new()).unwrap()[0].resource;
    assert_eq!(resource.get("service.name"), Some(&"indexer".into()));
    assert_eq!(resource.get("k8s.pod.name"), Some(&"pod-1".into()));
}

#[test]
pub(super) fn service_name() {
    let dir = folder();
    let options = [
        ("resource_attributes", "service.name=a,host.name=h"),
        ("service_name", "b"),
    ];
    let manager = open(dir.path(), &options);
    record_one_of_each(&manager);
    let resource = &manager.query_traces(&Filter::new()).unwrap()[0].resource;
    assert_eq!(resource.get("service.name"), Some(&"b".into()));
    assert_eq!(resource.get("host.name"), Some(&"h".into()));
}

/// Attributes of every row that there is.
pub(super) fn attributes_of_all(manager: &Manager) -> Vec<AttributeMap> {
    let all = Filter::new().all();
    let mut found = Vec::new();
    found.extend(
        manager
            .query_traces(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_spans(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_events(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    found.extend(
        manager
            .query_metrics(&all)
            .unwrap()
            .into_iter()
            .map(|r| r.attributes),
    );
    assert!(found.len() > 8, "{found:?}");
    found
}

#[test]
pub(super) fn custom_attributes() {
    let dir = folder();
    let nested = Value::Map(vec![(
        "tier".to_owned(),
        Value::Array(vec![1.into(), true.into()]),
    )]);
    let config = with(
        Config::new(dir.path()),
        &[("custom_attributes", "team=core")],
    );
    let manager = Manager::open(config.custom("sla", nested.clone())).unwrap();
    record_one_of_each(&manager);
    for attributes in attributes_of_all(&manager) {
        assert_eq!(attributes.get("team"), Some(&"core".into()));
        assert_eq!(attributes.get("sla"), Some(&nested));
    }
}

#[test]
pub(super) fn metadata() {
    let dir = folder();
    let options = [
        ("custom_attributes", "environment=staging"),
        ("metadata", "environment=lost,region=eu"),
    ];
    let manager = open(dir.path(), &options);
    record_one_of_each(&manager);
    for attributes in attributes_of_all(&manager) {
        assert_eq!(attributes.get("region"), Some(&"eu".into()));
        assert_eq!(attributes.get("environment"), Some(&"staging".into()));
    }
}

#[test]
pub(super) fn max_events_per_span() {
    for (text, kept, dropped) in [
        ("2", vec!["3", "4"], 3),
        ("100", vec!["0", "1", "2", "3", "4"], 0),
    ] {
        let dir = folder();
        let manager = open(dir.path(), &[("max_events_per_span", text)]);
        let run = manager.start_trace("run");
        let id = run.trace_id().unwrap();
        let span = run.span("chatty");
        for n in ["0", "1", "2", "3", "4"] {
            run.event("milestone", n).record();
        }
        span.ok();
        run.ok();
        let tree = manager.get_trace(id).unwrap().unwrap();
        let own = tree
            .events
            .iter()
            .filter(|e| e.event_type.as_str() == "milestone");
        assert_eq!(own.map(|e| e.name.as_str()).collect::<Vec<_>>(), kept);
        assert_eq!(tree.nodes[0].dropped_events, dropped);
    }
}

#[test]
pub(super) fn buffer_size() {
    let dir = folder();
    // Nobody flushes, and the interval asks for nothing.
    let (backend, batches) = told(Duration::ZERO);
    let options = [("export_interval", "0"), ("buffer_size", "5")];
    let manager = Manager::open(with(Config::new(dir.path()), &options).backend(backend)).unwrap();
    for _ in 0..20 {
        manager.event("milestone", "tick").record();
    }
    assert!(batches.recv_timeout(LONG).unwrap() >= 5);
    drop(manager);

    let dir = folder();
    let (backend, batches) = told(Duration::ZERO);
    let options = [("export_interval", "0"), ("buffer_size", "100000")];
    let manager = Manager::open(with(Config::new(dir.path()), &options).backend(backend)).unwrap();
    for _ in 0..20 {
        manager.event("milestone", "tick").record();
    }
    until("seen by the backend's thread", || {
        manager.stats().backends[0].lag_records >= 20
    });
    assert!(batches.try_recv().is_err());
    manager.export(LONG).unwrap();
    assert_eq!(batches.try_iter().sum::<usize>(), 20);
}

#[test]
pub(super) fn export_interval() {
    for (text, by_itself) in [("10ms", true), ("0", false)] {
        let dir = folder();
        let (backend, batches) = told(Duration::ZERO);
        let options = [("export_interval", text), ("buffer_size", "100000")];
        let config = with(Config::new(dir.path()), &options).backend(backend);
        let manager = Manager::open(config).unwrap();
        manager.event("milestone", "tick").record();
        if by_itself {
            assert_eq!(batches.recv_timeout(LONG), Ok(1));
            continue;
        }
        // Longer than without the option.
        assert!(batches.recv_timeout(Duration::from_secs(12)).is_err());
        manager.export(LONG).unwrap();
        assert_eq!(batches.try_recv(), Ok(1));
    }
}

/// Another spelling of an option changes what the option changes.
pub(super) fn same_as(spelling: (&str, &str), option: (&str, &str)) {
    let one = with(Config::default(), &[spelling]);
    assert_eq!(one, with(Config::default(), &[option]));
    assert_ne!(one, Config::default());
}

#[test]
pub(super) fn export_interval_ms() {
    same_as(("export_interval_ms", "2500"), ("export_interval", "2.5"));
}

#[test]
pub(super) fn shutdown_timeout() {
    // The backend takes a second for a batch.
    for (text, all) in [("20ms", false), ("60s", true)] {
        let dir = folder();
        let (backend, _batches) = told(Duration::from_secs(1));
        let options = [("shutdown_timeout", text), ("export_interval", "0")];
        let config = with(Config::new(dir.path()), &options).backend(backend);
        let manager = Manager::open(config).unwrap();
        manager.event("milestone", "tick").record();
        manager.flush().unwrap();
        match manager.shutdown() {
            Ok(ended) => assert_eq!(ended.backends[0].ended, all, "{ended:?}"),
            // Not even the log was done in 20 ms.
            Err(error) => assert!(!all, "{error}"),
        }
    }
}

#[test]
pub(super) fn async_export() {
    assert_eq!(
        with(Config::default(), &[("async_export", "true")]),
        Config::default()
    );
    let setting = Setting::all()
        .iter()
        .find(|s| s.name == "async_export")
        .unwrap();
    let refused = setting
        .set(&mut Config::default(), &false.into())
        .unwrap_err();
    assert!(refused.contains("async_export must be true"), "{refused}");
    // What it promises: a backend that takes a second holds up nobody who records and flushes.
    let dir = folder();
    let (backend, batches) = told(Duration::from_secs(1));
    let options = [("async_export", "true"), ("buffer_size", "1")];
    let config = with(Config::new(dir.path()), &options).backend(backend);
    let manager = Manager::open(config).unwrap();
    for _ in 0..100 {
        manager.event("milestone", "tick").record();
        manager.flush().unwrap();
    }
    assert!(batches.try_iter().count() < 100);
}
