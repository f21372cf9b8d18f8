//! A segment in memory: what rings still hold, and the double that tests query.

use crate::{
    clock::Anchor,
    log::{name_bit, trace_hash},
    record::{
        id::TraceId,
        layout::RecordKind,
        names::NameMap,
        view::{self, Body},
    },
};

use super::{
    rows::{Context, Origin, Times},
    source::{bit, Block, Entry, Ids, NOTHING},
};

/// Kinds that begin with a trace id.
const OF_TRACES: u16 = bit(RecordKind::TraceStart)
    | bit(RecordKind::TraceEnd)
    | bit(RecordKind::Span)
    | bit(RecordKind::SpanStart)
    | bit(RecordKind::Event)
    | bit(RecordKind::Metric)
    | bit(RecordKind::Link);

/// Frames and their index.
#[derive(Debug, Default)]
pub(super) struct MemorySegment {
    names: NameMap,
    entries: Vec<Entry>,
    blocks: Vec<MemoryBlock>,
}

#[derive(Debug)]
struct MemoryBlock {
    anchor: Anchor,
    words: Vec<u64>,
    /// Low halves of the traces inside, sorted.
    traces: Vec<u64>,
}

impl MemorySegment {
    pub(super) fn new(names: NameMap) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Adds whole records as one frame. `thread` is ring and lease.
    pub(super) fn push(&mut self, thread: (u32, u32), first: u64, anchor: Anchor, words: Vec<u64>) {
        let (entry, traces) = describe(thread, first, &anchor, &words);
        self.entries.push(entry);
        self.blocks.push(MemoryBlock {
            anchor,
            words,
            traces,
        });
    }

    pub(super) fn names(&self) -> &NameMap {
        &self.names
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn find_trace(&self, id: TraceId) -> Vec<u32> {
        let low = id.as_u128() as u64;
        let blocks = self.blocks.iter().enumerate();
        let hits = blocks.filter(|(_, block)| block.traces.binary_search(&low).is_ok());
        hits.map(|(no, _)| no as u32).collect()
    }

    /// Which trace has records in which frame: the hash of the trace (high half) and the frame.
    pub(super) fn trace_pairs(&self) -> Vec<u64> {
        let blocks = self.blocks.iter().enumerate();
        let pairs = blocks.flat_map(|(no, block)| {
            let traces = block.traces.iter();
            traces.map(move |low| u64::from(trace_hash(*low)) << 32 | no as u64)
        });
        pairs.collect()
    }

    pub(super) fn block<'a>(&'a self, no: u32, origin: &'a Origin) -> Option<Block<'a>> {
        let block = self.blocks.get(no as usize)?;
        let entry = self.entries.get(no as usize)?;
        Some(Block {
            context: Context {
                names: &self.names,
                origin,
                anchor: block.anchor,
                thread: (entry.ring, entry.lease),
            },
            bytes: view::bytes_of(&block.words),
            ids: Ids::From(entry.first_sequence),
        })
    }
}

/// What the index says of a frame.
fn describe(
    (ring, lease): (u32, u32),
    first_sequence: u64,
    anchor: &Anchor,
    words: &[u64],
) -> (Entry, Vec<u64>) {
    let bytes = view::bytes_of(words);
    let mut entry = Entry {
        ring,
        lease,
        first_sequence,
        ..NOTHING
    };
    let mut traces = Vec::new();
    let mut at = 0;
    while let Ok(head) = view::peek(bytes, at) {
        if let Ok(body) = view::fixed(bytes, at, head) {
            let mut time = |from: i64, to: i64| {
                entry.earliest_ns = entry.earliest_ns.min(from);
                entry.latest_ns = entry.latest_ns.max(to);
            };
            let id = match body {
                Body::TraceStart(r) => {
                    let at = anchor.unix_ns(r.tick.to_native());
                    time(at, at);
                    r.trace_id
                }
                Body::TraceEnd(r) => {
                    let times = Times::new(anchor, r.end.to_native(), r.ticks.to_native());
                    time(times.start_ns, times.end_ns);
                    entry.max_duration_ns = entry.max_duration_ns.max(times.duration_ns);
                    entry.statuses |= 1 << (r.status & 7);
                    r.trace_id
                }
                Body::Span(r) => {
                    let times = Times::new(anchor, r.end.to_native(), r.ticks.to_native());
                    time(times.start_ns, times.end_ns);
                    entry.max_duration_ns = entry.max_duration_ns.max(times.duration_ns);
                    entry.statuses |= 1 << (r.status & 7);
                    r.trace_id
                }
                Body::SpanStart(r) => {
                    let at = anchor.unix_ns(r.tick.to_native());
                    time(at, at);
                    r.trace_id
                }
                Body::Event(r) => {
                    let at = anchor.unix_ns(r.tick.to_native());
                    time(at, at);
                    entry.names |= name_bit(r.event_type.to_native());
                    r.trace_id
                }
                Body::Metric(r) => {
                    let at = anchor.unix_ns(r.tick.to_native());
                    time(at, at);
                    r.trace_id
                }
                Body::Link(r) => {
                    let at = anchor.unix_ns(r.tick.to_native());
                    time(at, at);
                    r.trace_id
                }
                _ => [0; 16],
            };
            if bit(head.kind) & OF_TRACES != 0 {
                traces.push(TraceId(id).as_u128() as u64);
                entry.names |= name_bit(body.header().name.to_native());
            }
        }
        entry.kinds |= bit(head.kind);
        entry.count += 1;
        at += head.size;
    }
    traces.sort_unstable();
    traces.dedup();
    (entry, traces)
}
