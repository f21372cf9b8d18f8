//! One request on its way: what may become of it, whatever carries it.
//!
//! Always true:
//! - every wait has an end
//! - what counts as worth another try is what the specification lists, and nothing else
//! - nothing here records telemetry

mod answer;
mod file;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod http;
mod place;
mod resolver;

use std::time::Duration;

pub(super) use place::Placed;

use super::resolve::{Place, Settings};
use crate::{backend::SinkError, log::Position, record::id::LogId};

/// A request was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Items that were not, for ever.
    pub(super) rejected: u64,
    /// What the receiver says about that, or as a warning.
    pub(super) message: String,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untaken {
    /// Worth another try, not before so long has passed.
    Retry(String, Option<Duration>),
    /// Too many bytes at once.
    TooLarge(String),
    /// Its content is to blame.
    Content(String),
    /// The address, the credentials or the receiver itself is to blame: no use trying again soon.
    Refused(String),
}

/// Carries requests.
pub(super) trait Send: std::marker::Send {
    /// Sends one.
    fn send(&mut self, body: &[u8]) -> Result<Taken, Untaken>;

    /// Where everything that was sent lies for good, if the place itself knows.
    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let _ = log;
        Ok(None)
    }

    /// All requests up to a position were sent.
    fn reached(&mut self, placed: Placed) -> Result<(), SinkError> {
        let _ = placed;
        Ok(())
    }
}

/// What carries requests to where `settings` say.
///
/// # Errors
/// Files of certificates or keys cannot be read, or a folder cannot be written to.
pub(super) fn connect(settings: &Settings) -> Result<Box<dyn Send>, SinkError> {
    Ok(match &settings.place {
        Place::Http { url } => Box::new(http::Http::new(url, settings)?),
        #[cfg(feature = "otlp-grpc")]
        Place::Grpc { url } => Box::new(grpc::Grpc::new(url, settings)?),
        #[cfg(not(feature = "otlp-grpc"))]
        Place::Grpc { .. } => {
            return Err(SinkError::Refused("this build has no gRPC".into()));
        }
        Place::File(options) => Box::new(file::File::open(options, settings.signal)?),
    })
}

/// Reads a file of certificates or keys.
fn read_pem(what: &str, path: &std::path::Path) -> Result<Vec<u8>, SinkError> {
    std::fs::read(path).map_err(|error| {
        let path = path.display();
        SinkError::Refused(format!("cannot read the {what} {path}: {error}").into())
    })
}
