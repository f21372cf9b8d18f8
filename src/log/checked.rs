//! Which parts of a file were checked already.

use std::sync::atomic::{AtomicU64, Ordering};

/// A bit per frame or block: its checksum was right. Only for bytes that never change.
#[derive(Debug)]
pub(super) struct Checked(Box<[AtomicU64]>);

impl Checked {
    /// For this many parts, none of them checked.
    pub(super) fn new(parts: usize) -> Self {
        Self((0..parts.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether the part is fine: as was found before, or as `check` finds now.
    pub(super) fn is(&self, part: usize, check: impl FnOnce() -> bool) -> bool {
        let (word, bit) = (&self.0[part / 64], 1 << (part % 64));
        // Relaxed: nothing is read on the strength of a bit but bytes that do not change.
        if word.load(Ordering::Relaxed) & bit != 0 {
            return true;
        }
        let fine = check();
        if fine {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        fine
    }
}
