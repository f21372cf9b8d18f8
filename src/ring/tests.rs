//! The promises of the stage, one file for each group.

mod accounting;
mod crash;
mod moving;
mod speed;

use std::path::Path;

use super::*;
use crate::{
    clock::Clock,
    record::{
        id::{InstanceId, LogId},
        layout::{Header, RecordKind},
        view::words_of,
    },
};

/// A registry with its files below `dir`.
fn registry(dir: &Path, change: impl FnOnce(&mut Options)) -> Registry {
    let mut options = Options {
        dir: Some(dir.to_path_buf()),
        ..Options::default()
    };
    change(&mut options);
    let (log, instance) = (LogId::random(), InstanceId::random());
    let anchor = Clock::get().first();
    Registry::create(&options, log, instance, &dir.join("log"), anchor).expect("valid options")
}

/// Small rings in memory of each kind.
fn small(crash_safe: bool) -> Registry {
    registry(Path::new("/dev/shm"), |options| {
        options.ring_bytes = 16 << 10;
        options.crash_safe = crash_safe;
        options.max_record_bytes = 8 << 10;
    })
}

/// A record of `words` words that carries `number` in all of them but the first.
fn record(words: usize, number: u64) -> impl FnOnce(&mut [u64]) {
    move |out: &mut [u64]| {
        assert_eq!(out.len(), words);
        out[0] = words_of::<Header, 1>(&Header::new(RecordKind::Event, words, 0))[0];
        out[1..].fill(number);
    }
}

fn push(producer: &mut Producer, words: usize, number: u64) -> bool {
    producer.push(RecordKind::Event, words, record(words, number))
}

/// Takes `words` apart into (size in words, number).
fn parse(mut words: &[u64]) -> Vec<(usize, u64)> {
    let mut out = Vec::new();
    while !words.is_empty() {
        let size = (u64::from_le(words[0]) & 0xffff) as usize;
        assert!(size > 0 && size <= words.len(), "no record");
        let number = if size > 1 { words[1] } else { 0 };
        assert!(words[1..size].iter().all(|w| *w == number), "torn record");
        out.push((size, number));
        words = &words[size..];
    }
    out
}

/// Drains ring `index`; returns sequences with records.
fn drain(consumers: &mut Consumers, index: usize) -> Vec<(u64, usize, u64)> {
    let readable = consumers.readable(index);
    let mut records = parse(readable.first);
    records.extend(parse(readable.second));
    let bytes = 8 * (readable.first.len() + readable.second.len()) as u64;
    let first = readable.first_sequence;
    consumers.release(index, bytes, records.len() as u64);
    let numbered = records.into_iter().enumerate();
    numbered
        .map(|(i, (size, number))| (first + i as u64, size, number))
        .collect()
}

/// Sum of all losses of a ring.
fn lost(consumers: &Consumers, index: usize) -> u64 {
    let mut sum = 0;
    consumers.losses(index, |_, _, total| sum += total);
    sum
}
