//! What dead processes left in shared memory, moved into the log before writing goes on.
//!
//! Always true:
//! - a record that the log has already is skipped, so that doing this twice changes nothing
//! - files are removed only after the log has what was in them, durably

use std::{path::Path, sync::Arc};

use ahash::{AHashMap, AHashSet};

use super::{
    held_left::{self, Copied},
    prologue::{AnchorReason, Batch, Resource},
};
use crate::{
    clock::{Anchor, Clock},
    log::{AppendError, LogDir, SegmentView, Snapshot},
    record::{
        id::{InstanceId, TraceId},
        kinds::{LossCause, Status},
        layout::{self, flag, is_held, Header, RecordKind, NAME_NONE, RING_FLUSHER},
        peek,
        view::{bytes_of, words_of},
        Body, Record,
    },
    ring::{left, Lease, LeftInstance, LeftRing, OpenSpan},
    sync::fault::step,
};

/// Bytes of the last writer's log in which its open traces are looked for. In a greater one they
/// stay without an end; queries show them as orphaned all the same.
const MAX_SEARCHED: u64 = 256 << 20;

/// What recovery of rings found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredRings {
    /// Dead instances whose rings were drained.
    pub instances: Vec<InstanceId>,
    /// Records moved from rings into the log.
    pub records: u64,
    /// Records in rings that the log had already.
    pub skipped: u64,
    /// Records of traces that were held and are not kept, and are in no log.
    pub sampled_out: u64,
    /// Bytes in rings that are no records.
    pub damaged_bytes: u64,
    /// Spans that were open when their process died; they were ended as orphaned.
    pub orphaned_spans: u64,
    /// Traces that were open when their process died; they were ended as orphaned.
    pub orphaned_traces: u64,
}

/// Drains what instances of this log left below `rings`.
///
/// # Errors
/// The log cannot be written; nothing is lost, the next open tries again.
pub(crate) fn drain(dir: &mut LogDir, rings: &Path) -> Result<RecoveredRings, AppendError> {
    let mut report = RecoveredRings::default();
    let left = left(Some(rings), dir.log_id(), None);
    for instance in left {
        if is_ours(&instance, dir.path()) {
            drain_instance(dir, instance, &mut report)?;
        }
    }
    orphans_without_rings(dir, &mut report)?;
    Ok(report)
}

/// Whether the instance recorded into the log at `dir`, whose lock we hold. A copy of a log has its
/// id, but what the original's process has in its rings is none of its business.
fn is_ours(left: &LeftInstance, dir: &Path) -> bool {
    let theirs = left.log_dir.as_ref().map(|dir| dir.canonicalize());
    match (theirs, dir.canonicalize()) {
        (Some(Ok(theirs)), Ok(ours)) => theirs == ours,
        // Where it was there is nothing any more: it was moved here.
        _ => true,
    }
}

