//! How far behind a tail is, while its own thread is in its sink and cannot tell.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    source::{FrameSource, Lag, Reopen},
    upkeep,
};
use crate::log::Position;

/// A count is this old at most, unless the thread is busy.
const FRESH: Duration = upkeep::LAG_EVERY.saturating_mul(2);

/// Looks at the log when somebody asks and the tail's thread did not for a while.
pub(super) struct Observer {
    reopen: Option<Reopen>,
    /// Opened at the first need, kept for the next.
    source: Mutex<Option<Box<dyn FrameSource>>>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

impl Observer {
    pub(super) fn new(reopen: Option<Reopen>) -> Self {
        Self {
            reopen,
            source: Mutex::new(None),
        }
    }

    /// Whether what was counted then says nothing of now.
    pub(super) fn is_stale(counted: Option<Instant>) -> bool {
        counted.is_none_or(|at| at.elapsed() > FRESH)
    }

    /// What is left from a position on; `None` if nobody but the thread can tell.
    pub(super) fn lag(&self, from: Position) -> Option<Lag> {
        let reopen = self.reopen.as_ref()?;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.is_none() {
            *source = reopen();
        }
        source.as_mut().map(|source| source.lag(from))
    }
}
