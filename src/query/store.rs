//! One moment of everything that a query reads: segments, rings on top, who is alive.
//!
//! A [`Store`] never changes, so an iterator may hold it for as long as it likes.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

use ahash::AHashMap;

use crate::{
    backend::ScanError,
    model::{Span, Trace},
    record::{
        id::{InstanceId, RecordId, TraceId},
        kinds::Status,
        Record, RecordError,
    },
};

use super::source::{Block, Entry, Item, Place, Segment};

/// What is known of an instance besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Whether the process still writes.
    pub(super) alive: bool,
    /// Whether it ended everything that it began, or recovery did.
    pub(super) settled: bool,
    /// The last sign of life, Unix nanoseconds.
    pub(super) sign_ns: i64,
}

/// A trace or span that a ring shows as open.
#[derive(Clone, Debug)]
pub(super) enum Open {
    Trace(Trace),
    Span(Span),
}

/// One moment of one log or several.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) open: Vec<Open>,
    lives: AHashMap<InstanceId, Life>,
    /// Position of each segment's instance among all, in order of their ids.
    ranks: Vec<u32>,
    /// Whether several instances wrote at the same time, so that traces may have parts of several.
    pub(super) overlapping: bool,
    /// Frames that did not check, or ended in something that is no record.
    damaged: AtomicU64,
}

impl Store {
    pub(super) fn new(
        segments: Vec<Arc<Segment>>,
        open: Vec<Open>,
        mut lives: AHashMap<InstanceId, Life>,
    ) -> Self {
        for segment in &segments {
            let life = lives.entry(segment.origin.instance).or_insert(Life {
                alive: false,
                settled: false,
                sign_ns: i64::MIN,
            });
            if segment.summary.earliest_ns <= segment.summary.latest_ns {
                life.sign_ns = life.sign_ns.max(segment.summary.latest_ns);
            }
        }
        let mut instances: Vec<InstanceId> = lives.keys().copied().collect();
        instances.sort_unstable();
        let rank = |s: &Arc<Segment>| instances.binary_search(&s.origin.instance).unwrap_or(0);
        let ranks = segments.iter().map(|s| rank(s) as u32).collect();
        let overlapping = overlapping(&segments);
        Self {
            segments,
            open,
            lives,
            ranks,
            overlapping,
            damaged: AtomicU64::new(0),
        }
    }

    /// What is known of an instance.
    pub(super) fn life(&self, instance: InstanceId) -> Option<&Life> {
        self.lives.get(&instance)
    }

    /// Position of a segment's instance among all instances.
    pub(super) fn rank(&self, segment: u32) -> u32 {
        self.ranks.get(segment as usize).copied().unwrap_or(0)
    }

    pub(super) fn segment(&self, no: u32) -> Option<&Segment> {
        self.segments.get(no as usize).map(|s| &**s)
    }

    pub(super) fn entry(&self, segment: u32, block: u32) -> Option<&Entry> {
        self.segment(segment)?.entries().get(block as usize)
    }

    /// One frame; one that is damaged is counted and left out.
    pub(super) fn block(&self, segment: u32, block: u32) -> Option<Block<'_>> {
        let found = self.segment(segment)?.block(block);
        if found.is_none() {
            self.count_damage();
        }
        found
    }

    /// Frames that may hold records of the trace: segment, frame.
    pub(super) fn find_trace(&self, id: TraceId) -> impl Iterator<Item = (u32, u32)> + '_ {
        let segments = self.segments.iter().enumerate();
        segments.flat_map(move |(no, segment)| {
            let frames = segment.find_trace(id);
            frames.into_iter().map(move |block| (no as u32, block))
        })
    }

    /// Frames in which something did not check so far.
    pub(super) fn damaged(&self) -> u64 {
        // Relaxed: a counter for display.
        self.damaged.load(Ordering::Relaxed)
    }

    fn count_damage(&self) {
        // Relaxed: a counter for display.
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls `each` with every record of `kinds` in a frame.
    ///
    /// # Errors
    /// A record of a newer build. What is damaged is counted and left out.
    pub(super) fn visit<'s>(
        &'s self,
        segment: u32,
        block: u32,
        kinds: u16,
        mut each: impl FnMut(&Block<'s>, Item, Place) -> Result<(), RecordError>,
    ) -> Result<(), ScanError> {
        let Some(found) = self.block(segment, block) else {
            return Ok(());
        };
        let mut items = found.items(kinds);
        let mut trouble = None;
        for item in items.by_ref() {
            let place = Place {
                segment,
                block,
                at: item.at,
                nth: item.nth,
            };
            if let Err(error) = each(&found, item, place) {
                trouble = Some(error);
            }
        }
        match items.error.or(trouble) {
            Some(newer @ RecordError::Version { .. }) => Err(store_error(newer)),
            Some(_) => {
                self.count_damage();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Calls `make` with the record at a place; `None` if it cannot be read.
    pub(super) fn read<R>(
        &self,
        place: Place,
        make: impl FnOnce(&Block<'_>, RecordId, &Record<'_>) -> Option<R>,
    ) -> Option<R> {
        let block = self.segment(place.segment)?.block(place.block)?;
        let record = block.record(place.at).ok()?;
        make(&block, block.id(place.nth), &record)
    }

    /// Gives a span of which only the start is known its state: it runs, or it was orphaned with
    /// the last sign of life of its instance.
    pub(super) fn settle_span(&self, span: &mut Span) {
        if span.duration_ns.is_none() {
            if let Some(end_ns) = self.orphaned_at(&[span.instance]) {
                let length = end_ns.saturating_sub(span.start_ns);
                span.duration_ns = Some(u64::try_from(length).unwrap_or(0));
                span.status = Status::Orphaned;
            }
        }
    }

    /// As [`settle_span`](Self::settle_span), for a trace that `instances` began.
    pub(super) fn settle_trace(&self, trace: &mut Trace, instances: &[InstanceId]) {
        if trace.end_ns.is_none() {
            if let Some(end_ns) = self.orphaned_at(instances) {
                trace.end_ns = Some(end_ns.max(trace.start_ns));
                trace.status = Status::Orphaned;
            }
        }
    }

    /// The last sign of life of `instances`, if all are dead.
    pub(super) fn orphaned_at(&self, instances: &[InstanceId]) -> Option<i64> {
        let lives = instances.iter().filter_map(|id| self.lives.get(id));
        let dead = lives.clone().all(|life| !life.alive);
        lives.map(|life| life.sign_ns).max().filter(|_| dead)
    }
}

/// Whether the times of two instances have anything in common.
fn overlapping(segments: &[Arc<Segment>]) -> bool {
    let mut spans: AHashMap<InstanceId, (i64, i64)> = AHashMap::new();
    for segment in segments {
        let (from, to) = (segment.summary.earliest_ns, segment.summary.latest_ns);
        let span = spans.entry(segment.origin.instance).or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
    let mut spans: Vec<_> = spans
        .into_values()
        .filter(|(from, to)| from <= to)
        .collect();
    spans.sort_unstable();
    spans.windows(2).any(|pair| pair[1].0 <= pair[0].1)
}

/// An error of the log, as queries report it.
pub(super) fn store_error(source: impl std::error::Error + Send + Sync + 'static) -> ScanError {
    ScanError::Store {
        what: "the log".to_owned(),
        source: Box::new(source),
    }
}
