//! How rows get to where they belong: straight, or over temporary tables.
//!
//! Rows hardly ever come twice, and copying them to where they belong costs half as much as the way
//! over temporary tables, which asks for each whether it is there. So a batch goes straight there; if
//! a row is there already, the transaction is undone and the batch goes the other way, and the next
//! ones with it. A connection has no temporary table before it needs it: a transaction that touches one
//! empties all of them at its end, file by file.

use ahash::AHashSet;

use super::{
    copy::Rows,
    encode::Tables,
    error::PostgresError,
    link::{Link, Step},
    statements::{Staged, Statements},
};

/// How rows get to where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Straight there; a row that is there already is an error.
    Direct,
    /// Over temporary tables; a row that is there already stays.
    Staged,
}

/// Which way batches go.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// Batches that still go over temporary tables.
    staged: u32,
    /// How many will, when rows were there once more.
    next: u32,
}

impl Route {
    /// Batches that go the longer way after a row was there, first and at most.
    const DETOUR: std::ops::RangeInclusive<u32> = 8..=1024;

    pub(super) fn way(&mut self) -> Way {
        match self.staged.checked_sub(1) {
            Some(left) => {
                self.staged = left;
                Way::Staged
            }
            None => Way::Direct,
        }
    }

    /// A row was there: where starts of spans come long before their ends, that is how it goes on.
    pub(super) fn repeated(&mut self) {
        self.staged = self.next.max(*Self::DETOUR.start());
        self.next = self.staged.saturating_mul(2).min(*Self::DETOUR.end());
    }
}

/// The temporary tables that a connection has, by what created them.
#[derive(Debug, Default)]
pub(super) struct Stages(AHashSet<String>);

impl Stages {
    /// Creates those that these rows are the first to go over.
    pub(super) fn make(
        &mut self,
        link: &mut Link,
        sql: &Statements,
        tables: &Tables,
    ) -> Result<(), PostgresError> {
        for (to, rows) in [
            (&sql.parts, &tables.parts),
            (&sql.spans, &tables.spans),
            (&sql.events, &tables.events),
            (&sql.metrics, &tables.metrics),
            (&sql.links, &tables.links),
        ] {
            if rows.count() > 0 && !self.0.contains(&to.create) {
                link.batch(&to.create)?;
                self.0.insert(to.create.clone());
            }
        }
        Ok(())
    }
}

/// Rows that go over a temporary table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub(super) rows: u64,
    /// Which answer says how many of them are new.
    pub(super) answer: usize,
}

/// Adds the steps by which rows get into their table, if there are any.
pub(super) fn put<'s>(
    steps: &mut Vec<Step<'s>>,
    way: Way,
    to: &'s Staged,
    rows: &mut Rows,
) -> Option<Put> {
    let count = rows.count();
    if count == 0 {
        return None;
    }
    match way {
        Way::Direct => {
            steps.push(Step::Copy(&to.direct, rows.take()));
            None
        }
        Way::Staged => {
            steps.push(Step::Copy(&to.copy, rows.take()));
            steps.push(Step::Run(&to.insert, &[]));
            let answer = steps.len() - 1;
            Some(Put {
                rows: count,
                answer,
            })
        }
    }
}
