//! How far one tail is: a small file that survives a crash in the middle of writing it.
//!
//! Always true:
//! - one process at a time holds a cursor
//! - what it says was true at some time; after a crash it says the older or the newer position
//! - the only thing that a reader of a log ever writes
//!
//! The bytes are drawn in `docs/format.md`, section 9.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    log::{newest, Position, Slots},
    record::id::{InstanceId, LogId},
    sync::{fault::step, fork::HomeFile},
};

const MAGIC: &[u8; 8] = b"EMBRCURS";
const BYTES: usize = 128;
const EXTENSION: &str = "cursor";
/// Longest name.
const NAME_MAX: usize = 64;

/// What a cursor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The log that it is a place in.
    pub log: LogId,
    /// Instance of the segment that it stands in.
    pub instance: InstanceId,
    /// Position of the next frame.
    pub position: Position,
    /// Records delivered so far.
    pub delivered: u64,
    /// Records lost to it: removed by retention before it came.
    pub lost: u64,
    /// Records of every kind that the log had before this position, those removed included.
    pub passed: u64,
    /// Where it began: what is before is not for this tail, also when its backend lost everything.
    pub begin: Position,
}

impl Place {
    /// Before everything in a log.
    pub fn start(log: LogId) -> Self {
        Self {
            log,
            instance: InstanceId([0; 16]),
            position: Position::START,
            delivered: 0,
            lost: 0,
            passed: 0,
            begin: Position::START,
        }
    }

    fn encode(&self) -> [u8; BYTES] {
        let mut slot = [0; BYTES];
        slot[16..32].copy_from_slice(&self.log.0);
        slot[32..48].copy_from_slice(&self.instance.0);
        let numbers = [
            self.position.epoch,
            self.position.offset,
            self.delivered,
            self.lost,
            self.passed,
            self.begin.epoch,
            self.begin.offset,
        ];
        for (i, number) in numbers.into_iter().enumerate() {
            slot[48 + i * 8..56 + i * 8].copy_from_slice(&number.to_le_bytes());
        }
        slot
    }

    fn decode(slot: &[u8; BYTES]) -> Self {
        let bytes16 = |at: usize| slot[at..at + 16].try_into().unwrap_or_default();
        let number =
            |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().unwrap_or_default());
        Self {
            log: LogId(bytes16(16)),
            instance: InstanceId(bytes16(32)),
            position: Position {
                epoch: number(48),
                offset: number(56),
            },
            delivered: number(64),
            lost: number(72),
            passed: number(80),
            begin: Position {
                epoch: number(88),
                offset: number(96),
            },
        }
    }
}

/// Why a cursor cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The name could be something else than a file's.
    #[error(
        "cursor name {0:?} is not allowed: 1 to {NAME_MAX} letters, digits, '-', '_' or '.', \
         not beginning with '.'"
    )]
    Name(String),
    /// Another tail has it.
    #[error("cursor {path} is in use by another process or tail")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Neither slot checks. Drop the cursor to begin at the start of the log again.
    #[error("cursor {path} is damaged: neither of its slots checks")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another log: the directory was wiped or the file copied.
    #[error("cursor {path} belongs to log {found}, this is log {expected}")]
    OtherLog {
        /// The file.
        path: PathBuf,
        /// The log that it speaks of.
        found: LogId,
        /// The log at hand.
        expected: LogId,
    },
    /// There is none of that name.
    #[error("there is no cursor {path}")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} cursor {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn on<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CursorError + 'a {
    move |source| CursorError::Io {
        what,
        path: path.into(),
        source,
    }
}

/// Whether a text may name a cursor, and with it a file.
///
/// # Errors
/// [`CursorError::Name`].
pub fn check_name(name: &str) -> Result<(), CursorError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=NAME_MAX).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed) {
        return Ok(());
    }
    Err(CursorError::Name(name.chars().take(NAME_MAX).collect()))
}

