//! The fixed parts of all records, as archived bytes.
//!
//! Each struct is its own rkyv archive: explicit little-endian fields, no padding, no relative
//! pointers, so its bytes depend on no feature that another crate may switch on in rkyv.
//! The tables are in `docs/format.md`, section 6.

use rend::{i64_le, u16_le, u32_le, u64_le};
use rkyv::{bytecheck::CheckBytes, Portable};

/// Name field: no name.
pub const NAME_NONE: u32 = 0;
/// Name field: the text is the first attribute, under [`KEY_NAME`].
pub const NAME_INLINE: u32 = u32::MAX;
/// Attribute key under which a spelled-out record name stands.
pub const KEY_NAME: u32 = 0;
/// Attribute key under which a spelled-out event type stands.
pub const KEY_TYPE: u32 = 1;
/// Attribute key under which a spelled-out unit stands.
pub const KEY_UNIT: u32 = 2;
/// Ring number of the flusher's own sequence.
pub const RING_FLUSHER: u32 = u32::MAX;
/// Ring number of what recovery writes in the name of a dead instance. Each recovery counts from
/// its own writer epoch times 2^32, so that no identity is ever given twice.
pub const RING_RECOVERY: u32 = u32::MAX - 1;

/// First number of the rings that hold traces which are not sampled, until it is known how they went.
pub const RING_HELD: u32 = 1 << 31;

/// Whether a ring holds such traces: what it has is in the log only if it was copied there.
pub const fn is_held(ring: u32) -> bool {
    ring >= RING_HELD && !is_own(ring)
}

/// Whether a ring number is one of the engine's own sequences, which no thread writes.
pub const fn is_own(ring: u32) -> bool {
    ring >= RING_RECOVERY
}

/// Flag bits that all records share.
pub mod flag {
    /// The parent span lives in another process.
    pub const REMOTE_PARENT: u16 = 1 << 0;
    /// Something was truncated or left out to fit.
    pub const TRUNCATED: u16 = 1 << 1;
    /// Written by recovery for a process that died.
    pub const RECOVERED: u16 = 1 << 2;
    /// Details of an error stand among the attributes.
    pub const ERROR: u16 = 1 << 3;
    /// The trace id was derived from a foreign string.
    pub const FOREIGN_ID: u16 = 1 << 4;
    /// A future was suspended while the span was open.
    pub const SUSPENDED: u16 = 1 << 5;
    /// Sampled out; kept for a short time only.
    pub const PROVISIONAL: u16 = 1 << 6;
}

/// Kind of a record, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[repr(u8)]
pub enum RecordKind {
    /// A trace began.
    TraceStart = 1,
    /// A trace ended.
    TraceEnd = 2,
    /// A span, written when it ended.
    Span = 3,
    /// A span began; written only where the open-span table cannot show it.
    SpanStart = 4,
    /// A point in time.
    Event = 5,
    /// A measurement.
    Metric = 6,
    /// A span refers to another one.
    Link = 7,
    /// An id stands for this text.
    Name = 8,
    /// Who recorded.
    Resource = 9,
    /// What a tick means.
    Anchor = 10,
    /// What was lost.
    Loss = 11,
    /// Which thread had a ring.
    Lease = 12,
    /// A part of the log that is gone.
    Gap = 13,
}

impl RecordKind {
    /// Number of slots that a table indexed by kind needs.
    pub const SLOTS: usize = 16;

    /// The kind with this stored number.
    pub const fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::TraceStart,
            2 => Self::TraceEnd,
            3 => Self::Span,
            4 => Self::SpanStart,
            5 => Self::Event,
            6 => Self::Metric,
            7 => Self::Link,
            8 => Self::Name,
            9 => Self::Resource,
            10 => Self::Anchor,
            11 => Self::Loss,
            12 => Self::Lease,
            13 => Self::Gap,
            _ => return None,
        })
    }

    /// Name for people, as in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TraceStart => "trace_start",
            Self::TraceEnd => "trace_end",
            Self::Span => "span",
            Self::SpanStart => "span_start",
            Self::Event => "event",
            Self::Metric => "metric",
            Self::Link => "link",
            Self::Name => "name",
            Self::Resource => "resource",
            Self::Anchor => "anchor",
            Self::Loss => "loss",
            Self::Lease => "lease",
            Self::Gap => "gap",
        }
    }
}

