//! Identifiers: of traces, spans, instances and records.

use std::{fmt, str::FromStr};

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: expected {expected}")]
pub struct IdError {
    text: String,
    what: &'static str,
    expected: &'static str,
}

fn id_error(text: &str, what: &'static str, expected: &'static str) -> IdError {
    let text = text.chars().take(64).collect();
    IdError {
        text,
        what,
        expected,
    }
}

/// 128 bits that name a trace, printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// No trace.
    pub const NONE: Self = Self([0; 16]);

    /// The id with these bits.
    pub const fn from_u128(id: u128) -> Self {
        Self(id.to_be_bytes())
    }

    /// The id as a number.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Whether it is all zeros, which names no trace.
    pub const fn is_none(self) -> bool {
        self.as_u128() == 0
    }

    /// The id that any text stands for: 32 hex digits or a dashed UUID are taken literally, every
    /// other text maps to a hash: 128-bit FNV-1a (offset basis and prime of the FNV reference), then
    /// its halves mixed by SplitMix64's finaliser `f`: low ← f(low ^ f(high)), high ← f(high ^ low).
    /// Sampling looks at the last 56 bits, and the first of those are nearly the same in the plain
    /// hashes of texts that differ at their end. The second value says that the text was foreign.
    pub fn from_text(text: &str) -> (Self, bool) {
        if let Ok(id) = text.parse::<Self>() {
            return (id, false);
        }
        let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
        for byte in text.bytes() {
            hash =
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        let (high, low) = ((hash >> 64) as u64, hash as u64);
        let low = mixed(low ^ mixed(high));
        let high = mixed(high ^ low);
        let id = u128::from(high) << 64 | u128::from(low);
        (Self::from_u128(id.max(1)), true)
    }
}

/// SplitMix64's finaliser: every bit depends on every other.
pub(crate) const fn mixed(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FromStr for TraceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || id_error(text, "trace id", "32 hex digits or a dashed UUID");
        let dashed = text.len() == 36
            && text
                .char_indices()
                .all(|(i, c)| (c == '-') == matches!(i, 8 | 13 | 18 | 23));
        let digits: String = if dashed {
            text.replace('-', "")
        } else {
            text.to_owned()
        };
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        match u128::from_str_radix(&digits, 16) {
            Ok(id) if id != 0 => Ok(Self::from_u128(id)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 64 bits that name a span inside its trace, never 0, printed as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(std::num::NonZeroU64);

impl SpanId {
    /// The id with these bits; `None` for 0.
    pub const fn new(id: u64) -> Option<Self> {
        match std::num::NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The id as a number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The 128-bit form that SQL columns of type UUID hold: the low half of the trace id, then
    /// this id.
    pub const fn wide(self, trace: TraceId) -> u128 {
        (trace.as_u128() << 64) | self.get() as u128
    }
}

impl FromStr for SpanId {
    type Err = IdError;

    /// Accepts 16 hex digits, or the 128-bit form as 32 hex digits or a dashed UUID.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || id_error(text, "span id", "16 hex digits, or the 32 of its long form");
        if text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return u64::from_str_radix(text, 16)
                .ok()
                .and_then(Self::new)
                .ok_or_else(error);
        }
        let wide: TraceId = text.parse().map_err(|_| error())?;
        Self::new(wide.as_u128() as u64).ok_or_else(error)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.get())
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Id of the root span that stands for the part of a trace that one instance recorded: the 64-bit
/// FNV-1a hash of both ids, so that it is the same in every process and after every restart.
pub fn root_span_id(trace: TraceId, instance: InstanceId) -> SpanId {
    let bytes = trace.0.iter().chain(&instance.0);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    match SpanId::new(hash) {
        Some(id) => id,
        None => SpanId::new(1).unwrap_or_else(|| unreachable!("1 is not 0")),
    }
}

macro_rules! random_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// A fresh random id.
            pub(crate) fn random() -> Self {
                Self(random_u128().to_be_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", u128::from_be_bytes(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || id_error(text, stringify!($name), "32 hex digits");
                if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(error());
                }
                u128::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| error())
            }
        }
    )*};
}

random_ids! {
    /// Names a log for ever, so that a wiped or copied directory is noticed.
    LogId
    /// Names one open of a log for writing by one process.
    InstanceId
}

/// 128 bits from the operating system.
pub(crate) fn random_u128() -> u128 {
    let mut bytes = [0; 16];
    if fill(&mut bytes) {
        return u128::from_le_bytes(bytes);
    }
    // No entropy source (early boot, odd sandboxes): the clock and an address differ between
    // processes and calls, which is what ids need; they are no secret.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos());
    let here = (&raw const bytes).addr() as u128;
    now.wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15) ^ (here << 64)
}

#[cfg(not(target_family = "wasm"))]
fn fill(bytes: &mut [u8]) -> bool {
    getrandom::fill(bytes).is_ok()
}

/// WebAssembly has no randomness of its own, and records nothing.
#[cfg(target_family = "wasm")]
fn fill(_: &mut [u8]) -> bool {
    false
}

/// What no two records share: the instance that wrote it, its ring, its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// Who wrote it.
    pub instance: InstanceId,
    /// Ring; `u32::MAX` is the flusher's own sequence.
    pub ring: u32,
    /// Number inside the ring, from 0.
    pub sequence: u64,
}

impl RecordId {
    /// The id as 128 bits: the instance with ring and sequence folded in. Inside an instance this
    /// is exact (one to one); `part` tells rows derived from one record apart, 0 is the record.
    pub fn as_u128(self, part: u8) -> u128 {
        let place =
            u128::from(part) << 120 | u128::from(self.ring) << 64 | u128::from(self.sequence);
        u128::from_be_bytes(self.instance.0) ^ place
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{InstanceId, LogId, SpanId, TraceId};

    macro_rules! as_text {
        ($($ty:ty)*) => {$(
            impl serde::Serialize for $ty {
                fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                    s.collect_str(self)
                }
            }
        )*};
    }
    as_text! { TraceId SpanId LogId InstanceId }
}
