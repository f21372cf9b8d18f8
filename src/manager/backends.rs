//! Backends of a manager: one tail each, started after the log and stopped after the flusher.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::Config,
    flusher,
    log::ReadError,
    ring,
    tail::{self, cursor::CursorError, ExportError, Left, LogSource, Tail, TailStats},
};

/// Why a backend could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Its cursor cannot be had.
    #[error("backend {name:?}: {source}")]
    Cursor {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: CursorError,
    },
    /// The log cannot be read.
    #[error("backend {name:?}: {source}")]
    Log {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: ReadError,
    },
}

/// The tails of a manager.
pub(super) struct Backends {
    tails: Vec<Tail>,
}

impl Backends {
    pub(super) fn start(
        config: &Config,
        shared: &Arc<flusher::Shared>,
    ) -> Result<Self, BackendError> {
        let mut tails = Vec::new();
        for backend in &config.backends {
            let name = backend.name().to_owned();
            let source = LogSource::open(&config.dir).map_err(|source| BackendError::Log {
                name: name.clone(),
                source,
            })?;
            let end = Arc::clone(shared);
            let source = source.with_end(move || end.logged());
            let tuning = backend.tuning.clone();
            let (backend, dir) = (backend.clone(), config.dir.clone());
            let open = move || {
                // A sink that flushes would wait for itself.
                ring::engine_thread(true);
                backend.open_beside(&dir)
            };
            let mut options = tail::Options::new(name.clone());
            let own = &tuning;
            options.buffer_size = own.buffer_size.unwrap_or(config.buffer_size);
            options.export_interval = own.export_interval.unwrap_or(config.export_interval);
            options.retention = own.retention.unwrap_or(config.log.retention_age);
            options.begin = own.begin;
            options.select = own.select.clone();
            options.needs = own.needs;
            options.secrets = own.secrets.clone();
            let tail = Tail::start(&config.dir, source, open, options)
                .map_err(|source| BackendError::Cursor { name, source })?;
            tails.push(tail);
        }
        Ok(Self { tails })
    }

    pub(super) fn nudge(&self) {
        for tail in &self.tails {
            tail.nudge();
        }
    }

    pub(super) fn stats(&self) -> Vec<TailStats> {
        self.tails.iter().map(Tail::stats).collect()
    }

    /// Waits until every backend has everything before `position`.
    pub(super) fn export(
        &self,
        position: crate::log::Position,
        until: Instant,
    ) -> Result<(), ExportError> {
        self.nudge();
        for tail in &self.tails {
            let left = until.saturating_duration_since(Instant::now());
            tail.export(position, left)?;
        }
        Ok(())
    }

    /// Delivers what can be delivered until then, and says what is left.
    pub(super) fn shutdown(self, until: Instant) -> Vec<Left> {
        // All at once: none should wait for another one's deadline.
        self.nudge();
        let left = |tail: Tail| {
            let within = until.saturating_duration_since(Instant::now());
            tail.shutdown(within.max(Duration::from_millis(1)))
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .tails
                .into_iter()
                .map(|tail| scope.spawn(move || left(tail)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        })
    }
}
