//! Against a double of the log and sinks that misbehave.

mod batches;
mod cursors;
mod faults;
mod restarts;
mod support;
