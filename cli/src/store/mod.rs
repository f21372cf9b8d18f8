//! Reading logs: the only place that knows how the library does it.
//!
//! `mod` answers queries, `source` opens whatever can be analysed, `follow` reads on, `survey`
//! describes a log as files, `check` verifies and recovers, `aside` has what backends refused;
//! `reports` are the structs that they return.

mod aside;
mod backends;
mod check;
mod follow;
mod reports;
mod source;
mod survey;

use std::path::{Path, PathBuf};

use emberlog::{
    query::{LogReader, Rings, TraceTree},
    Event, Filter, Metric, Span, Trace, TraceId,
};

pub use aside::{Aside, Refused};
pub use backends::cursors;
pub use check::{recover, verify};
pub use follow::Follow;
pub use reports::{
    Backend, CursorRow, DirStats, FrameRow, KindCount, Loss, Recovered, SegmentRow, Verified,
};
pub use source::Source;
pub use survey::{choose, frames, nothing_recorded, segments, stats};

use crate::failure::Failure;

/// A log directory, or a root of several, open for reading.
pub struct Store {
    dir: PathBuf,
    reader: LogReader,
}

/// Rows, one after the other, as they are found.
pub struct Rows<T> {
    dir: PathBuf,
    rows: emberlog::query::Rows<T>,
}

impl<T> Rows<T> {
    /// Frames so far that could not be read; what they hold is missing.
    pub fn damaged_frames(&self) -> u64 {
        self.rows.damaged_frames()
    }
}

impl<T> Iterator for Rows<T> {
    type Item = Result<T, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.map_err(|error| failed(&self.dir, &error)))
    }
}

macro_rules! rows {
    ($($(#[$doc:meta])* $name:ident $iter:ident $row:ident,)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, filter: &Filter) -> Result<Rows<$row>, Failure> {
            let rows = self.reader.$iter(filter).map_err(|error| failed(&self.dir, &error))?;
            Ok(Rows { dir: self.dir.clone(), rows })
        }
    )*};
}

impl Store {
    /// Opens `dir` for reading. Nothing is written, and a live writer is not disturbed.
    pub fn open(dir: &Path, rings: Rings) -> Result<Self, Failure> {
        logs(dir)?;
        let reader = LogReader::open_with(dir, rings).map_err(|error| failed(dir, &error))?;
        Ok(Self {
            dir: dir.to_owned(),
            reader,
        })
    }

    rows! {
        /// Traces that fit.
        traces traces_iter Trace,
        /// Spans that fit.
        spans spans_iter Span,
        /// Events that fit.
        events events_iter Event,
        /// Measurements that fit.
        metrics metrics_iter Metric,
    }

    /// One trace with everything that belongs to it.
    pub fn trace(&self, id: TraceId) -> Result<TraceTree, Failure> {
        let tree = self
            .reader
            .trace(id)
            .map_err(|error| failed(&self.dir, &error))?;
        tree.ok_or_else(|| Failure::new(format!("no trace {id} in {}", self.dir.display())))
    }

    /// The trace that a person means: an id, a unique prefix of one, or the text it was made from.
    pub fn find_trace(&self, text: &str) -> Result<TraceId, Failure> {
        let digits = text.replace('-', "");
        let is_prefix =
            (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if is_prefix {
            let found = self.by_prefix(&digits)?;
            match found.as_slice() {
                [] => {}
                [id] => return Ok(*id),
                several => {
                    let some: Vec<String> =
                        several.iter().take(4).map(ToString::to_string).collect();
                    let more = if several.len() > some.len() {
                        ", ..."
                    } else {
                        ""
                    };
                    return Err(Failure::new(format!(
                        "several traces begin with {text:?}: {}{more}",
                        some.join(", ")
                    )));
                }
            }
        }
        // A full id may belong to a trace of which only spans are left; any other text may be what
        // an id was made from.
        let (id, _) = TraceId::from_text(text);
        let known = self
            .reader
            .trace(id)
            .map_err(|error| failed(&self.dir, &error))?;
        if !text.is_empty() && known.is_some() {
            return Ok(id);
        }
        let dir = self.dir.display();
        Err(Failure::new(match is_prefix {
            true => format!("no trace in {dir} has an id that begins with {text:?}"),
            false => format!("{text:?} is no trace id: expected 32 hex digits or their beginning, or the text that a trace in {dir} was started with"),
        }))
    }

    fn by_prefix(&self, digits: &str) -> Result<Vec<TraceId>, Failure> {
        let found = self.reader.trace_by_prefix(digits, 5);
        found.map_err(|error| failed(&self.dir, &error))
    }
}

/// Whether somebody has the log in `dir` open for writing.
pub fn is_in_use(dir: &Path) -> bool {
    emberlog::log::log_is_locked(dir).unwrap_or(false)
}

/// The logs that `dir` means, at least one. Commands that read never create a directory.
pub fn logs(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let name = dir.display();
    match std::fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => {
            return Err(Failure::new(format!(
                "{name} is a file, expected a log directory"
            )))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let hint = "name one with --dir or EMBERLOG_DIR";
            return Err(Failure::new(format!("no log directory at {name} ({hint})")));
        }
        Err(error) => return Err(Failure::because(format!("cannot read {name}"), &error)),
    }
    let mut logs =
        emberlog::log::logs_under(dir).map_err(|e| Failure::because("cannot list logs", &e))?;
    let has_segments =
        |entry: std::fs::DirEntry| entry.path().extension().is_some_and(|e| e == "seg");
    if logs.is_empty()
        && std::fs::read_dir(dir).is_ok_and(|mut d| d.any(|e| e.is_ok_and(has_segments)))
    {
        logs.push(dir.to_owned()); // Its LOG file is gone; the segments say the same.
    }
    match logs.is_empty() {
        true => Err(Failure::new(format!("{name} holds no emberlog log"))),
        false => Ok(logs),
    }
}

/// Where the cursors of a log and what was refused of it lie: in it, or below a directory of the
/// user's in a folder for each log.
pub fn kept(log: &Path, state: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(state) = state else {
        return Ok(log.to_owned());
    };
    let snapshot = emberlog::log::Snapshot::open(log).map_err(|error| failed(log, &error))?;
    Ok(state.join(snapshot.log().log_id.to_string()))
}

/// The same for whoever looks at what is there: a folder that is missing is a mistake.
pub fn kept_before(log: &Path, state: Option<&Path>) -> Result<PathBuf, Failure> {
    match state.filter(|state| !state.is_dir()) {
        Some(missing) => Err(Failure::new(format!(
            "there is no directory {} (--state)",
            missing.display()
        ))),
        None => kept(log, state),
    }
}

fn failed(dir: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::because(format!("cannot read the log in {}", dir.display()), error)
}
