//! A thread's way into its ring.
//!
//! Always true:
//! - a record is published whole or not at all, also when the closure that writes it panics
//! - what does not get in is counted by cause and kind; attempts = published + counted
//! - the thread never waits, unless [`Overflow::Block`] says so, and then for a bounded time

use std::time::Instant;

use super::{
    lease::Ring,
    options::{Overflow, ALWAYS_ALLOWED_WORDS},
    registry::Registry,
    spans::{OpenSpan, SpanTable},
    storage::Writer,
};
use crate::{
    record::{
        kinds::LossCause,
        layout::{is_held, RecordKind},
    },
    sync::{Arc, Ordering},
};

/// Head position at which nothing ever happened.
const NEVER: u64 = u64::MAX;

/// One thread's ring, leased until this is dropped.
#[derive(Debug)]
pub struct Producer {
    writer: Writer,
    max_words: usize,
    spans: SpanTable,
    /// Where the consumer stood when the doorbell was rung last.
    rung_at: u64,
    /// Where the consumer stood when waiting for it was in vain.
    gave_up_at: u64,
    ring: Arc<Ring>,
    /// The thread's first ring while it writes to a further one; its span table stays in use.
    home: Option<(Writer, Arc<Ring>)>,
    registry: Registry,
}

impl Producer {
    pub(super) fn new(registry: Registry, ring: Arc<Ring>, writer: Writer) -> Self {
        let capacity = writer.memory().shape().capacity;
        let mut producer = Self {
            max_words: registry.options().max_record_bytes.min(capacity / 2) / 8,
            spans: SpanTable::take(writer.memory()),
            writer,
            rung_at: NEVER,
            gave_up_at: NEVER,
            ring,
            home: None,
            registry,
        };
        producer.look_for_room(1);
        producer
    }

    /// Records `words` words that `fill` writes in place: the first one is the record's header,
    /// which says the same size. False if the record did not get in; then it was counted.
    #[inline(always)]
    pub fn push(&mut self, kind: RecordKind, words: usize, fill: impl FnOnce(&mut [u64])) -> bool {
        debug_assert!(words > 0);
        loop {
            // The first half is known when compiling where the size is, so that the common record
            // costs one comparison.
            let allowed = words <= ALWAYS_ALLOWED_WORDS || words <= self.max_words;
            if allowed && self.writer.fits(words) {
                self.writer.write(words, fill);
                return true;
            }
            if !self.make_room(kind, words) {
                return false;
            }
        }
    }

    /// Longest record that this ring takes, in words.
    #[inline(always)]
    pub fn max_words(&self) -> usize {
        self.max_words
    }

    /// Counts a record that was lost before it could be pushed.
    #[cold]
    pub fn lose(&mut self, cause: LossCause, kind: RecordKind) {
        self.writer.lose(cause as u8, kind as u8);
    }

    /// For a thread that was recording while the log was closed: if nobody will read its last
    /// record, takes that back and counts it.
    #[cold]
    #[inline(never)]
    pub fn too_late(&mut self, kind: RecordKind) {
        if self.registry.is_over() && self.writer.take_back() {
            self.lose(LossCause::Shutdown, kind);
        }
    }

    /// Shows a span as open until it is closed; `None` if the table is full.
    #[inline(always)]
    pub fn open(&mut self, span: OpenSpan) -> Option<u16> {
        self.spans.open(span)
    }

    /// Shows a span as open in the slot of one that is over.
    #[inline(always)]
    pub fn replace(&mut self, slot: u16, span: OpenSpan) {
        self.spans.replace(slot, span);
    }

    /// The span in this slot is over.
    #[inline(always)]
    pub fn close(&mut self, slot: u16) {
        self.spans.close(slot);
    }

    /// Number of the ring whose table shows this thread's spans.
    pub fn span_ring(&self) -> u32 {
        self.home
            .as_ref()
            .map_or(&self.ring, |(_, ring)| ring)
            .number
    }

