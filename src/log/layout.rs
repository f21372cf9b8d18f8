//! The fixed bytes of the log's files, spelled out.
//!
//! The tables are in `docs/format.md`, sections 2 to 5 and 8. Decoders take bytes that nobody
//! checked and say what is wrong with them.

use crate::record::id::{InstanceId, LogId};

/// Newest format that this build writes and reads; a greater one is refused.
pub const FORMAT_MAJOR: u16 = 1;
/// Minor version that this build writes; a greater one is ignored.
pub const FORMAT_MINOR: u16 = 0;

/// Bytes of the `LOG` file.
pub(super) const LOG_BYTES: usize = 64;
/// Bytes of a segment's header: the first frame begins here.
///
/// Two pages: the first one has the identity and is never written again, the second one what
/// changes, so that a torn write of that cannot reach the salt without which no frame is one.
pub const HEADER_BYTES: u64 = 8192;
/// Where the second copy of a segment's identity lies: in another sector, for rot.
pub(super) const HEADER_COPY: usize = 4096 + 1024;
/// Bytes of a segment's identity.
pub(super) const IDENTITY_BYTES: usize = 128;
/// Offset of the commit mark in a segment.
pub(super) const MARK_AT: usize = 4096 + 128;
/// Offset of the state in a segment.
pub(super) const STATE_AT: usize = 4096 + 256;
/// Where the copy of what the first frame begins with lies, up to the end of the header.
pub(super) const OPENING_AT: u64 = 4096 + 2048;
/// Bytes of that copy.
pub(super) const OPENING_BYTES: usize = 2048;
/// State: sealed, will never change again.
pub(super) const SEALED: u64 = 1;
/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 64;
/// Longest frame that the writer makes out of records that fit together.
pub(super) const FRAME_TARGET: usize = 64 << 10;
/// Greatest size of a segment: offsets of frames are 32 bits wide.
pub(super) const RESERVED_MAX: u64 = 2 << 30;
/// Flags of a frame that its reader has to know; one that does not know one leaves the frame out.
pub(super) const FLAGS_INCOMPATIBLE: u8 = 0x0f;
/// Record kinds from here on may be left out by who does not know them.
pub(super) const KIND_IGNORABLE: u8 = 128;
/// Longest frame that a reader believes in.
pub(super) const FRAME_MAX: usize = 16 << 20;
/// Bytes of a seal frame.
pub(super) const SEAL_BYTES: usize = FRAME_HEADER + 16 * 8;

/// Stream of a segment: what everybody reads.
pub const STREAM_MAIN: u8 = 0;
/// Stream of a segment: sampled out, kept for a short time, hidden from queries and tails.
pub const STREAM_PROVISIONAL: u8 = 1;
/// Origin of a segment: its instance wrote it.
pub const ORIGIN_LIVE: u8 = 0;
/// Origin of a segment: the recovery of a dead instance wrote it.
pub const ORIGIN_RECOVERY: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Too short, wrong magic, wrong checksum or impossible numbers.
    Damaged,
    /// Intact, but of a newer major version.
    Newer(u16),
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
    u32::from_le_bytes(four.unwrap_or_default())
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
    u64::from_le_bytes(eight.unwrap_or_default())
}

fn id_at(bytes: &[u8], at: usize) -> [u8; 16] {
    let id = bytes.get(at..at + 16).and_then(|b| b.try_into().ok());
    id.unwrap_or_default()
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Writes the checksum of everything before it into the last four bytes.
pub(super) fn finish(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    put(bytes, end, &crc.to_le_bytes());
}

/// Whether `bytes` begin with `magic` and end with the checksum of what is before it.
pub(super) fn intact(bytes: &[u8], magic: &[u8; 8]) -> bool {
    let Some(end) = bytes.len().checked_sub(4) else {
        return false;
    };
    bytes.starts_with(magic) && u32_at(bytes, end) == crc32c::crc32c(&bytes[..end])
}

const LOG_MAGIC: &[u8; 8] = b"EMBERLOG";

/// What the `LOG` file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// Names the log for ever.
    pub log_id: LogId,
    /// When it was created, Unix nanoseconds.
    pub created_ns: i64,
}

