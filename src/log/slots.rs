//! Small facts that survive a crash in the middle of changing them: two slots, written in turn.
//!
//! Always true:
//! - the slots lie in different pages, so that a torn write leaves the other one whole
//! - the valid slot with the greater generation counts
//! - the generation that was synced last is never written over; one that is not synced yet may be

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
    /// Whether a power cut leaves that generation.
    synced: bool,
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
                synced: true,
            },
            slot,
        ))
    }

    /// Writes `slot`, whose magic, generation and checksum are filled in here, and syncs it.
    pub(crate) fn write(&mut self, slot: &mut [u8; N]) -> io::Result<()> {
        self.write_soon(slot)?;
        self.sync()
    }

    /// Writes `slot` so that it survives the process; [`sync`](Self::sync) makes it survive a power
    /// cut.
    pub(crate) fn write_soon(&mut self, slot: &mut [u8; N]) -> io::Result<()> {
        // Odd and even generations have a slot each: two further on is the same one.
        let generation = self.generation + if self.synced { 1 } else { 2 };
        put(slot, 0, self.magic);
        put(slot, 8, &generation.to_le_bytes());
        finish(slot);
        let at = if generation % 2 == 0 { 0 } else { SECOND };
        step_of("slots.write", self.magic)?;
        file::write_at(&self.file, slot, at as u64)?;
        (self.generation, self.synced) = (generation, false);
        Ok(())
    }

    /// Makes what was written survive a power cut.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        step_of("slots.sync", self.magic)?;
        file::sync_data(&self.file)?;
        self.synced = true;
        Ok(())
    }

    /// Whether a power cut leaves what was written last.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"SLOTTEST";

    fn slot(content: u8) -> [u8; 32] {
        let mut slot = [0; 32];
        slot[16] = content;
        slot
    }

    /// A power cut may take all that was written since the last sync, half of it in any slot.
    #[test]
    fn what_was_synced_is_never_written_over_before_something_newer_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slots");
        let (mut slots, none) = Slots::<32>::open(&path, MAGIC).unwrap();
        assert!(none.is_none());
        for content in 0..60u8 {
            let before = std::fs::read(&path).unwrap();
            let was_synced = slots.is_synced();
            // Three out of four are not synced.
            match content % 4 {
                0 => slots.write(&mut slot(content)).unwrap(),
                _ => slots.write_soon(&mut slot(content)).unwrap(),
            }
            let after = std::fs::read(&path).unwrap();
            assert_eq!(newest::<32>(&after, MAGIC).unwrap()[16], content);
            let changed = |at: usize| before[at..at + 32] != after[at..at + 32];
            assert!(changed(0) != changed(SECOND), "one slot changes");
            // The other slot has what a power cut leaves.
            let other = if changed(0) { SECOND } else { 0 };
            if content > 0 {
                let left = newest::<32>(&after[other..other + 32], MAGIC).unwrap()[16];
                let synced = if was_synced {
                    content - 1
                } else {
                    content - 1 - (content - 1) % 4
                };
                assert_eq!(left, synced, "beside {content}");
            }
        }
    }
}
