//! A list that grows while its span is open.

use super::{
    writer::{AttributeValue, ValueWriter, Word},
    AttributeKey, Attributes, Entry, Type, ValueRef, KEY_INLINE,
};
use crate::record::{
    names::{self, Name},
    redact::Redaction,
    view::bytes_of,
};

/// Attributes of an open span: built in reusable words, copied into the record at the end.
#[derive(Clone, Debug, Default)]
pub struct AttributeBuffer {
    pub(super) words: Vec<u64>,
    pub(super) count: u16,
    pub(super) dropped: u16,
    pub(super) truncated: bool,
    /// Entries at the start that are spelled-out names, and the words that they take.
    spelled: u16,
    spelled_words: usize,
}

/// Most attributes on one record, spelled-out names not counted; more are counted as dropped.
pub const MAX_ATTRIBUTES: u16 = 4096;

impl AttributeBuffer {
    /// Nothing, without memory of its own.
    pub const EMPTY: Self = Self {
        words: Vec::new(),
        count: 0,
        dropped: 0,
        truncated: false,
        spelled: 0,
        spelled_words: 0,
    };

    /// Room for `words` eight-byte words before the first growth.
    pub fn with_capacity(words: usize) -> Self {
        Self {
            words: Vec::with_capacity(words),
            ..Self::default()
        }
    }

