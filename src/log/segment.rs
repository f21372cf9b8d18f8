//! One segment file while it is written: created, appended to, sealed, never changed again.
//!
//! Always true:
//! - bytes below the commit mark never change; what a failed write left above it is overwritten
//! - the mark moves only when everything below the new one is in the file
//! - there is always room left for the seal frame

use std::{
    fs::File,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::Anchor,
    record::layout::{is_own, RecordKind},
};

use super::{
    error::AppendError,
    file::{self, change, moment, step, Change},
    index::{FrameEntry, IndexBuilder, IndexLength},
    layout::{
        frame_crc, segment_name, FrameHeader, FrameKind, SegmentHeader, FRAME_HEADER, FRAME_MAX,
        FRAME_TARGET, HEADER_BYTES, MARK_AT, OPENING_AT, RESERVED_MAX, SEALED, SEAL_BYTES,
        STATE_AT,
    },
    map::MarkMap,
    opening,
    scan::Anchors,
    walk::walk,
    writer::Appended,
};

/// Frames up to this size are gathered and written together; copying them costs less than a call.
const GATHER: usize = 8 << 10;
/// Most bytes that are gathered.
const GATHERED_MAX: usize = 64 << 10;

/// Which sequences records have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sequences<'a> {
    /// This one, and the next ones without gap.
    From(u64),
    /// Each its own: they are copied out of their ring.
    Each(&'a [u64]),
}

impl Sequences<'_> {
    /// Of `count` records after the first `before`: kind of frame, first sequence, and what stands
    /// before the records.
    fn of(self, before: u64, count: u32) -> (FrameKind, u64, Vec<u8>) {
        match self {
            Self::From(first) => (FrameKind::Records, first + before, Vec::new()),
            Self::Each(all) => {
                let rest = all.get(before as usize..).unwrap_or_default();
                let these = &rest[..rest.len().min(count as usize)];
                let bytes = these.iter().flat_map(|sequence| sequence.to_le_bytes());
                let first = these.first().copied().unwrap_or(0);
                (FrameKind::Copied, first, bytes.collect())
            }
        }
    }
}

/// Creates the file of a segment: reserved, header written, durable, then named.
pub(super) fn create(dir: &Path, header: &SegmentHeader) -> io::Result<File> {
    let path = dir.join(segment_name(header.base));
    if header.reserved > RESERVED_MAX {
        let text = format!("{} bytes are too many for a segment", header.reserved);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    file::write_whole_with(&path, |file| {
        step("segment.allocate")?;
        file::allocate(file, header.reserved)?;
        step("segment.header")?;
        file::write_at(file, &header.encode(), 0)
    })
}

/// What changes between two commits.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    index: IndexLength,
    anchor: Option<(u32, Anchor)>,
}

/// A segment that frames are appended to.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    pub file: Arc<File>,
    pub header: SegmentHeader,
    map: MarkMap,
    pub index: IndexBuilder,
    /// End of the last frame.
    end: u64,
    /// Bytes of the file that were written; the rest up to `end` is in `gathered`.
    written: u64,
    gathered: Vec<u8>,
    /// The newest anchor and where it stands.
    anchor: Option<(u32, Anchor)>,
    committed: Mark,
    started: Instant,
}

impl SegmentWriter {
    pub(super) fn new(file: Arc<File>, header: SegmentHeader) -> io::Result<Self> {
        let index = IndexBuilder::default();
        Ok(Self {
            map: MarkMap::open(&file)?,
            file,
            header,
            end: HEADER_BYTES,
            written: HEADER_BYTES,
            gathered: Vec::with_capacity(GATHERED_MAX),
            anchor: None,
            committed: Mark {
                end: HEADER_BYTES,
                index: index.len(),
                anchor: None,
            },
            index,
            started: Instant::now(),
        })
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Log offset after the last committed frame.
    pub(super) fn committed_offset(&self) -> u64 {
        self.header.base + self.committed.end
    }

    /// End of the last committed frame in the file.
    pub(super) fn committed_end(&self) -> u64 {
        self.committed.end
    }

    pub(super) fn has_frames(&self) -> bool {
        self.end > HEADER_BYTES
    }

    /// Whether there is something to commit.
    pub(super) fn is_dirty(&self) -> bool {
        self.end > self.committed.end
    }

    /// Appends whole records of one ring as frames of about 64 KiB, or as one frame if `whole`.
    pub(super) fn append(
        &mut self,
        ring: u32,
        lease: u32,
        sequences: Sequences<'_>,
        payload: &[u8],
        whole: bool,
    ) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let limit = if whole { FRAME_MAX } else { FRAME_TARGET } - FRAME_HEADER;
        while appended.bytes < payload.len() {
            let rest = &payload[appended.bytes..];
            let before = self.index.len();
            let index = &mut self.index;
            let summary = match walk(rest, limit, |hash| index.trace(hash)) {
                Ok(summary) => summary,
                Err((good, source)) if good.count == 0 => {
                    self.index.truncate(before);
                    return Err(AppendError::Record { appended, source });
                }
                // The good ones first; the next turn stops at the bad one.
                Err((good, _)) => good,
            };
            let (kind, first_sequence, copied) = sequences.of(appended.records, summary.count);
            let length = FRAME_HEADER + copied.len() + summary.bytes;
            if self.end + (length + SEAL_BYTES) as u64 > self.header.reserved {
                self.index.truncate(before);
                return Err(AppendError::SegmentFull { appended });
            }
            let records = &rest[..summary.bytes];
            let timed = summary.min_tick <= summary.max_tick;
            let mut header = FrameHeader {
                length: length as u32,
                crc: 0,
                kind,
                flags: 0,
                kinds: summary.kinds,
                ring,
                lease,
                count: summary.count,
                first_sequence,
                min_tick: if timed { summary.min_tick } else { 0 },
                max_tick: summary.max_tick,
                anchor: 0,
                offset: self.end as u32,
            };
            let with_sequences;
            let body = match copied.is_empty() {
                true => records,
                false => {
                    with_sequences = [copied.as_slice(), records].concat();
                    &with_sequences
                }
            };
            let Some((at, anchor)) = self.anchor_for(&header, records) else {
                self.index.truncate(before);
                return Err(AppendError::NoAnchor);
            };
            header.anchor = at;
            let mut bytes = header.encode();
            header.crc = frame_crc(self.header.salt, &bytes, body);
            bytes[4..8].copy_from_slice(&header.crc.to_le_bytes());
            self.index
                .frame(FrameEntry::new(&header, &summary, Some(&anchor)), &summary);
            if self.end == HEADER_BYTES {
                self.open(records)?;
            }
            self.put(&bytes, body)?;
            appended.bytes += summary.bytes;
            appended.records += u64::from(summary.count);
            for (total, count) in appended.kinds.iter_mut().zip(summary.counts) {
                *total += count;
            }
        }
        Ok(appended)
    }

