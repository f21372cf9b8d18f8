//! The work of the nodes. None of it knows that it may be recorded.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    io::{self, Read},
    str::Utf8Error,
};

use super::{
    graph::{Done, Edge, State},
    index::{hasher, Index},
};

/// Why a node failed.
#[derive(Debug)]
pub enum NodeError {
    /// The file could not be read.
    Read(io::Error),
    /// The file is no UTF-8.
    Decode(Utf8Error),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

impl Error for NodeError {}

fn done(count: usize) -> Result<Done, NodeError> {
    let edge = if count == 0 { Edge::Empty } else { Edge::Next };
    Ok(Done {
        edge,
        count: count as u64,
    })
}

/// Reads the file.
pub fn read(state: &mut State, _: &Index) -> Result<Done, NodeError> {
    state.bytes.clear();
    let mut file = std::fs::File::open(&state.path).map_err(NodeError::Read)?;
    file.read_to_end(&mut state.bytes)
        .map_err(NodeError::Read)?;
    done(state.bytes.len())
}

/// Takes the bytes for UTF-8.
pub fn decode(state: &mut State, _: &Index) -> Result<Done, NodeError> {
    let text = std::str::from_utf8(&state.bytes).map_err(NodeError::Decode)?;
    state.text.clear();
    state.text.push_str(text);
    done(text.chars().count())
}

/// Finds the words: letters, digits and `_`, beginning with a letter or `_`.
pub fn tokenise(state: &mut State, _: &Index) -> Result<Done, NodeError> {
    state.words.clear();
    let mut start = None;
    let mut word_ends = |start: &mut Option<usize>, end: usize| {
        if let Some(start) = start.take() {
            // Files are at most a few MiB, see `input`.
            state.words.push((start as u32, end as u32));
        }
    };
    for (at, c) in state.text.char_indices() {
        let in_word = c == '_' || c.is_alphabetic() || (start.is_some() && c.is_numeric());
        match (in_word, start) {
            (true, None) => start = Some(at),
            (false, Some(_)) => word_ends(&mut start, at),
            _ => {}
        }
    }
    word_ends(&mut start, state.text.len());
    done(state.words.len())
}

/// Counts how often each word occurs.
pub fn count(state: &mut State, _: &Index) -> Result<Done, NodeError> {
    let mut counts: HashMap<&str, (u32, u32, u32), _> = HashMap::with_hasher(hasher());
    for &(start, end) in &state.words {
        let word = &state.text[start as usize..end as usize];
        counts.entry(word).or_insert((start, end, 0)).2 += 1;
    }
    state.counts.clear();
    state.counts.extend(counts.into_values());
    done(state.counts.len())
}

/// Adds the words to the index.
pub fn index(state: &mut State, index: &Index) -> Result<Done, NodeError> {
    let words = state
        .counts
        .iter()
        .map(|&(start, end, count)| (&state.text[start as usize..end as usize], count));
    done(index.add(state.document, words))
}