fn drain_instance(
    dir: &mut LogDir,
    mut found: LeftInstance,
    report: &mut RecoveredRings,
) -> Result<(), AppendError> {
    let instance = found.instance;
    let logged = dir.logged_sequences(instance);
    let mut copied = Copied::default();
    let mut open = open_in_log(dir, instance, &mut copied);
    let mut last_tick = found.last_sign_of_life.unwrap_or(0);
    let checked = found.rings.into_iter().map(LeftRing::checked);
    found.rings = checked.collect();
    let orphans = held_left::orphans(&found.resource);
    let held = held_left::judge(&found.rings, &copied, orphans, &open.ended_traces);
    for (place, total) in &held.sampled_out {
        let loss = (LossCause::SampledOut as u8, 0, *total);
        found.rings[*place].losses.push(loss);
        report.sampled_out = report.sampled_out.saturating_add(*total);
    }
    for (_, wanted) in &held.copies {
        note_open(&mut open, &wanted.words);
    }
    let mut work = Vec::new();
    for ring in &found.rings {
        let of_held = is_held(ring.ring);
        let shown = |span: &OpenSpan| !of_held || held.keeps(TraceId(span.trace));
        for (_, span) in ring.open.iter().filter(|(_, span)| shown(span)) {
            last_tick = last_tick.max(span.start);
            if span.is_trace() {
                let begun = (span.start, span.name);
                open.begin(TraceId(span.trace), begun);
                continue;
            }
            let key = (TraceId(span.trace), span.span);
            let values = (span.start, span.parent, span.name, span.kind);
            open.spans.entry(key).or_insert(values);
        }
        report.damaged_bytes += ring.damaged_bytes;
        if of_held {
            continue;
        }
        let (skip, skipped) = already_logged(ring, logged.get(&ring.ring).copied().unwrap_or(0));
        report.skipped += skipped;
        let records = &ring.records[skip..];
        note_open(&mut open, records);
        last_tick = last_tick.max(open.last_tick);
        work.push((ring, ring.first_sequence + skipped, records));
    }
    let of_rings = found.rings.iter().filter_map(|ring| ring.anchor.as_ref());
    let anchor = of_rings.chain(&found.anchor).max_by_key(|a| a.tick);
    let anchor = anchor.copied();
    let ends = open.ends(last_tick);
    let has_records = work.iter().any(|(_, _, records)| !records.is_empty());
    let has_held = held.sampled_out.iter().any(|(_, total)| *total > 0) || !held.copies.is_empty();
    let has_losses = has_untold_losses(dir, &found);
    if has_records || has_held || has_losses || !ends.is_empty() {
        let anchor = anchor.unwrap_or_else(|| Clock::get().first());
        let own = dir.epoch() << 32;
        let prologue = prologue(&anchor, &found, last_tick);
        step("drain.begin").map_err(AppendError::Io)?;
        let mut writer = dir.append_recovered(instance, prologue, own);
        if has_held || has_losses {
            // Also where there is nothing else that the first frame would come with.
            writer.begin()?;
        }
        for (ring, sequence, records) in work {
            if !records.is_empty() {
                let appended = writer.append(ring.ring, ring.lease, sequence, records)?;
                report.records += appended.records;
            }
        }
        for (place, wanted) in &held.copies {
            let ring = &found.rings[*place];
            let (sequences, words) = (&wanted.sequences, &wanted.words);
            let appended = writer.append_copied(ring.ring, ring.lease, sequences, words)?;
            report.records += appended.records;
        }
        if !ends.is_empty() {
            writer.append_own(ends.words())?;
        }
        step("drain.appended").map_err(AppendError::Io)?;
        writer.finish()?;
        report.orphaned_spans += open.spans.len() as u64;
        report.orphaned_traces += open.traces.len() as u64;
        report.instances.push(instance);
    }
    // What cannot be removed is found logged by the next open.
    let _ = step("drain.finished").and_then(|()| found.remove());
    Ok(())
}

/// Whether it lost more than the log says.
fn has_untold_losses(dir: &LogDir, found: &LeftInstance) -> bool {
    let of_rings = found.rings.iter().flat_map(|ring| {
        let losses = ring.losses.iter();
        losses.map(|(cause, kind, total)| ((ring.ring, *cause, *kind), *total))
    });
    let outside = found.losses.iter();
    let outside = outside.map(|(cause, kind, total)| ((RING_FLUSHER, *cause, *kind), *total));
    let mut lost = of_rings.chain(outside).peekable();
    if lost.peek().is_none() {
        return false;
    }
    let mut told: AHashMap<(u32, u8, u8), u64> = AHashMap::new();
    if let Ok(snapshot) = Snapshot::open(dir.path()) {
        let views = snapshot.segments().iter();
        for view in views.filter(|view| view.header().instance == found.instance) {
            for loss in view.losses() {
                let code = |cause: LossCause| cause as u8;
                let key = (
                    loss.ring,
                    loss.cause.map_or(u8::MAX, code),
                    loss.kind.map_or(0, |kind| kind as u8),
                );
                let total = told.entry(key).or_insert(0);
                *total = loss.total.max(*total);
            }
        }
    }
    lost.any(|(key, total)| told.get(&key).is_none_or(|told| *told < total))
}

/// Words and number of the records at the start of a ring that the log has already.
fn already_logged(ring: &LeftRing, next: u64) -> (usize, u64) {
    let bytes = bytes_of(&ring.records);
    let (mut at, mut skipped) = (0, 0);
    while ring.first_sequence + skipped < next {
        let Ok(head) = peek(bytes, at) else { break };
        at += head.size;
        skipped += 1;
    }
    (at / 8, skipped)
}

