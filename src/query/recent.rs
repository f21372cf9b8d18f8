//! Answers that were needed lately and may be again.

use std::collections::VecDeque;

/// Recently used answers by key; the oldest go first.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    map: ahash::AHashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            map: ahash::AHashMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    pub(super) fn get_or(&mut self, key: K, make: impl FnOnce() -> V) -> &V {
        if !self.map.contains_key(&key) {
            if self.order.len() >= self.most {
                if let Some(old) = self.order.pop_front() {
                    self.map.remove(&old);
                }
            }
            self.order.push_back(key);
        }
        self.map.entry(key).or_insert_with(make)
    }
}
