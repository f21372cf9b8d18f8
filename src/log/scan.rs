//! Finding the frames of a segment in its bytes, whatever the bytes are.
//!
//! Always true:
//! - a frame is one only if its checksum, started from the segment's salt, and its own offset say so
//! - below what is proven to have been written, a damaged place, zeros included, is skipped to the
//!   next frame; beyond it the first one ends the log (`docs/format.md`, section 4)

use ahash::AHashMap;

use crate::{
    clock::Anchor,
    record::{
        layout::{is_own, RecordKind, RING_FLUSHER},
        peek,
        view::bytes_of,
        Body, Record,
    },
};

use super::{
    index::{FrameEntry, IndexBuilder, Totals},
    layout::{frame_intact, u16_at, FrameHeader, FrameKind, FRAME_HEADER, HEADER_BYTES},
    opening,
    source::Source,
    walk::{walk, Summary},
};

/// A place in a segment that holds no frame where one should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the segment.
    pub from: u64,
    /// Offset after its last byte.
    pub to: u64,
    /// Whether it is the torn end of the log; otherwise it is damage in the middle.
    pub torn: bool,
    /// Records that are missing there, as far as the sequences of later frames tell.
    pub records: u64,
    /// The ring that they are missing from; `u32::MAX` for several or none.
    pub ring: u32,
}

impl Damage {
    /// Bytes of it.
    pub fn bytes(&self) -> u64 {
        self.to - self.from
    }
}

/// The frames of a segment, found so far.
#[derive(Clone, Debug)]
pub(super) struct SegmentScan {
    salt: u32,
    pub index: IndexBuilder,
    pub anchors: Anchors,
    pub damage: Vec<Damage>,
    /// Sequence that each ring's next frame should begin with.
    pub sequences: AHashMap<u32, u64>,
    /// Everything below was scanned.
    pub at: u64,
    /// End of the last whole frame; what the commit mark should be.
    pub valid_end: u64,
    /// What the seal frame says, once it was found.
    pub seal: Option<Totals>,
}

impl SegmentScan {
    pub(super) fn new(salt: u32) -> Self {
        Self {
            salt,
            index: IndexBuilder::default(),
            anchors: Anchors::default(),
            damage: Vec::new(),
            sequences: AHashMap::new(),
            at: HEADER_BYTES,
            valid_end: HEADER_BYTES,
            seal: None,
        }
    }

    /// Scans on up to `end`. Nothing below `proven`, an offset in the segment, is a torn tail.
    pub(super) fn extend(&mut self, source: &mut impl Source, end: u64, proven: u64) {
        self.extend_with(source, end, proven, |_, _| {});
    }

    /// The same, showing every frame to `each`.
    pub(super) fn extend_with(
        &mut self,
        source: &mut impl Source,
        end: u64,
        proven: u64,
        mut each: impl FnMut(&FrameHeader, &[u8]),
    ) {
        let mut at = self.at;
        if at == HEADER_BYTES && end > at {
            self.anchors.open(&source.opening(), self.salt);
        }
        while at < end && self.seal.is_none() {
            if let Some((header, frame)) = frame_in(source, at, end, self.salt) {
                self.take(&header, frame);
                if header.kind != FrameKind::Seal {
                    each(&header, frame);
                }
                at += u64::from(header.length);
                self.valid_end = at;
                continue;
            }
            if at >= proven {
                self.damaged(at, end, true);
                at = end;
                break;
            }
            let next = resync(source, at + 8, end, self.salt);
            let to = next.unwrap_or(proven.min(end));
            self.damaged(at, to, false);
            at = to;
        }
        // What follows a seal frame is no part of the log.
        self.at = if self.seal.is_some() { end.max(at) } else { at };
    }

    /// End of what belongs to the log: of the last frame, or of the damage behind it.
    pub(super) fn end(&self) -> u64 {
        let damage = self.damage.iter().filter(|d| !d.torn).map(|d| d.to);
        damage.max().unwrap_or(0).max(self.valid_end)
    }

    /// Tries again where a torn tail was found: it may have become durable, or was being written.
    pub(super) fn forget_torn(&mut self) {
        if let Some(last) = self.damage.last().filter(|d| d.torn) {
            self.at = last.from;
            self.damage.pop();
        }
    }

    fn damaged(&mut self, from: u64, to: u64, torn: bool) {
        self.damage.push(Damage {
            from,
            to,
            torn,
            records: 0,
            ring: RING_FLUSHER,
        });
    }

