//! What a segment says about its instance: names, resource, threads, losses.

use std::collections::HashMap;

use crate::{
    clock::Anchor,
    record::{
        attributes::{AttributeKey, Attributes},
        kinds::LossCause,
        layout::{is_own, RecordKind},
        names::{NameMap, FIRST_ID, MAX_NAMES},
        value::Value,
        view::bytes_of,
        Body,
    },
};

use super::{
    dir::{read_head, segment_bases},
    frame::readable,
    gap::GapInfo,
    layout::{segment_name, SegmentHeader, FRAME_HEADER, HEADER_BYTES},
    opening,
    scan::Anchors,
    view::SegmentView,
};

/// Bits of the record kinds that are read here.
pub(super) const KINDS: u16 = 1 << RecordKind::Name as u8
    | 1 << RecordKind::Resource as u8
    | 1 << RecordKind::Loss as u8
    | 1 << RecordKind::Gap as u8
    | 1 << RecordKind::Lease as u8;

/// Who recorded, and what readers may derive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceInfo {
    /// Resource attributes.
    pub attributes: Vec<(String, Value)>,
    /// Custom attributes, put on every trace.
    pub custom: Vec<(String, Value)>,
    /// Whether events are derived from spans.
    pub derive_events: bool,
    /// Whether metrics are derived from spans.
    pub derive_metrics: bool,
    /// Newest events that a span keeps.
    pub max_events_per_span: u32,
    /// Process id, for display.
    pub pid: u32,
    /// Sampling threshold in force, 56 bits.
    pub threshold: u64,
}

/// A thread that had a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its name.
    pub thread: String,
    /// Its id in the operating system.
    pub thread_id: u64,
    /// When it took the ring.
    pub tick: u64,
}

/// What a ring lost for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossInfo {
    /// The ring; `u32::MAX` is no ring.
    pub ring: u32,
    /// The lease at the time of the newest total.
    pub lease: u32,
    /// Why; `None` for a code of a newer build.
    pub cause: Option<LossCause>,
    /// What was lost; `None` if that is not known.
    pub kind: Option<RecordKind>,
    /// Records lost since the instance began.
    pub total: u64,
    /// When that was written.
    pub tick: u64,
}

/// Everything of the above in a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta {
    pub names: NameMap,
    pub resource: ResourceInfo,
    pub leases: HashMap<(u32, u32), LeaseInfo>,
    pub losses: Vec<LossInfo>,
    pub gaps: Vec<GapInfo>,
    /// Frames of the segment that were looked at.
    pub frames: usize,
    pub anchors: Anchors,
    /// Of another segment, where this one has none.
    pub borrowed_anchor: Option<Anchor>,
    /// Whether the first frame, with all that was known before, could be read. Its opening has the
    /// anchor, but not always all of the rest.
    pub complete: bool,
}

