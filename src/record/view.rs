//! Bytes as records and records as bytes.
//!
//! Always true:
//! - a record is handed out only after its header, size, version and rkyv structure were checked
//! - nothing here reads outside the slice it was given, whatever the bytes are

#![expect(
    unsafe_code,
    reason = "writing a fixed struct as the words it consists of"
)]

use rkyv::{
    bytecheck::CheckBytes,
    rancor::{Failure, Strategy},
    validation::{archive::ArchiveValidator, Validator},
    Portable,
};

use super::{
    attributes::Attributes,
    layout::{
        self, flag, Header, RecordKind, KEY_NAME, KEY_TYPE, KEY_UNIT, NAME_INLINE, RECORD_VERSION,
    },
};

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end inside the record.
    #[error("record at byte {at} claims {size} bytes, only {available} are there")]
    Truncated {
        /// Offset in the slice.
        at: usize,
        /// Size that the header gives.
        size: usize,
        /// Bytes left.
        available: usize,
    },
    /// The size is smaller than the fixed part, or the position is not a multiple of eight.
    #[error("record at byte {at} has the impossible size {size}")]
    Size {
        /// Offset in the slice.
        at: usize,
        /// Size that the header gives.
        size: usize,
    },
    /// No such kind.
    #[error("record at byte {at} has the unknown kind {kind}")]
    Kind {
        /// Offset in the slice.
        at: usize,
        /// The stored number.
        kind: u8,
    },
    /// Written by a newer build.
    #[error("record at byte {at} has version {version} of kind {kind:?}, this build reads up to {newest}")]
    Version {
        /// Offset in the slice.
        at: usize,
        /// Its kind.
        kind: RecordKind,
        /// Its version.
        version: u8,
        /// Newest version that this build reads.
        newest: u8,
    },
    /// The attributes do not parse.
    #[error("record at byte {at} has damaged attributes")]
    Attributes {
        /// Offset in the slice.
        at: usize,
    },
}

/// A checked record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The fixed part.
    pub body: Body<'a>,
    /// Its attributes, without the pseudo-attributes that spell out names.
    pub attributes: Attributes<'a>,
    /// For a resource: its custom attributes.
    pub custom: Attributes<'a>,
    /// Trailing text of a name definition or a lease.
    pub text: &'a str,
    /// The name, where it is spelled out in the record.
    pub inline_name: Option<&'a str>,
    /// The event type or unit, where it is spelled out in the record.
    pub inline_second: Option<&'a str>,
    /// Size of the whole record in bytes.
    pub size: usize,
}

