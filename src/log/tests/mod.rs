//! Tests of the stage as a whole.

mod damage;
pub(super) mod fault;
mod faults;
mod format;
mod model;
mod opening;
mod readers;
mod retention;
mod round_trip;
mod speed;
mod support;
