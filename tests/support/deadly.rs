//! A sink that kills its process.

use std::sync::Arc;

use emberlog::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::Position,
    model::Origin,
    InstanceId, LogId,
};

/// Kills its process at a write: before it is sent, or when it is committed and nobody knows yet.
pub struct Deadly<S> {
    inner: S,
    writes: u64,
    before: Option<u64>,
    after: Option<u64>,
}

impl<S> Deadly<S> {
    /// At a stage: `before N`, `after N`; anything else is never.
    pub fn at(stage: &str, inner: S) -> Self {
        let write = |name: &str| stage.strip_prefix(name).and_then(|n| n.parse().ok());
        Self {
            inner,
            writes: 0,
            before: write("before "),
            after: write("after "),
        }
    }

    fn die_at(&self, write: Option<u64>) {
        if write == Some(self.writes) {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }
}

impl<S: Sink> Sink for Deadly<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        self.inner.position(log)
    }

    fn position_instance(&mut self, log: LogId) -> Result<Option<InstanceId>, SinkError> {
        self.inner.position_instance(log)
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.inner.meet(origin);
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        self.writes += 1;
        self.die_at(self.before);
        self.inner.write(range, rows)?;
        self.die_at(self.after);
        Ok(())
    }
}
