//! Any bytes over the rings that a dead process left: what a reader shows of them before a recovery
//! is what is in the log after it, and the log checks.
#![no_main]

use std::collections::BTreeSet;

use emberlog::{log::verify, query::Rings, Filter, LogReader, Manager, Status};
use emberlog_fuzz::{apply, config, directory, model, patches, place};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let dir = directory();
    let (log, rings) = (dir.path().join("log"), dir.path().join("rings"));
    let (begun, left) = &model().unlogged;
    place(begun, &log);
    place(left, &rings);
    for patch in patches(data) {
        let (name, bytes) = &left[usize::from(patch.what) % left.len()];
        // Most bytes of a ring are never used.
        let at = if patch.at < 8192 {
            patch.at
        } else {
            patch.at * 16
        };
        apply(&rings.join(name), &patch, at % bytes.len().max(1));
    }
    // Those that have ended: what is open ends as orphaned by the recovery.
    let spans = || {
        let reader = LogReader::open_with(&log, Rings::Folder(rings.clone())).expect("a log");
        let mut found = BTreeSet::new();
        for status in [Status::Ok, Status::Error, Status::Cancelled] {
            for span in reader
                .spans(&Filter::new().all().status(status))
                .expect("rows")
            {
                found.insert(format!(
                    "{:?} {:?} {} {:?}",
                    span.trace_id, span.span_id, span.name, span.status
                ));
            }
        }
        found
    };
    let before = spans();
    if data.is_empty() {
        assert_eq!(before.len(), 40, "the rings hold what was recorded");
    }
    let manager = Manager::open(config(&log, &rings)).expect("left rings are no reason to refuse");
    manager.shutdown().expect("shut down");
    assert_eq!(before, spans());
    let report = verify(&log).expect("a log");
    assert!(report.ok, "{report:?}");
    let second = Manager::open(config(&log, &rings)).expect("opened again");
    let (_, drained) = second.recovered().expect("recording");
    assert_eq!(drained.records, 0, "a second recovery found records");
});
