//! Everything that a database has, table by table, in the order of its keys: for moving it elsewhere.
//!
//! Always true:
//! - rows come as they were recorded: ids, identities, times, attributes and what derives from them
//! - a page is one moment of the database; between two pages nothing is held and nothing is locked
//! - a [`Place`] never changes its meaning; rows that share one are on one page
//!
//! Keys are not in the order of time: a row that is written while somebody reads may have a key that
//! he has passed.

use std::sync::Arc;

use super::{
    adopt,
    error::PostgresError,
    link::Link,
    options::Options,
    points,
    read::{select_spans, select_traces, View},
    schema::{self, Names, EVENTS, LINKS, METRICS, SPANS, TRACES},
    traces::part,
    value::Uuid,
};
use crate::{
    backend::{table::Table, Row, TraceBegan, TraceEnded},
    log::Position,
    model::{AttributeMap, Origin, Trace},
    record::{
        id::{InstanceId, RecordId, TraceId},
        kinds::Status,
    },
};

/// Bits of a position's second half: stores keep it as a signed number.
const HALF: u32 = 63;

/// A place in the order of keys: the upper 125 bits of one, counted from 1, so that it fits the two
/// halves of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u128);

impl Place {
    fn of(key: Uuid) -> Self {
        Self((key.0 >> 3) + 1)
    }

    /// The least key behind it, if there can be one.
    fn next_key(self) -> Option<Uuid> {
        self.0.checked_mul(8).map(Uuid)
    }

    /// Behind every key.
    pub const END: Self = Self(1 << 125);
}

impl From<Place> for Position {
    fn from(place: Place) -> Self {
        Self {
            epoch: (place.0 >> HALF) as u64,
            offset: place.0 as u64 & (u64::MAX >> 1),
        }
    }
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Self(u128::from(position.epoch) << HALF | u128::from(position.offset)).min(Self::END)
    }
}

/// A row with its place and who recorded it.
pub type Placed = (Place, Arc<Origin>, Row);

/// Some rows.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of their places.
    pub rows: Vec<Placed>,
    /// Up to where it looked; `None` if there is nothing more.
    pub next: Option<Place>,
}

/// A database, read page by page.
#[derive(Debug)]
pub struct Tables {
    options: Options,
    names: Names,
    /// Who wrote the rows of which nobody says so: the same whenever they are read.
    foreign: Arc<Origin>,
    /// `None` after an error that may be the connection's.
    link: Option<Link>,
}

/// The table of a kind and the column of its key, with an alias.
fn keyed(table: Table) -> (&'static schema::Table, &'static str) {
    match table {
        Table::Traces => (&TRACES, "trace_id"),
        Table::Spans => (&SPANS, "span_id"),
        Table::Events => (&EVENTS, "event_id"),
        Table::Metrics => (&METRICS, "metric_id"),
        Table::Links => (&LINKS, "link_id"),
    }
}

/// What was written out follows from other rows, and will again.
fn recorded(table: Table) -> &'static str {
    match table {
        Table::Events | Table::Metrics => "p.derived IS NOT TRUE AND ",
        _ => "",
    }
}

impl Tables {
    /// Connects.
    ///
    /// # Errors
    /// The server cannot be reached or refuses, or the tables are not there.
    pub fn open(options: Options) -> Result<Self, PostgresError> {
        let mut link = Link::open(&options)?;
        let names = adopt::for_reading(&mut link, &options)?;
        let (id, _) = TraceId::from_text(&format!("database {}", options.place()));
        Ok(Self {
            names,
            foreign: Arc::new(Origin {
                instance: InstanceId(id.0),
                resource: Arc::new(AttributeMap::new()),
                custom: Vec::new(),
                // What follows from such rows their writer wrote himself, or did not want.
                derive_events: false,
                derive_metrics: false,
                max_events_per_span: 0,
            }),
            link: Some(link),
            options,
        })
    }

