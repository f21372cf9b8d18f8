//! A file that grows by batches, for backends that are no database.
//!
//! Always true:
//! - what was acknowledged is in the file once, whatever dies when
//! - a file that is not ours, or is not as we left it, is never changed
//! - one process at a time writes to it; in it, several tails may
//!
//! Beside `PATH` lies `PATH.place`: how many bytes of the file count, and for each log the position
//! behind them. A batch is appended and synced, then the place is replaced as a whole. What is
//! behind those bytes is of a batch that nobody acknowledged; the next one is written over it.
//!
//! ```text
//! emberlog place 1
//! bytes 48213
//! log 0f6c...e1 2:131072
//! ```

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    backend::{BatchRange, SinkError},
    log::{file, Position},
    record::id::LogId,
    sync::fault::step,
};

const FIRST_LINE: &str = "emberlog place 1";

/// Why a file is not appended to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is a file, and nothing says that we wrote it.
    #[error("{path} exists and was not written by an export; name another file")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Somebody cut it.
    #[error("{path} has {found} bytes, {expected} were delivered; delete it to begin again")]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What it should have at least.
        expected: u64,
    },
    /// Another process writes to it.
    #[error("{path} is being written by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl From<FileError> for SinkError {
    fn from(error: FileError) -> Self {
        let again = match &error {
            FileError::Io { source, .. } => !matches!(
                source.kind(),
                ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        };
        match again {
            true => Self::Retry(error.into()),
            false => Self::Refused(error.into()),
        }
    }
}

fn on<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io {
        what,
        path: path.into(),
        source,
    }
}

/// How much of the file counts, and what it is.
#[derive(Debug, Default)]
struct Place {
    bytes: u64,
    logs: BTreeMap<LogId, Position>,
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let bytes = lines.next()?.strip_prefix("bytes ")?.parse().ok()?;
        let log = |line: &str| {
            let (log, position) = line.strip_prefix("log ")?.split_once(' ')?;
            Some((log.parse().ok()?, position.parse().ok()?))
        };
        let logs = lines.map(log).collect::<Option<_>>()?;
        Some(Self { bytes, logs })
    }

    fn text(&self) -> String {
        let logs = self.logs.iter();
        let logs: String = logs.map(|(log, at)| format!("log {log} {at}\n")).collect();
        format!("{FIRST_LINE}\nbytes {}\n{logs}", self.bytes)
    }
}

#[derive(Debug)]
struct Open {
    lock: file::LockFile,
    place: Place,
}

/// The file, opened when it is needed; clones are the same file.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    path: PathBuf,
    open: Arc<Mutex<Option<Open>>>,
}

impl Appended {
    /// The file at `path`, seen from where the process is now.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            path: std::path::absolute(&path).unwrap_or(path),
            open: Arc::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is behind the bytes that count is written over, so a panic left nothing half done.
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Up to where the file has a log; `START` where it has nothing of it.
    pub(crate) fn position(&self, log: LogId) -> Result<Position, FileError> {
        self.with(|_, open| Ok(open.place.logs.get(&log).copied().unwrap_or_default()))
    }

