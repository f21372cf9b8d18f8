//! Where records go after the log, and where rows come back from.
//!
//! Always true:
//! - a [`Sink`] sees frames in log order and acknowledges positions, never single records
//! - a batch that was acknowledged is never given again; one that was not is given again whole
//! - a [`Scan`] answers a [`Filter`] as the log itself would
//!
//! A backend is one file here, one feature where it brings a dependency, and one row in the
//! conformance suite (`tests/conformance`).

#[cfg(any(feature = "jsonl", feature = "perfetto"))]
pub(crate) mod appended;
pub(crate) mod best;
#[cfg(any(feature = "otlp", feature = "postgres", feature = "sqlite"))]
pub(crate) mod exact;
#[cfg(feature = "jsonl")]
pub mod jsonl;
pub mod memory;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "perfetto")]
pub mod perfetto;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

mod config;
mod secret;
mod select;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod table;

#[cfg(any(feature = "jsonl", feature = "perfetto"))]
pub use appended::FileError;
#[cfg(any(feature = "otlp", feature = "postgres", test))]
pub(crate) use config::Parameters;
pub use config::{BackendConfig, Begin};
pub use secret::Secrets;
pub(crate) use select::Selector;
pub use select::{Needs, RowKind, Select};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use table::Table;

use std::{error::Error, sync::Arc, time::Duration};

use crate::{
    log::Position,
    model::{Event, Link, Metric, Origin, Span, Trace},
    query::filter::Filter,
    record::id::{InstanceId, LogId, RecordId, TraceId},
};

/// A trace began.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceBegan {
    /// What is known of it; not ended.
    pub trace: Trace,
    /// Identity of the record.
    pub record: RecordId,
}

/// A trace ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceEnded {
    /// What the end alone tells: id, name, start, end, status, attributes added since the start.
    pub trace: Trace,
    /// Identity of the record.
    pub record: RecordId,
}

/// One record in the shape of rows. A trace is two records.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // lives in batches only
pub enum Row {
    /// A trace began.
    TraceBegan(TraceBegan),
    /// A trace ended.
    TraceEnded(TraceEnded),
    /// A span ended, or began where only its start is known yet.
    Span(Span),
    /// An event.
    Event(Event),
    /// A measurement.
    Metric(Metric),
    /// A link.
    Link(Link),
}

/// Where a batch lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRange {
    /// The log.
    pub log: LogId,
    /// The instance that wrote the last frame of the batch.
    pub instance: InstanceId,
    /// First position of the batch.
    pub from: Position,
    /// Position after the batch: what the cursor says once it is delivered.
    pub to: Position,
}

/// Why a sink did not take a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Worth another try: busy, disconnected, full.
    #[error("{0}")]
    Retry(#[source] Box<dyn Error + Send + Sync>),
    /// The content is to blame: the batch is bisected and the record put aside.
    #[error("{0}")]
    Content(#[source] Box<dyn Error + Send + Sync>),
    /// Refused credentials, a wrong address, a foreign database: pauses the sink visibly.
    #[error("{0}")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

impl SinkError {
    /// How long the backend wants to be left alone, if its error is [`Throttled`].
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Retry(source) => Some(source.downcast_ref::<Throttled>()?.wait),
            _ => None,
        }
    }
}

/// What a [`SinkError::Retry`] holds where the backend said how long to wait. That wait is kept,
/// whoever may be in a hurry.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Throttled {
    /// How long to leave it alone.
    pub wait: Duration,
    /// What happened.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Rows that a backend took with their batch, yet will never have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many.
    pub rows: u64,
    /// Why, in the words of the backend; also a warning without any rows.
    pub reason: Option<String>,
}

/// Takes batches in log order.
pub trait Sink: Send {
    /// Name of the sink: of its cursor, in `stats()` and in messages.
    fn name(&self) -> &str;

    /// Where the sink itself says that it stands in `log`, for sinks that store their cursor with
    /// their rows: it counts, not the cursor file. A store that has nothing of the log says
    /// [`Position::START`]; `Ok(None)` is a sink that keeps no cursor.
    ///
    /// # Errors
    /// [`SinkError`] if it cannot be asked.
    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError>;

    /// Whose frame stands before that position, where the sink remembers the instance of the last
    /// batch beside it. A log that was copied goes on in both places under the same positions; only
    /// the instance tells whose they are.
    ///
    /// # Errors
    /// [`SinkError`] if it cannot be asked.
    fn position_instance(&mut self, log: LogId) -> Result<Option<InstanceId>, SinkError> {
        let _ = log;
        Ok(None)
    }

    /// Says what the instance is whose rows are about to come; again whenever that changed. Called
    /// before the first batch that has rows of it, by every tail that starts.
    fn meet(&mut self, origin: &Arc<Origin>) {
        let _ = origin;
    }

    /// Stores `rows` and, in the same transaction where there is one, the position `range.to`.
    /// When it returns, the batch is delivered. A batch whose content was refused comes again in
    /// pieces, all but the last with `range.to == range.from`; `rows` may be empty.
    ///
    /// # Errors
    /// [`SinkError`]; nothing of the batch may be visible then, unless the outcome is unknown, in
    /// which case [`Sink::position`] is asked before the next try.
    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError>;

    /// Rows, of all that were written so far, that the store had already; 0 for a sink that cannot
    /// tell.
    fn duplicates(&self) -> u64 {
        0
    }

    /// Deletes rows of traces that began before this Unix nanosecond; returns how many rows. One
    /// that has much to delete does some of it and is asked again within a second: meanwhile
    /// batches go on.
    ///
    /// # Errors
    /// [`SinkError`] as for [`Sink::write`].
    fn retain(&mut self, since_ns: i64) -> Result<u64, SinkError> {
        let _ = since_ns;
        Ok(0)
    }

    /// What was refused for good since the last call, of batches that were delivered.
    fn refusals(&mut self) -> Refusals {
        Refusals::default()
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The store could not be read.
    #[error("cannot query {what}: {source}")]
    Store {
        /// Which store.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Everything that belongs to some traces, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceParts {
    /// Their spans.
    pub spans: Vec<Span>,
    /// Their events, as they were recorded.
    pub events: Vec<Event>,
    /// Their measurements, as they were recorded.
    pub metrics: Vec<Metric>,
}

/// Answers queries.
pub trait Scan {
    /// Traces that fit.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError>;
    /// Spans that fit.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError>;
    /// Events that fit.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError>;
    /// Metrics that fit.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError>;
    /// Links of a trace.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError>;

    /// Everything that belongs to these traces. Asks for one after the other, unless the store
    /// knows a better way.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    fn parts(&self, traces: &[TraceId]) -> Result<TraceParts, ScanError> {
        let mut parts = TraceParts::default();
        for trace in traces {
            let mut filter = Filter::new().trace_id(*trace).all();
            filter.recorded_only = true;
            parts.spans.extend(self.spans(&filter)?);
            parts.events.extend(self.events(&filter)?);
            parts.metrics.extend(self.metrics(&filter)?);
        }
        Ok(parts)
    }
}
