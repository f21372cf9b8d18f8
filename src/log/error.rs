//! What can go wrong with a log.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{layout::FORMAT_MAJOR, options::OptionsError, writer::Appended};
use crate::record::RecordError;

/// Why a log cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one elsewhere, writes to it.
    #[error("log directory {path} is in use by {holder}")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// Written by a newer build; nothing was changed.
    #[error("{path} uses format {found}, this build reads up to {newest}")]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its major version.
        found: u16,
        /// Newest one that this build knows.
        newest: u16,
    },
    /// Something that is no directory has the name, a symbolic link included.
    #[error("{path} is no directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
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

impl OpenError {
    pub(super) fn newer(path: &Path, found: u16) -> Self {
        Self::NewerFormat {
            path: path.into(),
            found,
            newest: FORMAT_MAJOR,
        }
    }
}

/// Attaches what was tried to an I/O error.
pub(super) fn on<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io {
        what,
        path: path.into(),
        source,
    }
}

/// Why records were not appended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The segment is full or has to be left; roll, then append the rest.
    #[error("the segment is full after {} more records", .appended.records)]
    SegmentFull {
        /// What of this call was appended; it counts.
        appended: Appended,
    },
    /// These bytes are no records. What this call appended before them counts.
    #[error("bytes that are no record, after {} good ones", .appended.records)]
    Record {
        /// What of this call was appended.
        appended: Appended,
        /// What is wrong with the next record.
        #[source]
        source: RecordError,
    },
    /// The file could not be written. Nothing since the last commit counts; append it all again.
    #[error("cannot write the log")]
    Io(#[source] io::Error),
    /// There is no next segment yet. Nothing changed; try again.
    #[error("the next segment is not ready")]
    NotReady {
        /// Why not, where something failed.
        #[source]
        source: Option<io::Error>,
    },
    /// The first frame of a segment must carry a clock anchor.
    #[error("no clock anchor before the first record of the segment")]
    NoAnchor,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no log.
    #[error("{path} is no log")]
    NotALog {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// Written by a newer build.
    #[error("{path} uses format {found}, this build reads up to {newest}")]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// Its major version.
        found: u16,
        /// Newest one that this build knows.
        newest: u16,
    },
    /// A file operation failed.
    #[error("cannot read {path}")]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// There are fewer frames.
    #[error("no frame {0} in this segment")]
    NoSuchFrame(u32),
    /// Its bytes do not match its checksum.
    #[error("the frame at {0} is damaged")]
    Damaged(super::Position),
    /// A newer build wrote it in a way that this one must not read; what follows can be read.
    #[error("the frame at {0} needs a newer version to be read")]
    Newer(super::Position),
    /// The clock anchor that it needs is damaged or missing, and no other one is to be had.
    #[error("the frame at {0} has no clock anchor")]
    NoAnchor(super::Position),
}
