//! Reading logs: by the process that writes them, by another one meanwhile, or after it died.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use crate::{
    backend::{Needs, Row, Scan, ScanError},
    log::{Position, ReadError, Step},
    model::{Event, Link, Metric, Span, Trace},
    query::filter::Filter,
    record::id::TraceId,
    sync::{Mutex, MutexGuard},
};

use super::{
    events::Events,
    gather::gather,
    links::Links,
    logs::Logs,
    metrics::Metrics,
    pass::Pass,
    prefix,
    rows::{frame_rows, Origin, Spare},
    spans::Spans,
    store::{store_error, Store},
    traces::TraceWalk,
    tree::TraceTree,
    walk::{Look, Walk},
};

/// Where a reader finds the rings of the processes that write or wrote the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Rings {
    /// In the default folder.
    #[default]
    Default,
    /// Below this folder: what the writer has as `ring.dir`.
    Folder(PathBuf),
    /// Nowhere: only what is logged is seen, and nothing counts as open unless the log says so.
    Ignore,
}

/// Answers queries from a log directory, or from all logs below a root as if they were one.
///
/// Needs read access only: no recovery, no lock, no running writer. Every query sees what is
/// logged or in the rings when it begins, and what is running. Records that a process keeps on
/// its heap, because it has no shared memory, are seen when they are logged: after a flush, or
/// within 100 ms.
///
/// ```no_run
/// use emberlog::{query::LogReader, Filter, Order, Status};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = LogReader::open("/var/lib/app/telemetry")?;
/// let slow = Filter::new().status(Status::Error).order(Order::Slowest).limit(10);
/// for span in log.spans(&slow)? {
///     println!("{} {:?}", span.name, span.duration());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogReader {
    logs: Mutex<Logs>,
}

/// Rows that come one at a time; what is kept between two of them is small.
///
/// After an error there are no more rows.
pub struct Rows<T> {
    walk: Box<dyn Iterator<Item = Result<T, ScanError>> + Send>,
    store: Arc<Store>,
}

impl<T> Rows<T> {
    fn of<L>(store: Arc<Store>, look: L, filter: &Filter, limit: usize) -> Self
    where
        L: Look<Row = T> + Send + 'static,
    {
        Self {
            walk: Box::new(Walk::new(store.clone(), look, filter, limit)),
            store,
        }
    }

    /// Frames so far in which something did not check; their rows are missing.
    pub fn damaged_frames(&self) -> u64 {
        self.store.damaged()
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Result<T, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.next()
    }
}

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// What stands in a log after a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Since {
    /// Records in log order, nothing derived.
    pub rows: Vec<Row>,
    /// Where to go on.
    pub next: Position,
    /// Whether retention removed something before it was read.
    pub gap: bool,
    /// Frames and records that could not be read.
    pub damaged: u64,
}

