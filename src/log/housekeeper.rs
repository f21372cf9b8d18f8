//! Everything slow about the log, on a thread of its own: the flusher never waits for a disk.
//!
//! Always true:
//! - the next segment is ready before it is needed, unless the disk is full or failing
//! - `durable` moves only after the segments and then the watermark were synced
//! - a file whose fdatasync failed is never trusted again: its frames are written to a new one
//! - what fails is tried again, and does not keep the rest from being done
//!
//! Here is the loop and what makes the log durable; `prepare` has the next segment ready, `finish`
//! is done with those that are left.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use crate::sync::Arc;

use super::{
    file::{self, step},
    gap::GapInfo,
    retention::{Kept, Removed},
    rewrite::rewrite,
    shared::{Shared, Work},
    watermark::{Watermark, WatermarkFile},
    Position,
};

/// Time after which something that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// The housekeeping thread of an open log.
#[derive(Debug)]
pub struct Housekeeper {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How far the log is and how it feels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// End of what is logged: it survives the death of the process.
    pub logged: Position,
    /// End of what is durable: it survives a power cut.
    pub durable: Position,
    /// Bytes that the log takes on disk, as of the last round.
    pub disk_bytes: u64,
    /// Why the last sync failed; gone after one that did not.
    pub sync_error: Option<String>,
    /// Why there is no next segment.
    pub next_error: Option<String>,
}

