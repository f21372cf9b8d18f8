//! Attempts = published + counted, and memory stays below its ceiling, whatever threads do.

use std::time::{Duration, Instant};

use super::*;
use crate::{record::kinds::LossCause, ring::Producer};

#[test]
fn full_rings_count_what_they_drop() {
    let registry = small(true);
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("full", 1).expect("a ring");
    let taken = (0..10_000).filter(|n| push(&mut producer, 8, *n)).count() as u64;
    assert_eq!(taken, 16 * 1024 / 64, "every byte is used");
    assert!(!push(&mut producer, 1025, 0));
    producer.lose(LossCause::Reentrant, RecordKind::Span);
    consumers.refresh();
    let mut losses = Vec::new();
    consumers.new_losses(0, |cause, kind, total| losses.push((cause, kind, total)));
    let event = RecordKind::Event as u8;
    assert_eq!(
        losses,
        [
            (LossCause::RingFull as u8, event, 10_000 - taken),
            (LossCause::Reentrant as u8, RecordKind::Span as u8, 1),
            (LossCause::Oversize as u8, event, 1),
        ]
    );
    consumers.new_losses(0, |_, _, _| panic!("nothing new"));
    assert_eq!(drain(&mut consumers, 0).len() as u64, taken);
    registry.lose(LossCause::NoRing, RecordKind::Metric);
    registry.losses(|cause, kind, total| {
        assert_eq!((cause, kind, total), (1, RecordKind::Metric as u8, 1));
    });
    registry.remove_files().expect("removed");
}

#[test]
fn what_comes_after_the_end_is_taken_back_and_counted_once() {
    let registry = small(true);
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("late", 1).expect("a ring");
    assert!(push(&mut producer, 8, 1));
    consumers.refresh();
    // Not drained: nothing is over, and what comes late waits for the next open.
    registry.close_drained().expect("left alone");
    assert!(push(&mut producer, 8, 2));
    producer.too_late(RecordKind::Event);
    assert_eq!(drain(&mut consumers, 0).len(), 2);
    registry.close_drained().expect("removed");
    producer.too_late(RecordKind::Event);
    let mut losses = Vec::new();
    consumers.new_losses(0, |cause, kind, total| losses.push((cause, kind, total)));
    assert!(losses.is_empty(), "what was read is not lost: {losses:?}");
    for total in 1..=3 {
        assert!(push(&mut producer, 8, 3));
        producer.too_late(RecordKind::Event);
        consumers.new_losses(0, |cause, kind, total| losses.push((cause, kind, total)));
        let late = (LossCause::Shutdown as u8, RecordKind::Event as u8, total);
        assert_eq!(losses.pop(), Some(late));
        assert!(losses.is_empty());
    }
    let left: usize = registry.stats().rings.iter().map(|r| r.used_bytes).sum();
    assert_eq!(left, 0);
}

#[test]
fn ten_thousand_short_threads_use_few_rings() {
    let registry = registry(Path::new("/dev/shm"), |_| {});
    let mut consumers = registry.consumers().expect("the first");
    let mut seen = 0;
    for n in 0..10_000u64 {
        let registry = registry.clone();
        let thread = std::thread::spawn(move || {
            let mut producer = registry.lease("short", n).expect("a ring");
            assert!(push(&mut producer, 8, n));
        });
        thread.join().expect("no panic");
        for index in 0..consumers.refresh() {
            let lease = consumers.readable(index).lease;
            let records = drain(&mut consumers, index);
            for (_, _, number) in records {
                assert_eq!(consumers.lease(index).thread, number);
                assert_eq!(consumers.lease(index).lease, lease);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 10_000);
    assert_eq!(registry.stats().rings.len(), 1);
    registry.remove_files().expect("removed");
}

#[test]
fn a_thousand_threads_fit_below_the_ceiling() {
    let registry = registry(Path::new("/dev/shm"), |_| {});
    let mut consumers = registry.consumers().expect("the first");
    let mut producers: Vec<_> = (0..1000)
        .map(|n| registry.lease("many", n).expect("a ring"))
        .collect();
    for (n, producer) in producers.iter_mut().enumerate() {
        assert!(push(producer, 100, n as u64));
    }
    assert_eq!(consumers.refresh(), 1000);
    for index in 0..1000 {
        assert_eq!(drain(&mut consumers, index), [(0, 100, index as u64)]);
    }
    // Then the ceiling, and a thread that ends makes room again.
    let more = std::iter::from_fn(|| registry.lease("more", 0)).take(2000);
    let more: Vec<_> = more.collect();
    assert!(more.len() < 2000);
    let stats = registry.stats();
    assert!(stats.bytes <= 64 << 20 && stats.not_crash_safe.is_none());
    drop(producers.pop());
    assert!(registry.lease("late", 0).is_some());
    registry.remove_files().expect("removed");
}

#[test]
fn blocking_waits_then_gives_up_then_waits_again() {
    /// Long enough for whoever drains to be scheduled.
    const TIMEOUT: Duration = Duration::from_secs(3);
    const AT_ONCE: u32 = 100;
    let registry = registry(Path::new("/dev/shm"), |options| {
        options.ring_bytes = 16 << 10;
        options.overflow = Overflow::Block { timeout: TIMEOUT };
    });
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("blocks", 1).expect("a ring");
    // So many that none of them can have waited.
    let refused_at_once = |producer: &mut Producer| {
        let start = Instant::now();
        for _ in 0..AT_ONCE {
            assert!(!push(producer, 8, 0));
        }
        assert!(start.elapsed() < TIMEOUT * AT_ONCE);
    };
    while producer_has_room(&registry) {
        assert!(push(&mut producer, 8, 0));
    }
    let start = Instant::now();
    assert!(!push(&mut producer, 8, 0));
    assert!(start.elapsed() >= TIMEOUT);
    // It gave up before.
    refused_at_once(&mut producer);
    consumers.refresh();
    drain(&mut consumers, 0);
    while producer_has_room(&registry) {
        assert!(push(&mut producer, 8, 1));
    }
    // Now somebody drains while we wait.
    let flusher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        drain(&mut consumers, 0);
        consumers
    });
    assert!(push(&mut producer, 8, 2));
    let consumers = flusher.join().expect("no panic");
    assert_eq!(lost(&consumers, 0), 1 + u64::from(AT_ONCE));
    // A thread of the engine does not wait.
    engine_thread(true);
    while producer_has_room(&registry) {
        assert!(push(&mut producer, 8, 1));
    }
    refused_at_once(&mut producer);
    engine_thread(false);
    registry.remove_files().expect("removed");
}

