//! Where a frame stands in a log.

use std::{fmt, str::FromStr};

/// A place in a log: comparable, durable, the same after every restart, never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Writer epoch: which open of the log wrote it.
    pub epoch: u64,
    /// Bytes from the beginning of the log, with gaps.
    pub offset: u64,
}

impl Position {
    /// Before everything.
    pub const START: Self = Self {
        epoch: 0,
        offset: 0,
    };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position: expected EPOCH:OFFSET, or 0 for the start")]
pub struct PositionError(String);

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError(text.chars().take(64).collect());
        if text == "0" {
            return Ok(Self::START);
        }
        let (epoch, offset) = text.split_once(':').ok_or_else(error)?;
        Ok(Self {
            epoch: epoch.parse().map_err(|_| error())?,
            offset: offset.parse().map_err(|_| error())?,
        })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
