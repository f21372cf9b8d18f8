//! Mapped segments: the writer's header page, the reader's whole file.
//!
//! Always true:
//! - nothing but the commit mark and the state is ever written through a mapping
//! - a reader gets bytes only below a mark that it loaded, and never those of the header page
//! - bytes below a mark do not change as long as anybody maps them: the writer appends above it,
//!   sealing cuts the file above it, retention unlinks the name and leaves the file
//!
//! The last point is a promise that every process which may write to the directory must keep; it
//! is private to its user (0700). Recovery writes below an old mark, but only behind the last frame
//! that checks, which no reader holds on to, and never makes the file shorter than that mark.
//!
//! What is stored to and loaded from those two words, and in which order, says `mark`.

#![expect(unsafe_code, reason = "mapping files and the atomics that lie in them")]

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};

use super::{
    layout::{HEADER_BYTES, MARK_AT, OPENING_AT, SEALED, STATE_AT},
    mark,
};

/// The header page of a segment that is being written.
#[derive(Debug)]
pub(super) struct MarkMap {
    /// Invariant: maps at least [`HEADER_BYTES`] bytes, writable, from the start of the file.
    map: MmapRaw,
}

impl MarkMap {
    /// Maps the header of a file that is at least one page long.
    pub(super) fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() < HEADER_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new()
            .len(HEADER_BYTES as usize)
            .map_raw(file)?;
        Ok(Self { map })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at % 8 == 0 && at + 8 <= HEADER_BYTES as usize);
        // SAFETY: in bounds and aligned (checked above; mappings begin at a page, see the field).
        // All processes access these eight bytes atomically only: the writer here, readers in
        // `ReadMap::word`; the file is never shorter than its header.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Makes everything below `bytes` visible to readers in all processes.
    #[inline]
    pub(super) fn publish(&self, bytes: u64) {
        mark::publish(self.word(MARK_AT), bytes);
    }

    /// Says that the mark will not move again.
    pub(super) fn seal(&self) {
        mark::seal(self.word(STATE_AT), SEALED);
    }
}

/// A whole segment, to be read.
#[derive(Debug)]
pub(super) struct ReadMap {
    /// Invariant: read-only, `len` bytes from the start of the file.
    map: MmapRaw,
    /// Greatest mark that was granted; nothing above it is handed out.
    granted: AtomicU64,
}

impl ReadMap {
    pub(super) fn open(file: &File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        if len < HEADER_BYTES || usize::try_from(len).is_err() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let map = MmapOptions::new()
            .len(len as usize)
            .map_raw_read_only(file)?;
        Ok(Self {
            map,
            granted: AtomicU64::new(HEADER_BYTES),
        })
    }

    /// Bytes that are mapped.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn word(&self, at: usize) -> u64 {
        assert!(at % 8 == 0 && at + 8 <= HEADER_BYTES as usize);
        // SAFETY: in bounds and aligned (checked above; `open` refuses files below one page, and
        // no file is ever cut below it). The memory is read-only here, where only a relaxed load
        // is allowed, and only that is done; all other accesses to it are atomic too.
        mark::look(unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) })
    }

    /// The commit mark now, as it is stored: nobody checked that it makes sense.
    #[inline]
    pub(super) fn mark(&self) -> u64 {
        self.word(MARK_AT)
    }

    /// Whether the segment is sealed; if so, [`mark`](Self::mark) loaded afterwards is final.
    pub(super) fn is_sealed(&self) -> bool {
        self.word(STATE_AT) == SEALED
    }

    /// Allows reading up to `end`, which the caller derived from [`mark`](Self::mark).
    pub(super) fn grant(&self, end: u64) {
        // Relaxed: a bound on what this process reads; the bytes came with the mark's fence.
        self.granted
            .fetch_max(end.min(self.len()), Ordering::Relaxed);
    }

    /// Bytes of the segment from `from` to `to`; `None` outside of header and granted mark.
    #[inline]
    pub(super) fn bytes(&self, from: u64, to: u64) -> Option<&[u8]> {
        // Relaxed: see `grant`.
        if from < HEADER_BYTES || from > to || to > self.granted.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: `from..to` lies inside the mapping (`grant` clamps to its length) and inside
        // the file (never cut below a published mark). Nobody changes these bytes, see the top.
        Some(unsafe {
            std::slice::from_raw_parts(self.map.as_ptr().add(from as usize), (to - from) as usize)
        })
    }

    /// Lets go of the pages that were read, so that a reader of a long log does not hold all of it
    /// in memory; a later access brings a page back.
    pub(super) fn release(&self) {
        let (from, len) = (HEADER_BYTES as usize, self.map.len());
        #[cfg(unix)]
        if len > from {
            // SAFETY: the range lies inside the mapping (see the field), which is shared and
            // read-only: what is dropped is this process's view of pages that the file still has,
            // so everybody who holds bytes of it reads the same ones again.
            let dropped = unsafe {
                self.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    from,
                    len - from,
                )
            };
            let _ = dropped; // Advice: nothing depends on it.
        }
        #[cfg(not(unix))]
        let _ = (from, len);
    }

    /// A copy of the header page.
    pub(super) fn header(&self) -> Vec<u8> {
        self.header_from(0)
    }

    /// A copy of the part of it that repeats what the first frame begins with. It is whole as soon
    /// as a mark behind that frame was loaded.
    pub(super) fn opening(&self) -> Vec<u8> {
        self.header_from(OPENING_AT as usize)
    }

    fn header_from(&self, from: usize) -> Vec<u8> {
        let words = (from..HEADER_BYTES as usize).step_by(8);
        words.flat_map(|at| self.word(at).to_le_bytes()).collect()
    }
}

/// A file that is never changed once it has its name: an index.
#[derive(Debug)]
pub(super) struct FileMap {
    map: memmap2::Mmap,
}

impl FileMap {
    pub(super) fn open(file: &File) -> io::Result<Self> {
        // SAFETY: index files are written under another name and renamed when they are whole;
        // nobody writes to or cuts one that has its name, deleting it leaves the mapping.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self { map })
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}
