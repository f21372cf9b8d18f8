//! What is recorded, and the bytes that it becomes.
//!
//! Always true:
//! - a record's bytes depend on no other crate's features and no machine's endianness
//! - bytes from a file become a [`Record`] only after they were checked
//!
//! `layout` has the fixed structs, `attributes` the lists behind them, `view` turns bytes into
//! records, `names` gives texts their numbers. The layout is drawn in `docs/format.md`, section 6.

pub mod attributes;
pub mod id;
pub mod kinds;
pub mod layout;
pub mod names;
pub mod redact;
pub mod value;
pub mod view;
pub mod wellknown;

#[cfg(test)]
mod tests;

pub use view::{peek, Body, Record, RecordError};
