//! Interned names: texts that records refer to by number.
//!
//! Always true:
//! - an id means the same text in the whole process, for ever
//! - whoever can see an id in a ring can find its text: it was handed to every open log
//!   (`NameSink`) before `StaticName::id` or `intern` returned it
//! - the table is bounded ([`MAX_NAMES`], [`MAX_NAMES_BYTES`]); names beyond it are written out in
//!   the records that use them

use std::{
    cell::RefCell,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering},
        Arc, OnceLock, PoisonError, Weak,
    },
};

use super::{layout::NAME_INLINE, wellknown};
#[cfg(all(unix, not(loom)))]
use crate::sync::fork::{keep_still, Still};
use crate::sync::plain::{Mutex, MutexGuard};

/// First id that a process gives.
pub const FIRST_ID: u32 = 256;
/// Most names that a process interns.
pub const MAX_NAMES: usize = 16_384;
/// Most bytes that their records take in the shared name table.
pub const MAX_NAMES_BYTES: usize = (1 << 20) - 64;
/// Longest name in bytes. A longer one is cut at a character wherever it is used, and the record is
/// marked as truncated; it is never interned, so that its mark is not forgotten.
pub const MAX_NAME: usize = 4096;

/// Names that were cut.
static CUT: AtomicU64 = AtomicU64::new(0);

/// A name on its way into a record: an id, or the text where no id is to be had.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    id: u32,
    text: &'a str,
}

impl<'a> Name<'a> {
    /// A name by its id.
    #[inline]
    pub(crate) const fn of_id(id: u32) -> Self {
        Self { id, text: "" }
    }

    /// A name whose id was looked up before.
    #[inline]
    pub(crate) const fn known(id: u32, text: &'a str) -> Self {
        Self { id, text }
    }

    /// A text that is written out wherever it is used, as it will hardly come twice.
    #[inline]
    pub(crate) const fn spelled(text: &'a str) -> Self {
        let id = NAME_INLINE;
        Self { id, text }
    }

    /// The id, or [`NAME_INLINE`].
    #[inline]
    pub fn id(self) -> u32 {
        self.id
    }

    /// The text.
    pub(crate) fn text(self) -> &'a str {
        match wellknown::text(self.id) {
            Some(text) if self.text.is_empty() => text,
            _ => self.text,
        }
    }

    /// The text to spell out, if there is no id.
    #[inline]
    pub fn inline_text(self) -> Option<&'a str> {
        (self.id == NAME_INLINE).then_some(self.text)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        intern(text)
    }
}

impl<'a> From<&'a String> for Name<'a> {
    #[inline]
    fn from(text: &'a String) -> Self {
        intern(text)
    }
}

impl From<&'static StaticName> for Name<'static> {
    #[inline(always)]
    fn from(name: &'static StaticName) -> Self {
        Self {
            id: name.id(),
            text: name.text,
        }
    }
}

/// A name known at compile time; after its first use an id is one load away.
///
/// ```
/// use emberlog::StaticName;
/// static FETCH: StaticName = StaticName::new("fetch");
/// ```
#[derive(Debug)]
pub struct StaticName {
    text: &'static str,
    id: AtomicU32,
}

impl StaticName {
    /// A name that is interned when it is first used.
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            id: AtomicU32::new(0),
        }
    }

    /// The text.
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The id, or [`NAME_INLINE`] when the table is full.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        // Acquire: meets the Release below, so that a record with this id happens after the
        // definition was handed to the open logs.
        match self.id.load(Ordering::Acquire) {
            0 => self.register(),
            id => id,
        }
    }

    #[cold]
    fn register(&self) -> u32 {
        let id = match self.text.len() {
            0..=MAX_NAME => table().define(self.text),
            _ => NAME_INLINE,
        };
        // Release: meets the Acquire above.
        self.id.store(id, Ordering::Release);
        id
    }
}

/// An open log that wants to know every name before a record uses it.
pub(crate) trait NameSink: Send + Sync {
    /// Takes a definition. Called with the table locked, in order of ids.
    fn define(&self, id: u32, text: &str);
}

/// The id of a text, interned now if there is room.
pub(crate) fn intern(text: &str) -> Name<'_> {
    if text.len() > MAX_NAME {
        let id = NAME_INLINE;
        return Name { id, text };
    }
    let known = CACHE.try_with(|cache| cache.try_borrow().ok()?.get(text).copied());
    let id = match known {
        Ok(Some(id)) => id,
        Ok(None) => {
            let mut table = table();
            let id = table.define(text);
            let stored = table.text(id);
            drop(table);
            if let Some(stored) = stored {
                let _ = CACHE.try_with(|cache| {
                    if let Ok(mut cache) = cache.try_borrow_mut() {
                        cache.insert(stored, id);
                    }
                });
            }
            id
        }
        Err(_) => table().define(text),
    };
    Name { id, text }
}

thread_local! {
    /// What this thread looked up before; bounded by the table itself.
    static CACHE: RefCell<ahash::AHashMap<&'static str, u32>> = RefCell::new(ahash::AHashMap::new());
}

