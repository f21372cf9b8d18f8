//! What lock-free code stands on: `std`, or loom's doubles when built with `--cfg loom`.
//!
//! Every ordering that a protocol relies on is written `ord!(Site, Release)`: plainly that ordering
//! in a normal build. Loom models weaken one named site at a time and must then fail
//! (`loom-tests`), and so do runs under ThreadSanitizer (`scripts/test tsan`).

/// Locks of what no model explores; these may stand in a `static`.
#[cfg(not(tsan))]
pub(crate) mod plain {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
}
#[cfg(tsan)]
#[path = "sync/tsan.rs"]
pub(crate) mod plain;

pub(crate) mod desk;
pub(crate) mod fault;
#[cfg(not(loom))]
pub(crate) mod fork;

#[cfg(not(loom))]
pub(crate) use plain::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    atomic::{fence, AtomicU32, AtomicU64, Ordering},
    Arc,
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    atomic::{fence, AtomicU32, AtomicU64, Ordering},
    Arc, Condvar, Mutex, MutexGuard,
};

/// The ordering of one named site.
#[cfg(not(any(loom, tsan)))]
macro_rules! ord {
    ($site:ident, $ordering:ident) => {
        $crate::sync::Ordering::$ordering
    };
}

/// The ordering of one named site, weakened to `Relaxed` while that mutant is planted.
#[cfg(any(loom, tsan))]
macro_rules! ord {
    ($site:ident, $ordering:ident) => {
        if $crate::sync::mutant::planted(stringify!($site)) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$ordering
        }
    };
}

/// A fence at one named site.
#[cfg(not(any(loom, tsan)))]
macro_rules! fence_at {
    ($site:ident, $ordering:ident) => {
        $crate::sync::fence($crate::sync::Ordering::$ordering)
    };
}

/// A fence at one named site, left out while that mutant is planted.
#[cfg(any(loom, tsan))]
macro_rules! fence_at {
    ($site:ident, $ordering:ident) => {
        if !$crate::sync::mutant::planted(stringify!($site)) {
            $crate::sync::fence($crate::sync::Ordering::$ordering)
        }
    };
}

pub(crate) use {fence_at, ord};

/// Which ordering the running model weakens.
#[cfg(loom)]
pub mod mutant {
    use std::cell::Cell;

    thread_local! {
        // loom runs all threads of a model on one OS thread, so this reaches each of them.
        static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Whether `site` is the weakened one.
    pub fn planted(site: &str) -> bool {
        PLANTED.with(|p| p.get() == Some(site))
    }

    /// Weakens `site` while `run` runs.
    pub fn plant<R>(site: &'static str, run: impl FnOnce() -> R) -> R {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                PLANTED.with(|p| p.set(None));
            }
        }
        PLANTED.with(|p| p.set(Some(site)));
        let _reset = Reset;
        run()
    }
}

/// Which ordering a run under ThreadSanitizer weakens, to see that it finds that.
#[cfg(tsan)]
pub(crate) mod mutant {
    use std::sync::OnceLock;

    /// Whether `site` is the weakened one: the environment says which.
    pub(crate) fn planted(site: &str) -> bool {
        static PLANTED: OnceLock<Option<String>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| std::env::var("EMBERLOG_MUTANT").ok());
        planted.as_deref() == Some(site)
    }
}
