//! The few that matter most out of many, whatever the order in which they come.

/// What comes first is what happened last: of the trace that began last, its last part. Greater
/// comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    /// When the trace began.
    pub(super) trace_ns: i64,
    /// Its id as a number.
    pub(super) trace: u128,
    /// When it happened.
    pub(super) at_ns: i64,
    /// The span, 0 if none.
    pub(super) span: u64,
}

impl Moment {
    /// Before everything.
    pub(super) const FIRST: Self = Self {
        trace_ns: i64::MIN,
        trace: 0,
        at_ns: i64::MIN,
        span: 0,
    };
}

/// Keeps the `N` greatest keys with their values, greatest first.
#[derive(Clone, Debug)]
pub(super) struct Top<K, V, const N: usize> {
    list: Vec<(K, V)>,
}

impl<K, V, const N: usize> Default for Top<K, V, N> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<K: Ord + Copy, V, const N: usize> Top<K, V, N> {
    /// Whether a key would be kept.
    #[inline]
    pub(super) fn wants(&self, key: K) -> bool {
        self.list.len() < N || self.list.last().is_some_and(|(least, _)| key > *least)
    }

    /// Adds a value if its key is among the greatest.
    #[inline]
    pub(super) fn add(&mut self, key: K, value: impl FnOnce() -> V) {
        if self.wants(key) {
            let at = self.list.partition_point(|(other, _)| *other >= key);
            self.list.insert(at, (key, value()));
            self.list.truncate(N);
        }
    }

    /// Adds a value under the greatest key that it came with; it is kept once.
    #[inline]
    pub(super) fn add_once(&mut self, key: K, value: V)
    where
        V: PartialEq,
    {
        if !self.wants(key) {
            return;
        }
        if let Some(at) = self.list.iter().position(|(_, known)| *known == value) {
            if self.list[at].0 >= key {
                return;
            }
            self.list.remove(at);
        }
        self.add(key, || value);
    }

    /// The values, greatest key first.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.list.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_any_order() {
        for order in [[1, 5, 3, 4, 2], [5, 4, 3, 2, 1], [1, 2, 3, 4, 5]] {
            let mut top: Top<i32, i32, 3> = Top::default();
            order.iter().for_each(|v| top.add(*v, || *v));
            assert_eq!(top.values().copied().collect::<Vec<_>>(), [5, 4, 3]);
        }
    }

    #[test]
    fn a_value_is_kept_once_under_its_greatest_key() {
        let pairs = [(1, 'a'), (9, 'b'), (7, 'a'), (8, 'b'), (2, 'c'), (3, 'd')];
        for turn in 0..pairs.len() {
            let mut top: Top<i32, char, 3> = Top::default();
            let (later, first) = pairs.split_at(turn);
            first
                .iter()
                .chain(later)
                .for_each(|(key, value)| top.add_once(*key, *value));
            assert_eq!(top.values().collect::<String>(), "bad");
        }
    }
}
