//! More names than are kept: what is left over is spelled out. Alone in its process, whose memory it
//! looks at.

mod opened;

use std::{fs, time::Duration};

use emberlog::{Config, EventType, Filter, Manager, Overflow, Value};
use opened::{one_span, shut_and_verify};

/// Memory that is neither a file nor shared, in KiB.
fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_names_are_bounded_in_memory_and_all_found() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| {
        ring.overflow = Overflow::Block {
            timeout: Duration::from_secs(10),
        };
    });
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    let before = anonymous_kib();
    let name = |i: u32| format!("name {i} {}", "x".repeat(150));
    for i in 0..1_000_000 {
        run.span(&name(i)).ok();
    }
    let grown = anonymous_kib().saturating_sub(before);
    // Kept, the texts alone would take 160 MB.
    assert!(grown < 100 << 10, "{grown} KiB");
    run.ok();
    for i in [0, 1, 5_000, 16_384, 20_000, 500_000, 999_999] {
        assert_eq!(one_span(&manager, &name(i)).name, name(i));
    }
    let stats = manager.stats();
    assert_eq!((stats.records["span"], stats.dropped_count), (1_000_000, 0));
    // Later names work everywhere a name does, spelled out.
    let run = manager.start_trace("a late trace name");
    run.event("a late event type", "a late event")
        .with("a late key", 1)
        .record();
    run.metric("a late metric")
        .unit("a late unit")
        .with("a late key", 2)
        .gauge(3);
    run.set("a late key", 4);
    run.ok();
    let event = &manager
        .query_events(&Filter::new().name("a late event"))
        .unwrap()[0];
    assert_eq!(event.event_type, EventType::from("a late event type"));
    assert_eq!(event.attributes.get("a late key"), Some(&Value::I64(1)));
    let metric = &manager
        .query_metrics(&Filter::new().name("a late metric"))
        .unwrap()[0];
    assert_eq!((metric.unit.as_str(), metric.value), ("a late unit", 3.0));
    let trace = &manager
        .query_traces(&Filter::new().name("a late trace name"))
        .unwrap()[0];
    assert_eq!(trace.attributes.get("a late key"), Some(&Value::I64(4)));
    shut_and_verify(manager, dir.path());
}
