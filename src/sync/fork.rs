//! What the child of a fork must find in order, although it has only one of its parent's threads.
//!
//! Always true, where the process forks by the C library and not by a raw `clone`:
//! - the locks that a child may need are held by the forking thread during the fork, so that no
//!   thread that the child lacks holds them there
//! - a child keeps no [`HomeFile`] open: what is locked by such a file is free as soon as the parent
//!   is gone, however long its children live
//!
//! `exit` has the C library call this.

use std::{
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A file that only the process that opened it holds, because a lock goes with it.
#[derive(Debug)]
pub(crate) struct HomeFile(Arc<Slot>);

/// `None` in the child of a fork.
type Slot = Mutex<Option<File>>;

static FILES: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HomeFile {
    pub(crate) fn new(file: File) -> Self {
        let slot = Arc::new(Mutex::new(Some(file)));
        let mut files = lock(&FILES);
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(&slot));
        Self(slot)
    }

    /// Does something with the file; `None` in the child of a fork.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&File) -> R) -> Option<R> {
        lock(&self.0).as_ref().map(work)
    }
}

/// What happens around a fork, where there is one.
#[cfg(unix)]
mod around {
    use std::sync::{Mutex, MutexGuard, Weak};

    use super::{lock, Slot, FILES};

    /// Something that must be held still while the process forks: how, and how to let it go.
    #[derive(Clone, Copy)]
    pub(crate) struct Still {
        pub(crate) hold: fn(),
        pub(crate) let_go: fn(),
    }

    static STILL: Mutex<Vec<Still>> = Mutex::new(Vec::new());

    /// From now on `still` is held while the process forks.
    pub(crate) fn keep_still(still: Still) {
        lock(&STILL).push(still);
    }

    type Held = (
        MutexGuard<'static, Vec<Still>>,
        MutexGuard<'static, Vec<Weak<Slot>>>,
    );

    thread_local! {
        /// What this thread holds while it forks.
        static HELD: std::cell::Cell<Option<Held>> = const { std::cell::Cell::new(None) };
    }

    /// Before a fork, on the thread that forks.
    pub(crate) fn before() {
        let held = (lock(&STILL), lock(&FILES));
        held.0.iter().for_each(|still| (still.hold)());
        // A thread so far gone that it has no storage lets go at once.
        let _ = HELD.try_with(|cell| cell.set(Some(held)));
    }

    /// After a fork, in the parent.
    pub(crate) fn in_parent() {
        if let Ok(Some((still, _))) = HELD.try_with(std::cell::Cell::take) {
            still.iter().rev().for_each(|still| (still.let_go)());
        }
    }

    /// After a fork, in the child.
    pub(crate) fn in_child() {
        let Ok(Some((still, mut files))) = HELD.try_with(std::cell::Cell::take) else {
            return;
        };
        for slot in files.drain(..).filter_map(|file| file.upgrade()) {
            // The parent's copy stays open, and with it the lock. Whoever has the slot locked at this
            // moment is a thread that is not here: then the copy stays.
            if let Ok(mut slot) = slot.try_lock() {
                slot.take();
            }
        }
        still.iter().rev().for_each(|still| (still.let_go)());
    }
}

#[cfg(unix)]
pub(crate) use around::{before, in_child, in_parent, keep_still, Still};
