//! Where a scan gets the bytes of a segment from: memory, or a file read piece by piece.
//!
//! Always true:
//! - however long a segment is, a scan of its file holds a frame or a window of it in memory
//! - what cannot be read is zeros, so that it fails its checksum and is counted as damage

use std::fs::File;

use crate::record::view::{bytes_of, bytes_of_mut};

use super::{
    file,
    layout::{HEADER_BYTES, OPENING_AT},
    map::ReadMap,
};

/// Bytes by their offset in the segment.
pub(super) trait Source {
    /// Bytes `from..to`, beginning at a multiple of eight in memory if `from` is one. `None`
    /// where there are no such bytes.
    fn bytes(&mut self, from: u64, to: u64) -> Option<&[u8]>;

    /// The part of the header that repeats what the first frame begins with.
    fn opening(&mut self) -> Vec<u8> {
        let opening = self.bytes(OPENING_AT, HEADER_BYTES);
        opening.unwrap_or_default().to_vec()
    }
}

impl Source for &ReadMap {
    fn bytes(&mut self, from: u64, to: u64) -> Option<&[u8]> {
        ReadMap::bytes(self, from, to)
    }

    fn opening(&mut self) -> Vec<u8> {
        ReadMap::opening(self)
    }
}

/// A file, read in windows and not mapped, so that a bad sector is damage and not a signal.
#[derive(Debug)]
pub(super) struct Window<'a> {
    file: &'a File,
    words: Vec<u64>,
    start: u64,
    len: usize,
}

impl<'a> Window<'a> {
    /// Least bytes that are read at once.
    const LEAST: usize = 1 << 20;

    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            words: Vec::new(),
            start: 0,
            len: 0,
        }
    }

    fn load(&mut self, from: u64, to: u64) {
        self.start = from & !7;
        let wanted = usize::try_from(to - self.start).unwrap_or(usize::MAX);
        self.len = wanted.max(Self::LEAST).next_multiple_of(8);
        self.words.resize(self.len / 8, 0);
        let bytes = &mut bytes_of_mut(&mut self.words)[..self.len];
        read_or_zero(self.file, bytes, self.start);
    }

    /// Calls `each` with the bytes `from..to` in pieces and their offsets.
    pub(super) fn pieces<E>(
        &mut self,
        from: u64,
        to: u64,
        mut each: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = from;
        while at < to {
            let next = to.min(at + Self::LEAST as u64 / 2);
            if let Some(bytes) = self.bytes(at, next) {
                each(bytes, at)?;
            }
            at = next;
        }
        Ok(())
    }
}

impl Source for Window<'_> {
    fn bytes(&mut self, from: u64, to: u64) -> Option<&[u8]> {
        if from > to {
            return None;
        }
        if from < self.start || to > self.start + self.len as u64 {
            self.load(from, to);
        }
        let at = (from - self.start) as usize;
        bytes_of(&self.words).get(at..at + (to - from) as usize)
    }
}

/// Fills `bytes` from the file, with zeros where it ends or cannot be read.
fn read_or_zero(file: &File, bytes: &mut [u8], at: u64) {
    const SECTOR: usize = 4096;
    if let Ok(read) = file::read_up_to(file, bytes, at) {
        bytes[read..].fill(0);
        return;
    }
    for (i, sector) in bytes.chunks_mut(SECTOR).enumerate() {
        let read = file::read_up_to(file, sector, at + (i * SECTOR) as u64);
        sector[read.unwrap_or(0)..].fill(0);
    }
}
