//! Looking for traces. A trace is two records at least, its start and its end, in any frames of any
//! segments, of several processes even.
//!
//! A walk sees starts and ends in the order of their frames and keeps a few numbers per trace until
//! no frame that is left can begin later. By then both records were mostly seen; the index tells
//! about the frames that were not, and only those are looked into.
//!
//! One limit: among the slowest, a trace with several starts and ends in one log (a server that is
//! called several times in one trace) is found by its longest part, then shown with its whole
//! length. Logs that were written at the same time are looked through completely instead.

use std::{collections::BinaryHeap, sync::Arc};

use ahash::{AHashMap, AHashSet};

use crate::{
    backend::ScanError,
    model::Trace,
    query::filter::{Filter, Order},
    record::{id::TraceId, kinds::Status, layout::RecordKind},
};

use super::{
    judge::Judge,
    partial::{Partial, KINDS},
    pending::Key,
    source::{bit, Entry, Segment},
    store::{Open, Store},
    walk::{outside, Queue},
};

/// Which frames were visited, by segment.
#[derive(Debug, Default)]
struct Visited(Vec<Vec<u64>>);

impl Visited {
    fn mark(&mut self, segment: u32, block: u32) {
        let (segment, word) = (segment as usize, block as usize / 64);
        if self.0.len() <= segment {
            self.0.resize(segment + 1, Vec::new());
        }
        let words = &mut self.0[segment];
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << (block % 64);
    }

    fn has(&self, segment: u32, block: u32) -> bool {
        let words = self.0.get(segment as usize);
        let word = words.and_then(|words| words.get(block as usize / 64));
        word.is_some_and(|word| word & (1 << (block % 64)) != 0)
    }
}

/// Traces in order, one at a time.
#[derive(Debug)]
pub(super) struct TraceWalk {
    store: Arc<Store>,
    judge: Judge,
    queue: Queue,
    parts: AHashMap<TraceId, Partial>,
    /// Keys of `parts`, some outdated.
    waiting: BinaryHeap<(i64, u128)>,
    visited: Visited,
    /// Traces given out of which unvisited frames hold records.
    done: AHashSet<TraceId>,
    skip: usize,
    left: usize,
    failed: bool,
}

impl TraceWalk {
    pub(super) fn new(store: Arc<Store>, filter: &Filter, limit: usize) -> Self {
        let mut this = Self {
            judge: Judge::new(filter, Key(filter.order)),
            queue: Queue::default(),
            parts: AHashMap::new(),
            waiting: BinaryHeap::new(),
            visited: Visited::default(),
            done: AHashSet::new(),
            skip: filter.offset,
            left: limit,
            failed: false,
            store,
        };
        if this.left > 0 {
            let store = this.store.clone();
            for (no, open) in store.open.iter().enumerate() {
                if let Open::Trace(trace) = open {
                    let partial = this.parts.entry(trace.trace_id).or_default();
                    partial.add_open(no as u32, trace);
                    this.wait(trace.trace_id);
                }
            }
            let judge = &mut this.judge;
            this.queue.fill(&store, filter, |no, segment, entry| {
                judge_frame(judge, &store, no, segment, entry)
            });
        }
        this
    }

    /// Puts a trace where it belongs among those that wait.
    fn wait(&mut self, id: TraceId) {
        let Some(partial) = self.parts.get_mut(&id) else {
            return;
        };
        let duration = match self.judge.key.0 {
            Order::Slowest => partial.duration(&self.store),
            Order::Newest | Order::Oldest => None,
        };
        let key = self.judge.key.of(partial.start(), duration);
        if partial.key != Some(key) {
            partial.key = Some(key);
            self.waiting.push((key, self.judge.key.turn(id.as_u128())));
        }
    }

    fn visit(&mut self, segment: u32, block: u32) -> Result<(), ScanError> {
        self.visited.mark(segment, block);
        let store = self.store.clone();
        let mut changed = Vec::new();
        store.visit(segment, block, KINDS, |found, item, place| {
            let id = found.trace_of(item);
            let wanted = self.judge.filter.trace_id.is_none_or(|only| only == id);
            if wanted && !self.done.contains(&id) {
                self.parts.entry(id).or_default().add(found, item, place)?;
                changed.push(id);
            }
            Ok(())
        })?;
        changed.into_iter().for_each(|id| self.wait(id));
        Ok(())
    }

