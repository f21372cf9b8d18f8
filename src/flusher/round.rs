//! One pass: note the rings' tails, write what readers need to know first, append, commit, release.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::AHashMap;

use super::{
    held::{Held, Leaving, LONGEST},
    prologue::{AnchorReason, Batch, Resource},
    thread::Shared,
};
use crate::{
    api::engine::Engine,
    clock::{unix_now, Anchor, Clock},
    log::{AppendError, GapInfo, Writer},
    record::{
        kinds::LossCause,
        layout::{is_held, RecordKind, RING_FLUSHER},
        names,
    },
    ring::{Consumers, Lease},
    sync::fault::moment,
};

/// The wall clock and the ticks may drift apart by this much before a new anchor is written.
const MAX_DRIFT_NS: u64 = 500_000;
/// How often the drift is looked at.
const DRIFT_CHECK: Duration = Duration::from_millis(250);
/// A difference that is no drift but a step of the wall clock, or sleep.
const STEP_NS: u64 = 50_000_000;
/// How long a roll waits for a segment that housekeeping has not prepared yet.
const ROLL_PATIENCE: Duration = Duration::from_millis(50);

/// What a round did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    /// Records moved.
    pub(crate) records: u64,
    /// Bytes moved.
    pub(crate) bytes: u64,
    /// Records that came into held rings.
    pub(crate) came: u64,
    /// Records moved, by kind.
    pub(crate) kinds: [u64; RecordKind::SLOTS],
    /// Fill of the fullest ring when the round began, as a part of 256.
    pub(crate) fill: u64,
}

/// Bytes and records of a ring.
#[derive(Clone, Copy, Debug, Default)]
struct Moved {
    bytes: u64,
    records: u64,
}

impl Moved {
    fn leaving(self) -> Leaving {
        Leaving {
            bytes: self.bytes,
            records: self.records,
        }
    }
}

/// State of the flusher between rounds.
pub(crate) struct Flusher {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    writer: Writer,
    resource: Resource,
    batch: Batch,
    consumers: Consumers,
    /// What this round moved out of each ring and has not released.
    moved: Vec<Moved>,
    /// Names that stand in the current segment.
    names: usize,
    leases: AHashMap<u32, Lease>,
    losses: AHashMap<(u32, u8, u8), u64>,
    /// What recovery found missing and the log does not say yet.
    gaps: Vec<GapInfo>,
    anchor: Anchor,
    drift_checked: Instant,
    /// Next sequence of each ring that this round appended to.
    appended: AHashMap<u32, u64>,
    /// Next sequence of each ring of which the log has more than was released: a round failed
    /// after it had left a segment.
    logged: AHashMap<u32, u64>,
    /// What is known of rings that hold traces which are not sampled.
    held: Held,
    /// The last round failed: what it wrote of names and the like does not count.
    again: bool,
}

impl Flusher {
    pub(crate) fn new(
        engine: Arc<Engine>,
        shared: Arc<Shared>,
        consumers: Consumers,
        writer: Writer,
        resource: Resource,
        anchor: Anchor,
        gaps: Vec<GapInfo>,
    ) -> Self {
        Self {
            engine,
            shared,
            writer,
            resource,
            batch: Batch::default(),
            consumers,
            moved: Vec::new(),
            names: 0,
            leases: AHashMap::new(),
            losses: AHashMap::new(),
            gaps,
            anchor,
            drift_checked: Instant::now(),
            appended: AHashMap::new(),
            logged: AHashMap::new(),
            held: Held::default(),
            again: false,
        }
    }

    /// Moves everything that was recorded before it began; adds what it moved to `done`.
    ///
    /// # Errors
    /// The log cannot be written now: the records stay in the rings. Those that the log got all
    /// the same are left out by the next round.
    pub(crate) fn round(&mut self) -> Result<Round, AppendError> {
        let mut done = Round::default();
        let goal = self.consumers.tails();
        done.fill = self.consumers.waiting().fullest;
        loop {
            let outcome = self.pass(&mut done);
            self.again |= outcome.is_err();
            let released = outcome?;
            // A ring that its thread went on in is drained after the one before it.
            if released == 0 || self.consumers.drained(&goal) {
                return Ok(done);
            }
        }
    }

    /// Whether a ring must be drained now.
    pub(crate) fn is_urgent(&self) -> bool {
        self.consumers.waiting().urgent
    }

