//! What the flusher's writer and the housekeeping thread share.
//!
//! Always true:
//! - the writer takes the lock only when it rolls, or when a first commit wants a later sync
//! - `committed` and `durable` never fall

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    record::id::{InstanceId, LogId},
    sync::{desk::Desk, Arc, AtomicU32, MutexGuard},
};

use super::{
    file::LockFile,
    index::IndexBuilder,
    layout::SegmentHeader,
    options::{Limits, Options, SyncPolicy},
    progress::Progress,
    retention::Removed,
    Position,
};

/// A segment that is ready to be written to.
#[derive(Debug)]
pub(super) struct Prepared {
    pub file: Arc<File>,
    pub header: SegmentHeader,
}

/// A segment that the writer has left.
#[derive(Debug)]
pub(super) struct Sealed {
    pub file: Arc<File>,
    pub header: SegmentHeader,
    pub index: IndexBuilder,
    /// Its final commit mark.
    pub end: u64,
    /// Its file cannot be trusted any more: write another one with the same frames.
    pub rewrite: bool,
    /// Whether an fdatasync covered all of it.
    pub synced: bool,
}

/// What the two threads hand each other.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The next segment.
    pub next: Option<Prepared>,
    /// The one after it, when the writer gave one back.
    pub after: Option<Prepared>,
    /// Smallest size that the next segment must have.
    pub wanted_bytes: u64,
    /// Why there is no next segment.
    pub next_error: Option<io::Error>,
    /// Base of the segment that is prepared next.
    pub next_base: u64,
    /// Left segments, oldest first, on which work remains.
    pub sealed: VecDeque<Sealed>,
    /// Memory for the index of the next segment: without it each would grow anew to megabytes, in
    /// pieces that an allocator keeps for itself.
    pub spare_index: Option<IndexBuilder>,
    /// The segment that is being written.
    pub current: Option<(Arc<File>, u64)>,
    /// Current segment whose fdatasync failed.
    pub poisoned: Option<u64>,
    /// When the next sync is due.
    pub sync_due: Option<Instant>,
    /// Log offset after the records of what recovery found missing.
    pub gaps_logged: Option<u64>,
    /// Run retention now.
    pub prune: bool,
    /// What retention removed and nobody asked about yet.
    pub removed: Vec<Removed>,
    /// Why the last sync failed, until one succeeds.
    pub sync_error: Option<String>,
    /// Bytes that the log takes on disk.
    pub disk_bytes: u64,
    /// The writer is gone for good.
    pub closing: bool,
    /// The housekeeping thread is gone.
    pub stopped: bool,
}

/// Removed segments that are remembered for whoever asks.
pub(super) const REMOVED: usize = 1024;

impl Work {
    /// Notes what retention removed. Nobody may ever ask: the oldest are forgotten.
    pub(super) fn note_removed(&mut self, removed: Vec<Removed>) {
        self.removed.extend(removed);
        let many = self.removed.len().saturating_sub(REMOVED);
        self.removed.drain(..many);
    }

    /// Whether the next segment is there and large enough.
    pub(super) fn has_next(&self) -> bool {
        let enough = |next: &Prepared| next.header.reserved >= self.wanted_bytes;
        self.next.as_ref().is_some_and(enough)
    }

    /// Whether something should be made durable now.
    pub(super) fn needs_sync(&self) -> bool {
        let due = self.sync_due.is_some_and(|due| due <= Instant::now());
        due || self.sealed.iter().any(|s| !s.synced)
    }
}

/// Shared by writer, housekeeping and whoever wants to know how far the log is.
#[derive(Debug)]
pub(super) struct Shared {
    pub dir: PathBuf,
    pub options: Options,
    pub limits: Limits,
    pub log_id: LogId,
    pub instance: InstanceId,
    pub epoch: u64,
    progress: Progress,
    /// 1: the writer should leave its segment.
    leave: AtomicU32,
    /// The housekeeping thread does the work.
    desk: Desk<Work>,
    /// Held as long as anything of the log lives.
    pub _lock: LockFile,
}

