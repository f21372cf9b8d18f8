//! What a segment's frames hold, so that a query reads only those it needs.
//!
//! Always true:
//! - an index says nothing that a scan of its segment would not say
//! - it is a cache: it can be deleted, and one that does not check is not used
//!
//! Built while appending or by a scan, written when the segment is sealed (`docs/format.md`,
//! section 8), used from memory or from the file.

use crate::clock::Anchor;

use super::{
    checked::Checked,
    layout::{
        finish, frame_crc, put, u16_at, u32_at, u64_at, FrameHeader, FrameKind, FORMAT_MAJOR,
        FORMAT_MINOR, FRAME_HEADER, SEAL_BYTES,
    },
    walk::Summary,
};

const MAGIC: &[u8; 8] = b"EMBRINDX";
const HEADER: usize = 64;
/// Bytes of a frame entry.
const ENTRY: usize = 64;
/// The body is checksummed in blocks of this size, so that a lookup checks only what it reads.
const BLOCK: usize = 4096;

/// What the index says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Offset in the segment.
    pub offset: u32,
    /// Bytes, header included.
    pub length: u32,
    /// Ring; `u32::MAX` is the flusher's own sequence.
    pub ring: u32,
    /// Which thread had the ring.
    pub lease: u32,
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// Records inside.
    pub count: u32,
    /// Bit *k*: there is a record of kind *k*.
    pub kinds: u16,
    /// Bit *s*: there is a span or trace end with status *s*.
    pub statuses: u8,
    /// What kind of frame it is.
    pub kind: FrameKind,
    /// Earliest Unix nanosecond; later than `latest_ns` when no record has a time.
    pub earliest_ns: i64,
    /// Latest Unix nanosecond.
    pub latest_ns: i64,
    /// Duration of the longest span or trace in nanoseconds, rounded up.
    pub max_duration_ns: u64,
    /// Bloom of names and event types, see [`name_bit`](super::name_bit).
    pub names: u64,
}

impl FrameEntry {
    pub(super) fn new(header: &FrameHeader, summary: &Summary, anchor: Option<&Anchor>) -> Self {
        let mut entry = Self {
            offset: header.offset,
            length: header.length,
            ring: header.ring,
            lease: header.lease,
            first_sequence: header.first_sequence,
            count: header.count,
            kinds: header.kinds,
            statuses: summary.statuses,
            kind: header.kind,
            earliest_ns: i64::MIN,
            latest_ns: i64::MAX,
            max_duration_ns: u64::MAX,
            names: summary.names,
        };
        if summary.min_tick > summary.max_tick {
            entry.earliest_ns = i64::MAX;
            entry.latest_ns = i64::MIN;
            entry.max_duration_ns = 0;
        } else if let Some(anchor) = anchor {
            entry.earliest_ns = anchor.unix_ns(summary.min_tick);
            entry.latest_ns = anchor.unix_ns(summary.max_tick);
            if summary.max_duration < u64::MAX {
                entry.max_duration_ns = anchor.duration_ns(summary.max_duration) + 1;
            }
        }
        entry
    }

    /// Sequence after its last record.
    pub fn end_sequence(&self) -> u64 {
        self.first_sequence.saturating_add(u64::from(self.count))
    }

    /// Offset in the segment after its last byte.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    fn encode(&self) -> [u8; ENTRY] {
        let mut b = [0; ENTRY];
        put(&mut b, 0, &self.offset.to_le_bytes());
        put(&mut b, 4, &self.length.to_le_bytes());
        put(&mut b, 8, &self.ring.to_le_bytes());
        put(&mut b, 12, &self.lease.to_le_bytes());
        put(&mut b, 16, &self.first_sequence.to_le_bytes());
        put(&mut b, 24, &self.count.to_le_bytes());
        put(&mut b, 28, &self.kinds.to_le_bytes());
        b[30] = self.statuses;
        b[31] = self.kind as u8;
        put(&mut b, 32, &self.earliest_ns.to_le_bytes());
        put(&mut b, 40, &self.latest_ns.to_le_bytes());
        put(&mut b, 48, &self.max_duration_ns.to_le_bytes());
        put(&mut b, 56, &self.names.to_le_bytes());
        b
    }

    fn decode(b: &[u8]) -> Option<Self> {
        Some(Self {
            offset: u32_at(b, 0),
            length: u32_at(b, 4),
            ring: u32_at(b, 8),
            lease: u32_at(b, 12),
            first_sequence: u64_at(b, 16),
            count: u32_at(b, 24),
            kinds: u16_at(b, 28),
            statuses: b[30],
            kind: match b[31] {
                1 => FrameKind::Records,
                2 => FrameKind::Copied,
                _ => return None,
            },
            earliest_ns: u64_at(b, 32) as i64,
            latest_ns: u64_at(b, 40) as i64,
            max_duration_ns: u64_at(b, 48),
            names: u64_at(b, 56),
        })
    }
}

