//! What a tail does now and then, between batches.

use std::time::{Duration, Instant};

use super::{runner::Runner, source::Lag};
use crate::clock::unix_now;

/// How often the lag is counted.
pub(super) const LAG_EVERY: Duration = Duration::from_secs(1);
/// How often a cursor is written that moved past frames without rows, or whose sink remembers its
/// place itself.
const CURSOR_EVERY: Duration = Duration::from_secs(1);
/// How often old rows are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// When that begins.
const PRUNE_FIRST: Duration = Duration::from_secs(60);
/// How soon again, as long as there are some.
const PRUNE_ON: Duration = Duration::from_millis(500);

/// When what is due.
pub(super) struct Chores {
    lag: Instant,
    cursor: Instant,
    prune: Instant,
}

impl Chores {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            lag: now,
            cursor: now + CURSOR_EVERY,
            prune: now + PRUNE_FIRST,
        }
    }

    /// Whether the cursor was not written for a while; it is going to be now.
    pub(super) fn cursor_is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.cursor;
        if due {
            self.cursor = now + CURSOR_EVERY;
        }
        due
    }
}

impl Runner {
    pub(super) fn upkeep(&mut self) {
        let now = Instant::now();
        if now >= self.chores.lag {
            self.chores.lag = now + LAG_EVERY;
            self.count_lag();
        }
        if self.chores.cursor_is_due() {
            self.save_cursor();
        }
        let healthy = self.delivery.is_open() && self.backoff.failures() == 0;
        if let (Some(age), true, true) = (self.options.retention, healthy, now >= self.chores.prune)
        {
            self.chores.prune = now + PRUNE_EVERY;
            let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
            match self.delivery.retain(unix_now().saturating_sub(age)) {
                Ok(rows) => {
                    if rows > 0 {
                        self.chores.prune = now + PRUNE_ON;
                    }
                    self.shared.control().stats.pruned += rows;
                }
                Err(failure) => self.failed(failure),
            }
        }
    }

    pub(super) fn count_lag(&mut self) {
        let idle = self.batch.rows.is_empty() && self.seen == self.source.end();
        let lag = match idle {
            true => Lag::default(),
            false => self.source.lag(self.place.position),
        };
        let mut control = self.shared.control();
        control.counted = Some(Instant::now());
        control.stats.set_lag(lag);
    }
}