    /// Forgets the content, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.words.clear();
        self.count = 0;
        self.dropped = 0;
        self.truncated = false;
        self.spelled = 0;
        self.spelled_words = 0;
    }

    /// The encoded list.
    #[inline]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether there is nothing to say of it, not even that something was left out.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.is_truncated()
    }

    /// Entries in it.
    #[inline]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Entries that were left out.
    #[inline]
    pub fn dropped(&self) -> u16 {
        self.dropped
    }

    /// Whether a value was cut or left out.
    #[inline]
    pub fn is_truncated(&self) -> bool {
        self.truncated || self.dropped > 0
    }

    /// Words of memory that it holds on to.
    pub fn capacity(&self) -> usize {
        self.words.capacity()
    }

    /// Appends one attribute.
    #[inline(always)]
    pub fn push<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        self.push_named(key.into(), &value);
    }

    /// Appends one attribute by reference.
    #[inline(always)]
    pub fn push_named<V: AttributeValue + ?Sized>(&mut self, key: Name<'_>, value: &V) {
        match (value.word(), key.inline_text()) {
            (Some(word), None) => self.push_word(key.id(), word),
            _ => self.push_any(key, value),
        }
    }

    /// Appends one attribute of two words: the common ones cost their stores where they are set.
    #[inline(always)]
    fn push_word(&mut self, key: u32, value: Word) {
        if self.is_full() {
            return self.drop_one();
        }
        self.count += 1;
        self.words
            .extend_from_slice(&[value.head(key).to_le(), value.word.to_le()]);
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.count - self.spelled >= MAX_ATTRIBUTES
    }

    /// Counts an attribute that there is no place for.
    #[cold]
    fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    #[inline(never)]
    fn push_any<V: AttributeValue + ?Sized>(&mut self, key: Name<'_>, value: &V) {
        if self.is_full() {
            return self.drop_one();
        }
        // The writer counts: a value of somebody else's type may write nothing, or twice.
        let mut writer = ValueWriter::top(self, key.id(), key.inline_text());
        value.write(&mut writer);
    }

    /// Puts a name under one of the reserved keys: ahead of all attributes, behind the names that
    /// are there, where readers look for it. It takes no attribute's place.
    #[cold]
    pub(crate) fn push_reserved(&mut self, key: u32, name: &str) {
        let end = self.words.len();
        let kept = names::cut_name(name);
        ValueWriter::top(self, key, None).bytes(Type::Str, kept.as_bytes(), name.len());
        let added = self.words.len() - end;
        self.words[self.spelled_words..].rotate_right(added);
        self.spelled += 1;
        self.spelled_words += added;
    }

    /// Only the spelled-out names.
    #[cold]
    pub(crate) fn only_names(&self) -> Self {
        Self {
            words: self.words[..self.spelled_words].to_vec(),
            count: self.spelled,
            dropped: 0,
            ..*self
        }
    }

    /// Appends everything of `other`.
    pub fn extend(&mut self, other: &Self) {
        let room = MAX_ATTRIBUTES.saturating_sub(self.count);
        if other.count <= room {
            self.words.extend_from_slice(&other.words);
            self.count += other.count;
            self.dropped = self.dropped.saturating_add(other.dropped);
            self.truncated |= other.truncated;
        } else {
            self.dropped = self.dropped.saturating_add(other.count);
        }
    }

    /// Lets `judge` decide about each attribute; spelled-out names of records stay.
    #[cold]
    pub(crate) fn redact(
        &mut self,
        mut judge: impl FnMut(AttributeKey<'_>, ValueRef<'_>) -> Redaction,
    ) {
        let old = std::mem::take(&mut self.words);
        let bytes = bytes_of(&old);
        let (mut at, mut no) = (0, 0);
        while let Some(entry) = Entry::parse(&bytes[at..]) {
            let end = at + entry.size;
            no += 1;
            let judged = match entry.value() {
                Some(value) if no > self.spelled => judge(entry.key, value),
                _ => Redaction::Keep,
            };
            match judged {
                Redaction::Keep => self.words.extend_from_slice(&old[at / 8..end / 8]),
                Redaction::Remove => self.count -= 1,
                Redaction::Replace(value) => {
                    self.count -= 1;
                    let (key, text) = match entry.key {
                        AttributeKey::Id(id) => (id, None),
                        AttributeKey::Text(text) => (KEY_INLINE, Some(text)),
                    };
                    // The writer counts it again.
                    ValueWriter::top(self, key, text).value(&value);
                }
            }
            at = end;
        }
    }

    /// Makes the list fit into `words`: first texts are cut, the longest ones most, then whole
    /// attributes are left out from the end. Everything that was cut is marked and counted.
    #[cold]
    pub(crate) fn fit(&mut self, words: usize) {
        let mut limit = words * 8;
        while self.words.len() > words && limit >= 64 {
            limit /= 2;
            self.cut_texts(limit);
        }
        let (mut at, mut kept) = (0, 0);
        while let Some(entry) = Entry::parse(&bytes_of(&self.words)[at * 8..]) {
            let next = at + entry.size / 8;
            if next > words {
                break;
            }
            at = next;
            kept += 1;
        }
        self.dropped = self.dropped.saturating_add(self.count - kept);
        self.count = kept;
        self.words.truncate(at);
    }

    /// Cuts every text and byte value on the first level to `limit` bytes.
    fn cut_texts(&mut self, limit: usize) {
        let old = std::mem::take(&mut self.words);
        // The writers below count the entries that they copy.
        let count = self.count;
        let bytes = bytes_of(&old);
        let mut at = 0;
        while let Some(entry) = Entry::parse(&bytes[at..]) {
            let text = match entry.key {
                AttributeKey::Id(_) => None,
                AttributeKey::Text(text) => Some(text),
            };
            let key = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            match entry.value() {
                Some(ValueRef::Str(value)) if value.len() > limit => {
                    let kept = names::cut(value, limit);
                    ValueWriter::top(self, key, text).bytes(
                        Type::Str,
                        kept.as_bytes(),
                        value.len(),
                    );
                }
                Some(ValueRef::Bytes(value)) if value.len() > limit => {
                    ValueWriter::top(self, key, text).bytes(
                        Type::Bytes,
                        &value[..limit],
                        value.len(),
                    );
                }
                _ => self
                    .words
                    .extend_from_slice(&old[at / 8..(at + entry.size) / 8]),
            }
            at += entry.size;
        }
        self.count = count;
    }

    /// The list as readers see it.
    pub fn as_attributes(&self) -> Attributes<'_> {
        Attributes {
            bytes: bytes_of(&self.words),
        }
    }
}
