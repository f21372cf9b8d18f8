//! Nobody sleeps through what it waits for: doorbell, flush, blocked producers, shutdown.
#![cfg(loom)]

use emberlog::loom_api::{Doorbell, Overflow, Tickets, WaitError};
use emberlog_loom_tests::{
    explore, must_fail,
    parts::{blocking, drain, drain_numbers, push, registry, LONG},
};
use loom::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
};

/// Whatever is stored before a ring ends the sleep.
#[test]
fn doorbell() {
    explore("doorbell", None, &["BellSleep", "BellRing"], || {
        let bell = Arc::new(Doorbell::new());
        let stored = Arc::new(AtomicU64::new(0));
        let ringer = {
            let (bell, stored) = (Arc::clone(&bell), Arc::clone(&stored));
            thread::spawn(move || {
                for n in 1..3 {
                    stored.store(n, Ordering::Relaxed);
                    bell.ring();
                }
            })
        };
        let mut seen = 0;
        while seen < 2 {
            seen = stored.load(Ordering::Relaxed);
            if seen == 2 {
                break;
            }
            bell.sleep(LONG, || stored.load(Ordering::Relaxed) != seen);
        }
        ringer.join().expect("no panic");
    });
}

/// The same of two at once.
#[test]
fn two_ringers() {
    let sites = &["BellSleep", "BellRing"];
    explore("doorbell, two ringers", Some(3), sites, || {
        let bell = Arc::new(Doorbell::new());
        let stored: Arc<[AtomicU64; 2]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let ringers: Vec<_> = (0..2)
            .map(|n| {
                let (bell, stored) = (Arc::clone(&bell), Arc::clone(&stored));
                thread::spawn(move || {
                    stored[n].store(1, Ordering::Relaxed);
                    bell.ring();
                })
            })
            .collect();
        let count = || -> u64 { stored.iter().map(|n| n.load(Ordering::Relaxed)).sum() };
        let mut seen = 0;
        while seen < 2 {
            bell.sleep(LONG, || count() > seen);
            seen = count();
        }
        ringers
            .into_iter()
            .for_each(|t| t.join().expect("no panic"));
    });
}

/// A producer that finds its ring half full wakes the flusher.
#[test]
fn half_full() {
    explore("half full", Some(3), &["BellSleep", "BellRing"], || {
        let registry = registry(32, Overflow::DropNewest);
        let mut consumers = registry.consumers().expect("the first");
        let producing = registry.clone();
        let producer = thread::spawn(move || {
            let mut producer = producing.lease("p", 1).expect("a ring");
            // Half, then the one that finds it so.
            assert!(push(&mut producer, 1));
            push(&mut producer, 2);
        });
        let mut seen = 0;
        while seen == 0 {
            registry.bell().sleep(LONG, || consumers.waiting().urgent);
            seen += drain(&mut consumers);
        }
        producer.join().expect("no panic");
    });
}