    /// Number of the ring that takes records now, and the lease on it.
    pub fn ring(&self) -> (u32, u32) {
        (self.ring.number, self.writer.lease())
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, kind: RecordKind, words: usize) -> bool {
        if words > self.max_words {
            self.lose(LossCause::Oversize, kind);
            return false;
        }
        let made = self.look_for_room(words)
            || match self.overflow() {
                Overflow::DropNewest => false,
                Overflow::Block { timeout } => {
                    self.wait_for_room(words, crate::clock::deadline(timeout))
                }
                Overflow::Spill { .. } => self.move_on(words),
            };
        if !made {
            self.lose(LossCause::RingFull, kind);
        }
        made
    }

    /// What a full ring does. One that holds traces which are not sampled is always nearly as full
    /// as it may be; nobody waits for it.
    fn overflow(&self) -> Overflow {
        match is_held(self.ring.number) {
            true => Overflow::DropNewest,
            false => self.registry.options().overflow,
        }
    }

    /// Asks the consumer where it is. Rings the doorbell if the ring is half full, but only once
    /// for each time that the consumer has moved.
    fn look_for_room(&mut self, words: usize) -> bool {
        let waiting = self.writer.reload();
        let head = self.writer.tail().wrapping_sub(waiting);
        let half = self.writer.memory().shape().capacity as u64 / 2;
        if waiting >= half && self.rung_at != head {
            self.rung_at = head;
            self.registry.bell().ring();
        }
        self.writer.wrap(words);
        if !self.writer.fits(words) {
            return false;
        }
        if waiting < half {
            // The fast path ends where the ring gets half full; the push after that comes here
            // and rings.
            let this = self.writer.tail() + words as u64 * 8;
            self.writer.set_limit(this.max(head + half));
        }
        true
    }

    /// Sleeps until the consumer has made room.
    fn wait_for_room(&mut self, words: usize, deadline: Instant) -> bool {
        let memory = Arc::clone(self.writer.memory());
        // Relaxed: only compared here; `reload` synchronises.
        let head = || memory.get(super::layout::at::HEAD, Ordering::Relaxed);
        if super::is_engine_thread() || self.gave_up_at == head() {
            return false;
        }
        loop {
            let before = head();
            if self.look_for_room(words) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.registry.drains() {
                self.gave_up_at = before;
                return false;
            }
            let registry = &self.registry;
            let changed = || head() != before || !registry.drains();
            self.ring.room.sleep(left, changed);
        }
    }

    /// Goes on in the home ring if that is drained, otherwise in a further one. The consumer
    /// drains what was written so far first, because the new ring *follows* the old one there.
    fn move_on(&mut self, words: usize) -> bool {
        let drained = |(writer, _): &mut (Writer, _)| writer.reload() == 0;
        let next = if self.home.as_mut().is_some_and(drained) {
            self.home.take().map(|home| (home, true))
        } else {
            let further = self.registry.further_ring(&self.home_ring().lease());
            further.map(|ring| (ring, false))
        };
        let Some(((writer, ring), going_home)) = next else {
            return false;
        };
        // Relaxed: own store.
        let written = self
            .writer
            .memory()
            .get(super::layout::at::TAIL, Ordering::Relaxed);
        ring.follow(self.ring.index, written);
        let mut old_writer = std::mem::replace(&mut self.writer, writer);
        let old_ring = std::mem::replace(&mut self.ring, ring);
        if going_home || self.home.is_some() {
            old_writer.end();
        } else {
            self.home = Some((old_writer, old_ring));
        }
        self.rung_at = NEVER;
        self.look_for_room(words)
    }

    fn home_ring(&self) -> &Arc<Ring> {
        self.home.as_ref().map_or(&self.ring, |(_, ring)| ring)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // In a forked child the lease is the parent's.
        if !self.registry.gate().is_home() {
            return;
        }
        self.writer.end();
        if let Some((writer, _)) = &mut self.home {
            writer.end();
        }
    }
}
