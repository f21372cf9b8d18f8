//! The one thread that moves records from the rings into the log.
//!
//! Always true:
//! - a ring's space is released only after its records are covered by the log's commit mark
//! - a name's definition stands in the log before the first frame that uses it
//! - a flush that was asked for before a round began is done when that round is
//! - neither fsync nor fallocate is called here; the log's housekeeping thread does that
//!
//! `round` is one pass over all rings, `thread` the loop around it, `prologue` the records that the
//! flusher writes itself, `held` what happens to traces that are not sampled.

mod held;
mod held_left;
pub(crate) mod prologue;
pub(crate) mod recovery;
pub(crate) mod round;
mod thread;

pub(crate) use thread::{spawn, Shared};
