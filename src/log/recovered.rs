//! Appending what a dead instance left in its rings, under that instance's name.
//!
//! Always true:
//! - such a segment is written, synced and sealed as a whole, then shown; killed before that it is
//!   an empty segment, which the next open removes
//! - whoever appends skips what [`LogDir::logged_sequences`] says is in the log already

use std::{collections::HashMap, path::PathBuf};

use crate::{
    clock::unix_now,
    record::{
        id::{random_u128, InstanceId},
        layout::RING_RECOVERY,
        view::bytes_of,
    },
};

use super::{
    dir::{segment_bases, LogDir},
    error::AppendError,
    file::{self, step},
    layout::{
        index_name, segment_name, SegmentHeader, FRAME_HEADER, HEADER_BYTES, ORIGIN_RECOVERY,
        SEAL_BYTES, STREAM_MAIN,
    },
    retention::Kept,
    segment::{self, SegmentWriter, Sequences},
    view::SegmentView,
    watermark::Watermark,
    writer::Appended,
    Position,
};

/// Writes segments of a dead instance.
#[derive(Debug)]
pub struct RecoveredWriter<'a> {
    dir: &'a mut LogDir,
    instance: InstanceId,
    /// What each segment begins with: a clock anchor, resource, names, leases, losses.
    prologue: Vec<u64>,
    own: u64,
    current: Option<SegmentWriter>,
}

impl LogDir {
    /// For each ring of an instance, the sequence after the last one that the log has.
    pub fn logged_sequences(&self, instance: InstanceId) -> HashMap<u32, u64> {
        let mut next = HashMap::new();
        for base in segment_bases(&self.path).unwrap_or_default() {
            let Ok(view) = SegmentView::open(&self.path.join(segment_name(base))) else {
                continue;
            };
            if view.header().instance != instance || view.header().stream != STREAM_MAIN {
                continue;
            }
            for entry in view.frames() {
                let known = next.entry(entry.ring).or_insert(0);
                *known = entry.end_sequence().max(*known);
            }
        }
        next
    }

    /// Instances that the log has segments of, oldest first, with the newest epoch of each.
    pub fn instances(&self) -> Vec<(InstanceId, u64)> {
        let mut found: Vec<(InstanceId, u64)> = Vec::new();
        for kept in &self.kept {
            found.retain(|(instance, _)| *instance != kept.header.instance);
            found.push((kept.header.instance, kept.header.epoch));
        }
        found
    }

    /// Begins to append what `instance` left. `prologue` begins with a clock anchor;
    /// `own_sequence` is the next one of the flusher's own sequence of that instance.
    pub fn append_recovered(
        &mut self,
        instance: InstanceId,
        prologue: Vec<u64>,
        own_sequence: u64,
    ) -> RecoveredWriter<'_> {
        RecoveredWriter {
            dir: self,
            instance,
            prologue,
            own: own_sequence,
            current: None,
        }
    }
}

