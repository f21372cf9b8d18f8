//! Nothing is lost without being counted: attempted = logged + lost by cause, for every overflow
//! policy, for each thread, also when recording is shut down while threads are still at it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering},
        Barrier,
    },
    time::Duration,
};

use emberlog::{
    log::{verify, Position, Snapshot, Step},
    record::{layout::RecordKind, Body},
    Config, Manager, Overflow, Run, Stats,
};

const THREADS: u64 = 4;

fn open(dir: &Path, overflow: Overflow) -> Manager {
    let config = Config::new(dir).ring(|ring| {
        ring.ring_bytes = 16 << 10;
        ring.total_bytes = 4 << 20;
        ring.overflow = overflow;
    });
    Manager::open(config).unwrap()
}

/// What the log holds: spans by thread (their name), and the losses that it records itself.
#[derive(Debug, Default)]
struct Logged {
    spans: BTreeMap<String, u64>,
    /// By (ring, cause, kind): totals of a ring never fall, so the greatest one counts.
    losses: BTreeMap<(u32, u8, u8), u64>,
}

fn read(dir: &Path) -> Logged {
    let mut logged = Logged::default();
    let snapshot = Snapshot::open(dir).unwrap();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, segment) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            match record.unwrap().1.body {
                Body::Span(span) => {
                    let name = segment.names().get(span.header.name.to_native()).unwrap();
                    *logged.spans.entry(name.to_owned()).or_default() += 1;
                }
                Body::Loss(loss) => {
                    let key = (loss.header.name.to_native(), loss.cause, loss.kind);
                    let total = logged.losses.entry(key).or_default();
                    *total = (*total).max(loss.total.to_native());
                }
                _ => {}
            }
        }
    }
    logged
}

fn policies() -> Vec<Overflow> {
    vec![
        Overflow::DropNewest,
        Overflow::Block {
            timeout: Duration::from_secs(10),
        },
        // Gives up at once, again and again.
        Overflow::Block {
            timeout: Duration::from_micros(1),
        },
    ]
}

fn total(stats: &Stats) -> u64 {
    stats.lost.values().sum()
}

#[test]
fn attempted_is_logged_plus_lost_for_every_policy() {
    for overflow in policies() {
        let dir = tempfile::tempdir().unwrap();
        let manager = open(dir.path(), overflow);
        let attempts = 30_000;
        // All threads live until the last one is done, so that no ring passes to another.
        let done = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (manager, done) = (&manager, &done);
                scope.spawn(move || {
                    let name = format!("accounting {thread}");
                    let run = manager.start_trace("run");
                    for i in 0..attempts {
                        // With and without attributes: two ways into the ring.
                        match i % 3 {
                            0 => run.span(&name).with("i", i).ok(),
                            _ => run.span(&name).ok(),
                        }
                    }
                    std::mem::forget(run);
                    done.wait();
                });
            }
        });
        manager.shutdown().unwrap();
        let stats = manager.stats();
        let logged = read(dir.path());
        assert_eq!(stats.dropped_count, total(&stats));
        let in_log: u64 = logged.losses.values().sum();
        assert_eq!(
            in_log, stats.dropped_count,
            "{overflow:?}: {logged:?} {stats:?}"
        );
        let spans: u64 = logged.spans.values().sum();
        let lost: u64 = logged
            .losses
            .iter()
            .filter(|((_, _, kind), _)| *kind == RecordKind::Span as u8)
            .map(|(_, total)| total)
            .sum();
        assert_eq!(spans + lost, THREADS * attempts, "{overflow:?}: {logged:?}");
        if overflow
            == (Overflow::Block {
                timeout: Duration::from_secs(10),
            })
        {
            assert_eq!(stats.dropped_count, 0, "{stats:?}");
            assert!(logged.spans.values().all(|spans| *spans == attempts));
        }
        // Each thread for itself: it had a ring of its own, and what that lost its spans lack.
        let mut lacking: Vec<u64> = (0..THREADS)
            .map(|thread| {
                let name = format!("accounting {thread}");
                attempts - logged.spans.get(&name).copied().unwrap_or(0)
            })
            .filter(|lacking| *lacking > 0)
            .collect();
        let mut by_ring = BTreeMap::<_, u64>::new();
        for ((ring, _, kind), total) in &logged.losses {
            if *kind == RecordKind::Span as u8 {
                *by_ring.entry(*ring).or_default() += total;
            }
        }
        let mut lost: Vec<u64> = by_ring.into_values().collect();
        lacking.sort_unstable();
        lost.sort_unstable();
        assert_eq!(lacking, lost, "{overflow:?}: {:?}", logged.losses);
        assert!(verify(dir.path()).unwrap().ok);
    }
}

#[test]
fn a_shutdown_in_the_middle_counts_what_came_too_late() {
    shutdown_in_the_middle(|_, _, _| {});
}

#[test]
fn what_was_in_flight_at_a_shutdown_is_there_after_the_next_open() {
    shutdown_in_the_middle(|dir, overflow, expected| {
        drop(open(dir, overflow));
        let recovered: u64 = read(dir).spans.values().sum();
        assert_eq!(recovered, expected, "{overflow:?}");
    });
}

