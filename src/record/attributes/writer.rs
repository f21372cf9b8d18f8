//! Values on their way into a list, straight to their final bytes.

use super::{buffer::AttributeBuffer, Type, KEY_INLINE, MAX_DEPTH, MAX_VALUE, TRUNCATED};
use crate::record::{names, value::Value, view::bytes_of_mut};

/// Longest text or byte value in bytes; longer ones are cut and marked.
pub const MAX_TEXT: usize = 512 << 10;

/// Writes the value of one attribute; made by [`AttributeBuffer::push`].
#[derive(Debug)]
pub struct ValueWriter<'a> {
    buffer: &'a mut AttributeBuffer,
    key: u32,
    text: Option<&'a str>,
    depth: usize,
}

impl<'a> ValueWriter<'a> {
    #[inline(always)]
    pub(super) fn top(buffer: &'a mut AttributeBuffer, key: u32, text: Option<&'a str>) -> Self {
        Self {
            buffer,
            key,
            text,
            depth: 0,
        }
    }

    fn inner<'b>(&'b mut self, key: u32, text: Option<&'b str>) -> ValueWriter<'b> {
        ValueWriter {
            buffer: self.buffer,
            key,
            text,
            depth: self.depth + 1,
        }
    }

    #[inline(always)]
    fn word(&mut self, value: Word) {
        if self.text.is_some() {
            let bytes = value.word.to_le_bytes();
            let len = value.len as usize;
            return self.bytes(value.kind, &bytes[..len], len);
        }
        if self.depth == 0 {
            self.buffer.count += 1;
        }
        self.buffer
            .words
            .extend_from_slice(&[value.head(self.key).to_le(), value.word.to_le()]);
    }

    fn open(&mut self, kind: Type) -> usize {
        if self.depth == 0 {
            self.buffer.count += 1;
        }
        let start = self.buffer.words.len();
        self.buffer
            .words
            .push((u64::from(self.key) | (kind as u64) << 32).to_le());
        if let Some(text) = self.text {
            let key = names::cut_name(text);
            self.buffer.truncated |= key.len() < text.len();
            let text = key;
            let at = self.buffer.words.len();
            self.buffer
                .words
                .resize(at + (4 + text.len()).div_ceil(8), 0);
            let bytes = bytes_of_mut(&mut self.buffer.words[at..]);
            bytes[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
            bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
        }
        start
    }

    /// Sets the length of the entry that `open` began; `pad` bytes at its end are padding.
    fn close(&mut self, start: usize, pad: usize, truncated: bool) {
        let len = (self.buffer.words.len() - start - 1) * 8 - pad;
        if len > MAX_VALUE {
            self.buffer.words.truncate(start);
            self.buffer.truncated = true;
            if self.depth == 0 {
                self.buffer.count -= 1;
                self.buffer.dropped = self.buffer.dropped.saturating_add(1);
            }
            return;
        }
        let mark = if truncated {
            u64::from(TRUNCATED) << 32
        } else {
            0
        };
        let head = u64::from_le(self.buffer.words[start]) | mark | (len as u64) << 40;
        self.buffer.words[start] = head.to_le();
        self.buffer.truncated |= truncated;
    }

    #[inline]
    pub(super) fn bytes(&mut self, kind: Type, bytes: &[u8], whole: usize) {
        let start = self.open(kind);
        let at = self.buffer.words.len();
        self.buffer.words.resize(at + bytes.len().div_ceil(8), 0);
        bytes_of_mut(&mut self.buffer.words[at..])[..bytes.len()].copy_from_slice(bytes);
        let pad = bytes.len().next_multiple_of(8) - bytes.len();
        self.close(start, pad, bytes.len() < whole);
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.bytes(Type::Null, &[], 0);
    }

    /// A truth value.
    #[inline(always)]
    pub fn bool(&mut self, value: bool) {
        self.word(Word::bool(value));
    }

    /// A signed number.
    #[inline(always)]
    pub fn i64(&mut self, value: i64) {
        self.word(Word::i64(value));
    }

    /// An unsigned number.
    #[inline(always)]
    pub fn u64(&mut self, value: u64) {
        self.word(Word::u64(value));
    }

    /// A floating-point number, NaN and infinities included.
    #[inline(always)]
    pub fn f64(&mut self, value: f64) {
        self.word(Word::f64(value));
    }

    /// Text; what exceeds [`MAX_TEXT`] is cut at a character and marked.
    #[inline]
    pub fn str(&mut self, value: &str) {
        let kept = names::cut(value, MAX_TEXT);
        self.bytes(Type::Str, kept.as_bytes(), value.len());
    }

    /// Bytes; what exceeds [`MAX_TEXT`] is cut and marked.
    #[inline]
    pub fn byte_string(&mut self, value: &[u8]) {
        self.bytes(
            Type::Bytes,
            &value[..value.len().min(MAX_TEXT)],
            value.len(),
        );
    }

    /// Any value.
    pub fn value(&mut self, value: &Value) {
        self.nested(value);
    }

    /// An array of anything that is a value; below [`MAX_DEPTH`] others, a null that is marked.
    pub fn array<T: AttributeValue>(&mut self, items: &[T]) {
        if self.depth == MAX_DEPTH {
            return self.bytes(Type::Null, &[], 1);
        }
        let start = self.open(Type::Array);
        for item in items {
            item.write(&mut self.inner(0, None));
        }
        self.close(start, 0, false);
    }

    fn nested(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(v) => self.bool(*v),
            Value::I64(v) => self.i64(*v),
            Value::U64(v) => self.u64(*v),
            Value::F64(v) => self.f64(*v),
            Value::Str(v) => self.str(v),
            Value::Bytes(v) => self.byte_string(v),
            Value::Array(_) | Value::Map(_) if self.depth == MAX_DEPTH => {
                self.bytes(Type::Null, &[], 1);
            }
            Value::Array(items) => {
                let start = self.open(Type::Array);
                for item in items {
                    self.inner(0, None).nested(item);
                }
                self.close(start, 0, false);
            }
            Value::Map(items) => {
                let start = self.open(Type::Map);
                for (key, item) in items {
                    self.inner(KEY_INLINE, Some(key)).nested(item);
                }
                self.close(start, 0, false);
            }
        }
    }
}

