//! A table of a database as a source of frames: its keys are the positions.

use std::{error::Error, io, path::PathBuf, sync::Arc};

use crate::{
    backend::{Row, Table},
    log::{Position, ReadError},
    model::Origin,
    record::id::{InstanceId, LogId, TraceId},
    tail::{FrameSource, Lag, Pulled},
};

/// Keys that are read at once.
const PAGE: usize = 1_000;

/// Why a database cannot be read.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// A row, the position behind it, and who recorded it.
type Placed = (Position, Arc<Origin>, Row);

/// Some rows of a table in the order of their keys; all rows of a position are on one page.
#[derive(Default)]
pub(super) struct Page {
    pub(super) rows: Vec<Placed>,
    /// Up to where it looked; `None` if there is nothing more.
    pub(super) next: Option<Position>,
}

/// A table that can be read page by page.
pub(super) trait Pages: Send {
    /// About `most` rows after a position.
    fn after(&mut self, from: Position, most: usize) -> Result<Page, Failure>;

    /// The position behind the last row.
    fn last(&mut self) -> Result<Position, Failure>;

    /// About how many rows are after a position.
    fn left(&mut self, from: Position) -> Result<u64, Failure>;
}

/// One table of a database.
pub struct TableSource {
    pages: Box<dyn Pages>,
    table: Table,
    /// As messages name it.
    place: String,
    log: LogId,
    /// What was read and not given out, the last first.
    page: Vec<Placed>,
    /// Where the page ends.
    next: Option<Position>,
    /// The position after which the page begins to give.
    at: Position,
    /// Rows that are left, as of the position at hand.
    left: Option<u64>,
}

impl std::fmt::Debug for TableSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TableSource")
            .field("place", &self.place)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl TableSource {
    /// `place` names the database without secrets, always alike: streams are told apart by it.
    pub(super) fn new(table: Table, place: &str, pages: Box<dyn Pages>) -> Self {
        let name = format!("table {} of {place}", table.as_str());
        Self {
            pages,
            table,
            place: place.to_owned(),
            log: LogId(TraceId::from_text(&name).0 .0),
            page: Vec::new(),
            next: None,
            at: Position::START,
            left: None,
        }
    }

    /// Which table it is.
    pub fn table(&self) -> Table {
        self.table
    }

    fn failed(&self, error: Failure) -> ReadError {
        ReadError::Io {
            path: PathBuf::from(&self.place),
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
        self.pages.last().unwrap_or(Position {
            epoch: i64::MAX as u64,
            offset: i64::MAX as u64,
        })
    }

    /// A frame is a run of rows that one instance recorded.
    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        if self.page.is_empty() || self.at != from {
            let page = self.pages.after(from, PAGE);
            let page = page.map_err(|error| self.failed(error))?;
            if self.at != from {
                self.left = None;
            }
            (self.page, self.next) = (page.rows, page.next);
            self.page.reverse();
            self.at = from;
        }
        let Some((mut at, origin, row)) = self.page.pop() else {
            // The last keys may have no rows: traces of which nothing is known.
            return Ok(match self.next.take() {
                Some(next) => {
                    self.at = next;
                    nothing(next)
                }
                None => Pulled::End { at: from },
            });
        };
        rows.push(row);
        let mut records = 1;
        while let Some((next, of, _)) = self.page.last() {
            // All rows of a position are in one frame, whoever recorded them.
            if *next != at && of.instance != origin.instance {
                break;
            }
            let Some((next, _, row)) = self.page.pop() else {
                break;
            };
            at = next;
            rows.push(row);
            records += 1;
        }
        self.at = at;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(records);
        }
        Ok(Pulled::Frame {
            next: at,
            origin,
            records,
            damaged: false,
        })
    }

    fn records_before(&mut self, position: Position) -> u64 {
        position.offset
    }

    fn lag(&mut self, from: Position) -> Lag {
        // Counted once, and then as rows are given out.
        let counted = self.left.filter(|_| from == self.at);
        let left = counted.or_else(|| self.pages.left(from).ok());
        if from == self.at {
            self.left = left;
        }
        Lag {
            records: left.unwrap_or(0),
            since_ns: None,
        }
    }
}

