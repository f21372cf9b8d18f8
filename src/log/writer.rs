//! The end of the log where the flusher appends.
//!
//! Always true:
//! - one writer per log, on one thread; it never syncs and never reserves space
//! - what was appended counts when [`Writer::commit`] returned; after an error everything since
//!   the last commit is to be appended again
//! - each segment begins with the records that the flusher gives to [`Writer::roll`]

use std::{io, time::Instant};

use crate::{
    record::{layout::RING_FLUSHER, view::bytes_of},
    sync::Arc,
};

use super::{
    error::AppendError,
    file,
    layout::{FRAME_HEADER, HEADER_BYTES, SEAL_BYTES},
    segment::{SegmentWriter, Sequences},
    shared::{Sealed, Shared},
    Position,
};

/// Room for records that a new segment must have beside its first frame: more than the longest
/// record takes.
const ROOM: u64 = 640 << 10;

/// What a call appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records.
    pub records: u64,
    /// Their bytes, frame headers not counted.
    pub bytes: usize,
    /// Records of each kind.
    pub kinds: [u32; 16],
}

/// Appends frames to a log.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    current: Option<SegmentWriter>,
    /// Next sequence of the flusher's own records.
    own: u64,
    committed_own: u64,
    /// The current segment refused a write: leave it without writing to it again.
    broken: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            current: None,
            own: 0,
            committed_own: 0,
            broken: false,
        }
    }

    /// Whether to roll although the segment is not full: it is old, it failed to become durable, or
    /// it could not be begun.
    pub fn should_roll(&self) -> bool {
        let Some(current) = &self.current else {
            return true;
        };
        self.broken
            || self.shared.should_leave()
            // Its first frame, with what readers need, was not written.
            || !current.has_frames()
            || (current.age() > self.shared.options.seal_after())
    }

    /// Appends whole records of one ring, cut into frames of about 64 KiB.
    ///
    /// # Errors
    /// [`AppendError::SegmentFull`]: roll, then append what is left. Others as described there.
    pub fn append(
        &mut self,
        ring: u32,
        lease: u32,
        first_sequence: u64,
        records: &[u64],
    ) -> Result<Appended, AppendError> {
        self.append_as(ring, lease, Sequences::From(first_sequence), records)
    }

    /// Appends records that are copied out of a ring, each with its sequence.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_copied(
        &mut self,
        ring: u32,
        lease: u32,
        sequences: &[u64],
        records: &[u64],
    ) -> Result<Appended, AppendError> {
        self.append_as(ring, lease, Sequences::Each(sequences), records)
    }

    fn append_as(
        &mut self,
        ring: u32,
        lease: u32,
        sequences: Sequences<'_>,
        records: &[u64],
    ) -> Result<Appended, AppendError> {
        if self.broken || self.shared.should_leave() {
            return Err(full());
        }
        let current = self.current.as_mut().ok_or_else(full)?;
        let appended = current.append(ring, lease, sequences, bytes_of(records), false);
        if let Err(AppendError::Io(e)) = &appended {
            let e = e.kind();
            self.failed(e);
        }
        appended
    }

    /// Appends records of the flusher's own sequence.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_own(&mut self, records: &[u64]) -> Result<Appended, AppendError> {
        let appended = self.append(RING_FLUSHER, 0, self.own, records);
        match &appended {
            Ok(a)
            | Err(
                AppendError::SegmentFull { appended: a } | AppendError::Record { appended: a, .. },
            ) => {
                self.own += a.records;
            }
            Err(_) => {}
        }
        appended
    }

    /// Shows everything appended so far to all readers; returns the end of the log.
    ///
    /// # Errors
    /// [`AppendError::Io`]: nothing since the last commit counts.
    pub fn commit(&mut self) -> Result<Position, AppendError> {
        let Some(current) = &mut self.current else {
            return Ok(self.end());
        };
        if current.is_dirty() {
            if let Err(e) = current.commit() {
                if let AppendError::Io(e) = &e {
                    let e = e.kind();
                    self.failed(e);
                }
                return Err(e);
            }
            self.committed_own = self.own;
            self.shared.set_committed(current.committed_offset());
        }
        Ok(self.end())
    }

    /// Says that the records of what recovery found missing stand before `position`: once that is
    /// durable, they are not reported again.
    pub fn gaps_logged(&self, position: Position) {
        self.shared.work().gaps_logged = Some(position.offset);
    }

    /// End of what is logged.
    pub fn end(&self) -> Position {
        self.shared.position(self.shared.committed())
    }

    /// Leaves the segment (commits and seals it) and begins the next one with `prologue`, which
    /// is committed with what follows. Waits until `deadline` if the next one is not ready.
    ///
    /// # Errors
    /// [`AppendError::NotReady`]: call it again later. Others as described there.
    pub fn roll(&mut self, prologue: &[u64], deadline: Instant) -> Result<(), AppendError> {
        self.leave()?;
        let length = FRAME_HEADER + prologue.len() * 8;
        let needed = HEADER_BYTES + ROOM + (length + SEAL_BYTES) as u64;
        self.current = Some(self.take_next(needed, deadline)?);
        self.shared.set_leave(false);
        let current = self.current.as_mut().ok_or_else(full)?;
        let appended = current.append(
            RING_FLUSHER,
            0,
            Sequences::From(self.own),
            bytes_of(prologue),
            true,
        );
        match appended {
            Ok(appended) => {
                self.own += appended.records;
                Ok(())
            }
            Err(e) => {
                // Give the untouched segment back, so that the next try finds it.
                self.give_back();
                Err(e)
            }
        }
    }

    /// Commits and seals the current segment and hands it to housekeeping. What was appended so
    /// far counts then, whether there is a next segment or not.
    ///
    /// # Errors
    /// [`AppendError::Io`]: nothing since the last commit counts.
    pub fn leave(&mut self) -> Result<(), AppendError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if !self.broken {
            if !current.has_frames() {
                self.give_back();
                return Ok(());
            }
            if let Err(e) = current.seal() {
                if let AppendError::Io(e) = &e {
                    let e = e.kind();
                    self.failed(e);
                }
                return Err(e);
            }
            self.committed_own = self.own;
        }
        let offset = current.committed_offset();
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let mut work = self.shared.work();
        let rewrite =
            std::mem::take(&mut self.broken) || work.poisoned == Some(current.header.base);
        work.poisoned = None;
        work.current = None;
        let end = current.committed_end();
        work.sealed.push_back(Sealed {
            file: current.file,
            header: current.header,
            index: current.index,
            end,
            rewrite,
            synced: false,
        });
        drop(work);
        self.shared.set_committed(offset);
        self.shared.wake();
        Ok(())
    }

    fn take_next(&self, needed: u64, deadline: Instant) -> Result<SegmentWriter, AppendError> {
        let mut work = self.shared.work();
        work.wanted_bytes = needed;
        loop {
            if work.has_next() {
                break;
            }
            if work.stopped {
                let source = Some(io::Error::other("the log is closed"));
                return Err(AppendError::NotReady { source });
            }
            if Instant::now() >= deadline {
                // Kept for who asks next.
                let again = |e: &io::Error| io::Error::new(e.kind(), e.to_string());
                let source = work.next_error.as_ref().map(again);
                return Err(AppendError::NotReady { source });
            }
            self.shared.wake();
            work = self.shared.wait_until_done(work, deadline);
        }
        let Some(next) = work.next.take() else {
            return Err(AppendError::NotReady { source: None });
        };
        let segment = match SegmentWriter::new(next.file.clone(), next.header) {
            Ok(mut segment) => {
                segment.index = work.spare_index.take().unwrap_or_default();
                segment
            }
            Err(e) => {
                work.next = Some(next);
                return Err(AppendError::NotReady { source: Some(e) });
            }
        };
        work.next = work.after.take();
        work.current = Some((next.file, next.header.base));
        drop(work);
        self.shared.wake();
        Ok(segment)
    }

    /// Puts a segment without committed frames back where it came from.
    fn give_back(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        let mut work = self.shared.work();
        work.current = None;
        work.after = work.next.take();
        work.next = Some(super::shared::Prepared {
            file: current.file,
            header: current.header,
        });
    }

    fn failed(&mut self, kind: io::ErrorKind) {
        self.own = self.committed_own;
        // A full disk gets room again; anything else makes the file suspect.
        self.broken |= !file::is_full(&kind.into());
    }

    /// Seals what there is; the log can be closed then.
    ///
    /// # Errors
    /// [`AppendError::Io`]; the next open seals it.
    pub fn close(mut self) -> Result<Position, AppendError> {
        self.leave()?;
        Ok(self.end())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut work = self.shared.work();
        work.closing = true;
        drop(work);
        self.shared.wake();
    }
}

fn full() -> AppendError {
    AppendError::SegmentFull {
        appended: Appended::default(),
    }
}
