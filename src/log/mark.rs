//! The two words of a segment's header that tell readers, in this process and in others, how far it
//! is.
//!
//! Always true:
//! - whoever sees a mark can read the frames below it
//! - whoever sees that a segment is sealed sees its last mark afterwards
//!
//! Where the words lie, `map` knows; models have them elsewhere.

use crate::sync::{fence_at, ord, AtomicU64, Ordering};

/// Makes everything below `bytes` visible to readers.
#[inline(always)]
pub fn publish(mark: &AtomicU64, bytes: u64) {
    // Release: meets the fence in `look`; the frames, written to the file before, are visible in
    // the reader's mapping before the mark is.
    mark.store(bytes.to_le(), ord!(CommitMark, Release));
}

/// Stores that the mark will not move again, which is `value`.
pub fn seal(state: &AtomicU64, value: u64) {
    // Release: meets the fence in `look`; the last mark is visible there first.
    state.store(value.to_le(), ord!(SegmentState, Release));
}

/// One of the words, as a reader sees it.
#[inline(always)]
pub fn look(word: &AtomicU64) -> u64 {
    // Relaxed: the fence makes it an Acquire; a load that is one itself would be undefined on
    // memory that is read-only here.
    let value = word.load(Ordering::Relaxed);
    // Acquire: meets the Release in `publish` or `seal`.
    fence_at!(CommitMarkSeen, Acquire);
    u64::from_le(value)
}
