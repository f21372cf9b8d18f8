//! Base-2 exponential histograms, as OpenTelemetry's metrics data model defines them.
//!
//! Always true:
//! - bucket `i` holds values in (b^i, b^(i+1)] with b = 2^(2^-scale)
//! - each sign has at most [`BUCKETS`] buckets: the scale sinks until that is so
//! - adding up two histograms gives what recording all of their values would give

/// Most buckets per sign.
const BUCKETS: i64 = 160;
/// Finest and coarsest scale.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// Counts from a first bucket on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buckets {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

impl Buckets {
    /// The range that it and another bucket take, ends included.
    fn with(&self, from: i32, to: i32) -> (i32, i32) {
        match self.counts.len() as i32 {
            0 => (from, to),
            len => (from.min(self.offset), to.max(self.offset + len - 1)),
        }
    }

    fn add(&mut self, index: i32, count: u64) {
        let (from, to) = self.with(index, index);
        if self.counts.is_empty() {
            self.offset = from;
        } else if from < self.offset {
            let more = (self.offset - from) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = from;
        }
        let len = (to - from) as usize + 1;
        if self.counts.len() < len {
            self.counts.resize(len, 0);
        }
        self.counts[(index - self.offset) as usize] += count;
    }

    /// Halves the resolution `by` times.
    fn coarsen(&mut self, by: u32) {
        let old = std::mem::take(self);
        for (at, count) in old.counts.into_iter().enumerate() {
            if count > 0 {
                self.add((old.offset + at as i32) >> by, count);
            }
        }
    }
}

/// A histogram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    pub(super) zero: u64,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
}

impl Default for Exponential {
    fn default() -> Self {
        Self {
            scale: *SCALES.end(),
            zero: 0,
            positive: Buckets::default(),
            negative: Buckets::default(),
        }
    }
}

/// The bucket of a positive finite value.
pub(super) fn index(value: f64, scale: i32) -> i32 {
    const BIAS: i32 = 1023;
    let bits = value.to_bits();
    let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as i32);
    // Numbers so small that they have no exponent of their own count with the smallest that has.
    let (fraction, exponent) = match exponent {
        0 => (1, 1 - BIAS),
        exponent => (fraction, exponent - BIAS),
    };
    if scale <= 0 {
        // The upper end belongs to a bucket: exact powers of two lie one lower.
        let whole = if fraction == 0 {
            exponent - 1
        } else {
            exponent
        };
        return whole >> -scale;
    }
    if fraction == 0 {
        return (exponent << scale) - 1;
    }
    let factor = f64::from(1u32 << scale) * std::f64::consts::LOG2_E;
    let within = (f64::from_bits(fraction | (BIAS as u64) << 52).ln() * factor).ceil() as i32 - 1;
    // Rounding must not carry it into a neighbouring power of two.
    (exponent << scale) + within.clamp(0, (1 << scale) - 1)
}

impl Exponential {
    /// Counts a finite value that was seen so often.
    pub(super) fn record(&mut self, value: f64, times: u64) {
        if value == 0.0 {
            self.zero += times;
            return;
        }
        let at = index(value.abs(), self.scale);
        let by = too_fine(self.side(value > 0.0).with(at, at));
        self.coarsen(by);
        self.side(value > 0.0).add(at >> by, times);
    }

    fn side(&mut self, positive: bool) -> &mut Buckets {
        match positive {
            true => &mut self.positive,
            false => &mut self.negative,
        }
    }

    fn coarsen(&mut self, by: u32) {
        if by > 0 {
            self.scale -= by as i32;
            self.positive.coarsen(by);
            self.negative.coarsen(by);
        }
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        let scale = self.scale.min(other.scale);
        self.coarsen((self.scale - scale) as u32);
        let mut other = other.clone();
        other.coarsen((other.scale - scale) as u32);
        for positive in [true, false] {
            let more = other.side(positive);
            let Some(last) = (more.counts.len() as i32)
                .checked_sub(1)
                .filter(|n| *n >= 0)
            else {
                continue;
            };
            let (from, to) = (more.offset, more.offset + last);
            let by = too_fine(self.side(positive).with(from, to));
            self.coarsen(by);
            other.coarsen(by);
            let more = std::mem::take(other.side(positive));
            for (at, count) in more.counts.into_iter().enumerate() {
                if count > 0 {
                    self.side(positive).add(more.offset + at as i32, count);
                }
            }
        }
        self.zero += other.zero;
    }
}

/// How often the resolution must be halved for a range to fit.
fn too_fine((from, to): (i32, i32)) -> u32 {
    (0..32)
        .find(|by| i64::from(to >> by) - i64::from(from >> by) < BUCKETS)
        .unwrap_or(31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Exponential {
        let mut all = Exponential::default();
        values.iter().for_each(|value| all.record(*value, 1));
        all
    }

    /// What the definition says, in logarithms that are exact enough away from the ends.
    fn holds(value: f64, index: i32, scale: i32) -> bool {
        let log = value.log2() * 2f64.powi(scale);
        let slack = 1e-6 * (1.0 + log.abs());
        f64::from(index) - slack < log && log <= f64::from(index) + 1.0 + slack
    }

    #[test]
    fn powers_of_two_are_the_upper_end_of_their_bucket() {
        for scale in SCALES {
            for power in [-1022, -30, -1, 0, 1, 30, 1023] {
                let expected = match scale > 0 {
                    true => (power << scale) - 1,
                    false => (power - 1) >> -scale,
                };
                assert_eq!(
                    index(2f64.powi(power), scale),
                    expected,
                    "2^{power} at {scale}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn each_value_lies_in_its_bucket(value in 1e-300f64..1e300, scale in SCALES) {
            prop_assert!(holds(value, index(value, scale), scale));
        }

        #[test]
        fn merging_counts_everything_within_the_bound(
            a in prop::collection::vec(-1e9f64..1e9, 0..200),
            b in prop::collection::vec(prop_oneof![Just(0.0), 1e-30..1e-3f64], 0..200),
        ) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let all: Vec<f64> = a.iter().chain(&b).copied().collect();
            prop_assert_eq!(&merged, &of(&all));
            let count = |buckets: &Buckets| buckets.counts.iter().sum::<u64>();
            let total = merged.zero + count(&merged.positive) + count(&merged.negative);
            prop_assert_eq!(total, all.len() as u64);
            prop_assert!(merged.positive.counts.len() as i64 <= BUCKETS);
            prop_assert!(merged.negative.counts.len() as i64 <= BUCKETS);
        }
    }
}