impl Shared {
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place that puts it together"
    )]
    pub(super) fn new(
        dir: PathBuf,
        options: Options,
        limits: Limits,
        log_id: LogId,
        instance: InstanceId,
        epoch: u64,
        durable: u64,
        next_base: u64,
        lock: LockFile,
    ) -> Self {
        let work = Work {
            next_base,
            ..Work::default()
        };
        Self {
            dir,
            options,
            limits,
            log_id,
            instance,
            epoch,
            progress: Progress::new(durable),
            leave: AtomicU32::new(0),
            desk: Desk::new(work),
            _lock: lock,
        }
    }

    /// Locks the work list.
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.desk.work()
    }

    /// Wakes the housekeeping thread.
    pub(super) fn wake(&self) {
        self.desk.wake();
    }

    /// Tells everybody who waits that something was done.
    pub(super) fn tell(&self) {
        self.desk.tell();
    }

    /// Waits for work, at most until `due`.
    pub(super) fn wait_for_work<'a>(
        &self,
        work: MutexGuard<'a, Work>,
        due: Option<Instant>,
    ) -> MutexGuard<'a, Work> {
        self.desk.wait_for_work(work, due)
    }

    /// Waits until something was done, at most until `deadline`.
    pub(super) fn wait_until_done<'a>(
        &self,
        work: MutexGuard<'a, Work>,
        deadline: Instant,
    ) -> MutexGuard<'a, Work> {
        self.desk.wait_until_done(work, deadline)
    }

    /// Log offset after the last logged frame.
    pub(super) fn committed(&self) -> u64 {
        self.progress.committed()
    }

    pub(super) fn durable(&self) -> u64 {
        self.progress.durable()
    }

    pub(super) fn position(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    /// Shows a new end of the log to this process; the mapped mark already shows it to all.
    pub(super) fn set_committed(&self, offset: u64) {
        self.progress.commit(offset);
        let delay = match self.options.sync {
            SyncPolicy::OnRoll => return,
            SyncPolicy::Every(interval) => interval,
            SyncPolicy::EveryBatch => Duration::ZERO,
        };
        if self.progress.schedule_sync() {
            let mut work = self.work();
            let due = Instant::now() + delay;
            work.sync_due = Some(work.sync_due.map_or(due, |old| old.min(due)));
            drop(work);
            self.wake();
        }
    }

    /// What a sync that begins now has to cover.
    pub(super) fn begin_sync(&self) -> u64 {
        self.progress.begin_sync()
    }

    /// Says that everything below `offset` survives a power cut.
    pub(super) fn set_durable(&self, offset: u64) {
        self.progress.set_durable(offset);
        self.desk.tell_after();
    }

    /// Waits until everything below `offset` is durable, asking for it now.
    pub(super) fn wait_durable(&self, offset: u64, deadline: Instant) -> io::Result<()> {
        let answer = self.desk.ask(deadline, |work| {
            if self.durable() >= offset {
                return Some(Ok(()));
            }
            work.sync_due = Some(Instant::now());
            let closed = || Err(io::Error::other("the log is closed"));
            work.stopped.then(closed)
        });
        answer.unwrap_or_else(|| {
            let reason = self.work().sync_error.clone();
            let reason = reason.unwrap_or_else(|| "not durable in time".into());
            Err(io::Error::new(io::ErrorKind::TimedOut, reason))
        })
    }

    pub(super) fn should_leave(&self) -> bool {
        // Relaxed: a hint; the roll itself goes through the lock.
        self.leave.load(std::sync::atomic::Ordering::Relaxed) != 0
    }

    pub(super) fn set_leave(&self, leave: bool) {
        // Relaxed: see `should_leave`.
        self.leave
            .store(leave.into(), std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RemovedBy;

    #[test]
    fn what_was_removed_is_forgotten_where_nobody_asks() {
        let removed = |n: u64| Removed {
            from: Position {
                epoch: 1,
                offset: n,
            },
            to: Position {
                epoch: 1,
                offset: n + 1,
            },
            records: 1,
            bytes: 1,
            reason: RemovedBy::HardLimit,
            cursors: vec!["slow".into()],
        };
        let mut work = Work::default();
        for n in 0..REMOVED as u64 + 10 {
            work.note_removed(vec![removed(n)]);
            assert!(work.removed.len() <= REMOVED);
        }
        assert_eq!(work.removed.len(), REMOVED);
        assert_eq!(work.removed[0], removed(10));
    }
}
