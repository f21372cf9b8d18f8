//! Waiting for the flusher to have come round.
//!
//! Always true:
//! - a ticket is done when a round that *began* after it was taken has ended; such a round captures
//!   tails after the ticket was taken, so it covers all that happened before
//! - whoever waits gets an answer in time, also when the flusher ends or fails
//!
//! No lock is held while anybody sleeps, and recording never comes here.

use std::{
    sync::PoisonError,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Why waiting ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was over.
    #[error("the log did not catch up in time")]
    TimedOut,
    /// The log was shut down.
    #[error("the log is shut down")]
    Closed,
    /// The flusher failed; nothing is logged any more.
    #[error("the flusher failed, nothing is logged any more")]
    Failed,
    /// Called from a thread of the engine, which would wait for itself.
    #[error("called from a thread of the engine, which would wait for itself")]
    Engine,
}

/// Number of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Tickets of those who wait for the flusher; `P` is what a round reports, such as a position.
#[derive(Debug)]
pub struct Tickets<P> {
    state: Mutex<State<P>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<P> {
    taken: u64,
    done: u64,
    reached: Option<P>,
    closed: Option<WaitError>,
    wakers: Vec<(u64, Waker)>,
}

impl<P: Clone> Default for Tickets<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Clone> Tickets<P> {
    /// Nobody waits.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                taken: 0,
                done: 0,
                reached: None,
                closed: None,
                wakers: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a ticket. The caller then rings the flusher's doorbell and waits.
    ///
    /// # Errors
    /// When no round will come any more, or on a thread of the engine.
    pub fn take(&self) -> Result<Ticket, WaitError> {
        if super::is_engine_thread() {
            return Err(WaitError::Engine);
        }
        let mut state = self.state();
        match state.closed {
            Some(why) => Err(why),
            None => {
                state.taken += 1;
                Ok(Ticket(state.taken))
            }
        }
    }

    /// Whether somebody waits for a round that has not begun.
    pub fn wanted(&self) -> bool {
        let state = self.state();
        state.taken > state.done
    }

    /// For the flusher, before it captures tails: the tickets that this round will settle.
    pub fn begin_round(&self) -> Ticket {
        Ticket(self.state().taken)
    }

    /// For the flusher, when what it captured is logged.
    pub fn end_round(&self, round: Ticket, reached: P) {
        let mut state = self.state();
        state.done = state.done.max(round.0);
        state.reached = Some(reached);
        let wakers = state.due_wakers();
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// No round will come any more. Everyone who waits gets this error, and everyone who comes.
    pub fn close(&self, why: WaitError) {
        let mut state = self.state();
        state.closed.get_or_insert(why);
        let wakers = state.due_wakers();
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until the ticket is done; returns what the last round reported.
    ///
    /// # Errors
    /// When the time is over or no round will come any more.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<P, WaitError> {
        let deadline = crate::clock::deadline(timeout);
        let mut state = self.state();
        loop {
            if let Some(answer) = state.answer(ticket) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(WaitError::TimedOut);
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The answer for a ticket, or wakes `waker` when there is one.
    pub fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Result<P, WaitError>> {
        let mut state = self.state();
        if let Some(answer) = state.answer(ticket) {
            return Poll::Ready(answer);
        }
        let known = state
            .wakers
            .iter_mut()
            .find(|(number, _)| *number == ticket.0);
        match known {
            Some((_, old)) => old.clone_from(waker),
            None => state.wakers.push((ticket.0, waker.clone())),
        }
        Poll::Pending
    }

    /// Forgets the waker of a ticket that nobody polls any more.
    pub fn forget(&self, ticket: Ticket) {
        self.state()
            .wakers
            .retain(|(number, _)| *number != ticket.0);
    }
}

impl<P: Clone> State<P> {
    fn answer(&self, ticket: Ticket) -> Option<Result<P, WaitError>> {
        match &self.reached {
            Some(reached) if self.done >= ticket.0 => Some(Ok(reached.clone())),
            _ => self.closed.map(Err),
        }
    }

    fn due_wakers(&mut self) -> Vec<Waker> {
        let (done, closed) = (self.done, self.closed.is_some());
        let (due, rest) = std::mem::take(&mut self.wakers)
            .into_iter()
            .partition(|(number, _)| closed || *number <= done);
        self.wakers = rest;
        let due: Vec<(u64, Waker)> = due;
        due.into_iter().map(|(_, waker)| waker).collect()
    }
}
