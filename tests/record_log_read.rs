//! What is recorded is in the log after a flush, exactly once, and readable by anybody.

use emberlog::{
    log::{Snapshot, Step},
    record::layout::RecordKind,
    Config, Manager,
};

fn count(dir: &std::path::Path, kind: RecordKind) -> usize {
    let snapshot = Snapshot::open(dir).unwrap();
    let steps = snapshot.frames_from(emberlog::log::Position::START);
    steps
        .map(|step| match step {
            Step::Frame(frame, _) => frame
                .records()
                .filter(|r| r.as_ref().is_ok_and(|(_, r)| r.kind() == kind))
                .count(),
            other => panic!("{other:?}"),
        })
        .sum()
}

#[test]
fn spans_of_several_threads_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let run = manager.start_trace("work");
                    for name in ["read", "parse", "store"] {
                        let mut span = run.node(name);
                        span.set("bytes", 17u64);
                        span.ok();
                    }
                    run.ok();
                }
            });
        }
    });
    manager.flush().unwrap();
    assert_eq!(count(dir.path(), RecordKind::Span), 6000);
    assert_eq!(count(dir.path(), RecordKind::TraceStart), 2000);
    assert_eq!(count(dir.path(), RecordKind::TraceEnd), 2000);
    let stats = manager.stats();
    assert_eq!((stats.records["span"], stats.dropped_count), (6000, 0));
    manager.shutdown().unwrap();
    assert_eq!(count(dir.path(), RecordKind::Span), 6000);
}

#[test]
fn a_second_open_goes_on_behind_the_first() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let manager = Manager::open(Config::new(dir.path())).unwrap();
        manager.start_trace("run").ok();
        drop(manager);
        assert_eq!(count(dir.path(), RecordKind::TraceEnd), round);
    }
}
