//! What the benches share: CPU time, quantiles, the reference loop.
#![allow(dead_code)] // no bench uses all of it

pub mod operations;

use std::{
    hint::black_box,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

/// CPU time of the whole process.
pub fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The value below which `share` of the sorted values lie, by nearest rank.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The number behind an option such as `--rounds`.
pub fn option(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    match args.nth(1) {
        None => default,
        Some(text) => text.parse().unwrap_or_else(|_| {
            eprintln!("{name} takes a whole number, not {text:?}");
            std::process::exit(2)
        }),
    }
}

/// What no span can be cheaper than: two clock reads and 64 bytes published to a ring.
pub struct Reference {
    clock: quanta::Clock,
    ring: Arc<[AtomicU64]>,
    tail: Arc<AtomicU64>,
    own: u64,
}

impl Reference {
    const WORDS: usize = 1 << 17;

    pub fn new() -> Self {
        Self {
            clock: quanta::Clock::new(),
            ring: (0..Self::WORDS).map(|_| AtomicU64::new(1)).collect(),
            tail: Arc::default(),
            own: 0,
        }
    }

    /// The same with somebody who reads what is published, every 100 microseconds, until this is
    /// dropped.
    pub fn drained() -> Self {
        let reference = Self::new();
        let ring = Arc::downgrade(&reference.ring);
        let tail = Arc::clone(&reference.tail);
        std::thread::spawn(move || {
            let mut head = 0;
            while let Some(ring) = ring.upgrade() {
                // Acquire: meets the Release in `record`.
                let tail = tail.load(Ordering::Acquire);
                let words = (head..tail).map(|at| &ring[at as usize & (Self::WORDS - 1)]);
                black_box(words.fold(0u64, |sum, word| sum ^ word.load(Ordering::Relaxed)));
                head = tail;
                drop(ring);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        reference
    }

    /// Records one span.
    #[inline(always)]
    pub fn record(&mut self) {
        let start = self.clock.raw();
        let end = self.clock.raw();
        let at = self.own as usize & (Self::WORDS - 1);
        let slot = &self.ring[at..at + 8];
        for (i, word) in slot.iter().enumerate() {
            word.store(if i == 0 { start } else { end }, Ordering::Relaxed);
        }
        self.own += 8;
        self.tail.store(self.own, Ordering::Release);
    }
}

/// Work of a node: mixing a register for about as long as `turns` say.
#[inline(never)]
pub fn node(turns: u64, seed: u64) -> u64 {
    let mut x = black_box(seed) | 1;
    for _ in 0..turns {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x)
}
