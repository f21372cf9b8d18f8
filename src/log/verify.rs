//! Checks everything that a log promises about its files.
//!
//! Reads instead of mapping, so that a bad sector is a line of the report.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use crate::record::{
    id::InstanceId,
    kinds::LossCause,
    layout::{RecordKind, RING_FLUSHER, RING_RECOVERY},
    Body, Record, RecordError,
};

use super::{
    dir::{read_head, segment_bases, Head},
    error::ReadError,
    gap::GapInfo,
    layout::{
        index_name, segment_name, u16_at, Bad, FrameHeader, FrameKind, SegmentHeader, FORMAT_MAJOR,
        FRAME_HEADER, HEADER_BYTES, KIND_IGNORABLE, STREAM_MAIN,
    },
    opening,
    scan::{Damage, SegmentScan},
    source::Window,
    watermark::{read_floor, read_watermark},
    Position,
};

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whether nothing is wrong. Recorded losses and a missing index are not wrong.
    pub ok: bool,
    /// Segments that were read.
    pub segments: u64,
    /// Frames that check.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Spans among those.
    pub spans: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Places that do not check, in order.
    pub damage: Vec<(Position, Damage)>,
    /// What the log itself says is gone; damage that is among it is not wrong.
    pub recorded_gaps: Vec<GapInfo>,
    /// Frames that need a newer version to be read.
    pub newer_frames: u64,
    /// Bytes of the torn end of the log, which the next open cuts.
    pub torn_bytes: u64,
    /// Records that are no records although their frame checks.
    pub bad_records: u64,
    /// Records whose sequences are missing.
    pub missing: u64,
    /// Records that are in the log twice.
    pub duplicates: u64,
    /// Losses that the log itself records, all causes.
    pub recorded_losses: u64,
    /// Those of them that leave a hole in a ring's sequence.
    pub recorded_holes: u64,
    /// Segments whose index says something else than a scan.
    pub wrong_indexes: Vec<PathBuf>,
    /// Sealed segments without an index.
    pub missing_indexes: u64,
    /// Segment files that cannot be read.
    pub unreadable: Vec<PathBuf>,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Adds records that the log says are lost; `hole` where they leave one in their ring. Totals
    /// that a stray write left in a ring's header are any numbers.
    fn lose(&mut self, records: u64, hole: bool) {
        self.recorded_losses = self.recorded_losses.saturating_add(records);
        if hole {
            self.recorded_holes = self.recorded_holes.saturating_add(records);
        }
    }
}

/// Reads the whole log in `dir` and checks it.
///
/// # Errors
/// There is no log, or it is of a newer format.
pub fn verify(dir: &Path) -> Result<VerifyReport, ReadError> {
    // Also finds the log's id where the LOG file is damaged.
    let snapshot = super::Snapshot::open(dir)?;
    let log_id = snapshot.log().log_id;
    let durable = read_watermark(dir, log_id).map_or(u64::MAX, |w| w.durable);
    let mut heads = Vec::new();
    let failed = |source| ReadError::Io {
        path: dir.into(),
        source,
    };
    let mut check = Check::default();
    // Newest first, as in a snapshot: somebody may be writing.
    for base in segment_bases(dir).map_err(failed)?.into_iter().rev() {
        let path = dir.join(segment_name(base));
        let Ok(head) = read_head(&path) else {
            check.report.unreadable.push(path);
            continue;
        };
        match head.header {
            Ok(header) if header.log_id == log_id && header.base == base => {
                heads.push((path, header, head));
            }
            Err(Bad::Newer(found)) => {
                return Err(ReadError::NewerFormat {
                    path,
                    found,
                    newest: FORMAT_MAJOR,
                })
            }
            _ => check.report.unreadable.push(path),
        }
    }
    heads.reverse();
    for (path, header, head) in heads {
        if let Err(source) = check.segment(&path, &header, &head, durable) {
            check.problem(format!("{} cannot be read: {source}", path.display()));
        }
    }
    if read_floor(dir, log_id).position.offset > durable {
        check.problem("retention removed more than was durable".into());
    }
    Ok(check.finish())
}

