//! The next segment, ready before it is needed.
//!
//! Always true:
//! - bases only grow and none is given twice; a prepared segment that turns out too small is
//!   replaced under its name before it was ever written to, and readers of empty ones look again
//! - what is prepared and not used goes when the log is closed, after its name was noted

use std::{io, time::Instant};

use crate::{clock::unix_now, record::id::random_u128, sync::MutexGuard};

use super::{
    file::{self, step},
    housekeeper::{is_ahead, Round, RETRY},
    layout::{segment_name, SegmentHeader, ORIGIN_LIVE, STREAM_MAIN},
    options::OnFull,
    segment,
    shared::{Prepared, Work},
    watermark::Watermark,
};

impl Round {
    /// Makes sure that there is a next segment.
    pub(super) fn prepare(&mut self) {
        let shared = self.shared.clone();
        let mut work = shared.work();
        if work.closing || work.has_next() || is_ahead(self.prepare_again) {
            return;
        }
        self.prepare_again = None;
        let mut base = work.next_base;
        if let Some(small) = work.next.take() {
            base = small.header.base;
            if let Some(after) = work.after.take() {
                // Left there it is empty, and the next open removes it.
                let _ = file::remove(&shared.dir.join(segment_name(after.header.base)));
            }
        }
        let reserved = shared.options.reserved_bytes();
        let header = SegmentHeader {
            log_id: shared.log_id,
            instance: shared.instance,
            epoch: shared.epoch,
            base,
            // In place of all that it replaces, so that no offsets are left over.
            reserved: reserved
                .max(work.wanted_bytes.next_multiple_of(4096))
                .max(work.next_base - base),
            created_ns: unix_now(),
            salt: random_u128() as u32,
            stream: STREAM_MAIN,
            origin: ORIGIN_LIVE,
            boot: file::boot_id(),
        };
        work.next_base = work.next_base.max(base + header.reserved);
        drop(work);
        let made = self.make(&header);
        let mut work = shared.work();
        match made {
            Ok(prepared) => {
                // The writer may have given one back in the meantime.
                match work.next {
                    None => work.next = Some(prepared),
                    Some(_) => work.after = Some(prepared),
                }
                work.next_error = None;
            }
            Err(e) => {
                // Nobody wrote to what may have the name: the next try replaces it.
                work.next_base = base;
                work.next_error = Some(e);
                self.prepare_again = Some(Instant::now() + RETRY);
            }
        }
        drop(work);
        shared.tell();
    }

    fn make(&mut self, header: &SegmentHeader) -> io::Result<Prepared> {
        let shared = self.shared.clone();
        step("prepare.next")?;
        self.make_room(header.reserved)?;
        let mut made = segment::create(&shared.dir, header);
        if made.as_ref().is_err_and(file::is_full) && shared.options.on_full == OnFull::DeleteOldest
        {
            self.retention(Some(header.reserved))?;
            made = segment::create(&shared.dir, header);
        }
        Ok(Prepared {
            file: made?.into(),
            header: *header,
        })
    }

    /// Checks that the file system keeps its reserve, removing the oldest if the options say so.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let shared = self.shared.clone();
        let missing = || {
            let space = file::space(&shared.dir)?;
            let reserve = space.total / 100 * u64::from(shared.options.min_free_percent);
            let missing = (bytes + reserve).saturating_sub(space.free);
            (missing > 0).then_some(missing)
        };
        let Some(needed) = missing() else {
            return Ok(());
        };
        if shared.options.on_full == OnFull::DeleteOldest {
            self.retention(Some(needed))?;
            if missing().is_none() {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{needed} bytes are missing to a next segment and the reserve of the disk"),
        ))
    }

    /// Removes segments that were prepared and are not needed any more.
    pub(super) fn discard_next(&mut self, mut work: MutexGuard<'_, Work>) {
        let unused: Vec<_> = work
            .next
            .take()
            .into_iter()
            .chain(work.after.take())
            .collect();
        let next_base = work.next_base;
        drop(work);
        if unused.is_empty() {
            return;
        }
        let mark = Watermark {
            epoch: self.shared.epoch,
            durable: self.shared.durable(),
            next_base,
        };
        let noted = step("prepare.discard").and_then(|()| self.watermark.write(mark));
        for prepared in unused.iter().filter(|_| noted.is_ok()) {
            // Left there it is empty, and the next open removes it.
            let _ = file::remove(&self.shared.dir.join(segment_name(prepared.header.base)));
        }
    }
}
