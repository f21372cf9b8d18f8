//! A table of a database as a source of frames: its keys are the positions.

use std::{io, path::Path, sync::Arc, time::Duration};

use crate::{
    backend::{
        sqlite::{DatabaseError, Keyed, Table, Tables},
        Row,
    },
    log::{Position, ReadError},
    model::Origin,
    record::id::{InstanceId, LogId, TraceId},
    tail::{FrameSource, Lag, Pulled},
};

/// Keys that are read at once.
const PAGE: usize = 2_000;
/// How long to wait for a lock that somebody else holds.
const BUSY: Duration = Duration::from_secs(5);
/// Every database has one.
const EPOCH: u64 = 1;

/// One table of a database.
#[derive(Debug)]
pub struct TableSource {
    tables: Tables,
    table: Table,
    log: LogId,
    /// What was read and not given out, the last first.
    page: Vec<Keyed>,
    /// The key after which the page begins to give.
    at: i64,
}

fn position(key: i64) -> Position {
    match key {
        0 => Position::START,
        key => Position {
            epoch: EPOCH,
            offset: key as u64,
        },
    }
}

impl TableSource {
    /// The tables of the database at `path`, each a source.
    ///
    /// # Errors
    /// There is no database, or none with telemetry in it.
    pub fn all(path: &Path) -> Result<Vec<Self>, DatabaseError> {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let open = |table: Table| {
            let name = format!("table {} of sqlite:{}", table.as_str(), whole.display());
            Ok(Self {
                tables: Tables::open(path, BUSY)?,
                table,
                log: LogId(TraceId::from_text(&name).0 .0),
                page: Vec::new(),
                at: 0,
            })
        };
        Table::ALL.into_iter().map(open).collect()
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    fn failed(&self, error: DatabaseError) -> ReadError {
        ReadError::Io {
            path: self.tables.path().to_owned(),
            source: io::Error::other(error),
        }
    }
}

impl FrameSource for TableSource {
    fn log(&self) -> LogId {
        self.log
    }

    fn end(&mut self) -> Position {
        // What cannot be read now shows with the next frame.
        position(self.tables.last_key(self.table).unwrap_or(i64::MAX))
    }

    /// A frame is a run of rows that one instance recorded.
    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        let from = from.offset as i64;
        if self.page.is_empty() || self.at != from {
            let page = self.tables.after(self.table, from, PAGE);
            self.page = page.map_err(|error| self.failed(error))?;
            self.page.reverse();
            self.at = from;
        }
        let Some((mut key, origin, row)) = self.page.pop() else {
            // The last keys may have no rows: traces of which nothing is known.
            let last = self.tables.last_key(self.table);
            let last = last.map_err(|error| self.failed(error))?;
            return Ok(match last > from {
                true => nothing(from.saturating_add(PAGE as i64).min(last)),
                false => Pulled::End { at: position(from) },
            });
        };
        rows.push(row);
        let mut records = 1;
        while let Some((next, of, _)) = self.page.last() {
            // All rows of a key are in one frame, whoever recorded them.
            if *next != key && of.instance != origin.instance {
                break;
            }
            let Some((next, _, row)) = self.page.pop() else {
                break;
            };
            key = next;
            rows.push(row);
            records += 1;
        }
        self.at = key;
        Ok(Pulled::Frame {
            next: position(key),
            origin,
            records,
            damaged: false,
        })
    }

    fn records_before(&mut self, position: Position) -> u64 {
        position.offset
    }

    fn lag(&mut self, from: Position) -> Lag {
        Lag {
            records: self.end().offset.saturating_sub(from.offset),
            since_ns: None,
        }
    }
}

/// Keys without rows, up to this one.
fn nothing(to: i64) -> Pulled {
    Pulled::Frame {
        next: position(to),
        origin: Arc::new(Origin {
            instance: InstanceId([0; 16]),
            resource: Arc::default(),
            custom: Vec::new(),
            derive_events: false,
            derive_metrics: false,
            max_events_per_span: 0,
        }),
        records: 0,
        damaged: false,
    }
}
