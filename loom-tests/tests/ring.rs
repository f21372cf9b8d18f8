//! Records through one ring: around its end, from lease to lease, and what is counted.
#![cfg(loom)]

use emberlog::loom_api::{lost, Memory, Reader, Writer};
use emberlog_loom_tests::{
    explore,
    parts::{memory, CORE},
};
use loom::{sync::Arc, thread};

fn push(writer: &mut Writer, words: usize, number: u64) {
    while !writer.fits(words) {
        writer.reload();
        writer.wrap(words);
        if writer.fits(words) {
            break;
        }
        thread::yield_now();
    }
    writer.write(words, |out| {
        out[0] = words as u64;
        for word in &mut out[1..] {
            *word = number;
        }
    });
}

/// Takes everything out; returns the numbers of records of more than one word, and 0 for others.
fn drain(reader: &mut Reader, seen: &mut Vec<u64>) {
    reader.capture();
    let captured = reader.captured();
    assert_eq!(captured.first_sequence, seen.len() as u64);
    let mut words = captured.first.to_vec();
    words.extend_from_slice(&captured.second);
    let bytes = words.len() as u64 * 8;
    let mut count = 0;
    let mut rest = &words[..];
    while let [size, ..] = *rest {
        let size = size as usize;
        assert!((1..=rest.len()).contains(&size), "torn record");
        seen.push(rest.get(1..size).and_then(<[u64]>::first).map_or(0, |n| *n));
        count += 1;
        rest = &rest[size..];
    }
    reader.release(bytes, count);
    if count == 0 {
        thread::yield_now();
    }
}

/// Three records through room for two: full, empty, and over old bytes.
#[test]
fn mirrored() {
    explore("ring, mirrored", None, CORE, || {
        let (memory, mut reader) = Reader::of(memory(4, true));
        let producer = thread::spawn(move || {
            let mut writer = Writer::take(&memory).expect("free");
            for n in 1..4 {
                push(&mut writer, 2, n);
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 3 {
            drain(&mut reader, &mut seen);
        }
        assert_eq!(seen, [1, 2, 3]);
        producer.join().expect("no panic");
    });
}

/// Sizes that do not divide the area: markers at its end.
#[test]
fn wrapping() {
    explore("ring, wrapping", None, CORE, || {
        let (memory, mut reader) = Reader::of(memory(4, false));
        let producer = thread::spawn(move || {
            let mut writer = Writer::take(&memory).expect("free");
            push(&mut writer, 1, 0);
            push(&mut writer, 2, 7);
            push(&mut writer, 2, 8);
        });
        let mut seen = Vec::new();
        while seen.len() < 3 {
            drain(&mut reader, &mut seen);
        }
        assert_eq!(seen, [0, 7, 8]);
        producer.join().expect("no panic");
    });
}

/// A thread ends, another one takes its ring over when it is drained.
#[test]
fn two_leases() {
    explore("two leases", None, &["LeaseOver", "LeaseTake"], || {
        let (memory, mut reader) = Reader::of(memory(4, true));
        let other = memory.clone();
        let thread = thread::spawn(move || {
            while !lease(&other, 2) {
                thread::yield_now();
            }
        });
        let mut seen = Vec::new();
        while !lease(&memory, 1) {
            drain(&mut reader, &mut seen);
        }
        while seen.len() < 2 {
            drain(&mut reader, &mut seen);
        }
        assert!(seen == [1, 2] || seen == [2, 1]);
        thread.join().expect("no panic");
    });
}

/// Records one number under a lease of its own, if the ring is to be had.
fn lease(memory: &Arc<Memory>, number: u64) -> bool {
    let Some(mut writer) = Writer::take(memory) else {
        return false;
    };
    push(&mut writer, 2, number);
    writer.end();
    true
}

/// The sum of losses says that the counters are there.
#[test]
fn losses() {
    explore("losses", None, &["Lost", "LostSeen"], || {
        let memory = Arc::new(memory(4, true));
        let counters = memory.clone();
        let producer = thread::spawn(move || {
            let writer = Writer::take(&memory).expect("free");
            for _ in 0..3 {
                writer.lose(0, 5);
            }
        });
        loop {
            let lost = lost(&counters);
            let counted = counters.get(
                emberlog::loom_api::at::loss(0, 5),
                loom::sync::atomic::Ordering::Relaxed,
            );
            assert!(counted >= lost, "{counted} counted of {lost}");
            if lost == 3 {
                break;
            }
            thread::yield_now();
        }
        producer.join().expect("no panic");
    });
}