impl LogReader {
    /// Opens a log, or all logs that are direct sub-directories of a root, with what the rings in
    /// the default folder hold on top.
    ///
    /// # Errors
    /// There is no log, or one is of a newer format or cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        Self::open_with(path, Rings::Default)
    }

    /// Opens a log, or all logs that are direct sub-directories of a root.
    ///
    /// # Errors
    /// There is no log, or one is of a newer format or cannot be read.
    pub fn open_with(path: impl AsRef<Path>, rings: Rings) -> Result<Self, ReadError> {
        let folder = match rings {
            Rings::Default => Some(crate::ring::Options::default().base_dir()),
            Rings::Folder(folder) => Some(folder),
            Rings::Ignore => None,
        };
        Ok(Self {
            logs: Mutex::new(Logs::open(path.as_ref(), folder)?),
        })
    }

    fn logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as it is now.
    fn store(&self) -> Result<Arc<Store>, ScanError> {
        let store = self.logs().refresh().map_err(store_error)?;
        Ok(Arc::new(store))
    }

    /// The directories of the logs that are read.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.logs().paths()
    }

    /// Traces that fit; at most 100 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError> {
        TraceWalk::new(self.store()?, filter, filter.trace_limit()).collect()
    }

    /// Spans that fit; at most 1000 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        self.collect(Spans::new(filter), filter)
    }

    /// Events that fit, derived ones included; at most 1000 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        self.collect(Events::new(filter), filter)
    }

    /// Metrics that fit, derived ones included; at most 1000 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        self.collect(Metrics::new(filter), filter)
    }

    /// Links that fit; at most 1000 unless the filter says otherwise.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError> {
        self.collect(Links::new(filter), filter)
    }

    fn collect<L: Look>(&self, look: L, filter: &Filter) -> Result<Vec<L::Row>, ScanError> {
        Walk::new(self.store()?, look, filter, filter.row_limit()).collect()
    }

    /// Traces that fit, one at a time; all of them unless the filter has a limit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn traces_iter(&self, filter: &Filter) -> Result<Rows<Trace>, ScanError> {
        let store = self.store()?;
        let limit = filter.limit.unwrap_or(usize::MAX);
        Ok(Rows {
            walk: Box::new(TraceWalk::new(store.clone(), filter, limit)),
            store,
        })
    }

    /// Spans that fit, one at a time; all of them unless the filter has a limit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn spans_iter(&self, filter: &Filter) -> Result<Rows<Span>, ScanError> {
        self.stream(Spans::new(filter), filter)
    }

    /// Events that fit, one at a time; all of them unless the filter has a limit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn events_iter(&self, filter: &Filter) -> Result<Rows<Event>, ScanError> {
        self.stream(Events::new(filter), filter)
    }

    /// Metrics that fit, one at a time; all of them unless the filter has a limit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn metrics_iter(&self, filter: &Filter) -> Result<Rows<Metric>, ScanError> {
        self.stream(Metrics::new(filter), filter)
    }

    /// Links that fit, one at a time; all of them unless the filter has a limit.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn links_iter(&self, filter: &Filter) -> Result<Rows<Link>, ScanError> {
        self.stream(Links::new(filter), filter)
    }

    fn stream<L>(&self, look: L, filter: &Filter) -> Result<Rows<L::Row>, ScanError>
    where
        L: Look + Send + 'static,
    {
        let limit = filter.limit.unwrap_or(usize::MAX);
        Ok(Rows::of(self.store()?, look, filter, limit))
    }

    /// One trace with everything that belongs to it; `None` if nothing is known of it.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn trace(&self, id: TraceId) -> Result<Option<TraceTree>, ScanError> {
        let parts = gather(&*self.store()?, id)?;
        Ok(TraceTree::build(parts))
    }

    /// Ids of traces that begin with these hex digits (dashes do not count), newest first; no more
    /// than `most` are looked for. Fewer than 32 digits are found by looking at all starts and ends
    /// of traces.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn trace_by_prefix(&self, digits: &str, most: usize) -> Result<Vec<TraceId>, ScanError> {
        prefix::find(&*self.store()?, digits, most)
    }

    /// One pass over all records of traces that began in this time, Unix nanoseconds, both ends
    /// included.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub(crate) fn pass(&self, since_ns: i64, until_ns: i64) -> Result<Pass, ScanError> {
        Ok(Pass::new(self.store()?, since_ns, until_ns))
    }

    /// The records of a log after `from`, about `most` of them: whole frames.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read, or if there are several: positions of one log mean
    /// nothing in another.
    pub fn records_since(&self, from: Position, most: usize) -> Result<Since, ScanError> {
        let mut logs = self.logs();
        let several = "a root with several logs has no positions; open one of its logs";
        let snapshot = logs.only().ok_or_else(|| ScanError::Store {
            what: "records since a position".to_owned(),
            source: several.into(),
        })?;
        snapshot.refresh().map_err(store_error)?;
        let mut since = Since {
            rows: Vec::new(),
            next: from,
            gap: false,
            damaged: 0,
        };
        let mut steps = snapshot.frames_from(from);
        let mut origin: Option<Origin> = None;
        while since.rows.len() < most {
            let Some(step) = steps.next() else {
                since.next = steps.position();
                break;
            };
            since.next = step.next_position();
            match step {
                Step::Frame(frame, view) => {
                    let known = origin.take().filter(|o| o.instance == frame.instance);
                    let of = known.unwrap_or_else(|| Origin::of(view));
                    let read = frame_rows(
                        &frame,
                        view,
                        &of,
                        Needs::ALL,
                        &mut Spare::default(),
                        &mut since.rows,
                    );
                    since.damaged += u64::from(read.is_err());
                    origin = Some(of);
                }
                Step::Gap { .. } => since.gap = true,
                Step::Damaged { .. } => since.damaged += 1,
            }
        }
        Ok(since)
    }
}

impl Scan for LogReader {
    fn traces(&self, filter: &Filter) -> Result<Vec<Trace>, ScanError> {
        self.traces(filter)
    }

    fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        self.spans(filter)
    }

    fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        self.events(filter)
    }

    fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        self.metrics(filter)
    }

    fn links(&self, filter: &Filter) -> Result<Vec<Link>, ScanError> {
        self.links(filter)
    }
}