    fn take(&mut self, header: &FrameHeader, frame: &[u8]) {
        if header.kind == FrameKind::Seal {
            self.seal = Some(Totals::of_seal(header, frame));
            return;
        }
        self.follow(header);
        if !header.is_known() {
            let summary = Summary::of_unknown();
            let entry = FrameEntry::new(header, &summary, None);
            self.index.frame(entry, &summary);
            return;
        }
        let records = frame
            .get(FRAME_HEADER + header.sequence_bytes()..)
            .unwrap_or_default();
        if is_own(header.ring) && header.kinds & 1 << RecordKind::Anchor as u8 != 0 {
            let at = header.offset + (frame.len() - records.len()) as u32;
            self.anchors.collect(records, at);
        }
        let index = &mut self.index;
        let walked = walk(records, usize::MAX, |hash| index.trace(hash));
        // A frame that checks and yet ends in something that is no record was written so; what
        // can be read of it is shown, the rest is an error to whoever reads it.
        let summary = walked.unwrap_or_else(|(summary, _)| summary.opened());
        let entry = FrameEntry::new(header, &summary, self.anchors.get(header.anchor));
        self.index.frame(entry, &summary);
    }

    /// Counts the records missing before this frame, in the damage that they must have been in.
    fn follow(&mut self, header: &FrameHeader) {
        if header.kind == FrameKind::Copied {
            return;
        }
        let end = header
            .first_sequence
            .saturating_add(u64::from(header.count));
        let next = self
            .sequences
            .entry(header.ring)
            .or_insert(header.first_sequence);
        let missing = header.first_sequence.saturating_sub(*next);
        *next = end.max(*next);
        if let Some(damage) = self.damage.last_mut() {
            if missing > 0 && damage.records == 0 {
                damage.ring = header.ring;
            } else if missing > 0 && damage.ring != header.ring {
                damage.ring = RING_FLUSHER;
            }
            damage.records += missing;
        }
    }
}

/// The frame at `offset`, if `bytes` begin with a whole and intact one.
pub(super) fn frame_at(bytes: &[u8], offset: u64, end: u64, salt: u32) -> Option<FrameHeader> {
    let header = FrameHeader::decode(bytes, offset, end)?;
    let frame = bytes.get(..header.length as usize)?;
    frame_intact(salt, frame).then_some(header)
}

/// The same out of a source, with its bytes.
fn frame_in(
    source: &mut impl Source,
    at: u64,
    end: u64,
    salt: u32,
) -> Option<(FrameHeader, &[u8])> {
    let to = at.checked_add(FRAME_HEADER as u64).filter(|to| *to < end)?;
    let header = FrameHeader::decode(source.bytes(at, to)?, at, end)?;
    let frame = source.bytes(at, at + u64::from(header.length))?;
    frame_intact(salt, frame).then_some((header, frame))
}

/// Offset of the next frame at or after `from`.
fn resync(source: &mut impl Source, from: u64, end: u64, salt: u32) -> Option<u64> {
    (from..end)
        .step_by(8)
        .find(|at| frame_in(source, *at, end, salt).is_some())
}

/// Clock anchors of a segment by their offset.
#[derive(Clone, Debug, Default)]
pub(super) struct Anchors {
    by_offset: Vec<(u32, Anchor)>,
}

impl Anchors {
    /// Begins with those in the opening of a segment; what the first frame says replaces them.
    pub(super) fn open(&mut self, opening: &[u8], salt: u32) {
        let records = opening::decode(opening, salt);
        self.collect(bytes_of(&records), opening::RECORDS_AT);
    }

    /// Finds the anchors among `records`, whose first byte lies at `at` in the segment.
    pub(super) fn collect(&mut self, records: &[u8], at: u32) {
        let mut next = 0;
        while next < records.len() {
            if peek(records, next).is_ok_and(|head| head.kind == RecordKind::Anchor) {
                if let Some(anchor) = anchor_of(records, next) {
                    self.set(at + next as u32, anchor);
                }
            }
            // Also over kinds that this build does not know.
            match usize::from(u16_at(records, next)) * 8 {
                0 => return,
                size => next += size,
            }
        }
    }

    fn set(&mut self, offset: u32, anchor: Anchor) {
        match self.by_offset.binary_search_by_key(&offset, |(at, _)| *at) {
            Ok(known) => self.by_offset[known].1 = anchor,
            Err(place) => self.by_offset.insert(place, (offset, anchor)),
        }
    }

    pub(super) fn get(&self, offset: u32) -> Option<&Anchor> {
        let found = self.by_offset.binary_search_by_key(&offset, |(at, _)| *at);
        Some(&self.by_offset[found.ok()?].1)
    }

    /// The one that stands closest before `offset`, else the first.
    pub(super) fn near(&self, offset: u32) -> Option<&Anchor> {
        let after = self.by_offset.partition_point(|(at, _)| *at <= offset);
        let found = self.by_offset.get(after.saturating_sub(1))?;
        Some(&found.1)
    }

    pub(super) fn first(&self) -> Option<(u32, Anchor)> {
        self.by_offset.first().copied()
    }

    pub(super) fn last(&self) -> Option<(u32, Anchor)> {
        self.by_offset.last().copied()
    }
}

/// The clock anchor at byte `at`.
pub(super) fn anchor_of(records: &[u8], at: usize) -> Option<Anchor> {
    match Record::read(records, at).ok()?.body {
        Body::Anchor(a) => Some(Anchor {
            tick: a.tick.to_native(),
            unix_ns: a.unix_ns.to_native(),
            rate: a.rate.to_native(),
        }),
        _ => None,
    }
}