fn producer_has_room(registry: &Registry) -> bool {
    registry.stats().rings[0].used_bytes < 16 << 10
}

#[test]
fn wrong_options_are_all_named() {
    let options = Options {
        ring_bytes: 1000,
        total_bytes: 5,
        max_record_bytes: 1 << 20,
        open_spans: 65,
        overflow: Overflow::Spill { max_bytes: 1 },
        ..Options::default()
    };
    assert_eq!(options.validate().len(), 5);
    assert_eq!(Options::default().validate(), [""; 0]);
    let (log, instance) = (LogId::random(), InstanceId::random());
    let anchor = Clock::get().first();
    assert!(Registry::create(&options, log, instance, Path::new("x"), anchor).is_err());
}

#[test]
fn refused_memory_is_visible_and_works() {
    let registry = registry(Path::new("/nonexistent/folder"), |_| {});
    let mut producer = registry.lease("private", 1).expect("a ring");
    assert!(push(&mut producer, 8, 1));
    let stats = registry.stats();
    assert!(!stats.rings[0].crash_safe);
    let reason = stats.not_crash_safe.expect("a reason");
    assert!(reason.contains("/nonexistent/folder"), "{reason}");
}

#[test]
fn foreign_folders_are_refused() {
    let base = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let uid = rustix::process::geteuid().as_raw();
    let user = base.path().join(format!("emberlog-{uid}"));
    std::os::unix::fs::symlink(elsewhere.path(), &user).expect("a link");
    let linked = registry(base.path(), |_| {});
    assert!(linked.stats().not_crash_safe.is_some());
    std::fs::remove_file(&user).expect("removed");
    std::fs::create_dir(&user).expect("made");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&user, open).expect("set");
    let open_to_others = registry(base.path(), |_| {});
    let reason = open_to_others.stats().not_crash_safe.expect("a reason");
    assert!(reason.contains("755"), "{reason}");
}

/// The bell rings once when a ring gets half full, and the sleeper wakes.
#[test]
fn half_full_rings_wake_the_flusher() {
    let registry = small(true);
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("rings", 1).expect("a ring");
    let sleeper = {
        let registry = registry.clone();
        std::thread::spawn(move || {
            consumers.refresh();
            let start = Instant::now();
            while !consumers.waiting().urgent && start.elapsed() < Duration::from_secs(20) {
                registry
                    .bell()
                    .sleep(Duration::from_secs(30), || consumers.waiting().urgent);
            }
            start.elapsed()
        })
    };
    std::thread::sleep(Duration::from_millis(50));
    for n in 0..150 {
        assert!(push(&mut producer, 8, n));
    }
    assert!(sleeper.join().expect("no panic") < Duration::from_secs(10));
    registry.remove_files().expect("removed");
}

#[test]
fn tickets_end_in_every_way() {
    let tickets = Tickets::<u32>::new();
    let first = tickets.take().expect("open");
    assert_eq!(
        tickets.wait(first, Duration::ZERO),
        Err(WaitError::TimedOut)
    );
    assert!(tickets.wanted());
    let round = tickets.begin_round();
    let late = tickets.take().expect("open");
    tickets.end_round(round, 5);
    assert_eq!(tickets.wait(first, Duration::ZERO), Ok(5));
    assert_eq!(
        tickets.wait(late, Duration::from_millis(5)),
        Err(WaitError::TimedOut)
    );
    std::thread::scope(|scope| {
        scope.spawn(|| tickets.close(WaitError::Failed));
        let answer = tickets.wait(late, Duration::from_secs(20));
        assert_eq!(answer, Err(WaitError::Failed));
    });
    assert_eq!(tickets.take(), Err(WaitError::Failed));
    assert_eq!(tickets.wait(first, Duration::ZERO), Ok(5));
}