    /// The anchor that converts a frame's ticks: the newest before it, in the first frame the
    /// first inside it. Notes the newest one inside for the frames that follow.
    fn anchor_for(&mut self, header: &FrameHeader, records: &[u8]) -> Option<(u32, Anchor)> {
        let before = self.anchor;
        let inside = header.kinds & 1 << RecordKind::Anchor as u8 != 0;
        if !is_own(header.ring) || !inside {
            return before;
        }
        let mut anchors = Anchors::default();
        // Copied to be aligned: the caller's slice is, but nothing here relies on it.
        let words = crate::record::view::aligned(records);
        let bytes = crate::record::view::bytes_of(&words);
        anchors.collect(bytes, header.offset + FRAME_HEADER as u32);
        self.anchor = anchors.last().or(before);
        before.or(anchors.first())
    }

    /// Copies what the first frame begins with into the header.
    fn open(&mut self, records: &[u8]) -> Result<(), AppendError> {
        let opening = opening::encode(records, self.header.salt);
        let done =
            step("segment.opening").and_then(|()| file::write_at(&self.file, &opening, OPENING_AT));
        done.map_err(|e| {
            self.roll_back();
            AppendError::Io(e)
        })
    }

    fn put(&mut self, header: &[u8; FRAME_HEADER], records: &[u8]) -> Result<(), AppendError> {
        let length = header.len() + records.len();
        self.end += length as u64;
        if length <= GATHER {
            if self.gathered.len() + length > GATHERED_MAX {
                self.write(&[], &[])?;
            }
            self.gathered.extend_from_slice(header);
            self.gathered.extend_from_slice(records);
            return Ok(());
        }
        self.write(header, records)
    }

    /// Writes what was gathered, then these two.
    fn write(&mut self, header: &[u8], records: &[u8]) -> Result<(), AppendError> {
        let parts = [self.gathered.as_slice(), header, records];
        let total: usize = parts.iter().map(|p| p.len()).sum();
        if total == 0 {
            return Ok(());
        }
        let done = step("segment.write")
            .and_then(|()| file::write_parts_at(&self.file, parts, self.written));
        if let Err(e) = done {
            self.roll_back();
            return Err(AppendError::Io(e));
        }
        self.written += total as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Forgets everything since the last commit.
    pub(super) fn roll_back(&mut self) {
        self.gathered.clear();
        self.end = self.committed.end;
        self.written = self.committed.end;
        self.index.truncate(self.committed.index);
        self.anchor = self.committed.anchor;
    }

    /// Writes what was gathered, without showing it to anybody.
    pub(super) fn flush(&mut self) -> Result<(), AppendError> {
        self.write(&[], &[])
    }

    /// Shows everything appended so far to all readers.
    pub(super) fn commit(&mut self) -> Result<(), AppendError> {
        self.flush()?;
        step("segment.publish").map_err(|e| {
            self.roll_back();
            AppendError::Io(e)
        })?;
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let mark = self.end.to_le_bytes();
        let what = Change::Write(&self.file, [&mark, &[], &[]], MARK_AT as u64);
        change(what, || self.map.publish(self.end));
        self.committed = Mark {
            end: self.end,
            index: self.index.len(),
            anchor: self.anchor,
        };
    }

    /// Commits, appends the seal frame and closes the segment for ever.
    pub(super) fn seal(&mut self) -> Result<(), AppendError> {
        self.prepare_seal()?;
        moment("segment.sealed");
        self.publish_seal();
        Ok(())
    }

    /// Writes everything that sealing writes, without showing it.
    pub(super) fn prepare_seal(&mut self) -> Result<(), AppendError> {
        let seal = self.index.totals.seal_frame(self.header.salt, self.end);
        self.write(&seal, &[])?;
        self.end += SEAL_BYTES as u64;
        Ok(())
    }

    /// Shows what [`prepare_seal`](Self::prepare_seal) wrote.
    pub(super) fn publish_seal(&mut self) {
        self.publish();
        let state = SEALED.to_le_bytes();
        let what = Change::Write(&self.file, [&state, &[], &[]], STATE_AT as u64);
        change(what, || self.map.seal());
    }
}
