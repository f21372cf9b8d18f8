//! How far the log is, told to other threads without a lock.
//!
//! Always true:
//! - `committed` and `durable` never fall, and whoever sees one of them can read what lies below it
//! - after a commit a sync is due that covers it: either the writer is told to ask for one, or the
//!   one that was asked for has not begun

use crate::sync::{ord, AtomicU32, AtomicU64};

/// Log offsets of the writer and of the syncs.
#[derive(Debug)]
pub struct Progress {
    /// Log offset after the last logged frame.
    committed: AtomicU64,
    /// Log offset below which everything is durable.
    durable: AtomicU64,
    /// 1: a sync will come that covers what is committed now.
    sync_scheduled: AtomicU32,
}

impl Progress {
    /// Everything below `durable` is logged and durable.
    pub fn new(durable: u64) -> Self {
        Self {
            committed: AtomicU64::new(durable),
            durable: AtomicU64::new(durable),
            sync_scheduled: AtomicU32::new(0),
        }
    }

    /// Log offset after the last logged frame.
    pub fn committed(&self) -> u64 {
        // Acquire: meets the Release in `commit`; the frames below can be read.
        self.committed.load(ord!(CommittedSeen, Acquire))
    }

    /// Log offset below which everything survives a power cut.
    pub fn durable(&self) -> u64 {
        // Acquire: meets the Release in `set_durable`.
        self.durable.load(ord!(DurableSeen, Acquire))
    }

    /// Shows a new end of the log.
    pub fn commit(&self, offset: u64) {
        // Release: meets the Acquire in `committed`.
        self.committed.store(offset, ord!(Committed, Release));
    }

    /// After a commit that is to become durable: whether the caller must ask for a sync.
    pub fn schedule_sync(&self) -> bool {
        // A read-modify-write on both sides, so that one of them comes first: either the sync
        // that takes the flag away sees the offset stored before, or it took it earlier and the
        // flag is found clear here.
        self.sync_scheduled.swap(1, ord!(SyncSchedule, AcqRel)) == 0
    }

    /// What a sync that begins now has to cover.
    pub fn begin_sync(&self) -> u64 {
        // See `schedule_sync`.
        self.sync_scheduled.swap(0, ord!(SyncBegin, AcqRel));
        self.committed()
    }

    /// Says that everything below `offset` survives a power cut.
    pub fn set_durable(&self, offset: u64) {
        // Release: meets the Acquire in `durable`.
        self.durable.store(offset, ord!(Durable, Release));
    }
}
