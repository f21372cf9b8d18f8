//! One pass over the records of a frame: what the frame header and the index say about it.
//!
//! Both the writer and the rebuilding of an index use it, so that they agree.

use crate::record::{
    layout::{RecordKind, NAME_INLINE, RECORD_VERSION},
    RecordError,
};

/// What a frame's records have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Bytes of the records.
    pub bytes: usize,
    /// Number of records.
    pub count: u32,
    /// Bit per kind; 15 stands for itself and all greater ones.
    pub kinds: u16,
    /// Bit per status of the spans and trace ends.
    pub statuses: u8,
    /// Bloom of names and event types.
    pub names: u64,
    /// Earliest tick; greater than `max_tick` when no record has a time.
    pub min_tick: u64,
    /// Latest tick.
    pub max_tick: u64,
    /// Longest span or trace.
    pub max_duration: u64,
    /// Records of each kind.
    pub counts: [u32; 16],
}

impl Summary {
    const EMPTY: Self = Self {
        bytes: 0,
        count: 0,
        kinds: 0,
        statuses: 0,
        names: 0,
        min_tick: u64::MAX,
        max_tick: 0,
        max_duration: 0,
        counts: [0; 16],
    };

    #[inline(always)]
    fn time(&mut self, from: u64, to: u64) {
        self.min_tick = self.min_tick.min(from);
        self.max_tick = self.max_tick.max(to);
    }

    #[inline(always)]
    fn name(&mut self, id: u32) {
        self.names |= name_bit(id);
    }

    /// As if they had been walked one by one.
    fn add_spans(&mut self, spans: &Self) {
        let kind = RecordKind::Span as usize;
        self.bytes += spans.bytes;
        self.count += spans.count;
        self.kinds |= 1 << kind;
        self.counts[kind] += spans.count;
        self.statuses |= spans.statuses;
        self.names |= spans.names;
        self.time(spans.min_tick, spans.max_tick);
        self.max_duration = self.max_duration.max(spans.max_duration);
    }

    /// Of a frame that this build must not look into.
    pub(super) fn of_unknown() -> Self {
        let mut summary = Self::EMPTY;
        (summary.min_tick, summary.max_tick) = (0, u64::MAX);
        summary.opened()
    }

    /// Knows nothing, so that no reader skips the frame.
    fn opaque(&mut self) {
        self.statuses = u8::MAX;
        self.names = u64::MAX;
        self.max_duration = u64::MAX;
    }

    /// The same of a frame of which only the beginning could be walked.
    pub(super) fn opened(mut self) -> Self {
        self.opaque();
        self
    }
}

/// The bit of a name in the bloom of a frame.
#[inline(always)]
pub fn name_bit(id: u32) -> u64 {
    1 << (u64::from(id).wrapping_mul(K) >> 58)
}

const K: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash under which the index keeps a trace.
#[inline(always)]
pub(crate) fn trace_hash(low_half: u64) -> u32 {
    (low_half.wrapping_mul(K) >> 32) as u32
}

/// Bytes of the fixed part of each kind.
const FIXED: [u16; 16] = [0, 64, 56, 64, 56, 56, 64, 72, 16, 32, 40, 40, 32, 72, 8, 8];

/// Where a header says its kind and version.
const KIND_AND_VERSION: u64 = 0xffff_0000;
/// What it says there of a span of this build.
const SPAN: u64 = (RecordKind::Span as u64) << 16 | (RECORD_VERSION as u64) << 24;
const SPAN_BYTES: usize = FIXED[RecordKind::Span as usize] as usize;

/// Walks the spans of this build that `bytes` begin with. Most records are spans, one behind the
/// other: here nothing but their few words is looked at, and a trace is said once for a row of them.
#[inline(never)]
fn spans(bytes: &[u8], trace: &mut impl FnMut(u32)) -> Summary {
    let mut s = Summary::EMPTY;
    let mut rest = bytes;
    // Low half of the id of the last one's trace, as it stands there.
    let mut last = 0;
    while let Some(span) = rest.first_chunk::<SPAN_BYTES>() {
        let head = word(span, 0);
        let size = (head & 0xffff) as usize * 8;
        if head & KIND_AND_VERSION != SPAN || size < SPAN_BYTES {
            break;
        }
        let Some(next) = rest.get(size..) else { break };
        rest = next;
        s.count += 1;
        let (end, ticks) = (word(span, 40), word(span, 48));
        s.time(end.saturating_sub(ticks), end);
        s.max_duration = s.max_duration.max(ticks);
        s.statuses |= 1 << (span[57] & 7);
        s.name((head >> 32) as u32);
        let low = word(span, 16);
        if low != last || low == 0 {
            last = low;
            if low != 0 || word(span, 8) != 0 {
                trace(trace_hash(low.swap_bytes()));
            }
        }
    }
    s.bytes = bytes.len() - rest.len();
    s
}

