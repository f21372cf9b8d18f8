//! The locks of `std` for ThreadSanitizer, which is blind to how those order threads: what waits for
//! a contended lock, and all of the condition variable, is code of a standard library that was
//! built without it.
//!
//! Always true: each lock has a word of its own, stored by Release before the lock is let go and
//! loaded by Acquire after it was taken. So exactly what the lock orders is seen as ordered, and
//! nothing else: a race in lock-free code beside it is still reported.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        self,
        atomic::{AtomicU32, Ordering},
        LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult,
    },
    time::Duration,
};

/// See [`std::sync::Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    order: AtomicU32,
    inner: sync::Mutex<T>,
}

/// See [`std::sync::MutexGuard`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    order: &'a AtomicU32,
    /// `None` while a condition variable has it.
    inner: Option<sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            order: AtomicU32::new(0),
            inner: sync::Mutex::new(value),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        whole(self.inner.lock(), |guard| taken(&self.order, guard))
    }

    // Not everything that `std` has is needed by each set of features.
    #[allow(dead_code)]
    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(guard) => Ok(taken(&self.order, guard)),
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
            Err(TryLockError::Poisoned(error)) => {
                let guard = taken(&self.order, error.into_inner());
                Err(TryLockError::Poisoned(PoisonError::new(guard)))
            }
        }
    }
}

fn taken<'a, T>(order: &'a AtomicU32, inner: sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    // Acquire: meets the Release in `let_go`, by whoever had the lock last.
    order.load(Ordering::Acquire);
    MutexGuard {
        order,
        inner: Some(inner),
    }
}

impl<T> MutexGuard<'_, T> {
    fn let_go(&self) {
        // Release: meets the Acquire in `taken`.
        self.order.store(1, Ordering::Release);
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The field is dropped, and so the lock let go, after this.
        if self.inner.is_some() {
            self.let_go();
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.inner.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("held")
    }
}

/// See [`std::sync::Condvar`].
#[derive(Debug, Default)]
pub(crate) struct Condvar(sync::Condvar);

#[allow(dead_code)] // as above
impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
    ) -> LockResult<MutexGuard<'a, T>> {
        guard.let_go();
        let inner = guard.inner.take().expect("held");
        whole(self.0.wait(inner), |inner| taken(guard.order, inner))
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        guard.let_go();
        let inner = guard.inner.take().expect("held");
        whole(self.0.wait_timeout(inner, timeout), |(inner, result)| {
            (taken(guard.order, inner), result)
        })
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Does the same to what was locked, poisoned or not.
fn whole<A, B>(locked: LockResult<A>, change: impl FnOnce(A) -> B) -> LockResult<B> {
    match locked {
        Ok(inner) => Ok(change(inner)),
        Err(error) => Err(PoisonError::new(change(error.into_inner()))),
    }
}
