//! What the next open makes of a log whose writer died.
//!
//! Always true:
//! - below the durable watermark nothing is cut: what does not check is skipped, copied to
//!   `aside/` and counted
//! - the same holds below a commit mark that was published since this machine started: what was
//!   written is in the file, whoever was killed
//! - beyond that the first one that does not check ends the log; the rest is copied to `aside/`
//!   before it is zeroed
//! - no file gets shorter than a mark that was published: somebody may have it mapped
//! - nothing above a commit mark was ever logged, so nothing there is looked at
//! - whichever step is the last one before a kill, the next run ends with the same files and
//!   reports what was lost again, until the log says it
//!
//! Segments are read in windows, not mapped, so that a bad sector is damage and not a signal, and
//! memory does not depend on their size.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use crate::record::{kinds::GapCause, layout::RING_FLUSHER};

use super::{
    dir::{read_head, segment_bases, Head, LogDir},
    error::{on, OpenError},
    file::{self, step},
    gap::{self, GapInfo},
    holes::Holes,
    layout::{
        index_name, put, segment_name, Bad, SegmentHeader, HEADER_BYTES, MARK_AT, OPENING_AT,
        SEALED, SEAL_BYTES, STATE_AT,
    },
    opening,
    retention::{read_seal, Kept},
    scan::{Damage, SegmentScan},
    source::Window,
    watermark::{read_floor, Watermark, UNKNOWN},
    Position,
};

/// More than a file system takes for a file beside its bytes.
const SLACK: u64 = 256 << 10;

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the log is new.
    pub created: bool,
    /// Segments in the log.
    pub segments: usize,
    /// Segments that a dead writer had left open.
    pub sealed: Vec<Position>,
    /// What did not check, in order, and was not found before.
    pub damage: Vec<Damaged>,
    /// Everything that is gone and that the log does not say yet, also what a recovery found that
    /// was killed. To be appended; see [`Writer::gaps_logged`](super::Writer::gaps_logged).
    pub gaps: Vec<GapInfo>,
    /// Segment files of another log, or whose header cannot be read; they are left alone.
    pub unreadable: Vec<PathBuf>,
    /// End of the log.
    pub end: Position,
}

/// A part of the log that does not check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where it begins.
    pub position: Position,
    /// How many bytes of the segment it takes.
    pub bytes: u64,
    /// Records missing there, as far as the sequences around it tell.
    pub records: u64,
    /// Whether it is the torn end of what was not durable; it was zeroed.
    pub torn: bool,
    /// The copy of its bytes.
    pub aside: PathBuf,
}

impl LogDir {
    /// Brings the log into order after its last writer. Idempotent.
    ///
    /// # Errors
    /// [`OpenError::Io`]. What was done until then is safe; the next attempt goes on.
    pub fn recover(&mut self) -> Result<Recovered, OpenError> {
        let mut report = Recovered {
            created: self.created,
            ..Recovered::default()
        };
        let path = self.path.clone();
        self.reserve_names().map_err(on("tidy up", &path))?;
        self.remove_leftovers().map_err(on("tidy up", &path))?;
        self.kept.clear();
        let mut last_end = Position::START;
        let mut holes = Holes::default();
        for base in segment_bases(&path).map_err(on("list", &path))? {
            let name = path.join(segment_name(base));
            let head = read_head(&name).map_err(on("read", &name))?;
            let header = match head.header {
                Ok(header) if header.log_id == self.log.log_id && header.base == base => header,
                Err(Bad::Newer(found)) => return Err(OpenError::newer(&name, found)),
                _ => {
                    report.unreadable.push(name);
                    continue;
                }
            };
            // The mark may lie behind the end of a file that somebody cut: that is damage up to it.
            let most = head.len.max(header.reserved);
            let plausible = (HEADER_BYTES..=most).contains(&head.mark) && head.mark % 8 == 0;
            // A sealed one whose sync nobody vouches for is looked at like an open one.
            let vouched = match self.durable {
                UNKNOWN => read_seal(&head.file, &header, head.mark).is_some(),
                durable => base.saturating_add(head.mark) <= durable,
            };
            let kept = if head.sealed && plausible && vouched && head.mark <= head.len {
                let meta = head.file.metadata().map_err(on("read", &name))?;
                if file::disk_bytes(&meta) > head.mark + SLACK {
                    // Its writer died before it could give back what it did not use.
                    let spare = |f: File| file::zero(&f, head.mark, head.len);
                    file::open_rw(&name)
                        .and_then(spare)
                        .map_err(on("cut", &name))?;
                }
                let kept = Kept::sealed(header, head.mark, &head.file, &meta);
                holes.pass(&header, kept.end());
                Some(kept)
            } else {
                self.seal_left(&header, &head, plausible, &mut report, &mut holes)?
            };
            if let Some(kept) = kept {
                last_end = kept.end();
                self.kept.push(kept);
            }
        }
        step("recover.dir").map_err(on("sync", &path))?;
        file::sync_dir(&path).map_err(on("sync", &path))?;
        report.segments = self.kept.len();
        report.end = last_end;
        let floor = read_floor(&path, self.log.log_id).position;
        let marked = gap::marked(&path, floor);
        report.gaps = marked.map_err(on("read what was set aside in", &path))?;
        self.gaps.clone_from(&report.gaps);

        let known = if self.durable == UNKNOWN {
            0
        } else {
            self.durable
        };
        // Everything that is left was synced: by its writer, or just now.
        let durable = last_end.offset.max(known);
        if self.durable != durable {
            let epoch = self.epoch;
            let next_base = self.next_base;
            let mark = Watermark {
                epoch,
                durable,
                next_base,
            };
            self.watermark
                .write(mark)
                .map_err(on("write the watermark in", &path))?;
            self.durable = durable;
        }
        self.recovered = true;
        Ok(report)
    }