/// Newest version of every record kind that this build writes and reads.
pub const RECORD_VERSION: u8 = 1;

/// The eight bytes that begin every record.
#[derive(Clone, Copy, Debug, Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct Header {
    /// Size of the whole record in units of eight bytes.
    pub size8: u16_le,
    /// A [`RecordKind`].
    pub kind: u8,
    /// Version of that kind.
    pub version: u8,
    /// Interned id; what it names depends on the kind.
    pub name: u32_le,
}

impl Header {
    /// Header of a record of `words` eight-byte words.
    #[inline]
    pub fn new(kind: RecordKind, words: usize, name: u32) -> Self {
        debug_assert!(words <= usize::from(u16::MAX));
        Self {
            size8: u16_le::from_native(words as u16),
            kind: kind as u8,
            version: RECORD_VERSION,
            name: u32_le::from_native(name),
        }
    }
}

/// 128 bits of a trace id, most significant byte first.
pub type TraceIdBytes = [u8; 16];

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Portable, CheckBytes)]
        #[bytecheck(crate = rkyv::bytecheck)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        impl $name {
            /// Words of eight bytes of the fixed part.
            pub const WORDS: usize = $size / 8;
        }

        const _: () = assert!(std::mem::size_of::<$name>() == $size && std::mem::align_of::<$name>() <= 8);
    )*};
}

