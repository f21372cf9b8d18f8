//! Tests of the stage as a whole.

mod damage;
#[cfg(target_os = "linux")]
pub(super) mod disk;
mod faults;
mod format;
mod model;
mod opening;
#[cfg(target_os = "linux")]
mod power;
mod readers;
mod retention;
mod round_trip;
mod speed;
mod support;