/// An index that grows with its segment.
#[derive(Clone, Debug)]
pub(super) struct IndexBuilder {
    /// Frames in file order.
    pub entries: Vec<FrameEntry>,
    /// Hash of a trace (high half) and a frame that holds some of it.
    pairs: Vec<u64>,
    /// Pairs added lately, by their hash, so that a frame with a few interleaved traces adds a
    /// few pairs and not one per record.
    recent: Box<[u64; 256]>,
    /// What the seal frame will say.
    pub totals: Totals,
}

/// What the seal frame says about the frames before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub frames: u32,
    pub min_tick: u64,
    pub max_tick: u64,
    pub kinds: [u64; 16],
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            frames: 0,
            min_tick: u64::MAX,
            max_tick: 0,
            kinds: [0; 16],
        }
    }
}

impl Totals {
    fn add(&mut self, summary: &Summary) {
        self.frames += 1;
        self.min_tick = self.min_tick.min(summary.min_tick);
        self.max_tick = self.max_tick.max(summary.max_tick);
        for (total, count) in self.kinds.iter_mut().zip(summary.counts) {
            *total += u64::from(count);
        }
    }

    /// Records of all kinds.
    pub(super) fn records(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// The seal frame that stands at `offset`.
    pub(super) fn seal_frame(&self, salt: u32, offset: u64) -> [u8; SEAL_BYTES] {
        let mut header = FrameHeader {
            length: SEAL_BYTES as u32,
            crc: 0,
            kind: FrameKind::Seal,
            flags: 0,
            kinds: 0,
            ring: u32::MAX,
            lease: 0,
            count: self.frames,
            first_sequence: 0,
            min_tick: self.min_tick,
            max_tick: self.max_tick,
            anchor: 0,
            offset: offset as u32,
        };
        let mut frame = [0; SEAL_BYTES];
        for (i, count) in self.kinds.iter().enumerate() {
            put(&mut frame, FRAME_HEADER + 8 * i, &count.to_le_bytes());
        }
        header.crc = frame_crc(salt, &header.encode(), &frame[FRAME_HEADER..]);
        put(&mut frame, 0, &header.encode());
        frame
    }

    /// What an intact seal frame says.
    pub(super) fn of_seal(header: &FrameHeader, frame: &[u8]) -> Self {
        let mut kinds = [0; 16];
        for (i, count) in kinds.iter_mut().enumerate() {
            *count = u64_at(frame, FRAME_HEADER + 8 * i);
        }
        Self {
            frames: header.count,
            min_tick: header.min_tick,
            max_tick: header.max_tick,
            kinds,
        }
    }
}

/// How long an index was at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IndexLength {
    entries: usize,
    pairs: usize,
    totals: Totals,
}

impl Default for IndexBuilder {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            pairs: Vec::new(),
            recent: Box::new([u64::MAX; 256]),
            totals: Totals::default(),
        }
    }
}

impl IndexBuilder {
    /// Notes that the frame that comes next holds a record of this trace.
    #[inline(always)]
    pub(super) fn trace(&mut self, hash: u32) {
        let pair = u64::from(hash) << 32 | self.entries.len() as u64;
        let slot = &mut self.recent[(hash >> 24) as usize];
        if *slot != pair {
            *slot = pair;
            self.pairs.push(pair);
        }
    }

    pub(super) fn frame(&mut self, entry: FrameEntry, summary: &Summary) {
        self.entries.push(entry);
        self.totals.add(summary);
    }

    pub(super) fn len(&self) -> IndexLength {
        IndexLength {
            entries: self.entries.len(),
            pairs: self.pairs.len(),
            totals: self.totals,
        }
    }

