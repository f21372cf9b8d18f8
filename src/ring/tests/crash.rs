//! What is in a ring survives the process, and reading it survives anything.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;
use crate::{
    record::{kinds::LossCause, names::NameSink},
    ring::left::all,
};

const CHILD: &str = "EMBERLOG_RING_TEST_CHILD";

/// Runs only inside the process that `a_killed_process_loses_nothing` starts.
#[test]
fn child_that_gets_killed() {
    let Ok(dir) = std::env::var(CHILD) else {
        return;
    };
    let registry = registry(Path::new(&dir), |options| options.ring_bytes = 16 << 10);
    registry.shared_for_tests().define(300, "a name");
    let mut consumers = registry.consumers().expect("the first");
    let mut producer = registry.lease("victim", 42).expect("a ring");
    let span = OpenSpan {
        start: 77,
        span: 5,
        ..OpenSpan::default()
    };
    producer.open(span).expect("a slot");
    registry.beat(123);
    consumers.refresh();
    for n in 0..400 {
        assert!(push(&mut producer, 8, n));
        if n == 199 {
            assert_eq!(consumers.readable(0).first.len(), 200 * 8);
            consumers.release(0, 150 * 64, 150);
        }
    }
    producer.lose(LossCause::Oversize, RecordKind::Link);
    registry.lose(LossCause::NoRing, RecordKind::Span);
    println!("\nready {}", registry.log_for_tests());
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "--nocapture",
            "ring::tests::crash::child_that_gets_killed",
        ])
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let log: LogId = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ready ")?.parse().ok())
        .expect("the child says when");
    let check = || {
        let mut left = left(Some(dir.path()), log, None);
        assert_eq!(left.len(), 1);
        let left = left.remove(0);
        assert_eq!(left.problems, [""; 0]);
        assert!(left.names.contains(&(300, "a name".to_owned())));
        assert_eq!(left.log_dir, Some(dir.path().join("log")));
        assert_eq!(left.last_sign_of_life, Some(123));
        assert!(left.anchor.is_some());
        assert_eq!(left.losses, [(1, RecordKind::Span as u8, 1)]);
        assert_eq!(left.rings.len(), 1);
        let ring = &left.rings[0];
        assert_eq!((ring.ring, ring.lease, ring.leased), (0, 1, true));
        assert_eq!((ring.thread, &*ring.thread_name), (42, "victim"));
        assert_eq!(
            (ring.first_sequence, ring.count, ring.damaged_bytes),
            (150, 250, 0)
        );
        assert_eq!(
            parse(&ring.records),
            (150..400).map(|n| (8, n)).collect::<Vec<_>>()
        );
        assert_eq!(ring.open.len(), 1);
        assert_eq!((ring.open[0].1.start, ring.open[0].1.span), (77, 5));
        assert_eq!(ring.losses, [(3, RecordKind::Link as u8, 1)]);
        left
    };
    // While it lives, and after.
    check();
    child.kill().expect("killed");
    child.wait().expect("ended");
    let folders = all(Some(dir.path()));
    assert_eq!(folders.len(), 1);
    assert_eq!(folders[0].log_dir, Some(dir.path().join("log")));
    check().remove().expect("removed");
    assert!(left(Some(dir.path()), log, None).is_empty());
}

/// Another process may look at any time: what it gets is whole and in order.
#[test]
fn looking_at_a_live_ring_tears_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let registry = registry(dir.path(), |options| options.ring_bytes = 16 << 10);
    let log = registry.log_for_tests();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut seen = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut consumers = registry.consumers().expect("the first");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for index in 0..consumers.refresh() {
                    drain(&mut consumers, index);
                }
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut producer = registry.lease("live", 1).expect("a ring");
            let mut sent = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let slot = producer.open(OpenSpan {
                    start: sent + 1,
                    span: sent,
                    ..Default::default()
                });
                if push(&mut producer, 2 + (sent % 17) as usize, sent) {
                    sent += 1;
                }
                producer.close(slot.expect("a slot"));
            }
        });
        for _ in 0..3000 {
            for instance in left(Some(dir.path()), log, None) {
                for ring in instance.rings {
                    assert_eq!(ring.damaged_bytes, 0);
                    let records = parse(&ring.records).into_iter();
                    for (next, (size, number)) in (ring.first_sequence..).zip(records) {
                        assert_eq!((size, number), (2 + (next % 17) as usize, next));
                        seen += 1;
                    }
                    for (_, span) in ring.open {
                        assert_eq!(span.start, span.span + 1);
                    }
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(seen > 0);
    registry.remove_files().expect("removed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Garbage anywhere in the files, in pieces that may look right.
    #[test]
    fn garbage_is_read_without_harm(
        places in prop::collection::vec((0usize..3, any::<prop::sample::Index>(), any::<u64>(), 0u8..4), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let registry = registry(dir.path(), |options| options.ring_bytes = 16 << 10);
        registry.shared_for_tests().define(300, "a name");
        let mut producer = registry.lease("garbage", 1).expect("a ring");
        for n in 0..100 {
            push(&mut producer, 8, n);
        }
        let uid = rustix::process::geteuid().as_raw();
        let user = dir.path().join(format!("emberlog-{uid}"));
        let folder = std::fs::read_dir(&user).expect("there").next().expect("one").expect("read").path();
        for (file, at, value, how) in places {
            let name = ["names", "ring-00000", "ring-00000"][file];
            let out = std::fs::OpenOptions::new().write(true).open(folder.join(name)).expect("opened");
            // The first kilobytes matter most.
            let limit = [600, 4096, 8192 + (16 << 10)][file];
            let at = at.index(limit) / 8 * 8;
            let value = match how {
                0 => value,
                1 => value % 32_768,
                2 => value % 32_768 / 8 * 8,
                _ => u64::MAX - value % 64,
            };
            out.write_all_at(&value.to_le_bytes(), at as u64).expect("written");
        }
        let ring = std::fs::OpenOptions::new().write(true).open(folder.join("ring-00000")).expect("opened");
        let whole = ring.metadata().expect("a length").len();
        if let Some(cut) = cut {
            ring.set_len(cut.index(24 << 10) as u64).expect("cut");
        }
        for left in left(Some(dir.path()), registry.log_for_tests(), None) {
            for ring in &left.rings {
                prop_assert!(ring.records.len() <= (16 << 10) / 8);
            }
            left.remove().expect("removed");
        }
        // Cut files must not be touched through the mapping, which dropping the producer does.
        ring.set_len(whole).expect("whole again");
    }
}

/// The ends themselves take foreign words in the header for what they are.
#[test]
fn a_scribbled_header_hurts_nobody() {
    for value in [1, 7, u64::MAX, 1 << 63, 1 << 40, 8] {
        let registry = small(false);
        let mut consumers = registry.consumers().expect("the first");
        let mut producer = registry.lease("victim", 1).expect("a ring");
        for n in 0..20 {
            push(&mut producer, 100, n);
        }
        consumers.refresh();
        for at in [
            super::super::layout::at::HEAD,
            super::super::layout::at::TAIL,
        ] {
            registry.scribble_for_tests(at, value);
            for n in 0..20 {
                push(&mut producer, 100, n);
                let readable = consumers.readable(0);
                assert!(readable.first.len() + readable.second.len() <= (16 << 10) / 8);
            }
        }
        drop(producer);
        let _ = registry.lease("next", 1);
    }
}
