//! Attribute lists: how they lie in a record and how they are read, without copying.
//!
//! Layout in `docs/format.md`, section 6, "Attributes". `buffer` collects a list, `writer` encodes
//! its values.

mod buffer;
mod writer;

pub use buffer::{AttributeBuffer, MAX_ATTRIBUTES};
pub use writer::{AttributeValue, ValueWriter, MAX_TEXT};

use super::value::Value;

/// Key that says: the text stands at the start of the value.
pub const KEY_INLINE: u32 = u32::MAX;
/// Deepest nesting of arrays and maps.
pub const MAX_DEPTH: usize = 32;
/// Longest value in bytes: what the three length bytes hold.
pub const MAX_VALUE: usize = (1 << 24) - 1;

const TRUNCATED: u8 = 0x80;

/// Type byte of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Type {
    Null = 0,
    Bool = 1,
    I64 = 2,
    U64 = 3,
    F64 = 4,
    Str = 5,
    Bytes = 6,
    Array = 7,
    Map = 8,
}

impl Type {
    const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Null,
            1 => Self::Bool,
            2 => Self::I64,
            3 => Self::U64,
            4 => Self::F64,
            5 => Self::Str,
            6 => Self::Bytes,
            7 => Self::Array,
            8 => Self::Map,
            _ => return None,
        })
    }
}

/// A checked list of attributes inside a record.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// No attributes.
    pub const EMPTY: Self = Self { bytes: &[] };

    /// Checks `count` entries at the start of `bytes`; also returns the bytes that they take.
    pub(crate) fn read(bytes: &'a [u8], count: u16) -> Option<(Self, usize)> {
        let mut at = 0;
        for _ in 0..count {
            at += check_entry(bytes.get(at..)?, 0, false)?;
        }
        Some((
            Self {
                bytes: &bytes[..at],
            },
            at,
        ))
    }

    /// Takes the first entry away if it is text under `key`.
    pub(crate) fn take_text(&mut self, key: u32) -> Option<&'a str> {
        let mut entries = self.iter();
        let first = entries.next()?;
        let ValueRef::Str(text) = first.value else {
            return None;
        };
        if first.key != AttributeKey::Id(key) {
            return None;
        }
        self.bytes = entries.rest;
        Some(text)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All entries in the order in which they were set. A key may occur twice: the last one counts.
    pub fn iter(&self) -> AttributeIter<'a> {
        AttributeIter { rest: self.bytes }
    }

    /// Bytes of the list.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A key: an interned id or the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeKey<'a> {
    /// Id, to be looked up in the segment's names.
    Id(u32),
    /// Spelled out.
    Text(&'a str),
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// The key.
    pub key: AttributeKey<'a>,
    /// The value.
    pub value: ValueRef<'a>,
    /// Whether the value was cut to fit.
    pub truncated: bool,
}

/// A value as it lies in the record.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    Array(Attributes<'a>),
    Map(Attributes<'a>),
}

impl ValueRef<'_> {
    /// Replaces a value by an owned copy, in its memory if both are text.
    #[inline]
    pub(crate) fn store_in(&self, value: &mut Value) {
        match (self, value) {
            (Self::Str(text), Value::Str(old)) => {
                old.clear();
                old.push_str(text);
            }
            (_, value) => *value = self.to_value(),
        }
    }

    /// An owned copy. Keys inside maps are always spelled out, so no name table is needed.
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Bool(v) => Value::Bool(v),
            Self::I64(v) => Value::I64(v),
            Self::U64(v) => Value::U64(v),
            Self::F64(v) => Value::F64(v),
            Self::Str(v) => Value::Str(v.into()),
            Self::Bytes(v) => Value::Bytes(v.into()),
            Self::Array(list) => Value::Array(list.iter().map(|a| a.value.to_value()).collect()),
            Self::Map(list) => Value::Map(
                list.iter()
                    .map(|a| {
                        let key = match a.key {
                            AttributeKey::Text(text) => text.to_owned(),
                            AttributeKey::Id(id) => format!("#{id}"),
                        };
                        (key, a.value.to_value())
                    })
                    .collect(),
            ),
        }
    }
}

/// Iterates over [`Attributes`].
#[derive(Clone, Debug)]
pub struct AttributeIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AttributeIter<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let entry = Entry::parse(self.rest)?;
        self.rest = &self.rest[entry.size..];
        Some(Attribute {
            key: entry.key,
            value: entry.value()?,
            truncated: entry.truncated,
        })
    }
}

/// One entry taken apart, value not yet looked at.
struct Entry<'a> {
    key: AttributeKey<'a>,
    kind: Type,
    truncated: bool,
    value: &'a [u8],
    size: usize,
}

impl<'a> Entry<'a> {
    #[inline]
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let head: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
        let id = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let kind = Type::from_u8(head[4] & !TRUNCATED)?;
        let len = u32::from_le_bytes([head[5], head[6], head[7], 0]) as usize;
        let mut value = bytes.get(8..8 + len)?;
        let size = 8 + len.next_multiple_of(8);
        if size > bytes.len() {
            return None;
        }
        let mut key = AttributeKey::Id(id);
        if id == KEY_INLINE {
            let text_len = u32::from_le_bytes(value.get(..4)?.try_into().ok()?) as usize;
            let text = std::str::from_utf8(value.get(4..4usize.checked_add(text_len)?)?).ok()?;
            value = value.get((4 + text_len).next_multiple_of(8)..)?;
            key = AttributeKey::Text(text);
        }
        Some(Self {
            key,
            kind,
            truncated: head[4] & TRUNCATED != 0,
            value,
            size,
        })
    }

    #[inline]
    fn word(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.value.try_into().ok()?))
    }

    fn value(&self) -> Option<ValueRef<'a>> {
        Some(match self.kind {
            Type::Null => ValueRef::Null,
            Type::Bool => ValueRef::Bool(*self.value.first()? != 0),
            Type::I64 => ValueRef::I64(self.word()? as i64),
            Type::U64 => ValueRef::U64(self.word()?),
            Type::F64 => ValueRef::F64(f64::from_bits(self.word()?)),
            Type::Str => ValueRef::Str(std::str::from_utf8(self.value).ok()?),
            Type::Bytes => ValueRef::Bytes(self.value),
            Type::Array => ValueRef::Array(Attributes { bytes: self.value }),
            Type::Map => ValueRef::Map(Attributes { bytes: self.value }),
        })
    }
}

/// Checks one entry with everything inside it and returns its size.
fn check_entry(bytes: &[u8], depth: usize, must_spell: bool) -> Option<usize> {
    let entry = Entry::parse(bytes)?;
    if must_spell && !matches!(entry.key, AttributeKey::Text(_)) {
        return None;
    }
    match entry.kind {
        Type::Array | Type::Map => {
            if depth == MAX_DEPTH {
                return None;
            }
            let mut at = 0;
            while at < entry.value.len() {
                at += check_entry(&entry.value[at..], depth + 1, entry.kind == Type::Map)?;
            }
        }
        Type::Bool => (entry.value.len() == 1).then_some(())?,
        Type::Null => entry.value.is_empty().then_some(())?,
        _ => {
            entry.value()?;
        }
    }
    Some(entry.size)
}
