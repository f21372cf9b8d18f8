//! What another process left in its rings, or has in them now.
//!
//! Always true:
//! - files are only read, never mapped and never written, so nothing that their owner or anybody
//!   else does to them can hurt the reader
//! - any bytes are accepted: what makes no sense is left out and named in `problems`
//! - of a process that lives, only records are returned that were not released while they were
//!   copied, so none of them is torn
//!
//! Who owns what is left: whoever holds the lock of the log's directory.

use std::{io, path::Path, path::PathBuf};

use super::spans::OpenSpan;
use crate::{
    clock::Anchor,
    record::{
        id::{InstanceId, LogId},
        peek,
        view::bytes_of,
        Record,
    },
};

#[cfg(unix)]
use super::folder::Folder;

/// What one instance left.
#[derive(Debug)]
pub struct LeftInstance {
    /// Its log.
    pub log: LogId,
    /// Its id.
    pub instance: InstanceId,
    /// The log's directory, if it is known.
    pub log_dir: Option<PathBuf>,
    /// Its name definitions, in order.
    pub names: Vec<(u32, String)>,
    /// Its resource record; empty if there is none.
    pub resource: Vec<u64>,
    /// Its newest clock anchor.
    pub anchor: Option<Anchor>,
    /// Tick of the flusher's last sign of life; `None` before the first.
    pub last_sign_of_life: Option<u64>,
    /// What was lost without a ring: cause, kind, total.
    pub losses: Vec<(u8, u8, u64)>,
    /// Its rings, by number.
    pub rings: Vec<LeftRing>,
    /// What could not be read, for people.
    pub problems: Vec<String>,
    #[cfg(unix)]
    pub(super) folder: Folder,
}

/// One ring of it.
#[derive(Clone, Debug, Default)]
pub struct LeftRing {
    /// Its number.
    pub ring: u32,
    /// The lease that its records belong to.
    pub lease: u32,
    /// Whether the thread still had it.
    pub leased: bool,
    /// Operating system's id of the thread.
    pub thread: u64,
    /// The thread's name.
    pub thread_name: String,
    /// Process id, for display.
    pub pid: u32,
    /// Sequence of the first record.
    pub first_sequence: u64,
    /// Whole records, back to back, without wrap markers.
    pub records: Vec<u64>,
    /// How many.
    pub count: u64,
    /// Bytes behind them that are no records.
    pub damaged_bytes: u64,
    /// Slots and spans that are open.
    pub open: Vec<(u16, OpenSpan)>,
    /// The ring's newest clock anchor.
    pub anchor: Option<Anchor>,
    /// What it lost: cause, kind, total.
    pub losses: Vec<(u8, u8, u64)>,
}

/// The instances of one log whose shared memory is there, but for `current`. `base` is the folder
/// of the option [`dir`](super::Options::dir). An absent or foreign folder holds nothing.
pub fn left(base: Option<&Path>, log: LogId, current: Option<InstanceId>) -> Vec<LeftInstance> {
    #[cfg(unix)]
    {
        let wanted = |of, instance| of == log && Some(instance) != current;
        let found = folders(base, wanted).into_iter();
        found
            .map(|(log, instance, folder)| read::instance(log, instance, folder))
            .collect()
    }
    #[cfg(not(unix))]
    {
        let _ = (base, log, current);
        Vec::new()
    }
}

/// The instances of all logs of this user: ids and, where known, the log's directory. What belongs
/// to a directory that is gone may be removed by [`LeftFolder::remove`].
pub fn all(base: Option<&Path>) -> Vec<LeftFolder> {
    #[cfg(unix)]
    {
        let found = folders(base, |_, _| true).into_iter();
        found
            .map(|(log, instance, folder)| LeftFolder {
                log,
                instance,
                log_dir: read::log_dir(&folder),
                folder,
            })
            .collect()
    }
    #[cfg(not(unix))]
    {
        let _ = base;
        Vec::new()
    }
}

/// A folder that may belong to a process that lives.
#[derive(Debug)]
pub struct LeftFolder {
    /// Its log.
    pub log: LogId,
    /// Its instance.
    pub instance: InstanceId,
    /// The log's directory, if it is known.
    pub log_dir: Option<PathBuf>,
    #[cfg(unix)]
    folder: Folder,
}

impl LeftFolder {
    /// Takes it away.
    ///
    /// # Errors
    /// If files cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        #[cfg(unix)]
        return self.folder.remove();
        #[cfg(not(unix))]
        Ok(())
    }
}

impl LeftRing {
    /// Leaves out what follows the first record that this build cannot read, as damaged.
    #[must_use]
    pub fn checked(mut self) -> Self {
        let bytes = bytes_of(&self.records);
        let (mut at, mut count) = (0, 0);
        while let (Ok(head), true) = (peek(bytes, at), at < bytes.len()) {
            if Record::read(bytes, at).is_err() {
                break;
            }
            at += head.size;
            count += 1;
        }
        self.damaged_bytes += (bytes.len() - at) as u64;
        self.records.truncate(at / 8);
        self.count = count;
        self
    }
}

impl LeftInstance {
    /// Takes it away, after everything in it was logged.
    ///
    /// # Errors
    /// If files cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        #[cfg(unix)]
        return self.folder.remove();
        #[cfg(not(unix))]
        Ok(())
    }
}

#[cfg(unix)]
fn folders(
    base: Option<&Path>,
    wanted: impl Fn(LogId, InstanceId) -> bool,
) -> Vec<(LogId, InstanceId, Folder)> {
    let base = base.map_or_else(super::options::default_dir, Path::to_path_buf);
    Folder::all(&base, wanted).unwrap_or_default()
}

#[cfg(unix)]
#[path = "left_read.rs"]
mod read;
