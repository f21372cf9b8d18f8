//! What is removed from the log, and what is kept for whom.
//!
//! Always true:
//! - whole sealed segments go, oldest first
//! - what a registered cursor still needs stays up to the hard limit
//! - the intent is durable (`floor`) before a file goes, so that every reader can tell and count

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::record::{id::LogId, kinds::GapCause};

use super::{
    file::{self, step},
    gap::{is_marker, GapInfo},
    index::Totals,
    layout::{index_name, segment_name, u64_at, SegmentHeader, SEAL_BYTES, STREAM_MAIN},
    options::Limits,
    scan::frame_at,
    slots::newest,
    watermark::{Floor, FloorFile},
    Position,
};

/// A sealed segment.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub header: SegmentHeader,
    /// Its commit mark.
    pub mark: u64,
    /// Records in it.
    pub records: u64,
    /// When it was sealed.
    pub newest: SystemTime,
}

impl Kept {
    /// From the file of a sealed segment.
    pub(super) fn sealed(header: SegmentHeader, mark: u64, file: &File, meta: &Metadata) -> Self {
        Self {
            header,
            mark,
            records: read_seal(file, &header, mark).map_or(0, |seal| seal.records()),
            newest: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// Position after its last byte.
    pub(super) fn end(&self) -> Position {
        Position {
            epoch: self.header.epoch,
            offset: self.header.base + self.mark,
        }
    }

    fn start(&self) -> Position {
        Position {
            epoch: self.header.epoch,
            offset: self.header.base,
        }
    }
}

/// What the seal frame at the end of a segment says.
pub(super) fn read_seal(file: &File, header: &SegmentHeader, mark: u64) -> Option<Totals> {
    let at = mark.checked_sub(SEAL_BYTES as u64)?;
    let mut frame = [0; SEAL_BYTES];
    if file::read_up_to(file, &mut frame, at).ok()? < SEAL_BYTES {
        return None;
    }
    let head = frame_at(&frame, at, mark, header.salt)?;
    Some(Totals::of_seal(&head, &frame))
}

/// Why a segment was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemovedBy {
    /// Its newest record was too old.
    Age,
    /// The log was larger than allowed.
    Size,
    /// The log was larger than allowed even for what cursors need.
    HardLimit,
    /// The disk was full, and the options say that the oldest goes then.
    DiskFull,
}

/// A segment that retention removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its first position.
    pub from: Position,
    /// The position after its last.
    pub to: Position,
    /// Records in it.
    pub records: u64,
    /// Bytes on disk that it took, its index included.
    pub bytes: u64,
    /// Why.
    pub reason: RemovedBy,
    /// Cursors that had not come past it.
    pub cursors: Vec<String>,
}

/// A registered cursor, as far as retention is concerned.
struct Cursor {
    name: String,
    position: Position,
}

/// Cursors of this log. One that cannot be read keeps everything it could need.
fn cursors(dir: &Path, log_id: LogId) -> Vec<Cursor> {
    let Ok(entries) = fs::read_dir(dir.join("cursors")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|e| e.path()) {
        if path.extension().is_none_or(|e| e != "cursor") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&path).unwrap_or_default();
        let mut position = Position::START;
        if let Some(slot) = newest::<128>(&bytes, b"EMBRCURS") {
            if slot[16..32] != log_id.0 {
                continue;
            }
            position = Position {
                epoch: u64_at(&slot, 48),
                offset: u64_at(&slot, 56),
            };
        }
        found.push(Cursor {
            name: name.into_owned(),
            position,
        });
    }
    found
}

/// A power cut must not leave a cursor that stands before what is gone. One that cannot be synced is
/// counted as behind when it comes there.
fn sync_cursors(dir: &Path) {
    let entries = fs::read_dir(dir.join("cursors")).into_iter().flatten();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == "cursor") {
            let _ = File::open(path).and_then(|file| file::sync_data(&file));
        }
    }
}

/// Bytes that the log takes on disk, what was set aside included.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    let of = |dir: &Path| -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let metas = entries.filter_map(|e| e.metadata().ok());
        metas
            .filter(Metadata::is_file)
            .map(|m| file::disk_bytes(&m))
            .sum()
    };
    of(dir) + of(&dir.join("aside"))
}

/// One round of retention.
pub(super) struct Retention<'a> {
    pub dir: &'a Path,
    pub log_id: LogId,
    pub limits: Limits,
    pub age: Option<Duration>,
    /// Sealed segments, oldest first.
    pub kept: &'a mut Vec<Kept>,
    /// Set when the disk is full and the oldest may go: bytes that are needed.
    pub disk_full: Option<u64>,
    pub heed: Heed,
}