    /// Finds the base of the next segment: one that no file ever had, those included that are
    /// removed below. Durable before they are.
    fn reserve_names(&mut self) -> std::io::Result<()> {
        let floor = read_floor(&self.path, self.log.log_id).position.offset;
        let mut next = self.next_base.max(floor);
        if self.durable != UNKNOWN {
            next = next.max(self.durable);
        }
        for base in segment_bases(&self.path)? {
            let head = read_head(&self.path.join(segment_name(base)))?;
            let reserved = head.header.map_or(0, |header| header.reserved);
            next = next.max(base.saturating_add(reserved.max(head.len).max(1)));
        }
        let next = next.next_multiple_of(4096);
        if next != self.next_base {
            self.watermark.write(Watermark {
                epoch: self.epoch,
                durable: self.durable,
                next_base: next,
            })?;
            self.next_base = next;
        }
        Ok(())
    }

    /// Removes half-made files, and segments that retention had decided to remove.
    fn remove_leftovers(&self) -> std::io::Result<()> {
        for dir in [self.path.clone(), self.path.join("aside")] {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|e| e == "tmp") {
                    step("recover.tmp")?;
                    file::remove(&path)?;
                }
            }
        }
        let floor = read_floor(&self.path, self.log.log_id);
        for base in segment_bases(&self.path)? {
            let name = self.path.join(segment_name(base));
            let head = read_head(&name)?;
            let below = base.saturating_add(head.mark) <= floor.position.offset;
            if below && head.sealed && head.header.is_ok_and(|h| h.log_id == self.log.log_id) {
                step("recover.floor")?;
                file::remove(&name)?;
                file::remove(&self.path.join(index_name(base)))?;
            }
        }
        Ok(())
    }

    /// Ends a segment that its writer left open; `None` if it was empty and is gone.
    fn seal_left(
        &self,
        header: &SegmentHeader,
        head: &Head,
        plausible: bool,
        report: &mut Recovered,
        holes: &mut Holes,
    ) -> Result<Option<Kept>, OpenError> {
        let name = self.path.join(segment_name(header.base));
        let durable = match self.durable {
            UNKNOWN => UNKNOWN,
            offset => offset.saturating_sub(header.base),
        };
        // An impossible mark is damage: everything that checks is taken.
        let mark = if plausible { head.mark } else { head.len };
        let known = if durable == UNKNOWN { 0 } else { durable };
        let end = mark.max(known.min(header.reserved)) & !7;
        let proven = if plausible && header.is_of_this_boot() {
            durable.max(mark)
        } else {
            durable
        };
        let mut window = Window::new(&head.file);
        let mut scan = SegmentScan::new(header.salt);
        scan.extend(&mut window, end, proven);
        if !plausible {
            // Without a mark the zeros behind the last frame are no damage.
            drop_zero_tail(&mut scan, &mut window);
        }
        let at = |offset: u64| Position {
            epoch: header.epoch,
            offset: header.base + offset,
        };
        let sealed_end = match scan.seal {
            Some(_) => scan.end(),
            None => scan.end() + SEAL_BYTES as u64,
        };
        let floor = read_floor(&self.path, self.log.log_id);
        let frames = &scan.index.entries;
        let hole = holes.follow(&self.path, &floor, header, frames, at(sealed_end));
        if let Some(hole) = hole {
            // Durable before the segment is sealed, as word of damage is.
            let marked = hole.mark(&self.path);
            marked.map_err(on("write what is missing in", &self.path))?;
        }
        if scan.valid_end == HEADER_BYTES && scan.damage.is_empty() {
            step("recover.empty").map_err(on("remove", &name))?;
            file::remove(&name).map_err(on("remove", &name))?;
            return Ok(None);
        }
        for damage in &scan.damage {
            let set_aside = self.set_aside(header, damage, &mut window);
            report.damage.push(set_aside.map_err(on("write", &name))?);
        }
        let file = file::open_rw(&name).map_err(on("open", &name))?;
        let open = opening::wanting(&mut window, &scan.index.entries, header.salt);
        if let Some(opening) = open {
            // The power failed when the frame had reached the disk and its copy had not.
            step("recover.opening")
                .and_then(|()| file::write_at(&file, &opening, OPENING_AT))
                .map_err(on("write", &name))?;
        }
        let final_end = end_segment(&file, header, &scan, head, plausible);
        let final_end = final_end.map_err(on("seal", &name))?;
        let index = scan.index.encode(header.salt, header.base, final_end);
        let index_file = self.path.join(index_name(header.base));
        step("recover.index").map_err(on("write", &index_file))?;
        file::write_whole(&index_file, &index).map_err(on("write", &index_file))?;
        report.sealed.push(at(0));
        let meta = file.metadata().map_err(on("read", &name))?;
        Ok(Some(Kept::sealed(*header, final_end, &file, &meta)))
    }
}

