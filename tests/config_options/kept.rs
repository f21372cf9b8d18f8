//! Rings and the log: how much they take and how long they keep it.

use super::*;

#[test]
pub(super) fn ring_bytes() {
    for (text, bytes) in [("64KiB", 64 << 10), ("1048576", 1 << 20)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.ring_bytes", text)]);
        record_one_of_each(&manager);
        assert_eq!(manager.stats().rings[0].capacity_bytes, bytes);
    }
}

#[test]
pub(super) fn max_queue_size() {
    same_as(("max_queue_size", "1000"), ("ring.ring_bytes", "64 KiB"));
    // The documents' example is what we have anyway.
    assert_eq!(
        with(Config::default(), &[("max_queue_size", "10000")]),
        Config::default()
    );
    assert_eq!(
        Config::default().max_queue_size(1).ring.ring_bytes,
        16 << 10
    );
}

#[test]
pub(super) fn total_bytes() {
    // So many threads at once that 64 MiB are enough and 2.1 MiB are not.
    const THREADS: usize = 200;
    for (text, enough) in [("64MiB", true), ("2129920", false)] {
        let dir = folder();
        let options = [("ring.ring_bytes", "16KiB"), ("ring.total_bytes", text)];
        let manager = open(dir.path(), &options);
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    manager.event("milestone", "one").record();
                    barrier.wait();
                });
            }
        });
        manager.flush().unwrap();
        let stats = manager.stats();
        assert_eq!(stats.dropped_count == 0, enough, "{:?}", stats.lost);
        assert_eq!(stats.records["event"] + stats.dropped_count, THREADS as u64);
    }
}

#[test]
pub(super) fn max_record_bytes() {
    for (text, whole) in [("512", false), ("64KiB", true)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.max_record_bytes", text)]);
        let long = "x".repeat(4000);
        manager
            .event("milestone", "long")
            .with("text", long.as_str())
            .record();
        let event = &manager.query_events(&Filter::new()).unwrap()[0];
        let kept = event
            .attributes
            .get("text")
            .and_then(Value::as_str)
            .unwrap();
        assert!(long.starts_with(kept));
        assert_eq!(kept.len() == long.len(), whole, "{} bytes kept", kept.len());
    }
}

#[test]
pub(super) fn overflow() {
    let policies = [
        ("drop_newest", true, false),
        ("block:10s", false, false),
        ("spill:64MiB", false, true),
    ];
    for (text, drops, spills) in policies {
        let dir = folder();
        let options = [("ring.ring_bytes", "16KiB"), ("ring.overflow", text)];
        let manager = open(dir.path(), &options);
        let run = manager.start_trace("fast");
        for _ in 0..200_000 {
            run.span("s").ok();
        }
        run.ok();
        manager.flush().unwrap();
        let stats = manager.stats();
        assert_eq!(stats.dropped_count > 0, drops, "{text}: {:?}", stats.lost);
        assert_eq!(
            stats.spill_bytes > 0,
            spills,
            "{text}: {}",
            stats.spill_bytes
        );
    }
}

#[test]
pub(super) fn crash_safe() {
    for (text, files) in [("true", true), ("false", false)] {
        let (dir, rings) = (folder(), folder());
        let place = rings.path().to_str().unwrap();
        let manager = open(
            dir.path(),
            &[("ring.crash_safe", text), ("ring.dir", place)],
        );
        record_one_of_each(&manager);
        let stats = manager.stats();
        assert!(
            stats.rings.iter().all(|ring| ring.crash_safe == files),
            "{stats:?}"
        );
        assert_eq!(rings.path().read_dir().unwrap().count() > 0, files);
    }
}

#[test]
pub(super) fn ring_dir() {
    let (dir, rings) = (folder(), folder());
    let place = rings.path().to_str().unwrap();
    let manager = open(dir.path(), &[("ring.dir", place)]);
    assert_eq!(rings.path().read_dir().unwrap().count(), 1);
    drop(manager);
    let other = folder();
    drop(open(
        dir.path(),
        &[("ring.dir", other.path().to_str().unwrap())],
    ));
    assert_eq!(other.path().read_dir().unwrap().count(), 1);
}

#[test]
pub(super) fn open_spans() {
    // Spans that find no room in the table of open ones leave a record of their start.
    for (text, starts) in [("63", 0), ("0", 1)] {
        let dir = folder();
        let manager = open(dir.path(), &[("ring.open_spans", text)]);
        let run = manager.start_trace("run");
        let span = run.span("open");
        manager.flush().unwrap();
        let seen = manager.stats().records.get("span_start").copied();
        assert_eq!(seen.unwrap_or(0), starts, "{text}");
        span.ok();
    }
}

/// Sizes of the segments in a log.
pub(super) fn segments(dir: &Path) -> Vec<u64> {
    let files = dir.read_dir().unwrap().flatten();
    let segments = files.filter(|f| f.path().extension().is_some_and(|e| e == "seg"));
    segments.map(|f| f.metadata().unwrap().len()).collect()
}

#[test]
pub(super) fn segment_bytes() {
    for (text, bytes) in [("1MiB", 1 << 20), ("3MiB", 3 << 20)] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.segment_bytes", text)]);
        record_one_of_each(&manager);
        manager.flush().unwrap();
        assert_eq!(segments(dir.path())[0], bytes);
    }
}