records! {
    /// A trace began.
    TraceStart 64 {
        /// Common header.
        header: Header,
        /// The trace.
        trace_id: TraceIdBytes,
        /// When.
        tick: u64_le,
        /// Span of the caller in another process, 0 if none.
        remote_parent: u64_le,
        /// OpenTelemetry rejection threshold, 56 bits.
        threshold: u64_le,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u32_le,
        /// Zero.
        reserved: [u8; 8],
    }

    /// A trace ended.
    TraceEnd 56 {
        /// Common header.
        header: Header,
        /// The trace.
        trace_id: TraceIdBytes,
        /// When it ended.
        end: u64_le,
        /// How long it took.
        ticks: u64_le,
        /// A [`Status`](crate::Status).
        status: u8,
        /// Zero.
        reserved: u8,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
        /// Zero.
        reserved2: [u8; 8],
    }

    /// A span that ended.
    Span 64 {
        /// Common header.
        header: Header,
        /// The trace.
        trace_id: TraceIdBytes,
        /// The span, never 0.
        span_id: u64_le,
        /// Its parent, 0 if none.
        parent: u64_le,
        /// When it ended.
        end: u64_le,
        /// How long it took.
        ticks: u64_le,
        /// A [`SpanKind`](crate::SpanKind).
        kind: u8,
        /// A [`Status`](crate::Status).
        status: u8,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
    }

    /// A span that began.
    SpanStart 56 {
        /// Common header.
        header: Header,
        /// The trace.
        trace_id: TraceIdBytes,
        /// The span, never 0.
        span_id: u64_le,
        /// Its parent, 0 if none.
        parent: u64_le,
        /// When it began.
        tick: u64_le,
        /// A [`SpanKind`](crate::SpanKind).
        kind: u8,
        /// Zero.
        reserved: u8,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
    }

    /// A point in time.
    Event 56 {
        /// Common header.
        header: Header,
        /// The trace, zeros if none.
        trace_id: TraceIdBytes,
        /// The span, 0 if none.
        span_id: u64_le,
        /// When.
        tick: u64_le,
        /// Interned id of the type.
        event_type: u32_le,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
        /// Zero.
        reserved: [u8; 6],
    }

    /// A measurement.
    Metric 64 {
        /// Common header.
        header: Header,
        /// The trace, zeros if none.
        trace_id: TraceIdBytes,
        /// The span, 0 if none.
        span_id: u64_le,
        /// When.
        tick: u64_le,
        /// The bits of the value.
        value: u64_le,
        /// Interned id of the unit.
        unit: u32_le,
        /// An [`Aggregation`](crate::Aggregation).
        aggregation: u8,
        /// 0 f64, 1 i64, 2 u64.
        value_type: u8,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
        /// Zero.
        reserved: [u8; 4],
    }

    /// A span refers to another one.
    Link 72 {
        /// Common header.
        header: Header,
        /// The trace of the span that refers.
        trace_id: TraceIdBytes,
        /// The span that refers.
        span_id: u64_le,
        /// The trace it refers to.
        linked_trace_id: TraceIdBytes,
        /// The span it refers to.
        linked_span_id: u64_le,
        /// When.
        tick: u64_le,
        /// See [`flag`].
        flags: u16_le,
        /// Attributes that follow.
        attributes: u16_le,
        /// Attributes that were left out.
        dropped: u16_le,
        /// Zero.
        reserved: [u8; 2],
    }

    /// The id in the header stands for the text that follows.
    Name 16 {
        /// Common header; its name field is the id.
        header: Header,
        /// Bytes of text.
        len: u32_le,
        /// Zero.
        reserved: [u8; 4],
    }

    /// Who recorded, and what readers may derive.
    Resource 32 {
        /// Common header.
        header: Header,
        /// Bit 0 events, bit 1 metrics.
        derive: u32_le,
        /// Resource attributes that follow.
        attributes: u16_le,
        /// Custom attributes that follow those.
        custom: u16_le,
        /// Process id, for display.
        pid: u32_le,
        /// Newest events that a span keeps.
        max_events_per_span: u32_le,
        /// Sampling threshold in force, 56 bits.
        threshold: u64_le,
    }

    /// What a tick means.
    Anchor 40 {
        /// Common header.
        header: Header,
        /// The tick.
        tick: u64_le,
        /// The same moment in Unix nanoseconds.
        unix_ns: i64_le,
        /// Nanoseconds per tick times 2^32.
        rate: u64_le,
        /// 0 regular, 1 first, 2 the wall clock was stepped.
        reason: u8,
        /// Zero.
        reserved: [u8; 7],
    }

    /// Total of what one ring lost for one cause.
    Loss 40 {
        /// Common header; its name field is the ring.
        header: Header,
        /// Records lost so far.
        total: u64_le,
        /// When this was written.
        tick: u64_le,
        /// A [`LossCause`](crate::LossCause).
        cause: u8,
        /// A [`RecordKind`], 0 if unknown.
        kind: u8,
        /// Zero.
        reserved: [u8; 2],
        /// The lease of the ring at that time.
        lease: u32_le,
        /// Zero.
        reserved2: [u8; 8],
    }

    /// Which thread has a ring; its name follows.
    Lease 32 {
        /// Common header; its name field is the ring.
        header: Header,
        /// The lease.
        lease: u32_le,
        /// Bytes of the thread's name.
        len: u16_le,
        /// Zero.
        reserved: [u8; 2],
        /// Thread id of the operating system.
        thread: u64_le,
        /// When it began.
        tick: u64_le,
    }

    /// A part of the log that is gone; (epoch, first) identify it, so that repeating is harmless.
    Gap 72 {
        /// Common header.
        header: Header,
        /// Whose records were there.
        instance: [u8; 16],
        /// Writer epoch of the segment.
        epoch: u64_le,
        /// Log offset of its first byte.
        first: u64_le,
        /// Log offset after its last byte.
        end: u64_le,
        /// Records missing, `u64::MAX` if that is not known.
        records: u64_le,
        /// The ring that they are missing from, `u32::MAX` for several or none.
        ring: u32_le,
        /// A [`GapCause`](super::kinds::GapCause).
        cause: u8,
        /// Zero.
        reserved: [u8; 3],
        /// When this was written.
        tick: u64_le,
    }
}