#[inline(always)]
fn word(record: &[u8], at: usize) -> u64 {
    match record.get(at..at + 8).and_then(|b| b.try_into().ok()) {
        Some(bytes) => u64::from_le_bytes(bytes),
        None => 0,
    }
}

/// Walks whole records from the start of `bytes` until `limit` bytes are full (one record is
/// always taken), calling `trace` with the hash of each record that belongs to a trace.
///
/// Kinds and versions of a newer build are stepped over by their size and make the summary say
/// "anything may be inside".
///
/// # Errors
/// The first bytes that no record can begin with, together with the summary up to there.
#[inline]
#[expect(clippy::result_large_err, reason = "inlined into its two callers")]
pub(super) fn walk(
    bytes: &[u8],
    limit: usize,
    mut trace: impl FnMut(u32),
) -> Result<Summary, (Summary, RecordError)> {
    let mut s = Summary::EMPTY;
    while s.bytes < bytes.len() {
        let at = s.bytes;
        let rest = &bytes[at..];
        let head = word(rest, 0);
        if head & KIND_AND_VERSION == SPAN {
            let within = bytes.len().min(limit).max(at);
            let run = spans(&bytes[at..within], &mut trace);
            if run.count > 0 {
                s.add_spans(&run);
                continue;
            }
        }
        let size = (head & 0xffff) as usize * 8;
        let kind = (head >> 16) as u8;
        let slot = usize::from(kind.min(15));
        if size < usize::from(FIXED[slot]) || size < 8 {
            return Err((s, RecordError::Size { at, size }));
        }
        let Some(record) = rest.get(..size) else {
            let available = rest.len();
            let error = RecordError::Truncated {
                at,
                size,
                available,
            };
            return Err((s, error));
        };
        if at + size > limit && at > 0 {
            break;
        }
        s.bytes += size;
        s.count += 1;
        s.kinds |= 1 << slot;
        s.counts[slot] += 1;
        let version = (head >> 24) as u8;
        let Some(kind) = RecordKind::from_u8(kind).filter(|_| version <= RECORD_VERSION) else {
            s.opaque();
            continue;
        };
        let name = (head >> 32) as u32;
        match kind {
            // Longer than what is left of the frame, or of an older version.
            RecordKind::Span => {
                let (end, ticks) = (word(record, 40), word(record, 48));
                s.time(end.saturating_sub(ticks), end);
                s.max_duration = s.max_duration.max(ticks);
                s.statuses |= 1 << (record[57] & 7);
            }
            RecordKind::TraceEnd => {
                let (end, ticks) = (word(record, 24), word(record, 32));
                s.time(end.saturating_sub(ticks), end);
                s.max_duration = s.max_duration.max(ticks);
                s.statuses |= 1 << (record[40] & 7);
            }
            RecordKind::TraceStart => s.time(word(record, 24), word(record, 24)),
            RecordKind::SpanStart => s.time(word(record, 40), word(record, 40)),
            RecordKind::Event => {
                s.time(word(record, 32), word(record, 32));
                s.name(word(record, 40) as u32);
            }
            RecordKind::Metric => s.time(word(record, 32), word(record, 32)),
            RecordKind::Link => s.time(word(record, 56), word(record, 56)),
            _ => continue,
        }
        s.name(name);
        // The id stands most significant byte first: bytes 16..24 are its low half.
        let low = word(record, 16).swap_bytes();
        if low != 0 || word(record, 8) != 0 {
            trace(trace_hash(low));
        }
    }
    Ok(s)
}

/// Bit of the names that are spelled out.
pub fn inline_name_bit() -> u64 {
    name_bit(NAME_INLINE)
}
