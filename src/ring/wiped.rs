//! Memory that a forked child finds empty.

#![cfg_attr(
    all(not(loom), target_os = "linux"),
    expect(unsafe_code, reason = "a mapping with an advice of its own")
)]

use std::sync::{atomic::AtomicU32, OnceLock};

/// A page of words that read 0 in a forked child, if the system can do that.
///
/// It is never unmapped. There is one for the process.
pub fn wiped_page() -> Option<&'static [AtomicU32; 1024]> {
    static PAGE: OnceLock<Option<&'static [AtomicU32; 1024]>> = OnceLock::new();
    // There is no forking inside a model.
    #[cfg(any(loom, not(target_os = "linux")))]
    return *PAGE.get_or_init(|| None);
    #[cfg(all(not(loom), target_os = "linux"))]
    *PAGE.get_or_init(|| {
        use rustix::mm;
        let access = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
        let flags = mm::MapFlags::PRIVATE;
        let bytes = rustix::param::page_size();
        // SAFETY: a new anonymous mapping at a place that the kernel picks.
        let base =
            unsafe { mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, flags) }.ok()?;
        // SAFETY: our own mapping, which nobody has seen yet.
        let wiped = unsafe { mm::madvise(base, bytes, mm::Advice::LinuxWipeOnFork) };
        if wiped.is_err() {
            // SAFETY: as above.
            let _ = unsafe { mm::munmap(base, bytes) };
            return None;
        }
        // SAFETY: at least 4096 zeroed bytes, page-aligned, never unmapped; all access is atomic.
        Some(unsafe { &*base.cast() })
    })
}
