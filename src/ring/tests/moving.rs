//! Records come out as they went in: any sizes, around the end, across leases and threads.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Release(usize),
    Panic(usize),
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1usize..40).prop_map(Step::Push),
        2 => (40usize..1024).prop_map(Step::Push),
        4 => (0usize..60).prop_map(Step::Release),
        1 => (1usize..300).prop_map(Step::Panic),
        1 => Just(Step::HandOver),
    ]
}

/// Runs steps against a queue in memory.
fn compare(registry: &Registry, steps: &[Step]) {
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("model", 7);
    let mut model: VecDeque<(u64, usize, u64)> = VecDeque::new();
    let (mut next, mut sequence, mut refused) = (0u64, 0u64, 0u64);
    for step in steps {
        let Some(thread) = producer.as_mut() else {
            panic!("a ring is there");
        };
        match *step {
            Step::Push(words) => {
                next += 1;
                if push(thread, words, next) {
                    model.push_back((sequence, words, if words > 1 { next } else { 0 }));
                    sequence += 1;
                } else {
                    refused += 1;
                }
            }
            Step::Panic(words) => {
                let fails = std::panic::AssertUnwindSafe(|| {
                    thread.push(RecordKind::Event, words, |out| {
                        out.fill(u64::MAX);
                        std::panic::resume_unwind(Box::new("planned"));
                    })
                });
                if let Ok(taken) = std::panic::catch_unwind(fails) {
                    assert!(!taken);
                    refused += 1;
                }
            }
            Step::Release(count) => {
                consumers.refresh();
                let readable = consumers.readable(0);
                let all = [readable.first, readable.second].concat();
                let records = parse(&all);
                assert_eq!(records.len(), model.len());
                let first = readable.first_sequence;
                for (i, (size, number)) in records.iter().enumerate() {
                    assert_eq!(model[i], (first + i as u64, *size, *number));
                }
                let some = records.len().min(count);
                let words: usize = records[..some].iter().map(|(size, _)| size).sum();
                consumers.release(0, words as u64 * 8, some as u64);
                model.drain(..some);
            }
            Step::HandOver => {
                consumers.refresh();
                if model.is_empty() {
                    // Drained, so the next thread gets the same ring.
                    producer = None;
                    let _ = producer;
                    producer = registry.lease("next", 8);
                    assert_eq!(producer.as_ref().map(Producer::span_ring), Some(0));
                }
            }
        }
    }
    consumers.refresh();
    let rest = drain(&mut consumers, 0);
    assert_eq!(rest, Vec::from(model));
    assert_eq!(lost(&consumers, 0), refused);
    registry.remove_files().expect("removed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn mapped_rings_equal_a_queue(steps in prop::collection::vec(step(), 1..400)) {
        compare(&small(true), &steps);
    }

    #[test]
    fn wrapping_rings_equal_a_queue(steps in prop::collection::vec(step(), 1..400)) {
        let registry = small(false);
        registry.wrap_for_tests();
        compare(&registry, &steps);
    }
}

/// All sizes, many laps, on two threads.
#[test]
fn two_threads_lose_and_mix_nothing() {
    for wrapping in [false, true] {
        let registry = small(false);
        if wrapping {
            registry.wrap_for_tests();
        }
        let mut consumers = registry.consumers().expect("the first");
        let producing = registry.clone();
        let thread = std::thread::spawn(move || {
            let mut producer = producing.lease("producer", 1).expect("a ring");
            let mut sent = 0u64;
            while sent < 200_000 {
                let words = 2 + (sent * 7 % 61) as usize;
                if push(&mut producer, words, sent) {
                    sent += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut seen = 0u64;
        while seen < 200_000 {
            if consumers.refresh() == 0 {
                continue;
            }
            for (sequence, words, number) in drain(&mut consumers, 0) {
                assert_eq!((sequence, number), (seen, seen));
                assert_eq!(words, 2 + (seen * 7 % 61) as usize);
                seen += 1;
            }
        }
        thread.join().expect("no panic");
    }
}

/// Full rings are left behind and drained first.
#[test]
fn spilling_keeps_order_and_everything() {
    let registry = registry(Path::new("/dev/shm"), |options| {
        options.ring_bytes = 16 << 10;
        options.overflow = Overflow::Spill {
            max_bytes: 256 << 10,
        };
    });
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("spills", 1).expect("a ring");
    let (mut sent, mut seen) = (0u64, 0u64);
    for round in 0..200 {
        for _ in 0..(round * 37) % 900 {
            if push(&mut producer, 8, sent) {
                sent += 1;
            }
        }
        // Any order of visits, and the last ones first.
        for index in (0..consumers.refresh()).rev() {
            for (_, _, number) in drain(&mut consumers, index) {
                assert_eq!(number, seen, "out of order");
                seen += 1;
            }
        }
    }
    let tails = consumers.tails();
    while !consumers.drained(&tails) {
        for index in 0..consumers.len() {
            for (_, _, number) in drain(&mut consumers, index) {
                assert_eq!(number, seen);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, sent);
    let stats = registry.stats();
    assert!(stats.rings.len() > 3 && stats.spill_bytes <= 256 << 10);
    registry.remove_files().expect("removed");
}

#[test]
fn open_spans_are_seen_until_closed() {
    let registry = small(true);
    let mut producer = registry.lease("spans", 1).expect("a ring");
    let span = |n: u64| OpenSpan {
        start: n,
        trace: [n as u8; 16],
        span: n,
        parent: n + 1,
        name: n as u32,
        kind: 3,
        what: 1,
        flags: 9,
    };
    let slots: Vec<_> = (1..=63)
        .map(|n| producer.open(span(n)).expect("room"))
        .collect();
    assert_eq!(producer.open(span(64)), None);
    producer.close(slots[4]);
    let open = registry.open_spans();
    assert_eq!(open.len(), 62);
    assert!(open
        .iter()
        .all(|open| open.span == span(open.span.start) && open.ring == 0));
    // Closed from elsewhere, once and not by mistake.
    registry.close_open_span(0, slots[7], 8);
    registry.close_open_span(0, slots[8], 8);
    registry.close_open_span(17, 8, 8);
    assert_eq!(registry.open_spans().len(), 61);
    assert!(producer.open(span(70)).is_some());
    assert!(producer.open(span(71)).is_some());
    assert_eq!(producer.open(span(72)), None);
    registry.remove_files().expect("removed");
}
