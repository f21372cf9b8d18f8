//! All rings of one open log: who has which, and what they may take together.
//!
//! Always true:
//! - a ring, once made, stays until the registry is dropped; threads come and go
//! - a thread gets a ring that is free and drained before a new one is made
//! - the memory of all rings and of the shared file stays below `total_bytes`, that of further
//!   rings of full threads below what `Overflow::Spill` allows
//! - the list is locked only for moments: making a ring (files, mappings) happens outside

mod memory;

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    doorbell::Doorbell,
    gate::Gate,
    layout::{at, Shape, HEADER_BYTES, NAMES_BYTES},
    lease::{lock, Lease, Ring},
    losses,
    options::{Options, Overflow},
    producer::Producer,
    shared::{self, Shared},
    spans::{self, OpenSpan},
    storage::{Memory, Writer},
};
use crate::{
    clock::Anchor,
    record::{
        id::{InstanceId, LogId},
        kinds::LossCause,
        layout::{is_held, RecordKind},
    },
    sync::{Arc, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering},
};

#[cfg(unix)]
use super::folder::Folder;

/// How long a new thread waits at the ceiling for the ring of a finished one.
const CEILING_PATIENCE: Duration = Duration::from_millis(if cfg!(loom) { 0 } else { 50 });

/// Part of all memory that rings may take which hold traces that are not sampled.
pub(super) const HELD_PART: usize = 4;

/// Why there is no registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The options are wrong.
    #[error("ring options: {}", .0.join("; "))]
    Options(Vec<String>),
    /// A thousand logs are open in this process.
    #[error("1,024 logs are open in this process, which is the most there can be")]
    TooMany,
}

/// An open span and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenInRing {
    /// Number of the ring.
    pub ring: u32,
    /// Slot in its table.
    pub slot: u16,
    /// The span.
    pub span: OpenSpan,
}

/// Why a thread gets no ring now.
enum Refused {
    /// The ceiling is reached.
    Full,
    /// The ceiling is reached, but rings of finished threads will be free when they are drained.
    NotDrained,
}

/// All rings of one open log. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    log: LogId,
    instance: InstanceId,
    gate: Gate,
    bell: Doorbell,
    shared: std::sync::Arc<Shared>,
    #[cfg(unix)]
    folder: Option<Folder>,
    book: Mutex<Book>,
    /// Bytes of rings that hold traces which are not sampled.
    held_bytes: AtomicU64,
    /// Rings in the book, so that the flusher need not lock it to see that there are no new ones.
    registered: AtomicU64,
    /// 1 when no flusher will drain any more.
    stopped: AtomicU32,
    #[cfg(all(test, not(loom)))]
    wraps: AtomicU32,
}

#[derive(Debug)]
struct Book {
    rings: Vec<Arc<Ring>>,
    numbers: u32,
    /// Bytes of all rings but the further ones, and of the shared file.
    bytes: usize,
    /// Bytes of further rings.
    further_bytes: usize,
    anchor: Anchor,
    refused: Option<String>,
    has_consumers: bool,
    /// Whether the files are gone.
    over: bool,
}

