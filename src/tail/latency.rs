//! How long batches take: counts in buckets, each at most a sixteenth wide of what it holds.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u32 = 16;
/// From 1 µs; the last bucket holds everything from 2³⁸ µs, three days, on.
const BUCKETS: usize = (STEPS * 36) as usize;

/// Latencies since a tail was started.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
    sum: Duration,
    pub(super) max: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
            sum: Duration::ZERO,
            max: Duration::ZERO,
        }
    }
}

fn bucket(micros: u64) -> usize {
    // Below 16 each number has its own.
    let shift = (64 - (micros | 1).leading_zeros()).saturating_sub(5);
    let at = u64::from(shift * STEPS) + (micros >> shift);
    (at as usize).min(BUCKETS - 1)
}

/// The greatest number of a bucket.
fn upper(bucket: usize) -> u64 {
    let steps = STEPS as usize;
    match (bucket / steps).checked_sub(1) {
        None | Some(0) => bucket as u64,
        Some(shift) => ((bucket - shift * steps + 1) as u64) << shift,
    }
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let count = &mut self.counts[bucket(micros)];
        *count = count.saturating_add(1);
        self.total += 1;
        self.sum += took;
        self.max = self.max.max(took);
    }

    pub(super) fn mean(&self) -> Duration {
        self.sum.div_f64(self.total.max(1) as f64)
    }

    /// The time within which this part of the batches was done, a sixteenth too high at most.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen >= wanted {
                return Duration::from_micros(upper(at)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let powers = (0..33).flat_map(|n| [(1 << n) - 1, 1 << n, (1 << n) + 1]);
        for micros in (0..5_000).chain(powers) {
            let upper = upper(bucket(micros));
            assert!(
                (micros..=micros + micros / 16 + 1).contains(&upper),
                "{micros} {upper}"
            );
            let next = bucket(micros + 1);
            assert!(
                (bucket(micros)..=bucket(micros) + 1).contains(&next),
                "{micros}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), Duration::ZERO);
        for n in 1..=1000u64 {
            latencies.add(Duration::from_micros(n * 100));
        }
        for (part, wanted) in [(0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let have = latencies.quantile(part).as_micros() as u64;
            assert!(
                (wanted..=wanted + wanted / 16 + 1).contains(&have),
                "{part} {have}"
            );
        }
        assert_eq!(latencies.max, Duration::from_millis(100));
        assert_eq!(latencies.mean(), Duration::from_micros(50_050));
    }
}
