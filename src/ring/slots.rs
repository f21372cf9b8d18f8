//! Two slots, of which the one that a counter names counts, read while their writer goes on.
//!
//! ```text
//! writer                              reader
//! fence Release (begin)               counter, Acquire
//! the slot that does not count        both slots
//! counter, Release                    fence Acquire (check)
//! and so on                           counter again: the same?
//! ```
//!
//! Always true: while the counter stands, the slot that it names is not written to, and a reader
//! that sees a slot of a later round sees the counter moved.

use crate::sync::fence_at;

/// How often a reader tries.
const TRIES: u32 = 1000;

/// What the slots held while the counter stood, and the counter; `None` if it never does.
///
/// # Errors
/// Of `counter` and `slots`. The first must be an Acquire, like a load or a system call.
pub fn settled<T, E>(
    mut counter: impl FnMut() -> Result<u64, E>,
    mut slots: impl FnMut() -> Result<T, E>,
) -> Result<Option<(u64, T)>, E> {
    for _ in 0..TRIES {
        let before = counter()?;
        let found = slots()?;
        // Acquire: meets the Release fence of the writer. If a slot above is of a later round, the
        // reading below does not see the old counter.
        fence_at!(SlotCheck, Acquire);
        if counter()? == before {
            return Ok(Some((before, found)));
        }
    }
    Ok(None)
}
