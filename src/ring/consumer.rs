//! The flusher's side of all rings.
//!
//! Always true:
//! - bytes that were handed out stay as they are until they are released
//! - what was captured belongs to one lease: a ring changes hands only when it is drained
//! - a ring that follows another one is handed out after that one was released up to there

use super::{
    layout::at,
    lease::{Lease, Ring},
    losses,
    options::Overflow,
    registry::Registry,
    storage::{Readable, Reader},
};
use crate::sync::{Arc, Ordering};

/// All consumers' ends. Indices are stable and dense.
#[derive(Debug)]
pub struct Consumers {
    registry: Registry,
    list: Vec<Consumer>,
    wakes_producers: bool,
}

#[derive(Debug)]
struct Consumer {
    ring: Arc<Ring>,
    reader: Reader,
    lost: u64,
    /// Up to where a held ring was looked at.
    looked: u64,
}

/// Tails of all rings at one moment: what a flush waits for.
#[derive(Clone, Debug, Default)]
pub struct Tails(Vec<u64>);

/// How much waits in the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes in all rings.
    pub bytes: u64,
    /// Fill of the fullest ring, as a part of 256.
    pub fullest: u64,
    /// Whether a ring is half full, so that it must be drained now.
    pub urgent: bool,
}

impl Consumers {
    pub(super) fn new(registry: Registry) -> Self {
        let blocks = matches!(registry.options().overflow, Overflow::Block { .. });
        let mut consumers = Self {
            registry,
            list: Vec::new(),
            wakes_producers: blocks,
        };
        consumers.refresh();
        consumers
    }

    /// Learns of new rings; returns how many there are.
    pub fn refresh(&mut self) -> usize {
        for ring in self.registry.added(self.list.len()) {
            // Each reader is taken here and nowhere else.
            if let Some(reader) = ring.take_reader() {
                self.list.push(Consumer {
                    ring,
                    reader,
                    lost: 0,
                    looked: 0,
                });
            }
        }
        self.list.len()
    }

    /// Rings known here.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Number of a ring, which its records are identified by.
    pub fn ring(&self, index: usize) -> u32 {
        self.list[index].ring.number
    }

    /// Who has the ring, or had it last. While records of it are waiting, it is their lease.
    pub fn lease(&self, index: usize) -> Lease {
        self.list[index].ring.lease()
    }

    /// Captures what every ring holds now, which [`captured`](Self::captured) hands out.
    pub fn capture(&mut self) {
        self.refresh();
        (0..self.list.len()).for_each(|index| self.capture_one(index));
    }

    /// What ring `index` held when it was captured, as far as it was not released since.
    pub fn captured(&self, index: usize) -> Readable<'_> {
        self.list[index].reader.captured()
    }

    /// Number of the newest lease of ring `index`.
    pub fn lease_number(&self, index: usize) -> u32 {
        self.captured(index).lease
    }

    /// What ring `index` holds now.
    pub fn readable(&mut self, index: usize) -> Readable<'_> {
        self.capture_one(index);
        self.captured(index)
    }

    fn capture_one(&mut self, index: usize) {
        let reader = &mut self.list[index].reader;
        // The tail is captured before `follows` is looked at: who sees records also sees what
        // they follow.
        reader.capture();
        let waits = self.list[index].ring.followed().is_some_and(|(other, to)| {
            let other = self.list.get(other);
            other.is_none_or(|other| other.reader.head() < to)
        });
        let reader = &mut self.list[index].reader;
        if waits {
            reader.capture_nothing();
        }
    }

    /// Bytes that a held ring keeps: from how many on it is to be cut, and to how many.
    pub fn window(&self, index: usize) -> (u64, u64) {
        let ring = &self.list[index].ring;
        // Relaxed: a hint. What finished threads hold makes room for others when that is scarce.
        let over = ring.memory.get(at::LEASE, Ordering::Relaxed) % 2 == 0;
        if over && self.registry.is_held_scarce() {
            return (0, 0);
        }
        let capacity = ring.memory.shape().capacity as u64;
        (capacity / 8 * 3, capacity / 4)
    }

    /// What a held ring had when it was captured was dealt with; it stays there.
    pub fn looked(&mut self, index: usize) {
        let consumer = &mut self.list[index];
        consumer.looked = consumer.reader.tail();
    }

    /// Gives the first `bytes` of what was handed out, `records` records, back to the producer.
    ///
    /// # Panics
    /// If more is released than was handed out.
    pub fn release(&mut self, index: usize, bytes: u64, records: u64) {
        let consumer = &mut self.list[index];
        consumer.reader.release(bytes, records);
        if self.wakes_producers && bytes > 0 {
            consumer.ring.room.ring();
        }
    }

    /// Where all producers are now. Call it after [`Tickets::begin_round`](super::Tickets).
    pub fn tails(&mut self) -> Tails {
        self.refresh();
        // Relaxed: whoever flushes synchronised with the records that it means before it took its
        // ticket, and the flusher synchronised with that; so these loads see at least those.
        let tail = |c: &Consumer| c.ring.memory.get(at::TAIL, Ordering::Relaxed);
        Tails(self.list.iter().map(tail).collect())
    }

    /// Whether everything up to these tails was released.
    pub fn drained(&self, tails: &Tails) -> bool {
        let mut pairs = tails.0.iter().zip(&self.list);
        pairs.all(|(tail, consumer)| consumer.reader.head().max(consumer.looked) >= *tail)
    }

    /// How much waits, for deciding how long to sleep and as the last look before it.
    pub fn waiting(&self) -> Waiting {
        // A ring that was not looked at yet may be full.
        let mut waiting = Waiting {
            bytes: 0,
            fullest: 0,
            urgent: self.registry.has_more_than(self.list.len()),
        };
        for consumer in &self.list {
            // Relaxed: the doorbell's fence orders it.
            let tail = consumer.ring.memory.get(at::TAIL, Ordering::Relaxed);
            let held = tail.saturating_sub(consumer.reader.head());
            let bytes = held.min(tail.saturating_sub(consumer.looked));
            waiting.bytes += bytes;
            let capacity = consumer.ring.memory.shape().capacity as u64;
            waiting.fullest = waiting.fullest.max(bytes * 256 / capacity.max(1));
            waiting.urgent |= bytes > 0 && held >= capacity / 2;
        }
        waiting
    }

    /// Calls `each` with cause, kind and total of what ring `index` lost, if that changed since
    /// the last call.
    pub fn new_losses(&mut self, index: usize, each: impl FnMut(u8, u8, u64)) {
        let consumer = &mut self.list[index];
        let lost = losses::lost(&consumer.ring.memory);
        if lost != consumer.lost {
            consumer.lost = lost;
            losses::each(&consumer.ring.memory, each);
        }
    }

    /// Calls `each` with cause, kind and total of what ring `index` ever lost.
    pub fn losses(&self, index: usize, each: impl FnMut(u8, u8, u64)) {
        losses::each(&self.list[index].ring.memory, each);
    }
}
