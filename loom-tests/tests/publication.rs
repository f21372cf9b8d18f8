//! Things that others look at while they change: open spans, committed names, heads and anchors,
//! the log's commit mark.
#![cfg(loom)]

use std::convert::Infallible;

use emberlog::loom_api::{
    at, read_span, set_anchor, settled, Anchor, Gate, Memory, Progress, Reader, Shape, Shared,
    SpanTable, Writer,
};
use emberlog_loom_tests::{
    explore,
    parts::{frames, memory, read_below, slots, span},
};
use loom::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
};

/// One slot, two spans one after the other; whoever looks sees one of them whole or none.
#[test]
fn open_spans() {
    let sites = &["SpanFields", "SpanState", "SpanSeen", "SpanCheck"];
    explore("open spans", Some(3), sites, || {
        let memory = slots(1);
        let shown = Arc::clone(&memory);
        let owner = thread::spawn(move || {
            let mut table = SpanTable::take(&shown);
            for n in 1..3 {
                let slot = table.open(span(n)).expect("free");
                if n < 2 {
                    table.close(slot);
                }
            }
        });
        loop {
            if let Some(seen) = read_span(&memory, 0) {
                assert_eq!(seen, span(seen.start), "mixed");
                if seen.start == 2 {
                    break;
                }
            }
            thread::yield_now();
        }
        owner.join().expect("no panic");
    });
}

/// Payload, then the mark by Release; the mark by Acquire, then the payload.
#[test]
fn committed_names() {
    explore(
        "committed names",
        None,
        &["NamesCommit", "NamesSeen"],
        || {
            let gate = Gate::new().expect("a word");
            let memory = Memory::new(Shape::plain(64), true);
            let shared = Arc::new(Shared::over(memory, gate));
            let reader = Arc::clone(&shared);
            let reader = thread::spawn(move || (read_names(&reader), read_names(&reader)));
            let definer = Arc::clone(&shared);
            let definer = thread::spawn(move || {
                for (id, text) in (256..).zip(["a", "b"]) {
                    definer.write_name(id, text);
                }
            });
            while read_names(&shared) < 2 {
                thread::yield_now();
            }
            let (first, second) = reader.join().expect("no panic");
            assert!(first <= second);
            definer.join().expect("no panic");
        },
    );
}

/// Reads what is there; returns how many names that is.
fn read_names(shared: &Shared) -> usize {
    let words = shared.committed_names();
    for (i, record) in (0..).zip(words.chunks(3)) {
        let read = |i: usize| record[i].load(Ordering::Relaxed);
        assert_eq!(read(0) >> 32, 256 + i);
        assert_eq!((read(1), read(2)), (1, 0x61 + i));
    }
    words.len() / 3
}

/// Two threads define names at once: each is there whole, and none over another.
#[test]
fn two_definers() {
    let sites = &["NamesCommit", "NamesSeen"];
    explore("committed names, two definers", Some(3), sites, || {
        let gate = Gate::new().expect("a word");
        let shared = Arc::new(Shared::over(Memory::new(Shape::plain(64), true), gate));
        let definers: Vec<_> = [(256, "a"), (257, "b")]
            .map(|(id, text)| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.write_name(id, text))
            })
            .into();
        let mut ids = Vec::new();
        while ids.len() < 2 {
            ids.clear();
            for record in shared.committed_names().chunks(3) {
                let read = |i: usize| record[i].load(Ordering::Relaxed);
                ids.push(read(0) >> 32);
                assert_eq!((read(1), read(2)), (1, 0x61 + (read(0) >> 32) - 256));
            }
            thread::yield_now();
        }
        ids.sort_unstable();
        assert_eq!(ids, [256, 257]);
        definers
            .into_iter()
            .for_each(|t| t.join().expect("no panic"));
    });
}

fn words(memory: &Memory, from: usize, count: usize) -> Vec<u64> {
    let load = |at| memory.get(at, Ordering::Relaxed);
    (from..from + count).map(load).collect()
}

