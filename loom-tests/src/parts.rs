//! What several models are made of: memory of a few words, registries of small rings, and the two
//! ends that record and drain.

use std::{path::Path, time::Duration};

use emberlog::loom_api::{
    Anchor, Consumers, Header, InstanceId, LogId, Memory, OpenSpan, Options, Overflow, Producer,
    RecordKind, Registry, Shape,
};
use loom::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

/// Time enough for everything: models have no clock.
pub const LONG: Duration = Duration::from_secs(3600);
/// The orderings between the two ends of a ring.
pub const CORE: &[&str] = &["Publish", "Readable", "Release", "Room"];

/// Memory of a ring of so many words, without open spans.
pub fn memory(words: usize, mirrored: bool) -> Memory {
    let shape = Shape {
        slots: 0,
        data_at: 0,
        capacity: words * 8,
    };
    Memory::new(shape, mirrored)
}

/// Memory with room for so many open spans.
pub fn slots(slots: u32) -> Arc<Memory> {
    let shape = Shape {
        slots,
        data_at: 0,
        capacity: 8,
    };
    Arc::new(Memory::new(shape, true))
}

/// A span of which every field says the same.
pub fn span(n: u64) -> OpenSpan {
    OpenSpan {
        start: n,
        span: n,
        parent: n,
        trace: [n as u8; 16],
        ..OpenSpan::default()
    }
}

/// A registry whose rings have `ring_bytes` and no open spans.
pub fn registry(ring_bytes: usize, overflow: Overflow) -> Registry {
    registry_with(|options| {
        options.ring_bytes = ring_bytes;
        options.overflow = overflow;
    })
}

/// A registry whose rings are as small as they can be, but for what `change` says.
pub fn registry_with(change: impl FnOnce(&mut Options)) -> Registry {
    let mut options = Options::default();
    options.ring_bytes = 32;
    options.crash_safe = false;
    options.open_spans = 0;
    change(&mut options);
    let anchor = Anchor {
        tick: 0,
        unix_ns: 0,
        rate: 1 << 32,
    };
    let (log, instance) = (LogId([1; 16]), InstanceId([2; 16]));
    Registry::create(&options, log, instance, Path::new("log"), anchor).expect("valid")
}

/// A producer that waits for room does so for ever.
pub fn blocking() -> Registry {
    let timeout = Duration::from_secs(60);
    registry(32, Overflow::Block { timeout })
}

/// Records a number, in two words; whether there was room.
pub fn push(producer: &mut Producer, number: u64) -> bool {
    producer.push(RecordKind::Event, 2, |words| {
        words[0] = 2 | u64::from(Header::new(RecordKind::Event, 2, 0).kind) << 16;
        words[1] = number;
    })
}

/// Takes everything out of all rings; returns how many records there were.
pub fn drain(consumers: &mut Consumers) -> u64 {
    let mut seen = Vec::new();
    drain_numbers(consumers, &mut seen);
    seen.len() as u64
}

/// Everything that waits in any ring, in the order of the rings' hand-over.
pub fn drain_numbers(consumers: &mut Consumers, seen: &mut Vec<u64>) {
    for index in 0..consumers.refresh() {
        let readable = consumers.readable(index);
        let mut words = readable.first.to_vec();
        words.extend_from_slice(&readable.second);
        seen.extend(words.chunks(2).map(|record| record[1]));
        consumers.release(index, words.len() as u64 * 8, words.len() as u64 / 2);
    }
}

/// Records that were lost, in rings and outside of them.
pub fn lost(registry: &Registry) -> u64 {
    let mut lost = 0;
    registry.all_losses(|_, _, total| lost += total);
    lost
}

/// Frames that a log has, told by a mark: all below `end` must be there.
pub fn read_below(frames: &[AtomicU64], end: u64) -> u64 {
    for frame in &frames[..end as usize] {
        assert_eq!(
            frame.load(Ordering::Relaxed),
            1,
            "below the mark, not there"
        );
    }
    end
}

/// Two frames that are not there yet.
pub fn frames() -> Arc<[AtomicU64; 2]> {
    Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
}
