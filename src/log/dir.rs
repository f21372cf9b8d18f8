//! The directory of a log: what is in it, and the one writer that may change it.
//!
//! Always true:
//! - nothing is written before it is known that no newer build wrote any of it
//! - the writer epoch is raised durably before anything else is

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    clock::unix_now,
    record::id::{InstanceId, LogId},
    sync::Arc,
};

use super::{
    error::{on, OpenError, ReadError},
    file::{self, step, LockFile},
    gap::GapInfo,
    housekeeper::{Housekeeper, Left},
    layout::{
        base_of, segment_name, u64_at, Bad, LogHeader, SegmentHeader, HEADER_BYTES, LOG_BYTES,
        MARK_AT, SEALED, STATE_AT,
    },
    options::{Limits, Options},
    retention::Kept,
    shared::Shared,
    watermark::{Watermark, WatermarkFile, UNKNOWN},
    writer::Writer,
};

/// How long an opener tries for the lock: readers hold it for a moment when they probe.
const PATIENCE: Duration = Duration::from_millis(100);

/// A log, locked for writing.
#[derive(Debug)]
pub struct LogDir {
    pub(super) path: PathBuf,
    pub(super) options: Options,
    pub(super) limits: Limits,
    pub(super) log: LogHeader,
    pub(super) instance: InstanceId,
    pub(super) epoch: u64,
    pub(super) watermark: WatermarkFile,
    pub(super) durable: u64,
    pub(super) next_base: u64,
    pub(super) kept: Vec<Kept>,
    pub(super) gaps: Vec<GapInfo>,
    /// Whether this open created the log.
    pub(super) created: bool,
    pub(super) recovered: bool,
    lock: LockFile,
}

impl LogDir {
    /// Creates the log if there is none and takes it for writing. Call
    /// [`recover`](Self::recover) next, then [`start`](Self::start).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn lock(path: impl Into<PathBuf>, options: &Options) -> Result<Self, OpenError> {
        options.validate()?;
        let path = path.into();
        make_dir(&path)?;
        refuse_newer(&path)?;
        let lock = take_lock(&path)?;
        // Again, now that nobody else writes.
        let segments = refuse_newer(&path)?;
        step("lock.text").map_err(on("write", &path))?;
        name_holder(&lock).map_err(on("write the lock file in", &path))?;

        let existing = read_log(&path).map_err(on("read the LOG file in", &path))?;
        let created = existing.is_none() && segments.is_empty();
        let log = match existing {
            Some(log) => log,
            None => write_log(&path, &segments)?,
        };
        for sub in ["aside", "cursors"] {
            file::create_dir(&path.join(sub)).map_err(on("create", &path))?;
        }
        step("lock.dir").map_err(on("sync", &path))?;
        file::sync_dir(&path).map_err(on("sync", &path))?;

        let (mut watermark, found) =
            WatermarkFile::open(&path, log.log_id).map_err(on("open the watermark in", &path))?;
        let mine: Vec<_> = segments.iter().filter(|s| s.log_id == log.log_id).collect();
        let newest = mine.iter().map(|s| s.epoch).max().unwrap_or(0);
        let epoch = found.map_or(0, |w| w.epoch).max(newest) + 1;
        // Without a watermark nothing may be cut: whatever checks counts.
        let unknown = if mine.is_empty() { 0 } else { UNKNOWN };
        let durable = found.map_or(unknown, |w| w.durable);
        let next_base = found.map_or(0, |w| w.next_base);
        let mark = Watermark {
            epoch,
            durable,
            next_base,
        };
        watermark
            .write(mark)
            .map_err(on("write the watermark in", &path))?;
        Ok(Self {
            limits: options.limits(&path),
            options: options.clone(),
            path,
            log,
            instance: InstanceId::random(),
            epoch,
            watermark,
            durable,
            next_base,
            kept: Vec::new(),
            gaps: Vec::new(),
            created,
            recovered: false,
            lock,
        })
    }

    /// Begins writing: the writer for the flusher's thread, and the housekeeping thread.
    ///
    /// # Errors
    /// The thread cannot be started, or [`recover`](Self::recover) was left out and fails now.
    pub fn start(mut self) -> Result<(Writer, Housekeeper), OpenError> {
        if !self.recovered {
            self.recover()?;
        }
        let path = self.path.clone();
        let shared = Arc::new(Shared::new(
            self.path,
            self.options,
            self.limits,
            self.log.log_id,
            self.instance,
            self.epoch,
            self.durable,
            self.next_base,
            self.lock,
        ));
        let left = Left {
            watermark: self.watermark,
            kept: self.kept,
            gaps: self.gaps,
        };
        let housekeeper = Housekeeper::spawn(shared.clone(), left)
            .map_err(on("start housekeeping for", &path))?;
        Ok((Writer::new(shared), housekeeper))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names the log.
    pub fn log_id(&self) -> LogId {
        self.log.log_id
    }

    /// Names this open.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The epoch of this open.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// Creates the directory for its user alone; refuses what is none.
fn make_dir(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => return Err(OpenError::NotADirectory { path: path.into() }),
        // A parent that is a file shows below.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) => {}
        Err(e) => return Err(on("look at", path)(e)),
    }
    match file::create_dir(path) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
            ) =>
        {
            Err(OpenError::NotADirectory { path: path.into() })
        }
        other => other.map_err(on("create", path)),
    }
}

