//! What goes, what stays, and who is told.

use std::path::Path;

use crate::log::{
    prune, LogDir, Options, Position, Prune, Removed, RemovedBy, Slots, Snapshot, Step,
};

use super::support::*;

/// Fills about `segments` segments and runs retention to the end.
fn fill(dir: &Path, options: &Options, segments: u64) -> Vec<Removed> {
    let (mut writer, mut housekeeper) = open(dir, options);
    for n in 0..segments {
        append(
            &mut writer,
            1,
            n * 16_000,
            &spans(1, n * 16_000, (n + 1) * 16_000),
        );
        writer.commit().unwrap();
    }
    writer.close().unwrap();
    housekeeper.prune();
    housekeeper.join();
    let removed = housekeeper.take_removed();
    housekeeper.stop().unwrap();
    removed
}

fn cursor(dir: &Path, at: Position) {
    let log = Snapshot::open(dir).unwrap().log().log_id;
    let (mut slots, _) = Slots::<128>::open(&dir.join("cursors/slow.cursor"), b"EMBRCURS").unwrap();
    let mut slot = [0; 128];
    slot[16..32].copy_from_slice(&log.0);
    slot[48..56].copy_from_slice(&at.epoch.to_le_bytes());
    slot[56..64].copy_from_slice(&at.offset.to_le_bytes());
    slots.write(&mut slot).unwrap();
}

#[test]
fn size_removes_the_oldest_and_readers_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: Some(5 << 20),
        ..options()
    };
    let removed = fill(dir.path(), &options, 12);
    assert!(removed.len() >= 7, "{removed:?}");
    assert!(removed
        .iter()
        .all(|r| r.reason == RemovedBy::Size && r.cursors.is_empty()));
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let gone: u64 = removed.iter().map(|r| r.records).sum();
    assert_eq!(snapshot.floor().records, gone);
    let mut steps = snapshot.frames_from(Position::START);
    let first = steps.next().unwrap();
    assert!(matches!(first, Step::Gap { to, .. } if to > removed.last().unwrap().to));
    assert!(steps.all(|s| matches!(s, Step::Frame(..))));
    let left: u64 = snapshot
        .segments()
        .iter()
        .flat_map(|v| v.frames())
        .map(|e| u64::from(e.count))
        .sum();
    let prologues = (snapshot.segments().len() + removed.len()) as u64 * 5;
    assert_eq!(gone + left, 12 * 16_000 + prologues);
}

#[test]
fn a_cursor_keeps_what_it_needs_up_to_the_hard_limit() {
    let dir = tempfile::tempdir().unwrap();
    LogDir::lock(dir.path(), &options()).unwrap();
    cursor(dir.path(), Position::START);
    let mut options = Options {
        max_bytes: Some(5 << 20),
        hard_max_bytes: Some(1 << 30),
        ..options()
    };
    assert_eq!(fill(dir.path(), &options, 8), []);
    options.hard_max_bytes = Some(6 << 20);
    let removed = fill(dir.path(), &options, 1);
    assert!(!removed.is_empty());
    assert!(removed
        .iter()
        .all(|r| r.reason == RemovedBy::HardLimit && r.cursors == ["slow"]));
    // Past it, nothing protects them.
    let end = Snapshot::open(dir.path()).unwrap().end();
    cursor(dir.path(), end);
    options.hard_max_bytes = Some(1 << 30);
    let removed = fill(dir.path(), &options, 2);
    assert!(
        removed.iter().all(|r| r.reason == RemovedBy::Size),
        "{removed:?}"
    );
}

/// The floor was read when the directory was listed, so a reader that came to the removed segments
/// too late began with those that were left, and nobody counted the others.
#[test]
fn what_goes_while_a_reader_opens_segments_is_a_gap_to_it() {
    let dir = tempfile::tempdir().unwrap();
    LogDir::lock(dir.path(), &options()).unwrap();
    let mut reader = Snapshot::open(dir.path()).unwrap();
    assert_eq!(fill(dir.path(), &options(), 6), []);
    let listed = reader.list().unwrap();
    let what = Prune {
        max_bytes: Some(3 << 20),
        ..Prune::default()
    };
    let pruned = prune(dir.path(), &what).unwrap();
    let last = pruned.removed.last().unwrap().to;
    reader.capture(listed).unwrap();
    let gone: u64 = pruned.removed.iter().map(|r| r.records).sum();
    assert_eq!(reader.floor().records, gone);
    let mut steps = reader.frames_from(Position::START);
    let first = steps.next().unwrap();
    assert!(
        matches!(first, Step::Gap { to, .. } if to > last),
        "{first:?}"
    );
    assert!(steps.all(|step| matches!(step, Step::Frame(..))));
}
