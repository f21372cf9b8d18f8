//! The directory of a process that died or ended, torn and flipped, then opened for writing: every
//! frame that nothing touched is kept, what is new is recorded, and the log checks afterwards.
#![no_main]

use std::fs;

use emberlog::{Filter, LogReader, Manager};
use emberlog_fuzz::{apply, config, directory, frames, model, patches, place, segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else {
        return;
    };
    let dir = directory();
    let (log, rings) = (dir.path().join("log"), dir.path().join("rings"));
    let sealed = which % 2 == 0;
    let model = if sealed {
        &model().sealed
    } else {
        &model().open
    };
    place(model, &log);
    fs::create_dir(&rings).expect("a directory");
    let (segment, bytes) = segments(model).remove(0);
    let before = frames(&log);
    let frames_at = before
        .iter()
        .map(|frame| frame.range.0)
        .min()
        .expect("frames");
    // Only behind the header page, which no crash tears: it is written before the file has a name.
    let mut touched = Vec::new();
    for patch in patches(data) {
        let at = frames_at + patch.at % (bytes.len() - frames_at);
        apply(&log.join(&segment), &patch, at);
        let end = if patch.bytes.is_empty() {
            usize::MAX
        } else {
            at + patch.bytes.len()
        };
        touched.push((at, end));
    }
    let manager = match Manager::open(config(&log, &rings)) {
        Ok(manager) => manager,
        Err(error) => panic!("a damaged segment is no reason to refuse: {error}"),
    };
    manager.start_trace("after").ok();
    manager.shutdown().expect("shut down");
    let after = frames(&log);
    let first_damage = touched
        .iter()
        .map(|(at, _)| *at)
        .min()
        .unwrap_or(usize::MAX);
    for frame in before {
        let harmed = touched
            .iter()
            .any(|(at, end)| frame.range.0 < *end && *at < frame.range.1);
        // Behind a torn end that was not durable yet, nothing is promised.
        let promised = sealed || frame.range.1 <= first_damage;
        if !harmed && promised {
            assert!(
                after
                    .iter()
                    .any(|kept| kept.first == frame.first && kept.count == frame.count),
                "{frame:?} is gone; touched {touched:?}"
            );
        }
    }
    let reader = LogReader::open(&log).expect("readable");
    let found = reader
        .traces(&Filter::new().name("after"))
        .expect("readable");
    assert_eq!(found.len(), 1);
    let report = emberlog::log::verify(&log).expect("readable");
    assert!(report.torn_bytes == 0, "{report:?}");
});
