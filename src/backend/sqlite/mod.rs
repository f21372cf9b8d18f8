//! SQLite: one file with the documented tables, for one machine.
//!
//! Always true:
//! - the rows of a batch and the position behind it are one transaction: each record is there once,
//!   whatever dies when
//! - a file that is not ours is never changed
//! - `SELECT * FROM traces` and the other documented names give the documented columns
//!
//! `open` decides whether a file is ours, `schema` has the tables and `views` the documented names
//! on top of them, `write` takes batches, `derived` writes out what follows, `traces` puts a trace
//! together out of its records, `prune` deletes, `read` and `points` answer queries; `tables` gives
//! everything in the order of its keys, `documented` the same of a database that another
//! implementation of the documents wrote.

mod bind;
mod derived;
mod documented;
mod open;
mod points;
mod prune;
mod read;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod traces;
mod views;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ahash::AHashMap;

pub use open::DatabaseError;
pub use read::SqliteReader;
pub use tables::{Keyed, Tables};

use crate::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::Position,
    model::Origin,
    record::id::{InstanceId, LogId},
};

/// Where the database is and how patient its writer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file; it and the directories above it are created. Default `spark_telemetry.db`.
    pub path: PathBuf,
    /// How long to wait for a lock that somebody else holds. Default 5 seconds, 0 to 1 hour.
    pub busy_timeout: Duration,
    /// Writes out the events and metrics that follow from spans and traces, for programs that read
    /// the tables or want indexes on them; views and queries show the same either way. It takes
    /// three times the time and the space for a node. Default no; may be changed at any time.
    pub write_derived: bool,
}

impl Options {
    /// This file, everything else as by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            busy_timeout: Duration::from_secs(5),
            write_derived: false,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new("spark_telemetry.db")
    }
}

/// Writes to a SQLite database.
#[derive(Debug)]
pub struct SqliteSink {
    name: String,
    options: Options,
    origins: AHashMap<InstanceId, Arc<Origin>>,
    /// `None` before the first use, and after an error that may be the connection's.
    db: Option<write::Db>,
    /// Rows that were there already, found by connections that are gone.
    duplicates: u64,
}

impl SqliteSink {
    /// Opens the database, creates it if it is not there.
    ///
    /// # Errors
    /// It is no database of ours, of a newer version, damaged, or locked for longer than the
    /// options allow.
    pub fn open(name: impl Into<String>, options: Options) -> Result<Self, DatabaseError> {
        Ok(Self {
            name: name.into(),
            db: Some(write::Db::open(&options)?),
            origins: AHashMap::new(),
            options,
            duplicates: 0,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    fn close(&mut self) {
        if let Some(db) = self.db.take() {
            self.duplicates += db.duplicates;
        }
    }

    /// Runs `with` on the open database; one that fails is opened again next time, unless it was
    /// only busy or the content was to blame.
    fn with<R>(
        &mut self,
        with: impl FnOnce(&mut write::Db, &Origins) -> rusqlite::Result<R>,
    ) -> Result<R, SinkError> {
        let path = &self.options.path;
        if self.db.as_ref().is_some_and(|db| !db.is_at(path)) {
            self.close();
            let path = self.options.path.clone();
            return Err(DatabaseError::Replaced { path }.into());
        }
        let db = match &mut self.db {
            Some(db) => db,
            db @ None => db.insert(write::Db::open(&self.options)?),
        };
        match with(db, &self.origins) {
            Ok(done) => Ok(done),
            Err(source) => {
                use rusqlite::ErrorCode::{ConstraintViolation, DatabaseBusy, DatabaseLocked};
                match source.sqlite_error_code() {
                    Some(ConstraintViolation | DatabaseBusy | DatabaseLocked) => db.forget(),
                    _ => self.close(),
                }
                Err(DatabaseError::new(&self.options.path, source).into())
            }
        }
    }
}

type Origins = AHashMap<InstanceId, Arc<Origin>>;

impl Sink for SqliteSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        self.with(|db, _| db.position(log)).map(Some)
    }

    fn position_instance(&mut self, log: LogId) -> Result<Option<InstanceId>, SinkError> {
        self.with(|db, _| db.instance(log))
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        self.origins.insert(origin.instance, origin.clone());
        if let Some(db) = &mut self.db {
            db.forget_instance(origin.instance);
        }
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        self.with(|db, origins| db.write(range, rows, origins))
    }

    fn duplicates(&self) -> u64 {
        self.duplicates + self.db.as_ref().map_or(0, |db| db.duplicates)
    }

    fn retain(&mut self, since_ns: i64) -> Result<u64, SinkError> {
        self.with(|db, _| prune::retain(db, since_ns))
    }
}