    /// Servers, database and schema, without secrets.
    pub fn place(&self) -> String {
        let tables = format!("{}.{}", self.names.schema, self.names.prefix);
        format!("{}/{tables}", self.options.place())
    }

    /// Asks in one transaction; a connection that failed is made anew the next time.
    fn ask<R>(
        &mut self,
        with: impl FnOnce(&mut View<'_>, &Arc<Origin>) -> Result<R, PostgresError>,
    ) -> Result<R, PostgresError> {
        let mut link = match self.link.take().filter(|link| !link.is_broken()) {
            Some(link) => link,
            None => Link::open(&self.options)?,
        };
        link.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        let answer = with(&mut View::new(&mut link, &self.names), &self.foreign)?;
        link.batch("ROLLBACK")?;
        self.link = Some(link);
        Ok(answer)
    }

    /// The place of the last row of a table, if it has any.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last(&mut self, table: Table) -> Result<Option<Place>, PostgresError> {
        let (of, key) = keyed(table);
        let sql = format!(
            "SELECT p.{key} FROM {} p ORDER BY p.{key} DESC LIMIT 1",
            self.names.table(of)
        );
        self.ask(|view, _| {
            let rows = view.query(&sql, &[])?;
            Ok(rows.first().map(|row| Place::of(row.get(0))))
        })
    }

    /// How many rows of a table are behind a place.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count(&mut self, table: Table, after: Place) -> Result<u64, PostgresError> {
        let Some(first) = after.next_key() else {
            return Ok(0);
        };
        let (of, key) = keyed(table);
        let sql = format!(
            "SELECT count(*) FROM {} p WHERE {}p.{key} >= $1",
            self.names.table(of),
            recorded(table)
        );
        self.ask(|view, _| {
            let rows = view.query(&sql, &[&first])?;
            Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)) as u64)
        })
    }

    /// About `most` rows behind a place.
    ///
    /// # Errors
    /// The database cannot be read, or has something that no row can be.
    pub fn after(
        &mut self,
        table: Table,
        after: Place,
        most: usize,
    ) -> Result<Page, PostgresError> {
        let Some(first) = after.next_key() else {
            return Ok(Page::default());
        };
        let mut most = i64::try_from(most).unwrap_or(i64::MAX);
        loop {
            let page = self.ask(|view, foreign| match table {
                Table::Traces => traces(view, foreign, first, most),
                table => rows(view, foreign, table, first, most),
            })?;
            match page {
                Some(page) => return Ok(page),
                // Everything that was found shares one place, and there may be more of it.
                None => most = most.saturating_mul(2),
            }
        }
    }
}

/// How many of these places are known to be complete: all, or where there were as many as were
/// asked for, those before the last. `None` if that leaves nothing.
fn complete(places: &[Place], most: i64) -> Option<usize> {
    let full = places.len() as i64 >= most;
    let (true, Some(last)) = (full, places.last()) else {
        return Some(places.len());
    };
    let before = places.partition_point(|place| place < last);
    (before > 0).then_some(before)
}

