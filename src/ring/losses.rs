//! What was lost, counted by cause and kind in a header that survives a kill.
//!
//! Always true: counters never fall, and whoever sees a ring's sum sees the counters that it is the
//! sum of.

use super::{
    layout::at,
    storage::{Memory, Writer},
};
use crate::sync::{ord, Ordering};

impl Writer {
    /// Counts a lost record.
    pub fn lose(&self, cause: u8, kind: u8) {
        let (memory, at) = (self.memory(), at::loss(cause, kind));
        // Relaxed: own counters, no other writer.
        let total = memory.get(at, Ordering::Relaxed);
        memory.set(at, total + 1, Ordering::Relaxed);
        let all = memory.get(at::LOST, Ordering::Relaxed);
        // Release: meets the Acquire in `lost`. Whoever sees the sum sees its parts.
        memory.set(at::LOST, all + 1, ord!(Lost, Release));
    }
}

/// Records that were lost in a ring so far.
pub fn lost(ring: &Memory) -> u64 {
    // Acquire: meets the Release in `Writer::lose`.
    ring.get(at::LOST, ord!(LostSeen, Acquire))
}

/// Calls `each` with cause, kind and total of what was lost, in a ring or without one.
pub fn each(memory: &Memory, mut each: impl FnMut(u8, u8, u64)) {
    // Models have one counter for all.
    let (causes, kinds) = if cfg!(loom) { (1, 1) } else { (16, 16) };
    for cause in 0..causes {
        for kind in 0..kinds {
            // Relaxed: counters that never fall; `lost` synchronised if that matters.
            let total = memory.get(at::loss(cause, kind), Ordering::Relaxed);
            if total > 0 {
                each(cause, kind, total);
            }
        }
    }
}
