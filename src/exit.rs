//! What is to be done when the process ends normally (on return from `main`, `process::exit`, or
//! after a panic of the main thread), and when it forks.

#![cfg_attr(
    any(unix, windows),
    expect(
        unsafe_code,
        reason = "registering with the C library is the only way to learn of an exit or a fork"
    )
)]

use std::sync::{Mutex, Once, PoisonError, Weak};

/// Something that wants to finish its work before the process is gone.
pub(crate) trait AtExit: Send + Sync {
    /// Finishes within a bounded time. Runs on the exiting thread, whose thread-local storage may
    /// be gone; other threads still run.
    fn at_exit(&self);
}

type Live = Vec<Weak<dyn AtExit>>;

static LIVE: Mutex<Live> = Mutex::new(Vec::new());

/// Has the C library tell us of forks and of the end, once for the process. Comes before anything
/// is opened that a forked child must not keep.
pub(crate) fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        #[cfg(any(unix, windows))]
        {
            extern "C" {
                fn atexit(callback: extern "C" fn()) -> std::ffi::c_int;
            }
            // SAFETY: `atexit` of the C library takes a function without arguments and keeps it
            // for the life of the process; `run` is such a function, static, and does not unwind.
            // A failure (no memory) only means that nothing is flushed at exit.
            let _ = unsafe { atexit(run) };
        }
        #[cfg(unix)]
        {
            use around_fork::{before, in_child, in_parent};
            type Handler = Option<extern "C" fn()>;
            extern "C" {
                fn pthread_atfork(
                    before: Handler,
                    parent: Handler,
                    child: Handler,
                ) -> std::ffi::c_int;
            }
            // SAFETY: `pthread_atfork` keeps three functions without arguments for the life of the
            // process; these are static and do not unwind. A failure (no memory) only means that
            // forks go unnoticed here, as those by a raw `clone` do.
            let _ = unsafe { pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        }
    });
}

/// Remembers `work` until it is dropped.
pub(crate) fn register(work: Weak<dyn AtExit>) {
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    live.retain(|work| work.strong_count() > 0);
    live.push(work);
}

/// Around a fork.
#[cfg(unix)]
mod around_fork {
    use std::{
        cell::Cell,
        sync::{MutexGuard, PoisonError},
    };

    use super::{Live, LIVE};
    use crate::sync::fork;

    thread_local! {
        /// Held by a thread while it forks.
        static HELD: Cell<Option<MutexGuard<'static, Live>>> = const { Cell::new(None) };
    }

    pub(super) extern "C" fn before() {
        let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = HELD.try_with(|held| held.set(Some(live)));
        fork::before();
    }

    pub(super) extern "C" fn in_parent() {
        fork::in_parent();
        let _ = HELD.try_with(Cell::take);
    }

    pub(super) extern "C" fn in_child() {
        fork::in_child();
        let _ = HELD.try_with(Cell::take);
    }
}

#[cfg(any(unix, windows))]
extern "C" fn run() {
    // Unwinding out of here would abort the process and hide its exit code.
    let _ = std::panic::catch_unwind(|| {
        // The child of a raw `clone` may have inherited the lock in a locked state.
        let Ok(live) = LIVE.try_lock() else { return };
        let work: Vec<_> = live.iter().filter_map(Weak::upgrade).collect();
        drop(live);
        for work in work {
            work.at_exit();
        }
    });
}