fn rows(
    view: &mut View<'_>,
    foreign: &Arc<Origin>,
    table: Table,
    first: Uuid,
    most: i64,
) -> Result<Option<Page>, PostgresError> {
    let (of, key) = keyed(table);
    let (select, alias) = match table {
        Table::Events => (points::select_events(view.names), "p"),
        Table::Metrics => (points::select_metrics(view.names), "p"),
        Table::Links => (points::select_links(view.names), "p"),
        _ => (select_spans(view.names), "s"),
    };
    debug_assert_eq!(of.key[0], key);
    let sql = format!(
        "{select} WHERE {}{alias}.{key} >= $1 ORDER BY {alias}.{key} LIMIT $2",
        recorded(table)
    );
    let found = view.query(&sql, &[&first, &most])?;
    // Both selections have the key there.
    let places: Vec<_> = found.iter().map(|row| Place::of(row.get(6))).collect();
    let Some(count) = complete(&places, most) else {
        return Ok(None);
    };
    let mut rows = Vec::with_capacity(count);
    for (row, place) in found.iter().zip(&places).take(count) {
        let Uuid(id) = row.get(6);
        let instance = if table == Table::Spans { 2 } else { 1 };
        let ours = row.get::<_, Option<i32>>(instance);
        let origin = match ours {
            Some(_) => view.origin(ours)?,
            None => foreign.clone(),
        };
        let made_up = RecordId {
            instance: origin.instance,
            ring: table as u32,
            sequence: id as u64 & (u64::MAX >> 1),
        };
        // An id of somebody else's is kept as an attribute: ours follow from the identity.
        let source = |map: &mut AttributeMap, key: &str| {
            map.set(key, TraceId::from_u128(id).to_string());
        };
        rows.push(match table {
            Table::Events => {
                let mut event = points::event(view, row)?;
                if event.record.is_none() {
                    event.record = Some(made_up);
                    event.event_id = made_up.as_u128(0);
                    source(&mut event.attributes, "source.event_id");
                }
                (*place, origin, Row::Event(event))
            }
            Table::Metrics => {
                let mut metric = points::metric(view, row)?;
                if metric.record.is_none() {
                    metric.record = Some(made_up);
                    metric.metric_id = made_up.as_u128(0);
                    source(&mut metric.attributes, "source.metric_id");
                }
                (*place, origin, Row::Metric(metric))
            }
            Table::Links => {
                let mut link = points::link(view, row)?;
                if link.record.is_none() {
                    link.record = Some(made_up);
                    link.link_id = made_up.as_u128(0);
                }
                (*place, origin, Row::Link(link))
            }
            _ => {
                let record = RecordId {
                    ring: row.get::<_, Option<i32>>(3).unwrap_or_default() as u32,
                    sequence: row.get::<_, Option<i64>>(4).unwrap_or_default() as u64,
                    ..made_up
                };
                let mut span = view.span(row, record)?;
                if span.record.is_none() {
                    span.record = Some(made_up);
                    if span.span_id.wide(span.trace_id) != id {
                        source(&mut span.attributes, "source.span_id");
                    }
                }
                (*place, origin, Row::Span(span))
            }
        });
    }
    let next = rows.last().map(|(place, ..)| *place);
    Ok(Some(Page { rows, next }))
}

fn traces(
    view: &mut View<'_>,
    foreign: &Arc<Origin>,
    first: Uuid,
    most: i64,
) -> Result<Option<Page>, PostgresError> {
    let sql = format!(
        "SELECT t.trace_id FROM {} t WHERE t.trace_id >= $1 ORDER BY t.trace_id LIMIT $2",
        view.names.table(&TRACES)
    );
    let found = view.query(&sql, &[&first, &most])?;
    let mut ids: Vec<Uuid> = found.iter().map(|row| row.get(0)).collect();
    let places: Vec<_> = ids.iter().copied().map(Place::of).collect();
    let Some(count) = complete(&places, most) else {
        return Ok(None);
    };
    ids.truncate(count);
    let parts = format!(
        "{} WHERE p.trace_id = ANY($1) \
         ORDER BY p.trace_id, p.start_ns, p.end_ns IS NOT NULL, p.ring, p.sequence",
        view.select_parts()
    );
    let mut rows = Vec::new();
    for row in view.query(&parts, &[&ids])? {
        let origin = view.origin(row.get(10))?;
        let record = RecordId {
            instance: origin.instance,
            ring: row.get::<_, i32>(11) as u32,
            sequence: row.get::<_, i64>(12) as u64,
        };
        let mut trace = part(&row)?;
        trace.resource = origin.resource.clone();
        rows.push((Place::of(row.get(0)), origin, record_of(trace, record)));
    }
    // Those that somebody wrote by hand have no records.
    let with: ahash::AHashSet<Uuid> = rows.iter().map(|(.., row)| trace_of(row)).collect();
    let without: Vec<Uuid> = ids
        .iter()
        .copied()
        .filter(|id| !with.contains(id))
        .collect();
    if !without.is_empty() {
        let sql = format!(
            "{} WHERE t.trace_id = ANY($1) AND t.start_time IS NOT NULL",
            select_traces(view.names)
        );
        for row in view.query(&sql, &[&without])? {
            let whole = view.trace(&row)?;
            let place = Place::of(row.get(0));
            rows.extend(by_hand(&whole, foreign).map(|row| (place, foreign.clone(), row)));
        }
        // Stable: the records of one trace stay in their order.
        rows.sort_by_key(|(_, _, row)| trace_of(row));
    }
    let next = ids.last().copied().map(Place::of);
    Ok(Some(Page { rows, next }))
}

