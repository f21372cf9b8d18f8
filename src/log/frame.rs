//! A frame that was checked, and the records in it.

use crate::{
    clock::Anchor,
    record::{
        id::{InstanceId, RecordId},
        Record, RecordError,
    },
};

use super::{
    layout::{u16_at, u64_at, FrameHeader, FrameKind, KIND_IGNORABLE},
    Position,
};

/// A frame whose checksum was right.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Where it begins.
    pub position: Position,
    /// Whose names, rings and ticks these are.
    pub instance: InstanceId,
    /// Converts its ticks.
    pub anchor: Anchor,
    /// Sequences of copied records; empty otherwise.
    pub(super) sequences: &'a [u8],
    /// Its records, back to back.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        header: FrameHeader,
        bytes: &'a [u8],
        position: Position,
        instance: InstanceId,
        anchor: Anchor,
    ) -> Self {
        let body = bytes.get(super::layout::FRAME_HEADER..).unwrap_or_default();
        let split = header.sequence_bytes().min(body.len());
        let (sequences, payload) = body.split_at(split);
        Self {
            header,
            position,
            instance,
            anchor,
            sequences,
            payload,
        }
    }

    /// The position after it, where the next frame may begin.
    pub fn next_position(&self) -> Position {
        Position {
            epoch: self.position.epoch,
            offset: self.position.offset + u64::from(self.header.length),
        }
    }

    /// Its records in order. After one that cannot be read the others still come, as long as the
    /// sizes make sense. Kinds of newer builds that may be ignored are left out.
    pub fn records(&self) -> Records<'a> {
        Records {
            frame: *self,
            at: 0,
            number: 0,
        }
    }

    /// The identity of the record with this number inside the frame.
    #[inline]
    pub fn record_id(&self, number: u32) -> RecordId {
        let sequence = match self.header.kind {
            FrameKind::Copied => u64_at(self.sequences, number as usize * 8),
            _ => self.header.first_sequence.wrapping_add(u64::from(number)),
        };
        RecordId {
            instance: self.instance,
            ring: self.header.ring,
            sequence,
        }
    }
}

/// The records of the flusher that can be read, wherever they stand.
pub(super) fn readable(records: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < records.len() {
            let here = at;
            match usize::from(u16_at(records, at)) * 8 {
                // Without a size nothing behind it can be found.
                0 => at = records.len(),
                size => at += size,
            }
            if let Ok(record) = Record::read(records, here) {
                return Some(record);
            }
        }
        None
    })
}

/// Iterates over the records of a [`Frame`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    frame: Frame<'a>,
    at: usize,
    number: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(RecordId, Record<'a>), RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.frame.payload;
        loop {
            let head = bytes.get(self.at..)?.first_chunk::<3>()?;
            let at = self.at;
            let id = self.frame.record_id(self.number);
            let size = usize::from(u16::from_le_bytes([head[0], head[1]])) * 8;
            // Without a size nothing behind it can be found.
            self.at = if size < 8 { bytes.len() } else { at + size };
            self.number += 1;
            if head[2] >= KIND_IGNORABLE && size >= 8 {
                continue;
            }
            return Some(Record::read(bytes, at).map(|record| (id, record)));
        }
    }
}
