//! Answers: rows from the log, filtered and ordered, from any process at any time.
//!
//! Always true:
//! - a query needs no write access, no recovery and no running writer; what the rings of a dead or
//!   living process still hold is read with it
//! - rows come in one order, whatever the segments: by the filter's order, ties by identity
//! - what follows from a record (`derive`) is never stored, and has the same id in every answer
//! - an answer holds what it returns and a few numbers per open trace, never the log
//!
//! | to see | begin here |
//! |---|---|
//! | what can be asked | [`LogReader`] in `scan`, [`Filter`](filter::Filter), `matching` for what it means |
//! | a record as a row | `rows`, `failure`; what follows from it: `derive` |
//! | what is read | `logs` → `store` → `source`; rings on top: `overlay`, `memory` |
//! | how rows come in order | `walk` over frames, `pending` candidates; `judge` tells what fits |
//! | what is looked for | `spans`, `events`, `metrics`, `links`; `traces`, each out of a `partial` |
//! | everything, for the analysis | `pass` |
//! | one trace | `gather`, then `tree`; by its first digits: `prefix` |

pub(crate) mod derive;
mod events;
mod failure;
pub mod filter;
mod gather;
mod judge;
mod links;
mod logs;
pub(crate) mod matching;
mod memory;
mod metrics;
mod overlay;
mod partial;
pub(crate) mod pass;
mod pending;
mod points;
mod prefix;
mod recent;
pub(crate) mod rows;
mod scan;
mod source;
mod spans;
mod spare;
mod store;
#[cfg(test)]
mod tests;
mod traces;
mod tree;
mod walk;

pub use scan::{LogReader, Rings, Rows, Since};
pub use tree::{SpanNode, TraceTree};
