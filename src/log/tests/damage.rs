//! Torn ends and rotten middles: what is kept, what is counted, and that nothing panics.

use std::path::Path;

use crate::{
    log::{
        dir::read_head,
        layout::{HEADER_BYTES, MARK_AT},
        scan::SegmentScan,
        verify, FrameEntry, LogDir, Snapshot,
    },
    record::view::bytes_of_mut,
};

use super::support::*;
use crate::sync::fault::kill_after;

/// A log whose writer died with one open segment of small frames of three rings.
fn dead_log(dir: &Path, frames: u64, each: u64) {
    let (mut writer, housekeeper) = open(dir, &options());
    for n in 0..frames {
        let (ring, round) = ((n % 3) as u32, n / 3);
        append(
            &mut writer,
            ring,
            round * each,
            &spans(ring, round * each, (round + 1) * each),
        );
    }
    writer.commit().unwrap();
    drop(writer);
    housekeeper.stop().unwrap();
}

struct Segment {
    words: Vec<u64>,
    entries: Vec<FrameEntry>,
    salt: u32,
    end: u64,
}

fn load(path: &Path) -> Segment {
    let head = read_head(path).unwrap();
    let header = head.header.unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes.truncate(head.mark as usize);
    let words = crate::record::view::aligned(&bytes);
    let mut scan = SegmentScan::new(header.salt);
    scan.extend(&mut Bytes(&words), head.mark, head.mark);
    assert!(scan.damage.is_empty());
    Segment {
        words,
        entries: scan.index.entries,
        salt: header.salt,
        end: head.mark,
    }
}

fn scan(segment: &Segment, words: &[u64], durable: u64) -> SegmentScan {
    let mut scan = SegmentScan::new(segment.salt);
    scan.extend(&mut Bytes(words), segment.end, durable);
    scan
}

/// In debug builds a sample, in release builds all.
fn every(n: usize) -> impl Iterator<Item = usize> {
    let step = if cfg!(debug_assertions) { 1009 } else { 1 };
    (0..n).step_by(step)
}

#[test]
fn a_flipped_bit_costs_one_frame_below_the_watermark_and_the_tail_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    dead_log(dir.path(), 60, 20);
    let segment = load(&segment_of(dir.path()));
    let tail = (segment.end - HEADER_BYTES).min(64 << 10) as usize;
    let start = segment.end as usize - tail;
    let mut words = segment.words.clone();
    let names: Vec<u32> = segment.entries.iter().map(|e| e.offset).collect();
    for bit in every(tail * 8) {
        let (byte, mask) = (start + bit / 8, 1 << (bit % 8));
        bytes_of_mut(&mut words)[byte] ^= mask;
        let hit = names.partition_point(|at| *at as usize <= byte) - 1;
        let victim = segment.entries[hit];

        // Below: only the victim is missing.
        let found = scan(&segment, &words, segment.end);
        assert_eq!(
            found.index.entries.len(),
            segment.entries.len() - 1,
            "bit {bit}"
        );
        assert_eq!(found.damage.len(), 1);
        assert_eq!(found.damage[0].from, u64::from(victim.offset));
        assert_eq!(found.damage[0].bytes(), u64::from(victim.length));
        let later = segment.entries[hit + 1..]
            .iter()
            .any(|e| e.ring == victim.ring);
        if later && hit >= 4 {
            assert_eq!(found.damage[0].records, u64::from(victim.count));
        }

        // Beyond: the valid prefix is kept.
        let found = scan(&segment, &words, HEADER_BYTES);
        assert_eq!(found.index.entries, segment.entries[..hit]);
        assert_eq!(found.valid_end, u64::from(victim.offset));
        assert_eq!(
            found.damage[0].bytes(),
            segment.end - u64::from(victim.offset)
        );
        assert!(found.damage[0].torn);
        bytes_of_mut(&mut words)[byte] ^= mask;
    }
}

