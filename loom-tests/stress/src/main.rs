//! Everything at once, for as many seconds as the argument says: many threads record, short ones
//! come and go, others flush, query and count. At the end every record must be logged or counted.
//!
//! `scripts/test tsan` runs it under ThreadSanitizer.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use emberlog::{Config, Filter, Manager, Overflow, StaticName};

static SPAN: StaticName = StaticName::new("stress.span");
static NUMBER: StaticName = StaticName::new("stress.number");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(10), |s| s.parse())?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < until {
        for overflow in [
            Overflow::DropNewest,
            Overflow::Block {
                timeout: Duration::from_secs(10),
            },
            Overflow::Spill { max_bytes: 4 << 20 },
        ] {
            let (attempts, lost) = round(overflow)?;
            println!("{overflow:?}: {attempts} attempts, {lost} lost");
            rounds += 1;
        }
    }
    println!("{rounds} rounds");
    Ok(())
}

/// Returns how many spans were attempted and lost.
fn round(overflow: Overflow) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let config = Config::new(dir.path()).ring(|ring| {
        ring.ring_bytes = 16 << 10;
        ring.overflow = overflow;
    });
    let manager = Manager::open(config)?;
    let attempts = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let record = |spans: u64| {
        let run = manager.start_trace("stress");
        for number in 0..spans {
            let outer = run.node(&SPAN).with(&NUMBER, number);
            outer.child(&SPAN).ok();
            outer.ok();
        }
        // Names that several threads define at once.
        let before = attempts.fetch_add(2 * spans, Ordering::Relaxed);
        let name = format!("stress {}", before / 64);
        run.event("stress", &name).record();
        run.metric(&name).gauge(spans);
        run.ok();
    };
    std::thread::scope(|scope| {
        let recorders: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..20).for_each(|_| record(100))))
            .collect();
        let short = scope.spawn(|| {
            for _ in 0..50 {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| record(3))).collect();
                threads
                    .into_iter()
                    .for_each(|t| t.join().expect("recorded"));
            }
        });
        // A span that ends on another thread than it began on.
        let moved = scope.spawn(|| {
            for _ in 0..100 {
                let run = manager.start_trace("stress");
                let span = run.span(&SPAN).detach(&run);
                scope.spawn(move || span.ok()).join().expect("ended");
                run.ok();
                attempts.fetch_add(1, Ordering::Relaxed);
            }
        });
        let others = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                manager.flush().expect("flushed");
                manager.query_spans(&Filter::new().active()).expect("read");
                manager.stats();
            }
        });
        for thread in recorders.into_iter().chain([short, moved]) {
            thread.join().expect("recorded");
        }
        stop.store(true, Ordering::Relaxed);
        others.join().expect("flushed");
    });
    manager.flush()?;
    let stats = manager.stats();
    manager.shutdown()?;
    let attempts = attempts.into_inner();
    let logged = stats.records.get("span").copied().unwrap_or(0);
    // Traces and starts of spans are lost too when a ring is full.
    let lost = stats.dropped_count;
    assert!(logged <= attempts && logged + lost >= attempts, "{stats:?}");
    assert!(lost == 0 || overflow == Overflow::DropNewest || stats.spill_bytes > 0);
    Ok((attempts, lost))
}
