//! What the format promises about marks, boots, names, and bytes of newer builds.

use crate::{
    log::{
        layout::{finish, frame_crc, put, HEADER_BYTES, MARK_AT, STATE_AT},
        verify, FrameError, LogDir, Snapshot, Step,
    },
    record::kinds::GapCause,
};

use super::support::*;
use crate::sync::fault::Plan;

/// A log whose writer died with one open segment of ten frames of one ring.
fn dead_log(dir: &std::path::Path) -> Vec<crate::log::FrameEntry> {
    let (mut writer, housekeeper) = open(dir, &options());
    for n in 0..10 {
        append(&mut writer, 1, n * 50, &spans(1, n * 50, (n + 1) * 50));
    }
    writer.commit().unwrap();
    drop(writer);
    housekeeper.stop().unwrap();
    let snapshot = Snapshot::open(dir).unwrap();
    snapshot.segments()[0].frames().to_vec()
}

fn edit(path: &std::path::Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn kept(dir: &std::path::Path) -> Vec<u64> {
    let snapshot = Snapshot::open(dir).unwrap();
    let mut found = Vec::new();
    for step in snapshot.frames_from(crate::log::Position::START) {
        if let Step::Frame(frame, _) = step {
            let records = frame.records().flatten().filter(|(id, _)| id.ring == 1);
            found.extend(records.map(|(id, _)| id.sequence));
        }
    }
    found
}

#[test]
fn a_length_of_zero_below_the_mark_is_damage_and_no_end() {
    for other in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let frames = dead_log(dir.path());
        let path = segment_of(dir.path());
        let (from, to) = (frames[4].offset as usize, frames[5].offset as usize);
        edit(&path, |bytes| bytes[from..to].fill(0));
        set_durable(dir.path(), 0);
        if other {
            other_boot(&path);
        }
        // In the same boot the mark proves what was written; after another one nothing does.
        let expected: Vec<u64> = match other {
            false => (0..150).chain(200..500).collect(),
            true => (0..150).collect(),
        };
        assert_eq!(kept(dir.path()), expected, "before recovery");
        let report = LogDir::lock(dir.path(), &options())
            .unwrap()
            .recover()
            .unwrap();
        assert_eq!(kept(dir.path()), expected, "after recovery");
        assert_eq!(report.damage.len(), 1);
        assert_eq!(report.damage[0].torn, other);
        let gap = report.gaps[0];
        assert_eq!(gap.cause.unwrap() == GapCause::Torn, other);
        assert_eq!(
            (gap.records, gap.ring),
            if other {
                (None, None)
            } else {
                (Some(50), Some(1))
            }
        );
    }
}

#[test]
fn after_another_boot_a_mark_says_nothing_and_nothing_shrinks_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let frames = dead_log(dir.path());
    let path = segment_of(dir.path());
    // The mark and the state reached the disk, the last frames did not.
    let torn = frames[7].offset as usize;
    edit(&path, |bytes| {
        let mark = u64::from_le_bytes(bytes[MARK_AT..MARK_AT + 8].try_into().unwrap());
        bytes[torn..mark as usize].fill(0);
        put(bytes, STATE_AT, &1u64.to_le_bytes());
    });
    other_boot(&path);
    let mark = std::fs::read(&path).unwrap()[MARK_AT..MARK_AT + 8].to_vec();
    let mark = u64::from_le_bytes(mark.try_into().unwrap());
    set_durable(dir.path(), u64::from(frames[3].offset));
    let mut before = Snapshot::open(dir.path()).unwrap();
    let view = before.segments()[0].clone();
    assert!(!view.is_sealed());
    assert_eq!(view.end().offset, torn as u64, "the end is what checks");
    assert_eq!(kept(dir.path()).len(), 300);
    LogDir::lock(dir.path(), &options())
        .unwrap()
        .recover()
        .unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() >= mark);
    assert_eq!(kept(dir.path()).len(), 300);
    before.refresh().unwrap();
    assert!(before.segments()[0].is_sealed());
    assert!(verify(dir.path()).unwrap().ok);

    // And without a mark, what the watermark vouches for is there.
    let dir = tempfile::tempdir().unwrap();
    let frames = dead_log(dir.path());
    let path = segment_of(dir.path());
    edit(&path, |bytes| {
        put(bytes, MARK_AT, &HEADER_BYTES.to_le_bytes())
    });
    other_boot(&path);
    set_durable(dir.path(), u64::from(frames[9].offset));
    assert_eq!(kept(dir.path()).len(), 400);
}

#[test]
fn what_was_lost_is_reported_until_the_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let frames = dead_log(dir.path());
    let at = frames[4].offset as usize;
    edit(&segment_of(dir.path()), |bytes| bytes[at + 70] ^= 1);
    // Recovered three times, by opens that died before they could log the loss.
    let mut reports = Vec::new();
    for _ in 0..3 {
        let report = LogDir::lock(dir.path(), &options())
            .unwrap()
            .recover()
            .unwrap();
        reports.push(report.gaps);
    }
    assert_eq!(reports[0].len(), 1);
    assert!(reports.iter().all(|gaps| *gaps == reports[0]));
    let mut log = LogDir::lock(dir.path(), &options()).unwrap();
    let gaps = log.recover().unwrap().gaps;
    let (mut writer, housekeeper) = log.start().unwrap();
    let mut first = prologue();
    let record: [u64; 9] = crate::record::view::words_of(&gaps[0].record(5));
    first.extend(record);
    writer.roll(&first, soon()).unwrap();
    let end = writer.commit().unwrap();
    writer.gaps_logged(end);
    housekeeper.wait_durable(end, soon()).unwrap();
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    assert_eq!(snapshot.segments()[1].gaps(), gaps);
    let report = LogDir::lock(dir.path(), &options())
        .unwrap()
        .recover()
        .unwrap();
    assert_eq!(report.gaps, []);
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!((report.recorded_gaps.len(), report.recorded_holes), (1, 50));
}