#[test]
fn a_cut_anywhere_keeps_the_whole_frames_before_it() {
    let dir = tempfile::tempdir().unwrap();
    dead_log(dir.path(), 60, 20);
    let segment = load(&segment_of(dir.path()));
    let tail = (segment.end - HEADER_BYTES).min(64 << 10) as usize;
    let mut words = segment.words.clone();
    // From the end on: each cut clears one more byte.
    for cut in (segment.end as usize - tail..segment.end as usize).rev() {
        bytes_of_mut(&mut words)[cut] = 0;
        if cfg!(debug_assertions) && cut % 101 != 0 {
            continue;
        }
        for durable in [HEADER_BYTES, segment.end] {
            let found = scan(&segment, &words, durable);
            let kept = found.index.entries.len();
            assert_eq!(found.index.entries, segment.entries[..kept]);
            // Padding and small numbers end in zeros: a cut through those changes nothing.
            if let Some(lost) = segment.entries.get(kept) {
                assert!(lost.end() as usize > cut);
                let damage = found.damage.last().unwrap();
                assert_eq!(damage.to, segment.end);
                assert_eq!(found.valid_end, u64::from(lost.offset));
            }
        }
    }
}

#[test]
fn recovery_on_files_keeps_counts_and_repeats_itself() {
    let master = tempfile::tempdir().unwrap();
    dead_log(master.path(), 30, 20);
    let segment = load(&segment_of(master.path()));
    let name = segment_of(master.path());
    let name = name.file_name().unwrap();
    for case in 0..40usize {
        let dir = tempfile::tempdir().unwrap();
        copy(master.path(), dir.path());
        let path = dir.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let tail = segment.end as usize - HEADER_BYTES as usize;
        let at = HEADER_BYTES as usize + (case * 7919 + case) % tail;
        let durable = case % 2 == 0;
        match case % 5 {
            // The mark itself, and the whole header.
            0 => bytes[MARK_AT + case % 8] ^= 1 << (case / 8),
            1 => bytes[..4096].fill(0xff),
            2 => bytes.truncate(at),
            _ => bytes[at] ^= 1 << (case % 8),
        }
        std::fs::write(&path, bytes).unwrap();
        if !durable {
            // Nothing was ever synced, and the machine was restarted.
            other_boot(&path);
            set_durable(dir.path(), 0);
        }
        let before = Snapshot::open(dir.path()).unwrap();
        let mut seen = 0;
        for view in before.segments() {
            seen += view.frames().iter().filter(|e| e.ring < 3).count();
        }
        let mut log = LogDir::lock(dir.path(), &options()).unwrap();
        let report = log.recover().unwrap();
        let once = files(dir.path());
        let again = log.recover().unwrap();
        assert!(files(dir.path()) == once, "case {case}");
        assert!(again.damage.is_empty() && again.sealed.is_empty());
        drop(log);
        let mut log = LogDir::lock(dir.path(), &options()).unwrap();
        log.recover().unwrap();
        assert!(files(dir.path()) == once, "case {case}, new open");
        drop(log);

        let after = Snapshot::open(dir.path()).unwrap();
        let mut kept = 0;
        for view in after.segments() {
            kept += view.frames().iter().filter(|e| e.ring < 3).count();
        }
        assert_eq!(kept, seen, "case {case}: a reader saw what recovery kept");
        let lost: u64 = report.damage.iter().map(|d| d.bytes).sum();
        match case % 5 {
            0 if !durable => {}
            // A mark that says more than there is looks like data that was lost.
            0 => assert_eq!(kept, 30, "case {case}"),
            1 => assert_eq!((kept, lost), (30, 0), "case {case}: {report:?}"),
            2 => assert!(
                lost > 0 && kept < 30 || at as u64 >= segment.end,
                "case {case}"
            ),
            _ if durable => assert!(kept >= 29 && lost > 0, "case {case}"),
            _ => assert!(report.damage.iter().all(|d| d.torn), "case {case}"),
        }
        let check = verify(dir.path()).unwrap();
        assert!(
            check.wrong_indexes.is_empty() && check.bad_records == 0,
            "{check:?}"
        );
        assert_eq!(check.torn_bytes, 0, "case {case}");
    }
}

