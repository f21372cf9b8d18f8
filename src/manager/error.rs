//! What can go wrong with a manager, and how it ends.

use std::time::Duration;

use super::BackendError;
use crate::{
    config::ConfigError,
    log::{self, Position},
    ring::CreateError,
    tail::{ExportError, Left},
};

/// Why a manager could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be opened for writing.
    #[error(transparent)]
    Log(#[from] log::OpenError),
    /// What a dead process left cannot be moved into the log.
    #[error("cannot recover the rings of an earlier process: {0}")]
    Recovery(#[source] log::AppendError),
    /// Too many managers are open in this process.
    #[error("more than 1,024 managers are open in this process")]
    TooMany,
    /// A backend could not be started.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// There is no memory to keep the log in.
    #[error("cannot make a folder in memory for the log")]
    Memory(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("cannot start the flusher thread")]
    Thread(#[source] std::io::Error),
}

impl From<CreateError> for OpenError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Options(problems) => Self::Config(ConfigError { problems }),
            CreateError::TooMany => Self::TooMany,
        }
    }
}

/// Why a flush or sync did not reach what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// Nothing is recorded here.
    #[error("nothing to flush: recording is {0}")]
    Closed(&'static str),
    /// Called from the flusher or a backend, which would wait for itself.
    #[error("flush was called from one of emberlog's own threads, which cannot wait for itself")]
    OwnThread,
    /// It took too long.
    #[error("not done within {0:?}{1}")]
    Timeout(Duration, String),
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Failed(String),
    /// A backend did not get everything.
    #[error(transparent)]
    Backend(#[from] ExportError),
}

/// How a manager ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// End of the log.
    pub logged: Position,
    /// What each backend got and what is left for the next start; empty on a second call.
    pub backends: Vec<Left>,
}
