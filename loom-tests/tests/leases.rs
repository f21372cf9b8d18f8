//! Threads come and go: what becomes of what they counted, left open, kept, spilled, or recorded too
//! late.
#![cfg(loom)]

use emberlog::loom_api::{lost as lost_in, Overflow, RecordKind, Tickets, Writer};
use emberlog_loom_tests::{
    explore, must_fail,
    parts::{
        blocking, drain, drain_numbers, lost, memory, push, registry, registry_with, span, CORE,
        LONG,
    },
};
use loom::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    thread,
};

/// The next owner of a ring goes on counting where the last one stopped.
#[test]
fn losses_of_two_owners() {
    let sites = &["LeaseOver", "LeaseTake"];
    explore("losses, next owner", None, sites, || {
        let memory = Arc::new(memory(4, true));
        let count = |memory: &_| loop {
            if let Some(mut writer) = Writer::take(memory) {
                writer.lose(0, 5);
                break writer.end();
            }
            thread::yield_now();
        };
        let other = memory.clone();
        let other = thread::spawn(move || count(&other));
        count(&memory);
        other.join().expect("no panic");
        assert_eq!(lost_in(&memory), 2);
    });
}

/// What was lost is told by the round that sees it, in full.
#[test]
fn losses_are_told() {
    explore("losses, told", Some(2), &["Lost", "LostSeen"], || {
        let registry = registry(32, Overflow::DropNewest);
        let mut consumers = registry.consumers().expect("the first");
        let recording = registry.clone();
        let producer = thread::spawn(move || {
            let mut producer = recording.lease("p", 1).expect("a ring");
            let pushed = (0..4).filter(|n| push(&mut producer, *n));
            assert!(pushed.count() >= 2);
        });
        let (mut seen, mut told) = (0, 0);
        while seen + told < 4 {
            for index in 0..consumers.refresh() {
                consumers.new_losses(index, |_, _, total| told = total);
            }
            seen += drain(&mut consumers);
            thread::yield_now();
        }
        producer.join().expect("no panic");
        assert_eq!(told, lost(&registry));
    });
}

/// A thread records while the log is closed for good: what nobody will read any more it takes back
/// and counts.
fn late(asks: bool) {
    let registry = registry(32, Overflow::DropNewest);
    let mut consumers = registry.consumers().expect("the first");
    let recording = registry.clone();
    let thread = thread::spawn(move || {
        let mut producer = recording.lease("p", 1).expect("a ring");
        for n in 0..2 {
            assert!(push(&mut producer, n));
            if asks {
                producer.too_late(RecordKind::Event);
            }
        }
    });
    let seen = drain(&mut consumers);
    registry.close_drained().expect("there are no files");
    thread.join().expect("no panic");
    let (left, counted) = (drain(&mut consumers), lost(&registry));
    assert_eq!(seen + left + counted, 2);
    // A record that comes now says whether it was closed: where it was not, its files stay.
    let mut last = registry.lease("q", 2).expect("a ring");
    assert!(push(&mut last, 2));
    last.too_late(RecordKind::Event);
    let closed = lost(&registry) > counted;
    assert!(left == 0 || !closed, "{left} that nobody will read");
}

#[test]
fn records_that_come_too_late() {
    explore("too late", None, &[], || late(true));
    must_fail("too late, nobody asks", None, || late(false));
}

/// A thread ends and leaves a span open, the next one takes its ring and shows its own there.
#[test]
fn spans_of_the_next_owner() {
    let sites = &["SpanFields", "SpanState", "SpanSeen", "SpanCheck"];
    explore("open spans, next owner", Some(2), sites, || {
        let registry = registry_with(|options| options.open_spans = 1);
        let leasing = registry.clone();
        let threads = thread::spawn(move || {
            for n in 1..3 {
                let mut producer = leasing.lease("p", n).expect("a ring");
                assert_eq!(producer.open(span(n)), Some(0));
            }
        });
        let mut newest = 0;
        while newest < 2 {
            for open in registry.open_spans() {
                assert_eq!(open.span, span(open.span.start), "mixed");
                newest = open.span.start;
            }
            thread::yield_now();
        }
        threads.join().expect("no panic");
    });
}