fn trace_of(row: &Row) -> Uuid {
    match row {
        Row::TraceBegan(row) => row.trace.trace_id.into(),
        Row::TraceEnded(row) => row.trace.trace_id.into(),
        _ => Uuid(0),
    }
}

fn record_of(trace: Trace, record: RecordId) -> Row {
    match trace.end_ns {
        None => Row::TraceBegan(TraceBegan { trace, record }),
        Some(_) => Row::TraceEnded(TraceEnded { trace, record }),
    }
}

/// The start of a trace that somebody wrote by hand and, if it ended, its end.
fn by_hand(whole: &Trace, foreign: &Origin) -> impl Iterator<Item = Row> {
    let began = Trace {
        end_ns: None,
        status: Status::Unset,
        instance: foreign.instance,
        ..whole.clone()
    };
    let ended = whole.end_ns.is_some().then(|| Trace {
        end_ns: whole.end_ns,
        status: whole.status,
        attributes: AttributeMap::new(),
        ..began.clone()
    });
    let id = whole.trace_id.as_u128() as u64 >> 2;
    let instance = foreign.instance;
    let record = move |part: u64| RecordId {
        instance,
        ring: Table::Traces as u32,
        sequence: id << 1 | part,
    };
    let began = record_of(began, record(0));
    [Some(began), ended.map(|trace| record_of(trace, record(1)))]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_positions_in_the_order_of_keys() {
        let keys = [
            0,
            1,
            7,
            8,
            1 << 64,
            u128::MAX >> 1,
            u128::MAX - 8,
            u128::MAX,
        ]
        .map(Uuid);
        let mut last = Position::START;
        for key in keys {
            let place = Place::of(key);
            let position = Position::from(place);
            assert_eq!(Place::from(position), place, "{key:?}");
            assert!(position.epoch <= i64::MAX as u64 && position.offset <= i64::MAX as u64);
            assert!(position > Position::START && position >= last, "{key:?}");
            assert!(place.next_key().is_none_or(|next| next > key));
            assert!(place <= Place::END);
            last = position;
        }
        assert_eq!(Place::from(Position::START).next_key(), Some(Uuid(0)));
        assert_eq!(Place::of(Uuid(u128::MAX)).next_key(), None);
        assert_eq!(Place::of(Uuid(15)).next_key(), Some(Uuid(16)));
    }

    #[test]
    fn a_full_page_ends_before_the_place_that_may_go_on() {
        let places = |of: &[u128]| of.iter().copied().map(Place).collect::<Vec<_>>();
        assert_eq!(complete(&places(&[1, 2, 3]), 4), Some(3));
        assert_eq!(complete(&places(&[1, 2, 3]), 3), Some(2));
        assert_eq!(complete(&places(&[1, 3, 3]), 3), Some(1));
        assert_eq!(complete(&places(&[3, 3, 3]), 3), None);
        assert_eq!(complete(&[], 3), Some(0));
    }
}