#[test]
fn what_a_killed_process_wrote_has_no_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    dead_log(dir.path(), 30, 20);
    // Nothing was synced, but the machine went on: all that was logged is in the file.
    set_durable(dir.path(), 0);
    let path = segment_of(dir.path());
    let victim = load(&path).entries[15];
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[victim.offset as usize + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = LogDir::lock(dir.path(), &options())
        .and_then(|mut log| log.recover())
        .unwrap();
    let [damage] = &report.damage[..] else {
        panic!("{report:?}");
    };
    let found = (damage.bytes, damage.records, damage.torn);
    assert_eq!(found, (u64::from(victim.length), 20, false));
}

#[test]
fn recovery_may_be_killed_at_any_step() {
    let master = tempfile::tempdir().unwrap();
    dead_log(master.path(), 30, 20);
    // One damaged place below the watermark and a torn end.
    let path = segment_of(master.path());
    let segment = load(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[segment.entries[9].offset as usize + 100] ^= 1;
    bytes[segment.entries[27].offset as usize + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    // The power failed, too: what was not synced may be torn.
    other_boot(&path);
    let base = read_head(&path).unwrap().header.unwrap().base;
    set_durable(master.path(), base + u64::from(segment.entries[20].offset));
    let recover = |dir: &Path| LogDir::lock(dir, &options()).and_then(|mut log| log.recover());
    let whole = tempfile::tempdir().unwrap();
    copy(master.path(), whole.path());
    let report = recover(whole.path()).unwrap();
    assert_eq!(report.damage.len(), 2, "{report:?}");
    assert_eq!(
        (report.damage[0].records, report.damage[0].torn),
        (20, false)
    );
    assert_eq!(
        report.damage[1].bytes,
        segment.end - u64::from(segment.entries[27].offset)
    );
    // What is missing is told until the log says it.
    let gaps: Vec<_> = report.gaps.iter().map(|g| (g.from, g.records)).collect();
    let missing = report.damage.iter().map(|d| (d.position, d.records));
    let missing: Vec<_> = missing.map(|(at, n)| (at, (n > 0).then_some(n))).collect();
    assert_eq!(gaps, missing);
    let expected = files(whole.path());
    let mut steps = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        copy(master.path(), dir.path());
        let (_, killed) = kill_after(steps, || recover(dir.path()));
        let after = recover(dir.path()).unwrap();
        assert_eq!(after.gaps, report.gaps, "after {steps} steps");
        let found = files(dir.path());
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        for (name, bytes) in &found {
            let differs = bytes.iter().zip(&expected[name]).position(|(a, b)| a != b);
            let lengths = (bytes.len(), expected[name].len());
            assert!(
                bytes == &expected[name],
                "{name} after {steps} steps: {lengths:?}, first at {differs:?}"
            );
        }
        if !killed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 15, "{steps} steps were tried");
}

#[test]
fn random_bytes_are_no_log_and_no_panic() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        seed >> 33
    };
    for case in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("aside")).unwrap();
        for name in [
            "LOG",
            "watermark",
            "floor",
            "00000000000000000000.seg",
            "00000000000000000000.idx",
            "00000000000001048576.seg",
        ] {
            let len = [0, 7, 64, 600, 4096, 9000][(random() % 6) as usize];
            let bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let _ = Snapshot::open(dir.path());
        let _ = verify(dir.path());
        let mut log = LogDir::lock(dir.path(), &options()).unwrap();
        let report = log.recover().unwrap();
        assert_eq!(report.unreadable.len(), 2, "case {case}");
        let (mut writer, housekeeper) = log.start().unwrap();
        append(&mut writer, 1, 0, &spans(1, 0, 5));
        writer.close().unwrap();
        housekeeper.stop().unwrap();
        assert_eq!(sequences(&Snapshot::open(dir.path()).unwrap())[&1].len(), 5);
    }
}