impl RecoveredWriter<'_> {
    /// Appends whole records of a ring.
    ///
    /// # Errors
    /// [`AppendError::Record`] for bytes that are no records, [`AppendError::Io`]; segments that
    /// were full before are in the log, the last one is not.
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
        let mut total = Appended::default();
        let bytes = bytes_of(records);
        while total.bytes < bytes.len() {
            if self.current.is_none() {
                self.begin()?;
            }
            let Some(current) = &mut self.current else {
                continue;
            };
            let rest = match sequences {
                Sequences::From(first) => Sequences::From(first + total.records),
                Sequences::Each(all) => Sequences::Each(&all[total.records as usize..]),
            };
            let appended = current.append(ring, lease, rest, &bytes[total.bytes..], false);
            let mut add = |a: Appended| {
                total.records += a.records;
                total.bytes += a.bytes;
            };
            match appended {
                Ok(a) => add(a),
                Err(AppendError::SegmentFull { appended }) => {
                    add(appended);
                    self.end()?;
                }
                Err(AppendError::Record { appended, source }) => {
                    add(appended);
                    let appended = total;
                    return Err(AppendError::Record { appended, source });
                }
                Err(e) => return Err(e),
            }
        }
        Ok(total)
    }

    /// Appends records of the flusher's own sequence of that instance.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_own(&mut self, records: &[u64]) -> Result<Appended, AppendError> {
        if self.current.is_none() {
            self.begin()?;
        }
        let appended = self.append(RING_RECOVERY, 0, self.own, records)?;
        self.own += appended.records;
        Ok(appended)
    }

    /// Begins a segment, unless one is begun; otherwise the first call that appends does.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn begin(&mut self) -> Result<(), AppendError> {
        if self.current.is_some() {
            return Ok(());
        }
        const ROOM: u64 = 1 << 20;
        let length = (FRAME_HEADER + self.prologue.len() * 8 + SEAL_BYTES) as u64;
        let reserved = self.dir.options.reserved_bytes();
        let header = SegmentHeader {
            log_id: self.dir.log.log_id,
            instance: self.instance,
            epoch: self.dir.epoch,
            base: self.dir.next_base,
            reserved: reserved.max((HEADER_BYTES + length + ROOM).next_multiple_of(4096)),
            created_ns: unix_now(),
            salt: random_u128() as u32,
            stream: STREAM_MAIN,
            origin: ORIGIN_RECOVERY,
            boot: file::boot_id(),
        };
        let file = segment::create(&self.dir.path, &header).map_err(AppendError::Io)?;
        let mut segment = SegmentWriter::new(file.into(), header).map_err(AppendError::Io)?;
        let prologue = bytes_of(&self.prologue);
        let appended =
            segment.append(RING_RECOVERY, 0, Sequences::From(self.own), prologue, true)?;
        self.own += appended.records;
        self.current = Some(segment);
        Ok(())
    }

    /// Syncs and shows the current segment.
    fn end(&mut self) -> Result<(), AppendError> {
        let Some(mut segment) = self.current.take() else {
            return Ok(());
        };
        let header = segment.header;
        segment.prepare_seal()?;
        let dir = &mut *self.dir;
        // Before it can be seen: whatever fails from here on, this name is never used again.
        dir.next_base = header.base + header.reserved;
        let mut done = || -> std::io::Result<Kept> {
            step("recovered.sync")?;
            file::sync_all(&segment.file)?;
            step("recovered.publish")?;
            segment.publish_seal();
            let end = segment.committed_end();
            step("recovered.cut")?;
            file::set_len(&segment.file, end)?;
            step("recovered.sync2")?;
            file::sync_all(&segment.file)?;
            dir.watermark.write(Watermark {
                epoch: dir.epoch,
                durable: header.base + end,
                next_base: dir.next_base,
            })?;
            let index = segment.index.encode(header.salt, header.base, end);
            file::write_whole(&dir.path.join(index_name(header.base)), &index)?;
            let meta = segment.file.metadata()?;
            Ok(Kept::sealed(header, end, &segment.file, &meta))
        };
        let kept = done().map_err(AppendError::Io)?;
        dir.durable = kept.end().offset;
        dir.kept.push(kept);
        Ok(())
    }

    /// Makes it all part of the log; returns the end of the log. After this the rings may go.
    ///
    /// # Errors
    /// [`AppendError::Io`].
    pub fn finish(mut self) -> Result<Position, AppendError> {
        self.end()?;
        let end = Position {
            epoch: self.dir.epoch,
            offset: self.dir.durable,
        };
        Ok(end)
    }
}

impl Drop for RecoveredWriter<'_> {
    fn drop(&mut self) {
        if let Some(segment) = &self.current {
            // Nothing of it was shown; the next open would remove it.
            let name: PathBuf = self.dir.path.join(segment_name(segment.header.base));
            let _ = file::remove(&name);
        }
    }
}
