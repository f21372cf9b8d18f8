use crate::{
    log::{verify, AppendError, LogDir, OpenError, Position, SegmentView, Snapshot, Step},
    record::id::TraceId,
};

use super::support::*;

#[test]
fn what_was_committed_is_read_and_what_was_not_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 3, 0, &spans(3, 0, 5_000));
    assert_eq!(sequences(&Snapshot::open(dir.path()).unwrap()).len(), 0);
    let end = writer.commit().unwrap();
    let mut snapshot = Snapshot::open(dir.path()).unwrap();
    assert_eq!(snapshot.end(), end);
    assert_eq!(sequences(&snapshot)[&3], (0..5_000).collect::<Vec<_>>());

    append(&mut writer, 3, 5_000, &spans(3, 5_000, 30_000));
    append(&mut writer, 4, 0, &spans(4, 0, 100));
    writer.commit().unwrap();
    assert_eq!(sequences(&snapshot)[&3].len(), 5_000, "frozen");
    let held = snapshot.segments()[0].clone();
    snapshot.refresh().unwrap();
    assert_eq!(held.frames().len(), 6, "the prologue and five times 64 KiB");
    let found = sequences(&snapshot);
    assert_eq!(found[&3], (0..30_000).collect::<Vec<_>>());
    assert_eq!(found[&4], (0..100).collect::<Vec<_>>());

    let view = &snapshot.segments()[0];
    assert_eq!(view.names().get(256), Some("fetch"));
    assert_eq!(view.resource().pid, 7);
    assert!(view.resource().derive_events);
    assert_eq!(view.lease(3, 1).unwrap().thread, "main");
    let frame = view.frame(1).unwrap();
    assert_eq!(frame.anchor.unix_ns(1000), 1_001_000);
    let entry = view.frames()[1];
    assert_eq!(entry.earliest_ns, 1_000_990);
    assert_eq!(entry.max_duration_ns, 11, "rounded up");
    assert_eq!(entry.statuses, 0b111);

    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
    assert_eq!(report.spans, 30_100);
    assert_eq!(report.missing_indexes, 0);
    assert_eq!(
        sequences(&Snapshot::open(dir.path()).unwrap())[&3].len(),
        30_000
    );
}

#[test]
fn a_view_in_use_learns_names_from_any_number_of_frames_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    let mut snapshot = Snapshot::open(dir.path()).unwrap();
    for round in 1..4 {
        for n in 0..50 {
            append(&mut writer, 3, n, &spans(3, n, n + 1));
            writer.append_own(&prologue()).unwrap();
        }
        writer.commit().unwrap();
        snapshot.refresh().unwrap();
        let view = &snapshot.segments()[0];
        assert_eq!(view.frames().len(), 1 + round * 100);
        for number in 0..view.frames().len() {
            view.frame(number as u32).unwrap();
        }
        assert_eq!(view.names().get(256), Some("fetch"));
    }
    writer.close().unwrap();
    housekeeper.stop().unwrap();
}

#[test]
fn a_new_open_begins_a_new_segment_and_positions_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = Position::START;
    for round in 0..5 {
        let (mut writer, housekeeper) = open(dir.path(), &options());
        append(&mut writer, 1, 0, &spans(1, 0, 10));
        let end = writer.commit().unwrap();
        assert!(end > last, "{end} after {last}");
        assert!(end.epoch > last.epoch);
        last = end;
        if round % 2 == 0 {
            writer.close().unwrap();
        }
        housekeeper.stop().unwrap();
    }
    let snapshot = Snapshot::open(dir.path()).unwrap();
    assert_eq!(
        snapshot.segments().iter().filter(|v| !v.is_empty()).count(),
        5
    );
    assert_eq!(sequences(&snapshot)[&1].len(), 50);
}