impl Meta {
    /// Learns from records of the flusher, the first of which stands at byte `at` of the segment.
    fn learn(&mut self, records: &[u8], at: u32) {
        self.anchors.collect(records, at);
        // Names first: a resource may use one that stands behind it.
        for record in readable(records) {
            if let Body::Name(_) = record.body {
                let id = record.body.header().name.to_native();
                self.names.define(id, record.text);
            }
        }
        for record in readable(records) {
            let name = record.body.header().name.to_native();
            match record.body {
                Body::Resource(r) => {
                    let derive = r.derive.to_native();
                    self.resource = ResourceInfo {
                        attributes: self.resolve(record.attributes),
                        custom: self.resolve(record.custom),
                        derive_events: derive & 1 != 0,
                        derive_metrics: derive & 2 != 0,
                        max_events_per_span: r.max_events_per_span.to_native(),
                        pid: r.pid.to_native(),
                        threshold: r.threshold.to_native(),
                    };
                }
                Body::Lease(l) => {
                    let info = LeaseInfo {
                        thread: record.text.into(),
                        thread_id: l.thread.to_native(),
                        tick: l.tick.to_native(),
                    };
                    self.leases.insert((name, l.lease.to_native()), info);
                }
                Body::Loss(l) => self.loss(LossInfo {
                    ring: name,
                    lease: l.lease.to_native(),
                    cause: LossCause::from_u8(l.cause),
                    kind: RecordKind::from_u8(l.kind),
                    total: l.total.to_native(),
                    tick: l.tick.to_native(),
                }),
                Body::Gap(gap) => {
                    let gap = GapInfo::of_record(gap);
                    if self.gaps.iter().all(|known| known.from != gap.from) {
                        self.gaps.push(gap);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes what another segment of the same instance knows and this one does not.
    pub(super) fn borrow(&mut self, other: Self) {
        for id in FIRST_ID..FIRST_ID + MAX_NAMES as u32 {
            match other.names.get(id) {
                Some(text) if self.names.get(id).is_none() => self.names.define(id, text),
                _ => {}
            }
        }
        if self.resource == ResourceInfo::default() {
            self.resource = other.resource;
        }
        for (lease, info) in other.leases {
            self.leases.entry(lease).or_insert(info);
        }
        self.borrowed_anchor = other.anchors.first().map(|(_, anchor)| anchor);
    }

    fn loss(&mut self, new: LossInfo) {
        let same = |l: &&mut LossInfo| (l.ring, l.cause, l.kind) == (new.ring, new.cause, new.kind);
        match self.losses.iter_mut().find(same) {
            // Totals never fall.
            Some(known) if known.total > new.total => {}
            Some(known) => *known = new,
            None => self.losses.push(new),
        }
    }

    fn resolve(&self, attributes: Attributes<'_>) -> Vec<(String, Value)> {
        let one = |a: crate::record::attributes::Attribute<'_>| {
            let key = match a.key {
                AttributeKey::Text(text) => text.to_owned(),
                AttributeKey::Id(id) => match self.names.get(id) {
                    Some(text) => text.to_owned(),
                    None => format!("#{id}"),
                },
            };
            (key, a.value.to_value())
        };
        attributes.iter().map(one).collect()
    }
}

impl SegmentView {
    pub(super) fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| {
            let mut meta = Meta::default();
            self.learn(&mut meta);
            if !meta.complete && !self.is_empty() {
                self.borrow(&mut meta);
            }
            meta
        })
    }

    /// The first frame is damaged: another segment of the same instance has what it said. Those
    /// that come after it have all of its names.
    fn borrow(&self, meta: &mut Meta) {
        let Some(dir) = self.path().parent() else {
            return;
        };
        let bases = segment_bases(dir).unwrap_or_default();
        let (before, after) = bases.split_at(bases.partition_point(|b| *b < self.header().base));
        for base in after.iter().chain(before.iter().rev()) {
            let path = dir.join(segment_name(*base));
            let head = read_head(&path).ok().and_then(|h| h.header.ok());
            let same = |h: SegmentHeader| h.instance == self.header().instance;
            if *base == self.header().base || !head.is_some_and(same) {
                continue;
            }
            let Ok(view) = Self::open(&path) else {
                continue;
            };
            let mut other = Meta::default();
            view.learn(&mut other);
            if other.complete {
                meta.borrow(other);
                return;
            }
        }
    }

    /// Reads the frames of the flusher that `meta` has not seen.
    pub(super) fn learn(&self, meta: &mut Meta) {
        const ANCHOR: u16 = 1 << RecordKind::Anchor as u8;
        let entries = self.frames();
        if meta.frames == 0 && !entries.is_empty() {
            let records = opening::decode(&self.opening(), self.header().salt);
            meta.learn(bytes_of(&records), opening::RECORDS_AT);
        }
        for (number, entry) in entries.iter().enumerate().skip(meta.frames) {
            if !is_own(entry.ring) || entry.kinds & (KINDS | ANCHOR) == 0 {
                continue;
            }
            let Ok((header, bytes)) = self.checked_frame(number as u32) else {
                continue;
            };
            meta.complete |= u64::from(entry.offset) == HEADER_BYTES;
            let skip = FRAME_HEADER + header.sequence_bytes();
            let records = bytes.get(skip..).unwrap_or_default();
            meta.learn(records, entry.end() as u32 - records.len() as u32);
        }
        meta.frames = entries.len();
    }

    /// Its names.
    pub fn names(&self) -> &NameMap {
        &self.meta().names
    }

    /// Who recorded.
    pub fn resource(&self) -> &ResourceInfo {
        &self.meta().resource
    }

    /// The thread that had a ring.
    pub fn lease(&self, ring: u32, lease: u32) -> Option<&LeaseInfo> {
        self.meta().leases.get(&(ring, lease))
    }

    /// All threads by (ring, lease).
    pub fn leases(&self) -> impl Iterator<Item = (u32, u32, &LeaseInfo)> {
        let leases = self.meta().leases.iter();
        leases.map(|((ring, lease), info)| (*ring, *lease, info))
    }

    /// The newest totals of what was lost.
    pub fn losses(&self) -> &[LossInfo] {
        &self.meta().losses
    }

    /// What recovery found missing in the log, as this segment says.
    pub fn gaps(&self) -> &[GapInfo] {
        &self.meta().gaps
    }
}
