//! The best rows seen so far, in the order of the log's own queries: by key, ties by identity.

use std::collections::BTreeMap;

use crate::{
    query::filter::{Filter, Order},
    record::id::{RecordId, TraceId},
};

/// What a row is sorted by; greater comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    key: i64,
    tie: (u128, u128),
}

/// Identity, for rows with equal keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tie(u128, u128);

impl Tie {
    pub(crate) fn trace(id: TraceId) -> Self {
        Self(id.as_u128(), 0)
    }

    /// `part` is 0 for what was recorded.
    pub(crate) fn record(id: RecordId, part: u8) -> Self {
        let place = u128::from(id.ring) << 72 | u128::from(id.sequence) << 8 | u128::from(part);
        Self(u128::from_be_bytes(id.instance.0), place)
    }
}

/// Keeps as many rows as a filter wants.
#[derive(Debug)]
pub(crate) struct Best<T> {
    order: Order,
    offset: usize,
    keep: usize,
    rows: BTreeMap<Rank, T>,
}

impl<T> Best<T> {
    pub(crate) fn new(filter: &Filter, limit: usize) -> Self {
        Self {
            order: filter.order,
            offset: filter.offset,
            keep: if limit == 0 {
                0
            } else {
                filter.offset.saturating_add(limit)
            },
            rows: BTreeMap::new(),
        }
    }

    /// Of rows that have one time and no length.
    pub(crate) fn of_points(filter: &Filter) -> Self {
        let mut best = Self::new(filter, filter.row_limit());
        if best.order == Order::Slowest {
            best.order = Order::Newest;
        }
        best
    }

    /// The rank of a row, if it is among the best.
    pub(crate) fn rank(&self, start_ns: i64, duration_ns: Option<u64>, tie: Tie) -> Option<Rank> {
        let key = match self.order {
            Order::Newest => start_ns,
            Order::Oldest => !start_ns,
            Order::Slowest => duration_ns.map_or(-1, |ns| ns.min(i64::MAX as u64) as i64),
        };
        let tie = match self.order {
            Order::Oldest => (!tie.0, !tie.1),
            Order::Newest | Order::Slowest => (tie.0, tie.1),
        };
        let rank = Rank { key, tie };
        let worst = || {
            self.rows
                .first_key_value()
                .is_some_and(|(worst, _)| rank > *worst)
        };
        (self.rows.len() < self.keep || self.keep > 0 && worst()).then_some(rank)
    }

    pub(crate) fn insert(&mut self, rank: Rank, row: T) {
        self.rows.insert(rank, row);
        if self.rows.len() > self.keep {
            self.rows.pop_first();
        }
    }

    /// Whether no row that began then, give or take what float seconds round, can be among them.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_past(&self, start_ns: i64) -> bool {
        const ROUNDING_NS: i64 = 100_000;
        let key = match self.order {
            Order::Newest => start_ns.saturating_add(ROUNDING_NS),
            Order::Oldest => !start_ns.saturating_sub(ROUNDING_NS),
            Order::Slowest => return false,
        };
        self.rows.len() >= self.keep
            && self
                .rows
                .first_key_value()
                .is_none_or(|(worst, _)| key < worst.key)
    }

    pub(crate) fn into_rows(self) -> Vec<T> {
        self.rows.into_values().rev().skip(self.offset).collect()
    }
}