/// Where the cursor of that name lies below a log directory.
///
/// # Errors
/// [`CursorError::Name`].
pub fn cursor_path(dir: &Path, name: &str) -> Result<PathBuf, CursorError> {
    check_name(name)?;
    Ok(dir.join("cursors").join(format!("{name}.{EXTENSION}")))
}

/// A cursor that this process holds.
pub struct Cursor {
    path: PathBuf,
    slots: Slots<BYTES>,
    place: Place,
    /// Holds the lock until it is closed.
    _lock: HomeFile,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Cursor");
        out.field("path", &self.path).field("place", &self.place);
        out.finish_non_exhaustive()
    }
}

impl Cursor {
    /// Takes the cursor `name` of the log in `dir`; one that is new stands at `begin`.
    ///
    /// # Errors
    /// The name is not allowed, somebody else holds it, it is damaged or belongs to another log,
    /// or a file operation failed.
    pub fn open(dir: &Path, name: &str, begin: Place) -> Result<Self, CursorError> {
        Self::open_or(dir, name, begin.log, || begin)
    }

    /// As [`open`](Self::open), for a place that takes some work to find and is only asked for if
    /// the cursor is new.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_or(
        dir: &Path,
        name: &str,
        log: LogId,
        begin: impl FnOnce() -> Place,
    ) -> Result<Self, CursorError> {
        let path = cursor_path(dir, name)?;
        let made = step("cursor.folder").and_then(|()| create_dir(&dir.join("cursors")));
        made.map_err(on("create the directory of", &path))?;
        let lock = take(&path)?;
        step("cursor.open").map_err(on("read", &path))?;
        let open = || -> io::Result<_> {
            let fresh = fs::read(&path)?.iter().all(|byte| *byte == 0);
            Ok((fresh, Slots::<BYTES>::open(&path, MAGIC)?))
        };
        let (fresh, (mut slots, slot)) = open().map_err(on("read", &path))?;
        // Whoever wrote it may have been killed before it was synced.
        slots.sync().map_err(on("sync", &path))?;
        let mut cursor = Self {
            place: slot
                .as_ref()
                .map_or_else(|| Place::start(log), Place::decode),
            path,
            slots,
            _lock: HomeFile::new(lock),
        };
        if slot.is_none() {
            // A file of zeros was created and never written: as good as new.
            if !fresh {
                return Err(CursorError::Damaged { path: cursor.path });
            }
            cursor.advance(begin())?;
            sync_dir(&dir.join("cursors")).map_err(on("sync the directory of", &cursor.path))?;
        } else if cursor.place.log != log {
            return Err(CursorError::OtherLog {
                found: cursor.place.log,
                expected: log,
                path: cursor.path,
            });
        }
        Ok(cursor)
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it so that it survives the process, and a power cut from the next
    /// [`sync`](Self::sync) or [`advance`](Self::advance) on.
    ///
    /// # Errors
    /// The file cannot be written; the cursor still says what it said.
    pub fn advance_soon(&mut self, place: Place) -> Result<(), CursorError> {
        let written = self.slots.write_soon(&mut place.encode());
        written.map_err(on("write", &self.path))?;
        self.place = place;
        Ok(())
    }

    /// Makes it survive a power cut where it stands.
    ///
    /// # Errors
    /// The file cannot be synced.
    pub fn sync(&mut self) -> Result<(), CursorError> {
        match self.slots.is_synced() {
            true => Ok(()),
            false => self.slots.sync().map_err(on("sync", &self.path)),
        }
    }

    /// Moves it, durably.
    ///
    /// # Errors
    /// The file cannot be written; the cursor still says what it said.
    pub fn advance(&mut self, place: Place) -> Result<(), CursorError> {
        let written = self.slots.write(&mut place.encode());
        written.map_err(on("write", &self.path))?;
        self.place = place;
        Ok(())
    }
}

