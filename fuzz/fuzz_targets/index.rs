//! Any bytes over the index of a segment, and any filter: the rows are those that a log without an
//! index gives.
#![no_main]

use std::{fs, path::Path, sync::OnceLock, time::Duration};

use emberlog::{query::Rings, Filter, LogReader, Order, SpanKind, Status};
use emberlog_fuzz::{apply, directory, model, patches, place};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// The log without its index.
fn plain() -> &'static TempDir {
    static PLAIN: OnceLock<TempDir> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let dir = directory();
        place(&model().sealed, dir.path());
        for (name, _) in &model().sealed {
            if name.extension().is_some_and(|e| e == "idx") {
                fs::remove_file(dir.path().join(name)).expect("an index");
            }
        }
        dir
    })
}

fn filter(bytes: &[u8]) -> Filter {
    let mut filter = Filter::new();
    for pair in bytes.chunks_exact(2) {
        let n = pair[1];
        filter = match pair[0] % 9 {
            0 => filter.name(
                ["run", "read", "par*", "*", "size", "half way", "no such"][usize::from(n) % 7],
            ),
            1 => filter.status([Status::Ok, Status::Error, Status::Unset][usize::from(n) % 3]),
            2 => filter.kind([SpanKind::NodeExecution, SpanKind::Internal][usize::from(n) % 2]),
            3 => filter.event_type(["note", "node_failed", "no such"][usize::from(n) % 3]),
            4 => filter.order([Order::Newest, Order::Oldest, Order::Slowest][usize::from(n) % 3]),
            5 => filter.limit(usize::from(n)),
            6 => filter.offset(usize::from(n) % 8),
            7 => filter.min_duration(Duration::from_nanos(u64::from(n) * 1000)),
            _ => filter.attribute("bytes", n.to_string()),
        };
    }
    filter
}

fn rows(dir: &Path, filter: &Filter) -> String {
    let reader = LogReader::open_with(dir, Rings::Ignore).expect("a log");
    let traces = reader.traces(filter).expect("rows");
    let tree = traces
        .first()
        .map(|trace| reader.trace(trace.trace_id).expect("rows"));
    format!(
        "{traces:?} {tree:?} {:?} {:?} {:?}",
        reader.spans(filter).expect("rows"),
        reader.events(filter).expect("rows"),
        reader.metrics(filter).expect("rows"),
    )
}

fuzz_target!(|data: &[u8]| {
    let (asked, changes) = data.split_at((data.len() / 2).min(8));
    let dir = directory();
    place(&model().sealed, dir.path());
    let index = |path: &Path| path.extension().is_some_and(|e| e == "idx");
    let (name, bytes) = model()
        .sealed
        .iter()
        .find(|(path, _)| index(path))
        .expect("an index");
    for patch in patches(changes) {
        apply(&dir.path().join(name), &patch, patch.at % bytes.len());
    }
    let filter = filter(asked);
    assert_eq!(
        rows(dir.path(), &filter),
        rows(plain().path(), &filter),
        "{filter:?}"
    );
});