impl Registry {
    /// Makes the registry of one open of the log in `log_dir`. Where files are refused it falls
    /// back to memory that dies with the process, see [`stats`](Self::stats).
    ///
    /// # Errors
    /// If the options are wrong or too many logs are open.
    pub fn create(
        options: &Options,
        log: LogId,
        instance: InstanceId,
        log_dir: &Path,
        anchor: Anchor,
    ) -> Result<Self, CreateError> {
        let problems = options.validate();
        if !problems.is_empty() {
            return Err(CreateError::Options(problems));
        }
        let gate = Gate::new().ok_or(CreateError::TooMany)?;
        #[cfg(unix)]
        let (folder, shared, refused) = match Self::files(options, log, instance, log_dir, &gate) {
            Ok((folder, shared)) => (Some(folder), Some(shared), None),
            Err(why) => (None, None, Some(why)),
        };
        #[cfg(not(unix))]
        let (shared, refused) = {
            let _ = log_dir;
            let why = "this system has no shared memory that we use";
            (None, Some(why.to_owned()))
        };
        let shared = match shared {
            Some(shared) => shared,
            None => {
                let memory = Memory::heap(Shape::plain(HEADER_BYTES));
                Shared::counters(memory.map_err(|_| CreateError::TooMany)?, gate.clone())
            }
        };
        shared.set_anchor(&anchor);
        let shared = std::sync::Arc::new(shared);
        #[cfg(not(loom))]
        crate::record::names::table().attach(&shared);
        let book = Book {
            rings: Vec::new(),
            numbers: 0,
            bytes: NAMES_BYTES,
            further_bytes: 0,
            anchor,
            refused,
            has_consumers: false,
            over: false,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                options: options.clone(),
                log,
                instance,
                gate,
                bell: Doorbell::new(),
                shared,
                #[cfg(unix)]
                folder,
                book: Mutex::new(book),
                held_bytes: AtomicU64::new(0),
                registered: AtomicU64::new(0),
                stopped: AtomicU32::new(0),
                #[cfg(all(test, not(loom)))]
                wraps: AtomicU32::new(0),
            }),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.inner.book)
    }

    /// Options in force.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The word that recording tests.
    pub fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    /// Wakes the flusher.
    pub fn bell(&self) -> &Doorbell {
        &self.inner.bell
    }

    /// The instance whose rings these are.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// Gives the calling thread a ring; `None` if there is no room below the ceiling, or in a
    /// forked child. At the ceiling, rings of finished threads that only wait to be drained are
    /// worth a short wait of this new thread.
    pub fn lease(&self, thread_name: &str, thread: u64) -> Option<Producer> {
        if !self.gate().is_home() {
            return None;
        }
        let until = crate::clock::deadline(CEILING_PATIENCE);
        loop {
            match self.try_lease(thread_name, thread, false) {
                Ok(producer) => return Some(producer),
                Err(Refused::NotDrained) if Instant::now() < until => {
                    if super::is_engine_thread() || !self.drains() {
                        return None;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(_) => return None,
            }
        }
    }

    /// Gives the calling thread a ring that holds traces which are not sampled; `None` if there is
    /// no room for one, or in a forked child. It never waits.
    pub fn lease_held(&self, thread_name: &str, thread: u64) -> Option<Producer> {
        let home = self.gate().is_home();
        home.then(|| self.try_lease(thread_name, thread, true).ok())?
    }

    /// Whether half of what held rings may take is taken.
    pub(super) fn is_held_scarce(&self) -> bool {
        // Relaxed: a hint.
        let taken = self.inner.held_bytes.load(Ordering::Relaxed);
        taken as usize > self.options().total_bytes / HELD_PART / 2
    }

    fn try_lease(&self, thread_name: &str, thread: u64, held: bool) -> Result<Producer, Refused> {
        let mut undrained = false;
        let wanted = {
            let mut book = self.book();
            let mut free: Vec<&Arc<Ring>> = Vec::new();
            let fits = |ring: &&Arc<Ring>| !ring.further && is_held(ring.number) == held;
            for ring in book.rings.iter().filter(fits) {
                // Relaxed: a hint; `take` decides.
                let over = ring.memory.get(at::LEASE, Ordering::Relaxed) % 2 == 0;
                let drained = ring.memory.get(at::HEAD, Ordering::Relaxed)
                    == ring.memory.get(at::TAIL, Ordering::Relaxed);
                undrained |= over && !drained;
                if over && drained {
                    free.push(ring);
                }
            }
            // The largest is the best.
            free.sort_by_key(|ring| std::cmp::Reverse(ring.memory.shape().capacity));
            for ring in free {
                if let Some(writer) = ring.take(thread_name, thread) {
                    return Ok(Producer::new(self.clone(), Arc::clone(ring), writer));
                }
            }
            self.reserve(&mut book, held)
        };
        if undrained && !held {
            // Threads come and go faster than the flusher sleeps.
            self.bell().ring();
        }
        let Some((number, shape)) = wanted else {
            return Err(if undrained {
                Refused::NotDrained
            } else {
                Refused::Full
            });
        };
        let ring = self.make(number, shape, false).ok_or(Refused::Full)?;
        let writer = ring.take(thread_name, thread).ok_or(Refused::Full)?;
        let ring = self.add(ring);
        Ok(Producer::new(self.clone(), ring, writer))
    }

    /// A further ring for a thread whose ring is full.
    pub(super) fn further_ring(&self, lease: &Lease) -> Option<(Writer, Arc<Ring>)> {
        let Overflow::Spill { max_bytes } = self.options().overflow else {
            return None;
        };
        let take = |ring: &Ring| ring.take(&lease.thread_name, lease.thread);
        let shape = Shape::ring(self.options().ring_bytes, 0);
        let number = {
            let mut book = self.book();
            for ring in book.rings.iter().filter(|ring| ring.further) {
                if let Some(writer) = take(ring) {
                    return Some((writer, Arc::clone(ring)));
                }
            }
            if book.further_bytes + shape.bytes() > max_bytes {
                return None;
            }
            book.further_bytes += shape.bytes();
            book.numbers += 1;
            book.numbers - 1
        };
        let ring = self.make(number, shape, true)?;
        let writer = take(&ring)?;
        Some((writer, self.add(ring)))
    }

    fn add(&self, mut ring: Ring) -> Arc<Ring> {
        let mut book = self.book();
        ring.index = book.rings.len();
        shared::set_anchor(&ring.memory, &book.anchor);
        let ring = Arc::new(ring);
        book.rings.push(Arc::clone(&ring));
        // Relaxed: the list itself is locked. A flush that begins after a record happened sees
        // the count, because tickets synchronise.
        let count = book.rings.len() as u64;
        self.inner.registered.store(count, Ordering::Relaxed);
        ring
    }

    /// Rings that were added after the first `known`.
    pub(super) fn added(&self, known: usize) -> Vec<Arc<Ring>> {
        if !self.has_more_than(known) {
            return Vec::new();
        }
        self.book().rings[known..].to_vec()
    }

    /// Whether rings were added after the first `known`.
    pub(super) fn has_more_than(&self, known: usize) -> bool {
        // Relaxed: see `add`.
        self.inner.registered.load(Ordering::Relaxed) != known as u64
    }

    /// The leases that are in use.
    pub fn leases(&self) -> Vec<(u32, Lease)> {
        let rings = self.book().rings.clone();
        let used = rings.iter().map(|ring| (ring.number, ring.lease()));
        used.filter(|(_, lease)| lease.lease != 0).collect()
    }

    /// The one who drains; `None` for everyone but the first who asks.
    pub fn consumers(&self) -> Option<super::Consumers> {
        let first = !std::mem::replace(&mut self.book().has_consumers, true);
        first.then(|| super::Consumers::new(self.clone()))
    }

    /// Counts a record that was lost without a ring.
    pub fn lose(&self, cause: LossCause, kind: RecordKind) {
        self.inner.shared.lose(cause as u8, kind as u8);
    }

    /// Calls `each` with cause, kind and total of the losses that no ring counted.
    pub fn losses(&self, each: impl FnMut(u8, u8, u64)) {
        self.inner.shared.losses(each);
    }

    /// Calls `each` with cause, kind and total of all losses, in every ring and outside of them.
    pub fn all_losses(&self, mut each: impl FnMut(u8, u8, u64)) {
        let rings = self.book().rings.clone();
        for ring in &rings {
            losses::each(&ring.memory, &mut each);
        }
        self.losses(each);
    }

    /// Keeps the resource record beside the names, for whoever finds the rings after a crash.
    pub fn set_resource(&self, record: &[u64]) {
        self.inner.shared.write_record(record);
    }

    /// Leaves a sign of life for whoever finds the rings after a crash.
    pub fn beat(&self, tick: u64) {
        self.inner.shared.beat(tick);
    }

    /// Leaves the newest anchor in all headers.
    pub fn set_anchor(&self, anchor: &Anchor) {
        let mut book = self.book();
        book.anchor = *anchor;
        self.inner.shared.set_anchor(anchor);
        for ring in &book.rings {
            shared::set_anchor(&ring.memory, anchor);
        }
    }

    /// Nobody will drain any more: threads that wait for room give up.
    pub fn stop(&self) {
        // Relaxed: `ring` has a fence, and waits are bounded.
        self.inner.stopped.store(1, Ordering::Relaxed);
        let rings = self.book().rings.clone();
        for ring in rings {
            ring.room.ring();
        }
    }

    /// Whether somebody drains.
    pub(super) fn drains(&self) -> bool {
        // Relaxed: see `stop`.
        self.inner.stopped.load(Ordering::Relaxed) == 0
    }

    /// When nobody drains any more: takes the files away if everything in the rings was logged.
    /// What is in one stays there for the next open otherwise.
    ///
    /// # Errors
    /// If the folder cannot be emptied.
    pub fn close_drained(&self) -> io::Result<()> {
        {
            let mut book = self.book();
            // Relaxed: what a thread published before it last locked the book is seen here; one
            // that locks it later learns that it came too late (`Producer::too_late`).
            let get = |ring: &Ring, at| ring.memory.get(at, Ordering::Relaxed);
            let drained = |ring: &Arc<Ring>| get(ring, at::HEAD) == get(ring, at::TAIL);
            if !book.rings.iter().all(drained) {
                return Ok(());
            }
            book.over = true;
        }
        self.remove_files()
    }

    /// Whether the files are gone: what is published now nobody will ever read.
    pub(super) fn is_over(&self) -> bool {
        self.book().over
    }

    /// Takes the files away, after everything in them was logged. The memory stays usable.
    ///
    /// # Errors
    /// If the folder cannot be emptied.
    pub fn remove_files(&self) -> io::Result<()> {
        #[cfg(unix)]
        if let Some(folder) = self.inner.folder.as_ref() {
            if self.gate().is_home() {
                return folder.remove();
            }
        }
        Ok(())
    }

    /// What there is at the moment.
    pub fn stats(&self) -> super::Stats {
        let (rings, mut stats) = {
            let book = self.book();
            let stats = super::Stats {
                bytes: book.bytes,
                spill_bytes: book.further_bytes,
                not_crash_safe: book.refused.clone(),
                rings: Vec::new(),
            };
            (book.rings.clone(), stats)
        };
        stats.rings = rings.iter().map(|ring| ring.stats()).collect();
        stats
    }

    /// Spans that are open now, in all rings.
    pub fn open_spans(&self) -> Vec<OpenInRing> {
        let rings = self.book().rings.clone();
        let mut open = Vec::new();
        for ring in rings {
            for slot in 0..ring.memory.shape().slots as u16 {
                if let Some(span) = spans::read(&ring.memory, slot) {
                    let ring = ring.number;
                    open.push(OpenInRing { ring, slot, span });
                }
            }
        }
        open
    }

    /// Closes a span that ended on another thread than it began on, by the ring and slot that it
    /// was opened in and its start. Does nothing if that slot shows another span by now.
    pub fn close_open_span(&self, ring: u32, slot: u16, start: u64) {
        let book = self.book();
        if let Some(ring) = book.rings.iter().find(|r| r.number == ring) {
            spans::close_elsewhere(&ring.memory, slot, start);
        }
    }
}

#[cfg(all(test, not(loom)))]
impl Registry {
    /// Rings made from now on wrap.
    pub(super) fn wrap_for_tests(&self) {
        self.inner.wraps.store(1, Ordering::Relaxed);
    }

    pub(super) fn shared_for_tests(&self) -> &Shared {
        &self.inner.shared
    }

    pub(super) fn log_for_tests(&self) -> LogId {
        self.inner.log
    }

    pub(super) fn scribble_for_tests(&self, at: usize, value: u64) {
        self.book().rings[0]
            .memory
            .set(at, value, Ordering::Relaxed);
    }
}
