//! The memory under a ring and the two ends that move records through it.
//!
//! Always true:
//! - the writer's `tail` and the reader's `head` are plain fields of their owners; each end only
//!   loads what the other one stores
//! - the writer touches data in `[tail, limit)`, the reader data in `[head, tail as captured)`,
//!   and `limit <= head as loaded + capacity`, so the two never meet
//! - whatever another process writes into the shared words, no access leaves the mapping
//!
//! All unsafe code of the stage but that of `wiped.rs` is in this file; loom's double of [`Memory`] is
//! `storage_loom.rs`. The table of fields and orderings is in `mod.rs`.

#![expect(
    unsafe_code,
    reason = "mapped memory that a producer and a consumer share without a lock"
)]

use std::ptr::NonNull;
#[cfg(not(loom))]
use std::{alloc, io};

use super::layout::at;
#[cfg(not(loom))]
use super::layout::{Shape, SPAN_WORDS};
use crate::sync::{fence_at, ord, Arc, AtomicU64, Ordering};

#[cfg(loom)]
#[path = "storage_loom.rs"]
mod model;
#[cfg(loom)]
pub use model::{Cells, Memory, Words};

/// Words as the reader hands them out.
#[cfg(not(loom))]
pub type Words<'a> = &'a [u64];

/// Header page, open-span slots and data of one ring, or any other shared words.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Memory {
    /// First byte.
    ///
    /// Invariant: points to `shape.bytes()` initialised bytes, aligned to 4096, that live until
    /// this value is dropped; if `mirrored`, `shape.capacity` more follow which are the data area
    /// a second time. The part ahead of the data is at least a header page and is only ever
    /// accessed as atomics.
    base: NonNull<u8>,
    shape: Shape,
    mirrored: bool,
    mapped: bool,
}

// SAFETY: the words ahead of the data are atomics; the data is reached only through `Writer` and
// `Reader`, whose protocol keeps them apart.
#[cfg(not(loom))]
unsafe impl Send for Memory {}
// SAFETY: as above; a shared reference gives access to atomics only.
#[cfg(not(loom))]
unsafe impl Sync for Memory {}

#[cfg(not(loom))]
impl Memory {
    /// Memory that dies with the process, not mapped twice.
    pub fn heap(shape: Shape) -> io::Result<Self> {
        let layout = Self::heap_layout(shape)?;
        // SAFETY: the size is not zero: `data_at` is at least a page (checked by `heap_layout`).
        let base = unsafe { alloc::alloc_zeroed(layout) };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: `base` covers `layout.size()` bytes, nobody else has it yet. Writing them all
        // takes the page faults now instead of in the middle of a recording.
        unsafe { base.as_ptr().write_bytes(0, layout.size()) };
        Ok(Self {
            base,
            shape,
            mirrored: false,
            mapped: false,
        })
    }

