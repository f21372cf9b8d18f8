//! Loom's double of the memory: cells that notice when both ends touch them at once.

#![allow(missing_docs)] // as in `storage`

use std::io;

use loom::cell::UnsafeCell;

use super::super::layout::{at, Shape, SPAN_WORDS};
use crate::sync::{Arc, AtomicU64};

/// Words as the reader hands them out: copied, so that loom sees when they were read.
pub type Words<'a> = std::borrow::Cow<'a, [u64]>;

/// See the real one.
#[derive(Debug)]
pub struct Memory {
    header: Box<[AtomicU64; at::WORDS]>,
    all: Vec<AtomicU64>,
    slots: Vec<[AtomicU64; SPAN_WORDS]>,
    cells: Cells,
    shape: Shape,
    mirrored: bool,
}

impl Memory {
    /// Memory in which records wrap.
    pub fn heap(shape: Shape) -> io::Result<Self> {
        Ok(Self::new(shape, false))
    }

    /// Memory that behaves as if its data were mapped twice, or not.
    pub fn new(shape: Shape, mirrored: bool) -> Self {
        let cells = (0..shape.capacity / 8).map(|_| UnsafeCell::new(0));
        let slot = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            header: Box::new(std::array::from_fn(|_| AtomicU64::new(0))),
            all: (0..at::WORDS + 16).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..shape.slots).map(slot).collect(),
            cells: Cells(Arc::new(cells.collect())),
            shape,
            mirrored,
        }
    }

    /// Refused.
    #[cfg(unix)]
    pub fn map(_: std::os::fd::BorrowedFd<'_>, _: Shape) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn mirrored(&self) -> bool {
        self.mirrored
    }

    pub fn header(&self) -> &[AtomicU64; at::WORDS] {
        &self.header
    }

    pub fn words(&self) -> &[AtomicU64] {
        &self.all
    }

    pub fn span_slot(&self, slot: usize) -> &[AtomicU64; SPAN_WORDS] {
        &self.slots[slot]
    }

    pub(super) fn cells(&self) -> Cells {
        self.cells.clone()
    }
}

/// The data area.
#[derive(Clone, Debug)]
pub struct Cells(Arc<Vec<UnsafeCell<u64>>>);

// SAFETY: loom's cells panic when two threads touch one at once, which is what they are here for.
unsafe impl Send for Cells {}
// SAFETY: as above.
unsafe impl Sync for Cells {}

impl Cells {
    fn cell(&self, position: u64, word: usize) -> &UnsafeCell<u64> {
        &self.0[(position as usize / 8 + word) % self.0.len()]
    }

    /// # Safety
    /// None here: loom checks what the real one demands.
    pub(super) unsafe fn fill(&self, position: u64, words: usize, fill: impl FnOnce(&mut [u64])) {
        let mut buffer = vec![0; words];
        fill(&mut buffer);
        for (i, value) in buffer.into_iter().enumerate() {
            // SAFETY: loom panics if anyone else has the cell.
            self.cell(position, i)
                .with_mut(|cell| unsafe { *cell = value });
        }
    }

    /// # Safety
    /// None here: loom checks what the real one demands.
    pub(super) unsafe fn read<'a>(&self, position: u64, words: usize) -> Words<'a> {
        // SAFETY: loom panics if anyone writes to the cell.
        let word = |i| self.cell(position, i).with(|cell| unsafe { *cell });
        (0..words).map(word).collect::<Vec<_>>().into()
    }
}