    /// Moves what rings hold now; returns how many bytes of them are free again.
    fn pass(&mut self, done: &mut Round) -> Result<u64, AppendError> {
        // First of all: what is defined when these records are captured is enough to read them.
        self.consumers.capture();
        self.engine.rings.beat(self.engine.tick());
        self.appended.clear();
        if self.writer.should_roll() {
            self.roll(done)?;
        }
        self.news();
        self.append_own(done)?;
        self.moved.clear();
        let ticks = self.anchor.ticks(LONGEST);
        let now = self.engine.tick();
        done.came += self.held.look(&self.consumers, ticks, now);
        for index in 0..self.consumers.len() {
            let moved = match is_held(self.consumers.ring(index)) {
                true => self.copy(index, done)?,
                false => self.drain(index, done)?,
            };
            self.moved.push(moved);
        }
        moment("flusher.appended");
        let position = self.writer.commit()?;
        moment("flusher.committed");
        self.again = false;
        self.logged.clear();
        self.shared.count(done);
        if !self.gaps.is_empty() {
            // They stood in the first frame of the first segment.
            self.gaps.clear();
            self.writer.gaps_logged(position);
        }
        self.shared.committed(position);
        self.held.settle();
        for (index, moved) in self.moved.iter().enumerate() {
            if is_held(self.consumers.ring(index)) {
                let out = self.held.left(&self.consumers, index, moved.leaving());
                self.shared.sampled_out(out);
                self.consumers.looked(index);
            }
            self.consumers.release(index, moved.bytes, moved.records);
        }
        self.held.done();
        moment("flusher.released");
        Ok(self.moved.iter().map(|moved| moved.bytes).sum())
    }

    /// Collects definitions, leases, losses and a new anchor, as far as there are any.
    fn news(&mut self) {
        if self.again {
            self.prologue();
        }
        self.check_drift();
        self.new_names();
        for index in 0..self.consumers.len() {
            let (ring, held) = (self.consumers.ring(index), self.consumers.captured(index));
            let known = self.leases.get(&ring).map(|lease| lease.lease);
            if !(held.first.is_empty() && held.second.is_empty()) && known != Some(held.lease) {
                let lease = self.consumers.lease(index);
                self.batch.lease(ring, &lease);
                self.leases.insert(ring, lease);
            }
        }
        self.new_losses();
    }