#[derive(Default)]
struct Check {
    report: VerifyReport,
    /// Next sequence by instance and ring.
    next: HashMap<(InstanceId, u32), u64>,
    /// Newest totals by instance, ring, cause and kind.
    losses: HashMap<(InstanceId, u32, u8, u8), u64>,
    /// Gaps by where they begin.
    gaps: BTreeMap<Position, GapInfo>,
    last: Option<SegmentHeader>,
    /// Instances of which a segment says what their ticks mean.
    anchored: HashSet<InstanceId>,
    /// Segments with frames and without that.
    timeless: Vec<(InstanceId, PathBuf)>,
}

impl Check {
    fn problem(&mut self, text: String) {
        self.report.problems.push(text);
    }

    fn segment(
        &mut self,
        path: &Path,
        header: &SegmentHeader,
        head: &Head,
        durable: u64,
    ) -> std::io::Result<()> {
        let name = path.display();
        self.report.segments += 1;
        let plausible = head.mark >= HEADER_BYTES && head.mark <= head.len && head.mark % 8 == 0;
        if !plausible {
            self.problem(format!(
                "{name} has the impossible commit mark {}",
                head.mark
            ));
        }
        if let Some(last) = self.last.replace(*header) {
            if header.epoch < last.epoch || header.base < last.base + HEADER_BYTES {
                self.problem(format!("{name} is out of order"));
            }
        }
        let end = if plausible { head.mark } else { head.len & !7 };
        let durable = durable.saturating_sub(header.base);
        // As in a view: published since this machine started, or vouched for.
        let proven = plausible && (header.is_of_this_boot() || head.sealed && end <= durable);
        let sealed = head.sealed && proven;
        let proven = if proven { durable.max(end) } else { durable };
        let mut scan = SegmentScan::new(header.salt);
        let mut window = Window::new(&head.file);
        scan.extend_with(&mut window, end, proven, |head, frame| {
            self.frame(header, head, frame);
            self.report.frames += 1;
            self.report.records += u64::from(head.count);
        });
        let at = |offset: u64| Position {
            epoch: header.epoch,
            offset: header.base + offset,
        };
        if opening::wanting(
            &mut Window::new(&head.file),
            &scan.index.entries,
            header.salt,
        )
        .is_some()
        {
            self.problem(format!("{name} has a damaged copy of what it begins with"));
        }
        if scan.anchors.first().is_some() {
            self.anchored.insert(header.instance);
        } else if !scan.index.entries.is_empty() {
            self.timeless.push((header.instance, path.into()));
        }
        for damage in &scan.damage {
            self.report.damage.push((at(damage.from), *damage));
            if damage.torn {
                self.report.torn_bytes += damage.bytes();
            }
        }
        self.report.bytes += end - HEADER_BYTES;
        self.report.spans += scan.index.totals.kinds[RecordKind::Span as usize];
        if sealed {
            if scan.damage.is_empty() && scan.seal != Some(scan.index.totals) {
                self.problem(format!("the seal of {name} does not match its frames"));
            }
            self.index(path, header, &mut scan, end);
        }
        Ok(())
    }

    fn index(&mut self, path: &Path, header: &SegmentHeader, scan: &mut SegmentScan, end: u64) {
        let name = path.with_file_name(index_name(header.base));
        match std::fs::read(&name) {
            Ok(bytes) if bytes == scan.index.encode(header.salt, header.base, end) => {}
            Ok(_) => self.report.wrong_indexes.push(name),
            Err(_) => self.report.missing_indexes += 1,
        }
    }

    /// Checks sequences and records of one frame.
    fn frame(&mut self, header: &SegmentHeader, head: &FrameHeader, frame: &[u8]) {
        let ring = head.ring;
        if head.is_known() {
            self.records(header, head, frame);
        } else {
            self.report.newer_frames += 1;
        }
        let first = head.first_sequence;
        if head.kind != FrameKind::Records || header.stream != STREAM_MAIN {
            return;
        }
        let end = first.saturating_add(u64::from(head.count));
        match self.next.get_mut(&(header.instance, ring)) {
            Some(next) => {
                // Each recovery counts from a number of its own.
                let gap = ring == RING_RECOVERY && first > *next;
                if gap {
                    *next = first;
                }
                self.report.missing += first.saturating_sub(*next);
                self.report.duplicates += next.saturating_sub(first).min(u64::from(head.count));
                *next = end.max(*next);
            }
            None => {
                self.next.insert((header.instance, ring), end);
            }
        }
    }

