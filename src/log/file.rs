//! Files, as much of them as the log needs, on every system that Rust's `std` knows.
//!
//! Linux calls have a fallback in `std`; what a fallback does worse is said where it stands.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    sync::OnceLock,
};

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};

use crate::sync::fork::HomeFile;

pub(super) use crate::sync::fault::{moment, step, step_of, work_for};

/// What is done to a file or a name, so that a test can tell what a power cut would leave.
#[cfg_attr(not(all(test, target_os = "linux")), expect(dead_code))]
pub(super) enum Change<'a> {
    Create(&'a Path),
    Write(&'a File, [&'a [u8]; 3], u64),
    /// At least so long, or exactly (`true`).
    Length(&'a File, u64, bool),
    Zero(&'a File, u64, u64),
    Sync(&'a File),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    SyncDir(&'a Path),
}

#[cfg(not(all(test, target_os = "linux")))]
#[inline(always)]
pub(super) fn change<R>(_: Change<'_>, run: impl FnOnce() -> R) -> R {
    run()
}

#[cfg(all(test, target_os = "linux"))]
pub(super) use super::tests::disk::change;

/// Names the boot of this machine; zeros where the system does not.
pub(super) fn boot_id() -> [u8; 16] {
    static BOOT: OnceLock<[u8; 16]> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        u128::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes()
    })
}

#[cfg(unix)]
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

#[cfg(windows)]
fn options() -> OpenOptions {
    use std::os::windows::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    // FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE: retention removes files that readers
    // have open.
    options.share_mode(7);
    options
}

#[cfg(not(any(unix, windows)))]
fn options() -> OpenOptions {
    OpenOptions::new()
}

pub(super) fn open_ro(path: &Path) -> io::Result<File> {
    options().read(true).open(path)
}

pub(super) fn open_rw(path: &Path) -> io::Result<File> {
    options().read(true).write(true).open(path)
}

/// The file of a lock, made if it is not there.
#[cfg(unix)]
fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Creates the file, empty; whatever had the name before is replaced.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = options();
    options.read(true).write(true).create(true).truncate(true);
    change(Change::Create(path), || options.open(path))
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(path)
}

#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let what = Change::Write(file, [bytes, &[], &[]], offset);
    change(what, || file.write_all_at(bytes, offset))
}

#[cfg(unix)]
fn read_some(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(bytes, offset)
}

#[cfg(windows)]
pub(crate) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_some(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::windows::fs::FileExt;
    file.seek_read(bytes, offset)
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match read_some(file, &mut bytes[at..], offset + at as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

/// Writes the parts one after the other, in one call where the system can.
#[cfg(unix)]
pub(super) fn write_parts_at(file: &File, parts: [&[u8]; 3], offset: u64) -> io::Result<()> {
    let what = Change::Write(file, parts, offset);
    change(what, || write_vectored_at(file, parts, offset))
}

#[cfg(unix)]
fn write_vectored_at(file: &File, parts: [&[u8]; 3], mut offset: u64) -> io::Result<()> {
    let total: usize = parts.iter().map(|p| p.len()).sum();
    let slices = parts.map(io::IoSlice::new);
    let mut done = loop {
        match rustix::io::pwritev(file, &slices, offset) {
            Ok(n) => break n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    };
    if done == total {
        return Ok(());
    }
    // A short write, mostly on a disk that is just getting full: the rest says what is wrong.
    for part in parts {
        let skip = done.min(part.len());
        file.write_all_at(&part[skip..], offset + skip as u64)?;
        done -= skip;
        offset += part.len() as u64;
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn write_parts_at(file: &File, parts: [&[u8]; 3], mut offset: u64) -> io::Result<()> {
    for part in parts {
        write_at(file, part, offset)?;
        offset += part.len() as u64;
    }
    Ok(())
}

/// Reserves space. Where the file system cannot, the file only gets its length: a full disk then
/// shows as an error of the write instead of now.
pub(super) fn allocate(file: &File, len: u64) -> io::Result<()> {
    change(Change::Length(file, len, false), || reserve(file, len))
}

fn reserve(file: &File, len: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    {
        use rustix::io::Errno;
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
    }
    file.set_len(len)
}

/// Zeros a part of a file without changing its length, giving the space back where that works.
pub(super) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    if from >= to {
        return Ok(());
    }
    change(Change::Zero(file, from, to), || punch(file, from, to))
}

fn punch(file: &File, from: u64, to: u64) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::{fs::FallocateFlags, io::Errno};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(file, flags, from, to - from) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let zeros = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let n = (to - at).min(zeros.len() as u64);
        write_at(file, &zeros[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    change(Change::Sync(file), || file.sync_data())
}

/// The same with all that is known about the file.
pub(super) fn sync_all(file: &File) -> io::Result<()> {
    change(Change::Sync(file), || file.sync_all())
}

/// Makes the file as long as this.
pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    change(Change::Length(file, len, true), || file.set_len(len))
}

/// Makes the names in a directory durable. Windows has no such call and needs none.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    change(Change::SyncDir(path), || {
        #[cfg(unix)]
        File::open(path)?.sync_all()?;
        Ok(())
    })
}

/// Writes a file that is whole or not there: under another name, synced, renamed, name synced.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, |file| {
        step_of("whole.write", path.as_os_str().as_encoded_bytes())?;
        write_at(file, bytes, 0)
    })
    .map(drop)
}