fn prologue(anchor: &Anchor, found: &LeftInstance, tick: u64) -> Vec<u64> {
    let mut batch = Batch::default();
    batch.anchor(anchor, AnchorReason::First);
    let mut words = batch.words().to_vec();
    // Before the names, however many they are: the header has room for a copy of the first ones.
    words.extend_from_slice(&found.resource);
    batch.clear();
    for (id, text) in &found.names {
        batch.name(*id, text);
    }
    let loss = |batch: &mut Batch, ring, lease, losses: &[(u8, u8, u64)]| {
        for (cause, kind, total) in losses {
            if let Some(cause) = LossCause::from_u8(*cause) {
                batch.loss(ring, lease, cause, *kind, *total, tick);
            }
        }
    };
    for ring in &found.rings {
        let lease = Lease {
            lease: ring.lease,
            thread: ring.thread,
            thread_name: ring.thread_name.as_str().into(),
            tick,
        };
        batch.lease(ring.ring, &lease);
        loss(&mut batch, ring.ring, ring.lease, &ring.losses);
    }
    loss(&mut batch, RING_FLUSHER, 0, &found.losses);
    words.extend_from_slice(batch.words());
    words
}

/// Traces and spans that began and did not end.
#[derive(Default)]
struct Open {
    /// Start and name.
    traces: AHashMap<TraceId, (u64, u32)>,
    spans: AHashMap<(TraceId, u64), (u64, u64, u32, u8)>,
    ended_traces: AHashSet<TraceId>,
    ended_spans: AHashSet<(TraceId, u64)>,
    last_tick: u64,
}

impl Open {
    fn see(&mut self, record: &Record<'_>) {
        match record.body {
            Body::TraceStart(r) => {
                let trace = TraceId(r.trace_id);
                self.tick(r.tick.to_native());
                if !self.ended_traces.contains(&trace) {
                    let begun = (r.tick.to_native(), r.header.name.to_native());
                    self.traces.insert(trace, begun);
                }
            }
            Body::TraceEnd(r) => {
                let trace = TraceId(r.trace_id);
                self.tick(r.end.to_native());
                self.traces.remove(&trace);
                self.ended_traces.insert(trace);
            }
            Body::SpanStart(r) => {
                let span = (TraceId(r.trace_id), r.span_id.to_native());
                self.tick(r.tick.to_native());
                if !self.ended_spans.contains(&span) {
                    let open = (
                        r.tick.to_native(),
                        r.parent.to_native(),
                        r.header.name.to_native(),
                        r.kind,
                    );
                    self.spans.insert(span, open);
                }
            }
            Body::Span(r) => {
                let span = (TraceId(r.trace_id), r.span_id.to_native());
                self.tick(r.end.to_native());
                self.spans.remove(&span);
                self.ended_spans.insert(span);
            }
            Body::Event(r) => self.tick(r.tick.to_native()),
            Body::Metric(r) => self.tick(r.tick.to_native()),
            _ => {}
        }
    }

    /// A trace began, maybe in a record that is gone.
    fn begin(&mut self, trace: TraceId, begun: (u64, u32)) {
        if !self.ended_traces.contains(&trace) {
            self.traces.entry(trace).or_insert(begun);
        }
    }

    fn tick(&mut self, tick: u64) {
        self.last_tick = self.last_tick.max(tick);
    }

    /// End records for everything that is open, as of the last sign of life.
    fn ends(&mut self, last_tick: u64) -> Ends {
        let last = last_tick.max(self.last_tick);
        let ended = &self.ended_spans;
        self.spans.retain(|span, _| !ended.contains(span));
        let mut ends = Ends::default();
        for ((trace, span), (start, parent, name, kind)) in &self.spans {
            let record = layout::Span {
                // The text of a spelled-out name stands in the start record.
                header: Header::new(RecordKind::Span, layout::Span::WORDS, known(*name)),
                trace_id: trace.0,
                span_id: (*span).into(),
                parent: (*parent).into(),
                end: last.max(*start).into(),
                ticks: last.saturating_sub(*start).into(),
                kind: *kind,
                status: Status::Orphaned as u8,
                flags: flag::RECOVERED.into(),
                attributes: 0.into(),
                dropped: 0.into(),
            };
            let words: [u64; layout::Span::WORDS] = words_of(&record);
            ends.words.extend_from_slice(&words);
        }
        for (trace, (start, name)) in &self.traces {
            let record = layout::TraceEnd {
                // Readers that look for a name skip frames without it.
                header: Header::new(RecordKind::TraceEnd, layout::TraceEnd::WORDS, known(*name)),
                trace_id: trace.0,
                end: last.max(*start).into(),
                ticks: last.saturating_sub(*start).into(),
                status: Status::Orphaned as u8,
                reserved: 0,
                flags: flag::RECOVERED.into(),
                attributes: 0.into(),
                dropped: 0.into(),
                reserved2: [0; 8],
            };
            let words: [u64; layout::TraceEnd::WORDS] = words_of(&record);
            ends.words.extend_from_slice(&words);
        }
        ends
    }
}

