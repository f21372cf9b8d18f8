//! Readers that look again and again and hold on to what they saw, while the log grows, learns
//! names, rolls and loses its oldest segments; compared with what was written.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    thread,
};

use rend::u32_le;

use crate::{
    log::{AppendError, Options, Position, SegmentView, Snapshot, Step, Writer},
    record::{
        id::TraceId,
        layout::{is_own, Header, Name, RecordKind},
        view::{aligned, words_of},
        Body,
    },
};

use super::support::*;

const RINGS: usize = 3;

/// What the writer says of itself: records of each ring.
#[derive(Default)]
struct Told {
    /// Committed, at least.
    logged: [AtomicU64; RINGS],
    /// Appended, at most.
    begun: [AtomicU64; RINGS],
    done: AtomicBool,
}

impl Told {
    fn load(counts: &[AtomicU64; RINGS]) -> [u64; RINGS] {
        std::array::from_fn(|ring| counts[ring].load(Ordering::SeqCst))
    }
}

fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

fn name_of(number: u32) -> String {
    format!("name {number}")
}

fn name(number: u32) -> Vec<u64> {
    let text = name_of(number);
    let tail = aligned(text.as_bytes());
    let mut out = words_of::<_, 2>(&Name {
        header: Header::new(RecordKind::Name, 2 + tail.len(), 256 + number),
        len: u32_le::from_native(text.len() as u32),
        reserved: [0; 4],
    })
    .to_vec();
    out.extend(tail);
    out
}

/// The names of all spans, each known to the segment before it is used.
struct Writing<'a> {
    writer: Writer,
    told: &'a Told,
    names: u32,
    next: [u64; RINGS],
}

