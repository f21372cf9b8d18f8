//! Everything that a database has, table by table, in the order of its keys: for moving it elsewhere.
//!
//! Always true:
//! - rows come as they were recorded: ids, identities, times, attributes and what derives from them
//! - a key never changes, and new rows have greater ones, so that one number says how far a reader is

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::Connection;

use super::{
    documented,
    open::{self, DatabaseError},
    points::{self, head},
    read::{View, SPANS},
    traces::{part, PARTS_OF},
};
use crate::{
    backend::{table::Table, Row, TraceBegan, TraceEnded},
    model::Origin,
    record::id::RecordId,
};

/// Who made the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Ours,
    /// As the documents describe them, made by somebody else.
    Documented,
}

/// A row with its key and who recorded it.
pub type Keyed = (i64, Arc<Origin>, Row);

/// A database, read by keys.
#[derive(Debug)]
pub struct Tables {
    path: PathBuf,
    conn: Connection,
    shape: Shape,
}

impl Tables {
    /// Opens a database of ours, or one with the documented tables, for reading only.
    ///
    /// # Errors
    /// There is none, it has other tables, is damaged, or locked for longer than `busy`.
    pub fn open(path: impl Into<PathBuf>, busy: Duration) -> Result<Self, DatabaseError> {
        let path = path.into();
        let (conn, shape) = match open::for_reading(&path, busy) {
            Ok(conn) => (conn, Shape::Ours),
            Err(DatabaseError::Foreign { .. }) => {
                (documented::open(&path, busy)?, Shape::Documented)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path, conn, shape })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: rusqlite::Error) -> DatabaseError {
        DatabaseError::new(&self.path, source)
    }

    /// The greatest key of a table; 0 if it has no rows.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_key(&self, table: Table) -> Result<i64, DatabaseError> {
        let from = match (self.shape, table) {
            (Shape::Documented, Table::Links) => return Ok(0),
            (Shape::Documented, table) => table.as_str(),
            (Shape::Ours, Table::Traces) => "trace_rows",
            (Shape::Ours, Table::Spans) => "span_rows",
            (Shape::Ours, Table::Events) => "event_rows",
            (Shape::Ours, Table::Metrics) => "metric_rows",
            (Shape::Ours, Table::Links) => "link_rows",
        };
        let sql = format!("SELECT coalesce(max(rowid), 0) FROM {from}");
        let asked = self.conn.prepare_cached(&sql);
        asked
            .and_then(|mut ask| ask.query_row([], |row| row.get(0)))
            .map_err(|error| self.failed(error))
    }

    /// The rows of about `most` keys after `after`; all rows of a key come together.
    ///
    /// # Errors
    /// The database cannot be read, or has something that no row can be.
    pub fn after(
        &self,
        table: Table,
        after: i64,
        most: usize,
    ) -> Result<Vec<Keyed>, DatabaseError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        match self.shape {
            Shape::Ours => self.ours(table, after, most),
            Shape::Documented => documented::after(&self.conn, &self.path, table, after, most),
        }
        .map_err(|error| self.failed(error))
    }

    fn ours(&self, table: Table, after: i64, most: i64) -> rusqlite::Result<Vec<Keyed>> {
        let moment = self.conn.unchecked_transaction()?;
        let view = View::new(&moment);
        // The selections of queries, with the key behind their columns.
        let keyed = |select: &str, row: &str| {
            let select = select.replacen(" FROM ", &format!(", {row}.rowid FROM "), 1);
            format!("{select} WHERE {row}.rowid > ?1 ORDER BY {row}.rowid LIMIT ?2")
        };
        let sql = match table {
            Table::Traces => format!(
                "{PARTS_OF} WHERE p.trace IN (SELECT id FROM trace_rows WHERE id > ?1 ORDER BY id \
                LIMIT ?2) ORDER BY p.trace, p.start_ns, p.end_ns IS NOT NULL, p.sequence"
            ),
            Table::Spans => keyed(SPANS, "s"),
            Table::Events => keyed(points::EVENTS, "e"),
            Table::Metrics => keyed(points::METRICS, "m"),
            Table::Links => keyed(points::LINKS, "l"),
        };
        let mut statement = view.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([after, most])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(match table {
                Table::Traces => trace(&view, row)?,
                Table::Spans => span(&view, row)?,
                Table::Events => {
                    let head = head(&view, row)?;
                    let event = Row::Event(points::event(row, &head)?);
                    (row.get(12)?, view.origin(row.get(1)?)?, event)
                }
                Table::Metrics => {
                    let head = head(&view, row)?;
                    let metric = Row::Metric(points::metric(row, &head)?);
                    (row.get(15)?, view.origin(row.get(1)?)?, metric)
                }
                Table::Links => {
                    let head = head(&view, row)?;
                    let link = Row::Link(points::link(row, &head)?);
                    (row.get(11)?, view.origin(row.get(1)?)?, link)
                }
            });
        }
        Ok(found)
    }
}

/// A row of [`PARTS_OF`].
fn trace(view: &View<'_>, row: &rusqlite::Row<'_>) -> rusqlite::Result<Keyed> {
    let origin = view.origin(row.get(11)?)?;
    let record = RecordId {
        instance: origin.instance,
        ring: row.get(12)?,
        sequence: row.get::<_, i64>(13)? as u64,
    };
    let mut trace = part(row)?;
    trace.resource = origin.resource.clone();
    let part = match trace.end_ns {
        None => Row::TraceBegan(TraceBegan { trace, record }),
        Some(_) => Row::TraceEnded(TraceEnded { trace, record }),
    };
    Ok((row.get(14)?, origin, part))
}

/// A row of [`SPANS`] with its key.
fn span(view: &View<'_>, row: &rusqlite::Row<'_>) -> rusqlite::Result<Keyed> {
    let origin = view.origin(row.get(2)?)?;
    let record = RecordId {
        instance: origin.instance,
        ring: row.get(3)?,
        sequence: row.get::<_, Option<i64>>(4)?.unwrap_or_default() as u64,
    };
    let span = Row::Span(view.span(row, record)?);
    Ok((row.get(18)?, origin, span))
}