/// A ring that holds traces which are not sampled is not for the next thread as long as something is
/// in it.
#[test]
fn held_rings_of_two_owners() {
    explore(
        "held, next owner",
        Some(2),
        &["Publish", "Readable"],
        || {
            let registry = registry(32, Overflow::DropNewest);
            let mut consumers = registry.consumers().expect("the first");
            let leasing = registry.clone();
            let threads = thread::spawn(move || {
                for n in 0..2 {
                    let mut producer = leasing.lease_held("p", n).expect("a ring");
                    assert!(push(&mut producer, n));
                }
            });
            let mut seen = Vec::new();
            while seen.len() < 2 {
                consumers.capture();
                seen.clear();
                for index in 0..consumers.len() {
                    for record in consumers.captured(index).first.chunks(2) {
                        assert_eq!(consumers.lease(index).thread, record[1], "another's");
                        seen.push(record[1]);
                    }
                    consumers.looked(index);
                }
                thread::yield_now();
            }
            assert_eq!(seen, [0, 1]);
            threads.join().expect("no panic");
            let tails = consumers.tails();
            assert!(consumers.drained(&tails));
            assert_eq!(drain(&mut consumers), 2, "kept until they are released");
        },
    );
}

/// A flush does not wait until a ring that is held is empty, only until it was looked at.
fn held_and_flushed(looks: bool) {
    let registry = registry(32, Overflow::DropNewest);
    let mut consumers = registry.consumers().expect("the first");
    let tickets = Arc::new(Tickets::<u64>::new());
    let over = Arc::new(AtomicU64::new(0));
    let caller = {
        let (registry, tickets, over) = (registry.clone(), tickets.clone(), over.clone());
        thread::spawn(move || {
            let mut producer = registry.lease_held("p", 1).expect("a ring");
            for n in 1..3 {
                assert!(push(&mut producer, n));
                let ticket = tickets.take().expect("open");
                registry.bell().ring();
                let reached = tickets.wait(ticket, LONG).expect("flushed");
                assert!(reached >= n, "{reached} of {n}");
            }
            over.store(1, Ordering::Relaxed);
            registry.bell().ring();
        })
    };
    while over.load(Ordering::Relaxed) == 0 {
        let ready = || tickets.wanted() || over.load(Ordering::Relaxed) == 1;
        registry.bell().sleep(LONG, ready);
        let round = tickets.begin_round();
        let tails = consumers.tails();
        consumers.capture();
        let mut seen = 0;
        for index in 0..consumers.len() {
            seen += consumers.captured(index).first.len() as u64 / 2;
            if looks {
                consumers.looked(index);
            }
        }
        if consumers.drained(&tails) {
            tickets.end_round(round, seen);
        }
    }
    caller.join().expect("no panic");
}

#[test]
fn held_rings_are_flushed() {
    let sites = &["BellSleep", "BellRing"];
    explore("held, flushed", Some(3), sites, || held_and_flushed(true));
    must_fail("held, nobody looks", Some(1), || held_and_flushed(false));
}

/// A thread that went on in a further ring comes home when that is drained.
#[test]
fn spilling_and_coming_home() {
    explore("spill, home again", Some(1), CORE, || {
        let registry = registry(32, Overflow::Spill { max_bytes: 1 << 20 });
        let mut consumers = registry.consumers().expect("the first");
        let producing = registry.clone();
        let producer = thread::spawn(move || {
            let mut producer = producing.lease("p", 1).expect("a ring");
            assert!((0..5).all(|n| push(&mut producer, n)));
        });
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let before = seen.len();
            drain_numbers(&mut consumers, &mut seen);
            if seen.len() == before {
                thread::yield_now();
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        producer.join().expect("no panic");
    });
}

/// Two producers wait for room at once; the flusher wakes both.
#[test]
fn two_blocked_producers() {
    explore("blocked, two", Some(1), &["BellSleep", "BellRing"], || {
        let registry = blocking();
        let mut consumers = registry.consumers().expect("the first");
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let mut producer = registry.lease("p", n).expect("a ring");
                thread::spawn(move || assert!((0..3).all(|n| push(&mut producer, n))))
            })
            .collect();
        let mut seen = 0;
        while seen < 6 {
            let some = drain(&mut consumers);
            if some == 0 {
                thread::yield_now();
            }
            seen += some;
        }
        threads
            .into_iter()
            .for_each(|t| t.join().expect("no panic"));
    });
}