impl LogHeader {
    pub(super) fn encode(&self) -> [u8; LOG_BYTES] {
        let mut b = [0; LOG_BYTES];
        put(&mut b, 0, LOG_MAGIC);
        put(&mut b, 8, &FORMAT_MAJOR.to_le_bytes());
        put(&mut b, 10, &FORMAT_MINOR.to_le_bytes());
        put(&mut b, 16, &self.log_id.0);
        put(&mut b, 32, &self.created_ns.to_le_bytes());
        finish(&mut b);
        b
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Bad> {
        let bytes = bytes.get(..LOG_BYTES).ok_or(Bad::Damaged)?;
        if !intact(bytes, LOG_MAGIC) {
            return Err(Bad::Damaged);
        }
        let major = u16_at(bytes, 8);
        if major > FORMAT_MAJOR {
            return Err(Bad::Newer(major));
        }
        Ok(Self {
            log_id: LogId(id_at(bytes, 16)),
            created_ns: u64_at(bytes, 32) as i64,
        })
    }
}

const SEGMENT_MAGIC: &[u8; 8] = b"EMBRSEGM";

/// Whose a segment is and where it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log that it belongs to.
    pub log_id: LogId,
    /// The instance that names, anchors and rings inside belong to.
    pub instance: InstanceId,
    /// Which open of the log wrote it.
    pub epoch: u64,
    /// Log offset of the first byte of the file.
    pub base: u64,
    /// Size that was reserved for it.
    pub reserved: u64,
    /// When it was created, Unix nanoseconds.
    pub created_ns: i64,
    /// What checksums of its frames start from.
    pub salt: u32,
    /// [`STREAM_MAIN`] or [`STREAM_PROVISIONAL`].
    pub stream: u8,
    /// [`ORIGIN_LIVE`] or [`ORIGIN_RECOVERY`].
    pub origin: u8,
    /// Which boot of which machine wrote it; zeros where the system does not say.
    pub boot: [u8; 16],
}

