//! Against real files.

mod files;
mod plans;
mod queries;
mod round_trip;
mod speed;
mod support;