#[test]
fn traces_are_found_in_live_and_sealed_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 1, 0, &spans(1, 0, 40_000));
    writer.commit().unwrap();
    let check = |expect_files: bool| {
        let snapshot = Snapshot::open(dir.path()).unwrap();
        for n in (0..40_000).step_by(997) {
            let id = TraceId::from_u128(trace_of(1, n));
            let mut hits = 0;
            for view in snapshot.segments() {
                for number in view.find_trace(id) {
                    let frame = view.frame(number).unwrap();
                    hits += frame
                        .records()
                        .filter(|r| match r.as_ref().unwrap().1.body {
                            crate::record::Body::Span(s) => s.trace_id == id.0,
                            _ => false,
                        })
                        .count();
                }
            }
            assert_eq!(hits, 10);
            let absent = TraceId::from_u128(trace_of(9, n));
            for view in snapshot.segments() {
                assert!(view.find_trace(absent).count() <= 1);
            }
        }
        for view in snapshot.segments().iter().filter(|_| expect_files) {
            assert!(view.index_is_right());
        }
    };
    check(false);
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    check(true);
    // Deleted or damaged, it is as if it were not there.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "idx") {
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    check(false);
    let report = verify(dir.path()).unwrap();
    assert!(!report.ok && !report.wrong_indexes.is_empty(), "{report:?}");
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "idx") {
            std::fs::remove_file(&path).unwrap();
        }
    }
    check(false);
    let report = verify(dir.path()).unwrap();
    assert!(report.ok && report.missing_indexes > 0, "{report:?}");
}

/// A frame that was damaged after its index was written has a number in the index file and none in
/// a scan, so those behind it were looked up under the numbers of others.
#[test]
fn a_damaged_index_of_a_damaged_segment_finds_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 1, 0, &spans(1, 0, 10_000));
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let path = segments_of(dir.path()).remove(0);
    let damage = |path: &std::path::Path, at: usize| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 4;
        std::fs::write(path, bytes).unwrap();
    };
    let view = SegmentView::open(&path).unwrap();
    let damaged = view.frames()[3];
    damage(&path, damaged.offset as usize + 100);
    let index = path.with_extension("idx");
    let len = std::fs::metadata(&index).unwrap().len() as usize;
    damage(&index, len * 3 / 4);
    let view = SegmentView::open(&path).unwrap();
    view.frame(3).unwrap_err();
    let lost = damaged.first_sequence / 10 * 10..damaged.end_sequence();
    for n in (0..10_000).step_by(10).filter(|n| !lost.contains(n)) {
        let id = TraceId::from_u128(trace_of(1, n));
        let frames = view.find_trace(id).map(|number| view.frame(number));
        let records = frames.flat_map(|frame| frame.unwrap().records());
        let of_it = records.filter(|record| match record.as_ref().unwrap().1.body {
            crate::record::Body::Span(s) => s.trace_id == id.0,
            _ => false,
        });
        assert_eq!(of_it.count(), 10, "{n}");
    }
    assert_ne!(view.damage().len(), 0, "the index file is used as it is");
    let pairs = view.trace_pairs();
    assert!(pairs.len() > 900);
    for pair in pairs {
        view.frame(pair as u32).unwrap();
    }
}

