//! Memory: the newest rows of the process, ready for every query, gone when it ends.
//!
//! Always true:
//! - it holds at most as many rows and bytes as its options say; what is over goes oldest first and
//!   is counted
//! - a batch is there whole or not at all, and each record once
//! - a query sees one moment, and is never waited for by anybody but the store's own tail
//!
//! `rows` is what is kept and how it goes, `answer` is how queries are answered.

mod answer;
mod rows;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::{
    backend::{BatchRange, Row, Scan, ScanError, Sink, SinkError},
    log::Position,
    model::{Event, Link, Metric, Origin, Span, Trace},
    query::filter::Filter,
    record::id::LogId,
};

use rows::Rows;

/// How much a [`MemoryStore`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rows at most; a trace is one for its start and one for its end. Default 100,000, from 1.
    pub max_rows: usize,
    /// Bytes at most, what finds the rows again included. Default 64 MiB, from 64 KiB.
    pub max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_rows: 100_000,
            max_bytes: 64 << 20,
        }
    }
}

/// How full a [`MemoryStore`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct MemoryStats {
    /// Rows in it.
    pub rows: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Rows that had to go, ever.
    pub evicted: u64,
}

/// The rows, as a handle that is cheap to clone: one clone goes into
/// [`BackendConfig::memory`](crate::BackendConfig::memory), the others are asked.
///
/// It outlives the manager that fills it. After a restart of the process it begins empty, with
/// what was recorded and not yet delivered to the one before.
///
/// ```
/// use std::time::Duration;
/// use emberlog::{backend::{memory::MemoryStore, Scan}, BackendConfig, Config, Filter, Manager};
/// # let dir = tempfile::tempdir()?;
/// let store = MemoryStore::default();
/// let config = Config::new(dir.path()).backend(BackendConfig::memory(&store));
/// let manager = Manager::open(config)?;
/// manager.start_trace("graph_run").ok();
/// manager.export(Duration::from_secs(5))?;
/// assert_eq!(store.traces(&Filter::new())?[0].name, "graph_run");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<RwLock<Rows>>);

impl MemoryStore {
    /// An empty store; options out of range are taken as the nearest one inside.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(RwLock::new(Rows::new(options))))
    }

    /// How full it is.
    pub fn stats(&self) -> MemoryStats {
        self.read().stats()
    }

    /// Forgets all rows, which do not count as evicted.
    pub fn clear(&self) {
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rows.clear();
    }

    /// A sink that fills it.
    pub fn sink(&self, name: impl Into<String>) -> MemorySink {
        MemorySink {
            name: name.into(),
            store: self.clone(),
        }
    }

    /// Nothing that is done under the lock can leave the rows half changed, short of running out
    /// of memory.
    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scan for MemoryStore {
    fn traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError> {
        Ok(answer::traces(&self.read(), filter))
    }

    fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        Ok(answer::spans(&self.read(), filter))
    }

    fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        Ok(answer::events(&self.read(), filter))
    }

    fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        Ok(answer::metrics(&self.read(), filter))
    }

    fn links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError> {
        Ok(answer::links(&self.read(), filter))
    }
}

/// Fills a [`MemoryStore`].
#[derive(Debug)]
pub struct MemorySink {
    name: String,
    store: MemoryStore,
}

impl Sink for MemorySink {
    fn name(&self) -> &str {
        &self.name
    }

    /// The cursor file counts: what an earlier process delivered to its memory is gone with it,
    /// and stays in the log.
    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        let mut rows = self.store.0.write().unwrap_or_else(PoisonError::into_inner);
        rows.meet(origin);
    }

    fn write(&mut self, _range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        // First everything that can be refused: a batch is there whole or not at all.
        if let Some(row) = rows.iter().find(|row| rows::identity(row).is_none()) {
            let what = format!("a row without the id of its record: {row:?}");
            return Err(SinkError::Content(what.into()));
        }
        let mut store = self.store.0.write().unwrap_or_else(PoisonError::into_inner);
        store.extend(rows);
        Ok(())
    }

    fn retain(&mut self, since_ns: i64) -> Result<u64, SinkError> {
        let mut rows = self.store.0.write().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.retain(since_ns))
    }
}
