//! Where the memory of rings comes from: files, or else what dies with the process; never more than
//! the options allow.

#[cfg(unix)]
use std::{io, path::Path};

#[cfg(unix)]
use super::{
    super::{
        folder::{self, Folder},
        gate::Gate,
        options::Options,
        shared::Shared,
    },
    InstanceId, LogId,
};
use super::{
    super::{
        layout::{Identity, Shape},
        lease::{Backing, Ring},
        options::MIN_RING,
        shared,
        storage::Memory,
    },
    Book, Registry, HELD_PART,
};
use crate::{record::layout::RING_HELD, sync::Ordering};

impl Registry {
    /// The folder of the instance and the shared file in it, or why there is none.
    #[cfg(unix)]
    pub(super) fn files(
        options: &Options,
        log: LogId,
        instance: InstanceId,
        log_dir: &Path,
        gate: &Gate,
    ) -> Result<(Folder, Shared), String> {
        if !options.crash_safe {
            return Err("crash_safe is off".to_owned());
        }
        let base = options.base_dir();
        let tell = |error: io::Error| format!("{}: {error}", base.display());
        let folder = Folder::create(&base, log, instance).map_err(tell)?;
        match Shared::create(&folder, log, instance, log_dir, gate.clone()) {
            Ok(shared) => Ok((folder, shared)),
            Err(error) => {
                let _ = folder.remove();
                Err(tell(error))
            }
        }
    }

    /// Sets memory aside for a ring of the size that is due.
    pub(super) fn reserve(&self, book: &mut Book, held: bool) -> Option<(u32, Shape)> {
        let options = self.options();
        // Relaxed: the book is locked.
        let of_held = self.inner.held_bytes.load(Ordering::Relaxed) as usize;
        let (taken, total) = match held {
            true => (of_held, options.total_bytes / HELD_PART),
            false => (book.bytes, options.total_bytes),
        };
        let sizes = [options.ring_bytes, 256 << 10, MIN_RING];
        // Full rings up to a half, then small ones, then the smallest: so a thousand threads at
        // once find room under the default ceiling.
        let from = [total / 2, total / 8 * 5, usize::MAX];
        let due = from.iter().position(|end| taken < *end).unwrap_or(2);
        let shape = sizes[due..]
            .iter()
            .map(|size| Shape::ring((*size).min(options.ring_bytes), options.open_spans))
            .find(|shape| taken + shape.bytes() <= total)
            .filter(|shape| book.bytes + shape.bytes() <= options.total_bytes)?;
        book.bytes += shape.bytes();
        book.numbers += 1;
        let mut number = book.numbers - 1;
        if held {
            // Relaxed: the book is locked.
            let bytes = shape.bytes() as u64;
            self.inner.held_bytes.fetch_add(bytes, Ordering::Relaxed);
            number |= RING_HELD;
        }
        Some((number, shape))
    }

    /// Makes the memory of a ring: a file, or else what dies with the process.
    pub(super) fn make(&self, number: u32, shape: Shape, further: bool) -> Option<Ring> {
        let (memory, backing) = self.memory(number, shape).or_else(|| {
            let mut book = self.book();
            let bytes = if further {
                &mut book.further_bytes
            } else {
                &mut book.bytes
            };
            *bytes -= shape.bytes();
            None
        })?;
        #[cfg(not(loom))]
        {
            let identity = Identity {
                ring: number,
                log: self.inner.log,
                instance: self.inner.instance,
                shape,
                pid: std::process::id(),
            };
            shared::put_bytes(memory.words(), 0, &identity.encode());
        }
        Some(Ring::new(number, memory, backing, further))
    }

    /// The memory of a ring in a file, where files are to be had.
    #[cfg(unix)]
    fn file(&self, number: u32, shape: Shape) -> Option<Memory> {
        use std::os::fd::AsFd;
        let folder = self.inner.folder.as_ref()?;
        let name = folder::ring_name(number);
        let file = folder.create_file(&name, shape.bytes());
        let mapped = file.and_then(|file| {
            crate::sync::fault::step("rings.map")?;
            Memory::map(file.as_fd(), shape)
        });
        match mapped {
            Ok(memory) => Some(memory),
            Err(error) => {
                let _ = folder.remove_file(&name);
                let why = format!("{name}: {error}");
                self.book().refused.get_or_insert(why);
                None
            }
        }
    }

    #[cfg(not(unix))]
    fn file(&self, _: u32, _: Shape) -> Option<Memory> {
        None
    }

    fn memory(&self, number: u32, shape: Shape) -> Option<(Memory, Backing)> {
        #[cfg(all(test, not(loom)))]
        if self.inner.wraps.load(Ordering::Relaxed) == 1 {
            return Some((Memory::heap(shape).ok()?, Backing::Private));
        }
        if let Some(memory) = self.file(number, shape) {
            return Some((memory, Backing::File));
        }
        #[cfg(all(target_os = "linux", not(loom)))]
        {
            use std::os::fd::AsFd;
            let file = folder::anonymous(shape.bytes());
            if let Ok(memory) = file.and_then(|file| Memory::map(file.as_fd(), shape)) {
                return Some((memory, Backing::Private));
            }
        }
        Some((Memory::heap(shape).ok()?, Backing::Private))
    }
}
