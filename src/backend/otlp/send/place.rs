//! Up to where everything was sent.

use crate::{log::Position, record::id::LogId};

/// A position in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::otlp) struct Placed {
    pub(in crate::backend::otlp) log: LogId,
    pub(in crate::backend::otlp) position: Position,
}
