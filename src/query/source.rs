//! Frames of records, wherever they lie: in a file of the log, or in memory because a ring still
//! held them.

use std::sync::Arc;

use crate::{
    log::{Frame, FrameKind, SegmentView},
    record::{
        id::{RecordId, TraceId},
        layout::RecordKind,
        names::NameMap,
        view::{self, Body},
        Record, RecordError,
    },
};

use super::{
    memory::MemorySegment,
    rows::{Context, Origin},
};

/// What is known of a frame without reading it.
pub(super) use crate::log::FrameEntry as Entry;

/// The bit of a record kind in an entry.
pub(super) const fn bit(kind: RecordKind) -> u16 {
    1 << kind as u16
}

/// Nothing; the start of a sum of entries.
pub(super) const NOTHING: Entry = Entry {
    offset: 0,
    length: 0,
    ring: 0,
    lease: 0,
    first_sequence: 0,
    count: 0,
    kinds: 0,
    statuses: 0,
    kind: FrameKind::Records,
    earliest_ns: i64::MAX,
    latest_ns: i64::MIN,
    max_duration_ns: 0,
    names: 0,
};

/// An entry that covers all of `entries`.
fn summary(entries: &[Entry]) -> Entry {
    entries.iter().fold(NOTHING, |sum, entry| Entry {
        kinds: sum.kinds | entry.kinds,
        statuses: sum.statuses | entry.statuses,
        earliest_ns: sum.earliest_ns.min(entry.earliest_ns),
        latest_ns: sum.latest_ns.max(entry.latest_ns),
        max_duration_ns: sum.max_duration_ns.max(entry.max_duration_ns),
        names: sum.names | entry.names,
        ..sum
    })
}

/// One segment as queries see it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) origin: Origin,
    /// What all its frames have together.
    pub(super) summary: Entry,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Log(Arc<SegmentView>),
    Memory(MemorySegment),
}

impl Segment {
    pub(super) fn memory(origin: Origin, data: MemorySegment) -> Self {
        Self {
            origin,
            summary: summary(data.entries()),
            data: Data::Memory(data),
        }
    }

    pub(super) fn log(view: Arc<SegmentView>) -> Self {
        Self {
            origin: Origin::of(&view),
            summary: summary(view.frames()),
            data: Data::Log(view),
        }
    }

    pub(super) fn names(&self) -> &NameMap {
        match &self.data {
            Data::Log(view) => view.names(),
            Data::Memory(data) => data.names(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Log(view) => view.frames(),
            Data::Memory(data) => data.entries(),
        }
    }

    /// Frames that may hold records of the trace, in order.
    pub(super) fn find_trace(&self, id: TraceId) -> Vec<u32> {
        match &self.data {
            Data::Log(view) => view.find_trace(id).collect(),
            Data::Memory(data) => data.find_trace(id),
        }
    }

    /// Which trace may have records in which frame: the hash of the trace (high half) and the
    /// frame, in no order.
    pub(super) fn trace_pairs(&self) -> Vec<u64> {
        match &self.data {
            Data::Log(view) => view.trace_pairs(),
            Data::Memory(data) => data.trace_pairs(),
        }
    }

    /// Lets go of what reading it brought into memory.
    pub(super) fn release(&self) {
        if let Data::Log(view) = &self.data {
            view.release();
        }
    }

    /// One frame; `None` if its bytes are damaged.
    pub(super) fn block(&self, no: u32) -> Option<Block<'_>> {
        match &self.data {
            Data::Log(view) => {
                let frame = view.frame(no).ok()?;
                Some(Block {
                    context: Context::of(&frame, view.names(), &self.origin),
                    bytes: frame.payload,
                    ids: Ids::Frame(frame),
                })
            }
            Data::Memory(data) => data.block(no, &self.origin),
        }
    }
}

/// The records of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) context: Context<'a>,
    /// Whole records, eight-aligned.
    pub(super) bytes: &'a [u8],
    pub(super) ids: Ids<'a>,
}

/// Numbers of the records of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ids<'a> {
    /// One after the other from this one.
    From(u64),
    /// As the frame says.
    Frame(Frame<'a>),
}

/// Where a record lies in its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Its number in the frame.
    pub(super) nth: u32,
    /// Its first byte.
    pub(super) at: u32,
    pub(super) head: view::Peek,
}

impl<'a> Block<'a> {
    /// The records of `kinds` in file order; ends at the first bytes that are no record.
    pub(super) fn items(self, kinds: u16) -> Items<'a> {
        Items {
            bytes: self.bytes,
            kinds,
            at: 0,
            nth: 0,
            error: None,
        }
    }

    /// The fixed part.
    #[inline]
    pub(super) fn body(&self, item: Item) -> Result<Body<'a>, RecordError> {
        view::fixed(self.bytes, item.at as usize, item.head)
    }

    /// The trace that a record of a kind with a trace belongs to, zeros if none.
    #[inline]
    pub(super) fn trace_of(&self, item: Item) -> TraceId {
        let at = item.at as usize + 8;
        let id = self.bytes.get(at..at + 16).and_then(|b| b.try_into().ok());
        TraceId(id.unwrap_or_default())
    }

    /// The record at a byte.
    pub(super) fn record(&self, at: u32) -> Result<Record<'a>, RecordError> {
        Record::read(self.bytes, at as usize)
    }

    /// The identity of the nth record.
    pub(super) fn id(&self, nth: u32) -> RecordId {
        match &self.ids {
            Ids::Frame(frame) => frame.record_id(nth),
            Ids::From(first) => RecordId {
                instance: self.context.origin.instance,
                ring: self.context.thread.0,
                sequence: first.wrapping_add(nth.into()),
            },
        }
    }
}

/// See [`Block::items`].
#[derive(Debug)]
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    kinds: u16,
    at: usize,
    nth: u32,
    /// What stopped it, if not the end.
    pub(super) error: Option<RecordError>,
}

impl Iterator for Items<'_> {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        while self.at < self.bytes.len() {
            let head = match view::peek(self.bytes, self.at) {
                Ok(head) => head,
                Err(error) => {
                    self.error = Some(error);
                    self.at = self.bytes.len();
                    return None;
                }
            };
            let item = Item {
                nth: self.nth,
                at: self.at as u32,
                head,
            };
            self.at += head.size;
            self.nth += 1;
            if self.kinds & bit(head.kind) != 0 {
                return Some(item);
            }
        }
        None
    }
}

/// Where a record lies in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) block: u32,
    pub(super) at: u32,
    pub(super) nth: u32,
}
