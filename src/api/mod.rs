//! Recording: handles that turn calls into records.
//!
//! Always true:
//! - a handle of a closed, disabled or failed manager works and records nothing
//! - one call writes one record, into the ring of the calling thread
//! - where recording is compiled out, a handle is an empty value and a call does nothing (`held`)
//! - nothing here locks, allocates in steady state, makes a system call or panics, except where a
//!   thread records for the first time
//!
//! [`manager`] opens a log and hands out a [`Run`] per trace; `span`, `steps`, `event` are what a
//! run offers, `options` how it begins; `scope` is what is open on a thread; `write` is where a record gets its bytes; `local` is what each thread keeps.

mod current;
mod detached;
pub(crate) mod engine;
mod event;
mod failure;
mod future;
pub(crate) mod held;
pub(crate) mod local;
mod options;
pub(crate) mod run;
mod scope;
mod span;
mod steps;
mod write;

pub use detached::DetachedSpan;
pub(crate) use engine::Capture;
pub(crate) use event::Place;
pub use event::{EventBuilder, MetricBuilder, MetricValue};
pub use future::{InSpan, Spanned};
pub use options::TraceOptions;
pub use run::Run;
pub use scope::ContextGuard;
pub use span::ActiveSpan;
pub use steps::Steps;
