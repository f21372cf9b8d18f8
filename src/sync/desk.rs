//! A list of work behind a lock: one thread does it, others add to it and wait until it is done.
//!
//! Always true:
//! - no change under the lock is missed by whoever looks under the lock before it waits
//! - nor is one outside of it that is told with [`Desk::tell_after`]
//! - a panic while the lock was held leaves it usable: the fields of such a list stand for
//!   themselves

use std::time::Instant;

use super::{Condvar, Mutex, MutexGuard};

/// See the module.
#[derive(Debug)]
pub struct Desk<W> {
    work: Mutex<W>,
    /// The thread that does the work waits here.
    wake: Condvar,
    /// Everybody else waits here.
    done: Condvar,
}

impl<W> Desk<W> {
    /// With this list.
    pub fn new(work: W) -> Self {
        Self {
            work: Mutex::new(work),
            wake: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// Locks the list.
    pub fn work(&self) -> MutexGuard<'_, W> {
        self.work.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Wakes the thread that does the work, after the list was changed.
    pub fn wake(&self) {
        self.wake.notify_all();
    }

    /// Tells everybody who waits that something was done, after the list was changed.
    pub fn tell(&self) {
        self.done.notify_all();
    }

    /// The same after a change that was made without the lock.
    pub fn tell_after(&self) {
        // Whoever looked before the change holds the lock until it waits.
        drop(self.work());
        self.tell();
    }

    /// Waits for work, at most until `due`.
    pub fn wait_for_work<'a>(
        &self,
        work: MutexGuard<'a, W>,
        due: Option<Instant>,
    ) -> MutexGuard<'a, W> {
        wait(&self.wake, work, due)
    }

    /// Waits until something was done, at most until `deadline`.
    pub fn wait_until_done<'a>(
        &self,
        work: MutexGuard<'a, W>,
        deadline: Instant,
    ) -> MutexGuard<'a, W> {
        wait(&self.done, work, Some(deadline))
    }

    /// Asks the worker for something until `answer`, which may add to the list, has one; `None`
    /// at the deadline.
    pub fn ask<R>(
        &self,
        deadline: Instant,
        mut answer: impl FnMut(&mut W) -> Option<R>,
    ) -> Option<R> {
        let mut work = self.work();
        loop {
            if let Some(answer) = answer(&mut work) {
                return Some(answer);
            }
            if Instant::now() >= deadline {
                return None;
            }
            self.wake();
            work = self.wait_until_done(work, deadline);
        }
    }
}

fn wait<'a, W>(on: &Condvar, work: MutexGuard<'a, W>, due: Option<Instant>) -> MutexGuard<'a, W> {
    match due {
        None => on.wait(work).unwrap_or_else(|e| e.into_inner()),
        Some(due) => {
            let left = due.saturating_duration_since(Instant::now());
            match on.wait_timeout(work, left) {
                Ok((work, _)) => work,
                Err(e) => e.into_inner().0,
            }
        }
    }
}