/// Something that can be the value of an attribute.
pub trait AttributeValue {
    /// Writes the value.
    fn write(&self, writer: &mut ValueWriter<'_>);

    /// The same value, where it takes one word.
    #[doc(hidden)]
    #[inline(always)]
    fn word(&self) -> Option<Word> {
        None
    }
}

/// A value that takes one word.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    kind: Type,
    /// Bytes of it that count.
    len: u8,
    pub(super) word: u64,
}

impl Word {
    const fn new(kind: Type, len: u8, word: u64) -> Self {
        Self { kind, len, word }
    }

    const fn bool(value: bool) -> Self {
        Self::new(Type::Bool, 1, value as u64)
    }

    const fn i64(value: i64) -> Self {
        Self::new(Type::I64, 8, value as u64)
    }

    const fn u64(value: u64) -> Self {
        Self::new(Type::U64, 8, value)
    }

    const fn f64(value: f64) -> Self {
        Self::new(Type::F64, 8, value.to_bits())
    }

    /// The first word of its entry.
    #[inline(always)]
    pub(super) const fn head(self, key: u32) -> u64 {
        key as u64 | (self.kind as u64) << 32 | (self.len as u64) << 40
    }
}

macro_rules! values {
    ($($ty:ty => $method:ident as $as:ty,)*) => {$(
        impl AttributeValue for $ty {
            #[inline(always)]
            fn write(&self, writer: &mut ValueWriter<'_>) {
                writer.$method(<$as>::from(*self));
            }

            #[inline(always)]
            fn word(&self) -> Option<Word> {
                Some(Word::$method(<$as>::from(*self)))
            }
        }
    )*};
}

values! {
    bool => bool as bool,
    i8 => i64 as i64, i16 => i64 as i64, i32 => i64 as i64, i64 => i64 as i64,
    u8 => i64 as i64, u16 => i64 as i64, u32 => i64 as i64, u64 => u64 as u64,
    f32 => f64 as f64, f64 => f64 as f64,
}

impl AttributeValue for usize {
    #[inline(always)]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.u64(*self as u64);
    }

    #[inline(always)]
    fn word(&self) -> Option<Word> {
        (*self as u64).word()
    }
}

impl AttributeValue for isize {
    #[inline(always)]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.i64(*self as i64);
    }

    #[inline(always)]
    fn word(&self) -> Option<Word> {
        (*self as i64).word()
    }
}

impl AttributeValue for str {
    #[inline]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.str(self);
    }
}

impl AttributeValue for String {
    #[inline]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.str(self);
    }
}

impl AttributeValue for [u8] {
    #[inline]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.byte_string(self);
    }
}

impl AttributeValue for Value {
    #[inline]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.value(self);
    }
}

impl<T: AttributeValue> AttributeValue for Vec<T> {
    fn write(&self, writer: &mut ValueWriter<'_>) {
        writer.array(self);
    }
}

impl<T: AttributeValue> AttributeValue for Option<T> {
    #[inline]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        match self {
            Some(value) => value.write(writer),
            None => writer.null(),
        }
    }
}

impl<T: AttributeValue + ?Sized> AttributeValue for &T {
    #[inline(always)]
    fn write(&self, writer: &mut ValueWriter<'_>) {
        (**self).write(writer);
    }

    #[inline(always)]
    fn word(&self) -> Option<Word> {
        (**self).word()
    }
}
