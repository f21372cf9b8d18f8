//! The table of spans that are open now, beside a thread's ring.
//!
//! Always true:
//! - only the ring's producer opens a slot; a span that ended on another thread may be closed from
//!   there, which its owner finds out when it runs out of slots
//! - a reader, also in another process, never sees the fields of two spans mixed: the state word
//!   is cleared first and set last, and a reader looks at it before and after

use super::{layout::SPAN_WORDS, storage::Memory};
use crate::sync::{fence_at, ord, Arc, AtomicU64, Ordering};

/// A span or trace that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenSpan {
    /// Tick at which it began, not 0.
    pub start: u64,
    /// Its trace, as stored.
    pub trace: [u8; 16],
    /// Its id; 0 for a trace.
    pub span: u64,
    /// Its parent, 0 if none.
    pub parent: u64,
    /// Interned name.
    pub name: u32,
    /// A [`SpanKind`](crate::record::kinds::SpanKind).
    pub kind: u8,
    /// 0 span, 1 trace.
    pub what: u8,
    /// Flags of the record that will be written.
    pub flags: u16,
}

impl OpenSpan {
    /// Whether it is a trace.
    pub fn is_trace(&self) -> bool {
        self.what == 1
    }

    /// All words of a slot that are used; the rest stays 0.
    #[inline(always)]
    fn to_words(self) -> [u64; 6] {
        let half = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.trace[from..from + 8]);
            u64::from_ne_bytes(bytes)
        };
        let rest = u64::from(self.name)
            | u64::from(self.kind) << 32
            | u64::from(self.what) << 40
            | u64::from(self.flags) << 48;
        [
            self.start.max(1).to_le(),
            half(0),
            half(8),
            self.span.to_le(),
            self.parent.to_le(),
            rest.to_le(),
        ]
    }

    /// The span in these words; `None` if the slot is free.
    pub fn from_words(words: &[u64; SPAN_WORDS]) -> Option<Self> {
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&words[1].to_ne_bytes());
        trace[8..].copy_from_slice(&words[2].to_ne_bytes());
        let rest = u64::from_le(words[5]);
        let span = Self {
            start: u64::from_le(words[0]),
            trace,
            span: u64::from_le(words[3]),
            parent: u64::from_le(words[4]),
            name: rest as u32,
            kind: (rest >> 32) as u8,
            what: (rest >> 40) as u8,
            flags: (rest >> 48) as u16,
        };
        (span.start != 0).then_some(span)
    }
}

/// The owner's side of a table.
#[derive(Debug)]
pub struct SpanTable {
    /// Bit *i* is set while slot *i* is free, as far as the owner knows.
    free: u64,
    memory: Arc<Memory>,
}

impl SpanTable {
    /// The table of a ring that was just taken over. Spans that the last owner left open keep
    /// their slots, unless they take up more than half of them.
    pub fn take(memory: &Arc<Memory>) -> Self {
        let mut table = Self {
            free: 0,
            memory: Arc::clone(memory),
        };
        table.look_for_closed();
        let slots = memory.shape().slots;
        if table.free.count_ones() * 2 < slots {
            for slot in 0..slots as usize {
                table.state(slot).store(0, Ordering::Relaxed);
            }
            table.look_for_closed();
        }
        table
    }

    #[inline(always)]
    fn state(&self, slot: usize) -> &AtomicU64 {
        &self.memory.span_slot(slot)[0]
    }

    /// Shows a span; `None` if no slot is free.
    #[inline(always)]
    pub fn open(&mut self, span: OpenSpan) -> Option<u16> {
        if self.free == 0 {
            self.look_for_closed();
            if self.free == 0 {
                return None;
            }
        }
        let slot = self.free.trailing_zeros() as u16;
        self.free &= self.free - 1;
        self.show(slot, span);
        Some(slot)
    }

    /// Shows a span in the slot of another one that is over.
    #[inline(always)]
    pub fn replace(&mut self, slot: u16, span: OpenSpan) {
        self.close(slot);
        self.free &= !(1 << (slot & 63));
        self.show(slot, span);
    }

    /// Fills a slot that is free.
    #[inline(always)]
    fn show(&self, slot: u16, span: OpenSpan) {
        let words = span.to_words();
        let cells = self.memory.span_slot(usize::from(slot));
        // Release: meets the Acquire fence in `read`. A reader that sees one of the new fields
        // sees the state 0 that came before them, and gives up.
        fence_at!(SpanFields, Release);
        for i in 1..words.len() {
            // Relaxed: ordered by the fence above and the store below.
            cells[i].store(words[i], Ordering::Relaxed);
        }
        // Release: meets the Acquire in `read`. The fields are visible before the state is.
        cells[0].store(words[0], ord!(SpanState, Release));
    }

    /// The span in this slot is over.
    #[inline(always)]
    pub fn close(&mut self, slot: u16) {
        // Relaxed: ordered before the next fields by the fence in `open`; a reader that is late
        // shows the span a moment longer.
        self.state(usize::from(slot)).store(0, Ordering::Relaxed);
        self.free |= 1 << (slot & 63);
    }

    /// Finds slots that were closed from other threads.
    #[cold]
    fn look_for_closed(&mut self) {
        for slot in 0..self.memory.shape().slots.min(64) {
            // Relaxed: the fence in `open` carries what is seen here on to readers.
            if self.state(slot as usize).load(Ordering::Relaxed) == 0 {
                self.free |= 1 << slot;
            }
        }
    }
}

/// Closes a span that ended on another thread than it began on. Does nothing if the slot has gone
/// to another span since.
pub fn close_elsewhere(memory: &Memory, slot: u16, start: u64) {
    if u32::from(slot) < memory.shape().slots {
        // Relaxed: as in `SpanTable::close`.
        let _ = memory.span_slot(usize::from(slot))[0].compare_exchange(
            start.max(1).to_le(),
            0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// The span in a slot, if one is open and does not change meanwhile.
pub fn read(memory: &Memory, slot: u16) -> Option<OpenSpan> {
    let cells = memory.span_slot(usize::from(slot));
    let mut words = [0; SPAN_WORDS];
    // Acquire: meets the Release in `open`.
    words[0] = cells[0].load(ord!(SpanSeen, Acquire));
    if words[0] == 0 {
        return None;
    }
    for i in 1..SPAN_WORDS {
        // Relaxed: checked below.
        words[i] = cells[i].load(Ordering::Relaxed);
    }
    // Acquire: meets the Release fence in `open`. If a field above is of a later span, the load
    // below does not see the old state.
    fence_at!(SpanCheck, Acquire);
    // Relaxed: compared only. Two spans of one slot never have the same start.
    let same = cells[0].load(Ordering::Relaxed) == words[0];
    same.then(|| OpenSpan::from_words(&words)).flatten()
}
