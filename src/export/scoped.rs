//! A sink as an export sees it: it counts, and speaks of the stream instead of the log.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

use crate::{
    backend::{BackendConfig, BatchRange, Row, Sink, SinkError},
    log::Position,
    model::Origin,
    record::id::{LogId, TraceId},
};

/// What a target took so far. Relaxed everywhere: counters for display.
#[derive(Debug, Default)]
pub(super) struct Tally {
    records: AtomicU64,
    spans: AtomicU64,
    duplicates: AtomicU64,
}

impl Tally {
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    fn add(&self, batch: Batch) {
        self.records.fetch_add(batch.records, Ordering::Relaxed);
        self.spans.fetch_add(batch.spans, Ordering::Relaxed);
    }
}

/// How a target keeps its place in a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// What makes the stream another one than the log itself; empty for the log.
    pub(super) stream: String,
    /// Begins here, whatever the target says.
    pub(super) from: Option<Position>,
}

impl Scope {
    /// The id under which the target knows the stream.
    pub(super) fn id(&self, log: LogId) -> LogId {
        match self.stream.as_str() {
            "" => log,
            stream => LogId(TraceId::from_text(&format!("log {log} {stream}")).0 .0),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    records: u64,
    spans: u64,
    to: Position,
}

impl Batch {
    fn of(rows: &[Row], to: Position) -> Self {
        let ended = |row: &&Row| matches!(row, Row::Span(span) if span.duration_ns.is_some());
        Self {
            records: rows.len() as u64,
            spans: rows.iter().filter(ended).count() as u64,
            to,
        }
    }
}

pub(super) struct Scoped {
    inner: Box<dyn Sink>,
    scope: Scope,
    tally: Arc<Tally>,
    /// A batch of which it is not known whether it arrived.
    unsure: Option<Batch>,
    /// Duplicates that sinks before this one counted.
    before: u64,
}

impl Scoped {
    pub(super) fn new(inner: Box<dyn Sink>, scope: Scope, tally: Arc<Tally>) -> Self {
        Self {
            inner,
            scope,
            unsure: None,
            before: tally.duplicates(),
            tally,
        }
    }
}

impl Sink for Scoped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        // Asked even where its word does not count: an answer shows that it is there.
        let said = self.inner.position(self.scope.id(log))?;
        let said = self.scope.from.or(said);
        match self.unsure.take() {
            Some(batch) if said == Some(batch.to) => self.tally.add(batch),
            _ => {}
        }
        Ok(said)
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.inner.meet(origin);
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let named = BatchRange {
            log: self.scope.id(range.log),
            ..range
        };
        let batch = Batch::of(rows, range.to);
        let written = self.inner.write(named, rows);
        let duplicates = self.before + self.inner.duplicates();
        self.tally.duplicates.store(duplicates, Ordering::Relaxed);
        match &written {
            Ok(()) => {
                self.tally.add(batch);
                if let Some(from) = &mut self.scope.from {
                    *from = range.to;
                }
            }
            Err(_) => self.unsure = Some(batch),
        }
        written
    }

    fn duplicates(&self) -> u64 {
        self.inner.duplicates()
    }
}

/// Sends single rows to a target, beside every stream: its places in logs stay as they are.
pub struct Resend {
    target: BackendConfig,
    sink: Option<Box<dyn Sink>>,
    met: Option<Arc<Origin>>,
}

impl std::fmt::Debug for Resend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resend")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Resend {
    /// Opened with the first row.
    pub fn to(target: &BackendConfig) -> Self {
        Self {
            target: target.clone(),
            sink: None,
            met: None,
        }
    }

    /// Sends a row that this instance recorded.
    ///
    /// # Errors
    /// [`SinkError`], as the target says.
    pub fn send(&mut self, origin: &Arc<Origin>, row: &Row) -> Result<(), SinkError> {
        let sink = match &mut self.sink {
            Some(sink) => sink,
            none => none.insert(self.target.open()?),
        };
        if self
            .met
            .as_ref()
            .is_none_or(|met| !Arc::ptr_eq(met, origin))
        {
            sink.meet(origin);
            self.met = Some(origin.clone());
        }
        let nowhere = BatchRange {
            log: LogId(TraceId::from_text("rows that were set aside").0 .0),
            instance: origin.instance,
            from: Position::START,
            to: Position::START,
        };
        sink.write(nowhere, std::slice::from_ref(row))
    }

    /// Rows of those sent that the target had already, as far as it can tell.
    pub fn duplicates(&self) -> u64 {
        self.sink.as_ref().map_or(0, |sink| sink.duplicates())
    }
}
