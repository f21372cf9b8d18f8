//! What is left to do for segments that the writer is done with, and retention.
//!
//! Always true:
//! - a segment is known to retention as soon as it is durable, whatever else fails
//! - an index that cannot be written now is written later; readers do without until then

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    file::{self, step},
    housekeeper::Round,
    layout::{index_name, segment_name, HEADER_BYTES},
    retention::{disk_bytes, Heed, Kept, Retention},
    shared::Sealed,
    view::SegmentView,
};

/// Time between rounds of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

impl Round {
    /// Cuts sealed segments to their length and writes their indexes.
    pub(super) fn finish_sealed(&mut self) {
        let shared = self.shared.clone();
        loop {
            let mut work = shared.work();
            if !work.sealed.front().is_some_and(|s| s.synced) {
                return;
            }
            let Some(sealed) = work.sealed.pop_front() else {
                return;
            };
            drop(work);
            self.finish(sealed);
            self.retention_due = Instant::now();
        }
    }

    fn finish(&mut self, mut sealed: Sealed) {
        let header = sealed.header;
        let dir = self.shared.dir.clone();
        if sealed.end <= HEADER_BYTES {
            // Nothing was ever shown of it. If it stays, the next open removes it.
            let _ = file::remove(&dir.join(segment_name(header.base)));
            return;
        }
        // If it is not cut, its space stays taken until retention removes it.
        let _ = cut(&sealed);
        if let Ok(meta) = sealed.file.metadata() {
            self.kept
                .push(Kept::sealed(header, sealed.end, &sealed.file, &meta));
        }
        let out = &mut self.index_file;
        sealed
            .index
            .encode_in(out, header.salt, header.base, sealed.end);
        self.index_missing |= write_index(&dir, header.base, out).is_err();
        self.shared.work().spare_index = Some(sealed.index.emptied());
    }

    pub(super) fn retain(&mut self) {
        let prune = std::mem::take(&mut self.shared.work().prune);
        if !prune && Instant::now() < self.retention_due {
            return;
        }
        self.retention_due = Instant::now() + RETENTION_EVERY;
        // What fails here is tried again in the next round.
        let _ = self.retention(None);
        if std::mem::take(&mut self.index_missing) {
            self.index_missing = self.write_missing_indexes().is_err();
        }
    }

    pub(super) fn retention(&mut self, disk_full: Option<u64>) -> io::Result<()> {
        let shared = self.shared.clone();
        let removed = Retention {
            dir: &shared.dir,
            log_id: shared.log_id,
            limits: shared.limits,
            age: shared.options.retention_age,
            kept: &mut self.kept,
            disk_full,
            heed: Heed::Cursors,
        }
        .run();
        let mut work = shared.work();
        work.disk_bytes = disk_bytes(&shared.dir);
        work.note_removed(removed?);
        Ok(())
    }

    /// Indexes that the last process had no time for, that there was no room for, or that somebody
    /// deleted.
    fn write_missing_indexes(&self) -> io::Result<()> {
        for kept in &self.kept {
            let base = kept.header.base;
            if self.shared.work().closing {
                return Ok(());
            }
            if self.shared.dir.join(index_name(base)).exists() {
                continue;
            }
            // A segment that cannot be read has no index, and `verify` tells of it.
            if let Ok(view) = SegmentView::open(&self.shared.dir.join(segment_name(base))) {
                write_index(&self.shared.dir, base, &view.index_bytes())?;
            }
        }
        Ok(())
    }
}

fn cut(sealed: &Sealed) -> io::Result<()> {
    step("finish.cut")?;
    file::set_len(&sealed.file, sealed.end)?;
    step("finish.sync")?;
    file::sync_all(&sealed.file)
}

fn write_index(dir: &Path, base: u64, index: &[u8]) -> io::Result<()> {
    step("finish.index")?;
    file::write_whole(&dir.join(index_name(base)), index)
}
