//! Places that may hold rows of the answer, best first.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::{query::filter::Order, record::id::RecordId};

use super::source::{Entry, Place};

/// Segment number of places that are rows of [`Store::open`].
pub(super) const OPEN: u32 = u32::MAX;

/// A place that may hold a row of the answer. Greater comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) key: i64,
    /// Identity, so that the order of equal keys is the same in every answer.
    pub(super) tie: u128,
    pub(super) place: Place,
    /// Zero for what was recorded, else the part that was derived.
    pub(super) part: u8,
    /// Whether it is a row for sure.
    pub(super) certain: bool,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.key, self.tie).cmp(&(other.key, other.tie))
    }
}

/// What an order makes of times and lengths: greater comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) Order);

impl Key {
    /// Of a row; what still runs comes last among the slowest.
    #[inline]
    pub(super) fn of(self, start_ns: i64, duration_ns: Option<u64>) -> i64 {
        match self.0 {
            Order::Newest => start_ns,
            Order::Oldest => !start_ns,
            Order::Slowest => duration_ns.map_or(-1, |ns| ns.min(i64::MAX as u64) as i64),
        }
    }

    /// At least that of every row of a frame.
    pub(super) fn bound(self, entry: &Entry) -> i64 {
        self.of(
            match self.0 {
                Order::Oldest => entry.earliest_ns,
                Order::Newest | Order::Slowest => entry.latest_ns,
            },
            Some(entry.max_duration_ns),
        )
    }

    /// Of a record, inside its order: instance, ring, sequence, part.
    #[inline]
    pub(super) fn tie(self, rank: u32, id: RecordId, part: u8) -> u128 {
        let tie = u128::from(rank & 0xff_ffff) << 104
            | u128::from(id.ring) << 72
            | u128::from(id.sequence) << 8
            | u128::from(part);
        self.turn(tie)
    }

    /// Ties are reversed where times are.
    pub(super) fn turn(self, tie: u128) -> u128 {
        if self.0 == Order::Oldest {
            !tie
        } else {
            tie
        }
    }
}

/// Candidates beyond what is wanted before the rest is forgotten.
const SLACK: usize = if cfg!(test) { 4 } else { 512 };

/// Candidates that were found and not yet given out.
#[derive(Debug)]
pub(super) struct Pending {
    heap: BinaryHeap<Candidate>,
    /// Rows that are still wanted.
    keep: usize,
    /// Nothing below it is wanted: `keep` certain ones are above.
    floor: Option<(i64, u128)>,
}

impl Pending {
    pub(super) fn new(keep: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            keep,
            floor: None,
        }
    }

    /// Whether a candidate with this key may still matter.
    #[inline]
    pub(super) fn wants(&self, key: i64, tie: u128) -> bool {
        self.floor.is_none_or(|floor| (key, tie) > floor)
    }

    #[inline]
    pub(super) fn push(&mut self, candidate: Candidate) {
        if self.wants(candidate.key, candidate.tie) {
            self.heap.push(candidate);
        }
    }

    /// The best one, if nothing that was not looked at yet can be better.
    pub(super) fn pop_above(&mut self, bound: Option<i64>) -> Option<Candidate> {
        let best = self.heap.peek()?;
        if bound.is_none_or(|bound| best.key > bound) {
            return self.heap.pop();
        }
        None
    }

    /// Forgets what cannot be among the rows that are still wanted.
    pub(super) fn trim(&mut self) {
        if self.heap.len() < self.keep.saturating_mul(2).saturating_add(SLACK) {
            return;
        }
        let mut best = std::mem::take(&mut self.heap).into_sorted_vec();
        best.reverse();
        let mut certain = 0;
        let enough = best.iter().position(|c| {
            certain += usize::from(c.certain);
            certain >= self.keep
        });
        if let Some(last) = enough {
            best.truncate(last + 1);
            self.floor = best.last().map(|c| (c.key, c.tie));
        }
        self.heap = best.into();
    }
}
