//! A manager over a directory, asked and ended the way tests do it again and again.

#![allow(dead_code)] // each test file uses a part of it

use std::path::Path;

use emberlog::{log::verify, Config, Filter, Manager, Span};

pub fn open(dir: &Path) -> Manager {
    Manager::open(Config::new(dir)).unwrap()
}

pub fn one_span(manager: &Manager, name: &str) -> Span {
    let mut spans = manager.query_spans(&Filter::new().name(name)).unwrap();
    assert_eq!(spans.len(), 1, "{name}");
    spans.remove(0)
}

/// Everything is logged, and the log checks.
pub fn shut_and_verify(manager: Manager, dir: &Path) {
    assert_eq!(manager.stats().dropped_count, 0, "{:?}", manager.stats());
    manager.shutdown().unwrap();
    drop(manager);
    let report = verify(dir).unwrap();
    assert!(report.ok, "{report:?}");
}