/// The fixed part of a record.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Body<'a> {
    TraceStart(&'a layout::TraceStart),
    TraceEnd(&'a layout::TraceEnd),
    Span(&'a layout::Span),
    SpanStart(&'a layout::SpanStart),
    Event(&'a layout::Event),
    Metric(&'a layout::Metric),
    Link(&'a layout::Link),
    Name(&'a layout::Name),
    Resource(&'a layout::Resource),
    Anchor(&'a layout::Anchor),
    Loss(&'a layout::Loss),
    Lease(&'a layout::Lease),
    Gap(&'a layout::Gap),
}

impl Body<'_> {
    /// The common header.
    pub fn header(&self) -> &Header {
        match self {
            Self::TraceStart(r) => &r.header,
            Self::TraceEnd(r) => &r.header,
            Self::Span(r) => &r.header,
            Self::SpanStart(r) => &r.header,
            Self::Event(r) => &r.header,
            Self::Metric(r) => &r.header,
            Self::Link(r) => &r.header,
            Self::Name(r) => &r.header,
            Self::Resource(r) => &r.header,
            Self::Anchor(r) => &r.header,
            Self::Loss(r) => &r.header,
            Self::Lease(r) => &r.header,
            Self::Gap(r) => &r.header,
        }
    }
}

impl<'a> Record<'a> {
    /// Checks and returns the record that begins at byte `at`, which must be a multiple of eight
    /// from an eight-aligned start.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes, see [`RecordError`].
    pub fn read(bytes: &'a [u8], at: usize) -> Result<Self, RecordError> {
        let head = peek(bytes, at)?;
        let record = &bytes[at..at + head.size];
        let bad = RecordError::Size {
            at,
            size: head.size,
        };
        macro_rules! fixed {
            ($ty:ident) => {{
                let len = layout::$ty::WORDS * 8;
                let body: &layout::$ty = access(record).ok_or(bad)?;
                (body, &record[len..])
            }};
        }
        let mut custom = Attributes::EMPTY;
        let mut text = "";
        let (body, attributes, rest) = match head.kind {
            RecordKind::TraceStart => {
                let (r, rest) = fixed!(TraceStart);
                (Body::TraceStart(r), r.attributes.to_native(), rest)
            }
            RecordKind::TraceEnd => {
                let (r, rest) = fixed!(TraceEnd);
                (Body::TraceEnd(r), r.attributes.to_native(), rest)
            }
            RecordKind::Span => {
                let (r, rest) = fixed!(Span);
                (Body::Span(r), r.attributes.to_native(), rest)
            }
            RecordKind::SpanStart => {
                let (r, rest) = fixed!(SpanStart);
                (Body::SpanStart(r), r.attributes.to_native(), rest)
            }
            RecordKind::Event => {
                let (r, rest) = fixed!(Event);
                (Body::Event(r), r.attributes.to_native(), rest)
            }
            RecordKind::Metric => {
                let (r, rest) = fixed!(Metric);
                (Body::Metric(r), r.attributes.to_native(), rest)
            }
            RecordKind::Link => {
                let (r, rest) = fixed!(Link);
                (Body::Link(r), r.attributes.to_native(), rest)
            }
            RecordKind::Name => {
                let (r, rest) = fixed!(Name);
                let len = r.len.to_native() as usize;
                text = rest
                    .get(..len)
                    .and_then(|t| std::str::from_utf8(t).ok())
                    .ok_or(RecordError::Attributes { at })?;
                (Body::Name(r), 0, &rest[..0])
            }
            RecordKind::Resource => {
                let (r, rest) = fixed!(Resource);
                let count = r.attributes.to_native();
                let (resource, used) =
                    Attributes::read(rest, count).ok_or(RecordError::Attributes { at })?;
                let (own, _) = Attributes::read(&rest[used..], r.custom.to_native())
                    .ok_or(RecordError::Attributes { at })?;
                custom = own;
                let _ = resource;
                (Body::Resource(r), count, rest)
            }
            RecordKind::Anchor => {
                let (r, rest) = fixed!(Anchor);
                (Body::Anchor(r), 0, rest)
            }
            RecordKind::Loss => {
                let (r, rest) = fixed!(Loss);
                (Body::Loss(r), 0, rest)
            }
            RecordKind::Gap => {
                let (r, rest) = fixed!(Gap);
                (Body::Gap(r), 0, rest)
            }
            RecordKind::Lease => {
                let (r, rest) = fixed!(Lease);
                text = rest
                    .get(..usize::from(r.len.to_native()))
                    .and_then(|t| std::str::from_utf8(t).ok())
                    .ok_or(RecordError::Attributes { at })?;
                (Body::Lease(r), 0, &rest[..0])
            }
        };
        let (mut attributes, _) =
            Attributes::read(rest, attributes).ok_or(RecordError::Attributes { at })?;
        let second = match &body {
            Body::Event(e) if e.event_type == NAME_INLINE => Some(KEY_TYPE),
            Body::Metric(m) if m.unit == NAME_INLINE => Some(KEY_UNIT),
            _ => None,
        };
        let mut inline_name = None;
        if body.header().name == NAME_INLINE && has_name(head.kind) {
            inline_name = Some(
                attributes
                    .take_text(KEY_NAME)
                    .ok_or(RecordError::Attributes { at })?,
            );
        }
        let mut inline_second = None;
        if let Some(key) = second {
            inline_second = Some(
                attributes
                    .take_text(key)
                    .ok_or(RecordError::Attributes { at })?,
            );
        }
        Ok(Self {
            body,
            attributes,
            custom,
            text,
            inline_name,
            inline_second,
            size: head.size,
        })
    }

    /// The kind.
    pub fn kind(&self) -> RecordKind {
        match self.body {
            Body::TraceStart(_) => RecordKind::TraceStart,
            Body::TraceEnd(_) => RecordKind::TraceEnd,
            Body::Span(_) => RecordKind::Span,
            Body::SpanStart(_) => RecordKind::SpanStart,
            Body::Event(_) => RecordKind::Event,
            Body::Metric(_) => RecordKind::Metric,
            Body::Link(_) => RecordKind::Link,
            Body::Name(_) => RecordKind::Name,
            Body::Resource(_) => RecordKind::Resource,
            Body::Anchor(_) => RecordKind::Anchor,
            Body::Loss(_) => RecordKind::Loss,
            Body::Lease(_) => RecordKind::Lease,
            Body::Gap(_) => RecordKind::Gap,
        }
    }

    /// The flag bits, 0 for kinds that have none.
    pub fn flags(&self) -> u16 {
        match self.body {
            Body::TraceStart(r) => r.flags.to_native(),
            Body::TraceEnd(r) => r.flags.to_native(),
            Body::Span(r) => r.flags.to_native(),
            Body::SpanStart(r) => r.flags.to_native(),
            Body::Event(r) => r.flags.to_native(),
            Body::Metric(r) => r.flags.to_native(),
            Body::Link(r) => r.flags.to_native(),
            _ => 0,
        }
    }

    /// Whether something was truncated or left out.
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TRUNCATED != 0
    }
}

/// The fixed part of the record at byte `at`, for filters that need no attributes: they are not
/// looked at, so this says nothing about them.
///
/// # Errors
/// [`RecordError`] if no record can begin here.
#[inline]
pub(crate) fn fixed(bytes: &[u8], at: usize, head: Peek) -> Result<Body<'_>, RecordError> {
    let record = bytes.get(at..at + head.size).unwrap_or_default();
    macro_rules! body {
        ($($kind:ident)*) => {
            match head.kind {
                $(RecordKind::$kind => access(record).map(Body::$kind),)*
            }
        };
    }
    body!(TraceStart TraceEnd Span SpanStart Event Metric Link Name Resource Anchor Loss Lease Gap)
        .ok_or(RecordError::Size {
            at,
            size: head.size,
        })
}

const fn has_name(kind: RecordKind) -> bool {
    matches!(
        kind,
        RecordKind::TraceStart
            | RecordKind::TraceEnd
            | RecordKind::Span
            | RecordKind::SpanStart
            | RecordKind::Event
            | RecordKind::Metric
    )
}

/// What the first eight bytes of a record say.
#[derive(Clone, Copy, Debug)]
pub struct Peek {
    /// Its kind.
    pub kind: RecordKind,
    /// Its size in bytes, checked to lie inside the slice.
    pub size: usize,
}

/// Reads the header of the record at byte `at` without looking at the rest.
///
/// # Errors
/// [`RecordError`] if no record can begin here.
#[inline]
pub fn peek(bytes: &[u8], at: usize) -> Result<Peek, RecordError> {
    let available = bytes.len().saturating_sub(at);
    let Some(Ok(head)) = bytes
        .get(at..)
        .and_then(|b| b.get(..8))
        .map(<[u8; 8]>::try_from)
    else {
        return Err(RecordError::Truncated {
            at,
            size: 8,
            available,
        });
    };
    let size = usize::from(u16::from_le_bytes([head[0], head[1]])) * 8;
    let kind = RecordKind::from_u8(head[2]).ok_or(RecordError::Kind { at, kind: head[2] })?;
    if head[3] > RECORD_VERSION {
        return Err(RecordError::Version {
            at,
            kind,
            version: head[3],
            newest: RECORD_VERSION,
        });
    }
    if size < 8 {
        return Err(RecordError::Size { at, size });
    }
    if size > available {
        return Err(RecordError::Truncated {
            at,
            size,
            available,
        });
    }
    Ok(Peek { kind, size })
}

/// The fixed struct at the start of `bytes`, after rkyv's own check of alignment and structure.
fn access<T>(bytes: &[u8]) -> Option<&T>
where
    T: Portable + for<'b> CheckBytes<Strategy<Validator<ArchiveValidator<'b>, ()>, Failure>>,
{
    let bytes = bytes.get(..size_of::<T>())?;
    let mut context = Validator::new(ArchiveValidator::new(bytes), ());
    rkyv::api::access_pos_with_context::<T, _, Failure>(bytes, 0, &mut context).ok()
}

/// The words that make up a fixed part.
///
/// # Panics
/// At compile time, if `T` is no multiple of eight bytes.
#[inline(always)]
pub(crate) fn words_of<T: Portable + Copy, const N: usize>(record: &T) -> [u64; N] {
    const { assert!(size_of::<T>() == N * 8) };
    // SAFETY: `T` is `Portable`: all of its bytes are initialised (the layouts have no padding,
    // asserted there field by field through their size), `[u64; N]` has the same size, and any
    // bytes are a valid `[u64; N]`.
    unsafe { std::mem::transmute_copy::<T, [u64; N]>(record) }
}

/// Words as the bytes they consist of in memory.
#[inline(always)]
pub(crate) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: the slice covers `8 * len` initialised bytes, bytes have no alignment demand, and
    // the result borrows `words`.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
}

/// Words as bytes, to be written.
#[inline(always)]
pub(crate) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`; any byte pattern is a valid `u64`, and the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
}

/// Copies any number of bytes into an eight-aligned buffer, padding with zeros.
pub fn aligned(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0; bytes.len().div_ceil(8)];
    bytes_of_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    words
}
