//! A log seen as files: segments, frames, what they hold, what was lost.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use emberlog::{
    log::{log_is_locked, FrameKind, SegmentView, Snapshot, ORIGIN_RECOVERY},
    record::{layout::RecordKind, peek},
    LossCause,
};

use super::{failed, logs, DirStats, FrameRow, KindCount, Loss, SegmentRow};
use crate::failure::Failure;

/// Records of each kind, in the order of their numbers.
type Counts = [u64; RecordKind::SLOTS];

/// What the directory holds.
pub fn stats(dir: &Path) -> Result<DirStats, Failure> {
    let mut stats = DirStats {
        dir: dir.to_owned(),
        ..DirStats::default()
    };
    let mut counts: Counts = [0; RecordKind::SLOTS];
    let mut losses: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
    for path in logs(dir)? {
        let snapshot = Snapshot::open(&path).map_err(|error| failed(&path, &error))?;
        stats.logs += 1;
        if log_is_locked(&path).map_err(|error| failed(&path, &error))? {
            stats.writers.push(holder(&path));
        }
        for view in snapshot.segments() {
            stats.segments += 1;
            stats.log_bytes += view.frame_bytes();
            stats.file_bytes += std::fs::metadata(view.path()).map_or(0, |meta| meta.len());
            count(view, &mut counts);
            for frame in view
                .frames()
                .iter()
                .filter(|frame| frame.earliest_ns <= frame.latest_ns)
            {
                stats.first_ns = Some(
                    stats
                        .first_ns
                        .map_or(frame.earliest_ns, |ns| ns.min(frame.earliest_ns)),
                );
                stats.last_ns = Some(
                    stats
                        .last_ns
                        .map_or(frame.latest_ns, |ns| ns.max(frame.latest_ns)),
                );
            }
        }
        for (cause, kind, total) in lost(&snapshot) {
            // Held until their trace ended, and not kept: as it was to be.
            if cause == LossCause::SampledOut.as_str() {
                stats.sampled_out = stats.sampled_out.saturating_add(total);
                continue;
            }
            let lost: &mut u64 = losses.entry((cause, kind)).or_default();
            *lost = lost.saturating_add(total);
        }
        stats
            .backends
            .extend(super::backends::list(&path, &snapshot));
    }
    stats.records = counts.iter().sum();
    stats.records_by_kind = (0..RecordKind::SLOTS as u8)
        .filter_map(RecordKind::from_u8)
        .map(|kind| KindCount {
            kind: kind.as_str(),
            records: counts[kind as usize],
        })
        .filter(|kind| kind.records > 0)
        .collect();
    stats.lost = losses
        .values()
        .fold(0, |sum, lost| sum.saturating_add(*lost));
    let loss = |((cause, kind), records)| Loss {
        cause,
        kind,
        records,
    };
    stats.losses = losses.into_iter().map(loss).collect();
    Ok(stats)
}

/// What the lock file says about who writes.
fn holder(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("lock")).unwrap_or_default();
    match text.trim() {
        "" => "a process".to_owned(),
        text => text.to_owned(),
    }
}

fn count(view: &SegmentView, counts: &mut Counts) {
    for number in 0..view.frames().len() {
        // A frame that does not check is what `verify` tells about.
        let Ok(frame) = view.frame(number as u32) else {
            continue;
        };
        let mut at = 0;
        while let Ok(record) = peek(frame.payload, at) {
            counts[record.kind as usize] += 1;
            at += record.size;
        }
    }
}

/// Losses by cause and kind. Loss records carry totals of their instance: the greatest counts.
fn lost(snapshot: &Snapshot) -> Vec<(&'static str, &'static str, u64)> {
    let mut totals = HashMap::new();
    for view in snapshot.segments() {
        for loss in view.losses() {
            let cause = loss.cause.map_or("unknown", LossCause::as_str);
            let kind = loss.kind.map_or("unknown", RecordKind::as_str);
            let total = totals
                .entry((view.header().instance, loss.ring, cause, kind))
                .or_insert(0);
            *total = loss.total.max(*total);
        }
    }
    let all = totals.into_iter().filter(|(_, total)| *total > 0);
    all.map(|((_, _, cause, kind), total)| (cause, kind, total))
        .collect()
}

/// The segments of every log, in order, those of the provisional stream last.
pub fn segments(dir: &Path) -> Result<Vec<SegmentRow>, Failure> {
    let mut rows = Vec::new();
    for path in logs(dir)? {
        let snapshot = Snapshot::open(&path).map_err(|error| failed(&path, &error))?;
        rows.extend(snapshot.segments().iter().map(|view| segment(view, "main")));
        rows.extend(
            snapshot
                .provisional()
                .iter()
                .map(|view| segment(view, "provisional")),
        );
        rows.extend(snapshot.unreadable().iter().map(|path| unreadable(path)));
    }
    Ok(rows)
}

