//! Lengths of time, all of them: four bytes each where they are below four seconds.
//!
//! Always true:
//! - a quantile is the value that a sorted list of all has at that place, never an estimate

use std::cmp::Ordering;

/// A multiset of nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations {
    short: Vec<u32>,
    long: Vec<u64>,
    sum_ns: u128,
}

impl Durations {
    #[inline]
    pub(super) fn push(&mut self, ns: u64) {
        self.sum_ns += u128::from(ns);
        match u32::try_from(ns) {
            Ok(ns) => self.short.push(ns),
            Err(_) => self.long.push(ns),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.short.len() + self.long.len()
    }

    /// Must come before the values are asked for by their place.
    pub(super) fn sort(&mut self) {
        self.short.sort_unstable();
        self.long.sort_unstable();
    }

    /// The value at a place of the sorted list.
    fn nth(&self, at: usize) -> Option<u64> {
        match self.short.get(at) {
            Some(ns) => Some(u64::from(*ns)),
            None => self.long.get(at - self.short.len()).copied(),
        }
    }
}

/// Values that stand for several others each, in groups of one weight.
#[derive(Debug)]
pub(super) struct Weighted<'a> {
    groups: Vec<(f64, &'a Durations)>,
}

impl<'a> Weighted<'a> {
    /// Sorted durations with their weights. Equal weights cancel out.
    pub(super) fn new(groups: impl Iterator<Item = (f64, &'a Durations)>) -> Self {
        let mut groups: Vec<_> = groups.filter(|(_, d)| d.len() > 0).collect();
        if let [(weight, _)] = &mut groups[..] {
            *weight = 1.0;
        }
        Self { groups }
    }

    /// Sum of the weights: how many values they stand for.
    pub(super) fn weight(&self) -> f64 {
        self.groups.iter().map(|(w, d)| w * d.len() as f64).sum()
    }

    /// Mean in nanoseconds; `None` without values.
    pub(super) fn mean_ns(&self) -> Option<f64> {
        let sum: f64 = self.groups.iter().map(|(w, d)| w * d.sum_ns as f64).sum();
        (!self.groups.is_empty()).then(|| sum / self.weight())
    }

    /// The *p*-quantile by the upper nearest rank: of *n* sorted values the one at the place
    /// ⌊*n p*⌋, counted from zero, or the last. With weights: the first with more than the share
    /// *p* of the weight at or below it.
    pub(super) fn quantile_ns(&self, p: f64) -> Option<u64> {
        if let [(_, only)] = &self.groups[..] {
            let at = (only.len() as f64 * p) as usize;
            return only.nth(at.min(only.len() - 1));
        }
        let wanted = self.weight() * p;
        self.first_where(|below| below > wanted)
    }

    /// The median: the mean of the two values in the middle if their number is even.
    pub(super) fn median_ns(&self) -> Option<f64> {
        let (low, high) = match &self.groups[..] {
            [(_, only)] => (only.nth((only.len() - 1) / 2)?, only.nth(only.len() / 2)?),
            _ => {
                let half = self.weight() / 2.0;
                (
                    self.first_where(|below| below >= half)?,
                    self.first_where(|below| below > half)?,
                )
            }
        };
        Some((low as f64 + high as f64) / 2.0)
    }

    /// The first value at which the weight of it and of all smaller ones is enough, else the last.
    fn first_where(&self, enough: impl Fn(f64) -> bool) -> Option<u64> {
        let mut below = 0.0;
        let mut last = None;
        for (weight, ns) in self.sorted() {
            below += weight;
            last = Some(ns);
            if enough(below) {
                break;
            }
        }
        last
    }

    /// All values in order, with their weights.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let mut at = vec![0; self.groups.len()];
        std::iter::from_fn(move || {
            let heads = self.groups.iter().zip(&at).enumerate();
            let next = heads.filter_map(|(no, ((_, d), at))| Some((d.nth_or_end(*at)?, no)));
            let (ns, no) = next.min_by(|a, b| a.0.cmp(&b.0).then(Ordering::Less))?;
            at[no] += 1;
            Some((self.groups[no].0, ns))
        })
    }

    /// Variance of one value in square nanoseconds and the number of independent values that the
    /// weights leave; `None` below two values.
    pub(super) fn variance(&self) -> Option<(f64, f64)> {
        let mean = self.mean_ns()?;
        let (mut weights, mut squares, mut spread) = (0.0, 0.0, 0.0);
        for (weight, durations) in &self.groups {
            let n = durations.len() as f64;
            weights += weight * n;
            squares += weight * weight * n;
            let short = durations.short.iter().map(|ns| f64::from(*ns));
            let long = durations.long.iter().map(|ns| *ns as f64);
            let each = short.chain(long).map(|ns| (ns - mean) * (ns - mean));
            spread += weight * each.sum::<f64>();
        }
        let independent = weights * weights / squares;
        let free = weights - squares / weights;
        (independent > 1.0 && free > 0.0).then(|| (spread / free, independent))
    }
}

impl Durations {
    fn nth_or_end(&self, at: usize) -> Option<u64> {
        (at < self.len()).then(|| self.nth(at)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Durations {
        let mut durations = Durations::default();
        values.iter().for_each(|ns| durations.push(*ns));
        durations.sort();
        durations
    }

    #[test]
    fn quantiles_are_the_upper_nearest_rank() {
        let ten = of(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
        let ten = Weighted::new([(1.0, &ten)].into_iter());
        assert_eq!(ten.quantile_ns(0.95), Some(10));
        assert_eq!(ten.quantile_ns(0.5), Some(6));
        assert_eq!(ten.median_ns(), Some(5.5));
        let many = of(&(0..200).collect::<Vec<_>>());
        let many = Weighted::new([(1.0, &many)].into_iter());
        assert_eq!(many.quantile_ns(0.95), Some(190));
        assert_eq!(many.quantile_ns(0.99), Some(198));
        let long = of(&[1, u64::from(u32::MAX), u64::from(u32::MAX) + 1, 1 << 40]);
        let long = Weighted::new([(1.0, &long)].into_iter());
        assert_eq!(long.quantile_ns(0.5), Some(1 << 32));
        assert_eq!(long.quantile_ns(1.0), Some(1 << 40));
    }

    #[test]
    fn a_weight_of_three_is_the_value_three_times() {
        let (heavy, light) = (of(&[5, 1]), of(&[4, 2, 9]));
        let weighted = Weighted::new([(3.0, &heavy), (1.0, &light)].into_iter());
        let plain = of(&[5, 5, 5, 1, 1, 1, 4, 2, 9]);
        let plain = Weighted::new([(1.0, &plain)].into_iter());
        for p in [0.0, 0.1, 0.4, 0.5, 0.8, 0.95, 1.0] {
            assert_eq!(weighted.quantile_ns(p), plain.quantile_ns(p), "{p}");
        }
        assert_eq!(weighted.median_ns(), plain.median_ns());
        assert_eq!(weighted.mean_ns(), plain.mean_ns());
        assert_eq!(weighted.weight(), 9.0);
    }

    #[test]
    fn one_weight_for_all_changes_nothing() {
        let values = of(&[3, 1, 2]);
        let (one, ten) = (
            Weighted::new([(1.0, &values)].into_iter()),
            Weighted::new([(10.0, &values)].into_iter()),
        );
        assert_eq!(one.mean_ns(), ten.mean_ns());
        assert_eq!(one.variance(), ten.variance());
        assert_eq!(one.variance(), Some((1.0, 3.0)));
    }
}