impl Housekeeper {
    pub(super) fn spawn(shared: Arc<Shared>, left: Left) -> io::Result<Self> {
        let round = Round {
            shared: shared.clone(),
            watermark: left.watermark,
            kept: left.kept,
            gaps: left.gaps,
            retention_due: Instant::now(),
            prepare_again: None,
            sync_again: None,
            index_missing: true,
            index_file: Vec::new(),
        };
        let thread = thread::Builder::new()
            .name("emberlog-log".into())
            .spawn(move || round.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How far the log is.
    pub fn status(&self) -> LogStatus {
        let work = self.shared.work();
        LogStatus {
            logged: self.shared.position(self.shared.committed()),
            durable: self.shared.position(self.shared.durable()),
            disk_bytes: work.disk_bytes,
            sync_error: work.sync_error.clone(),
            next_error: work.next_error.as_ref().map(ToString::to_string),
        }
    }

    /// Waits until everything before `position` is durable; returns how far it is.
    ///
    /// # Errors
    /// Not in time, with the reason if a sync failed; or the log is closed.
    pub fn wait_durable(&self, position: Position, deadline: Instant) -> io::Result<Position> {
        self.shared.wait_durable(position.offset, deadline)?;
        Ok(self.shared.position(self.shared.durable()))
    }

    /// What retention removed since the last call, as far as it is among the newest 1024 segments.
    pub fn take_removed(&self) -> Vec<Removed> {
        std::mem::take(&mut self.shared.work().removed)
    }

    /// Runs a round of retention soon.
    pub fn prune(&self) {
        self.shared.work().prune = true;
        self.shared.wake();
    }

    /// Waits for the work that remains after [`Writer::close`](super::Writer::close) and ends the
    /// thread. What fails until then is left to the next open.
    ///
    /// # Errors
    /// Not everything became durable.
    pub fn stop(mut self) -> io::Result<()> {
        self.join();
        let work = self.shared.work();
        match &work.sync_error {
            Some(e) => Err(io::Error::other(e.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn join(&mut self) {
        self.shared.work().closing = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there is a bug that was already printed; the log is as after a kill.
            let _ = thread.join();
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.join();
    }
}

/// Says that the thread is gone, however it went.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.work().stopped = true;
        self.0.tell();
    }
}

/// What recovery hands over.
#[derive(Debug)]
pub(super) struct Left {
    pub watermark: WatermarkFile,
    /// Sealed segments, oldest first.
    pub kept: Vec<Kept>,
    /// What is gone and the log does not say yet.
    pub gaps: Vec<GapInfo>,
}

/// The state of the thread.
pub(super) struct Round {
    pub shared: Arc<Shared>,
    pub watermark: WatermarkFile,
    /// Sealed segments, oldest first.
    pub kept: Vec<Kept>,
    /// What is gone and of which the log does not durably say so yet.
    gaps: Vec<GapInfo>,
    pub retention_due: Instant,
    /// After a failure to prepare a segment: when to go on.
    pub prepare_again: Option<Instant>,
    /// After a failure to sync: when to go on.
    sync_again: Option<Instant>,
    /// Whether a sealed segment may be without its index.
    pub index_missing: bool,
    /// The index file at hand; its memory is that of the one before.
    pub index_file: Vec<u8>,
}

/// Whether something that failed has to wait until then.
pub(super) fn is_ahead(again: Option<Instant>) -> bool {
    again.is_some_and(|at| Instant::now() < at)
}

impl Round {
    fn run(mut self) {
        file::work_for(&self.shared.dir);
        let _stopped = Stopped(self.shared.clone());
        let shared = self.shared.clone();
        loop {
            self.prepare();
            self.sync();
            self.finish_sealed();
            self.retain();
            let work = shared.work();
            if work.closing && (work.sealed.is_empty() || work.sync_error.is_some()) {
                self.discard_next(work);
                return;
            }
            if self.has_work(&work) {
                continue;
            }
            let sync_due = work
                .sync_due
                .max(self.sync_again.filter(|_| work.needs_sync()));
            let prepare_due = self.prepare_again.filter(|_| !work.has_next());
            let dues = [Some(self.retention_due), sync_due, prepare_due];
            let due = dues.into_iter().flatten().min();
            drop(shared.wait_for_work(work, due));
        }
    }

    fn has_work(&self, work: &Work) -> bool {
        let prepare = !work.has_next() && !is_ahead(self.prepare_again);
        let sync = work.needs_sync() && !is_ahead(self.sync_again);
        let finished = work.sealed.front().is_some_and(|s| s.synced);
        work.closing || work.prune || prepare || sync || finished
    }

    /// Makes everything durable that is logged, if it is time.
    fn sync(&mut self) {
        let shared = self.shared.clone();
        let mut work = shared.work();
        if !work.closing && (!work.needs_sync() || is_ahead(self.sync_again)) {
            return;
        }
        self.sync_again = None;
        let left = work.sealed.iter().any(|s| !s.synced);
        work.sync_due = None;
        let mut offset = shared.begin_sync();
        if offset <= shared.durable() && !left {
            return;
        }
        let files: Vec<_> = work
            .sealed
            .iter()
            .filter(|s| !s.synced)
            .map(|s| (s.file.clone(), s.header.base, s.rewrite))
            .collect();
        let current = work.current.clone();
        let poisoned = work.poisoned;
        drop(work);

        let mut error = None;
        for (file, base, needs_rewrite) in files {
            let synced = step("sync.sealed").and_then(|()| file::sync_data(&file));
            let mut work = shared.work();
            let Some(sealed) = work.sealed.iter_mut().find(|s| s.header.base == base) else {
                continue;
            };
            match synced {
                Ok(()) if !needs_rewrite => sealed.synced = true,
                failed => {
                    sealed.rewrite = true;
                    drop(work);
                    if let Err(e) = self.rewrite_sealed(base) {
                        error = failed.err().or(Some(e));
                        offset = offset.min(base);
                    }
                }
            }
        }
        if let Some((file, base)) = current {
            if offset > base {
                // Asked again the kernel says that all is well: what it could not write is gone.
                let synced = match poisoned == Some(base) {
                    true => Err(io::Error::other("an earlier sync of the segment failed")),
                    false => step("sync.current").and_then(|()| file::sync_data(&file)),
                };
                if let Err(e) = synced {
                    let mut work = shared.work();
                    work.poisoned = Some(base);
                    // It may have been left since.
                    if let Some(s) = work.sealed.iter_mut().find(|s| s.header.base == base) {
                        s.rewrite = true;
                        s.synced = false;
                        work.poisoned = None;
                    }
                    drop(work);
                    shared.set_leave(true);
                    offset = offset.min(base);
                    error = Some(e);
                }
            }
        }
        self.vouch(offset, error);
    }

    /// Writes the watermark after a sync.
    fn vouch(&mut self, offset: u64, mut error: Option<io::Error>) {
        let shared = self.shared.clone();
        if offset > shared.durable() {
            let mark = Watermark {
                epoch: shared.epoch,
                durable: offset,
                next_base: shared.work().next_base,
            };
            let written = step("watermark.vouch").and_then(|()| self.watermark.write(mark));
            match written {
                Ok(()) => shared.set_durable(offset),
                Err(e) => error = Some(e),
            }
        }
        self.forget_gaps();
        let mut work = shared.work();
        work.sync_error = error.as_ref().map(ToString::to_string);
        if error.is_some() {
            let retry = Instant::now() + RETRY;
            work.sync_due = Some(retry);
            self.sync_again = Some(retry);
        }
        drop(work);
        shared.tell();
    }

    /// Replaces the file of a sealed segment by a new one with the same frames.
    fn rewrite_sealed(&mut self, base: u64) -> io::Result<()> {
        let shared = self.shared.clone();
        let work = shared.work();
        let Some(sealed) = work.sealed.iter().find(|s| s.header.base == base) else {
            return Ok(());
        };
        let (file, header, end) = (sealed.file.clone(), sealed.header, sealed.end);
        drop(work);
        let rewritten = rewrite(&shared.dir, &file, &header, end)?;
        let mut work = shared.work();
        if let Some(sealed) = work.sealed.iter_mut().find(|s| s.header.base == base) {
            sealed.synced = true;
            sealed.rewrite = false;
            sealed.end = rewritten.end;
            sealed.file = rewritten.file.into();
            sealed.index = rewritten.index;
        }
        Ok(())
    }

    /// Takes the markers of gaps away that the log durably speaks of.
    fn forget_gaps(&mut self) {
        let logged = self.shared.work().gaps_logged;
        if self.gaps.is_empty() || logged.is_none_or(|at| at > self.shared.durable()) {
            return;
        }
        for gap in self.gaps.drain(..) {
            // One that stays is reported again, which is harmless.
            let _ = gap.unmark(&self.shared.dir);
        }
    }
}
