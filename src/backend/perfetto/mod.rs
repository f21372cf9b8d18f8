//! Trace files for the Perfetto UI (`https://ui.perfetto.dev`), in its own protobuf format.
//!
//! Always true:
//! - each record is in the file once, whatever dies when; `PATH.place` beside it says how far it is
//! - on each track every slice nests, however spans overlapped: `lanes`
//!
//! | record | in the file |
//! |---|---|
//! | span, end of a trace | a slice on the track of its thread, or of its trace |
//! | event | an instant on that track |
//! | metric | a point of a counter with its name and unit |
//! | link | an instant, with an arrow from the slice that it refers to |
//!
//! Attributes, ids and errors are the arguments of a slice. `proto` has the schema as far as it is
//! needed, `tracks` what becomes of a row.

mod lanes;
mod proto;
mod tracks;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use self::tracks::Writer;
use super::{appended::Appended, BatchRange, Row, Sink, SinkError};
use crate::{log::Position, model::Origin, record::id::LogId};

/// What a track of slices stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tracks {
    /// A thread.
    #[default]
    Threads,
    /// A trace.
    Traces,
}

/// A file that several sinks of this process append to.
#[derive(Clone, Debug)]
pub(crate) struct TraceFile {
    file: Appended,
    writer: Arc<Mutex<Writer>>,
}

impl TraceFile {
    pub(crate) fn new(path: impl Into<PathBuf>, tracks: Tracks) -> Self {
        Self {
            file: Appended::new(path),
            writer: Arc::new(Mutex::new(Writer::new(tracks))),
        }
    }

    /// A panic leaves at worst a slice on a lane that is not in the file.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Appends to a trace file.
#[derive(Debug)]
pub struct PerfettoSink {
    name: String,
    file: TraceFile,
}

impl PerfettoSink {
    /// Writes to `path`, created when the first batch comes.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>, tracks: Tracks) -> Self {
        Self::to(name, TraceFile::new(path, tracks))
    }

    pub(crate) fn to(name: impl Into<String>, file: TraceFile) -> Self {
        Self {
            name: name.into(),
            file,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.file.path()
    }
}

impl Sink for PerfettoSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(Some(self.file.file.position(log)?))
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.file.writer().meet(origin);
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let file = &self.file;
        let packets = |before| file.writer().batch(before, rows);
        let written = file.file.append(range, packets);
        if written.is_err() {
            // What it thinks is in the file may not be.
            file.writer().forget();
        }
        Ok(written?)
    }
}