/// Whether what a cursor still needs stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Heed {
    /// It stays, up to the hard limit.
    #[default]
    Cursors,
    /// It goes like everything else; the cursors count what they miss.
    Nobody,
}

/// What a round of retention is going to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Oldest first.
    pub doomed: Vec<Removed>,
    /// Cursors for which alone the next one stays.
    pub held_by: Vec<String>,
}

impl Retention<'_> {
    /// Removes what has to go.
    pub(super) fn run(mut self) -> io::Result<Vec<Removed>> {
        self.tidy_aside(SystemTime::now());
        let plan = self.plan();
        if !plan.doomed.is_empty() {
            sync_cursors(self.dir);
        }
        for doomed in &plan.doomed {
            if !doomed.cursors.is_empty() {
                // The next open says so in the log; the cursors count it when they come there.
                gap(&self.kept[0]).mark(self.dir)?;
            }
            self.remove_oldest()?;
        }
        Ok(plan.doomed)
    }

    /// What has to go now; changes nothing.
    pub(super) fn plan(&self) -> Plan {
        let now = SystemTime::now();
        let cursors = cursors(self.dir, self.log_id);
        let mut total = disk_bytes(self.dir);
        let mut plan = Plan::default();
        let mut needed = self.disk_full.unwrap_or(0);
        for oldest in self.kept.iter() {
            let main = oldest.header.stream == STREAM_MAIN;
            let behind = |c: &&Cursor| c.position < oldest.end() && main;
            let names: Vec<String> = cursors
                .iter()
                .filter(behind)
                .map(|c| c.name.clone())
                .collect();
            let age = now.duration_since(oldest.newest).unwrap_or_default();
            let reason = if needed > 0 {
                RemovedBy::DiskFull
            } else if total > self.limits.hard {
                RemovedBy::HardLimit
            } else if total > self.limits.max {
                RemovedBy::Size
            } else if self.age.is_some_and(|limit| age > limit) {
                RemovedBy::Age
            } else {
                break;
            };
            let must = matches!(reason, RemovedBy::DiskFull | RemovedBy::HardLimit);
            if !names.is_empty() && !must && self.heed == Heed::Cursors {
                plan.held_by = names;
                break;
            }
            let bytes = self.bytes_of(oldest);
            total = total.saturating_sub(bytes);
            needed = needed.saturating_sub(bytes);
            plan.doomed.push(Removed {
                from: oldest.start(),
                to: oldest.end(),
                records: oldest.records,
                bytes,
                reason,
                cursors: names,
            });
        }
        plan
    }

    /// Bytes on disk of a segment and its index.
    fn bytes_of(&self, segment: &Kept) -> u64 {
        let base = segment.header.base;
        let names = [segment_name(base), index_name(base)];
        let metas = names
            .iter()
            .filter_map(|name| fs::metadata(self.dir.join(name)).ok());
        metas.map(|meta| file::disk_bytes(&meta)).sum()
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        let segment = self.kept[0].clone();
        let (mut file, floor) = FloorFile::open(self.dir, self.log_id)?;
        if segment.end() > floor.position {
            file.write(&Floor {
                position: segment.end(),
                records: floor.records + segment.records,
                bytes: floor.bytes + segment.mark,
            })?;
        }
        step("retention.segment")?;
        file::remove(&self.dir.join(segment_name(segment.header.base)))?;
        step("retention.index")?;
        file::remove(&self.dir.join(index_name(segment.header.base)))?;
        step("retention.dir")?;
        file::sync_dir(self.dir)?;
        self.kept.remove(0);
        Ok(())
    }

    /// What was set aside goes with the same age; and the oldest of it when it takes more than a
    /// tenth of the allowance. Failures are met again in the next round.
    fn tidy_aside(&mut self, now: SystemTime) {
        let entries = fs::read_dir(self.dir.join("aside")).into_iter().flatten();
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|e| {
                if is_marker(&e.path()) {
                    return None;
                }
                let meta = e.metadata().ok()?;
                Some((meta.modified().ok()?, file::disk_bytes(&meta), e.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (modified, bytes, path) in files {
            let age = now.duration_since(modified).unwrap_or_default();
            let old = self.age.is_some_and(|limit| age > limit);
            if !old && total <= self.limits.max / 10 {
                break;
            }
            let _ = file::remove(&path);
            total -= bytes;
        }
    }
}

/// What is missing when this segment is gone.
fn gap(segment: &Kept) -> GapInfo {
    GapInfo {
        instance: segment.header.instance,
        from: segment.start(),
        to: segment.end().offset,
        records: Some(segment.records),
        ring: None,
        cause: Some(GapCause::Retention),
    }
}