    fn heap_layout(shape: Shape) -> io::Result<alloc::Layout> {
        if !shape.is_sound() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        alloc::Layout::from_size_align(shape.bytes(), 4096)
            .map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// Maps a file whose `shape.bytes()` bytes are reserved, the data twice in a row where pages
    /// allow it.
    #[cfg(unix)]
    pub fn map(file: std::os::fd::BorrowedFd<'_>, shape: Shape) -> io::Result<Self> {
        use rustix::mm;
        if !shape.is_sound() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = rustix::param::page_size();
        let whole_pages = shape.data_at % page == 0 && shape.capacity % page == 0;
        let mirrored = cfg!(target_os = "linux") && shape.capacity > 0 && whole_pages;
        let again = if mirrored { shape.capacity } else { 0 };
        let flags = mm::MapFlags::SHARED | mm::MapFlags::FIXED;
        #[cfg(target_os = "linux")]
        let flags = flags | mm::MapFlags::POPULATE;
        let access = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping without access rights, at a place that the kernel picks.
        let base = unsafe {
            mm::mmap_anonymous(
                std::ptr::null_mut(),
                shape.bytes() + again,
                mm::ProtFlags::empty(),
                mm::MapFlags::PRIVATE,
            )
        }?;
        let memory = Self {
            base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            shape,
            mirrored,
            mapped: true,
        };
        // From here on dropping `memory` takes the whole reservation away, also after an error.
        // SAFETY: replaces the first `shape.bytes()` bytes of our own reservation.
        unsafe { mm::mmap(base, shape.bytes(), access, flags, file, 0) }?;
        if mirrored {
            // SAFETY: the reservation has `capacity` bytes behind `shape.bytes()`.
            let behind = unsafe { base.byte_add(shape.bytes()) };
            // SAFETY: replaces those bytes of our own reservation; the offset is a whole page.
            unsafe { mm::mmap(behind, again, access, flags, file, shape.data_at as u64) }?;
        }
        Ok(memory)
    }

    /// Division of the memory.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether the data area is mapped twice in a row, so that no record has to wrap.
    pub fn mirrored(&self) -> bool {
        self.mirrored
    }

    /// The header page.
    #[inline(always)]
    pub fn header(&self) -> &[AtomicU64; at::WORDS] {
        // SAFETY: `base` covers at least one page ahead of the data (checked at creation), is
        // aligned, lives as long as `self`, and is only accessed as atomics.
        unsafe { self.base.cast().as_ref() }
    }

    /// All words ahead of the data.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: as in `header`, for `data_at` bytes.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.shape.data_at / 8) }
    }

    /// One open-span slot.
    #[inline(always)]
    pub fn span_slot(&self, slot: usize) -> &[AtomicU64; SPAN_WORDS] {
        assert!(slot < self.shape.slots as usize);
        // SAFETY: `data_at` covers the header page and `slots` slots (checked at creation).
        unsafe {
            self.base
                .add(super::layout::HEADER_BYTES + slot * SPAN_WORDS * 8)
                .cast()
                .as_ref()
        }
    }

    fn cells(&self) -> Cells {
        Cells {
            // SAFETY: `data_at` lies inside the memory.
            first: unsafe { self.base.add(self.shape.data_at) },
            mask: (self.shape.capacity as u64).wrapping_sub(1),
        }
    }
}

#[cfg(not(loom))]
impl Drop for Memory {
    fn drop(&mut self) {
        #[cfg(unix)]
        if self.mapped {
            let again = if self.mirrored {
                self.shape.capacity
            } else {
                0
            };
            // SAFETY: exactly the reservation that `map` made; nothing points into it any more,
            // because both ends hold an `Arc` of this value.
            let _ = unsafe {
                rustix::mm::munmap(self.base.as_ptr().cast(), self.shape.bytes() + again)
            };
            return;
        }
        if let Ok(layout) = Self::heap_layout(self.shape) {
            // SAFETY: allocated by `heap` with this layout.
            unsafe { alloc::dealloc(self.base.as_ptr(), layout) };
        }
    }
}

/// The data area, addressed by ring position.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    /// First byte of the data; see `Memory::base`.
    first: NonNull<u8>,
    /// Capacity - 1.
    mask: u64,
}

#[cfg(not(loom))]
impl Cells {
    /// Lets `fill` write `words` words at `position`.
    ///
    /// # Safety
    /// The memory is alive, the words lie inside it (with its mirror, if it has one), `position`
    /// is a multiple of eight, and nobody else touches them meanwhile.
    #[inline(always)]
    unsafe fn fill(&self, position: u64, words: usize, fill: impl FnOnce(&mut [u64])) {
        // SAFETY: promised by the caller.
        let at = unsafe { self.first.add((position & self.mask) as usize) };
        // SAFETY: promised by the caller; `first` is 4096-aligned and any bytes are valid words.
        fill(unsafe { std::slice::from_raw_parts_mut(at.as_ptr().cast(), words) });
    }

    /// The words at `position`.
    ///
    /// # Safety
    /// As for `fill`, for the lifetime `'a`; others may read too.
    #[inline(always)]
    unsafe fn read<'a>(&self, position: u64, words: usize) -> Words<'a> {
        // SAFETY: promised by the caller.
        let at = unsafe { self.first.add((position & self.mask) as usize) };
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(at.as_ptr().cast(), words) }
    }
}

