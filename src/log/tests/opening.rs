//! The first frame has what all others need; a copy in the header speaks for it when it is damaged.

use std::{fs, os::unix::fs::FileExt, path::Path};

use crate::log::{
    layout::{HEADER_BYTES, OPENING_AT, OPENING_BYTES, STATE_AT},
    opening, verify, FrameError, LogDir, Snapshot,
};

use super::support::*;

/// A log of one segment with a handful of frames; returns how many bytes its first frame has.
fn one_segment(dir: &Path, sealed: bool) -> usize {
    let (mut writer, housekeeper) = open(dir, &options());
    for round in 0..5 {
        append(
            &mut writer,
            1,
            round * 10,
            &spans(1, round * 10, round * 10 + 10),
        );
        writer.commit().unwrap();
    }
    if sealed {
        writer.close().unwrap();
    } else {
        drop(writer);
    }
    housekeeper.stop().unwrap();
    let snapshot = Snapshot::open(dir).unwrap();
    assert_eq!(snapshot.segments().len(), 1);
    snapshot.segments()[0].frames()[0].length as usize
}

/// Everything but the first frame, with the times that it was recorded with.
fn all_but_the_first(dir: &Path, whole: &Snapshot) {
    let whole = &whole.segments()[0];
    let snapshot = Snapshot::open(dir).unwrap();
    let view = &snapshot.segments()[0];
    assert_eq!(
        view.frames(),
        &whole.frames()[1..],
        "also the times in the index"
    );
    for number in 0..view.frames().len() as u32 {
        let (frame, before) = (
            view.frame(number).unwrap(),
            whole.frame(number + 1).unwrap(),
        );
        assert_eq!(frame.anchor, before.anchor);
        assert_eq!(frame.payload, before.payload);
        assert_eq!(frame.anchor.unix_ns(1000), 1_001_000);
    }
    assert_eq!(view.names().get(257), whole.names().get(257));
    assert_eq!(view.resource(), whole.resource());
    assert_eq!(view.lease(3, 1).unwrap().thread, "main");
}

#[test]
fn whichever_byte_of_the_only_first_frame_is_damaged_all_others_are_read() {
    for sealed in [false, true] {
        let master = tempfile::tempdir().unwrap();
        let length = one_segment(master.path(), sealed);
        let whole = Snapshot::open(master.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(master.path(), dir.path());
        // An index file would name the frame all the same.
        let path = segment_of(dir.path());
        let _ = fs::remove_file(path.with_extension("idx"));
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        for at in HEADER_BYTES..HEADER_BYTES + length as u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            all_but_the_first(dir.path(), &whole);
            let report = verify(dir.path()).unwrap();
            assert!(!report.ok, "byte {at}");
            assert_eq!(
                report.problems.len(),
                1 + usize::from(report.missing > 0),
                "{report:?}"
            );
            assert!(
                report.problems[0].contains("1 places are damaged"),
                "{report:?}"
            );
            assert_eq!(report.damage[0].1.bytes(), length as u64);
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(verify(dir.path()).unwrap().ok);
    }
}

#[test]
fn recovery_keeps_what_stands_behind_a_damaged_first_frame() {
    let master = tempfile::tempdir().unwrap();
    let length = one_segment(master.path(), false);
    let whole = Snapshot::open(master.path()).unwrap();
    for at in (0..length).step_by(7) {
        let dir = tempfile::tempdir().unwrap();
        copy(master.path(), dir.path());
        let path = segment_of(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[HEADER_BYTES as usize + at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut log = LogDir::lock(dir.path(), &options()).unwrap();
        assert_eq!(log.recover().unwrap().gaps.len(), 1);
        all_but_the_first(dir.path(), &whole);
        let report = verify(dir.path()).unwrap();
        assert!(report.wrong_indexes.is_empty(), "{report:?}");
    }
}

#[test]
fn without_the_frame_and_its_copy_the_report_names_the_segment() {
    let dir = tempfile::tempdir().unwrap();
    one_segment(dir.path(), true);
    let path = segment_of(dir.path());
    let whole = fs::read(&path).unwrap();
    // The copy alone: nothing is missing, and it is told.
    for at in [0, 4, 8, 40, 100] {
        let mut bytes = whole.clone();
        bytes[OPENING_AT as usize + at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.problems.len(), 1, "byte {at}: {report:?}");
        assert!(report.problems[0].contains("damaged copy"), "{report:?}");
        let snapshot = Snapshot::open(dir.path()).unwrap();
        assert_eq!(sequences(&snapshot)[&1].len(), 50);
    }
    let mut bytes = whole;
    bytes[OPENING_AT as usize] ^= 1;
    bytes[HEADER_BYTES as usize + 80] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(path.with_extension("idx")).unwrap();
    let report = verify(dir.path()).unwrap();
    let named = report
        .problems
        .iter()
        .find(|p| p.contains("no clock anchor"));
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(named.is_some_and(|p| p.contains(&*name)), "{report:?}");
    let snapshot = Snapshot::open(dir.path()).unwrap();
    let error = snapshot.segments()[0].frame(0).unwrap_err();
    assert!(matches!(error, FrameError::NoAnchor(_)), "{error:?}");
}

#[test]
fn recovery_writes_a_copy_that_the_power_cut_kept_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    one_segment(dir.path(), false);
    let path = segment_of(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let opening = OPENING_AT as usize..HEADER_BYTES as usize;
    let before = bytes[opening.clone()].to_vec();
    bytes[opening.clone()].fill(0);
    assert_eq!(bytes[STATE_AT], 0, "open");
    fs::write(&path, bytes).unwrap();
    other_boot(&path);
    LogDir::lock(dir.path(), &options())
        .unwrap()
        .recover()
        .unwrap();
    assert_eq!(fs::read(&path).unwrap()[opening], before);
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:?}");
}

#[test]
fn an_opening_holds_whole_records_as_many_as_fit() {
    let salt = 7;
    let records = crate::record::view::bytes_of(&prologue()).to_vec();
    let read = |records: &[u8]| {
        let opening = opening::encode(records, salt);
        let words = opening::decode(&opening, salt);
        crate::record::view::bytes_of(&words).to_vec()
    };
    assert_eq!(read(&records), records);
    let mut long = records.clone();
    while long.len() <= OPENING_BYTES {
        long.extend(&records);
    }
    let cut = read(&long);
    assert_eq!(cut, long[..cut.len()]);
    assert!(cut.len() > OPENING_BYTES - 64, "{}", cut.len());
    // Nothing that is no record, and nothing under another salt.
    assert!(read(&[0; 64]).is_empty());
    assert!(opening::decode(&opening::encode(&records, salt), 8).is_empty());
    assert!(opening::decode(&[0; OPENING_BYTES], salt).is_empty());
    assert!(opening::decode(&[0xff; OPENING_BYTES], salt).is_empty());
    assert!(opening::decode(&[], salt).is_empty());
}
