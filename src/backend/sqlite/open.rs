//! Opening a database: created where there is none, refused where it is somebody else's.
//!
//! Always true:
//! - a file that is no database, belongs to another program or to a newer version is not changed
//! - a new file gets all tables or none, an older one all steps to this version or none

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::schema::{self, APPLICATION_ID, VERSION};
use crate::backend::SinkError;

/// Why a database is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The file is something else; nothing was changed.
    #[error("{path} is no SQLite database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It has tables of somebody else; nothing was changed.
    #[error("{path} is a database of another program; give telemetry a file of its own")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it; nothing was changed.
    #[error("{path} has schema {found}, this build knows up to {VERSION}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Its pages or tables are damaged.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The directory of the file cannot be used.
    #[error("cannot create {path}")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was replaced or deleted while it was open.
    #[error("{path} was replaced or deleted while it was open")]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("{path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl DatabaseError {
    /// Attaches the file to what SQLite said.
    pub(super) fn new(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotADatabase { path },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, source },
            _ => Self::Sqlite { path, source },
        }
    }
}

impl From<DatabaseError> for SinkError {
    fn from(error: DatabaseError) -> Self {
        use ErrorCode as E;
        let code = match &error {
            DatabaseError::Sqlite { source, .. } => match source {
                rusqlite::Error::ToSqlConversionFailure(_) => return Self::Content(error.into()),
                source => source.sqlite_error_code(),
            },
            DatabaseError::Replaced { .. } => return Self::Retry(error.into()),
            DatabaseError::Create { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                return Self::Retry(error.into())
            }
            _ => return Self::Refused(error.into()),
        };
        match code {
            Some(
                E::DatabaseBusy
                | E::DatabaseLocked
                | E::FileLockingProtocolFailed
                | E::SystemIoFailure
                | E::DiskFull
                | E::OutOfMemory
                | E::OperationInterrupted
                | E::OperationAborted
                | E::SchemaChanged,
            ) => Self::Retry(error.into()),
            Some(E::ConstraintViolation | E::TypeMismatch | E::TooBig | E::ParameterOutOfRange) => {
                Self::Content(error.into())
            }
            _ => Self::Refused(error.into()),
        }
    }
}

/// What tells whether a path still means the file that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    /// `None` if there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let meta = fs::metadata(path).ok()?;
            Some(Self(meta.dev(), meta.ino()))
        }
        // Where files that are open cannot be deleted there is nothing to tell.
        #[cfg(not(unix))]
        fs::metadata(path).ok().map(|_| Self(0, 0))
    }
}

/// Whether the file begins like a database; an empty or missing one will become one.
fn looks_right(path: &Path) -> io::Result<bool> {
    let mut head = [0; 16];
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    match io::Read::read(&mut file, &mut head)? {
        0 => Ok(true),
        n => Ok(n == head.len() && &head == b"SQLite format 3\0"),
    }
}

/// Creates the file for its user alone, and the directories above it.
fn create_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(parent)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// What a database says about itself.
#[derive(Clone, Copy, Debug)]
enum State {
    Empty,
    /// Of this version.
    Ours,
    /// Of an older version.
    Older(i64),
}

fn number(db: &Connection, sql: &str) -> rusqlite::Result<i64> {
    db.query_row(sql, [], |row| row.get(0))
}

fn state(path: &Path, db: &Connection) -> Result<State, DatabaseError> {
    let ask = |sql| number(db, sql).map_err(|e| DatabaseError::new(path, e));
    let application = ask("PRAGMA application_id")?;
    let version = ask("PRAGMA user_version")?;
    let tables = ask("SELECT count(*) FROM sqlite_master")?;
    match (application, version, tables) {
        (APPLICATION_ID, VERSION, _) => Ok(State::Ours),
        (APPLICATION_ID, found @ 1..VERSION, _) => Ok(State::Older(found)),
        (APPLICATION_ID, found, _) if found > VERSION => Err(DatabaseError::Newer {
            path: path.to_owned(),
            found,
        }),
        (0, 0, 0) => Ok(State::Empty),
        _ => Err(DatabaseError::Foreign {
            path: path.to_owned(),
        }),
    }
}

/// Opens for writing; creates what is missing.
pub(super) fn for_writing(path: &Path, busy: Duration) -> Result<Connection, DatabaseError> {
    let on = |source| DatabaseError::Create {
        path: path.to_owned(),
        source,
    };
    if !looks_right(path).map_err(on)? {
        return Err(DatabaseError::NotADatabase {
            path: path.to_owned(),
        });
    }
    create_file(path).map_err(on)?;
    let failed = |e| DatabaseError::new(path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(busy).map_err(failed)?;
    // In one transaction: another process may be creating it between two questions.
    let found = {
        let moment = db.transaction().map_err(failed)?;
        state(path, &moment)?
    };
    match found {
        State::Empty => initialise(path, &mut db)?,
        State::Older(_) => upgrade(path, &mut db)?,
        State::Ours => {}
    }
    // Only now is it known to be ours, and may be changed.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .map_err(failed)?;
    db.execute_batch(
        "PRAGMA synchronous = NORMAL;
         PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -8192;
         PRAGMA wal_autocheckpoint = 2000;
         PRAGMA journal_size_limit = 67108864;",
    )
    .map_err(failed)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn initialise(path: &Path, db: &mut Connection) -> Result<(), DatabaseError> {
    let failed = |e| DatabaseError::new(path, e);
    // So that what retention frees can be given back.
    db.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")
        .map_err(failed)?;
    let transaction = db
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(failed)?;
    // Another process may have been faster.
    if let State::Empty = state(path, &transaction)? {
        transaction
            .execute_batch(&schema::create())
            .map_err(failed)?;
        transaction
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            ))
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Brings an older database up to date, wholly or not at all.
fn upgrade(path: &Path, db: &mut Connection) -> Result<(), DatabaseError> {
    let failed = |e| DatabaseError::new(path, e);
    let transaction = db
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(failed)?;
    // Another process may have been faster.
    if let State::Older(from) = state(path, &transaction)? {
        let sql = format!("{}PRAGMA user_version = {VERSION};", schema::upgrade(from));
        transaction.execute_batch(&sql).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Opens for reading; changes nothing.
pub(super) fn for_reading(path: &Path, busy: Duration) -> Result<Connection, DatabaseError> {
    let failed = |e| DatabaseError::new(path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    db.busy_timeout(busy).map_err(failed)?;
    match state(path, &db)? {
        // What queries read has been there from the first version on.
        State::Ours | State::Older(_) => {}
        State::Empty => {
            return Err(DatabaseError::Foreign {
                path: path.to_owned(),
            })
        }
    }
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}
