//! Parts of the log that are gone, from the moment recovery finds one until the log says so.
//!
//! Always true:
//! - a marker in `aside/` is durable before recovery seals the damaged segment, after which
//!   nothing else would tell of the damage
//! - it goes when a gap record in the log is durable; until then every open reports it again

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rend::{u32_le, u64_le};

use crate::record::{
    id::InstanceId,
    kinds::GapCause,
    layout::{Gap, Header, RecordKind, NAME_NONE, RING_FLUSHER},
};

use super::{
    file::{self, step},
    layout::{finish, intact, put, u32_at, u64_at},
    Position,
};

const MAGIC: &[u8; 8] = b"EMBRGAP1";
const BYTES: usize = 96;
const EXTENSION: &str = "gap";
/// Most that one open reports; those left over come with the next.
const MOST: usize = 10_000;

/// A part of the log that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapInfo {
    /// Whose records were there.
    pub instance: InstanceId,
    /// Where it begins. Two gaps that begin at the same place are the same one.
    pub from: Position,
    /// Log offset after its last byte.
    pub to: u64,
    /// Records missing there; `None` if that is not known.
    pub records: Option<u64>,
    /// The ring that they are missing from; `None` for several or none.
    pub ring: Option<u32>,
    /// Why; `None` for a code of a newer build.
    pub cause: Option<GapCause>,
}

impl GapInfo {
    /// The record that says so in the log.
    pub(crate) fn record(&self, tick: u64) -> Gap {
        Gap {
            header: Header::new(RecordKind::Gap, Gap::WORDS, NAME_NONE),
            instance: self.instance.0,
            epoch: u64_le::from_native(self.from.epoch),
            first: u64_le::from_native(self.from.offset),
            end: u64_le::from_native(self.to),
            records: u64_le::from_native(self.records.unwrap_or(u64::MAX)),
            ring: u32_le::from_native(self.ring.unwrap_or(RING_FLUSHER)),
            cause: self.cause.map_or(u8::MAX, |cause| cause as u8),
            reserved: [0; 3],
            tick: u64_le::from_native(tick),
        }
    }

    pub(super) fn of_record(record: &Gap) -> Self {
        let (records, ring) = (record.records.to_native(), record.ring.to_native());
        Self {
            instance: InstanceId(record.instance),
            from: Position {
                epoch: record.epoch.to_native(),
                offset: record.first.to_native(),
            },
            to: record.end.to_native(),
            records: (records != u64::MAX).then_some(records),
            ring: (ring != RING_FLUSHER).then_some(ring),
            cause: GapCause::from_u8(record.cause),
        }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut b = [0; BYTES];
        put(&mut b, 0, MAGIC);
        put(&mut b, 8, &self.instance.0);
        put(&mut b, 24, &self.from.epoch.to_le_bytes());
        put(&mut b, 32, &self.from.offset.to_le_bytes());
        put(&mut b, 40, &self.to.to_le_bytes());
        put(&mut b, 48, &self.records.unwrap_or(u64::MAX).to_le_bytes());
        put(&mut b, 56, &self.ring.unwrap_or(RING_FLUSHER).to_le_bytes());
        b[60] = self.cause.map_or(u8::MAX, |cause| cause as u8);
        finish(&mut b);
        b
    }

    fn decode(b: &[u8]) -> Option<Self> {
        let b = b.get(..BYTES).filter(|b| intact(b, MAGIC))?;
        let (records, ring) = (u64_at(b, 48), u32_at(b, 56));
        Some(Self {
            instance: InstanceId(b.get(8..24)?.try_into().ok()?),
            from: Position {
                epoch: u64_at(b, 24),
                offset: u64_at(b, 32),
            },
            to: u64_at(b, 40),
            records: (records != u64::MAX).then_some(records),
            ring: (ring != RING_FLUSHER).then_some(ring),
            cause: GapCause::from_u8(b[60]),
        })
    }

    fn path(&self, dir: &Path) -> PathBuf {
        let Position { epoch, offset } = self.from;
        dir.join("aside")
            .join(format!("{epoch}-{offset}.{EXTENSION}"))
    }

    /// Leaves the marker.
    pub(super) fn mark(&self, dir: &Path) -> io::Result<()> {
        file::write_whole(&self.path(dir), &self.encode())
    }

    /// Takes the marker away: the log says it now.
    pub(super) fn unmark(&self, dir: &Path) -> io::Result<()> {
        step("gap.unmark")?;
        file::remove(&self.path(dir))
    }
}

/// Whether a file in `aside/` is a marker, which retention leaves alone.
pub(super) fn is_marker(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == EXTENSION)
}

/// All gaps whose markers are left, in order. Retention marks what it is about to remove; what it
/// did not come to remove is not missing, and its marker goes. All below `floor` is gone.
pub(super) fn marked(dir: &Path, floor: Position) -> io::Result<Vec<GapInfo>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join("aside"))? {
        let path = entry?.path();
        if is_marker(&path) {
            // One that is damaged was not written by `mark`: nothing relies on it.
            let gap = GapInfo::decode(&fs::read(&path)?);
            let of_retention = gap.filter(|gap| gap.cause == Some(GapCause::Retention));
            match of_retention.is_some_and(|gap| gap.to > floor.offset) {
                true => file::remove(&path)?,
                false => found.extend(gap),
            }
        }
    }
    found.sort_by_key(|gap: &GapInfo| gap.from);
    found.truncate(MOST);
    Ok(found)
}