impl SegmentHeader {
    /// The whole header of a new segment, identity written twice.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut b = [0; IDENTITY_BYTES];
        put(&mut b, 0, SEGMENT_MAGIC);
        put(&mut b, 8, &FORMAT_MAJOR.to_le_bytes());
        put(&mut b, 10, &FORMAT_MINOR.to_le_bytes());
        put(&mut b, 12, &(HEADER_BYTES as u32).to_le_bytes());
        put(&mut b, 16, &self.log_id.0);
        put(&mut b, 32, &self.instance.0);
        put(&mut b, 48, &self.epoch.to_le_bytes());
        put(&mut b, 56, &self.base.to_le_bytes());
        put(&mut b, 64, &self.reserved.to_le_bytes());
        put(&mut b, 72, &self.created_ns.to_le_bytes());
        put(&mut b, 80, &self.salt.to_le_bytes());
        b[84] = self.stream;
        b[85] = self.origin;
        put(&mut b, 88, &self.boot);
        finish(&mut b);
        let mut page = vec![0; HEADER_BYTES as usize];
        put(&mut page, 0, &b);
        put(&mut page, HEADER_COPY, &b);
        put(&mut page, MARK_AT, &HEADER_BYTES.to_le_bytes());
        page
    }

    /// Whether it was written since this machine started. Then whatever was written is in the
    /// file, as far as no disk loses it; otherwise only what was synced is.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot != [0; 16] && self.boot == super::file::boot_id()
    }

    /// Reads the header, from the copy if the original is damaged.
    pub(super) fn decode(page: &[u8]) -> Result<Self, Bad> {
        let first = Self::decode_at(page, 0);
        match first {
            Err(Bad::Damaged) => Self::decode_at(page, HEADER_COPY),
            _ => first,
        }
    }

    fn decode_at(page: &[u8], at: usize) -> Result<Self, Bad> {
        let b = page.get(at..at + IDENTITY_BYTES).ok_or(Bad::Damaged)?;
        if !intact(b, SEGMENT_MAGIC) {
            return Err(Bad::Damaged);
        }
        let major = u16_at(b, 8);
        if major > FORMAT_MAJOR {
            return Err(Bad::Newer(major));
        }
        if u64::from(u32_at(b, 12)) != HEADER_BYTES {
            return Err(Bad::Damaged);
        }
        if u64_at(b, 64) > RESERVED_MAX {
            return Err(Bad::Damaged);
        }
        Ok(Self {
            log_id: LogId(id_at(b, 16)),
            instance: InstanceId(id_at(b, 32)),
            epoch: u64_at(b, 48),
            base: u64_at(b, 56),
            reserved: u64_at(b, 64),
            created_ns: u64_at(b, 72) as i64,
            salt: u32_at(b, 80),
            stream: b[84],
            origin: b[85],
            boot: id_at(b, 88),
        })
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Records of one ring.
    Records = 1,
    /// Records of one ring copied from the provisional stream, with their sequences.
    Copied = 2,
    /// The end of the segment.
    Seal = 3,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the frame, header included.
    pub length: u32,
    /// Checksum of everything but itself.
    pub crc: u32,
    /// What it holds.
    pub kind: FrameKind,
    /// Bits 0 to 3 have to be known by who reads it, the others need not be.
    pub flags: u8,
    /// Bit *k*: there is a record of kind *k* inside; bit 15: of kind 15 or greater.
    pub kinds: u16,
    /// Ring; `u32::MAX` is the flusher's own sequence.
    pub ring: u32,
    /// Which thread had the ring.
    pub lease: u32,
    /// Records inside.
    pub count: u32,
    /// Sequence of the first record.
    pub first_sequence: u64,
    /// Earliest tick.
    pub min_tick: u64,
    /// Latest tick.
    pub max_tick: u64,
    /// Offset in the segment of the anchor that converts these ticks.
    pub anchor: u32,
    /// Offset of this frame in the segment.
    pub offset: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_HEADER] {
        let mut b = [0; FRAME_HEADER];
        put(&mut b, 0, &self.length.to_le_bytes());
        put(&mut b, 4, &self.crc.to_le_bytes());
        b[8] = self.kind as u8;
        b[9] = self.flags;
        put(&mut b, 10, &self.kinds.to_le_bytes());
        put(&mut b, 12, &self.ring.to_le_bytes());
        put(&mut b, 16, &self.lease.to_le_bytes());
        put(&mut b, 20, &self.count.to_le_bytes());
        put(&mut b, 24, &self.first_sequence.to_le_bytes());
        put(&mut b, 32, &self.min_tick.to_le_bytes());
        put(&mut b, 40, &self.max_tick.to_le_bytes());
        put(&mut b, 48, &self.anchor.to_le_bytes());
        put(&mut b, 52, &self.offset.to_le_bytes());
        b
    }

    /// Reads the header of a frame that should begin at `offset` of its segment and end by `end`.
    /// `bytes` begin with the frame. Only plausibility is checked here.
    pub(super) fn decode(bytes: &[u8], offset: u64, end: u64) -> Option<Self> {
        let b = bytes.get(..FRAME_HEADER)?;
        let length = u32_at(b, 0);
        let long = u64::from(length);
        if length as usize <= FRAME_HEADER
            || length as usize > FRAME_MAX
            || length % 8 != 0
            || offset + long > end
            || u64::from(u32_at(b, 52)) != offset
        {
            return None;
        }
        let kind = match b[8] {
            1 => FrameKind::Records,
            2 => FrameKind::Copied,
            3 => FrameKind::Seal,
            _ => return None,
        };
        Some(Self {
            length,
            crc: u32_at(b, 4),
            kind,
            flags: b[9],
            kinds: u16_at(b, 10),
            ring: u32_at(b, 12),
            lease: u32_at(b, 16),
            count: u32_at(b, 20),
            first_sequence: u64_at(b, 24),
            min_tick: u64_at(b, 32),
            max_tick: u64_at(b, 40),
            anchor: u32_at(b, 48),
            offset: u32_at(b, 52),
        })
    }

    /// Whether this build knows what the frame holds.
    pub(super) fn is_known(&self) -> bool {
        self.flags & FLAGS_INCOMPATIBLE == 0
    }

    /// Bytes of the sequences that stand between the header and the records.
    pub(super) fn sequence_bytes(&self) -> usize {
        match self.kind {
            FrameKind::Copied => self.count as usize * 8,
            _ => 0,
        }
    }
}

/// Checksum of a frame whose bytes are `header` (of [`FRAME_HEADER`] bytes) and then `rest`.
#[inline]
pub(super) fn frame_crc(salt: u32, header: &[u8; FRAME_HEADER], rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(salt, &header[..4]);
    let crc = crc32c::crc32c_append(crc, &header[8..]);
    crc32c::crc32c_append(crc, rest)
}

/// Whether a whole frame matches its checksum.
#[inline]
pub(super) fn frame_intact(salt: u32, frame: &[u8]) -> bool {
    match frame.split_first_chunk::<FRAME_HEADER>() {
        Some((header, rest)) => u32_at(header, 4) == frame_crc(salt, header, rest),
        None => false,
    }
}

/// Name of a segment's file.
pub(super) fn segment_name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// Name of an index file.
pub(super) fn index_name(base: u64) -> String {
    format!("{base:020}.idx")
}

/// The base in the name of a file with this extension.
pub(super) fn base_of(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
