//! A new file for a segment whose old one failed to sync.
//!
//! After a failed fsync the kernel may call pages clean that never reached the disk; asking again
//! proves nothing. The frames are read back, mostly from memory, and written to a fresh file
//! under the same name and the same positions. What does not check by then is lost and left out.

use std::{fs::File, io, path::Path};

use super::{
    file::{self, step},
    index::IndexBuilder,
    layout::{
        put, segment_name, SegmentHeader, HEADER_BYTES, MARK_AT, OPENING_AT, SEALED, SEAL_BYTES,
        STATE_AT,
    },
    scan::SegmentScan,
    source::{Source, Window},
};

/// The new file of a segment.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub file: File,
    pub index: IndexBuilder,
    pub end: u64,
}

/// Writes the frames below `end` to a new file, sealed and synced, and gives it the old name.
/// Readers that have the old file mapped keep it.
pub(super) fn rewrite(
    dir: &Path,
    old: &File,
    header: &SegmentHeader,
    end: u64,
) -> io::Result<Rewritten> {
    let mut window = Window::new(old);
    let mut scan = SegmentScan::new(header.salt);
    // A mark that was published proves that everything below it was written.
    scan.extend(&mut window, end, end);
    let body_end = scan.end().min(end);
    let mut end = body_end;
    let mut seal = Vec::new();
    if scan.seal.is_none() {
        seal = scan.index.totals.seal_frame(header.salt, end).to_vec();
        end += SEAL_BYTES as u64;
    }
    let mut page = header.encode();
    put(&mut page, MARK_AT, &end.to_le_bytes());
    put(&mut page, STATE_AT, &SEALED.to_le_bytes());
    put(&mut page, OPENING_AT as usize, &window.opening());
    let path = dir.join(segment_name(header.base));
    let file = file::write_whole_with(&path, |file| {
        step("rewrite.write")?;
        file::write_at(file, &page, 0)?;
        window.pieces(HEADER_BYTES, body_end, |bytes, at| {
            file::write_at(file, bytes, at)
        })?;
        file::write_at(file, &seal, body_end)
    })?;
    Ok(Rewritten {
        file,
        index: scan.index,
        end,
    })
}
