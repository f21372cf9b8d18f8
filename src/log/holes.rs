//! Records that are missing between two segments of an instance.
//!
//! After a power cut the end of a segment may be gone with the mark that told of it, while the next
//! one reached the disk: nothing in either of them is damaged, only the sequences tell. Looked for
//! where a segment is scanned anyway, because nobody vouches for it; the others are whole.

use std::{collections::HashMap, path::Path};

use crate::record::{
    id::InstanceId,
    kinds::GapCause,
    layout::{RING_FLUSHER, RING_RECOVERY},
};

use super::{
    gap::GapInfo,
    index::FrameEntry,
    layout::{segment_name, FrameKind, SegmentHeader, STREAM_MAIN},
    view::SegmentView,
    watermark::Floor,
    Position,
};

/// What the segments so far say, in their order.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Where the newest segment of each instance ends.
    ends: HashMap<InstanceId, Position>,
    /// Next sequence by ring, of segments that were scanned.
    next: HashMap<(InstanceId, u32), u64>,
    /// Bases of whole segments, which are asked only when they must be.
    whole: Vec<(InstanceId, u64)>,
}

impl Holes {
    /// A whole segment that ends there.
    pub(super) fn pass(&mut self, header: &SegmentHeader, end: Position) {
        self.ends.insert(header.instance, end);
        self.whole.push((header.instance, header.base));
    }

    /// A segment that was scanned, and that will end at `end`; tells what is missing before it.
    pub(super) fn follow(
        &mut self,
        dir: &Path,
        floor: &Floor,
        header: &SegmentHeader,
        frames: &[FrameEntry],
        end: Position,
    ) -> Option<GapInfo> {
        if header.stream != STREAM_MAIN {
            return None;
        }
        let instance = header.instance;
        let before = self.ends.insert(instance, end);
        // Each recovery counts from a number of its own.
        let counted = |f: &&FrameEntry| f.kind == FrameKind::Records && f.ring != RING_RECOVERY;
        let mut first = HashMap::new();
        for frame in frames.iter().filter(counted) {
            first.entry(frame.ring).or_insert(frame.first_sequence);
        }
        let mut missing: Vec<(u32, u64)> = Vec::new();
        for (ring, first) in first {
            let known = match self.next.get(&(instance, ring)) {
                Some(next) => Some(*next),
                None if first == 0 || before.is_none() => None,
                None => self.look_back(dir, instance, ring).or_else(|| {
                    // It began in what is gone, unless retention had removed its beginning.
                    (floor.position.epoch < header.epoch).then_some(0)
                }),
            };
            let records = known.map_or(0, |next| first.saturating_sub(next));
            if records > 0 {
                missing.push((ring, records));
            }
        }
        for frame in frames.iter().filter(counted) {
            let next = self.next.entry((instance, frame.ring)).or_insert(0);
            *next = frame.end_sequence().max(*next);
        }
        let from = before.filter(|_| !missing.is_empty())?;
        Some(GapInfo {
            instance,
            from,
            to: header.base,
            records: Some(missing.iter().map(|(_, records)| records).sum()),
            ring: match missing[..] {
                [(ring, _)] if ring != RING_FLUSHER => Some(ring),
                _ => None,
            },
            cause: Some(GapCause::Torn),
        })
    }

    /// The sequence after the last one of a ring in whole segments, newest first.
    fn look_back(&self, dir: &Path, instance: InstanceId, ring: u32) -> Option<u64> {
        let same = self.whole.iter().rev().filter(|(of, _)| *of == instance);
        same.filter_map(|(_, base)| SegmentView::open(&dir.join(segment_name(*base))).ok())
            .find_map(|view| {
                let frames = view.frames().iter();
                let of_ring = frames.filter(|f| f.ring == ring && f.kind == FrameKind::Records);
                of_ring.map(FrameEntry::end_sequence).max()
            })
    }
}
