//! JSON lines: one object per record, with the field names of queries.
//!
//! Always true:
//! - each record is one line, once, whatever dies when; `PATH.place` beside the file says how far
//!   it is
//! - a line has what `query --json` prints for the row, after a field `record` that says what it
//!   is: `trace_start`, `trace_end`, `span`, `event`, `metric` or `link`
//!
//! What follows from a record is not among them: a reader can derive it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{appended::Appended, BatchRange, FileError, Row, Sink, SinkError};
use crate::{log::Position, record::id::LogId};

/// Appends to a file of JSON lines.
#[derive(Debug)]
pub struct JsonlSink {
    name: String,
    file: Appended,
}

impl JsonlSink {
    /// Writes to `path`, created when the first batch comes.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::to(name, Appended::new(path))
    }

    pub(crate) fn to(name: impl Into<String>, file: Appended) -> Self {
        Self {
            name: name.into(),
            file,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// The row's own fields after one that says what it is.
#[derive(Serialize)]
struct Tagged<'a, T> {
    record: &'static str,
    #[serde(flatten)]
    row: &'a T,
}

fn line(out: &mut Vec<u8>, row: &Row) -> serde_json::Result<()> {
    fn tagged<T: Serialize>(
        out: &mut Vec<u8>,
        record: &'static str,
        row: &T,
    ) -> serde_json::Result<()> {
        serde_json::to_writer(out, &Tagged { record, row })
    }
    match row {
        Row::TraceBegan(row) => tagged(out, "trace_start", &row.trace),
        Row::TraceEnded(row) => tagged(out, "trace_end", &row.trace),
        Row::Span(row) => tagged(out, "span", row),
        Row::Event(row) => tagged(out, "event", row),
        Row::Metric(row) => tagged(out, "metric", row),
        Row::Link(row) => tagged(out, "link", row),
    }?;
    out.push(b'\n');
    Ok(())
}

impl Sink for JsonlSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(Some(self.file.position(log)?))
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let mut lines = Vec::with_capacity(rows.len() * 512);
        for row in rows {
            line(&mut lines, row).map_err(|error| SinkError::Content(error.into()))?;
        }
        let appended: Result<(), FileError> = self.file.append(range, |_| lines);
        Ok(appended?)
    }
}
