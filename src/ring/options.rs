//! What can be set about rings.

use std::{path::PathBuf, time::Duration};

use super::layout::{MAX_CAPACITY, NAMES_BYTES};

/// How much memory recording may take, and what happens when it is full.
///
/// The rings of one log take at most `total_bytes`, plus `max_bytes` of [`Overflow::Spill`].
/// (Tools that show resident memory count a ring's data twice, because it is mapped twice.)
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Data bytes of a thread's ring: how much a thread may be ahead of the flusher. A power of two
    /// from 16 KiB to 64 MiB, default 1 MiB. Threads that come when half of `total_bytes` is taken
    /// get 256 KiB, and 16 KiB when five eighths are.
    pub ring_bytes: usize,
    /// Bytes that all rings of this log and its name table may take together, default 64 MiB.
    /// At least twice `ring_bytes` plus 2 MiB. A thread that finds no room records nothing, and
    /// what it would have recorded is counted.
    pub total_bytes: usize,
    /// Longest record in bytes, default 64 KiB, from 512 to 512 KiB - 8. A ring never takes a
    /// record of more than half its size.
    pub max_record_bytes: usize,
    /// What a full ring does, default [`Overflow::DropNewest`].
    pub overflow: Overflow,
    /// Keeps rings in files under `dir`, so that a killed process loses nothing; default true.
    /// Where that is refused (no such folder, no space) rings fall back to memory that dies with
    /// the process, which [`RingStats`](super::RingStats) shows.
    pub crash_safe: bool,
    /// Folder for ring files, default `/dev/shm` on Linux and the temporary folder elsewhere.
    /// It should be memory: on a disk, write-back makes recording stall.
    pub dir: Option<PathBuf>,
    /// Open spans that each thread shows while they run, 0 to 64, default 63.
    pub open_spans: u32,
}

/// What recording does when the thread's ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The record is dropped and counted.
    #[default]
    DropNewest,
    /// The thread waits for room, but never longer than `timeout` (up to 60 s). After one wait in
    /// vain records are dropped until the flusher has moved again. Threads of the engine itself
    /// never wait.
    Block {
        /// Longest wait for one record.
        timeout: Duration,
    },
    /// The thread goes on in a further ring of `ring_bytes`.
    Spill {
        /// Bytes that further rings of this log may take together, beyond `total_bytes`; at least
        /// `ring_bytes` + 64 KiB. When they are taken, records are dropped and counted.
        max_bytes: usize,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            total_bytes: 64 << 20,
            max_record_bytes: 64 << 10,
            overflow: Overflow::DropNewest,
            crash_safe: true,
            dir: None,
            open_spans: 63,
        }
    }
}

/// Smallest ring; models fill it with a few words.
pub(crate) const MIN_RING: usize = if cfg!(loom) { 32 } else { 16 << 10 };
/// A record of up to so many words fits under every limit that `validate` lets through.
pub(crate) const ALWAYS_ALLOWED_WORDS: usize = 64;
/// Longest record that its size field can express.
const MAX_RECORD: usize = u16::MAX as usize * 8;

impl Options {
    /// Everything that is wrong with these options, one sentence each; nothing is changed.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, problem: String| {
            if !ok {
                problems.push(problem);
            }
        };
        let ring = self.ring_bytes;
        check(
            ring.is_power_of_two() && (MIN_RING..=MAX_CAPACITY).contains(&ring),
            format!(
                "ring_bytes is {ring}: expected a power of two from {MIN_RING} to {MAX_CAPACITY}"
            ),
        );
        let least = ring.saturating_mul(2).saturating_add(2 << 20);
        check(
            self.total_bytes >= least,
            format!(
                "total_bytes is {}: expected at least twice ring_bytes plus 2 MiB, {least}",
                self.total_bytes
            ),
        );
        let smallest = ALWAYS_ALLOWED_WORDS * 8;
        check(
            (smallest..=MAX_RECORD).contains(&self.max_record_bytes),
            format!(
                "max_record_bytes is {}: expected {smallest} to {MAX_RECORD}",
                self.max_record_bytes
            ),
        );
        check(
            self.open_spans <= 64,
            format!("open_spans is {}: expected 0 to 64", self.open_spans),
        );
        match self.overflow {
            Overflow::DropNewest => {}
            Overflow::Block { timeout } => check(
                timeout <= Duration::from_secs(60),
                format!("overflow: block timeout is {timeout:?}: expected at most 60 s"),
            ),
            Overflow::Spill { max_bytes } => check(
                max_bytes >= ring.saturating_add(64 << 10),
                format!("overflow: spill max_bytes is {max_bytes}: expected at least ring_bytes plus 64 KiB"),
            ),
        }
        problems
    }

    /// Folder that holds the folders of all users.
    pub(crate) fn base_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(default_dir)
    }
}

/// Where rings lie unless an option says otherwise.
pub(crate) fn default_dir() -> PathBuf {
    if cfg!(target_os = "linux") {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    }
}

// The name table and the smallest rings fit into what `validate` asks for.
const _: () = assert!(NAMES_BYTES + (64 << 10) < (2 << 20));
