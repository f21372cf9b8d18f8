//! One ring and who has it.
//!
//! Always true:
//! - a ring is leased by at most one thread, and only when it is free and drained
//! - its one reader is given away once

use std::sync::PoisonError;

#[cfg(not(loom))]
use super::shared;
use super::{
    doorbell::Doorbell,
    layout::at,
    stats::RingStats,
    storage::{Memory, Reader, Writer},
};
use crate::{
    clock::Clock,
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering},
};

/// Who has a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Number of the take-over: odd.
    pub lease: u32,
    /// Thread id of the operating system.
    pub thread: u64,
    /// Name of the thread.
    pub thread_name: Box<str>,
    /// When it began.
    pub tick: u64,
}

/// One ring.
#[derive(Debug)]
pub struct Ring {
    /// Its place in the list of all rings.
    pub index: usize,
    /// Its number, which records are identified by.
    pub number: u32,
    /// Wakes its producer when the consumer has made room.
    pub room: Doorbell,
    pub(super) memory: Arc<Memory>,
    backing: Backing,
    /// Whether it is one that a thread with a full ring goes on in.
    pub(super) further: bool,
    lease: Mutex<Lease>,
    reader: Mutex<Option<Reader>>,
    follows: AtomicU64,
    follows_to: AtomicU64,
}

/// What kind of memory a ring lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    File,
    Private,
}

/// Locks; a panic cannot have left what these locks guard half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    /// A ring that nobody has.
    pub(super) fn new(number: u32, memory: Memory, backing: Backing, further: bool) -> Self {
        let (memory, reader) = Reader::of(memory);
        Self {
            index: 0,
            number,
            room: Doorbell::new(),
            memory,
            backing,
            further,
            lease: Mutex::new(Lease {
                lease: 0,
                thread: 0,
                thread_name: "".into(),
                tick: 0,
            }),
            reader: Mutex::new(Some(reader)),
            follows: AtomicU64::new(0),
            follows_to: AtomicU64::new(0),
        }
    }

    /// The newest lease.
    pub fn lease(&self) -> Lease {
        lock(&self.lease).clone()
    }

    /// The one reader, for the one who comes first.
    pub(super) fn take_reader(&self) -> Option<Reader> {
        lock(&self.reader).take()
    }

    /// What this ring holds from now on comes after the first `to` bytes of ring `index`.
    pub(super) fn follow(&self, index: usize, to: u64) {
        // Relaxed, both: published with the first record.
        self.follows.store(index as u64 + 1, Ordering::Relaxed);
        self.follows_to.store(to, Ordering::Relaxed);
    }

    /// The (index, position) that must be drained before this ring, if there is one.
    pub(super) fn followed(&self) -> Option<(usize, u64)> {
        // Relaxed, both: stored before the records that the caller has seen published.
        let follows = self.follows.load(Ordering::Relaxed).checked_sub(1)?;
        Some((follows as usize, self.follows_to.load(Ordering::Relaxed)))
    }

    /// Leases the ring if it is free and drained.
    pub(super) fn take(&self, name: &str, thread: u64) -> Option<Writer> {
        let mut lease = lock(&self.lease);
        let writer = Writer::take(&self.memory)?;
        *lease = Lease {
            lease: writer.lease(),
            thread,
            thread_name: name.into(),
            tick: Clock::get().tick(),
        };
        self.follows.store(0, Ordering::Relaxed);
        #[cfg(not(loom))]
        {
            let name = crate::record::names::cut(name, super::layout::THREAD_NAME_BYTES);
            let mut bytes = [0; super::layout::THREAD_NAME_BYTES];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            // Relaxed: published with the first record.
            self.memory.set(at::THREAD, thread, Ordering::Relaxed);
            shared::put_bytes(self.memory.words(), at::THREAD_NAME, &bytes);
        }
        Some(writer)
    }

    /// What there is at the moment.
    pub(super) fn stats(&self) -> RingStats {
        let memory = &self.memory;
        let lease = self.lease();
        // Relaxed, all: for display.
        let get = |at| memory.get(at, Ordering::Relaxed);
        RingStats {
            ring: self.number,
            capacity_bytes: memory.shape().capacity,
            used_bytes: get(at::TAIL).saturating_sub(get(at::HEAD)) as usize,
            written_bytes: get(at::TAIL),
            lost_records: get(at::LOST),
            thread: (get(at::LEASE) % 2 == 1).then(|| lease.thread_name.into()),
            crash_safe: self.backing == Backing::File,
        }
    }
}
