//! Traces that are not sampled: held in rings of their own until it is known how they went.
//!
//! Always true:
//! - what a held ring has is logged only when its trace is to be kept, as copied frames with the
//!   identities that the records have in their ring
//! - records leave their ring only after a commit that covers those of them that are kept; so a
//!   kill at any time leaves every record of the window in its ring, in the log, or in both
//! - a ring that is too full, or holds what is too old, gives up its oldest records
//! - of each ring, sequences = copied + sampled out + still held

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ahash::{AHashMap, AHashSet};

use crate::{
    record::{
        id::TraceId,
        layout::{flag, is_held, RecordKind},
        view::bytes_of,
    },
    ring::Consumers,
};

/// How long records are held at most.
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// Where the start of a trace has its threshold, in words.
const THRESHOLD: usize = 5;
/// Kept traces that are remembered for what comes late.
const REMEMBERED: usize = 65_536;

/// What the end of a held trace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is kept, under this threshold.
    Kept(Option<u64>),
    /// It is not.
    SampledOut,
}

/// What matters of a record in a held ring.
pub(super) struct Seen<'a> {
    pub(super) sequence: u64,
    pub(super) words: &'a [u64],
    pub(super) trace: TraceId,
    kind: u8,
}

impl Seen<'_> {
    /// If the trace ends with it, whether it is kept.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        if self.kind != RecordKind::TraceEnd as u8 {
            return None;
        }
        let flags = (u64::from_le(*self.words.get(5)?) >> 16) as u16;
        Some(match flags & flag::PROVISIONAL {
            0 => Verdict::Kept(u64::from_le(*self.words.get(6)?).checked_sub(1)),
            _ => Verdict::SampledOut,
        })
    }

    /// If the trace begins with it, its threshold.
    pub(super) fn begins(&self) -> Option<u64> {
        let begins = self.kind == RecordKind::TraceStart as u8;
        let threshold = self.words.get(THRESHOLD).filter(|_| begins)?;
        Some(u64::from_le(*threshold))
    }

    /// When it was recorded.
    fn tick(&self) -> u64 {
        let at = match RecordKind::from_u8(self.kind) {
            Some(RecordKind::TraceStart | RecordKind::TraceEnd) => 3,
            Some(RecordKind::Span | RecordKind::SpanStart) => 5,
            Some(RecordKind::Link) => 7,
            _ => 4,
        };
        self.words.get(at).map_or(0, |tick| u64::from_le(*tick))
    }
}

/// The records in `pieces`, the first of which has this sequence.
pub(super) fn seen<'a>(
    pieces: [&'a [u64]; 2],
    first_sequence: u64,
) -> impl Iterator<Item = Seen<'a>> {
    let (mut rest, mut sequence) = (pieces.into_iter(), first_sequence);
    let mut piece: &[u64] = &[];
    std::iter::from_fn(move || {
        while piece.is_empty() {
            piece = rest.next()?;
        }
        let head = u64::from_le(piece[0]);
        // A size of 0 is a stray write: nothing behind it can be told apart.
        let size = match head as usize & 0xffff {
            0 => piece.len(),
            size => size.min(piece.len()),
        };
        let (words, behind) = piece.split_at(size);
        piece = behind;
        let mut trace = [0; 16];
        if let Some(id) = words.get(1..3) {
            trace.copy_from_slice(bytes_of(id));
        }
        sequence += 1;
        Some(Seen {
            sequence: sequence - 1,
            words,
            trace: TraceId(trace),
            kind: (head >> 16) as u8,
        })
    })
}

/// One held ring.
#[derive(Default)]
struct Window {
    /// Sequence after the last record that was there at the last commit.
    seen: u64,
    /// Bytes of the records before that one which are still there.
    behind: u64,
    /// Records that came since, as far as they were captured.
    came: u64,
    /// Records in it that the log has.
    logged: AHashSet<u64>,
    /// Those that were appended since the last commit.
    appended: Vec<u64>,
    /// Records that left it and are in no log.
    sampled_out: u64,
    /// What was recorded up to this tick leaves.
    cut: u64,
}

impl Window {
    /// What came since the last commit.
    fn fresh<'a>(
        &self,
        consumers: &'a Consumers,
        index: usize,
    ) -> impl Iterator<Item = Seen<'a>> + use<'a> {
        let held = consumers.captured(index);
        let behind = (self.behind / 8) as usize;
        let in_first = behind.min(held.first.len());
        let in_second = (behind - in_first).min(held.second.len());
        let pieces = [&held.first[in_first..], &held.second[in_second..]];
        seen(pieces, self.seen)
    }
}

/// Records of one ring that are to be copied.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) sequences: Vec<u64>,
    pub(super) words: Vec<u64>,
}

impl Wanted {
    /// Adds a record of a trace that is kept under this threshold, which its start then tells.
    pub(super) fn push(&mut self, record: &Seen<'_>, threshold: Option<u64>) {
        self.sequences.push(record.sequence);
        let at = self.words.len();
        self.words.extend_from_slice(record.words);
        let start = self.words.get_mut(at + THRESHOLD);
        let begins = record.begins().is_some();
        if let (true, Some(start), Some(threshold)) = (begins, start, threshold) {
            *start = threshold.to_le();
        }
    }
}

/// What is to leave a held ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaving {
    pub(super) bytes: u64,
    pub(super) records: u64,
}

/// What left a held ring when the log was closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    pub(super) leaving: Leaving,
    /// Records of it that are in no log.
    pub(super) out: u64,
}

