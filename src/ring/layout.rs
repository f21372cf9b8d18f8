//! Where everything lies in a ring file and in `names`: `docs/format.md`, section 7, in code.

use crate::record::{
    id::{InstanceId, LogId},
    names::MAX_NAMES_BYTES,
};

/// First bytes of a ring file.
pub const RING_MAGIC: &[u8; 8] = b"EMBRRING";
/// First bytes of the shared file of an instance.
pub const NAMES_MAGIC: &[u8; 8] = b"EMBRNAME";
/// Newest format that this build reads, and the one it writes.
pub const MAJOR: u16 = 1;
/// Minor format that this build writes.
pub const MINOR: u16 = 0;
/// Bytes of the header page of both files.
pub const HEADER_BYTES: usize = 4096;
/// Bytes that the resource record may take in the file `names`.
const MAX_RESOURCE_BYTES: usize = 68 << 10;
/// Bytes of the file `names`.
pub const NAMES_BYTES: usize =
    (HEADER_BYTES + MAX_NAMES_BYTES + MAX_RESOURCE_BYTES).next_multiple_of(4096);
/// Largest data area.
pub const MAX_CAPACITY: usize = 64 << 20;
/// Words of one open span.
pub const SPAN_WORDS: usize = 8;
/// Bytes of a thread's name that fit.
pub const THREAD_NAME_BYTES: usize = 64;

/// Words of the header page, counted in eight bytes.
#[cfg(not(loom))]
pub mod at {
    /// Raised at each take-over; odd while leased.
    pub const LEASE: usize = 128 / 8;
    /// Operating system's thread id.
    pub const THREAD: usize = 136 / 8;
    /// Thread name, eight words.
    pub const THREAD_NAME: usize = 144 / 8;
    /// Bytes released by the consumer.
    pub const HEAD: usize = 256 / 8;
    /// Two slots of (head, sequence at head).
    pub const SLOTS: usize = 264 / 8;
    /// `names` only: tick of the last sign of life.
    pub const ALIVE: usize = 296 / 8;
    /// Two slots of (tick, Unix nanoseconds, rate).
    pub const ANCHORS: usize = 304 / 8;
    /// Which of them counts.
    pub const ANCHOR_GENERATION: usize = 352 / 8;
    /// Bytes published by the producer.
    pub const TAIL: usize = 384 / 8;
    /// Records lost for any cause.
    pub const LOST: usize = 392 / 8;
    /// Position of the latest wrap marker.
    pub const WRAP: usize = 400 / 8;
    /// Counters by cause and kind.
    pub const LOSSES: usize = 512 / 8;
    /// `names` only: length of the log's path, then the path.
    pub const LOG_PATH: usize = 2560 / 8;
    /// `names` only: bytes of name records.
    pub const COMMITTED: usize = 48 / 8;
    /// `names` only: the first name record.
    pub const NAMES: usize = 4096 / 8;
    /// Words of the page.
    pub const WORDS: usize = 4096 / 8;

    /// The counter of one cause and kind.
    #[inline]
    pub const fn loss(cause: u8, kind: u8) -> usize {
        LOSSES + (cause as usize & 15) * 16 + (kind as usize & 15)
    }
}

/// The same in as few words as loom can afford; names and causes that models do not use coincide.
#[cfg(loom)]
#[allow(missing_docs)]
pub mod at {
    pub const LEASE: usize = 0;
    pub const THREAD: usize = 1;
    pub const THREAD_NAME: usize = 2;
    pub const HEAD: usize = 10;
    pub const SLOTS: usize = 11;
    pub const ALIVE: usize = 15;
    pub const ANCHORS: usize = 16;
    pub const ANCHOR_GENERATION: usize = 22;
    pub const TAIL: usize = 23;
    pub const LOST: usize = 24;
    pub const WRAP: usize = 25;
    pub const LOG_PATH: usize = 26;
    pub const COMMITTED: usize = 27;
    pub const LOSSES: usize = 28;
    pub const WORDS: usize = 29;
    pub const NAMES: usize = WORDS;