/// Threads come, record, and go, while the flusher looks for new rings.
#[test]
fn registration() {
    explore("registration", Some(2), &["Publish"], || {
        let registry = registry(32, Overflow::DropNewest);
        let mut consumers = registry.consumers().expect("the first");
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let registry = registry.clone();
                thread::spawn(move || {
                    let mut producer = registry.lease("p", n).expect("a ring");
                    assert!(push(&mut producer, n));
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 2 {
            let some = drain(&mut consumers);
            if some == 0 {
                thread::yield_now();
            }
            seen += some;
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(drain(&mut consumers), 0);
    });
}

fn flush(tails_first: bool) {
    let registry = registry(64, Overflow::DropNewest);
    let tickets = Arc::new(Tickets::<u64>::new());
    let logged = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicU64::new(0));
    let mut consumers = registry.consumers().expect("the first");
    let caller = {
        let (registry, tickets) = (registry.clone(), tickets.clone());
        let (logged, over) = (logged.clone(), over.clone());
        thread::spawn(move || {
            let mut producer = registry.lease("p", 1).expect("a ring");
            for n in 1..3 {
                assert!(push(&mut producer, n));
                let ticket = tickets.take().expect("open");
                registry.bell().ring();
                let reached = tickets.wait(ticket, LONG).expect("flushed");
                assert!(reached >= n, "{reached} of {n}");
                assert!(logged.load(Ordering::Relaxed) >= n);
            }
            over.store(1, Ordering::Relaxed);
            registry.bell().ring();
        })
    };
    let mut seen = 0;
    while over.load(Ordering::Relaxed) == 0 {
        let ready = || tickets.wanted() || over.load(Ordering::Relaxed) == 1;
        registry.bell().sleep(LONG, ready);
        let early = consumers.tails();
        let round = tickets.begin_round();
        let tails = if tails_first {
            early
        } else {
            consumers.tails()
        };
        if !consumers.drained(&tails) {
            seen += drain(&mut consumers);
            logged.store(seen, Ordering::Relaxed);
        }
        tickets.end_round(round, seen);
    }
    caller.join().expect("no panic");
}

/// What happened before a flush is logged when it returns.
#[test]
fn flushing() {
    explore("flush", Some(3), &["BellSleep", "BellRing"], || {
        flush(false)
    });
    must_fail("flush, tails captured too early", Some(3), || flush(true));
}

/// A thread records, in a ring that the flusher does not know yet, and tells another one, which
/// flushes.
fn flush_for_another(told: Ordering) {
    let registry = registry(64, Overflow::DropNewest);
    let mut consumers = registry.consumers().expect("the first");
    let tickets = Arc::new(Tickets::<u64>::new());
    let recorded = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicU64::new(0));
    let recorder = {
        let (registry, recorded) = (registry.clone(), recorded.clone());
        thread::spawn(move || {
            let mut producer = registry.lease("p", 1).expect("a ring");
            assert!(push(&mut producer, 1));
            recorded.store(1, told);
        })
    };
    let caller = {
        let (registry, tickets, over) = (registry.clone(), tickets.clone(), over.clone());
        thread::spawn(move || {
            while recorded.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            let ticket = tickets.take().expect("open");
            registry.bell().ring();
            assert_eq!(tickets.wait(ticket, LONG), Ok(1));
            over.store(1, Ordering::Relaxed);
            registry.bell().ring();
        })
    };
    let mut seen = 0;
    while over.load(Ordering::Relaxed) == 0 {
        let ready = || tickets.wanted() || over.load(Ordering::Relaxed) == 1;
        registry.bell().sleep(LONG, ready);
        let round = tickets.begin_round();
        let tails = consumers.tails();
        if !consumers.drained(&tails) {
            seen += drain(&mut consumers);
        }
        tickets.end_round(round, seen);
    }
    recorder.join().expect("no panic");
    caller.join().expect("no panic");
}

#[test]
fn flushing_for_another_thread() {
    let sites = &["BellSleep", "BellRing"];
    explore("flush, for another", Some(2), sites, || {
        flush_for_another(Ordering::Release)
    });
    must_fail("flush, for another that was not told", Some(2), || {
        flush_for_another(Ordering::Relaxed)
    });
}

/// Whoever waits for a flush gets an answer when the engine ends.
#[test]
fn shutdown_answers_everybody() {
    explore("shutdown", None, &[], || shutdown(true));
    must_fail("shutdown, nobody closes", None, || shutdown(false));
}

fn shutdown(closes: bool) {
    let tickets = Arc::new(Tickets::<u64>::new());
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let tickets = tickets.clone();
            thread::spawn(move || {
                let answer = tickets.take().and_then(|ticket| tickets.wait(ticket, LONG));
                assert!(matches!(answer, Ok(5) | Err(WaitError::Closed)));
            })
        })
        .collect();
    let round = tickets.begin_round();
    tickets.end_round(round, 5);
    if closes {
        tickets.close(WaitError::Closed);
    }
    for caller in callers {
        caller.join().expect("no panic");
    }
}

