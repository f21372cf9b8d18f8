//! How far the log is durable, who may write to it, and how much of it retention removed.

use std::{io, path::Path};

use crate::record::id::LogId;

use super::{
    layout::{put, u64_at},
    slots::{newest, Slots},
    Position,
};

const MARK_MAGIC: &[u8; 8] = b"EMBRMARK";
const MARK_BYTES: usize = 128;
const FLOOR_MAGIC: &[u8; 8] = b"EMBRFLOR";
const FLOOR_BYTES: usize = 128;

/// Durable offset that says: not known, nothing may be cut.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// What the watermark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    /// Newest writer epoch.
    pub epoch: u64,
    /// Every byte of the log below it is durable.
    pub durable: u64,
    /// Every base below it may have been the name of a segment, also of one that is gone.
    pub next_base: u64,
}

/// The `watermark` file.
pub(super) struct WatermarkFile {
    slots: Slots<MARK_BYTES>,
    log_id: LogId,
}

impl std::fmt::Debug for WatermarkFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatermarkFile").finish_non_exhaustive()
    }
}

fn watermark(slot: &[u8], log_id: LogId) -> Option<Watermark> {
    (slot.get(32..48)? == log_id.0).then(|| Watermark {
        epoch: u64_at(slot, 16),
        durable: u64_at(slot, 24),
        next_base: u64_at(slot, 56),
    })
}

impl WatermarkFile {
    /// Opens or creates it; `None` with it if it says nothing about this log.
    pub(super) fn open(dir: &Path, log_id: LogId) -> io::Result<(Self, Option<Watermark>)> {
        let (slots, slot) = Slots::open(&dir.join("watermark"), MARK_MAGIC)?;
        let found = slot.and_then(|slot| watermark(&slot, log_id));
        Ok((Self { slots, log_id }, found))
    }

    pub(super) fn write(&mut self, mark: Watermark) -> io::Result<()> {
        let mut slot = [0; MARK_BYTES];
        put(&mut slot, 16, &mark.epoch.to_le_bytes());
        put(&mut slot, 24, &mark.durable.to_le_bytes());
        put(&mut slot, 32, &self.log_id.0);
        put(&mut slot, 56, &mark.next_base.to_le_bytes());
        self.slots.write(&mut slot)
    }
}

/// The watermark as a reader sees it.
pub(super) fn read_watermark(dir: &Path, log_id: LogId) -> Option<Watermark> {
    let bytes = std::fs::read(dir.join("watermark")).ok()?;
    watermark(&newest::<MARK_BYTES>(&bytes, MARK_MAGIC)?, log_id)
}

/// The lower end of what retention left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// Everything before it was removed.
    pub position: Position,
    /// Records removed since the log began.
    pub records: u64,
    /// Bytes of frames removed since the log began.
    pub bytes: u64,
}

/// The `floor` file.
pub(super) struct FloorFile {
    slots: Slots<FLOOR_BYTES>,
    log_id: LogId,
}

fn floor(slot: &[u8], log_id: LogId) -> Option<Floor> {
    (slot.get(48..64)? == log_id.0).then(|| Floor {
        position: Position {
            epoch: u64_at(slot, 16),
            offset: u64_at(slot, 24),
        },
        records: u64_at(slot, 32),
        bytes: u64_at(slot, 40),
    })
}

impl FloorFile {
    pub(super) fn open(dir: &Path, log_id: LogId) -> io::Result<(Self, Floor)> {
        let (slots, slot) = Slots::open(&dir.join("floor"), FLOOR_MAGIC)?;
        let found = slot.and_then(|slot| floor(&slot, log_id));
        Ok((Self { slots, log_id }, found.unwrap_or_default()))
    }

    pub(super) fn write(&mut self, floor: &Floor) -> io::Result<()> {
        let mut slot = [0; FLOOR_BYTES];
        put(&mut slot, 16, &floor.position.epoch.to_le_bytes());
        put(&mut slot, 24, &floor.position.offset.to_le_bytes());
        put(&mut slot, 32, &floor.records.to_le_bytes());
        put(&mut slot, 40, &floor.bytes.to_le_bytes());
        put(&mut slot, 48, &self.log_id.0);
        self.slots.write(&mut slot)
    }
}

/// The floor as a reader sees it.
pub(super) fn read_floor(dir: &Path, log_id: LogId) -> Floor {
    let read = || {
        let bytes = std::fs::read(dir.join("floor")).ok()?;
        floor(&newest::<FLOOR_BYTES>(&bytes, FLOOR_MAGIC)?, log_id)
    };
    read().unwrap_or_default()
}
