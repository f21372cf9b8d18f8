//! Reading on: the newest records, and what is logged after them.

use std::path::{Path, PathBuf};

use emberlog::{
    backend::Row,
    log::{Position, Snapshot},
    query::LogReader,
};

use super::{failed, logs};
use crate::failure::Failure;

/// Records that one look takes from one log at most; the rest comes with the next look.
const AT_ONCE: usize = 100_000;

/// A place in every log below a directory, from where to go on.
pub struct Follow {
    dir: PathBuf,
    places: Vec<Place>,
}

struct Place {
    path: PathBuf,
    reader: LogReader,
    next: Position,
}

impl Follow {
    /// The newest `rows` records of `dir`, oldest first, and the place after them.
    pub fn start(dir: &Path, rows: usize) -> Result<(Vec<Row>, Self), Failure> {
        let mut follow = Self {
            dir: dir.to_owned(),
            places: Vec::new(),
        };
        let mut newest = Vec::new();
        for path in logs(dir)? {
            let (place, found) = Place::at_end(path, rows)?;
            newest.extend(found);
            follow.places.push(place);
        }
        newest.sort_by_key(when);
        newest.drain(..newest.len().saturating_sub(rows));
        Ok((newest, follow))
    }

    /// What was logged since the last call, by all logs, also by new ones.
    pub fn more(&mut self) -> Result<Vec<Row>, Failure> {
        for path in logs(&self.dir)? {
            if self.places.iter().all(|place| place.path != path) {
                self.places.push(Place::at(path, Position::START)?);
            }
        }
        let mut rows = Vec::new();
        for place in &mut self.places {
            rows.extend(place.read(AT_ONCE)?);
        }
        rows.sort_by_key(when);
        Ok(rows)
    }
}

impl Place {
    fn at(path: PathBuf, next: Position) -> Result<Self, Failure> {
        let reader = LogReader::open(&path).map_err(|error| failed(&path, &error))?;
        Ok(Self { path, reader, next })
    }

    /// The end of a log, and the last `rows` records before it.
    fn at_end(path: PathBuf, rows: usize) -> Result<(Self, Vec<Row>), Failure> {
        let snapshot = Snapshot::open(&path).map_err(|error| failed(&path, &error))?;
        let mut wanted = rows as u64;
        loop {
            let start = before_end(&snapshot, wanted);
            let mut place = Self::at(path.clone(), start.unwrap_or(snapshot.start()))?;
            let mut found = Vec::new();
            loop {
                let more = place.read(AT_ONCE)?;
                if more.is_empty() {
                    break;
                }
                found.extend(more);
            }
            // Some records are no rows: names, anchors, losses.
            if found.len() >= rows || start.is_none() {
                found.drain(..found.len().saturating_sub(rows));
                return Ok((place, found));
            }
            wanted = wanted.saturating_mul(2).saturating_add(64);
        }
    }

    fn read(&mut self, most: usize) -> Result<Vec<Row>, Failure> {
        let since = self.reader.records_since(self.next, most);
        let since = since.map_err(|error| failed(&self.path, &error))?;
        self.next = since.next;
        Ok(since.rows)
    }
}

/// The frame from which on there are at least `records`; `None` if there are fewer in all.
fn before_end(snapshot: &Snapshot, records: u64) -> Option<Position> {
    let mut left = records;
    for view in snapshot.segments().iter().rev() {
        for frame in view.frames().iter().rev() {
            left = left.saturating_sub(u64::from(frame.count));
            if left == 0 {
                let start = view.start();
                return Some(Position {
                    offset: start.offset + u64::from(frame.offset),
                    ..start
                });
            }
        }
    }
    None
}

/// When a record was written.
fn when(row: &Row) -> i64 {
    match row {
        Row::TraceBegan(row) => row.trace.start_ns,
        Row::TraceEnded(row) => row.trace.end_ns.unwrap_or(row.trace.start_ns),
        Row::Span(row) => row.end_ns().unwrap_or(row.start_ns),
        Row::Event(row) => row.timestamp_ns,
        Row::Metric(row) => row.timestamp_ns,
        Row::Link(row) => row.timestamp_ns,
    }
}
