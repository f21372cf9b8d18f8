//! Moving records by hand: a log, or a database, to a target; once or following a live writer.
//!
//! Always true:
//! - a second export of the same stream sends only what is new, whatever killed the first
//! - a stream is a log and the filter that it goes through: two filters are two streams, each with
//!   its own place in the target
//! - nobody is waited for by the log's writer; all that is written beside it is a cursor
//!
//! [`Export`] runs a tail over a source: `filtered` leaves rows out, `scoped` counts what the
//! target takes and names the stream to it. `tables` reads a database instead of a log. [`Endpoint`]
//! turns a URL into a target, `address` keeps the secrets of one apart.

mod address;
mod endpoint;
mod filtered;
mod job;
mod scoped;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod tables;

pub use endpoint::{Endpoint, EndpointError, EndpointOptions, Source};
pub use job::{Export, ExportOptions, Progress, Report, StartError};
pub use scoped::Resend;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use tables::TableSource;
