//! What events, metrics and links have in common: one time, no length.

use crate::{
    query::filter::{Filter, Order},
    record::RecordError,
};

use super::{
    judge::Judge,
    pending::{Candidate, Key, Pending},
    source::{Block, Item, Place},
    store::Store,
};

/// What has no length has no slowest.
pub(super) fn key(filter: &Filter) -> Key {
    Key(match filter.order {
        Order::Oldest => Order::Oldest,
        Order::Newest | Order::Slowest => Order::Newest,
    })
}

/// A point that a record has: which part of it, when.
pub(super) struct Point {
    /// Zero for what was recorded, else the part that was derived.
    pub(super) part: u8,
    pub(super) timestamp_ns: i64,
}

/// Pushes a point if its time and identity still matter; `fits` is asked last.
pub(super) fn offer(
    judge: &mut Judge,
    store: &Store,
    (block, item, place): (&Block<'_>, Item, Place),
    point: Point,
    pending: &mut Pending,
    fits: impl FnOnce(&mut Judge) -> Result<bool, RecordError>,
) -> Result<(), RecordError> {
    if !judge.filter.accepts_time(point.timestamp_ns) {
        return Ok(());
    }
    let key = judge.key.of(point.timestamp_ns, None);
    let rank = store.rank(place.segment);
    let tie = judge.key.tie(rank, block.id(item.nth), point.part);
    if pending.wants(key, tie) && fits(judge)? {
        pending.push(Candidate {
            key,
            tie,
            place,
            part: point.part,
            certain: true,
        });
    }
    Ok(())
}

/// Whether the filter's trace and span are those of a record.
pub(super) fn owned(filter: &Filter, trace: [u8; 16], span: u64) -> bool {
    filter.trace_id.is_none_or(|id| id.0 == trace)
        && filter.span_id.is_none_or(|id| id.get() == span)
}