/// What the flusher knows of held rings.
#[derive(Default)]
pub(super) struct Held {
    windows: AHashMap<u32, Window>,
    /// Traces that are kept, and the threshold that says so.
    kept: AHashMap<TraceId, Option<u64>>,
    order: VecDeque<(Instant, TraceId)>,
    /// Whether traces were decided since the last commit, of which windows may have more.
    decided: bool,
}

fn captured(consumers: &Consumers, index: usize) -> impl Iterator<Item = Seen<'_>> {
    let held = consumers.captured(index);
    seen([held.first, held.second], held.first_sequence)
}

fn bytes(consumers: &Consumers, index: usize) -> u64 {
    let held = consumers.captured(index);
    (held.first.len() + held.second.len()) as u64 * 8
}

impl Held {
    /// Looks at what came since the last commit, for traces that are to be kept, and decides what
    /// is too old. Returns how many records came.
    pub(super) fn look(&mut self, consumers: &Consumers, longest_ticks: u64, now: u64) -> u64 {
        self.forget();
        let mut came = 0;
        let held = (0..consumers.len()).filter(|index| is_held(consumers.ring(*index)));
        for index in held {
            let window = self.windows.entry(consumers.ring(index)).or_default();
            window.appended.clear();
            window.cut = now.saturating_sub(longest_ticks);
            let (most, least) = consumers.window(index);
            let waiting = bytes(consumers, index);
            // In steps, so that not every pass makes room for a few records.
            if waiting > most {
                let mut left = waiting;
                for record in captured(consumers, index) {
                    if left <= least {
                        break;
                    }
                    window.cut = window.cut.max(record.tick());
                    left -= record.words.len() as u64 * 8;
                }
            }
            window.came = 0;
            for record in window.fresh(consumers, index) {
                window.came += 1;
                let Some(Verdict::Kept(threshold)) = record.verdict() else {
                    continue;
                };
                if self.kept.insert(record.trace, threshold).is_none() {
                    self.order.push_back((Instant::now(), record.trace));
                    self.decided = true;
                }
            }
            came += window.came;
        }
        came
    }

    /// Forgets kept traces of which nothing more is to be expected.
    fn forget(&mut self) {
        while let Some((when, trace)) = self.order.front() {
            if self.order.len() <= REMEMBERED && when.elapsed() < LONGEST {
                return;
            }
            self.kept.remove(trace);
            self.order.pop_front();
        }
    }

    /// What a ring has of kept traces and the log has not.
    pub(super) fn wanted(&self, consumers: &Consumers, index: usize) -> Wanted {
        let mut wanted = Wanted::default();
        let Some(window) = self.windows.get(&consumers.ring(index)) else {
            return wanted;
        };
        if self.kept.is_empty() {
            return wanted;
        }
        let mut take = |record: Seen<'_>| {
            if let Some(threshold) = self.kept.get(&record.trace) {
                if !window.logged.contains(&record.sequence) {
                    wanted.push(&record, *threshold);
                }
            }
        };
        // What was there at the last commit was dealt with, but for traces decided since.
        match self.decided {
            true => captured(consumers, index).for_each(&mut take),
            false => window.fresh(consumers, index).for_each(&mut take),
        }
        wanted
    }

    /// These records of a ring were appended.
    pub(super) fn appended(&mut self, ring: u32, sequences: &[u64]) {
        let window = self.windows.entry(ring).or_default();
        window.appended.extend_from_slice(sequences);
    }

    /// What was appended so far is logged.
    pub(super) fn settle(&mut self) {
        for window in self.windows.values_mut() {
            window.logged.extend(window.appended.drain(..));
        }
    }

    /// What is to leave a ring when everything that was appended is committed.
    pub(super) fn leaving(&self, consumers: &Consumers, index: usize) -> Leaving {
        let mut leaving = Leaving::default();
        let window = self.windows.get(&consumers.ring(index));
        let cut = window.map_or(0, |window| window.cut);
        for record in captured(consumers, index) {
            if record.tick() > cut {
                break;
            }
            leaving.bytes += record.words.len() as u64 * 8;
            leaving.records += 1;
        }
        leaving
    }

    /// Everything was committed; what is to leave a ring leaves it now. Returns how many records
    /// left without being in the log.
    pub(super) fn left(&mut self, consumers: &Consumers, index: usize, leaving: Leaving) -> u64 {
        let held = consumers.captured(index);
        let window = self.windows.entry(consumers.ring(index)).or_default();
        let first = held.first_sequence;
        window.seen += std::mem::take(&mut window.came);
        window.behind = bytes(consumers, index) - leaving.bytes;
        let mut out = leaving.records;
        if !window.logged.is_empty() {
            let gone = first..first + leaving.records;
            out -= gone
                .filter(|sequence| window.logged.remove(sequence))
                .count() as u64;
        }
        window.sampled_out += out;
        out
    }

    /// The log is closed: everything leaves. Returns what that is, for each of these rings.
    pub(super) fn give_up(&mut self, consumers: &Consumers, held: &[usize]) -> Vec<GivenUp> {
        let give_up = |index: &usize| {
            let ring = consumers.ring(*index);
            self.windows.entry(ring).or_default().cut = u64::MAX;
            let leaving = self.leaving(consumers, *index);
            let out = self.left(consumers, *index, leaving);
            GivenUp { leaving, out }
        };
        held.iter().map(give_up).collect()
    }

    /// All rings were gone through after the commit.
    pub(super) fn done(&mut self) {
        self.decided = false;
    }

    /// Records of a ring that left it and are in no log; `None` if it is none that holds, or none did.
    pub(super) fn sampled_out(&self, ring: u32) -> Option<u64> {
        let out = self.windows.get(&ring)?.sampled_out;
        (out > 0).then_some(out)
    }
}