/// Keys without rows, up to this one.
fn nothing(to: Position) -> Pulled {
    Pulled::Frame {
        next: to,
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

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::{path::Path, time::Duration};

    use super::{Failure, Page, Pages, TableSource};
    use crate::{
        backend::{
            sqlite::{DatabaseError, Tables},
            Table,
        },
        log::Position,
    };

    /// How long to wait for a lock that somebody else holds.
    const BUSY: Duration = Duration::from_secs(5);
    /// Every database has one.
    const EPOCH: u64 = 1;

    struct Rows {
        tables: Tables,
        table: Table,
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

    impl Pages for Rows {
        fn after(&mut self, from: Position, most: usize) -> Result<Page, Failure> {
            let from = from.offset as i64;
            let rows = self.tables.after(self.table, from, most)?;
            let placed = rows.into_iter();
            let rows: Vec<_> = placed
                .map(|(key, origin, row)| (position(key), origin, row))
                .collect();
            let last = rows.last().map(|(at, ..)| *at);
            let last_key = self.tables.last_key(self.table)?;
            let onward = || position(from.saturating_add(most as i64).min(last_key));
            let next = last.or_else(|| (last_key > from).then(onward));
            Ok(Page { rows, next })
        }

        fn last(&mut self) -> Result<Position, Failure> {
            Ok(position(self.tables.last_key(self.table)?))
        }

        fn left(&mut self, from: Position) -> Result<u64, Failure> {
            let last = self.tables.last_key(self.table)? as u64;
            Ok(last.saturating_sub(from.offset))
        }
    }

    impl TableSource {
        /// The tables of the SQLite database at `path`, each a source.
        ///
        /// # Errors
        /// There is no database, or none with telemetry in it.
        pub fn all(path: &Path) -> Result<Vec<Self>, DatabaseError> {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let place = format!("sqlite:{}", whole.display());
            let open = |table: Table| {
                let tables = Tables::open(path, BUSY)?;
                Ok(Self::new(table, &place, Box::new(Rows { tables, table })))
            };
            Table::ALL.into_iter().map(open).collect()
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::{Failure, Page, Pages, TableSource};
    use crate::{
        backend::{
            postgres::{Options, Place, PostgresError, Tables},
            Table,
        },
        log::Position,
    };

    struct Rows {
        tables: Tables,
        table: Table,
    }

    impl Pages for Rows {
        fn after(&mut self, from: Position, most: usize) -> Result<Page, Failure> {
            let page = self.tables.after(self.table, from.into(), most)?;
            let placed = page.rows.into_iter();
            Ok(Page {
                rows: placed
                    .map(|(place, origin, row)| (place.into(), origin, row))
                    .collect(),
                next: page.next.map(Place::into),
            })
        }

        fn last(&mut self) -> Result<Position, Failure> {
            let last = self.tables.last(self.table)?;
            Ok(last.map_or(Position::START, Place::into))
        }

        fn left(&mut self, from: Position) -> Result<u64, Failure> {
            Ok(self.tables.count(self.table, from.into())?)
        }
    }

    impl TableSource {
        /// The tables of a PostgreSQL database, each a source with a connection of its own.
        ///
        /// # Errors
        /// The server cannot be reached or refuses, or the tables are not there.
        pub fn of_postgres(options: &Options) -> Result<Vec<Self>, PostgresError> {
            let open = |table: Table| {
                let tables = Tables::open(options.clone())?;
                let place = format!("postgresql://{}", tables.place());
                Ok(Self::new(table, &place, Box::new(Rows { tables, table })))
            };
            Table::ALL.into_iter().map(open).collect()
        }
    }
}