/// What a reader in another process makes of the head: the sequence of the record there, while the
/// consumer releases one record after the other.
#[test]
fn heads_of_a_live_ring() {
    let sites = &["SlotBegin", "SlotCheck", "Release"];
    explore("heads", Some(2), sites, || {
        let (memory, mut reader) = Reader::of(memory(8, true));
        let mut writer = Writer::take(&memory).expect("free");
        (0..3).for_each(|_| writer.write(1, |out| out[0] = 1));
        let consumer = thread::spawn(move || {
            reader.capture();
            (0..3).for_each(|_| reader.release(8, 1));
        });
        loop {
            let counter = || Ok::<_, Infallible>(memory.get(at::HEAD, Ordering::Acquire));
            let slots = || Ok(words(&memory, at::SLOTS, 4));
            if let Ok(Some((head, slots))) = settled(counter, slots) {
                let slot = slots.chunks(2).find(|slot| slot[0] == head);
                assert_eq!(slot.map(|slot| slot[1]), Some(head / 8), "{head} {slots:?}");
                if head == 24 {
                    break;
                }
            }
            thread::yield_now();
        }
        consumer.join().expect("no panic");
    });
}

/// The anchor that counts is whole, while newer ones come.
#[test]
fn anchors_of_a_live_ring() {
    let sites = &["AnchorBegin", "SlotCheck", "AnchorCommit"];
    explore("anchors", Some(2), sites, || {
        let memory = Arc::new(Memory::new(Shape::plain(64), true));
        let anchored = Arc::clone(&memory);
        let flusher = thread::spawn(move || {
            for n in 1..4 {
                let (tick, unix_ns, rate) = (n, n as i64, n);
                set_anchor(
                    &anchored,
                    &Anchor {
                        tick,
                        unix_ns,
                        rate,
                    },
                );
            }
        });
        loop {
            let counter =
                || Ok::<_, Infallible>(memory.get(at::ANCHOR_GENERATION, Ordering::Acquire));
            let slots = || Ok(words(&memory, at::ANCHORS, 6));
            if let Ok(Some((generation, slots))) = settled(counter, slots) {
                let at = 3 * (generation % 2) as usize;
                assert_eq!(slots[at..at + 3], [generation; 3], "torn");
                if generation == 3 {
                    break;
                }
            }
            thread::yield_now();
        }
        flusher.join().expect("no panic");
    });
}

/// Whoever sees the commit mark can read what lies below it.
#[test]
fn commit_mark() {
    let sites = &["Committed", "CommittedSeen"];
    explore("commit mark", None, sites, || {
        let frames = frames();
        let progress = Arc::new(Progress::new(0));
        let (log, mark) = (frames.clone(), progress.clone());
        let writer = thread::spawn(move || {
            for n in 0..2 {
                log[n].store(1, Ordering::Relaxed);
                mark.commit(n as u64 + 1);
            }
        });
        let read = move |frames: &[AtomicU64; 2], progress: &Progress| {
            read_below(frames, progress.committed())
        };
        let (log, mark) = (frames.clone(), progress.clone());
        let other = thread::spawn(move || {
            read(&log, &mark);
        });
        while read(&frames, &progress) < 2 {
            thread::yield_now();
        }
        writer.join().expect("no panic");
        other.join().expect("no panic");
    });
}

/// After a commit a sync is due that covers it, and what is called durable can be read.
#[test]
fn syncs_cover_commits() {
    let sites = &["SyncSchedule", "SyncBegin"];
    explore("sync", None, sites, || {
        let progress = Arc::new(Progress::new(0));
        let due = Arc::new(AtomicU64::new(0));
        let (mark, asked) = (progress.clone(), due.clone());
        let writer = thread::spawn(move || {
            for offset in 1..4 {
                mark.commit(offset);
                if mark.schedule_sync() {
                    // The real one locks the list of work for this.
                    asked.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        let (mut begun, mut covered) = (0, 0);
        while covered < 3 {
            if due.load(Ordering::Acquire) > begun {
                begun += 1;
                covered = progress.begin_sync();
                progress.set_durable(covered);
            } else {
                // Nothing is due: then nothing that was committed may be left, or the writer is
                // still at it.
                thread::yield_now();
            }
        }
        writer.join().expect("no panic");
        assert_eq!(progress.durable(), 3);
    });
}