    /// Compares the clocks now and then.
    fn check_drift(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.drift_checked) < DRIFT_CHECK {
            return;
        }
        self.drift_checked = now;
        let off = unix_now().abs_diff(self.anchor.unix_ns(self.engine.tick()));
        if off > MAX_DRIFT_NS {
            self.anchor = Clock::get().anchor(Some(&self.anchor));
            self.engine.rings.set_anchor(&self.anchor);
            let reason = if off > STEP_NS {
                AnchorReason::Step
            } else {
                AnchorReason::Regular
            };
            self.batch.anchor(&self.anchor, reason);
        }
    }

    fn new_names(&mut self) {
        let table = names::table();
        for (i, text) in table.since(self.names).iter().enumerate() {
            self.batch
                .name(names::FIRST_ID + (self.names + i) as u32, text);
        }
        self.names = table.len();
    }

    fn new_losses(&mut self) {
        let tick = self.engine.tick();
        let (batch, losses) = (&mut self.batch, &mut self.losses);
        let mut note = |ring, lease, cause, kind, total| {
            let old = losses.entry((ring, cause, kind)).or_insert(0);
            if let (true, Some(known)) = (*old != total, LossCause::from_u8(cause)) {
                *old = total;
                batch.loss(ring, lease, known, kind, total, tick);
            }
        };
        for index in 0..self.consumers.len() {
            let (ring, lease) = (
                self.consumers.ring(index),
                self.consumers.lease_number(index),
            );
            if let Some(out) = self.held.sampled_out(ring) {
                note(ring, lease, LossCause::SampledOut as u8, 0, out);
            }
            self.consumers.new_losses(index, |cause, kind, total| {
                note(ring, lease, cause, kind, total)
            });
        }
        let outside = |cause, kind, total| note(RING_FLUSHER, 0, cause, kind, total);
        self.engine.rings.losses(outside);
    }

    /// Appends the flusher's own records.
    fn append_own(&mut self, done: &mut Round) -> Result<(), AppendError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match self.writer.append_own(self.batch.words()) {
            Ok(_) => self.batch.clear(),
            // The next segment begins with all of it.
            Err(AppendError::SegmentFull { .. }) => self.roll(done)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Goes on in the next segment, which begins with everything that a reader of it alone must
    /// know.
    fn roll(&mut self, done: &mut Round) -> Result<(), AppendError> {
        moment("flusher.full");
        self.writer.leave()?;
        moment("flusher.left");
        // Sealed is logged, whether the next segment is there or not.
        self.shared.count(done);
        self.logged.extend(self.appended.drain());
        self.held.settle();
        self.prologue();
        let outcome = self
            .writer
            .roll(self.batch.words(), Instant::now() + ROLL_PATIENCE);
        self.batch.clear();
        outcome
    }

    /// Collects everything that a reader of one segment alone must know.
    fn prologue(&mut self) {
        self.batch.clear();
        self.batch.anchor(&self.anchor, AnchorReason::First);
        self.batch.resource(&self.resource);
        self.names = 0;
        self.new_names();
        let tick = self.engine.tick();
        for gap in &self.gaps {
            self.batch.gap(gap, tick);
        }
        for (&ring, lease) in &self.leases {
            self.batch.lease(ring, lease);
        }
        for (&(ring, cause, kind), &total) in &self.losses {
            if let Some(cause) = LossCause::from_u8(cause) {
                let lease = self.leases.get(&ring).map_or(0, |lease| lease.lease);
                self.batch.loss(ring, lease, cause, kind, total, tick);
            }
        }
    }

    /// Appends what a ring held when it was captured.
    fn drain(&mut self, index: usize, done: &mut Round) -> Result<Moved, AppendError> {
        let ring = self.consumers.ring(index);
        let mut moved = Moved::default();
        let (mut piece, mut word) = (0, 0);
        let logged = self.logged.get(&ring).copied().unwrap_or(0);
        while piece < 2 {
            let held = self.consumers.captured(index);
            let all = held.first.len() + held.second.len();
            let records = &[held.first, held.second][piece][word..];
            if records.is_empty() {
                (piece, word) = (piece + 1, 0);
                continue;
            }
            let sequence = held.first_sequence + moved.records;
            if sequence < logged {
                let size = (u64::from_le(records[0]) & 0xffff).max(1);
                word += size as usize;
                moved.bytes += size * 8;
                moved.records += 1;
                continue;
            }
            let appended = match self.writer.append(ring, held.lease, sequence, records) {
                Ok(appended) => appended,
                Err(AppendError::SegmentFull { appended }) => {
                    if appended.records == 0 {
                        self.roll(done)?;
                    }
                    appended
                }
                Err(AppendError::Record { appended, source }) => {
                    // Only a stray write into the ring can do this. What follows cannot be told
                    // apart, so the rest of this ring's round is given up, and counted.
                    moved.bytes += appended.bytes as u64;
                    moved.records += appended.records;
                    let damaged = all as u64 * 8 - moved.bytes;
                    self.shared.damaged(ring, damaged, &source);
                    moved.bytes = all as u64 * 8;
                    return Ok(moved);
                }
                Err(error) => return Err(error),
            };
            word += appended.bytes / 8;
            moved.bytes += appended.bytes as u64;
            moved.records += appended.records;
            self.appended.insert(ring, sequence + appended.records);
            for (total, count) in done.kinds.iter_mut().zip(appended.kinds) {
                *total += u64::from(count);
            }
            done.records += appended.records;
            done.bytes += appended.bytes as u64;
        }
        Ok(moved)
    }

    /// Appends what a held ring has of traces that are to be kept; what is returned is too old to
    /// stay there.
    fn copy(&mut self, index: usize, done: &mut Round) -> Result<Moved, AppendError> {
        let ring = self.consumers.ring(index);
        let lease = self.consumers.captured(index).lease;
        let wanted = self.held.wanted(&self.consumers, index);
        let (mut sequences, mut words) = (&wanted.sequences[..], &wanted.words[..]);
        while !sequences.is_empty() {
            let appended = match self.writer.append_copied(ring, lease, sequences, words) {
                Ok(appended) => appended,
                Err(AppendError::SegmentFull { appended }) => {
                    if appended.records == 0 {
                        self.roll(done)?;
                    }
                    appended
                }
                Err(AppendError::Record { appended, source }) => {
                    // As in `drain`.
                    let damaged = (words.len() * 8 - appended.bytes) as u64;
                    self.shared.damaged(ring, damaged, &source);
                    words = &words[..appended.bytes / 8];
                    sequences = &sequences[..appended.records as usize];
                    appended
                }
                Err(error) => return Err(error),
            };
            let (these, rest) = sequences.split_at(appended.records as usize);
            self.held.appended(ring, these);
            (sequences, words) = (rest, &words[appended.bytes / 8..]);
            for (total, count) in done.kinds.iter_mut().zip(appended.kinds) {
                *total += u64::from(count);
            }
            done.records += appended.records;
            done.bytes += appended.bytes as u64;
        }
        let Leaving { bytes, records } = self.held.leaving(&self.consumers, index);
        Ok(Moved { bytes, records })
    }

    /// Seals the log after the last round. Nobody will say any more how what is held went.
    pub(crate) fn close(mut self) -> Result<(), AppendError> {
        self.consumers.capture();
        let held = |index: &usize| is_held(self.consumers.ring(*index));
        let held: Vec<usize> = (0..self.consumers.len()).filter(held).collect();
        let all = self.held.give_up(&self.consumers, &held);
        self.new_losses();
        self.append_own(&mut Round::default())?;
        moment("flusher.last");
        let position = self.writer.close()?;
        moment("flusher.closed");
        self.shared.committed(position);
        for (index, leaving) in held.into_iter().zip(all) {
            self.shared.sampled_out(leaving.out);
            let Leaving { bytes, records } = leaving.leaving;
            self.consumers.release(index, bytes, records);
        }
        Ok(())
    }
}