/// Fails if any file says that a newer build wrote it; returns the segment headers that check.
pub(super) fn refuse_newer(path: &Path) -> Result<Vec<SegmentHeader>, OpenError> {
    let log = path.join("LOG");
    match fs::read(&log) {
        Ok(bytes) => {
            if let Err(Bad::Newer(found)) = LogHeader::decode(&bytes) {
                return Err(OpenError::newer(&log, found));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(on("read", &log)(e)),
    }
    let mut headers = Vec::new();
    for base in segment_bases(path).map_err(on("list", path))? {
        let name = path.join(segment_name(base));
        match read_head(&name).map(|head| head.header) {
            Ok(Ok(header)) => headers.push(header),
            Ok(Err(Bad::Newer(found))) => return Err(OpenError::newer(&name, found)),
            Ok(Err(Bad::Damaged)) | Err(_) => {}
        }
    }
    Ok(headers)
}

pub(super) fn take_lock(path: &Path) -> Result<LockFile, OpenError> {
    let name = path.join("lock");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file::lock(&name).map_err(on("lock", &name))? {
            Some(lock) => return Ok(lock),
            None if Instant::now() >= deadline => return Err(locked(path)),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// That somebody holds the lock, and what the lock file says about whom.
pub(super) fn locked(path: &Path) -> OpenError {
    let holder = fs::read_to_string(path.join("lock")).unwrap_or_default();
    let holder: String = holder.trim().chars().take(200).collect();
    OpenError::Locked {
        path: path.into(),
        holder: if holder.is_empty() {
            "another process".into()
        } else {
            holder
        },
    }
}

pub(super) fn name_holder(lock: &LockFile) -> io::Result<()> {
    let text = format!(
        "process {} on {} since {} s after 1970\n",
        std::process::id(),
        host(),
        unix_now() / 1_000_000_000
    );
    let write = |mut file: &fs::File| {
        file.set_len(0)?;
        file::write_at(file, text.as_bytes(), 0)?;
        file.flush()
    };
    lock.file.with(write).unwrap_or(Ok(()))
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.or_else(|| std::env::var("COMPUTERNAME").ok());
    name.map_or_else(|| "this host".into(), |name| name.trim().to_owned())
}

/// The `LOG` file; `None` if there is none or it is damaged.
pub(super) fn read_log(path: &Path) -> io::Result<Option<LogHeader>> {
    match fs::read(path.join("LOG")) {
        Ok(bytes) => Ok(LogHeader::decode(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes the `LOG` file; of a log that lost it, from what its segments say.
fn write_log(path: &Path, segments: &[SegmentHeader]) -> Result<LogHeader, OpenError> {
    let name = path.join("LOG");
    if let Ok(damaged) = fs::read(&name) {
        let kept = path.join("aside/LOG.damaged");
        file::create_dir(&path.join("aside")).map_err(on("create", path))?;
        file::write_whole(&kept, &damaged).map_err(on("write", &kept))?;
    }
    let log = match segments.iter().max_by_key(|s| s.base) {
        Some(segment) => LogHeader {
            log_id: segment.log_id,
            created_ns: segments[0].created_ns,
        },
        None => LogHeader {
            log_id: LogId::random(),
            created_ns: unix_now(),
        },
    };
    file::write_whole(&name, &log.encode()).map_err(on("write", &name))?;
    Ok(log)
}

/// Bases of all segment files, in order.
pub(super) fn segment_bases(path: &Path) -> io::Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(path)? {
        if let Some(base) = entry?.file_name().to_str().and_then(|n| base_of(n, ".seg")) {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// What the first page of a segment says, read and not mapped.
#[derive(Debug)]
pub(super) struct Head {
    pub header: Result<SegmentHeader, Bad>,
    pub mark: u64,
    pub sealed: bool,
    pub len: u64,
    pub file: fs::File,
}

pub(super) fn read_head(path: &Path) -> io::Result<Head> {
    let file = file::open_ro(path)?;
    let mut page = vec![0; HEADER_BYTES as usize];
    let read = file::read_up_to(&file, &mut page, 0)?;
    let len = file.metadata()?.len();
    Ok(Head {
        header: if read < page.len() {
            Err(Bad::Damaged)
        } else {
            SegmentHeader::decode(&page)
        },
        mark: u64_at(&page, MARK_AT),
        sealed: u64_at(&page, STATE_AT) == SEALED,
        len,
        file,
    })
}

/// Whether somebody has the log open for writing. Needs no write access.
///
/// # Errors
/// The lock file cannot be read.
pub fn log_is_locked(path: &Path) -> Result<bool, ReadError> {
    let name = path.join("lock");
    file::is_locked(&name).map_err(|source| ReadError::Io { path: name, source })
}

/// The logs that `root` means: itself if it is one, else its direct sub-directories that are,
/// in order of their names.
///
/// # Errors
/// The directory cannot be read.
pub fn logs_under(root: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let is_log = |path: &Path| path.join("LOG").is_file();
    if is_log(root) {
        return Ok(vec![root.into()]);
    }
    let failed = |source| ReadError::Io {
        path: root.into(),
        source,
    };
    let mut logs = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_log(&path) {
            logs.push(path);
        }
    }
    logs.sort();
    Ok(logs)
}

const _: () = assert!(LOG_BYTES <= 512);
