//! Ticks of the monotonic counter, and what they mean in Unix nanoseconds.
//!
//! Producers store raw ticks. An [`Anchor`] converts them; the flusher writes anchors into the log
//! ahead of the frames that need them (`docs/format.md`, section 6, "Time").

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// One moment on both clocks, and the speed of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Counter value.
    pub tick: u64,
    /// The same moment, Unix nanoseconds.
    pub unix_ns: i64,
    /// Nanoseconds per tick times 2³².
    pub rate: u64,
}

impl Anchor {
    /// Unix nanoseconds of a tick, saturating.
    #[inline]
    pub fn unix_ns(&self, tick: u64) -> i64 {
        let ticks = i128::from(tick) - i128::from(self.tick);
        let ns = (ticks * i128::from(self.rate)) >> 32;
        (i128::from(self.unix_ns) + ns).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Nanoseconds in a number of ticks, saturating.
    #[inline]
    pub fn duration_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.rate)) >> 32).min(i64::MAX as u128) as u64
    }

    /// Ticks in a length of time, saturating.
    pub fn ticks(&self, length: Duration) -> u64 {
        let ticks = (length.as_nanos() << 32) / u128::from(self.rate.max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// The tick of a Unix nanosecond, saturating.
    pub fn tick_at(&self, unix_ns: i64) -> u64 {
        let ns = i128::from(unix_ns) - i128::from(self.unix_ns);
        let ticks = (ns << 32) / i128::from(self.rate.max(1));
        (i128::from(self.tick) + ticks).clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// The counter.
#[derive(Clone, Debug)]
pub struct Clock {
    counter: quanta::Clock,
    first: Anchor,
}

impl Clock {
    /// The clock of this process; measured on first use, which takes about a millisecond.
    pub fn get() -> &'static Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK.get_or_init(Self::measure)
    }

    fn measure() -> Self {
        let counter = quanta::Clock::new();
        // quanta measured the speed of the counter already; a long difference makes its rounding
        // vanish.
        let span = 1u64 << 40;
        let rate = (u128::from(counter.delta_as_nanos(0, span)) << 32) / u128::from(span);
        let (tick, unix_ns) = sample(&counter);
        Self {
            counter,
            first: Anchor {
                tick,
                unix_ns,
                rate: rate as u64,
            },
        }
    }

    /// The counter now.
    #[inline(always)]
    pub fn tick(&self) -> u64 {
        self.counter.raw()
    }

    /// A fresh anchor. The longer the process runs, the better its rate: it is measured against
    /// the first one, unless the wall clock was stepped in between (then the old rate stays).
    pub fn anchor(&self, last: Option<&Anchor>) -> Anchor {
        let (tick, unix_ns) = sample(&self.counter);
        let last = last.unwrap_or(&self.first);
        let mut rate = last.rate;
        let ticks = tick.saturating_sub(self.first.tick);
        let ns = unix_ns.saturating_sub(self.first.unix_ns);
        if ns > 10_000_000_000 && ticks > 0 {
            let measured = ((ns as u128) << 32) / u128::from(ticks);
            // A step shows as an impossible speed: crystals are within 500 ppm of each other.
            if measured.abs_diff(u128::from(self.first.rate)) < u128::from(self.first.rate) / 2_000
            {
                rate = measured as u64;
            }
        }
        Anchor {
            tick,
            unix_ns,
            rate,
        }
    }

    /// The anchor taken when the clock was measured.
    pub fn first(&self) -> Anchor {
        self.first
    }
}

/// Both clocks at the same moment: the closest of a few readings.
fn sample(counter: &quanta::Clock) -> (u64, i64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..5 {
        let before = counter.raw();
        let unix_ns = unix_now();
        let after = counter.raw();
        let width = after.saturating_sub(before);
        if width < best.0 {
            best = (width, before + width / 2, unix_ns);
        }
    }
    (best.1, best.2)
}

/// The wall clock in Unix nanoseconds; negative before 1970.
pub fn unix_now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// A point in time by which to give up.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365))
}
