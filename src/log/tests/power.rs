//! Power cuts: what the watermark vouches for is there, what is not is said.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::Path,
    time::Duration,
};

use crate::{
    log::{
        layout::{finish, intact, HEADER_COPY, IDENTITY_BYTES},
        verify, LogDir, Options, Position, Snapshot, Step, SyncPolicy,
    },
    record::{layout::is_own, Body},
    sync::fault::told,
};

use super::{
    disk::{record, Disk, Random},
    support::*,
};

fn every_millisecond() -> Options {
    Options {
        sync: SyncPolicy::Every(Duration::from_millis(1)),
        ..options()
    }
}

/// Three lives of a log: one that closes it, one that dies, one that recovers it.
fn lives(dir: &Path, seed: u64) {
    let mut random = Random(seed);
    for life in 0..3 {
        let mut next = BTreeMap::from([(1, 0), (2, 0)]);
        let (mut writer, housekeeper) = open(dir, &every_millisecond());
        writer.roll(&prologue(), soon()).unwrap();
        for round in 0..12 {
            for (ring, next) in &mut next {
                let end = *next + 1 + random.below(60);
                append(&mut writer, *ring, *next, &spans(*ring, *next, end));
                *next = end;
            }
            let end = writer.commit().unwrap();
            if random.below(3) == 0 {
                housekeeper.wait_durable(end, soon()).unwrap();
            }
            if round % 4 == 3 {
                writer.roll(&prologue(), soon()).unwrap();
            }
        }
        if life != 1 {
            writer.close().unwrap();
        } else {
            drop(writer);
        }
        housekeeper.stop().unwrap();
    }
}

/// Epoch and number.
type Ring = (u64, u32);

/// Ends of the frames that have records of rings, with ring and sequences.
fn frames(snapshot: &Snapshot) -> Vec<(u64, Ring, Range<u64>)> {
    let mut found = Vec::new();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, segment) = step else {
            continue;
        };
        let (ring, end) = (frame.header.ring, frame.next_position().offset);
        if is_own(ring) {
            continue;
        }
        let first = frame.header.first_sequence;
        for (sequence, record) in (first..).zip(frame.records()) {
            let (id, record) = record.unwrap();
            let Body::Span(span) = record.body else {
                panic!("{:?}", record.kind());
            };
            let right = (id.sequence, span.span_id.to_native()) == (sequence, sequence + 1);
            assert!(right, "another record stands in its place");
        }
        let ring = (segment.header().epoch, ring);
        found.push((end, ring, first..first + u64::from(frame.header.count)));
    }
    found
}

/// The power came back: what the header of a segment names is another boot of the machine.
fn started_anew(segment: &Path) {
    let mut bytes = std::fs::read(segment).unwrap();
    for at in [0, HEADER_COPY] {
        let Some(identity) = bytes.get_mut(at..at + IDENTITY_BYTES) else {
            continue;
        };
        if intact(identity, b"EMBRSEGM") {
            identity[88] ^= 0x55;
            finish(identity);
        }
    }
    std::fs::write(segment, bytes).unwrap();
}

fn cut(disk: &Disk, all: &[(u64, Ring, Range<u64>)], now: usize, seed: u64) {
    let what = format!("cut before event {now}, seed {seed}");
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    disk.image(now, seed, dir.path());
    for segment in segments_of(dir.path()) {
        started_anew(&segment);
    }
    let recover = || {
        let mut log =
            LogDir::lock(dir.path(), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        log.recover().unwrap_or_else(|e| panic!("{what}: {e}"))
    };
    let report = recover();
    let once = files(dir.path());
    recover();
    assert!(once == files(dir.path()), "{what}: recovered twice");

    let found = frames(&Snapshot::open(dir.path()).unwrap());
    let mut numbers: BTreeMap<Ring, BTreeSet<u64>> = BTreeMap::new();
    for (_, ring, sequences) in &found {
        for sequence in sequences.clone() {
            let new = numbers.entry(*ring).or_default().insert(sequence);
            assert!(new, "{what}: record {sequence} of ring {ring:?} twice");
        }
    }
    let vouched = disk.vouched(now);
    for (end, ring, sequences) in all.iter().filter(|(end, ..)| *end <= vouched) {
        let there = numbers
            .get(ring)
            .is_some_and(|n| sequences.clone().all(|s| n.contains(&s)));
        assert!(
            there,
            "{what}: {sequences:?} of ring {ring:?} before {end} are gone, {vouched} was vouched for; \
             {report:?}"
        );
    }
    // What is missing before something that is there was counted, record for record.
    let holes = numbers
        .values()
        .map(|n| n.last().map_or(0, |l| l + 1) - n.len() as u64);
    let holes: u64 = holes.sum();
    let told: u64 = report.gaps.iter().filter_map(|gap| gap.records).sum();
    let verified = verify(dir.path()).unwrap();
    // The flusher's own records count, too, and `verify` knows them.
    assert!(
        holes <= told && verified.missing == told,
        "{what}: {holes} missing, {told} reported, {} of all; {report:?}",
        verified.missing
    );
    assert!(
        verified.duplicates + verified.bad_records == 0,
        "{what}: {verified:?}"
    );
}

#[test]
fn a_power_cut_at_any_sync_costs_nothing_that_was_durable() {
    let deep = std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1");
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = record(dir.path(), || lives(dir.path(), 1));
    let all = frames(&Snapshot::open(dir.path()).unwrap());
    let moments = disk.moments();
    assert!(moments.len() > 100, "only {} moments", moments.len());
    let last = disk.vouched(*moments.last().unwrap());
    assert!(
        all.iter().all(|(end, ..)| *end <= last),
        "all became durable"
    );
    let seeds = if deep { 1_000 } else { 3 };
    for now in &moments {
        for seed in 0..seeds {
            cut(&disk, &all, *now, seed * 100_003 + *now as u64);
        }
    }
    told(format_args!(
        "goal 8: {} power cuts, {} moments around syncs, 0 durable records lost",
        moments.len() * seeds as usize,
        moments.len()
    ));
}
