//! Small facts that survive a crash in the middle of changing them: two slots, written in turn.
//!
//! Always true:
//! - the slots lie in different pages, so that a torn write leaves the other one whole
//! - the valid slot with the greater generation counts
//! - a new generation is synced before anything relies on it

use std::{fs::File, io, path::Path};

use super::{
    file::{self, step_of},
    layout::{finish, intact, put, u64_at},
};

/// Where the second slot lies.
const SECOND: usize = 4096;

/// A slot of `N` bytes: magic (8), generation (8), content, checksum (4).
pub(crate) struct Slots<const N: usize> {
    file: File,
    magic: &'static [u8; 8],
    generation: u64,
}

/// The newest valid slot in the bytes of such a file.
pub(crate) fn newest<const N: usize>(bytes: &[u8], magic: &[u8; 8]) -> Option<[u8; N]> {
    [0, SECOND]
        .into_iter()
        .filter_map(|at| <[u8; N]>::try_from(bytes.get(at..at + N)?).ok())
        .filter(|slot| intact(slot, magic))
        .max_by_key(|slot| u64_at(slot, 8))
}

impl<const N: usize> Slots<N> {
    /// Opens or creates the file; also returns what it says.
    pub(crate) fn open(
        path: &Path,
        magic: &'static [u8; 8],
    ) -> io::Result<(Self, Option<[u8; N]>)> {
        let file = match file::open_rw(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                step_of("slots.create", magic)?;
                file::write_whole(path, &[0; 2 * SECOND])?;
                file::open_rw(path)?
            }
            Err(e) => return Err(e),
        };
        let mut bytes = [0; 2 * SECOND];
        let read = file::read_up_to(&file, &mut bytes, 0)?;
        let slot = newest::<N>(&bytes[..read], magic);
        let generation = slot.map_or(0, |slot| u64_at(&slot, 8));
        Ok((
            Self {
                file,
                magic,
                generation,
            },
            slot,
        ))
    }

    /// Writes `slot`, whose magic, generation and checksum are filled in here, and syncs it.
    pub(crate) fn write(&mut self, slot: &mut [u8; N]) -> io::Result<()> {
        let generation = self.generation + 1;
        put(slot, 0, self.magic);
        put(slot, 8, &generation.to_le_bytes());
        finish(slot);
        let at = if generation % 2 == 0 { 0 } else { SECOND };
        step_of("slots.write", self.magic)?;
        file::write_at(&self.file, slot, at as u64)?;
        step_of("slots.sync", self.magic)?;
        file::sync_data(&self.file)?;
        self.generation = generation;
        Ok(())
    }
}
