//! PostgreSQL: the documented tables on a server, for many writers.
//!
//! Always true:
//! - the rows of a batch and the position behind it are one transaction: each record is there once,
//!   whatever dies when, also where nobody learned whether a transaction was committed
//! - tables that are not ours are never changed
//! - no call waits longer than the options allow
//! - no secret is in a message
//!
//! `options` and `url` say what is wanted (`describe` as files have it), `password` and `tls` how to get in, `link` is one
//! connection. `schema` has the tables and `adopt` makes them so; `write` takes batches, on the way that
//! `route` says, with `statements`, `encode`, `copy` and `columns`, `traces` puts a trace together out of its records, `exact`
//! keeps what the types cannot hold. `prune` and `partitions` are for retention, `read` and `points`
//! answer queries over a `pool`, `tables` gives everything that there is, page by page.

mod adopt;
mod columns;
mod copy;
mod describe;
mod encode;
mod error;
mod exact;
mod link;
mod options;
mod partitions;
mod password;
mod points;
mod pool;
mod prune;
mod read;
mod route;
mod schema;
mod statements;
mod tables;
mod tls;
mod traces;
mod url;
mod value;
mod write;

use std::sync::Arc;

use ahash::AHashMap;

pub use error::PostgresError;
pub use options::{Options, OptionsError, Partitions, Password, Server, SslMode, Target};
pub use read::PostgresReader;
pub use tables::{Page, Place, Placed, Tables};

use crate::{
    backend::{BackendConfig, BatchRange, Row, Sink, SinkError},
    log::Position,
    model::Origin,
    record::id::{InstanceId, LogId},
};
use error::Verdict;

type Origins = AHashMap<InstanceId, Arc<Origin>>;

/// Writes to a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresSink {
    name: String,
    options: Options,
    origins: Origins,
    /// `None` after an error that may be the connection's.
    db: Option<write::Db>,
    /// Duplicates that connections before this one counted.
    duplicates: u64,
}

impl PostgresSink {
    /// Connects, and creates or completes the tables.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or the tables cannot be ours.
    pub fn open(name: impl Into<String>, options: Options) -> Result<Self, PostgresError> {
        Ok(Self {
            name: name.into(),
            db: Some(write::Db::open(&options)?),
            origins: AHashMap::new(),
            duplicates: 0,
            options,
        })
    }

    /// Runs `with` on a connection; one that failed is made anew next time, unless the content was
    /// to blame.
    fn with<R>(
        &mut self,
        with: impl FnOnce(&mut write::Db, &Origins) -> Result<R, PostgresError>,
    ) -> Result<R, SinkError> {
        let db = match &mut self.db {
            Some(db) => db,
            db @ None => db.insert(write::Db::open(&self.options)?),
        };
        let done = with(db, &self.origins);
        if let Err(error) = &done {
            if db.link.is_broken() || error.verdict() != Verdict::Content {
                self.duplicates += db.duplicates;
                self.db = None;
            }
        }
        done.map_err(SinkError::from)
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let (position, _) = self.with(|db, _| db.stands(log))?;
        Ok(Some(position))
    }

    fn position_instance(&mut self, log: LogId) -> Result<Option<InstanceId>, SinkError> {
        let (_, instance) = self.with(|db, _| db.stands(log))?;
        Ok(instance)
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

impl BackendConfig {
    /// A PostgreSQL database. Its tables are created when it is first reached; what is wrong with
    /// the options is said when the configuration is validated.
    pub fn postgres(options: Options) -> Self {
        let (parameters, problems) = (options.parameters(), options.validate());
        let password = options.password.as_ref().map(|p| p.expose().to_owned());
        let made = Self::new("postgres", move || {
            let sink = PostgresSink::open("postgres", options.clone())?;
            Ok(Box::new(sink))
        });
        made.secret(password.as_deref().unwrap_or_default())
            .described("postgresql", parameters)
            .with_problems(problems)
    }
}
