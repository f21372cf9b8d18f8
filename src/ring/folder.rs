//! The folder of an instance in shared memory: made without following links, private to the user.
//!
//! Always true:
//! - nothing below the base folder is opened through a symbolic link, and folders that belong to
//!   somebody else or that others may enter are refused
//! - a file's space is reserved before anybody maps it, so a full file system is an error here and
//!   never a signal later

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, CWD},
    io::Errno,
};

use crate::{
    record::id::{InstanceId, LogId},
    sync::fault::{step, step_of},
};

/// Name of the file that belongs to the instance as a whole.
pub const NAMES: &str = "names";

/// An instance's folder.
#[derive(Debug)]
pub struct Folder {
    user: OwnedFd,
    dir: OwnedFd,
    name: String,
}

/// Name of a ring's file.
pub fn ring_name(ring: u32) -> String {
    format!("ring-{ring:05}")
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn refuse(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, what)
}

/// Opens a folder inside `parent` and makes sure that it is the user's alone.
fn open_private(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let dir = fs::openat(parent, name, folder_flags(), Mode::empty())?;
    let stat = fs::fstat(&dir)?;
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me {
        return Err(refuse(format!("{name} belongs to user {}", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err(refuse(format!("{name} is open to others (mode {mode:o})")));
    }
    Ok(dir)
}

fn make_private(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_private(parent, name),
        Err(error) => Err(error.into()),
    }
}

fn user_name() -> String {
    format!("emberlog-{}", rustix::process::geteuid().as_raw())
}

fn open_base(base: &Path) -> io::Result<OwnedFd> {
    // The base itself is the user's or the administrator's choice and may be a link.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(CWD, base, flags, Mode::empty())?)
}

impl Folder {
    /// Makes the folder of a new instance.
    pub fn create(base: &Path, log: LogId, instance: InstanceId) -> io::Result<Self> {
        let base = open_base(base)?;
        step("rings.user")?;
        let user = make_private(base.as_fd(), &user_name())?;
        let name = format!("{log}-{instance}");
        step("rings.folder")?;
        let dir = make_private(user.as_fd(), &name)?;
        Ok(Self { user, dir, name })
    }

    /// The folders of this user whose log and instance are `wanted`; those that cannot be opened are
    /// left out. Nothing is opened that is not wanted: there may be hundreds, of other logs.
    pub fn all(
        base: &Path,
        wanted: impl Fn(LogId, InstanceId) -> bool,
    ) -> io::Result<Vec<(LogId, InstanceId, Self)>> {
        let base = open_base(base)?;
        let user = open_private(base.as_fd(), &user_name())?;
        let mut found = Vec::new();
        for entry in fs::Dir::read_from(&user)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let Some((log, instance)) = name.split_once('-') else {
                continue;
            };
            let (Ok(log), Ok(instance)) = (log.parse(), instance.parse()) else {
                continue;
            };
            if !wanted(log, instance) {
                continue;
            }
            let Ok(dir) = open_private(user.as_fd(), name) else {
                continue;
            };
            let folder = Self {
                user: user.try_clone()?,
                dir,
                name: name.to_owned(),
            };
            found.push((log, instance, folder));
        }
        found.sort_by_key(|(log, instance, _)| (*log, *instance));
        Ok(found)
    }

    /// Makes a file with `bytes` reserved bytes.
    pub fn create_file(&self, name: &str, bytes: usize) -> io::Result<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        step_of("rings.create", name.as_bytes())?;
        let file = fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        let reserved = step_of("rings.reserve", name.as_bytes());
        if let Err(error) = reserved.and_then(|()| reserve(&file, bytes)) {
            let _ = fs::unlinkat(&self.dir, name, AtFlags::empty());
            return Err(error);
        }
        Ok(file)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(&self.dir, name, flags, Mode::empty())?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refuse(format!("{name} is no regular file")));
        }
        Ok(File::from(file))
    }

    /// Names of the files in it, sorted.
    pub fn files(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            if let Ok(name) = entry?.file_name().to_str() {
                if name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Takes one file away.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// Takes the folder away with what this crate puts into it.
    pub fn remove(&self) -> io::Result<()> {
        for name in self.files()? {
            if name == NAMES || name.starts_with("ring-") {
                step_of("rings.unlink", name.as_bytes())?;
                match fs::unlinkat(&self.dir, &*name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        step("rings.remove")?;
        match fs::unlinkat(&self.user, &*self.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Memory that is mapped like a file but dies with the process.
#[cfg(target_os = "linux")]
pub fn anonymous(bytes: usize) -> io::Result<OwnedFd> {
    let file = fs::memfd_create("emberlog-ring", fs::MemfdFlags::CLOEXEC)?;
    reserve(&file, bytes)?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn reserve(file: &OwnedFd, bytes: usize) -> io::Result<()> {
    let whole = || fs::fallocate(file, fs::FallocateFlags::empty(), 0, bytes as u64);
    match rustix::io::retry_on_intr(whole) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, bytes),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(file: &OwnedFd, bytes: usize) -> io::Result<()> {
    write_zeros(file, bytes)
}

fn write_zeros(file: &OwnedFd, bytes: usize) -> io::Result<()> {
    let zeros = vec![0; bytes.min(1 << 16)];
    let mut at = 0;
    while at < bytes {
        let some = &zeros[..zeros.len().min(bytes - at)];
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, some, at as u64))? {
            0 => return Err(io::ErrorKind::StorageFull.into()),
            written => at += written,
        }
    }
    Ok(())
}