/// A producer that waits for room goes on when there is some.
#[test]
fn blocked_producers_go_on() {
    explore("blocked", Some(3), &["BellSleep", "BellRing"], || {
        let registry = blocking();
        let mut consumers = registry.consumers().expect("the first");
        let producing = registry.clone();
        let producer = thread::spawn(move || {
            let mut producer = producing.lease("p", 1).expect("a ring");
            assert!((0..3).all(|n| push(&mut producer, n)));
        });
        let mut seen = 0;
        while seen < 3 {
            let some = drain(&mut consumers);
            if some == 0 {
                thread::yield_now();
            }
            seen += some;
        }
        producer.join().expect("no panic");
    });
}

/// Producers that wait for room go on when nobody will make any.
#[test]
fn blocked_producers_give_up_at_the_end() {
    explore("stopped", Some(3), &["BellSleep", "BellRing"], || {
        let registry = blocking();
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let mut producer = registry.lease("p", n).expect("a ring");
                thread::spawn(move || {
                    assert_eq!((0..3).filter(|n| push(&mut producer, *n)).count(), 2);
                })
            })
            .collect();
        registry.stop();
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

/// A thread whose ring is full goes on in a further one: its records keep their order.
#[test]
fn spilling() {
    explore("spill", Some(2), &["Publish", "Readable"], || {
        let registry = registry(32, Overflow::Spill { max_bytes: 1 << 20 });
        let mut consumers = registry.consumers().expect("the first");
        let producing = registry.clone();
        let producer = thread::spawn(move || {
            let mut producer = producing.lease("p", 1).expect("a ring");
            assert!((0..4).all(|n| push(&mut producer, n)));
        });
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let before = seen.len();
            drain_numbers(&mut consumers, &mut seen);
            if seen.len() == before {
                thread::yield_now();
            }
        }
        assert_eq!(seen, [0, 1, 2, 3]);
        producer.join().expect("no panic");
    });
}

/// A ring goes from a thread that ended to one that begins, while the flusher drains.
#[test]
fn pooling() {
    explore("pool", Some(2), &["Publish", "Readable"], || {
        let registry = registry(32, Overflow::DropNewest);
        let mut consumers = registry.consumers().expect("the first");
        let leasing = registry.clone();
        let threads = thread::spawn(move || {
            for n in 0..3 {
                let mut producer = leasing.lease("p", n).expect("a ring");
                assert!(push(&mut producer, n));
            }
        });
        let mut leases = Vec::new();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            for index in 0..consumers.refresh() {
                let readable = consumers.readable(index);
                let (mut words, lease) = (readable.first.to_vec(), readable.lease);
                words.extend_from_slice(&readable.second);
                let ring = consumers.ring(index);
                for record in words.chunks(2) {
                    seen.push(record[1]);
                    leases.push((ring, lease));
                    // Whose records these are is known while they wait.
                    assert_eq!(consumers.lease(index).thread, record[1]);
                }
                consumers.release(index, words.len() as u64 * 8, words.len() as u64 / 2);
            }
            thread::yield_now();
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        leases.sort_unstable();
        leases.dedup();
        assert_eq!(leases.len(), 3, "two threads under one lease");
        threads.join().expect("no panic");
    });
}

/// The log shuts down while a thread takes a ring: what it recorded is drained, or it recorded
/// nothing, and a thread that waits for room gives up.
#[test]
fn shutdown_while_a_thread_registers() {
    explore("late", Some(3), &["BellSleep", "BellRing"], || {
        let registry = blocking();
        let mut consumers = registry.consumers().expect("the first");
        let arriving = registry.clone();
        let arrival = thread::spawn(move || {
            let Some(mut producer) = arriving.lease("p", 1) else {
                return 0;
            };
            (0..3).filter(|n| push(&mut producer, *n)).count() as u64
        });
        registry.stop();
        let during = drain(&mut consumers);
        let recorded = arrival.join().expect("no panic");
        assert_eq!(during + drain(&mut consumers), recorded);
        let rings = registry.stats().rings;
        let lost: u64 = rings.iter().map(|ring| ring.lost_records).sum();
        assert_eq!(recorded + lost, 3);
    });
}
