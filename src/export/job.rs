//! One export: a tail with a source, a filter and a target, and what it did.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    filtered::Filtered,
    scoped::{Scope, Scoped, Tally},
};
use crate::{
    backend::BackendConfig,
    log::{Position, ReadError},
    query::{filter::Filter, LogReader, Rings},
    tail::{
        self,
        cursor::{Cursor, CursorError, Place},
        FrameSource, LogSource, Tail, TailState,
    },
};

/// What goes, and where it is noted how far.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Name of the cursor: letters, digits, `-`, `_`, `.`; at most 64.
    pub cursor: String,
    /// Directory of the cursor and of what the target refuses. Default `None`: the log's own, so
    /// that its retention knows what is still needed.
    pub state: Option<PathBuf>,
    /// Begins here, whatever cursor and target say. Default `None`: where the last one ended.
    pub from: Option<Position>,
    /// Only rows that fit; order, limit and offset do not count. Default `None`: all.
    pub filter: Option<Filter>,
    /// What tells streams with different filters apart, as the user typed them. Default empty.
    pub stream: String,
    /// Where a filter by graph finds what is not logged yet.
    pub rings: Rings,
    /// Rows of a batch. Default 10,000.
    pub batch: usize,
    /// Longest wait of a row for its batch while following. Default 1 second.
    pub interval: Duration,
}

impl ExportOptions {
    /// With this cursor, everything else as by default.
    pub fn new(cursor: impl Into<String>) -> Self {
        Self {
            cursor: cursor.into(),
            state: None,
            from: None,
            filter: None,
            stream: String::new(),
            rings: Rings::Default,
            batch: 10_000,
            interval: Duration::from_secs(1),
        }
    }
}

/// Why an export could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The log cannot be read.
    #[error("cannot read the log in {dir}")]
    Read {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The cursor cannot be had.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// It should begin behind the end.
    #[error("position {from} is past the end of the log, {end}")]
    PastEnd {
        /// Where it should begin.
        from: Position,
        /// Where the log ends.
        end: Position,
    },
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Whether everything that the log held when it began is delivered.
    pub done: bool,
    /// What its tail is doing.
    pub state: TailState,
    /// Records of every kind that are left, as of about a second ago.
    pub left: u64,
    /// Rows that the target took.
    pub records: u64,
    /// Why the last attempt failed, unless one succeeded since.
    pub trouble: Option<String>,
    /// Whether the target answered yet.
    pub reached: bool,
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// Rows that the target took, those that it had already included.
    pub records: u64,
    /// Spans among them that ended.
    pub spans: u64,
    /// Rows among them that the target had already, as far as it can tell.
    pub duplicates: u64,
    /// Rows that the target refused; they are set aside.
    pub quarantined: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Both together; the time is the longer one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            spans: self.spans + other.spans,
            duplicates: self.duplicates + other.duplicates,
            quarantined: self.quarantined + other.quarantined,
            seconds: self.seconds.max(other.seconds),
        }
    }
}

/// A running export. Dropping it ends it; the next one goes on there.
pub struct Export {
    tail: Tail,
    tally: Arc<Tally>,
    end: Position,
    begun: Instant,
    /// Records that were behind the cursor's place when it began.
    pub total: u64,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("tail", &self.tail)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Export {
    /// Begins to bring the log in `dir` to `target`.
    ///
    /// # Errors
    /// [`StartError`]: the log, the cursor or the position cannot be used. What is wrong with the
    /// target shows in [`Progress`].
    pub fn start(
        dir: &Path,
        target: &BackendConfig,
        options: &ExportOptions,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Read {
            dir: dir.into(),
            source,
        };
        let source = LogSource::open(dir).map_err(failed)?;
        let Some(filter) = options.filter.clone() else {
            return Self::of(dir, source, target, options);
        };
        let reader = LogReader::open_with(dir, options.rings.clone()).map_err(failed)?;
        Self::of(dir, Filtered::new(source, reader, filter), target, options)
    }

    /// Begins to bring what any source has to `target`; cursor and what is refused go below
    /// `options.state`, else below `dir`.
    ///
    /// # Errors
    /// As [`Export::start`].
    pub fn of(
        dir: &Path,
        mut source: impl FrameSource + 'static,
        target: &BackendConfig,
        options: &ExportOptions,
    ) -> Result<Self, StartError> {
        let dir = options.state.as_deref().unwrap_or(dir);
        let (log, end) = (source.log(), source.end());
        let begin = {
            let mut cursor = Cursor::open(dir, &options.cursor, Place::start(log))?;
            if let Some(from) = options.from {
                if from > end {
                    return Err(StartError::PastEnd { from, end });
                }
                cursor.advance(Place {
                    position: from,
                    passed: source.records_before(from),
                    ..Place::start(log)
                })?;
            }
            cursor.place().position
        };
        let total = source.lag(begin).records;
        let tally = Arc::new(Tally::default());
        let scope = Scope {
            stream: options.stream.clone(),
            from: options.from,
        };
        let (secrets, needs) = (target.tuning.secrets.clone(), target.tuning.needs);
        let (target, counted) = (target.clone(), tally.clone());
        let open = move || {
            let sink = target.open()?;
            let sink = Scoped::new(sink, scope.clone(), counted.clone());
            Ok(Box::new(sink) as Box<dyn crate::backend::Sink>)
        };
        let mut tuned = tail::Options::new(&options.cursor);
        tuned.buffer_size = options.batch.max(1);
        tuned.export_interval = options.interval;
        tuned.secrets = secrets;
        tuned.needs = needs;
        tuned.retry_max = Duration::from_secs(10);
        Ok(Self {
            tail: Tail::start(dir, source, open, tuned)?,
            tally,
            end,
            begun: Instant::now(),
            total,
        })
    }

    /// Waits until everything is delivered that there was at the beginning, or for that long.
    pub fn wait(&self, within: Duration) -> Progress {
        let done = self.tail.export(self.end, within).is_ok();
        let stats = self.tail.stats();
        let well = matches!(stats.state, TailState::Running | TailState::Starting);
        Progress {
            done,
            state: stats.state,
            left: stats.lag_records,
            records: self.tally.records(),
            trouble: stats.last_error.filter(|_| !well || stats.quarantined > 0),
            reached: stats.batches > 0 || stats.state == TailState::Running,
        }
    }

    /// Delivers what there is now, as far as that goes within this time, and ends. The second value
    /// is how many records of the source are left, and why, if something failed.
    pub fn finish(self, within: Duration) -> (Report, Option<(u64, String)>) {
        let left = self.tail.shutdown(within);
        let report = Report {
            records: self.tally.records(),
            spans: self.tally.spans(),
            duplicates: self.tally.duplicates(),
            quarantined: left.quarantined,
            seconds: self.begun.elapsed().as_secs_f64(),
        };
        let trouble = (left.records > 0).then(|| {
            let why = left.last_error.unwrap_or_else(|| "time was up".to_owned());
            (left.records, why)
        });
        (report, trouble)
    }
}
