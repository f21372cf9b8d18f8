//! Requests as lines of a file: <https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/>.
//!
//! Always true:
//! - a line is there whole or not at all, once the file was opened again
//! - beside the file stands up to which position of the log it goes and how long it was then: what
//!   was written after that is cut off when it is opened, so each record is there once
//! - one process at a time writes to it

use std::{
    fs::{self, File as Handle, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{Placed, Send, Taken, Untaken};
use crate::{
    backend::{
        otlp::{options::FileOptions, Signal},
        SinkError,
    },
    log::Position,
    record::id::LogId,
};

/// An open file.
pub(super) struct File {
    path: PathBuf,
    options: FileOptions,
    handle: Handle,
    bytes: u64,
    /// Files that were set aside before this one.
    aside: u64,
    placed: Option<Placed>,
}

fn failed(path: &Path, what: &str, error: &io::Error) -> SinkError {
    SinkError::Retry(format!("cannot {what} {}: {error}", path.display()).into())
}

/// `DIR/NAME.jsonl` for one signal, or what was set aside of it.
fn path_of(base: &Path, signal: Signal, aside: Option<u64>) -> PathBuf {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    let extension = base
        .extension()
        .map_or("jsonl".into(), |e| e.to_string_lossy());
    base.with_file_name(match aside {
        None => format!("{stem}-{signal}.{extension}"),
        Some(n) => format!("{stem}-{signal}.{n}.{extension}"),
    })
}

fn open(path: &Path) -> io::Result<Handle> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let handle = options.open(path)?;
    #[cfg(unix)]
    rustix::fs::flock(
        &handle,
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    )?;
    Ok(handle)
}

/// What stands beside the file.
#[derive(Debug, PartialEq)]
struct Beside {
    placed: Placed,
    bytes: u64,
    aside: u64,
}

impl Beside {
    fn text(&self) -> String {
        let Placed { log, position } = self.placed;
        format!(
            "emberlog 1 {log} {position} {} {}\n",
            self.bytes, self.aside
        )
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let mut word = || words.next();
        if (word()?, word()?) != ("emberlog", "1") {
            return None;
        }
        Some(Self {
            placed: Placed {
                log: word()?.parse().ok()?,
                position: word()?.parse().ok()?,
            },
            bytes: word()?.parse().ok()?,
            aside: word()?.parse().ok()?,
        })
    }
}

impl File {
    pub(super) fn open(options: &FileOptions, signal: Signal) -> Result<Self, SinkError> {
        let path = path_of(&options.path, signal, None);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(folder, "create", &error))?;
        }
        let handle = open(&path).map_err(|error| failed(&path, "open", &error))?;
        let len = handle.metadata().map(|meta| meta.len());
        let len = len.map_err(|error| failed(&path, "read the length of", &error))?;
        let mut this = Self {
            options: FileOptions {
                path: options.path.clone(),
                ..*options
            },
            bytes: len,
            aside: 0,
            placed: None,
            handle,
            path,
        };
        let beside = match fs::read_to_string(this.beside()) {
            Ok(text) => Beside::read(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&this.beside(), "read", &error)),
        };
        let Some(beside) = beside else {
            return Ok(this);
        };
        this.aside = beside.aside;
        // A file that was begun anew since is shorter: all of it came after.
        let keep = match path_of(&this.options.path, signal, Some(beside.aside + 1)).exists() {
            true => {
                this.aside += 1;
                0
            }
            false => beside.bytes.min(len),
        };
        let cut = this.handle.set_len(keep);
        cut.map_err(|error| failed(&this.path, "cut", &error))?;
        this.bytes = keep;
        this.placed = Some(beside.placed);
        Ok(this)
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".place");
        self.path.with_file_name(name)
    }

    fn signal(&self) -> Option<Signal> {
        let of = |signal: &Signal| path_of(&self.options.path, *signal, None) == self.path;
        Signal::ALL.into_iter().find(of)
    }

    /// Sets the full file aside, begins a new one, and removes what is too old.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(signal) = self.signal() else {
            return Ok(());
        };
        let aside = |n| path_of(&self.options.path, signal, Some(n));
        fs::rename(&self.path, aside(self.aside + 1))?;
        self.aside += 1;
        self.handle = open(&self.path)?;
        self.bytes = 0;
        if let Some(most) = self.options.max_files {
            let gone = (self.aside + 1).saturating_sub(most.into());
            for old in (1..=gone).rev().map(aside).take_while(|old| old.exists()) {
                fs::remove_file(old)?;
            }
        }
        Ok(())
    }

    fn keep_place(&self, placed: Placed) -> io::Result<()> {
        let beside = Beside {
            placed,
            bytes: self.bytes,
            aside: self.aside,
        };
        let new = self.beside().with_extension("place.new");
        fs::write(&new, beside.text())?;
        fs::rename(&new, self.beside())
    }
}

impl Send for File {
    fn send(&mut self, body: &[u8]) -> Result<Taken, Untaken> {
        let retry = |error: io::Error, path: &Path| {
            Untaken::Retry(format!("cannot write {}: {error}", path.display()), None)
        };
        let mut line = Vec::with_capacity(body.len() + 1);
        line.extend_from_slice(body);
        line.push(b'\n');
        if let Err(error) = self.handle.write_all(&line) {
            // Half a line must not stand before the next one.
            let _ = self.handle.set_len(self.bytes);
            return Err(retry(error, &self.path));
        }
        self.bytes += line.len() as u64;
        Ok(Taken::default())
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        let placed = self.placed.filter(|placed| placed.log == log);
        Ok(placed.map(|placed| placed.position))
    }

    fn reached(&mut self, placed: Placed) -> Result<(), SinkError> {
        let kept = self.keep_place(placed);
        kept.map_err(|error| failed(&self.beside(), "write", &error))?;
        self.placed = Some(placed);
        // Between two batches, so that none is torn apart: what is aside is complete.
        if self.bytes >= self.options.max_bytes {
            let rotated = self.rotate();
            rotated.map_err(|error| failed(&self.path, "set aside", &error))?;
        }
        Ok(())
    }
}