#[test]
pub(super) fn sync() {
    for text in ["every_batch", "every:5ms"] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.sync", text)]);
        record_one_of_each(&manager);
        let logged = manager.flush().unwrap();
        until("durable", || manager.stats().durable >= logged);
    }
    for text in ["on_roll", "every:1h"] {
        let dir = folder();
        let manager = open(dir.path(), &[("log.sync", text)]);
        record_one_of_each(&manager);
        let logged = manager.flush().unwrap();
        // Longer than without the option: nothing happens.
        std::thread::sleep(Duration::from_millis(2500));
        assert!(manager.stats().durable < logged, "{text}");
        manager.sync(LONG).unwrap();
        assert!(manager.stats().durable >= logged, "{text}");
    }
}

/// Makes every segment of a log look as if its newest record were so many days old.
pub(super) fn age(dir: &Path, days: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(days * 86_400);
    for file in dir.read_dir().unwrap().flatten() {
        if file.path().extension().is_some_and(|e| e == "seg") {
            let file = std::fs::File::options()
                .write(true)
                .open(file.path())
                .unwrap();
            file.set_modified(then).unwrap();
        }
    }
}

#[test]
pub(super) fn retention_age() {
    for (text, kept) in [("10d", false), ("30d", true), ("none", true)] {
        let dir = folder();
        let manager = open(dir.path(), &[]);
        record_one_of_each(&manager);
        drop(manager);
        age(dir.path(), 20);
        let manager = open(dir.path(), &[("log.retention_age", text)]);
        // Retention looks when a log is opened, and what is removed is told to readers.
        if !kept {
            until("removed", || names(&manager)[0].is_empty());
        }
        drop(manager);
        let removed = Snapshot::open(dir.path()).unwrap().floor().records;
        assert_eq!(removed == 0, kept, "{text}");
    }
}

#[test]
pub(super) fn retention_days() {
    same_as(("retention_days", "7"), ("log.retention_age", "7d"));
    assert_eq!(Config::default().retention_days(30), Config::default());
}

/// Records about 12 MiB in segments of one, and ends.
pub(super) fn fill(config: Config) -> u64 {
    let dir = config.dir.clone();
    let config = with(
        config,
        &[
            ("log.segment_bytes", "1MiB"),
            ("ring.overflow", "block:60s"),
        ],
    );
    let manager = Manager::open(config).unwrap();
    let text = "x".repeat(1000);
    for _ in 0..12_000 {
        manager
            .event("milestone", "big")
            .with("text", text.as_str())
            .record();
    }
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.records["event"], stats.dropped_count), (12_000, 0));
    drop(manager);
    Snapshot::open(&dir).unwrap().floor().records
}

#[test]
pub(super) fn max_bytes() {
    for (text, kept) in [("4MiB", false), ("1GiB", true)] {
        let dir = folder();
        let removed = fill(with(Config::new(dir.path()), &[("log.max_bytes", text)]));
        assert_eq!(removed == 0, kept, "{text}: {removed} removed");
    }
}

#[test]
pub(super) fn hard_max_bytes() {
    // A backend that takes nothing needs every segment.
    for (text, kept) in [("4MiB", false), ("1GiB", true)] {
        let dir = folder();
        let options = [
            ("log.max_bytes", "4MiB"),
            ("log.hard_max_bytes", text),
            ("shutdown_timeout", "1s"),
        ];
        let config = with(Config::new(dir.path()), &options).backend(refusing());
        let removed = fill(config);
        assert_eq!(removed == 0, kept, "{text}: {removed} removed");
    }
}

/// A small file system in memory; `None` where mounting is refused.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(mib: u32) -> Option<Self> {
        let disk = Self(folder());
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"])
            .arg(disk.0.path())
            .output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(disk);
        }
        println!("SKIPPED: mounting a tmpfs needs root, and is refused here");
        None
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Records until the disk stops the log, or until twice as much is logged as it holds.
fn fill_disk(disk: &Disk, options: &[(&str, &str)]) -> (bool, u64) {
    let fixed = [("log.segment_bytes", "1MiB"), ("log.max_bytes", "1GiB")];
    let config = with(Config::new(disk.0.path().join("log")), &fixed);
    let manager = Manager::open(with(config, options)).unwrap();
    let text = "x".repeat(1000);
    let mut stopped = false;
    while !stopped && manager.stats().bytes < 48 << 20 {
        for _ in 0..100 {
            manager
                .event("milestone", "big")
                .with("text", text.as_str())
                .record();
        }
        // Also slow disks stall; this one says that bytes are missing.
        let _ = manager.flush_within(Duration::from_secs(2));
        let stats = manager.stats();
        let reason = stats.reason.unwrap_or_default();
        stopped = stats.state == EngineState::Stalled
            && (reason.contains("bytes are missing") || reason.contains("No space"));
    }
    (stopped, manager.stats().bytes)
}

#[test]
pub(super) fn min_free_percent() {
    let mut logged = Vec::new();
    for text in ["0", "70"] {
        let Some(disk) = Disk::mount(24) else { return };
        let (stopped, bytes) = fill_disk(&disk, &[("log.min_free_percent", text)]);
        assert!(stopped, "{text}");
        logged.push(bytes);
    }
    assert!(logged[0] > 2 * logged[1], "{logged:?}");
}

#[test]
pub(super) fn on_full() {
    for (text, stops) in [("stop_and_count", true), ("delete_oldest", false)] {
        let Some(disk) = Disk::mount(24) else { return };
        let options = [("log.min_free_percent", "0"), ("log.on_full", text)];
        assert_eq!(fill_disk(&disk, &options).0, stops, "{text}");
    }
}
