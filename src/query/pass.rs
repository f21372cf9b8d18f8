//! Every record once, in one pass, and the moment at which a trace is complete.
//!
//! Always true:
//! - each frame is visited once, and only if it has something of the time that is asked for, or of
//!   a trace that has
//! - when a hash is reported complete, no record of any trace with that hash comes any more
//! - what it keeps is eight bytes for each pair of trace and frame while it plans, and for each
//!   trace while it runs; pages of a segment that was left are let go
//!
//! The index knows which traces each frame holds, so the last frame of each is known before the
//! first one is read. Nothing has to wait for spans that may come late, and nothing is looked up.

use std::sync::Arc;

use crate::{
    backend::ScanError,
    log::trace_hash,
    model::{Span, Trace},
    record::{
        id::{InstanceId, TraceId},
        layout::RecordKind,
        view::Body,
        Record, RecordError,
    },
};

use super::{
    rows::Context,
    source::{bit, Block, Item},
    store::{Open, Store},
};

/// Kinds that are visited: all that belong to traces, links left out.
const KINDS: u16 = bit(RecordKind::TraceStart)
    | bit(RecordKind::TraceEnd)
    | bit(RecordKind::Span)
    | bit(RecordKind::SpanStart)
    | bit(RecordKind::Event)
    | bit(RecordKind::Metric);

/// Takes what a pass comes by.
pub(crate) trait Visit {
    /// A trace that a ring shows as open; comes before all records.
    fn open_trace(&mut self, trace: &Trace);

    /// A span that a ring shows as open; comes before all records.
    fn open_span(&mut self, span: &Span);

    /// A record.
    ///
    /// # Errors
    /// The record does not read.
    fn record(&mut self, seen: &Seen<'_>) -> Result<(), RecordError>;

    /// All traces with this hash are complete. May be said of hashes that never came.
    fn complete(&mut self, hash: u32);
}

/// A record on its way past.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) body: Body<'a>,
    /// Zeros if it belongs to none.
    pub(crate) trace: TraceId,
    block: &'a Block<'a>,
    item: Item,
}

impl Seen<'_> {
    /// The record with its attributes.
    pub(crate) fn record(&self) -> Result<Record<'_>, RecordError> {
        self.block.record(self.item.at)
    }
}

/// The hash under which a trace is reported complete.
pub(crate) fn hash_of(trace: TraceId) -> u32 {
    trace_hash(trace.as_u128() as u64)
}

/// One pass over a store.
#[derive(Debug)]
pub(crate) struct Pass {
    store: Arc<Store>,
    /// Segment and frame, in the order of the visits.
    steps: Vec<(u32, u32)>,
    /// Step (high half) after which a hash is complete, in order.
    complete: Vec<u64>,
}

impl Pass {
    /// Plans a pass over everything that traces may have which began in this time, Unix
    /// nanoseconds, both ends included.
    pub(super) fn new(store: Arc<Store>, since_ns: i64, until_ns: i64) -> Self {
        // By time, so that what several logs have of a trace comes close together.
        let mut order: Vec<u32> = (0..store.segments.len() as u32).collect();
        order.sort_by_key(|no| store.segments[*no as usize].summary.earliest_ns);
        let inside = |no: u32| {
            let segment = &store.segments[no as usize];
            let frames = segment.entries().iter();
            frames.map(|entry| entry.latest_ns >= since_ns && entry.earliest_ns <= until_ns)
        };
        let everything = store.segments.iter().all(|segment| {
            let all = &segment.summary;
            all.earliest_ns > all.latest_ns
                || all.earliest_ns >= since_ns && all.latest_ns <= until_ns
        });
        let wanted = (!everything).then(|| {
            let hashes = order.iter().flat_map(|no| {
                let inside: Vec<bool> = inside(*no).collect();
                let all_outside = !inside.contains(&true);
                let pairs = (!all_outside).then(|| store.segments[*no as usize].trace_pairs());
                let pairs = pairs.into_iter().flatten();
                let kept = pairs.filter(move |pair| inside[*pair as u32 as usize]);
                kept.map(|pair| (pair >> 32) as u32)
            });
            Hashes::new(hashes.collect())
        });
        let mut steps = Vec::new();
        let mut pairs = Vec::new();
        for no in order {
            let segment = &store.segments[no as usize];
            let mut of_segment = segment.trace_pairs();
            let mut visit: Vec<bool> = match &wanted {
                None => vec![true; segment.entries().len()],
                Some(wanted) => {
                    of_segment.retain(|pair| wanted.has((pair >> 32) as u32));
                    inside(no).collect()
                }
            };
            if wanted.is_some() {
                for pair in &of_segment {
                    visit[*pair as u32 as usize] = true;
                }
            }
            let mut places = vec![0u64; visit.len()];
            for (frame, entry) in segment.entries().iter().enumerate() {
                if visit[frame] && entry.kinds & KINDS != 0 {
                    places[frame] = steps.len() as u64;
                    steps.push((no, frame as u32));
                }
            }
            let hash = |pair: u64| pair >> 32 << 32;
            let placed = of_segment
                .into_iter()
                .map(|pair| hash(pair) | places[pair as u32 as usize]);
            pairs.extend(placed);
        }
        Self {
            store,
            steps,
            complete: last_of_each(pairs),
        }
    }

