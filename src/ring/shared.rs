//! The file `names`: what an instance shares beside its rings.
//!
//! Name definitions, losses that no ring can count, the newest clock anchors, the last sign of
//! life, and which directory the log lives in. Where shared memory is refused, the same counters
//! stand in plain memory and the names are not kept.

use std::sync::PoisonError;

use super::{gate::Gate, layout::at, losses, storage::Memory};
use crate::{
    clock::Anchor,
    record::{
        layout::{RecordKind, RECORD_VERSION},
        names::NameSink,
    },
    sync::{fence_at, ord, AtomicU64, Mutex, Ordering},
};

/// See the module.
#[derive(Debug)]
pub struct Shared {
    memory: Memory,
    keeps_names: bool,
    /// Bytes of names written, for whoever writes the next one.
    written: Mutex<u64>,
    gate: Gate,
}

impl Shared {
    /// Names and counters in this memory.
    pub fn over(memory: Memory, gate: Gate) -> Self {
        Self {
            memory,
            keeps_names: true,
            written: Mutex::new(0),
            gate,
        }
    }

    /// Counters only, in memory that dies with the process.
    pub fn counters(memory: Memory, gate: Gate) -> Self {
        Self {
            memory,
            keeps_names: false,
            written: Mutex::new(0),
            gate,
        }
    }

    /// Counts a record that was lost without a ring.
    pub fn lose(&self, cause: u8, kind: u8) {
        if self.gate.is_home() {
            // Relaxed: counters, read for display and reports only.
            let counter = &self.memory.header()[at::loss(cause, kind)];
            if cfg!(target_endian = "little") {
                counter.fetch_add(1, Ordering::Relaxed);
            } else {
                let add = |n: u64| Some((u64::from_le(n) + 1).to_le());
                let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            }
        }
    }

    /// Calls `each` with cause, kind and total of all losses that no ring counted.
    pub fn losses(&self, each: impl FnMut(u8, u8, u64)) {
        losses::each(&self.memory, each);
    }

    /// Says that the flusher is alive.
    pub fn beat(&self, tick: u64) {
        // Relaxed: for display after a crash.
        self.memory.set(at::ALIVE, tick, Ordering::Relaxed);
    }

    /// Leaves the newest anchor for recovery.
    pub fn set_anchor(&self, anchor: &Anchor) {
        set_anchor(&self.memory, anchor);
    }

    /// Words of name records that are committed, for readers in this process.
    pub fn committed_names(&self) -> &[AtomicU64] {
        // Acquire: meets the Release in `write_name`.
        let bytes = u64::from_le(self.memory.words()[at::COMMITTED].load(ord!(NamesSeen, Acquire)));
        let names = &self.memory.words()[at::NAMES..];
        &names[..(bytes as usize / 8).min(names.len())]
    }

    /// Writes down a definition; called with the table of names locked.
    pub fn write_name(&self, id: u32, text: &str) {
        let size = 2 + text.len().div_ceil(8);
        let head = size as u64
            | (RecordKind::Name as u64) << 16
            | u64::from(RECORD_VERSION) << 24
            | u64::from(id) << 32;
        self.append(size, |words| {
            // Relaxed, also in `put_bytes`: published by `append`.
            words[0].store(head.to_le(), Ordering::Relaxed);
            words[1].store((text.len() as u64).to_le(), Ordering::Relaxed);
            put_bytes(words, 2, text.as_bytes());
        });
    }

    /// Writes down another record that explains those in the rings.
    pub fn write_record(&self, record: &[u64]) {
        self.append(record.len(), |words| {
            for (word, value) in words.iter().zip(record) {
                // Relaxed: published by `append`.
                word.store(*value, Ordering::Relaxed);
            }
        });
    }

    /// Lets `put` store `size` words behind what was written so far, if there is room.
    fn append(&self, size: usize, put: impl FnOnce(&[AtomicU64])) {
        if !self.keeps_names || !self.gate.is_home() {
            return;
        }
        let words = self.memory.words();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let start = at::NAMES + *written as usize / 8;
        let Some(space) = words.get(start..start + size) else {
            return;
        };
        put(space);
        // Release: meets the Acquire of whoever reads names. The text is there before it counts.
        *written += size as u64 * 8;
        words[at::COMMITTED].store(written.to_le(), ord!(NamesCommit, Release));
    }
}

/// The file, where shared memory is one.
#[cfg(unix)]
mod file {
    use std::{
        os::{fd::AsFd, unix::ffi::OsStrExt},
        path::Path,
    };

    use super::{
        super::{
            folder::{self, Folder},
            layout::{self, at, Shape},
        },
        put_bytes, Gate, Memory, Ordering, Shared,
    };
    use crate::record::id::{InstanceId, LogId};

    impl Shared {
        /// Makes the file.
        pub fn create(
            folder: &Folder,
            log: LogId,
            instance: InstanceId,
            log_dir: &Path,
            gate: Gate,
        ) -> std::io::Result<Self> {
            let shape = Shape::plain(layout::NAMES_BYTES);
            let file = folder.create_file(folder::NAMES, shape.bytes())?;
            let memory = Memory::map(file.as_fd(), shape)?;
            let mut identity = [0; 48];
            identity[..16].copy_from_slice(&layout::start(layout::NAMES_MAGIC, 0));
            identity[16..32].copy_from_slice(&log.0);
            identity[32..].copy_from_slice(&instance.0);
            put_bytes(memory.words(), 0, &identity);
            let path = log_dir.as_os_str().as_bytes();
            if path.len() <= layout::HEADER_BYTES - at::LOG_PATH * 8 - 8 {
                put_bytes(memory.words(), at::LOG_PATH + 1, path);
                memory.set(at::LOG_PATH, path.len() as u64, Ordering::Relaxed);
            }
            Ok(Self::over(memory, gate))
        }
    }
}

impl NameSink for Shared {
    fn define(&self, id: u32, text: &str) {
        self.write_name(id, text);
    }
}

/// Stores bytes, padded with zeros, from word `at` on.
pub fn put_bytes(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    for (word, chunk) in words[at..].iter().zip(bytes.chunks(8)) {
        let mut whole = [0; 8];
        whole[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
    }
}

/// Writes the anchor slot that does not count, then makes it count.
pub fn set_anchor(memory: &Memory, anchor: &Anchor) {
    // Relaxed: one writer at a time, the flusher or whoever makes the ring.
    let generation = memory.get(at::ANCHOR_GENERATION, Ordering::Relaxed) + 1;
    let slot = at::ANCHORS + 3 * (generation % 2) as usize;
    // Release: meets the Acquire fence in `slots::settled`. Whoever sees one of the stores below
    // sees that the generation which this slot belonged to is over.
    fence_at!(AnchorBegin, Release);
    memory.set(slot, anchor.tick, Ordering::Relaxed);
    memory.set(slot + 1, anchor.unix_ns as u64, Ordering::Relaxed);
    memory.set(slot + 2, anchor.rate, Ordering::Relaxed);
    // Release: readers in other processes find the slot whole.
    memory.set(
        at::ANCHOR_GENERATION,
        generation,
        ord!(AnchorCommit, Release),
    );
}