    pub const fn loss(_cause: u8, _kind: u8) -> usize {
        LOSSES
    }
}

/// How the memory of a ring is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Open-span slots.
    pub slots: u32,
    /// Bytes ahead of the data.
    pub data_at: usize,
    /// Bytes of data: a power of two, or 0.
    pub capacity: usize,
}

impl Shape {
    /// A ring.
    pub const fn ring(capacity: usize, slots: u32) -> Self {
        let ahead = HEADER_BYTES + slots as usize * SPAN_WORDS * 8;
        Self {
            slots,
            data_at: ahead.next_multiple_of(4096),
            capacity,
        }
    }

    /// Memory without a data area.
    pub const fn plain(bytes: usize) -> Self {
        Self {
            slots: 0,
            data_at: bytes.next_multiple_of(4096),
            capacity: 0,
        }
    }

    /// Whether memory can be divided so.
    pub const fn is_sound(self) -> bool {
        let ahead = HEADER_BYTES + self.slots as usize * SPAN_WORDS * 8;
        self.data_at >= ahead
            && self.data_at % 8 == 0
            && (self.capacity == 0 || self.capacity.is_power_of_two() && self.capacity >= 8)
            && self.bytes() < isize::MAX as usize / 4
    }

    /// Bytes of the file.
    pub const fn bytes(self) -> usize {
        self.data_at + self.capacity
    }
}

/// The part of a ring's header that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of the ring.
    pub ring: u32,
    /// The log it belongs to.
    pub log: LogId,
    /// The instance it belongs to.
    pub instance: InstanceId,
    /// Division of the file.
    pub shape: Shape,
    /// Process id, for display.
    pub pid: u32,
}

impl Identity {
    /// Bytes that it takes.
    pub const BYTES: usize = 80;

    /// The bytes to write at the start of the file.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..16].copy_from_slice(&start(RING_MAGIC, self.ring));
        out[16..32].copy_from_slice(&self.log.0);
        out[32..48].copy_from_slice(&self.instance.0);
        out[48..56].copy_from_slice(&(self.shape.capacity as u64).to_le_bytes());
        out[56..64].copy_from_slice(&(self.shape.data_at as u64).to_le_bytes());
        out[64..68].copy_from_slice(&self.shape.slots.to_le_bytes());
        out[68..72].copy_from_slice(&self.pid.to_le_bytes());
        let crc = crc32c::crc32c(&out[..72]);
        out[72..76].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Takes the start of a file apart; `None` if it is no ring of a format that this build reads,
    /// or if its division is impossible.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..Self::BYTES)?;
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or([0; 4]));
        let size_at = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().unwrap_or([0; 8]);
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let id_at = |at: usize| bytes[at..at + 16].try_into().unwrap_or([0; 16]);
        let major = u32_at(8) & 0xffff;
        if &bytes[..8] != RING_MAGIC || major > u32::from(MAJOR) || major == 0 {
            return None;
        }
        if u32_at(72) != crc32c::crc32c(&bytes[..72]) {
            return None;
        }
        let shape = Shape {
            slots: u32_at(64),
            data_at: size_at(56)?,
            capacity: size_at(48)?,
        };
        let ahead = HEADER_BYTES + usize::try_from(shape.slots).ok()?.checked_mul(64)?;
        let sound = shape.capacity.is_power_of_two()
            && (4096..=MAX_CAPACITY).contains(&shape.capacity)
            && shape.data_at % 8 == 0
            && shape.data_at >= ahead
            && shape.data_at.checked_add(shape.capacity).is_some();
        sound.then(|| Self {
            ring: u32_at(12),
            log: LogId(id_at(16)),
            instance: InstanceId(id_at(32)),
            shape,
            pid: u32_at(68),
        })
    }
}

/// Magic, format and one number: how both files begin.
pub fn start(magic: &[u8; 8], number: u32) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(magic);
    out[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    out[10..12].copy_from_slice(&MINOR.to_le_bytes());
    out[12..].copy_from_slice(&number.to_le_bytes());
    out
}
