//! A database that a backend wrote gives the same analysis as the log that it was written from.

#![cfg(feature = "sqlite")]

mod analysis_support;

use std::{path::Path, time::Duration};

use analysis_support::world;
use emberlog::{
    analysis::Analyzer,
    backend::{
        sqlite::{self, SqliteReader, SqliteSink},
        Scan, Sink,
    },
    log::Snapshot,
    query::{LogReader, Rings},
    tail::{self, LogSource, Tail},
    Filter,
};
use proptest::prelude::*;

/// Delivers everything that the log has.
fn deliver(log: &Path, database: &Path) {
    let options = sqlite::Options::new(database);
    let open = move || {
        let sink = SqliteSink::open("sqlite", options.clone())?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    };
    let end = Snapshot::open(log).unwrap().end();
    let source = LogSource::open(log).unwrap();
    let tail = Tail::start(log, source, open, tail::Options::new("sqlite")).unwrap();
    tail.export(end, Duration::from_secs(60)).unwrap();
    tail.shutdown(Duration::from_secs(5));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_says_what_the_log_says(runs in world::world(), turn in any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let (log, database) = (dir.path().join("log"), dir.path().join("t.db"));
        let held = world::write(&log, &runs, turn);
        deliver(&log, &database);
        let reader = LogReader::open_with(&log, Rings::Ignore).unwrap();
        let sqlite = SqliteReader::open(&database, Duration::from_secs(10)).unwrap();
        let all = Analyzer::new().since_ns(i64::MIN).until_ns(i64::MAX).min_executions(1);
        let of_graph = all.clone().graph("g1");
        for analyzer in [&all, &of_graph] {
            let from_log = analyzer.log(&reader).unwrap();
            let from_rows = analyzer.scan(&sqlite).unwrap();
            prop_assert_eq!(from_log, from_rows);
        }
        let from_log = of_graph.compare_log("1", "2", &reader).unwrap();
        let from_rows = of_graph.compare_scan("1", "2", &sqlite).unwrap();
        prop_assert_eq!(from_log, from_rows);

        // Asked for together, the parts of traces are what they are one by one.
        let ids: Vec<_> = Scan::traces(&sqlite, &Filter::new().all())
            .unwrap()
            .into_iter()
            .map(|trace| trace.trace_id)
            .collect();
        let mut parts = sqlite.parts(&ids).unwrap();
        let recorded = |mut filter: Filter| {
            filter.recorded_only = true;
            filter
        };
        let mut spans = Vec::new();
        let (mut events, mut metrics) = (Vec::new(), Vec::new());
        for id in &ids {
            let filter = recorded(Filter::new().trace_id(*id).all());
            spans.extend(Scan::spans(&sqlite, &filter).unwrap());
            events.extend(Scan::events(&sqlite, &filter).unwrap());
            metrics.extend(Scan::metrics(&sqlite, &filter).unwrap());
        }
        spans.sort_by_key(|row| row.record);
        events.sort_by_key(|row| row.record);
        metrics.sort_by_key(|row| row.record);
        parts.spans.sort_by_key(|row| row.record);
        parts.events.sort_by_key(|row| row.record);
        parts.metrics.sort_by_key(|row| row.record);
        prop_assert_eq!((parts.spans, parts.events), (spans, events));
        prop_assert_eq!(parts.metrics, metrics);
        prop_assert!(sqlite.parts(&[]).unwrap().spans.is_empty());
        drop(held);
    }
}