/// A cursor as somebody else sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where it stands; `None` if the file is damaged.
    pub place: Option<Place>,
    /// Whether a tail holds it now.
    pub held: bool,
    /// When it was last moved.
    pub moved: Option<std::time::SystemTime>,
}

/// All cursors of the log in `dir`, by name. Needs no write access.
///
/// # Errors
/// The directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<Listed>, CursorError> {
    let folder = dir.join("cursors");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(on("list", &folder)(e)),
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().and_then(|name| name.to_str());
        let ours = path.extension().is_some_and(|e| e == EXTENSION);
        let Some(name) = name.filter(|name| ours && check_name(name).is_ok()) else {
            continue;
        };
        let bytes = fs::read(&path).unwrap_or_default();
        found.push(Listed {
            name: name.to_owned(),
            place: newest::<BYTES>(&bytes, MAGIC).as_ref().map(Place::decode),
            held: is_held(&path),
            moved: fs::metadata(&path).and_then(|meta| meta.modified()).ok(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Removes a cursor that nobody holds; retention no longer waits for it.
///
/// # Errors
/// It is held, there is none, or the file cannot be removed.
pub fn drop_cursor(dir: &Path, name: &str) -> Result<(), CursorError> {
    let path = cursor_path(dir, name)?;
    if !path.exists() {
        return Err(CursorError::Missing { path });
    }
    // Whoever waits for the lock meanwhile notices that the name is gone, see `take`.
    let _lock = take(&path)?;
    // What a sink keeps beside its cursor says where it stands, too.
    match fs::remove_file(path.with_extension("series")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(on("remove what belongs to", &path)(error));
        }
        _ => {}
    }
    fs::remove_file(&path).map_err(on("remove", &path))?;
    sync_dir(&dir.join("cursors")).map_err(on("sync the directory of", &path))
}

#[cfg(unix)]
fn create_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(unix)]
fn open_file(path: &Path) -> io::Result<File> {
    use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt};
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options.open(path)
}

/// Opens and locks the file.
#[cfg(unix)]
fn take(path: &Path) -> Result<File, CursorError> {
    use rustix::fs::{flock, FlockOperation};
    use std::os::unix::fs::MetadataExt;
    loop {
        let file = open_file(path).map_err(on("open", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(CursorError::Locked { path: path.into() })
            }
            Err(e) => return Err(on("lock", path)(e.into())),
        }
        // Between opening and locking its last holder may have dropped it.
        let mine = file.metadata().map_err(on("look at", path))?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (mine.dev(), mine.ino()) => return Ok(file),
            _ => {}
        }
    }
}

#[cfg(unix)]
fn is_held(path: &Path) -> bool {
    use rustix::fs::{flock, FlockOperation};
    File::open(path).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// Elsewhere a second file is opened for nobody else.
#[cfg(windows)]
fn take(path: &Path) -> Result<File, CursorError> {
    use std::{fs::OpenOptions, os::windows::fs::OpenOptionsExt};
    const SHARING_VIOLATION: i32 = 32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let create = || -> io::Result<()> { options.open(path).map(drop) };
    create().map_err(on("create", path))?;
    options.share_mode(0);
    match options.open(path.with_extension("lock")) {
        Ok(file) => Ok(file),
        Err(e) if e.raw_os_error() == Some(SHARING_VIOLATION) => {
            Err(CursorError::Locked { path: path.into() })
        }
        Err(e) => Err(on("lock", path)(e)),
    }
}

#[cfg(windows)]
fn is_held(path: &Path) -> bool {
    File::open(path.with_extension("lock")).is_err_and(|e| e.raw_os_error() == Some(32))
}

/// No files, no cursors.
#[cfg(not(any(unix, windows)))]
fn take(path: &Path) -> Result<File, CursorError> {
    Err(on("lock", path)(io::ErrorKind::Unsupported.into()))
}

#[cfg(not(any(unix, windows)))]
fn is_held(_: &Path) -> bool {
    false
}