/// Shuts down while threads record, checks the sum, and hands over how many spans must be there
/// after the next open.
fn shutdown_in_the_middle(then: impl Fn(&Path, Overflow, u64)) {
    for overflow in policies() {
        let dir = tempfile::tempdir().unwrap();
        let manager = open(dir.path(), overflow);
        let (started, attempted) = (Barrier::new(THREADS as usize + 1), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let (manager, started, attempted) = (&manager, &started, &attempted);
                scope.spawn(move || {
                    let run = manager.start_trace("run");
                    started.wait();
                    // Until well after the shutdown.
                    let mut after = 0;
                    while after < 1000 {
                        run.span("accounting").ok();
                        attempted.fetch_add(1, Ordering::Relaxed);
                        after += u64::from(!manager.is_recording());
                    }
                    std::mem::forget(run);
                });
            }
            started.wait();
            std::thread::sleep(Duration::from_millis(30));
            manager.shutdown().unwrap();
        });
        let attempted = attempted.load(Ordering::Relaxed);
        let stats = manager.stats();
        let spans: u64 = read(dir.path()).spans.values().sum();
        // A thread that was past the gate when it closed may publish its record after the last
        // drain. Then it is in flight, in the ring's file, as 64 bytes; or taken back and lost.
        let in_flight: u64 = stats
            .rings
            .iter()
            .map(|ring| ring.used_bytes as u64 / 64)
            .sum();
        // The traces were begun before, and forgotten: all losses are of spans.
        let accounted = spans + stats.dropped_count + in_flight;
        assert_eq!(accounted, attempted, "{overflow:?}: {stats:?}");
        assert!(stats.lost["shutdown"] >= THREADS * 999, "{stats:?}");
        let report = verify(dir.path()).unwrap();
        assert!(report.ok, "{report:?}");
        drop(manager);
        then(dir.path(), overflow, spans + in_flight);
    }
}

/// Records that go in without and with attributes, three events, two metrics and two spans.
fn seven(manager: &Manager, run: &Run) {
    manager.event("custom", "bare").record();
    manager.event("custom", "one").with("a", 1).record();
    let text = "longer than a pooled buffer ".repeat(40);
    let event = run.event("custom", "more").with("a", 1).with("b", &text);
    event.in_span(None).record();
    manager.metric("bare").gauge(1.0);
    let metric = run.metric("more").unit("a unit").with("a", &text);
    metric.counter(1u64);
    // Begun and not recorded: nothing was attempted.
    drop(manager.event("custom", "never").with("a", 1));
    run.span("bare").ok();
    let span = run.span("more").with("a", 1).with("b", &text);
    span.fail_with("Bad", "no");
}

#[test]
fn a_record_after_the_shutdown_is_one_loss_whatever_is_attached_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), Overflow::DropNewest);
    // Begun in time: a run that could not begin is one loss, and hands out nothing to lose.
    let run = manager.start_trace("run");
    seven(&manager, &run);
    manager.shutdown().unwrap();
    assert_eq!(manager.stats().dropped_count, 0);
    let lost = || {
        let stats = manager.stats();
        assert_eq!(stats.dropped_count, total(&stats));
        stats.lost["shutdown"]
    };
    seven(&manager, &run);
    assert_eq!(lost(), 7, "a thread that has a ring");
    std::thread::scope(|scope| {
        scope.spawn(|| seven(&manager, &run));
    });
    assert_eq!(lost(), 14, "a thread that has none");
    run.set("a", 1);
    run.ok();
    assert_eq!(lost(), 15, "the end of the run");
    let late = manager.start_trace("late");
    seven(&Manager::disabled(), &late);
    late.ok();
    assert_eq!(lost(), 16, "a run that could not begin");
}

#[test]
fn a_thread_without_a_ring_loses_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| {
        ring.ring_bytes = 16 << 10;
        ring.total_bytes = (2 << 20) + (32 << 10);
    });
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    const MANY: u64 = 128;
    // All of them live until the last one is done, so that no ring passes to another.
    let done = Barrier::new(MANY as usize);
    std::thread::scope(|scope| {
        for _ in 0..MANY {
            scope.spawn(|| {
                seven(&manager, &run);
                done.wait();
            });
        }
    });
    run.ok();
    manager.shutdown().unwrap();
    let stats = manager.stats();
    let ringless = stats.lost["no_ring"];
    assert!(ringless >= 7 && ringless % 7 == 0, "{stats:?}");
    let mut logged = 0;
    for step in Snapshot::open(dir.path())
        .unwrap()
        .frames_from(Position::START)
    {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}")
        };
        let counted =
            |body: &Body<'_>| matches!(body, Body::Event(_) | Body::Metric(_) | Body::Span(_));
        let records = frame.records().map(|record| record.unwrap().1.body);
        logged += records.filter(counted).count() as u64;
    }
    assert_eq!(logged + stats.dropped_count, MANY * 7, "{stats:?}");
    let in_log: u64 = read(dir.path()).losses.values().sum();
    assert_eq!(in_log, stats.dropped_count);
}
