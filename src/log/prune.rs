//! Retention by hand, where nobody writes: what is old goes, or what is too much.
//!
//! Always true:
//! - nobody else writes meanwhile: the lock is held as a writer holds it
//! - only sealed segments go; one that a dead writer left open stays until it is recovered

use std::{io, path::Path, time::Duration};

use super::{
    dir::{self, read_head, read_log, segment_bases},
    error::{on, OpenError},
    file,
    layout::{segment_name, HEADER_BYTES},
    options::Limits,
    retention::{disk_bytes, read_seal, Heed, Kept, Removed, Retention},
};

/// What is to go. With neither an age nor a size nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prune {
    /// Segments whose newest record is older.
    pub older_than: Option<Duration>,
    /// The oldest segments, until the directory takes no more bytes on disk.
    pub max_bytes: Option<u64>,
    /// Whether what a cursor still needs stays.
    pub heed: Heed,
}

/// What went, or would go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Segments, oldest first.
    pub removed: Vec<Removed>,
    /// Cursors for which alone the next segment stays.
    pub held_by: Vec<String>,
    /// Bytes on disk that the directory takes after it.
    pub bytes_left: u64,
}

/// What [`prune`] would remove now.
///
/// # Errors
/// A writer holds the directory, it is no log, a newer build wrote it, or it cannot be read.
pub fn plan_prune(path: &Path, what: &Prune) -> Result<Pruned, OpenError> {
    if file::is_locked(&path.join("lock")).map_err(on("look at the lock of", path))? {
        return Err(dir::locked(path));
    }
    let mut kept = sealed(path)?;
    let before = disk_bytes(path);
    let plan = retention(path, what, &mut kept)?.plan();
    let freed: u64 = plan.doomed.iter().map(|segment| segment.bytes).sum();
    Ok(Pruned {
        removed: plan.doomed,
        held_by: plan.held_by,
        bytes_left: before.saturating_sub(freed),
    })
}

/// Removes what has to go, with what was set aside that is as old.
///
/// # Errors
/// As [`plan_prune`]; or a file cannot be removed, after those that could.
pub fn prune(path: &Path, what: &Prune) -> Result<Pruned, OpenError> {
    dir::refuse_newer(path)?;
    log_id(path)?;
    let lock = dir::take_lock(path)?;
    dir::name_holder(&lock).map_err(on("write the lock file in", path))?;
    let mut kept = sealed(path)?;
    let held_by = retention(path, what, &mut kept)?.plan().held_by;
    let removed = retention(path, what, &mut kept)?;
    let removed = removed.run().map_err(on("prune", path))?;
    Ok(Pruned {
        removed,
        held_by,
        bytes_left: disk_bytes(path),
    })
}

fn log_id(path: &Path) -> Result<crate::record::id::LogId, OpenError> {
    let log = read_log(path).map_err(on("read the LOG file in", path))?;
    let missing = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            "its LOG file is missing or damaged",
        )
    };
    Ok(log
        .ok_or_else(missing)
        .map_err(on("read the log in", path))?
        .log_id)
}

fn retention<'a>(
    path: &'a Path,
    what: &Prune,
    kept: &'a mut Vec<Kept>,
) -> Result<Retention<'a>, OpenError> {
    Ok(Retention {
        dir: path,
        log_id: log_id(path)?,
        limits: Limits {
            max: what.max_bytes.unwrap_or(u64::MAX),
            hard: u64::MAX,
        },
        age: what.older_than,
        kept,
        disk_full: None,
        heed: what.heed,
    })
}

/// The sealed segments, oldest first.
fn sealed(path: &Path) -> Result<Vec<Kept>, OpenError> {
    let log_id = log_id(path)?;
    let mut kept = Vec::new();
    for base in segment_bases(path).map_err(on("list", path))? {
        let name = path.join(segment_name(base));
        let head = read_head(&name).map_err(on("read", &name))?;
        // What is not whole is left to recovery and `verify`.
        let Ok(header) = head.header else { continue };
        let ours = header.log_id == log_id && header.base == base;
        let whole = head.sealed && (HEADER_BYTES..=head.len).contains(&head.mark);
        if ours && whole && read_seal(&head.file, &header, head.mark).is_some() {
            let meta = head.file.metadata().map_err(on("read", &name))?;
            kept.push(Kept::sealed(header, head.mark, &head.file, &meta));
        }
    }
    Ok(kept)
}
