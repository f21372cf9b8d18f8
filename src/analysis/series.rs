//! What happened when: buckets of time that widen until all of it fits.
//!
//! Always true:
//! - there are at most [`MOST`] buckets, each as wide as all others: 2³⁰ ns (about a second) times
//!   a power of two
//! - the buckets do not depend on the order in which values came

/// Most buckets.
pub(super) const MOST: usize = 96;
/// Width of the narrowest bucket as a power of two, nanoseconds.
const NARROWEST: u32 = 30;

/// What happened in one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bucket {
    pub(super) count: u64,
    pub(super) failed: u64,
    pub(super) sum_ns: u128,
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.sum_ns += other.sum_ns;
    }
}

/// See the top.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    widened: u32,
    first: i64,
    buckets: Vec<Bucket>,
}

impl Series {
    fn place(&self, at_ns: i64) -> i64 {
        at_ns >> (NARROWEST + self.widened)
    }

    /// Adds one that began at this Unix nanosecond.
    #[inline]
    pub(super) fn add(&mut self, at_ns: i64, duration_ns: u64, failed: bool) {
        let at = self.place(at_ns).wrapping_sub(self.first);
        let bucket = match usize::try_from(at) {
            Ok(at) if at < self.buckets.len() => &mut self.buckets[at],
            _ => self.reach(at_ns),
        };
        bucket.count += 1;
        bucket.failed += u64::from(failed);
        bucket.sum_ns += u128::from(duration_ns);
    }

    /// The bucket of a time that none covers yet.
    #[cold]
    fn reach(&mut self, at_ns: i64) -> &mut Bucket {
        if self.buckets.is_empty() {
            self.first = self.place(at_ns);
        }
        loop {
            let at = self.place(at_ns);
            let last = self.first + self.buckets.len() as i64 - 1;
            let (from, to) = (at.min(self.first), at.max(last));
            if to.saturating_sub(from) < MOST as i64 {
                let before = (self.first - from) as usize;
                self.buckets
                    .splice(0..0, std::iter::repeat_n(Bucket::default(), before));
                self.first = from;
                let needed = (to - from) as usize + 1;
                self.buckets.resize(needed, Bucket::default());
                return &mut self.buckets[(at - from) as usize];
            }
            self.widen();
        }
    }

    fn widen(&mut self) {
        let first = self.first >> 1;
        let mut wide: Vec<Bucket> = Vec::with_capacity(self.buckets.len() / 2 + 1);
        for (at, bucket) in self.buckets.iter().enumerate() {
            let to = (((self.first + at as i64) >> 1) - first) as usize;
            wide.resize(to + 1, Bucket::default());
            wide[to].add(bucket);
        }
        self.buckets = wide;
        self.first = first;
        self.widened += 1;
    }

    /// The buckets in order: first nanosecond, first nanosecond after it, what happened.
    pub(super) fn buckets(&self) -> impl DoubleEndedIterator<Item = (i64, i64, &Bucket)> {
        let shift = NARROWEST + self.widened;
        let (first, last) = (self.first, i64::MAX >> shift);
        let buckets = self.buckets.iter().enumerate();
        buckets.map(move |(at, bucket)| {
            let at = first + at as i64;
            let end = if at >= last {
                i64::MAX
            } else {
                (at + 1) << shift
            };
            (at << shift, end, bucket)
        })
    }

    /// When that began which `holds` for the newest buckets with anything in them; if it holds for
    /// none of these any more, the first time that it held. With it, whether it still holds.
    pub(super) fn since(&self, holds: impl Fn(&Bucket) -> bool) -> Option<(i64, bool)> {
        let filled = || self.buckets().filter(|(.., bucket)| bucket.count > 0);
        let run = filled().rev().take_while(|(.., bucket)| holds(bucket));
        if let Some((from, ..)) = run.last() {
            return Some((from, true));
        }
        let mut any = filled().filter(|(.., bucket)| holds(bucket));
        any.next().map(|(from, ..)| (from, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1 << NARROWEST;

    fn of(times: &[i64]) -> Series {
        let mut series = Series::default();
        times.iter().for_each(|at| series.add(*at, 1, false));
        series
    }

    fn shown(series: &Series) -> Vec<(i64, u64)> {
        let filled = series.buckets().filter(|(.., b)| b.count > 0);
        filled.map(|(from, _, b)| (from, b.count)).collect()
    }

    #[test]
    fn any_order_gives_the_same_buckets() {
        let times = [5 * SECOND, 0, 400 * SECOND, -7 * SECOND, 5 * SECOND + 3];
        let mut backwards = times;
        backwards.reverse();
        let (there, back) = (of(&times), of(&backwards));
        assert_eq!(shown(&there), shown(&back));
        assert!(there.buckets().count() <= MOST);
        assert_eq!(shown(&there).iter().map(|(_, n)| n).sum::<u64>(), 5);
        let far = of(&[i64::MIN, 0, i64::MAX]);
        assert!(far.buckets().count() <= MOST);
        assert_eq!(shown(&far).len(), 3);
    }

    #[test]
    fn since_when() {
        let mut series = Series::default();
        for at in 0..10 {
            series.add(at * 2 * SECOND, if at < 6 { 1 } else { 100 }, at == 2);
        }
        let slow = |b: &Bucket| b.sum_ns > 50 * u128::from(b.count);
        assert_eq!(series.since(slow), Some((12 * SECOND, true)));
        assert_eq!(series.since(|b| b.failed > 0), Some((4 * SECOND, false)));
        assert_eq!(series.since(|b| b.count > 5), None);
    }
}
