//! Recording: handles that turn calls into records.
//!
//! Always true:
//! - a handle of a closed, disabled or failed manager works and records nothing
//! - one call writes one record, into the ring of the calling thread
//! - where recording is compiled out, a handle is an empty value and a call does nothing (`held`)
//! - nothing here locks, allocates in steady state, makes a system call or panics, except where a
//!   thread records for the first time, a trace was called from another process, a series is asked
//!   for, or a histogram takes a value
//!
//! [`manager`] opens a log and hands out a [`Run`] per trace; `options` is how one begins, `state`
//! what its handles share; `span`, `steps`, `event` are what a run offers; `scope` is what is open on
//! a thread, `current` finds it; `driven` and `told` are what bridges record; `meter` and `series` add
//! measurements up; `passed` is what comes from other processes; `past` what is told afterwards; `write` is where a record gets its
//! bytes; `local` is what each thread keeps.

mod current;
mod detached;
// Each bridge needs a part of it.
#[cfg_attr(not(feature = "tracing-subscriber-0-3"), allow(dead_code))]
pub(crate) mod driven;
pub(crate) mod engine;
mod event;
pub(crate) mod failure;
mod future;
pub(crate) mod held;
pub(crate) mod local;
mod meter;
mod options;
mod passed;
mod past;
pub(crate) mod run;
mod scope;
mod series;
mod span;
mod state;
mod steps;
// One bridge needs it.
#[cfg_attr(not(feature = "opentelemetry-0-33"), allow(dead_code))]
pub(crate) mod told;
mod write;

pub use detached::DetachedSpan;
pub(crate) use engine::Capture;
pub(crate) use event::Place;
pub use event::{EventBuilder, MetricBuilder, MetricValue};
pub use future::{InSpan, Spanned};
pub use meter::{Counter, Gauge, Histogram, Meter};
pub use options::TraceOptions;
pub(crate) use passed::{Passed, PassedOn};
pub use past::{Past, PastSpan};
pub use run::Run;
pub use scope::ContextGuard;
#[cfg(feature = "metrics-0-24")]
pub(crate) use series::MOST as MOST_SERIES;
pub use span::ActiveSpan;
pub use steps::Steps;