impl Writing<'_> {
    fn roll(&mut self) {
        let mut prologue = prologue();
        prologue.extend((2..self.names).flat_map(name));
        self.writer.roll(&prologue, soon()).unwrap();
    }

    fn append(&mut self, ring: usize, count: u64) {
        let end = self.next[ring] + count;
        self.told.begun[ring].store(end, Ordering::SeqCst);
        while self.next[ring] < end {
            let from = self.next[ring];
            let words: Vec<u64> = (from..end)
                .flat_map(|n| span(trace_of(ring as u32, n), n, 256 + self.name_at(n)))
                .collect();
            match self.writer.append(ring as u32, 1, from, &words) {
                Ok(appended) => self.next[ring] += appended.records,
                Err(AppendError::SegmentFull { appended }) => {
                    self.next[ring] += appended.records;
                    self.roll();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn name_at(&self, n: u64) -> u32 {
        (n % u64::from(self.names)) as u32
    }

    fn learn(&mut self) {
        while self.writer.append_own(&name(self.names)).is_err() {
            self.roll();
        }
        self.names += 1;
    }

    fn commit(&mut self) {
        self.writer.commit().unwrap();
        for (logged, next) in self.told.logged.iter().zip(self.next) {
            logged.store(next, Ordering::SeqCst);
        }
    }

    fn run(mut self, mut seed: u64) {
        for _ in 0..400 {
            match random(&mut seed, 16) {
                0 => self.roll(),
                1..=3 => self.learn(),
                4..=7 => self.commit(),
                // Many small frames, or few large ones.
                8..=10 => (0..random(&mut seed, 40)).for_each(|_| self.append(0, 1)),
                op => self.append(op as usize % RINGS, 1 + random(&mut seed, 2000)),
            }
        }
        self.commit();
        self.writer.close().unwrap();
    }
}

/// What a reader saw in a segment: the sequences of each frame, and where it begins.
type Seen = Vec<(Position, u32, Vec<u64>)>;

/// All frames of a view, whose spans are what the writer makes of their sequence.
fn look(view: &SegmentView) -> Seen {
    let of = |number| {
        let frame = view.frame(number).unwrap();
        let mut sequences = Vec::new();
        for record in frame.records() {
            let (id, record) = record.unwrap();
            sequences.push(id.sequence);
            if let Body::Span(span) = record.body {
                let trace = TraceId::from_u128(trace_of(id.ring, id.sequence));
                assert_eq!(span.trace_id, trace.0);
                assert_eq!(span.span_id.to_native(), id.sequence + 1);
                let name = span.header.name.to_native() - 256;
                let known = view.names().get(256 + name);
                match name {
                    0 => assert_eq!(known, Some("fetch")),
                    1 => assert_eq!(known, Some("a longer name than eight bytes")),
                    _ => assert_eq!(known, Some(&*name_of(name))),
                }
                if sequences.len() == 1 {
                    assert!(view.find_trace(trace).any(|found| found == number));
                }
            }
        }
        (frame.position, frame.header.ring, sequences)
    };
    (0..view.frames().len() as u32).map(of).collect()
}

/// Everything in order, without a hole: the first sequence of each ring and the one after its last.
fn rings(snapshot: &Snapshot) -> BTreeMap<u32, (u64, u64)> {
    let mut found: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut position = Position::START;
    for (number, step) in snapshot.frames_from(Position::START).enumerate() {
        let frame = match step {
            Step::Frame(frame, _) => frame,
            Step::Gap { .. } if number == 0 => continue,
            _ => panic!("{step:?}"),
        };
        assert!(frame.position >= position);
        position = frame.next_position();
        let first = frame.header.first_sequence;
        let (_, next) = found.entry(frame.header.ring).or_insert((first, first));
        assert_eq!(first, *next);
        *next += u64::from(frame.header.count);
    }
    found
}

/// Nothing that was committed is missing unless retention says so; nothing is there that was not
/// written. Gives the records that are missing.
fn compare(snapshot: &Snapshot, logged: [u64; RINGS], begun: [u64; RINGS]) -> u64 {
    let found = rings(snapshot);
    let mut missing = 0;
    for ring in 0..RINGS {
        let (first, next) = match found.get(&(ring as u32)) {
            Some(found) => *found,
            None => (logged[ring], logged[ring]),
        };
        assert!(next >= logged[ring] && next <= begun[ring]);
        missing += first;
    }
    let own = found.iter().filter(|(ring, _)| is_own(**ring));
    missing + own.map(|(_, (first, _))| first).sum::<u64>()
}

fn reader(dir: &Path, told: &Told, mut seed: u64, fresh: bool) {
    let mut snapshot = Snapshot::open(dir).unwrap();
    let mut held: Vec<(Arc<SegmentView>, Seen)> = Vec::new();
    while !told.done.load(Ordering::SeqCst) {
        let logged = Told::load(&told.logged);
        if fresh {
            snapshot = Snapshot::open(dir).unwrap();
        } else {
            snapshot.refresh().unwrap();
        }
        let begun = Told::load(&told.begun);
        let missing = compare(&snapshot, logged, begun);
        assert!(missing <= snapshot.floor().records, "lost in silence");
        // Some views are held while the snapshot goes on, others grow in place.
        if random(&mut seed, 2) == 0 {
            let views = snapshot.segments().iter().rev();
            held.extend(views.take(2).map(|view| (view.clone(), look(view))));
        }
        if let Some(view) = snapshot.segments().last().filter(|v| !v.is_empty()) {
            look(view);
        }
        if held.len() > 6 {
            let (view, seen) = held.swap_remove(random(&mut seed, 6) as usize);
            assert!(look(&view) == seen);
        }
    }
    held.iter()
        .for_each(|(view, seen)| assert!(look(view) == *seen));
}

#[test]
fn whoever_reads_while_the_log_grows_and_shrinks_sees_what_was_written() {
    for seed in 1..=6u64 {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            max_bytes: Some(4 << 20),
            ..options()
        };
        let (writer, mut housekeeper) = open(dir.path(), &options);
        let told = Told::default();
        let mut writing = Writing {
            writer,
            told: &told,
            names: 2,
            next: [0; RINGS],
        };
        writing.roll();
        thread::scope(|scope| {
            // Also when a thread panics, so that the others end.
            struct Done<'a>(&'a AtomicBool);
            impl Drop for Done<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::SeqCst);
                }
            }
            for fresh in [false, false, true] {
                let (dir, told) = (dir.path(), &told);
                scope.spawn(move || reader(dir, told, seed * 7919 + u64::from(fresh), fresh));
            }
            let _done = Done(&told.done);
            writing.run(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        });
        housekeeper.prune();
        housekeeper.join();
        let removed: u64 = housekeeper.take_removed().iter().map(|r| r.records).sum();
        housekeeper.stop().unwrap();
        let snapshot = Snapshot::open(dir.path()).unwrap();
        let all = Told::load(&told.logged);
        assert_eq!(compare(&snapshot, all, all), removed);
        assert_eq!(snapshot.floor().records, removed);
        assert!(removed > 0);
    }
}
