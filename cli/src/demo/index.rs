//! An inverted index that grows while many threads add documents.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use ahash::RandomState;

/// Shards: enough that a few threads seldom wait for each other.
const SHARDS: usize = 32;

/// Occurrences of a word in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The document.
    pub document: u32,
    /// How often.
    pub count: u32,
}

type Shard = HashMap<Box<str>, Vec<Posting>, RandomState>;

/// Always the same hashes, so that rounds do the same work.
pub fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// Words and where they occur.
pub struct Index {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// A word with its place in the ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The word.
    pub word: String,
    /// Documents that it occurs in.
    pub documents: u64,
    /// How often it occurs.
    pub occurrences: u64,
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        let shard = |_| Mutex::new(HashMap::with_hasher(hasher()));
        Self {
            hasher: hasher(),
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    /// Adds the words of a document; returns how many were new.
    pub fn add<'a>(&self, document: u32, words: impl Iterator<Item = (&'a str, u32)>) -> usize {
        let mut sorted: Vec<(usize, &str, u32)> = words
            .map(|(word, count)| (self.hasher.hash_one(word) as usize % SHARDS, word, count))
            .collect();
        sorted.sort_unstable_by_key(|(shard, ..)| *shard);
        let mut new = 0;
        for group in sorted.chunk_by(|a, b| a.0 == b.0) {
            let Some(shard) = group
                .first()
                .and_then(|(shard, ..)| self.shards.get(*shard))
            else {
                continue;
            };
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for &(_, word, count) in group {
                let posting = Posting { document, count };
                match shard.get_mut(word) {
                    Some(postings) => postings.push(posting),
                    None => {
                        shard.insert(word.into(), vec![posting]);
                        new += 1;
                    }
                }
            }
        }
        new
    }

    /// The `top` words by documents, then by occurrences, then by the alphabet.
    pub fn ranking(&self, top: usize) -> Vec<Ranked> {
        let mut ranked = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            ranked.extend(shard.iter().map(|(word, postings)| Ranked {
                word: word.to_string(),
                documents: postings.len() as u64,
                occurrences: postings.iter().map(|p| u64::from(p.count)).sum(),
            }));
        }
        ranked.sort_by(|a, b| {
            let key = |r: &Ranked| std::cmp::Reverse((r.documents, r.occurrences));
            key(a).cmp(&key(b)).then_with(|| a.word.cmp(&b.word))
        });
        ranked.truncate(top);
        ranked
    }

    /// Different words, and places where they occur.
    pub fn size(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(words, places), shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let here: usize = shard.values().map(Vec::len).sum();
            (words + shard.len() as u64, places + here as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranking_is_by_documents_then_occurrences() {
        let index = Index::new();
        assert_eq!(index.add(0, [("let", 5), ("mut", 1)].into_iter()), 2);
        assert_eq!(index.add(1, [("let", 1), ("fn", 1)].into_iter()), 1);
        assert_eq!(index.add(2, [("fn", 9)].into_iter()), 0);
        let words: Vec<_> = index
            .ranking(3)
            .into_iter()
            .map(|r| (r.word, r.documents, r.occurrences))
            .collect();
        assert_eq!(
            words,
            [
                ("fn".into(), 2, 10),
                ("let".into(), 2, 6),
                ("mut".into(), 1, 1)
            ]
        );
        assert_eq!(index.size(), (3, 5));
    }
}