    /// Appends a batch and, with it, the position behind it. `make` gets the bytes that count so
    /// far and gives what is to follow them.
    pub(crate) fn append(
        &self,
        range: BatchRange,
        make: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<(), FileError> {
        self.with(|path, open| {
            let before = open.place.bytes;
            let bytes = make(before);
            if !bytes.is_empty() {
                at_home(&open.lock, path, |file| {
                    let written =
                        step("appended.write").and_then(|()| file::write_at(file, &bytes, before));
                    written.map_err(on("write", path))?;
                    file.set_len(before + bytes.len() as u64)
                        .map_err(on("cut", path))?;
                    let synced = step("appended.sync").and_then(|()| file::sync_data(file));
                    synced.map_err(on("sync", path))
                })?;
            }
            let known = open.place.logs.insert(range.log, range.to);
            open.place.bytes += bytes.len() as u64;
            let place = place_of(path);
            let written = file::write_whole(&place, open.place.text().as_bytes());
            written.map_err(|error| {
                // The batch was not acknowledged: the next one is written over it.
                open.place.bytes = before;
                match known {
                    Some(known) => open.place.logs.insert(range.log, known),
                    None => open.place.logs.remove(&range.log),
                };
                on("write", &place)(error)
            })
        })
    }

    fn with<R>(
        &self,
        with: impl FnOnce(&Path, &mut Open) -> Result<R, FileError>,
    ) -> Result<R, FileError> {
        let mut open = self.lock();
        let open = match &mut *open {
            Some(open) => open,
            closed => closed.insert(Open::new(&self.path)?),
        };
        with(&self.path, open)
    }
}

/// Does something with the locked file, which in the child of a fork is its parent's.
fn at_home<R>(
    lock: &file::LockFile,
    path: &Path,
    work: impl FnOnce(&fs::File) -> Result<R, FileError>,
) -> Result<R, FileError> {
    let done = lock.file.with(work);
    done.unwrap_or_else(|| Err(FileError::InUse { path: path.into() }))
}

impl Open {
    fn new(path: &Path) -> Result<Self, FileError> {
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.is_file() => return Err(FileError::Foreign { path: path.into() }),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(on("look at", path)(e)),
            _ => {}
        }
        let lock = file::lock(path).map_err(on("open", path))?;
        let Some(lock) = lock else {
            return Err(FileError::InUse { path: path.into() });
        };
        let found = at_home(&lock, path, |file| {
            file.metadata().map_err(on("look at", path))
        });
        let found = found?.len();
        let said = match fs::read_to_string(place_of(path)) {
            Ok(text) => Place::read(&text),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(on("read", &place_of(path))(e)),
        };
        let place = match said {
            None if found > 0 => return Err(FileError::Foreign { path: path.into() }),
            // New; or somebody deleted it to have it all again. That it is ours is said before
            // anything is in it.
            _ if found == 0 => {
                let (name, new) = (place_of(path), Place::default());
                file::write_whole(&name, new.text().as_bytes()).map_err(on("write", &name))?;
                new
            }
            Some(place) if place.bytes > found => {
                return Err(FileError::Cut {
                    path: path.into(),
                    found,
                    expected: place.bytes,
                })
            }
            said => said.unwrap_or_default(),
        };
        Ok(Self { lock, place })
    }
}

fn place_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".place");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::id::InstanceId,
        sync::fault::{Plan, EIO},
    };

    const LOG: LogId = LogId([7; 16]);

    fn to(offset: u64) -> BatchRange {
        let at = |offset| Position { epoch: 1, offset };
        BatchRange {
            log: LOG,
            instance: InstanceId([1; 16]),
            from: at(0),
            to: at(offset),
        }
    }

    fn append(file: &Appended, offset: u64, text: &str) {
        file.append(to(offset), |_| text.into()).unwrap();
    }

    #[test]
    fn what_was_not_acknowledged_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let file = Appended::new(&path);
        assert_eq!(file.position(LOG).unwrap(), Position::START);
        // A kill between the very first append and its place.
        fs::write(&path, "a batch that was not acknowledged\n").unwrap();
        drop(file);
        let file = Appended::new(&path);
        append(&file, 10, "one\n");
        drop(file);
        // The same later.
        let mut half = fs::read(&path).unwrap();
        half.extend(b"a longer batch that was not acknowledged\n");
        fs::write(&path, half).unwrap();

        let file = Appended::new(&path);
        assert_eq!(file.position(LOG).unwrap(), to(10).to);
        append(&file, 20, "two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_batch_whose_place_cannot_be_written_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let file = Appended::new(&path);
        append(&file, 10, "one\n");
        let plan = Plan::new(dir.path());
        plan.fail("whole.rename", EIO, 0, 1);
        let longer = file.append(to(20), |_| "two, but longer\n".into());
        assert!(matches!(longer, Err(FileError::Io { .. })), "{longer:?}");
        assert_eq!(file.position(LOG).unwrap(), to(10).to);
        append(&file, 20, "two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        drop(file);
        assert_eq!(Appended::new(&path).position(LOG).unwrap(), to(20).to);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        fs::write(&path, "somebody's").unwrap();
        let refused = Appended::new(&path).position(LOG);
        assert!(
            matches!(refused, Err(FileError::Foreign { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");

        let path = dir.path().join("cut");
        append(&Appended::new(&path), 10, "one\ntwo\n");
        fs::write(&path, "one\n").unwrap();
        let refused = Appended::new(&path).position(LOG);
        assert!(
            matches!(refused, Err(FileError::Cut { found: 4, .. })),
            "{refused:?}"
        );

        fs::remove_file(&path).unwrap();
        let again = Appended::new(&path);
        assert_eq!(again.position(LOG).unwrap(), Position::START);
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows");
        let first = Appended::new(&path);
        append(&first, 10, "one\n");
        let refused = Appended::new(&path).position(LOG);
        assert!(
            matches!(refused, Err(FileError::InUse { .. })),
            "{refused:?}"
        );
        append(&first.clone(), 20, "two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
