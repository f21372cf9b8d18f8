//! The word that every recording call tests: is this log open, in this process?
//!
//! Always true:
//! - the word reads 0 in a forked child, also of a raw `clone`, because its page is wiped on fork
//!   (Linux 4.14 and later); so the child records nothing into its parent's memory
//! - a word belongs to one [`Gate`] until the last clone of that is dropped
//!
//! Where pages cannot be wiped, [`Gate::is_home`] compares process ids instead. The hot path does
//! not: there a child that records before it opens a log of its own writes into its parent's ring.

use std::sync::{
    atomic::{AtomicU32, AtomicU64, Ordering},
    Arc,
};

use super::wiped::wiped_page;

const HOME: u32 = 2;
const OPEN: u32 = 1;
const WORDS: usize = 1024;

/// One word per open log. Used where no page can be wiped.
static PLAIN: [AtomicU32; WORDS] = [const { AtomicU32::new(0) }; WORDS];
/// Which words are taken.
static TAKEN: [AtomicU64; WORDS / 64] = [const { AtomicU64::new(0) }; WORDS / 64];

/// Says whether a log records. Closed at first.
#[derive(Clone, Debug)]
pub struct Gate {
    word: GateWord,
    slot: Arc<Slot>,
}

/// The word of a [`Gate`], for recording calls to keep close at hand. It means something as long as
/// the gate is held.
#[derive(Clone, Copy, Debug)]
pub struct GateWord(&'static AtomicU32);

impl GateWord {
    /// Whether recording calls record.
    #[inline(always)]
    pub fn is_open(self) -> bool {
        self.0.load(Ordering::Relaxed) & OPEN != 0
    }
}

#[derive(Debug)]
struct Slot {
    index: usize,
    wiped: bool,
    pid: u32,
}

impl Gate {
    /// A gate of its own; `None` if a thousand logs are open.
    pub fn new() -> Option<Self> {
        // Relaxed, everywhere in this file: the words carry no data with them. A recording call
        // that sees a gate open a moment late or close a moment late does no harm: rings outlive
        // the closing, and who published after the last round finds that out (`too_late`).
        let index = TAKEN.iter().enumerate().find_map(|(i, taken)| {
            let free = |bits: u64| (bits != u64::MAX).then(|| bits | (bits + 1));
            let before = taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free)
                .ok()?;
            Some(i * 64 + before.trailing_ones() as usize)
        })?;
        let page = wiped_page();
        let word = &page.unwrap_or(&PLAIN)[index];
        word.store(HOME, Ordering::Relaxed);
        let slot = Slot {
            index,
            wiped: page.is_some(),
            pid: std::process::id(),
        };
        Some(Self {
            word: GateWord(word),
            slot: Arc::new(slot),
        })
    }

    /// Whether recording calls record.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.word.is_open()
    }

    /// What [`is_open`](Self::is_open) looks at.
    pub fn word(&self) -> GateWord {
        self.word
    }

    /// Lets recording calls record, or no longer. Does nothing in a forked child.
    pub fn set_open(&self, open: bool) {
        if self.is_home() {
            let state = if open { HOME | OPEN } else { HOME };
            self.word.0.store(state, Ordering::Relaxed);
        }
    }

    /// Whether this is still the process that made the gate.
    pub fn is_home(&self) -> bool {
        let word = self.word.0.load(Ordering::Relaxed);
        word & HOME != 0 && (self.slot.wiped || self.slot.pid == std::process::id())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let page = wiped_page().unwrap_or(&PLAIN);
        page[self.index].store(0, Ordering::Relaxed);
        let bit = 1 << (self.index % 64);
        TAKEN[self.index / 64].fetch_and(!bit, Ordering::Relaxed);
    }
}