    /// Forgets what came after it was this long.
    pub(super) fn truncate(&mut self, to: IndexLength) {
        self.entries.truncate(to.entries);
        self.pairs.truncate(to.pairs);
        self.totals = to.totals;
        self.recent.fill(u64::MAX);
    }

    /// Frames that may hold the trace, in order, unsorted pairs scanned.
    pub(super) fn find(&self, hash: u32) -> Vec<u32> {
        let hits = self.pairs.iter().filter(|p| (**p >> 32) as u32 == hash);
        let mut frames: Vec<u32> = hits.map(|p| *p as u32).collect();
        frames.dedup();
        frames
    }

    /// Hash of each trace (high half) and a frame that may hold some of it, in no order.
    pub(super) fn pairs(&self) -> &[u64] {
        &self.pairs
    }

    /// Nothing, in the memory of this one.
    #[must_use]
    pub(super) fn emptied(mut self) -> Self {
        self.truncate(IndexLength::default());
        self
    }

    /// The index file of the segment that it describes.
    pub(super) fn encode(&mut self, salt: u32, base: u64, mark: u64) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_in(&mut out, salt, base, mark);
        out
    }

    /// Makes `out` the index file of the segment that it describes.
    pub(super) fn encode_in(&mut self, out: &mut Vec<u8>, salt: u32, base: u64, mark: u64) {
        self.pairs.sort_unstable();
        self.pairs.dedup();
        let bits = directory_bits(self.pairs.len());
        let directory = 4 * ((1usize << bits) + 1);
        let body =
            ENTRY * self.entries.len() + directory.next_multiple_of(8) + 8 * self.pairs.len();
        let blocks = body.div_ceil(BLOCK);
        out.clear();
        out.reserve_exact(HEADER + body + 4 * blocks);
        out.resize(HEADER, 0);
        for entry in &self.entries {
            out.extend_from_slice(&entry.encode());
        }
        let mut next = 0;
        for top in 0..=1u64 << bits {
            while next < self.pairs.len() && self.pairs[next] >> 32 < top << (32 - bits) {
                next += 1;
            }
            out.extend_from_slice(&(next as u32).to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(8), 0);
        for pair in &self.pairs {
            out.extend_from_slice(&((pair >> 32) as u32).to_le_bytes());
            out.extend_from_slice(&(*pair as u32).to_le_bytes());
        }
        let sums: Vec<u8> = out[HEADER..]
            .chunks(BLOCK)
            .flat_map(|block| crc32c::crc32c(block).to_le_bytes())
            .collect();
        let header = &mut out[..HEADER];
        put(header, 0, MAGIC);
        put(header, 8, &FORMAT_MAJOR.to_le_bytes());
        put(header, 10, &FORMAT_MINOR.to_le_bytes());
        put(header, 12, &salt.to_le_bytes());
        put(header, 16, &base.to_le_bytes());
        put(header, 24, &mark.to_le_bytes());
        put(header, 32, &(self.entries.len() as u32).to_le_bytes());
        put(header, 36, &(self.pairs.len() as u32).to_le_bytes());
        put(header, 40, &bits.to_le_bytes());
        put(header, 56, &crc32c::crc32c(&sums).to_le_bytes());
        finish(header);
        out.extend_from_slice(&sums);
    }
}

/// About eight entries to a place of the directory.
fn directory_bits(pairs: usize) -> u32 {
    ((pairs / 8).next_power_of_two().trailing_zeros()).min(24)
}

/// An index file: frame entries in memory, the rest looked up in place.
pub(super) struct IndexFile<B> {
    bytes: B,
    /// Frames in file order.
    pub entries: Vec<FrameEntry>,
    pairs: usize,
    bits: u32,
    directory: usize,
    traces: usize,
    sums: usize,
    checked: Checked,
}