fn known(name: u32) -> u32 {
    if name == layout::NAME_INLINE {
        NAME_NONE
    } else {
        name
    }
}

#[derive(Default)]
struct Ends {
    words: Vec<u64>,
}

impl Ends {
    fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn words(&self) -> &[u64] {
        &self.words
    }
}

fn note_open(open: &mut Open, records: &[u64]) {
    let bytes = bytes_of(records);
    let mut at = 0;
    while at < bytes.len() {
        let Ok(record) = Record::read(bytes, at) else {
            break;
        };
        open.see(&record);
        at += record.size;
    }
}

/// What began in the log and did not end there, of one instance.
fn open_in_log(dir: &LogDir, instance: InstanceId, copied: &mut Copied) -> Open {
    let mut open = Open::default();
    let Ok(snapshot) = Snapshot::open(dir.path()) else {
        return open;
    };
    for segment in snapshot
        .segments()
        .iter()
        .filter(|s| s.header().instance == instance)
    {
        copied.read(segment, instance);
        let wanted = 1 << RecordKind::TraceStart as u16
            | 1 << RecordKind::TraceEnd as u16
            | 1 << RecordKind::SpanStart as u16;
        for (number, entry) in segment.frames().iter().enumerate() {
            // Ends of spans matter only where starts were recorded; they are few, but may be in
            // any frame once there are some.
            if entry.kinds & wanted == 0 && open.spans.is_empty() {
                continue;
            }
            let Ok(frame) = segment.frame(number as u32) else {
                continue;
            };
            for (_, record) in frame.records().flatten() {
                open.see(&record);
            }
        }
    }
    open
}

/// The last writer, if it left no rings (it had heap rings, ended normally with runs open, or the
/// machine was started anew): its open traces end where its log does. Earlier ones were looked at
/// by earlier opens.
fn orphans_without_rings(dir: &mut LogDir, report: &mut RecoveredRings) -> Result<(), AppendError> {
    let Some((instance, _)) = dir.instances().pop() else {
        return Ok(());
    };
    if report.instances.contains(&instance) {
        return Ok(());
    }
    let Ok(snapshot) = Snapshot::open(dir.path()) else {
        return Ok(());
    };
    let of_instance = |view: &&Arc<SegmentView>| view.header().instance == instance;
    let views: Vec<_> = snapshot.segments().iter().filter(of_instance).collect();
    let bytes: u64 = views.iter().map(|view| view.frame_bytes()).sum();
    let Some(last) = views.last() else {
        return Ok(());
    };
    if bytes > MAX_SEARCHED {
        return Ok(());
    }
    let mut open = open_in_log(dir, instance, &mut Copied::default());
    let ends = open.ends(0);
    if ends.is_empty() {
        return Ok(());
    }
    let Some(anchor) = last_anchor(last) else {
        return Ok(());
    };
    let mut batch = Batch::default();
    batch.anchor(&anchor, AnchorReason::First);
    batch.resource(&Resource::of(last.resource()));
    for (_, _, name, _) in open.spans.values() {
        if let Some(text) = last.names().get(*name) {
            batch.name(*name, text);
        }
    }
    let own = dir.epoch() << 32;
    let mut writer = dir.append_recovered(instance, batch.words().to_vec(), own);
    writer.append_own(ends.words())?;
    writer.finish()?;
    report.orphaned_spans += open.spans.len() as u64;
    report.orphaned_traces += open.traces.len() as u64;
    report.instances.push(instance);
    Ok(())
}

/// The anchor of the last frame that can be read.
fn last_anchor(view: &SegmentView) -> Option<Anchor> {
    let frames = view.frames().len() as u32;
    (0..frames)
        .rev()
        .find_map(|number| view.frame(number).ok())
        .map(|frame| frame.anchor)
}