#[test]
fn a_base_is_never_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut reader = None;
    for round in 0..6 {
        // Dies with an empty segment prepared; or closes, which removes it.
        let (mut writer, housekeeper) = open(dir.path(), &options());
        append(&mut writer, 1, 0, &spans(1, 0, 10));
        writer.commit().unwrap();
        while segments_of(dir.path()).len() < 2 {
            std::thread::yield_now();
        }
        let names = segments_of(dir.path());
        let mut reader = reader
            .take()
            .unwrap_or_else(|| Snapshot::open(dir.path()).unwrap());
        reader.refresh().unwrap();
        let prepared = names.last().unwrap();
        assert!(seen.insert(prepared.clone()), "{prepared:?}, round {round}");
        let copy = std::fs::read(prepared).unwrap();
        if round % 2 == 0 {
            writer.close().unwrap();
            housekeeper.stop().unwrap();
        } else {
            drop(writer);
            housekeeper.stop().unwrap();
            // As a kill would have left it.
            std::fs::write(prepared, copy).unwrap();
        }
    }
    // A reader that has mapped an empty segment which is replaced under its name looks again.
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 1, 0, &spans(1, 0, 10));
    writer.commit().unwrap();
    let mut reader = Snapshot::open(dir.path()).unwrap();
    let mut long = prologue();
    for _ in 0..5_000 {
        long.extend(prologue());
    }
    writer.roll(&long, soon()).unwrap();
    writer.commit().unwrap();
    reader.refresh().unwrap();
    let last = reader.segments().iter().rfind(|v| !v.is_empty()).unwrap();
    assert_eq!(last.frames()[0].count, 5 * 5_001);
    assert!(reader
        .frames_from(crate::log::Position::START)
        .all(|s| matches!(s, Step::Frame(..))));
    drop(writer);
    housekeeper.stop().unwrap();
}

#[test]
fn frames_of_newer_builds_are_left_out_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let frames = dead_log(dir.path());
    let path = segment_of(dir.path());
    let salt = Snapshot::open(dir.path()).unwrap().segments()[0]
        .header()
        .salt;
    let flag = |number: usize, flags: u8| {
        let (from, to) = (
            frames[number].offset as usize,
            frames[number + 1].offset as usize,
        );
        edit(&path, |bytes| {
            let frame = &mut bytes[from..to];
            frame[9] = flags;
            let (head, rest) = frame.split_first_chunk_mut::<64>().unwrap();
            let crc = frame_crc(salt, head, rest);
            put(frame, 4, &crc.to_le_bytes());
        });
    };
    flag(3, 0x10);
    flag(5, 0x02);
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let view = &snapshot.segments()[0];
    assert_eq!(view.frames().len(), frames.len());
    assert!(
        view.frame(3).is_ok(),
        "bits 4 to 7 mean nothing to an old reader"
    );
    assert!(matches!(view.frame(5), Err(FrameError::Newer(_))));
    let steps: Vec<_> = snapshot.frames_from(crate::log::Position::START).collect();
    let left_out = |s: &&Step<'_>| {
        matches!(
            s,
            Step::Damaged {
                error: FrameError::Newer(_),
                ..
            }
        )
    };
    assert_eq!(steps.iter().filter(left_out).count(), 1);
    assert_eq!(kept(dir.path()).len(), 450);
    assert_eq!(verify(dir.path()).unwrap().newer_frames, 1);
}

#[test]
fn kinds_from_128_on_are_stepped_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    let mut words = spans(1, 0, 3);
    words[8] = 8 | 200 << 16 | 7 << 24;
    append(&mut writer, 1, 0, &words);
    writer.commit().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let view = &snapshot.segments()[0];
    let frame = view.frame(1).unwrap();
    assert_eq!(frame.header.kinds, 1 << 15 | 1 << 3);
    let found: Vec<_> = frame.records().map(|r| r.unwrap().0.sequence).collect();
    assert_eq!(found, [0, 2]);
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn a_reserved_size_above_2_gib_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _plan = Plan::new(dir.path());
    dead_log(dir.path());
    edit(&segment_of(dir.path()), |bytes| {
        for at in [0, crate::log::layout::HEADER_COPY] {
            put(bytes, at + 64, &(3u64 << 30).to_le_bytes());
            finish(&mut bytes[at..at + 128]);
        }
    });
    let snapshot = Snapshot::open(dir.path()).unwrap();
    assert_eq!(
        (snapshot.segments().len(), snapshot.unreadable().len()),
        (0, 1)
    );
    let report = LogDir::lock(dir.path(), &options())
        .unwrap()
        .recover()
        .unwrap();
    assert_eq!(report.unreadable.len(), 1);
}
