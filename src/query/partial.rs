//! One trace out of its parts: starts and ends in any frames, of several processes even, and what
//! rings show as open.

use smallvec::SmallVec;

use crate::{
    backend::ScanError,
    model::Trace,
    record::{
        id::{InstanceId, TraceId},
        kinds::Status,
        layout::RecordKind,
        view::Body,
        RecordError,
    },
};

use super::{
    rows::{self, Times},
    source::{bit, Block, Item, Place},
    store::{Open, Store},
};

/// Kinds of records that make a trace.
pub(super) const KINDS: u16 = bit(RecordKind::TraceStart) | bit(RecordKind::TraceEnd);

/// The trace with this id, out of everything that the store has of it.
pub(super) fn assemble(store: &Store, id: TraceId) -> Option<Trace> {
    let mut partial = Partial::default();
    for (segment, block) in store.find_trace(id) {
        let relevant = store
            .entry(segment, block)
            .is_some_and(|e| e.kinds & KINDS != 0);
        if relevant {
            // What cannot be read is left out here as everywhere.
            let _ = partial.add_from(store, segment, block, id);
        }
    }
    for (no, open) in store.open.iter().enumerate() {
        if let Open::Trace(trace) = open {
            if trace.trace_id == id {
                partial.add_open(no as u32, trace);
            }
        }
    }
    partial.row(store)
}

/// What is known of a trace so far.
#[derive(Debug, Default)]
pub(super) struct Partial {
    start_ns: Option<i64>,
    /// Latest end with its status.
    end: Option<(i64, Status)>,
    /// Nearly always a start and an end, of one instance: thousands wait while the newest are
    /// looked for, and none of them should need the heap.
    places: SmallVec<[Place; 2]>,
    /// Instances that began it.
    began: SmallVec<[InstanceId; 1]>,
    /// Numbers of the open rows that show it.
    open: Vec<u32>,
    /// Whether the index was asked for more.
    pub(super) complete: bool,
    /// Key under which it waits.
    pub(super) key: Option<i64>,
}

impl Partial {
    fn starts(&mut self, at: i64, instance: InstanceId) {
        self.start_ns = Some(self.start_ns.map_or(at, |start| start.min(at)));
        if !self.began.contains(&instance) {
            self.began.push(instance);
        }
    }

    pub(super) fn add(
        &mut self,
        block: &Block<'_>,
        item: Item,
        place: Place,
    ) -> Result<(), RecordError> {
        let anchor = &block.context.anchor;
        let instance = block.context.origin.instance;
        match block.body(item)? {
            Body::TraceStart(start) => {
                self.starts(anchor.unix_ns(start.tick.to_native()), instance);
            }
            Body::TraceEnd(end) => {
                let times = Times::new(anchor, end.end.to_native(), end.ticks.to_native());
                self.starts(times.start_ns, instance);
                let known = self.end.map_or(i64::MIN, |(end, _)| end);
                if times.end_ns >= known {
                    self.end = Some((times.end_ns, rows::status(end.status)));
                }
            }
            _ => return Ok(()),
        }
        self.places.push(place);
        Ok(())
    }

    pub(super) fn add_open(&mut self, no: u32, trace: &Trace) {
        self.starts(trace.start_ns, trace.instance);
        self.open.push(no);
    }

    /// Adds what a frame has of the trace; whether that was anything.
    pub(super) fn add_from(
        &mut self,
        store: &Store,
        segment: u32,
        block: u32,
        id: TraceId,
    ) -> Result<bool, ScanError> {
        let before = self.places.len();
        store.visit(segment, block, KINDS, |block, item, place| {
            if block.trace_of(item) == id {
                self.add(block, item, place)?;
            }
            Ok(())
        })?;
        Ok(self.places.len() > before)
    }

    /// When it ended and how, as the query shows it.
    pub(super) fn outcome(&self, store: &Store) -> (Option<i64>, Status) {
        match self.end {
            Some((end, status)) => (Some(end), status),
            None => match store.orphaned_at(&self.began) {
                Some(sign) => (Some(sign.max(self.start())), Status::Orphaned),
                None => (None, Status::Unset),
            },
        }
    }

    pub(super) fn start(&self) -> i64 {
        self.start_ns.unwrap_or(i64::MIN)
    }

    pub(super) fn duration(&self, store: &Store) -> Option<u64> {
        let (end, _) = self.outcome(store);
        end.map(|end| u64::try_from(end.saturating_sub(self.start())).unwrap_or(0))
    }

    /// The row.
    pub(super) fn row(&mut self, store: &Store) -> Option<Trace> {
        // Frames are visited in another order by each query; the row is the same.
        self.places.sort_unstable();
        self.open.sort_unstable();
        let mut parts = Vec::with_capacity(self.places.len());
        let mut segments: Vec<u32> = Vec::new();
        for &place in &self.places {
            let part = store.read(place, |block, _, record| match record.body {
                Body::TraceStart(body) => Some(block.context.trace_began(record, body)),
                Body::TraceEnd(body) => Some(block.context.trace_ended(record, body)),
                _ => None,
            });
            if let Some(part) = part {
                if !segments.contains(&place.segment) {
                    segments.push(place.segment);
                }
                parts.push(part);
            }
        }
        let started = parts.iter().any(|part| part.end_ns.is_none());
        let open = self.open.iter().filter(|_| !started);
        for open in open.filter_map(|&no| store.open.get(no as usize)) {
            if let Open::Trace(trace) = open {
                parts.push(trace.clone());
            }
        }
        let mut trace = merge_trace(parts)?;
        trace.start_ns = trace.start_ns.min(self.start());
        if !started {
            for segment in segments.into_iter().filter_map(|no| store.segment(no)) {
                trace.attributes.fill_from(&segment.origin.custom);
            }
        }
        store.settle_trace(&mut trace, &self.began);
        Some(trace)
    }
}

/// One trace out of the starts and ends that speak of it: earliest start, latest end, attributes of
/// the ends over those of the starts.
///
/// `parts` are what [`rows::row`] made of them, in any order.
pub(crate) fn merge_trace(mut parts: Vec<Trace>) -> Option<Trace> {
    parts.sort_by_key(|part| {
        (
            part.end_ns.is_some(),
            part.end_ns,
            part.start_ns,
            part.instance,
        )
    });
    let mut parts = parts.into_iter();
    let mut whole = parts.next()?;
    for part in parts {
        whole.start_ns = whole.start_ns.min(part.start_ns);
        if whole.name.is_empty() {
            whole.name = part.name;
        }
        for (key, value) in part.attributes.iter() {
            whole.attributes.set(key, value.clone());
        }
        whole.dropped_attributes = whole
            .dropped_attributes
            .saturating_add(part.dropped_attributes);
        if part.end_ns.is_some() {
            whole.end_ns = part.end_ns;
            whole.status = part.status;
        }
    }
    Some(whole)
}
