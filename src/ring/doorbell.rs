//! Sleeping until there is something to do, without missing it.
//!
//! ```text
//! sleeper                         ringer
//! asleep = 1                      store what is to be seen
//! fence SeqCst ---------\ /------ fence SeqCst
//! is there something?    X        asleep?  yes: wake
//! no: sleep ------------/ \------
//! ```
//!
//! Always true: either the sleeper sees what was stored, or the ringer sees that it sleeps.
//! At most one thread sleeps on a doorbell.

use std::time::Duration;

use crate::sync::{fence_at, AtomicU32, Ordering};

/// Wakes one sleeper.
#[derive(Debug)]
pub struct Doorbell {
    asleep: AtomicU32,
    park: Park,
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

impl Doorbell {
    /// Nobody sleeps.
    pub fn new() -> Self {
        Self {
            asleep: AtomicU32::new(0),
            park: Park::new(),
        }
    }

    /// Sleeps until the bell rings or the time is over, unless `ready` finds something to do.
    /// What is stored before a ring is seen by `ready` or ends the sleep.
    pub fn sleep(&self, timeout: Duration, ready: impl FnOnce() -> bool) {
        // Relaxed: ordered by the fence below.
        self.asleep.store(1, Ordering::Relaxed);
        // SeqCst: meets the fence in `ring`.
        fence_at!(BellSleep, SeqCst);
        if !ready() {
            self.park.wait(&self.asleep, timeout);
        }
        // Relaxed: a ring that still sees 1 wakes nobody, and what it announces is looked for
        // after this.
        self.asleep.store(0, Ordering::Relaxed);
    }

    /// Wakes the sleeper if it sleeps; costs a fence and a load if it does not.
    pub fn ring(&self) {
        // SeqCst: meets the fence in `sleep`.
        fence_at!(BellRing, SeqCst);
        // Relaxed: ordered by the fence above.
        if self.asleep.load(Ordering::Relaxed) == 1 {
            self.park.wake(&self.asleep);
        }
    }
}

/// Waiting for a word to be no longer 1: a futex.
#[cfg(all(target_os = "linux", not(loom)))]
#[derive(Debug)]
struct Park;

#[cfg(all(target_os = "linux", not(loom)))]
impl Park {
    fn new() -> Self {
        Self
    }

    fn wait(&self, asleep: &AtomicU32, timeout: Duration) {
        use rustix::thread::futex;
        let timeout = futex::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // Returns at once if `asleep` is not 1, and early for signals: callers look again anyway.
        let _ = futex::wait(asleep, futex::Flags::PRIVATE, 1, Some(&timeout));
    }

    #[cold]
    fn wake(&self, asleep: &AtomicU32) {
        // Relaxed: the kernel orders it with the sleeper's comparison.
        if asleep.swap(0, Ordering::Relaxed) == 1 {
            let _ = rustix::thread::futex::wake(asleep, rustix::thread::futex::Flags::PRIVATE, 1);
        }
    }
}

/// Waiting for a word to be no longer 1, portably.
#[cfg(any(not(target_os = "linux"), loom))]
#[derive(Debug)]
struct Park {
    lock: crate::sync::Mutex<()>,
    changed: crate::sync::Condvar,
}

#[cfg(any(not(target_os = "linux"), loom))]
impl Park {
    fn new() -> Self {
        Self {
            lock: crate::sync::Mutex::new(()),
            changed: crate::sync::Condvar::new(),
        }
    }

    fn wait(&self, asleep: &AtomicU32, timeout: Duration) {
        use std::sync::PoisonError;
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: `wake` stores under the lock.
        if asleep.load(Ordering::Relaxed) == 1 {
            let _ = self.changed.wait_timeout(guard, timeout);
        }
    }

    #[cold]
    fn wake(&self, asleep: &AtomicU32) {
        use std::sync::PoisonError;
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        asleep.store(0, Ordering::Relaxed);
        self.changed.notify_all();
    }
}