impl<B: AsRef<[u8]>> IndexFile<B> {
    /// Takes the index if it is whole and describes this segment up to this mark.
    pub(super) fn open(bytes: B, salt: u32, base: u64, mark: u64) -> Option<Self> {
        let b = bytes.as_ref();
        let header = b.get(..HEADER)?;
        if !super::layout::intact(header, MAGIC)
            || u16_at(header, 8) > FORMAT_MAJOR
            || u32_at(header, 12) != salt
            || u64_at(header, 16) != base
            || u64_at(header, 24) != mark
        {
            return None;
        }
        let frames = u32_at(header, 32) as usize;
        let pairs = u32_at(header, 36) as usize;
        let bits = u32_at(header, 40);
        if bits > 24 {
            return None;
        }
        let directory = HEADER.checked_add(frames.checked_mul(ENTRY)?)?;
        let traces = directory.checked_add((4 * ((1usize << bits) + 1)).next_multiple_of(8))?;
        let sums = traces.checked_add(pairs.checked_mul(8)?)?;
        let blocks = (sums - HEADER).div_ceil(BLOCK);
        if sums.checked_add(blocks * 4)? != b.len()
            || crc32c::crc32c(&b[sums..]) != u32_at(header, 56)
        {
            return None;
        }
        let mut this = Self {
            bytes,
            entries: Vec::new(),
            pairs,
            bits,
            directory,
            traces,
            sums,
            checked: Checked::new(blocks),
        };
        let raw = this.checked(HEADER, directory)?;
        this.entries = raw
            .chunks(ENTRY)
            .map(FrameEntry::decode)
            .collect::<Option<_>>()?;
        let mut end = super::layout::HEADER_BYTES;
        for entry in &this.entries {
            let sane = u64::from(entry.offset) >= end && entry.end() <= mark;
            sane.then_some(())?;
            end = entry.end();
        }
        Some(this)
    }

    /// Bytes `from..to` of the file after checking the blocks that they lie in, once each.
    fn checked(&self, from: usize, to: usize) -> Option<&[u8]> {
        let b = self.bytes.as_ref();
        if from < to {
            for block in (from - HEADER) / BLOCK..=(to - 1 - HEADER) / BLOCK {
                let start = HEADER + block * BLOCK;
                let bytes = &b[start..(start + BLOCK).min(self.sums)];
                let sum = u32_at(b, self.sums + 4 * block);
                if !self.checked.is(block, || crc32c::crc32c(bytes) == sum) {
                    return None;
                }
            }
        }
        b.get(from..to)
    }

    /// Frames that may hold the trace, in order; `None` if the file turns out to be damaged.
    pub(super) fn find(&self, hash: u32) -> Option<Vec<u32>> {
        let top = (u64::from(hash) >> (32 - self.bits)) as usize;
        let at = self.directory + 4 * top;
        let bounds = self.checked(at, at + 8)?;
        let (from, to) = (u32_at(bounds, 0) as usize, u32_at(bounds, 4) as usize);
        if from > to || to > self.pairs {
            return None;
        }
        let bucket = self.checked(self.traces + 8 * from, self.traces + 8 * to)?;
        let hits = bucket.chunks(8).filter(|pair| u32_at(pair, 0) == hash);
        let frames: Vec<u32> = hits.map(|pair| u32_at(pair, 4)).collect();
        let known = frames.iter().all(|f| (*f as usize) < self.entries.len());
        known.then_some(frames)
    }

    /// As [`IndexBuilder::pairs`]; `None` if the file turns out to be damaged.
    pub(super) fn pairs(&self) -> Option<Vec<u64>> {
        let bytes = self.checked(self.traces, self.traces + 8 * self.pairs)?;
        let pairs = bytes
            .chunks(8)
            .map(|pair| u64::from(u32_at(pair, 0)) << 32 | u64::from(u32_at(pair, 4)));
        let pairs: Vec<u64> = pairs.collect();
        let known = pairs
            .iter()
            .all(|pair| (*pair as u32 as usize) < self.entries.len());
        known.then_some(pairs)
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_in_the_memory_of_another_is_as_one_in_its_own() {
        let filled = |mut index: IndexBuilder, traces: u32| {
            for hash in 0..traces {
                index.trace(hash << 20);
            }
            index
        };
        let used = filled(IndexBuilder::default(), 4000);
        let (memory, room) = (used.pairs.as_ptr(), used.pairs.capacity());
        let mut again = filled(used.emptied(), 2000);
        assert_eq!(
            (again.pairs.as_ptr(), again.pairs.capacity()),
            (memory, room)
        );
        let mut out = vec![7; 100_000];
        let (memory, room) = (out.as_ptr(), out.capacity());
        again.encode_in(&mut out, 1, 2, 3);
        assert_eq!((out.as_ptr(), out.capacity()), (memory, room));
        assert_eq!(out, filled(IndexBuilder::default(), 2000).encode(1, 2, 3));
    }
}