    fn records(&mut self, header: &SegmentHeader, head: &FrameHeader, frame: &[u8]) {
        let skip = FRAME_HEADER + head.sequence_bytes();
        let records = frame.get(skip..).unwrap_or_default();
        let mut at = 0;
        let mut count = 0;
        while at < records.len() {
            count += 1;
            match Record::read(records, at) {
                Ok(record) => self.record(header, &record),
                Err(RecordError::Kind { kind, .. }) if kind >= KIND_IGNORABLE => {}
                Err(_) => self.report.bad_records += 1,
            }
            match usize::from(u16_at(records, at)) * 8 {
                0 => break,
                size => at += size,
            }
        }
        if count != head.count {
            self.problem(format!(
                "a frame of ring {} in segment {} says {} records and has {count}",
                head.ring, header.base, head.count
            ));
        }
    }

    /// Remembers what the log says about losses.
    fn record(&mut self, header: &SegmentHeader, record: &Record<'_>) {
        match record.body {
            Body::Loss(l) => {
                let key = (header.instance, l.header.name.to_native(), l.cause, l.kind);
                let total = self.losses.entry(key).or_insert(0);
                *total = l.total.to_native().max(*total);
            }
            Body::Gap(gap) => {
                let gap = GapInfo::of_record(gap);
                self.gaps.insert(gap.from, gap);
            }
            _ => {}
        }
    }

    fn finish(mut self) -> VerifyReport {
        for gap in self.gaps.values() {
            let records = gap.records.unwrap_or(0);
            self.report.lose(records, true);
        }
        for (instance, path) in std::mem::take(&mut self.timeless) {
            if !self.anchored.contains(&instance) {
                let name = path.display();
                self.problem(format!(
                    "{name} has no clock anchor: its records cannot be read"
                ));
            }
        }
        self.report.recorded_gaps = self.gaps.values().copied().collect();

        for ((_, ring, cause, _), total) in &self.losses {
            if *cause == LossCause::SampledOut as u8 {
                continue;
            }
            let hole = matches!(
                LossCause::from_u8(*cause),
                Some(LossCause::Disk | LossCause::Damaged | LossCause::Flusher)
            );
            self.report.lose(*total, hole && *ring != RING_FLUSHER);
        }
        let r = &mut self.report;
        let recorded = &self.gaps;
        let known = |at: &Position| recorded.contains_key(at);
        let damaged = r.damage.iter().filter(|(at, d)| !d.torn && !known(at));
        let damaged = damaged.count();
        let mut note = |wrong: bool, text: String| {
            if wrong {
                r.problems.push(text);
            }
        };
        note(damaged > 0, format!("{damaged} places are damaged"));
        note(
            r.torn_bytes > 0,
            format!("the last {} bytes are torn", r.torn_bytes),
        );
        note(
            r.newer_frames > 0,
            format!("{} frames need a newer version to be read", r.newer_frames),
        );
        note(
            r.bad_records > 0,
            format!("{} records cannot be read", r.bad_records),
        );
        note(
            r.duplicates > 0,
            format!("{} records are there twice", r.duplicates),
        );
        note(
            r.missing > r.recorded_holes,
            format!(
                "{} records are missing, {} of them recorded as lost",
                r.missing, r.recorded_holes
            ),
        );
        note(
            !r.wrong_indexes.is_empty(),
            format!("{} indexes are wrong", r.wrong_indexes.len()),
        );
        note(
            !r.unreadable.is_empty(),
            format!("{} segment files cannot be read", r.unreadable.len()),
        );
        r.ok = r.problems.is_empty();
        self.report
    }
}