/// The same with bytes that `fill` writes; returns the file.
pub(super) fn write_whole_with(
    path: &Path,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    // The extension stays part of it: two files of one stem are written at the same time.
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    let name = path.as_os_str().as_encoded_bytes();
    step_of("whole.create", name)?;
    let file = create(tmp)?;
    let done = (|| {
        fill(&file)?;
        step_of("whole.sync", name)?;
        sync_all(&file)?;
        step_of("whole.rename", name)?;
        change(Change::Rename(tmp, path), || fs::rename(tmp, path))?;
        step_of("whole.dir", name)?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    })();
    match done {
        Ok(()) => Ok(file),
        Err(e) => {
            // What it takes must not keep a full disk full.
            let _ = remove(tmp);
            Err(e)
        }
    }
}

/// Removes a file; that it is gone already is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match change(Change::Remove(path), || fs::remove_file(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Size of a file system and what is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub total: u64,
    pub free: u64,
}

/// `None` where the system does not say.
pub(super) fn space(path: &Path) -> Option<Space> {
    #[cfg(unix)]
    {
        let v = rustix::fs::statvfs(path).ok()?;
        Some(Space {
            total: v.f_blocks.saturating_mul(v.f_frsize),
            free: v.f_bavail.saturating_mul(v.f_frsize),
        })
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Whether an error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Bytes that a file takes on the disk.
pub(super) fn disk_bytes(meta: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        meta.blocks() * 512
    }
    #[cfg(not(unix))]
    {
        meta.len()
    }
}

/// A held lock file; closing the file releases it. There is no unlock, so that a forked child that
/// closes its copy does not release its parent's lock.
#[derive(Debug)]
pub(crate) struct LockFile {
    pub file: HomeFile,
}

/// Takes the lock. `None`: somebody else has it.
#[cfg(unix)]
pub(crate) fn lock(path: &Path) -> io::Result<Option<LockFile>> {
    let file = open_or_create(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(LockFile {
            file: HomeFile::new(file),
        })),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether somebody has the lock, asked without write access.
#[cfg(unix)]
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match open_ro(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// Takes the lock by opening the file for nobody else. `None`: somebody else has it.
#[cfg(windows)]
pub(crate) fn lock(path: &Path) -> io::Result<Option<LockFile>> {
    use std::os::windows::fs::OpenOptionsExt;
    const SHARING_VIOLATION: i32 = 32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // FILE_SHARE_READ: others may read who holds it.
    options.share_mode(1);
    match options.open(path) {
        Ok(file) => Ok(Some(LockFile {
            file: HomeFile::new(file),
        })),
        Err(e) if e.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether somebody has the lock.
#[cfg(windows)]
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    use std::os::windows::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.read(true).share_mode(1);
    match options.open(path) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.raw_os_error() == Some(32) => Ok(true),
        Err(e) => Err(e),
    }
}

/// A platform without files, such as WebAssembly. Nothing is recorded there, so nobody gets here.
#[cfg(not(any(unix, windows)))]
mod none {
    use super::{File, LockFile, Path};
    use std::io::{ErrorKind::Unsupported, Result};

    pub(in super::super) fn write_at(_: &File, _: &[u8], _: u64) -> Result<()> {
        Err(Unsupported.into())
    }

    pub(super) fn read_some(_: &File, _: &mut [u8], _: u64) -> Result<usize> {
        Err(Unsupported.into())
    }

    pub(in super::super) fn lock(_: &Path) -> Result<Option<LockFile>> {
        Err(Unsupported.into())
    }

    pub(in super::super) fn is_locked(_: &Path) -> Result<bool> {
        Err(Unsupported.into())
    }
}

#[cfg(not(any(unix, windows)))]
use none::read_some;
#[cfg(not(any(unix, windows)))]
pub(super) use none::{is_locked, lock, write_at};
