//! Rows in order without sorting everything: frames best first, rows as soon as no frame that is
//! left can hold a better one.
//!
//! Always true:
//! - `bound` of a frame is at least the key of everything in it, so a candidate with a greater key
//!   than the best frame that is left comes next
//! - what is kept between two rows is candidates (places in the log), not rows; with a limit of *n*
//!   not many more than *n* of them, else those of the frames that overlap in time
//!
//! Frames of different rings overlap, so the queue is a heap. It begins with segments, each of
//! which is replaced by its frames when it comes up.

use std::{collections::BinaryHeap, sync::Arc};

use crate::{backend::ScanError, query::filter::Filter, record::RecordError};

use super::{
    pending::{Candidate, Key, Pending},
    source::{Block, Entry, Item, Place, Segment},
    store::Store,
};

/// What a walk looks for.
pub(super) trait Look {
    /// What it finds.
    type Row;

    /// The order of its rows.
    fn key(&self) -> Key;

    /// Kinds of records to look at in a segment.
    fn kinds(&self, segment: &Segment) -> u16;

    /// Whether no row can come out of a frame (or, with its summary, a segment).
    fn skips(&mut self, no: u32, segment: &Segment, entry: &Entry) -> bool;

    /// At least the key of every row of a frame.
    fn bound(&self, store: &Store, segment: &Segment, entry: &Entry) -> i64 {
        let _ = (store, segment);
        self.key().bound(entry)
    }

    /// Looks at the rows that rings show as open.
    fn look_open(&mut self, store: &Store, pending: &mut Pending) {
        let _ = (store, pending);
    }

    /// Looks at one record.
    fn look(
        &mut self,
        store: &Store,
        block: &Block<'_>,
        item: Item,
        place: Place,
        pending: &mut Pending,
    ) -> Result<(), RecordError>;

    /// The row of a candidate; `None` if it turns out to be none.
    fn make(&mut self, store: &Store, candidate: &Candidate) -> Option<Self::Row>;
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Todo {
    pub(super) bound: i64,
    /// Segment, and frame unless it is the whole segment.
    pub(super) segment: u32,
    pub(super) block: Option<u32>,
}

/// The frames that are left to visit, best first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Todo>,
}

impl Queue {
    pub(super) fn bound(&self) -> Option<i64> {
        self.heap.peek().map(|todo| todo.bound)
    }

    /// The next frame to visit, if it is one; segments are opened up on the way.
    pub(super) fn next(
        &mut self,
        store: &Store,
        mut judge: impl FnMut(u32, &Segment, &Entry) -> Option<i64>,
    ) -> Option<(u32, u32)> {
        let todo = self.heap.pop()?;
        if let Some(block) = todo.block {
            return Some((todo.segment, block));
        }
        let segment = store.segment(todo.segment)?;
        for (block, entry) in segment.entries().iter().enumerate() {
            if let Some(bound) = judge(todo.segment, segment, entry) {
                self.heap.push(Todo {
                    bound,
                    segment: todo.segment,
                    block: Some(block as u32),
                });
            }
        }
        None
    }

    /// Begins with everything, or with the frames of the one trace that is asked for.
    pub(super) fn fill(
        &mut self,
        store: &Store,
        filter: &Filter,
        mut judge: impl FnMut(u32, &Segment, &Entry) -> Option<i64>,
    ) {
        let mut push = |segment: u32, block: Option<u32>, entry: &Entry| {
            let Some(of) = store.segment(segment) else {
                return;
            };
            if let Some(bound) = judge(segment, of, entry) {
                self.heap.push(Todo {
                    bound,
                    segment,
                    block,
                });
            }
        };
        if let Some(id) = filter.trace_id {
            for (segment, block) in store.find_trace(id) {
                if let Some(entry) = store.entry(segment, block) {
                    push(segment, Some(block), entry);
                }
            }
            return;
        }
        for (no, segment) in store.segments.iter().enumerate() {
            push(no as u32, None, &segment.summary);
        }
    }
}

/// Whether the time of a frame has nothing in common with the time that is asked for.
pub(super) fn outside(filter: &Filter, entry: &Entry) -> bool {
    filter.since_ns.is_some_and(|since| entry.latest_ns < since)
        || filter
            .until_ns
            .is_some_and(|until| entry.earliest_ns > until)
}

/// Rows in order, one at a time.
#[derive(Debug)]
pub(super) struct Walk<L> {
    store: Arc<Store>,
    look: L,
    queue: Queue,
    pending: Pending,
    skip: usize,
    left: usize,
    /// Damage that ends the walk is reported once.
    failed: bool,
}

impl<L: Look> Walk<L> {
    /// `limit` rows at most.
    pub(super) fn new(store: Arc<Store>, mut look: L, filter: &Filter, limit: usize) -> Self {
        let mut pending = Pending::new(limit.saturating_add(filter.offset));
        let mut queue = Queue::default();
        if limit > 0 {
            look.look_open(&store, &mut pending);
            queue.fill(&store, filter, |no, segment, entry| {
                judge(&mut look, &store, no, segment, entry)
            });
        }
        Self {
            store,
            look,
            queue,
            pending,
            skip: filter.offset,
            left: limit,
            failed: false,
        }
    }

    /// The best candidate, once no frame can hold a better one.
    fn next_candidate(&mut self) -> Result<Option<Candidate>, ScanError> {
        loop {
            let bound = self.queue.bound();
            if let Some(best) = self.pending.pop_above(bound) {
                return Ok(Some(best));
            }
            if bound.is_none() {
                return Ok(None);
            }
            let (store, look) = (&self.store, &mut self.look);
            let next = self.queue.next(store, |no, segment, entry| {
                judge(look, store, no, segment, entry)
            });
            if let Some((segment, block)) = next {
                self.visit(segment, block)?;
            }
        }
    }

    fn visit(&mut self, segment: u32, block: u32) -> Result<(), ScanError> {
        let Some(of) = self.store.segment(segment) else {
            return Ok(());
        };
        let kinds = self.look.kinds(of);
        let (store, look, pending) = (&self.store, &mut self.look, &mut self.pending);
        store.visit(segment, block, kinds, |block, item, place| {
            look.look(store, block, item, place, pending)
        })?;
        pending.trim();
        Ok(())
    }
}

fn judge<L: Look>(
    look: &mut L,
    store: &Store,
    no: u32,
    segment: &Segment,
    entry: &Entry,
) -> Option<i64> {
    let visit = entry.kinds & look.kinds(segment) != 0 && !look.skips(no, segment, entry);
    visit.then(|| look.bound(store, segment, entry))
}

impl<L: Look> Iterator for Walk<L> {
    type Item = Result<L::Row, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 && !self.failed {
            let candidate = match self.next_candidate() {
                Ok(candidate) => candidate?,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            if self.skip > 0 && candidate.certain {
                self.skip -= 1;
                continue;
            }
            let Some(row) = self.look.make(&self.store, &candidate) else {
                continue;
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            return Some(Ok(row));
        }
        None
    }
}
