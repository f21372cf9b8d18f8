//! Figures, not checks: `cargo test --release -p emberlog --lib ring::tests::speed -- --ignored --nocapture`

use std::{hint::black_box, time::Instant};

use super::*;

fn best(rounds: usize, mut round: impl FnMut() -> f64) -> f64 {
    (0..rounds).map(|_| round()).fold(f64::MAX, f64::min)
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    for crash_safe in [true, false] {
        let registry = registry(Path::new("/dev/shm"), |options| {
            options.crash_safe = crash_safe
        });
        let mut consumers = registry.consumers().expect("the first");
        let mut producer = registry.lease("speed", 1).expect("a ring");
        consumers.refresh();
        let head = words_of::<Header, 1>(&Header::new(RecordKind::Span, 8, 0))[0];
        let push = best(300, || {
            let start = Instant::now();
            let mut n = 0;
            while n < 8_000 {
                let a = black_box(n);
                let taken = producer.push(RecordKind::Span, 8, |out| {
                    out.copy_from_slice(&[head, a, a, a, a, a, a, a]);
                });
                assert!(taken);
                n += 1;
            }
            let ns = start.elapsed().as_nanos() as f64 / 8_000.0;
            let readable = consumers.readable(0);
            let bytes = 8 * (readable.first.len() + readable.second.len()) as u64;
            consumers.release(0, bytes, 8_000);
            ns
        });
        let pair = best(300, || {
            let start = Instant::now();
            for n in 1..8_001u64 {
                let start = black_box(n);
                let span = OpenSpan {
                    start,
                    span: start,
                    parent: start,
                    ..OpenSpan::default()
                };
                let slot = producer.open(span).expect("a slot");
                producer.close(black_box(slot));
            }
            start.elapsed().as_nanos() as f64 / 8_000.0
        });
        let gate = best(300, || {
            let start = Instant::now();
            for _ in 0..8_000 {
                black_box(black_box(registry.gate()).is_open());
            }
            start.elapsed().as_nanos() as f64 / 8_000.0
        });
        println!("crash_safe {crash_safe}: push 64 bytes {push:.2} ns, open + close {pair:.2} ns, gate {gate:.2} ns");
        registry.remove_files().expect("removed");
    }
    let lease = best(20, || {
        let registry = registry(Path::new("/dev/shm"), |_| {});
        let start = Instant::now();
        let _producer = registry.lease("new", 1).expect("a ring");
        let ns = start.elapsed().as_nanos() as f64;
        registry.remove_files().expect("removed");
        ns
    });
    println!("a new ring of 1 MiB {:.0} µs", lease / 1000.0);
}