    /// Visits everything. What is damaged is counted and left out.
    ///
    /// # Errors
    /// A record of a newer build.
    pub(crate) fn run(&self, visitor: &mut impl Visit) -> Result<(), ScanError> {
        for open in &self.store.open {
            match open {
                Open::Trace(trace) => visitor.open_trace(trace),
                Open::Span(span) => visitor.open_span(span),
            }
        }
        let mut complete = self.complete.iter().peekable();
        let mut at = None;
        for (step, &(segment, frame)) in self.steps.iter().enumerate() {
            if let Some(left) = at.replace(segment).filter(|left| *left != segment) {
                self.release(left);
            }
            self.store.visit(segment, frame, KINDS, |block, item, _| {
                visitor.record(&Seen {
                    context: &block.context,
                    body: block.body(item)?,
                    trace: block.trace_of(item),
                    block,
                    item,
                })
            })?;
            while let Some(next) = complete.next_if(|next| (*next >> 32) as usize <= step) {
                visitor.complete(*next as u32);
            }
        }
        at.into_iter().for_each(|left| self.release(left));
        for open in &self.store.open {
            visitor.complete(hash_of(match open {
                Open::Trace(trace) => trace.trace_id,
                Open::Span(span) => span.trace_id,
            }));
        }
        Ok(())
    }

    /// Visits everything of one trace, once more.
    ///
    /// # Errors
    /// A record of a newer build.
    pub(crate) fn again(&self, trace: TraceId, visitor: &mut impl Visit) -> Result<(), ScanError> {
        for (segment, frame) in self.store.find_trace(trace) {
            self.store.visit(segment, frame, KINDS, |block, item, _| {
                if block.trace_of(item) != trace {
                    return Ok(());
                }
                visitor.record(&Seen {
                    context: &block.context,
                    body: block.body(item)?,
                    trace,
                    block,
                    item,
                })
            })?;
        }
        visitor.complete(hash_of(trace));
        Ok(())
    }

    fn release(&self, segment: u32) {
        if let Some(segment) = self.store.segment(segment) {
            segment.release();
        }
    }

    /// When `instances` showed the last sign of life, if all are dead: the end of what they left
    /// open.
    pub(crate) fn orphaned_at(&self, instances: &[InstanceId]) -> Option<i64> {
        self.store.orphaned_at(instances)
    }

    /// Frames in which something did not check, of those that were visited.
    pub(crate) fn damaged_frames(&self) -> u64 {
        self.store.damaged()
    }
}

/// Out of hash and step the last step of each hash, as step and hash in order.
fn last_of_each(mut pairs: Vec<u64>) -> Vec<u64> {
    pairs.sort_unstable();
    let mut last: Vec<u64> = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let next = pairs.get(at + 1);
        if next.is_none_or(|next| next >> 32 != pair >> 32) {
            last.push(pair.rotate_left(32));
        }
    }
    drop(pairs);
    last.shrink_to_fit();
    last.sort_unstable();
    last
}

/// A set of hashes; most of those that are asked for are not in it.
struct Hashes {
    sorted: Vec<u32>,
    /// A bit for the upper bits of each hash.
    upper: Vec<u64>,
}

/// Bits of a hash that [`Hashes::upper`] knows: 2 MiB of them.
const UPPER_BITS: u32 = 24;

impl Hashes {
    fn new(mut hashes: Vec<u32>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        let mut upper = vec![0u64; 1 << (UPPER_BITS - 6)];
        for hash in &hashes {
            let bit = hash >> (32 - UPPER_BITS);
            upper[(bit >> 6) as usize] |= 1 << (bit & 63);
        }
        Self {
            sorted: hashes,
            upper,
        }
    }

    fn has(&self, hash: u32) -> bool {
        let bit = hash >> (32 - UPPER_BITS);
        self.upper[(bit >> 6) as usize] & 1 << (bit & 63) != 0
            && self.sorted.binary_search(&hash).is_ok()
    }
}
