//! A place for the log of a process that names no directory: in memory, removed when it ends.
//!
//! Always true:
//! - the folder is the user's alone and is removed by whoever made it, never by a forked child
//! - a folder whose process was killed is removed by the next one that needs such a place
//! - a folder is locked as long as it is used, from before anything is in it
//!
//! The log is the same as anywhere else, so queries, backends and reports need no second way of
//! working; only that its files lie in a file system in memory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    config::Config,
    log::{OnFull, SyncPolicy},
    record::id::random_u128,
};

/// What such folders are called, followed by 32 hex digits.
const PREFIX: &str = "memory-";
/// Segments that the allowance is divided into: what goes at once when it is used up.
const SEGMENTS: u64 = 8;
/// Attempts at a name that no sweep takes away before it is locked.
const ATTEMPTS: u32 = 16;

/// A folder in memory.
#[derive(Debug)]
pub(super) struct Volatile {
    path: PathBuf,
    /// Who made it.
    process: u32,
    removed: AtomicBool,
    /// Holds the lock of the folder until it is closed.
    _lock: fs::File,
}

impl Volatile {
    /// Makes a place for a configuration that wants one, and sets what follows from that.
    pub(super) fn for_config(config: &mut Config) -> io::Result<Option<Self>> {
        let Some(bytes) = config.in_memory else {
            return Ok(None);
        };
        let place = Self::make(&config.ring.base_dir())
            // A system without shared memory keeps it where temporary files go.
            .or_else(|_| Self::make(&std::env::temp_dir()))?;
        config.dir = place.path.clone();
        config.ring.crash_safe = false;
        let log = &mut config.log;
        log.segment_bytes = (bytes / SEGMENTS).clamp(1 << 20, 64 << 20);
        // The next segment is there before an old one goes. Nothing may take more, also not what a
        // backend has not read yet.
        let most = bytes - log.segment_bytes * 2;
        (log.max_bytes, log.hard_max_bytes) = (Some(most), Some(most));
        log.sync = SyncPolicy::OnRoll;
        log.min_free_percent = 0;
        log.on_full = OnFull::DeleteOldest;
        Ok(Some(place))
    }

    fn make(base: &Path) -> io::Result<Self> {
        let home = private_home(base)?;
        sweep(&home);
        for _ in 0..ATTEMPTS {
            let path = home.join(format!("{PREFIX}{:032x}", random_u128()));
            create(&path)?;
            if let Some(lock) = lock(&path)? {
                return Ok(Self {
                    path,
                    process: std::process::id(),
                    removed: AtomicBool::new(false),
                    _lock: lock,
                });
            }
        }
        let what = format!("{} does not keep a new folder", home.display());
        Err(io::Error::other(what))
    }

    /// Removes everything. Who has mapped a file keeps what it shows.
    pub(super) fn remove(&self) {
        // AcqRel: one thread removes it, whether the last handle goes or the process.
        let mine = self.process == std::process::id();
        if mine && !self.removed.swap(true, Ordering::AcqRel) {
            // What stays is swept by the next one.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Drop for Volatile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// The user's own folder below `base`, where rings lie too.
#[cfg(unix)]
fn private_home(base: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let home = base.join(format!("emberlog-{me}"));
    match create(&home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(&home)?;
    if meta.is_dir() && meta.uid() == me && meta.mode() & 0o077 == 0 {
        return Ok(home);
    }
    let what = format!("{} is not this user's alone", home.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

#[cfg(not(unix))]
fn private_home(base: &Path) -> io::Result<PathBuf> {
    let home = base.join("emberlog");
    fs::create_dir_all(&home)?;
    Ok(home)
}

/// Takes a folder; `None` if somebody else has it or it is gone.
#[cfg(unix)]
fn lock(path: &Path) -> io::Result<Option<fs::File>> {
    use rustix::fs::{flock, FlockOperation};
    use std::os::unix::fs::MetadataExt;
    let folder = match fs::File::open(path) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    // Between opening and locking a sweep may have removed it.
    let mine = folder.metadata()?;
    let named = fs::symlink_metadata(path);
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (mine.dev(), mine.ino()));
    Ok(same.then_some(folder))
}

/// Elsewhere folders cannot be locked, and none is swept.
#[cfg(not(unix))]
fn lock(path: &Path) -> io::Result<Option<fs::File>> {
    fs::File::create(path.join("used")).map(Some)
}

/// Removes what killed processes left.
fn sweep(home: &Path) {
    #[cfg(unix)]
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(Some(_lock)) = lock(&entry.path()) {
            // What cannot be removed now may be next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    #[cfg(not(unix))]
    let _ = home;
}
