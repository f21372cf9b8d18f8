//! When to try again: later each time, never at the same moment as everybody else.

use std::time::{Duration, Instant};

use crate::record::id::random_u128;

/// Time between attempts that somebody waits for.
const URGENT: Duration = Duration::from_secs(1);

/// How long to wait after failures.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
    last: Option<Instant>,
    due: Option<Instant>,
    /// The backend asked to be left alone until then.
    hold: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest: longest.max(shortest),
            failures: 0,
            last: None,
            due: None,
            hold: None,
        }
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.due = None;
        self.hold = None;
    }

    /// The backend asked to be left alone for so long.
    pub(super) fn hold(&mut self, now: Instant, wait: Duration) {
        self.hold = now.checked_add(wait);
    }

    /// The backend answers; whether it also takes what failed is to be seen now.
    pub(super) fn answered(&mut self) {
        self.due = None;
    }

    /// The next attempt comes after twice as long as the last time, less up to a half.
    pub(super) fn failed(&mut self, now: Instant) {
        let doubled = self.shortest.saturating_mul(1 << self.failures.min(20));
        self.failures += 1;
        self.wait(now, doubled.min(self.longest));
    }

    /// The next attempt comes as late as it can.
    pub(super) fn refused(&mut self, now: Instant) {
        self.failures += 1;
        self.wait(now, self.longest);
    }

    fn wait(&mut self, now: Instant, at_most: Duration) {
        let random = random_u128() as u32;
        let part = 0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0;
        self.last = Some(now);
        self.due = Some(now + at_most.mul_f64(part));
    }

    /// When the next attempt may be; `None` is now. Who waits for it waits a second at most.
    pub(super) fn due(&self, urgent: bool) -> Option<Instant> {
        let due = match (self.due, self.last) {
            (Some(due), Some(last)) if urgent => Some(due.min(last + URGENT)),
            (due, _) => due,
        };
        // Whoever waits for it: a backend that is throttling is left alone.
        due.max(self.hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_with_jitter_up_to_the_longest() {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::new(shortest, longest);
        let now = Instant::now();
        assert_eq!(backoff.due(false), None);
        for n in 0..40 {
            backoff.failed(now);
            let most = shortest.saturating_mul(1 << n.min(20)).min(longest);
            let waits = backoff.due(false).unwrap() - now;
            assert!(
                waits <= most && waits >= most.mul_f64(0.49),
                "{n} {waits:?}"
            );
            assert!(backoff.due(true).unwrap() - now <= URGENT);
        }
        backoff.hold(now, Duration::from_secs(300));
        let held = Some(now + Duration::from_secs(300));
        assert_eq!((backoff.due(false), backoff.due(true)), (held, held));
        backoff.answered();
        assert_eq!(backoff.due(true), held);
        backoff.succeeded();
        assert_eq!((backoff.due(false), backoff.failures()), (None, 0));
    }
}
