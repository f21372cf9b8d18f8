//! What a dead process held of traces that are not sampled: which of it is kept.
//!
//! The same decision as in `held`, made again from what lies in the rings and in the log. What was
//! open when the process died is judged as what failed.

use ahash::{AHashMap, AHashSet};

use super::held::{seen, Seen, Verdict, Wanted};
use crate::{
    log::{FrameKind, SegmentView},
    record::{
        id::{InstanceId, TraceId},
        layout::is_held,
        view::bytes_of,
        Body, Record,
    },
    ring::LeftRing,
    sampling::Threshold,
};

/// What the log has of held rings.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Ring and sequence.
    records: AHashSet<(u32, u64)>,
    /// Records of each ring.
    counts: AHashMap<u32, u64>,
    traces: AHashSet<TraceId>,
}

impl Copied {
    /// Adds what a segment has of an instance.
    pub(super) fn read(&mut self, segment: &SegmentView, instance: InstanceId) {
        if segment.header().instance != instance {
            return;
        }
        let copied = |kind| kind == FrameKind::Copied;
        let frames = segment.frames().iter().enumerate();
        for (number, _) in frames.filter(|(_, entry)| copied(entry.kind)) {
            let Ok(frame) = segment.frame(number as u32) else {
                continue;
            };
            for (id, record) in frame.records().flatten() {
                if self.records.insert((id.ring, id.sequence)) {
                    *self.counts.entry(id.ring).or_default() += 1;
                }
                self.traces.extend(trace_of(&record));
            }
        }
    }
}

fn trace_of(record: &Record<'_>) -> Option<TraceId> {
    Some(TraceId(match record.body {
        Body::TraceStart(record) => record.trace_id,
        Body::TraceEnd(record) => record.trace_id,
        Body::Span(record) => record.trace_id,
        Body::SpanStart(record) => record.trace_id,
        Body::Event(record) => record.trace_id,
        Body::Metric(record) => record.trace_id,
        Body::Link(record) => record.trace_id,
        _ => return None,
    }))
}

/// What is to be done with held rings.
#[derive(Default)]
pub(super) struct Judged {
    /// What is to be copied, by place of the ring.
    pub(super) copies: Vec<(usize, Wanted)>,
    /// Records that are in no log then, by place of the ring.
    pub(super) sampled_out: Vec<(usize, u64)>,
    kept: AHashMap<TraceId, Option<u64>>,
}

impl Judged {
    /// Whether a trace is kept.
    pub(super) fn keeps(&self, trace: TraceId) -> bool {
        self.kept.contains_key(&trace)
    }
}

fn records(ring: &LeftRing) -> impl Iterator<Item = Seen<'_>> {
    seen([&ring.records, &[]], ring.first_sequence)
}

/// The threshold of traces that were left open, which a resource record tells.
pub(super) fn orphans(resource: &[u64]) -> Threshold {
    match Record::read(bytes_of(resource), 0).map(|record| record.body) {
        Ok(Body::Resource(resource)) => Threshold::from_bits(resource.threshold.to_native()),
        _ => Threshold::NEVER,
    }
}

/// Judges what held rings have. Of the traces in `ended` the log knows the end.
pub(super) fn judge(
    rings: &[LeftRing],
    logged: &Copied,
    orphans: Threshold,
    ended: &AHashSet<TraceId>,
) -> Judged {
    let held = |(_, ring): &(usize, &LeftRing)| is_held(ring.ring);
    let held: Vec<_> = rings.iter().enumerate().filter(held).collect();
    let mut judged = Judged::default();
    for trace in &logged.traces {
        judged.kept.insert(*trace, None);
    }
    let (mut began, mut over) = (AHashMap::new(), AHashSet::new());
    for record in held.iter().flat_map(|(_, ring)| records(ring)) {
        if let Some(threshold) = record.begins() {
            began.insert(record.trace, threshold);
        }
        let verdict = record.verdict();
        if verdict.is_some() {
            over.insert(record.trace);
        }
        if let Some(Verdict::Kept(threshold)) = verdict {
            judged.kept.insert(record.trace, threshold);
        }
    }
    let open = held.iter().flat_map(|(_, ring)| &ring.open);
    for (_, shown) in open.filter(|(_, shown)| shown.is_trace()) {
        let trace = TraceId(shown.trace);
        let open = !over.contains(&trace) && !ended.contains(&trace);
        if open && orphans.keeps(trace) {
            let own = began.get(&trace).copied().unwrap_or(u64::MAX);
            judged.kept.insert(trace, Some(orphans.bits().min(own)));
        }
    }
    for (place, ring) in held {
        let mut wanted = Wanted::default();
        for record in records(ring) {
            let known = logged.records.contains(&(ring.ring, record.sequence));
            if let (false, Some(threshold)) = (known, judged.kept.get(&record.trace)) {
                wanted.push(&record, *threshold);
            }
        }
        let copied = logged.counts.get(&ring.ring).copied().unwrap_or(0);
        let copied = copied + wanted.sequences.len() as u64;
        let out = (ring.first_sequence + ring.count).saturating_sub(copied);
        judged.sampled_out.push((place, out));
        if !wanted.sequences.is_empty() {
            judged.copies.push((place, wanted));
        }
    }
    judged
}
