//! From the log to one backend, at the backend's pace.
//!
//! Always true:
//! - a tail sees frames in log order, gives them to its sink in log order, and has at most one
//!   batch in memory
//! - where it is survives everything: in its cursor file, and in the store where that keeps rows
//!   and position in one transaction; then the store's word counts
//! - a sink that fails, hangs or panics affects nobody else: not the flusher, not other tails, and
//!   what it cannot take is put aside and counted
//!
//! | to do this | begin here |
//! |---|---|
//! | start, wait for, ask and stop a tail | [`Tail`] in `handle` |
//! | see what happens on its thread | `runner` (when to send), `delivery` (what becomes of a batch), `upkeep` |
//! | see how far behind it is while its sink hangs | `observer` |
//! | read frames | `source` |
//! | keep a place | `cursor` |
//! | what was put aside | `quarantine` |

mod backoff;
pub mod cursor;
mod delivery;
mod handle;
mod latency;
mod observer;
mod quarantine;
mod runner;
mod source;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use handle::is_name;
pub use handle::{ExportError, Left, Options, Tail, TailState, TailStats};
pub use source::{FrameSource, Lag, LogSource, Pulled, Reopen};