impl Memory {
    /// A number in the header page.
    #[inline(always)]
    pub fn get(&self, at: usize, ordering: Ordering) -> u64 {
        u64::from_le(self.header()[at].load(ordering))
    }

    /// Sets a number in the header page.
    #[inline(always)]
    pub fn set(&self, at: usize, value: u64, ordering: Ordering) {
        self.header()[at].store(value.to_le(), ordering);
    }
}

/// The producer's end. One exists while the ring's lease is odd.
#[derive(Debug)]
pub struct Writer {
    /// Bytes written; stored to the header by `write`.
    ///
    /// Invariant: `tail <= limit`; both are multiples of eight.
    tail: u64,
    /// Where the fast path ends.
    ///
    /// Invariant: at most `free_to`, and at most the end of the area when it is not mirrored.
    limit: u64,
    cells: Cells,
    /// The tail in the header, alive as long as `memory`.
    #[cfg(not(loom))]
    published: NonNull<AtomicU64>,
    /// Released by the consumer as last loaded, plus the capacity; the data below it is ours.
    free_to: u64,
    lease: u32,
    memory: Arc<Memory>,
}

// SAFETY: the pointers lead into `memory`, which any thread may use.
#[cfg(not(loom))]
unsafe impl Send for Writer {}

impl Writer {
    /// Takes over a ring that nobody has and that is drained.
    pub fn take(memory: &Arc<Memory>) -> Option<Self> {
        // Acquire: meets the Release in `end`. All that the last producer stored (its tail, its
        // counters) is visible here before the ring is ours.
        let lease = memory.get(at::LEASE, ord!(LeaseTake, Acquire));
        // Relaxed: nobody stores to the tail of a free ring.
        let tail = memory.get(at::TAIL, Ordering::Relaxed);
        // Relaxed: compared only; `reload` loads it again before data is touched.
        let drained = memory.get(at::HEAD, Ordering::Relaxed) == tail;
        if lease % 2 == 1 || !drained || tail % 8 != 0 || tail > 1 << 62 {
            return None;
        }
        let next = (lease as u32).wrapping_add(1);
        // Relaxed: the load above synchronised, and numbers only grow, so an equal number means
        // that nobody was here in between.
        memory.header()[at::LEASE]
            .compare_exchange(
                lease.to_le(),
                u64::from(next).to_le(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .ok()?;
        // A marker that the last producer prepared and never published must not be believed.
        memory.set(at::WRAP, u64::MAX, Ordering::Relaxed);
        let mut writer = Self {
            tail,
            limit: tail,
            cells: memory.cells(),
            #[cfg(not(loom))]
            published: NonNull::from(&memory.header()[at::TAIL]),
            free_to: tail,
            lease: next,
            memory: Arc::clone(memory),
        };
        writer.reload();
        Some(writer)
    }

    /// The lease that this writer holds.
    pub fn lease(&self) -> u32 {
        self.lease
    }

    /// The memory that it writes to.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Bytes written since the ring was made.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Whether `words` words may be written without looking at the consumer again.
    #[inline(always)]
    pub fn fits(&self, words: usize) -> bool {
        words as u64 <= (self.limit - self.tail) / 8
    }

    /// Writes and publishes one record. If `fill` panics nothing is published.
    ///
    /// # Panics
    /// If it does not fit, see [`fits`](Self::fits).
    #[inline(always)]
    pub fn write(&mut self, words: usize, fill: impl FnOnce(&mut [u64])) {
        assert!(self.fits(words));
        // SAFETY: `[tail, tail + 8 * words)` lies below `limit`: inside the area or its mirror,
        // and below `free_to`, so the consumer is done with it and has not been shown it again.
        // `&mut self` keeps other writers out, `memory` keeps it alive.
        unsafe { self.cells.fill(self.tail, words, fill) };
        self.tail += words as u64 * 8;
        // Release: meets the Acquire in `Reader::readable`. The record's bytes are visible there
        // before the new tail is.
        self.published()
            .store(self.tail.to_le(), ord!(Publish, Release));
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn published(&self) -> &AtomicU64 {
        // SAFETY: points into `self.memory`.
        unsafe { self.published.as_ref() }
    }

    #[cfg(loom)]
    fn published(&self) -> &AtomicU64 {
        &self.memory.header()[at::TAIL]
    }

    /// Looks at the consumer again; returns the bytes that it has not released.
    pub fn reload(&mut self) -> u64 {
        let capacity = self.memory.shape().capacity as u64;
        // Acquire: meets the Release in `Reader::release`. The consumer's reads of what it
        // released are over before we write there.
        let head = self.memory.get(at::HEAD, ord!(Room, Acquire));
        let fill = self.tail.wrapping_sub(head);
        if head % 8 == 0 && fill <= capacity && self.lease % 2 == 1 {
            self.free_to = head + capacity;
            self.set_limit(self.free_to);
            fill
        } else {
            // Foreign bytes in the header, or the lease is over; what we knew before still holds.
            self.set_limit(self.free_to);
            capacity
        }
    }

    /// Takes back what the consumer has not read, when there is no consumer any more; false if
    /// it has read everything. Nothing fits afterwards.
    pub fn take_back(&mut self) -> bool {
        // Relaxed: its last store is long over, as the caller learned under a lock.
        let head = self.memory.get(at::HEAD, Ordering::Relaxed);
        if head == self.tail || head % 8 != 0 || head > self.tail {
            return false;
        }
        self.tail = head;
        self.limit = head;
        // Relaxed: nobody reads what it could make visible.
        self.published().store(head.to_le(), Ordering::Relaxed);
        true
    }

    /// Moves on to the start of the area if a record would straddle its end and there is room for
    /// that. Never needed in mirrored memory.
    pub fn wrap(&mut self, words: usize) {
        let capacity = self.memory.shape().capacity as u64;
        let end = (self.tail | (capacity - 1)) + 1;
        let bytes = words as u64 * 8;
        if self.memory.mirrored() || self.tail + bytes <= end || end + bytes > self.free_to {
            return;
        }
        // SAFETY: one word at `tail`: `end` is a multiple of eight above it and, as just checked,
        // lies below `free_to`.
        unsafe { self.cells.fill(self.tail, 1, |word| word[0] = 0) };
        // Relaxed: published with the record behind it.
        self.memory.set(at::WRAP, self.tail, Ordering::Relaxed);
        self.tail = end;
        self.set_limit(self.free_to);
    }

    /// Ends the fast path at `limit`, or earlier where it has to.
    pub fn set_limit(&mut self, limit: u64) {
        let mut limit = limit.min(self.free_to);
        if !self.memory.mirrored() {
            let capacity = self.memory.shape().capacity as u64;
            limit = limit.min((self.tail | (capacity - 1)) + 1);
        }
        self.limit = limit.max(self.tail);
    }

    /// Gives the ring back; nothing fits into it any more. Dropping a writer without this leaves
    /// the ring leased for ever, which is what a forked child must do with its parent's.
    pub fn end(&mut self) {
        if self.lease % 2 == 1 {
            self.lease = self.lease.wrapping_add(1);
            self.free_to = self.tail;
            self.limit = self.tail;
            // Release: meets the Acquire in `take`. Whatever this producer stored is visible to
            // the next one.
            self.memory
                .set(at::LEASE, self.lease.into(), ord!(LeaseOver, Release));
        }
    }
}

/// The consumer's end. There is exactly one.
#[derive(Debug)]
pub struct Reader {
    /// Bytes released.
    head: u64,
    /// Sequence of the record at `head`.
    sequence: u64,
    /// Tail as last captured.
    ///
    /// Invariant: `head <= tail <= head + capacity`, all multiples of eight.
    tail: u64,
    /// Skipped part between two records, if the captured bytes wrap: (from, to).
    gap: (u64, u64),
    slot: usize,
    memory: Arc<Memory>,
}

/// What a ring holds, captured at one moment.
#[derive(Debug)]
pub struct Readable<'a> {
    /// Whole records.
    pub first: Words<'a>,
    /// Whole records that come after those; empty in mirrored memory.
    pub second: Words<'a>,
    /// The lease under which all of them were written.
    pub lease: u32,
    /// Sequence of the first record.
    pub first_sequence: u64,
}

impl Reader {
    /// The one reader of this memory.
    pub fn of(memory: Memory) -> (Arc<Memory>, Self) {
        let memory = Arc::new(memory);
        let reader = Self {
            head: 0,
            sequence: 0,
            tail: 0,
            gap: (0, 0),
            slot: 0,
            memory: Arc::clone(&memory),
        };
        (memory, reader)
    }

    /// Where the captured bytes end.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes released.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Captures what was published.
    pub fn capture(&mut self) {
        let capacity = self.memory.shape().capacity as u64;
        // Acquire: meets the Release in `Writer::write`.
        let tail = self.memory.get(at::TAIL, ord!(Readable, Acquire));
        let fill = tail.wrapping_sub(self.head);
        // Anything else is not ours; then there is nothing to read.
        self.tail = if tail % 8 == 0 && fill <= capacity {
            tail
        } else {
            self.head
        };
        let end = (self.head | (capacity - 1)) + 1;
        self.gap = (self.tail, self.tail);
        if !self.memory.mirrored() && self.tail > end {
            // Relaxed: stored before the tail that was just loaded; a later marker would need
            // room that this reader has not released.
            let wrap = self.memory.get(at::WRAP, Ordering::Relaxed);
            let real = wrap % 8 == 0 && (self.head..end).contains(&wrap);
            self.gap = (if real { wrap } else { end }, end);
        }
    }

    /// Captures nothing.
    pub fn capture_nothing(&mut self) {
        self.tail = self.head;
        self.gap = (self.tail, self.tail);
    }

    /// What was captured and not released since.
    pub fn captured(&self) -> Readable<'_> {
        // Relaxed: the lease of unreleased records cannot change hands (`Writer::take` refuses),
        // it can only end.
        let lease = self.memory.get(at::LEASE, Ordering::Relaxed) as u32;
        let cells = self.memory.cells();
        let words = |from: u64, to: u64| (to.saturating_sub(from) / 8) as usize;
        let (first_end, second_start) = (self.gap.0, self.gap.1.max(self.head));
        // SAFETY: `[head, gap.0)` was published (the Acquire in `capture`) and is not written
        // again before `release` stores a head beyond it, which needs `&mut self` and so comes
        // after `'_`. It does not pass the end of the area unless that is mirrored.
        let first = unsafe { cells.read(self.head, words(self.head, first_end)) };
        // SAFETY: likewise for `[gap.1, tail)`, which lies behind the start of the area.
        let second = unsafe { cells.read(second_start, words(second_start, self.tail)) };
        Readable {
            first,
            second,
            lease: if lease % 2 == 1 {
                lease
            } else {
                lease.wrapping_sub(1)
            },
            first_sequence: self.sequence,
        }
    }

    /// Gives `bytes` of records, `records` in number, from the start of what was captured back to
    /// the producer.
    ///
    /// # Panics
    /// If more is released than was captured.
    pub fn release(&mut self, bytes: u64, records: u64) {
        if bytes == 0 {
            return;
        }
        let mut head = self.head + bytes;
        if self.head <= self.gap.0 && head >= self.gap.0 {
            head += self.gap.1 - self.gap.0;
        }
        assert!(head <= self.tail && bytes % 8 == 0);
        self.head = head;
        self.sequence += records;
        self.slot = 1 - self.slot;
        let slot = at::SLOTS + 2 * self.slot;
        // Relaxed: the slot that does not count yet; the head below makes it count.
        self.memory.set(slot, self.head, Ordering::Relaxed);
        self.memory.set(slot + 1, self.sequence, Ordering::Relaxed);
        // Release: meets the Acquire in `Writer::reload`. Our reads of the released bytes are over
        // before the producer sees them free; a reader of a dead process finds the slot whole.
        self.memory.set(at::HEAD, self.head, ord!(Release, Release));
        // Release: meets the Acquire fence in `slots::settled`. The next call writes to the slot of
        // the head before this one; whoever sees that sees this head.
        fence_at!(SlotBegin, Release);
    }
}
