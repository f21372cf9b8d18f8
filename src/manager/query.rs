//! Queries by the process that records: they see everything recorded before the call.

use std::sync::{Arc, OnceLock};

use super::Manager;
use crate::{
    backend::ScanError,
    model::{Event, Link, Metric, Span, Trace},
    query::{LogReader, Rings, TraceTree},
    record::id::TraceId,
    Filter,
};

/// Opened at the first query, kept for the next.
#[derive(Default)]
pub(super) struct Reader(OnceLock<Arc<LogReader>>);

impl Manager {
    /// A reader of the manager's log, after a flush; `None` when nothing is recorded.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn reader(&self) -> Result<Option<Arc<LogReader>>, ScanError> {
        let Some(inner) = self.inner() else {
            return Ok(None);
        };
        // After shutdown everything is in the log already; a log that cannot be written is still
        // worth reading.
        let _ = inner.flush(super::FLUSH_TIMEOUT);
        // A forked child reads for itself: a thread that it lacks may hold the locks of this one.
        let home = inner.engine.gate.is_home();
        if let (true, Some(reader)) = (home, inner.reader.0.get()) {
            return Ok(Some(Arc::clone(reader)));
        }
        let rings = Rings::Folder(inner.config.ring.base_dir());
        let reader =
            LogReader::open_with(&inner.config.dir, rings).map_err(|error| ScanError::Store {
                what: format!("log {}", inner.config.dir.display()),
                source: Box::new(error),
            })?;
        let reader = Arc::new(reader);
        Ok(Some(if home {
            Arc::clone(inner.reader.0.get_or_init(|| reader))
        } else {
            reader
        }))
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&LogReader) -> Result<T, ScanError>,
        nothing: T,
    ) -> Result<T, ScanError> {
        match self.reader()? {
            Some(reader) => question(&reader),
            None => Ok(nothing),
        }
    }

    /// Traces that fit, newest first; at most 100 unless the filter says otherwise. Everything
    /// recorded before this call is seen. A disabled manager has none.
    ///
    /// ```
    /// # use emberlog::{Config, Filter, Manager, Status};
    /// # let dir = tempfile::tempdir()?;
    /// let manager = Manager::open(Config::new(dir.path()))?;
    /// manager.start_trace("graph_run").ok();
    /// let traces = manager.query_traces(&Filter::new().status(Status::Ok))?;
    /// assert_eq!(traces[0].name, "graph_run");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn query_traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError> {
        self.ask(|reader| reader.traces(filter), Vec::new())
    }

    /// Spans that fit, newest first; at most 1000 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn query_spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        self.ask(|reader| reader.spans(filter), Vec::new())
    }

    /// Events that fit, recorded and derived ones, newest first; at most 1000 unless the filter
    /// says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn query_events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        self.ask(|reader| reader.events(filter), Vec::new())
    }

    /// Metrics that fit, recorded and derived ones, newest first; at most 1000 unless the filter
    /// says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn query_metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        self.ask(|reader| reader.metrics(filter), Vec::new())
    }

    /// Links that fit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn query_links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError> {
        self.ask(|reader| reader.links(filter), Vec::new())
    }

    /// One trace with its spans as a tree; `None` if the log has nothing of it.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn get_trace(&self, id: TraceId) -> Result<Option<TraceTree>, ScanError> {
        self.ask(|reader| reader.trace(id), None)
    }
}