#[test]
fn a_tail_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    let mut position = Position::START;
    let mut next = 0;
    for round in 0..60 {
        append(
            &mut writer,
            1,
            round * 700,
            &spans(1, round * 700, (round + 1) * 700),
        );
        writer.commit().unwrap();
        if round % 7 == 0 {
            continue;
        }
        let snapshot = Snapshot::open(dir.path()).unwrap();
        let mut steps = snapshot.frames_from(position);
        for step in steps.by_ref() {
            let Step::Frame(frame, _) = step else {
                panic!("{step:?}");
            };
            for (id, _) in frame.records().flatten().filter(|(id, _)| id.ring == 1) {
                assert_eq!(id.sequence, next);
                next += 1;
            }
        }
        position = steps.position();
    }
    assert_eq!(next, 60 * 700);
    drop(writer);
    housekeeper.stop().unwrap();
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("a/b");
    let first = LogDir::lock(&log, &options()).unwrap();
    assert!(crate::log::log_is_locked(&log).unwrap());
    match LogDir::lock(&log, &options()) {
        Err(OpenError::Locked { holder, .. }) => {
            assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        }
        other => panic!("{other:?}"),
    }
    drop(first);
    assert!(!crate::log::log_is_locked(&log).unwrap());
    LogDir::lock(&log, &options()).unwrap();
    assert_eq!(
        crate::log::logs_under(&dir.path().join("a")).unwrap(),
        std::slice::from_ref(&log)
    );
    assert_eq!(crate::log::logs_under(&log).unwrap(), [log]);
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = LogDir::lock(path, &options());
        assert!(
            matches!(refused, Err(OpenError::NotADirectory { .. })),
            "{refused:?}"
        );
    }
    #[cfg(unix)]
    {
        let real = dir.path().join("real");
        std::fs::create_dir(&real).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let refused = LogDir::lock(link, &options());
        assert!(
            matches!(refused, Err(OpenError::NotADirectory { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_without_changing_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 1, 0, &spans(1, 0, 10));
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let segment = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "seg"))
        .unwrap();
    for (path, header) in [(segment, 128), (dir.path().join("LOG"), 64)] {
        let old = std::fs::read(&path).unwrap();
        let mut new = old.clone();
        new[8] = 2;
        let crc = crc32c::crc32c(&new[..header - 4]);
        new[header - 4..header].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&path, new).unwrap();
        let all = |dir: &std::path::Path| {
            let names = ["watermark", "lock"];
            let read = names.map(|n| std::fs::read(dir.join(n)).unwrap());
            (files(dir), read)
        };
        let before = all(dir.path());
        let refused = LogDir::lock(dir.path(), &options());
        assert!(
            matches!(refused, Err(OpenError::NewerFormat { found: 2, .. })),
            "{refused:?}"
        );
        assert!(all(dir.path()) == before);
        Snapshot::open(dir.path()).unwrap_err();
        std::fs::write(&path, old).unwrap();
    }
}

/// A reader that met a segment of a newer build had no segments at all from then on.
#[test]
fn a_refresh_that_fails_leaves_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    let mut snapshot = Snapshot::open(dir.path()).unwrap();
    for n in 0..3 {
        append(&mut writer, 1, n * 10, &spans(1, n * 10, n * 10 + 10));
        writer.commit().unwrap();
        snapshot.refresh().unwrap();
        writer.roll(&prologue(), soon()).unwrap();
    }
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let newest = segment_of(dir.path());
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&newest, bytes).unwrap();
    let before = sequences(&snapshot);
    assert_eq!(before[&1].len(), 30);
    for _ in 0..2 {
        snapshot.refresh().unwrap_err();
        assert_eq!(sequences(&snapshot), before);
    }
}

#[test]
fn options_name_every_problem() {
    let bad = crate::log::Options {
        segment_bytes: 5,
        retention_age: Some(std::time::Duration::ZERO),
        min_free_percent: 99,
        max_bytes: Some(1),
        hard_max_bytes: Some(0),
        ..options()
    };
    assert_eq!(bad.validate().unwrap_err().problems.len(), 5);
    assert!(crate::log::Options::default().validate().is_ok());
}

#[test]
fn a_full_segment_has_room_for_its_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    writer.roll(&prologue(), soon()).unwrap();
    // Frames shorter than the seal, until not one more fits.
    let next = |n| (n, spans(1, n, n + 1));
    let mut appended = (0..).map(next).map(|(n, one)| writer.append(1, 1, n, &one));
    let full = appended.find_map(Result::err);
    assert!(matches!(full, Some(AppendError::SegmentFull { .. })));
    drop(appended);
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let segment = &snapshot.segments()[0];
    let (header, end) = (segment.header(), segment.end().offset);
    assert!(segment.is_sealed() && end - header.base <= header.reserved);
}