impl LogDir {
    /// Copies what does not check, and leaves word of it.
    fn set_aside(
        &self,
        header: &SegmentHeader,
        damage: &Damage,
        window: &mut Window<'_>,
    ) -> std::io::Result<Damaged> {
        let position = Position {
            epoch: header.epoch,
            offset: header.base + damage.from,
        };
        let kind = if damage.torn { "torn" } else { "damaged" };
        let name = format!("{}-{}.{kind}", position.epoch, position.offset);
        let aside = self.path.join("aside").join(name);
        file::write_whole_with(&aside, |copy| {
            step("recover.aside")?;
            file::set_len(copy, damage.bytes())?;
            window.pieces(damage.from, damage.to, |bytes, at| {
                match bytes.iter().any(|b| *b != 0) {
                    true => file::write_at(copy, bytes, at - damage.from),
                    // A hole says the same.
                    false => Ok(()),
                }
            })
        })?;
        let gap = GapInfo {
            instance: header.instance,
            from: position,
            to: header.base + damage.to,
            // No later frame of the ring, no count.
            records: (damage.records > 0).then_some(damage.records),
            ring: (damage.ring != RING_FLUSHER).then_some(damage.ring),
            cause: Some(match damage.torn {
                true => GapCause::Torn,
                false => GapCause::Damaged,
            }),
        };
        gap.mark(&self.path)?;
        Ok(Damaged {
            position,
            bytes: damage.bytes(),
            records: damage.records,
            torn: damage.torn,
            aside,
        })
    }
}

/// Writes seal frame, mark and state, in an order in which each step may be the last one.
fn end_segment(
    file: &File,
    header: &SegmentHeader,
    scan: &SegmentScan,
    head: &Head,
    plausible: bool,
) -> std::io::Result<u64> {
    // Damage that reaches to the end of what is durable lies below the seal frame.
    let mut end = scan.end();
    if scan.seal.is_none() {
        let seal = scan.index.totals.seal_frame(header.salt, end);
        step("recover.seal")?;
        file::write_at(file, &seal, end)?;
        end += SEAL_BYTES as u64;
    }
    step("recover.seal.sync")?;
    file::sync_all(file)?;
    // Not below a mark that somebody may have seen and mapped; what stands there becomes a hole.
    let seen = if plausible { head.mark } else { head.len };
    step("recover.cut")?;
    if !head.sealed {
        file::set_len(file, end.max(seen))?;
    }
    step("recover.zero")?;
    file::zero(file, end, file.metadata()?.len())?;
    // In one call and one sector, so that no kill comes in between.
    let mut state = [0; STATE_AT + 8 - MARK_AT];
    put(&mut state, 0, &end.to_le_bytes());
    put(&mut state, STATE_AT - MARK_AT, &SEALED.to_le_bytes());
    step("recover.mark")?;
    file::write_at(file, &state, MARK_AT as u64)?;
    step("recover.sync")?;
    file::sync_all(file)?;
    Ok(end)
}

/// Forgets torn bytes that are only zeros.
fn drop_zero_tail(scan: &mut SegmentScan, window: &mut Window<'_>) {
    let Some(last) = scan.damage.last_mut() else {
        return;
    };
    let mut used = last.from;
    let seen = window.pieces(last.from, last.to, |bytes, at| {
        if let Some(i) = bytes.iter().rposition(|b| *b != 0) {
            used = at + i as u64 + 1;
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = seen;
    if used == last.from {
        scan.damage.pop();
    } else {
        last.to = used.next_multiple_of(8);
    }
}