thread_local! {
    /// The texts that this thread looked at, by id; bounded by the table itself.
    static TEXTS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// All names of the process.
pub(crate) struct Table {
    ids: ahash::AHashMap<&'static str, u32>,
    texts: Vec<&'static str>,
    bytes: usize,
    sinks: Vec<Weak<dyn NameSink>>,
}

fn new_table() -> Table {
    let mut ids = ahash::AHashMap::new();
    for (i, text) in wellknown::TEXTS.iter().enumerate() {
        ids.insert(*text, i as u32 + 1);
    }
    Table {
        ids,
        texts: Vec::new(),
        bytes: 0,
        sinks: Vec::new(),
    }
}

/// Locks the table.
pub(crate) fn table() -> MutexGuard<'static, Table> {
    static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        #[cfg(all(unix, not(loom)))]
        keep_still(Still { hold, let_go });
        Mutex::new(new_table())
    });
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(unix, not(loom)))]
thread_local! {
    /// The table, while this thread forks.
    static HELD: std::cell::Cell<Option<MutexGuard<'static, Table>>> =
        const { std::cell::Cell::new(None) };
}

#[cfg(all(unix, not(loom)))]
fn hold() {
    let _ = HELD.try_with(|held| held.set(Some(table())));
}

#[cfg(all(unix, not(loom)))]
fn let_go() {
    let _ = HELD.try_with(std::cell::Cell::take);
}

impl Table {
    fn define(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let size = 16 + text.len().next_multiple_of(8);
        if self.texts.len() >= MAX_NAMES || self.bytes + size > MAX_NAMES_BYTES {
            return NAME_INLINE;
        }
        self.bytes += size;
        // Kept for the life of the process, because call sites keep the id for as long;
        // `MAX_NAMES_BYTES` bounds it.
        let text: &'static str = Box::leak(text.into());
        let id = FIRST_ID + self.texts.len() as u32;
        self.texts.push(text);
        self.ids.insert(text, id);
        self.sinks.retain(|sink| match sink.upgrade() {
            Some(sink) => {
                sink.define(id, text);
                true
            }
            None => false,
        });
        id
    }

    fn text(&self, id: u32) -> Option<&'static str> {
        self.texts.get(id.checked_sub(FIRST_ID)? as usize).copied()
    }

    /// Hands `sink` all names so far, and each new one from now on.
    pub(crate) fn attach(&mut self, sink: &Arc<impl NameSink + 'static>) {
        for (i, text) in self.texts.iter().enumerate() {
            sink.define(FIRST_ID + i as u32, text);
        }
        let weak = Arc::downgrade(sink);
        self.sinks.push(weak);
    }

    /// Names given so far.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Names from the `from`-th on.
    pub(crate) fn since(&self, from: usize) -> &[&'static str] {
        self.texts.get(from..).unwrap_or_default()
    }
}

/// The text of an id of this process.
pub(crate) fn text_of(id: u32) -> Option<&'static str> {
    if id < FIRST_ID {
        return wellknown::text(id);
    }
    let slot = (id - FIRST_ID) as usize;
    let known = TEXTS.try_with(|texts| {
        let mut texts = texts.try_borrow_mut().ok()?;
        if slot >= texts.len() {
            // Ids are given in a row and never change: all that there are by now.
            let known = texts.len();
            texts.extend_from_slice(table().since(known));
        }
        texts.get(slot).copied()
    });
    known.unwrap_or_else(|_| table().text(id))
}

/// A name of at most [`MAX_NAME`] bytes; counts those that it cuts.
pub(crate) fn cut_name(name: &str) -> &str {
    let kept = cut(name, MAX_NAME);
    if kept.len() < name.len() {
        // Relaxed: a counter, for display.
        CUT.fetch_add(1, Ordering::Relaxed);
    }
    kept
}

/// Names that this process cut, each time that one was recorded.
pub(crate) fn names_cut() -> u64 {
    // Relaxed: see `cut_name`.
    CUT.load(Ordering::Relaxed)
}

/// At most `limit` bytes of `text`, cut at a character.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Names of one segment, for readers.
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    texts: Vec<Option<Box<str>>>,
}

impl NameMap {
    /// Learns a definition. Ids that no writer gives are ignored.
    pub fn define(&mut self, id: u32, text: &str) {
        let Some(slot) = id.checked_sub(FIRST_ID).map(|i| i as usize) else {
            return;
        };
        if slot >= MAX_NAMES {
            return;
        }
        if slot >= self.texts.len() {
            self.texts.resize(slot + 1, None);
        }
        self.texts[slot] = Some(text.into());
    }

    /// The text of an id; `None` if it was never defined here.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&str> {
        if id < FIRST_ID {
            return wellknown::text(id);
        }
        self.texts.get((id - FIRST_ID) as usize)?.as_deref()
    }

    /// The id of a text.
    pub fn find(&self, text: &str) -> Option<u32> {
        if let Some(i) = wellknown::TEXTS.iter().position(|known| *known == text) {
            return Some(i as u32 + 1);
        }
        let slot = self
            .texts
            .iter()
            .position(|known| known.as_deref() == Some(text))?;
        Some(FIRST_ID + slot as u32)
    }
}