    /// The best trace that waits, once no frame can hold a better one.
    fn next_partial(&mut self) -> Result<Option<Partial>, ScanError> {
        loop {
            let bound = self.queue.bound();
            if let Some(&(key, tie)) = self.waiting.peek() {
                if bound.is_none_or(|bound| key > bound) {
                    self.waiting.pop();
                    let id = TraceId::from_u128(self.judge.key.turn(tie));
                    if let Some(partial) = self.take(id, key)? {
                        return Ok(Some(partial));
                    }
                    continue;
                }
            }
            if bound.is_none() {
                return Ok(None);
            }
            let (store, judge) = (&self.store, &mut self.judge);
            let next = self.queue.next(store, |no, segment, entry| {
                judge_frame(judge, store, no, segment, entry)
            });
            if let Some((segment, block)) = next {
                self.visit(segment, block)?;
            }
        }
    }

    /// Takes a trace whose turn it is, unless what the index adds changes its turn.
    fn take(&mut self, id: TraceId, key: i64) -> Result<Option<Partial>, ScanError> {
        if self.parts.get(&id).is_none_or(|p| p.key != Some(key)) {
            return Ok(None);
        }
        let Some(mut partial) = self.parts.remove(&id) else {
            return Ok(None);
        };
        if partial.complete {
            return Ok(Some(partial));
        }
        partial.complete = true;
        for (segment, block) in self.store.find_trace(id) {
            let known = self.visited.has(segment, block);
            let entry = self.store.entry(segment, block);
            if known || entry.is_none_or(|e| e.kinds & KINDS == 0) {
                continue;
            }
            if partial.add_from(&self.store, segment, block, id)? {
                self.done.insert(id);
            }
        }
        self.parts.insert(id, partial);
        self.wait(id);
        if self.parts.get(&id).is_none_or(|p| p.key != Some(key)) {
            return Ok(None);
        }
        Ok(self.parts.remove(&id))
    }

    /// Whether the numbers alone fit.
    fn accepts(&self, partial: &Partial) -> bool {
        let filter = &self.judge.filter;
        let (end, status) = partial.outcome(&self.store);
        let duration = end.and_then(|_| partial.duration(&self.store));
        filter.accepts_time(partial.start())
            && filter.accepts_duration(duration)
            && filter.status.is_none_or(|wanted| wanted == status)
    }
}

impl Iterator for TraceWalk {
    type Item = Result<Trace, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 && !self.failed {
            let mut partial = match self.next_partial() {
                Ok(partial) => partial?,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            if !self.accepts(&partial) {
                continue;
            }
            let trace = partial.row(&self.store);
            let Some(trace) = trace.filter(|trace| self.judge.filter.accepts_trace(trace)) else {
                continue;
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            return Some(Ok(trace));
        }
        None
    }
}

/// Whether a trace can be found by a frame, and the best key of such a trace.
fn judge_frame(
    judge: &mut Judge,
    store: &Store,
    no: u32,
    segment: &Segment,
    entry: &Entry,
) -> Option<i64> {
    let filter = &judge.filter;
    let life = store.life(segment.origin.instance);
    // Parts of several processes together may begin earlier and last longer than each of them, so
    // none may be passed over; among the newest a trace that began earlier only comes later.
    let order = judge.key.0;
    let every_part = store.overlapping && order != Order::Newest;
    // A trace with a verdict is found by the end that gives it.
    let by_end = match filter.status {
        Some(Status::Ok | Status::Error | Status::Cancelled) => !every_part,
        Some(Status::Unset | Status::Orphaned) | None => false,
    };
    let status = filter.status.unwrap_or_default() as u8;
    let without = entry.kinds & KINDS == 0
        || by_end
            && (entry.kinds & bit(RecordKind::TraceEnd) == 0 || entry.statuses & 1 << status == 0);
    if without
        || outside(filter, entry) && !(every_part && order == Order::Slowest)
        || !every_part && judge.skips_name(no, segment, entry)
    {
        return None;
    }
    let bound = judge.key.bound(entry);
    let may_be_orphaned = entry.kinds & bit(RecordKind::TraceStart) != 0;
    Some(match life {
        _ if order != Order::Slowest => bound,
        _ if store.overlapping => i64::MAX,
        Some(life) if may_be_orphaned && !life.alive && !life.settled => {
            bound.max(life.sign_ns.saturating_sub(entry.earliest_ns))
        }
        _ => bound,
    })
}