fn name_of(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn segment(view: &Arc<SegmentView>, stream: &'static str) -> SegmentRow {
    let header = view.header();
    let index = match view.path().with_extension("idx").is_file() {
        _ if !view.is_sealed() => "in memory",
        false => "missing",
        true if view.index_is_right() => "ok",
        true => "wrong",
    };
    SegmentRow {
        segment: name_of(view.path()),
        path: view.path().to_owned(),
        epoch: header.epoch,
        instance: header.instance.to_string(),
        state: if view.is_sealed() { "sealed" } else { "open" },
        stream,
        origin: if header.origin == ORIGIN_RECOVERY {
            "recovery"
        } else {
            "live"
        },
        created_ns: header.created_ns,
        bytes: view.frame_bytes(),
        reserved_bytes: header.reserved,
        frames: view.frames().len() as u64,
        records: view
            .frames()
            .iter()
            .map(|frame| u64::from(frame.count))
            .sum(),
        damaged_places: view.damage().len() as u64,
        index,
    }
}

fn unreadable(path: &Path) -> SegmentRow {
    SegmentRow {
        segment: name_of(path),
        path: path.to_owned(),
        state: "unreadable",
        bytes: std::fs::metadata(path).map_or(0, |meta| meta.len()),
        ..SegmentRow::default()
    }
}

/// The frames of one segment, in order; each is read and checked.
pub fn frames(path: &Path) -> Result<Vec<FrameRow>, Failure> {
    let what = || format!("cannot read segment {}", path.display());
    let view = SegmentView::open(path).map_err(|error| Failure::because(what(), &error))?;
    let row = |(number, entry): (usize, &emberlog::log::FrameEntry)| FrameRow {
        offset: u64::from(entry.offset),
        bytes: u64::from(entry.length),
        kind: match entry.kind {
            FrameKind::Records => "records",
            FrameKind::Copied => "copied",
            FrameKind::Seal => "seal",
        },
        ring: entry.ring,
        lease: entry.lease,
        first_sequence: entry.first_sequence,
        records: u64::from(entry.count),
        record_kinds: (0..RecordKind::SLOTS as u8)
            .filter(|bit| entry.kinds & (1 << bit) != 0)
            .filter_map(RecordKind::from_u8)
            .map(RecordKind::as_str)
            .collect(),
        first_ns: (entry.earliest_ns <= entry.latest_ns).then_some(entry.earliest_ns),
        last_ns: (entry.earliest_ns <= entry.latest_ns).then_some(entry.latest_ns),
        checksum_ok: view.frame(number as u32).is_ok(),
    };
    Ok(view.frames().iter().enumerate().map(row).collect())
}

/// Whether the segment at `path` can be read and holds nothing that anybody recorded: no trace,
/// span, event, metric or link.
pub fn nothing_recorded(path: &Path) -> bool {
    let recorded = (RecordKind::TraceStart as u16..=RecordKind::Link as u16)
        .fold(0, |bits, kind| bits | 1 << kind);
    SegmentView::open(path).is_ok_and(|view| {
        view.damage().is_empty()
            && view
                .frames()
                .iter()
                .all(|frame| frame.kinds & recorded == 0)
    })
}

/// Path of the segment that a file name, a path, a number or a unique prefix means.
pub fn choose(wanted: &str, segments: &[SegmentRow], dir: &Path) -> Result<PathBuf, Failure> {
    let name = Path::new(wanted)
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or(wanted);
    let name = name.strip_suffix(".seg").unwrap_or(name);
    let number = name.parse::<u64>().ok();
    let exact = |row: &&SegmentRow| {
        row.segment == name || number.is_some_and(|n| row.segment.parse() == Ok(n))
    };
    let is_path = |row: &&SegmentRow| row.path == Path::new(wanted);
    let begins = |row: &&SegmentRow| !name.is_empty() && row.segment.starts_with(name);
    let filters: [&dyn Fn(&&SegmentRow) -> bool; 3] = [&is_path, &exact, &begins];
    for filter in filters {
        let found: Vec<&SegmentRow> = segments.iter().filter(|row| filter(row)).collect();
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.path.clone()),
            several => {
                let n = several.len();
                return Err(Failure::new(format!(
                    "{wanted:?} means {n} segments: give the path of one"
                )));
            }
        }
    }
    Err(Failure::new(format!(
        "no segment {wanted:?} in {}",
        dir.display()
    )))
}
