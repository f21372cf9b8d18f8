//! Which traces are recorded.
//!
//! Always true:
//! - a decision follows from the trace id and the rates alone, so every process, machine and restart
//!   decides alike, and what a lower rate keeps every higher one keeps too
//! - it is made for a whole trace: what belongs to a trace that is not sampled is not recorded,
//!   whatever its kind, or held until it is known how the trace went, and then kept whole or not at all
//!
//! [`Threshold`] is the rule, [`GraphRates`] what is said of single graphs, `Outcome` what is kept for how it went,
//! `Rules` all that a configuration says. What they mean for users: `docs/sampling.md`.

mod graphs;
mod outcome;
mod rules;
mod threshold;

pub use graphs::GraphRates;
pub(crate) use outcome::Outcome;
pub(crate) use rules::{Asked, Rules};
pub use threshold::Threshold;
