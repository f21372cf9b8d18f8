//! On a file system that is really full, or turns read-only, the process goes on, nothing that was
//! logged is lost, and every record that was not logged is counted. Needs root, `mount` and for some
//! `mkfs.ext4` with a loop device; says so and passes without.

#![cfg(target_os = "linux")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use emberlog::{
    log::{verify, OnFull, Position, Snapshot, Step, SyncPolicy},
    record::layout::RecordKind,
    Config, EngineState, Manager,
};

/// A small file system of its own, unmounted when dropped.
struct Disk {
    path: PathBuf,
    dir: tempfile::TempDir,
}

impl Disk {
    /// In memory.
    fn mount(mib: u32) -> Option<Self> {
        let disk = Self::new();
        let mounted = disk.run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"],
        );
        if !mounted {
            println!("skipped: mounting a tmpfs needs root, and is refused here");
            return None;
        }
        Some(disk)
    }

    /// ext4 in a file.
    fn ext4(mib: u64) -> Option<Self> {
        let disk = Self::new();
        let image = std::fs::File::create(disk.image()).unwrap();
        image.set_len(mib << 20).unwrap();
        let made = succeeds(Command::new("mkfs.ext4").arg("-qF").arg(disk.image()));
        if !(made && disk.mount_image()) {
            println!("skipped: ext4 in a file needs root, mkfs.ext4 and a loop device");
            return None;
        }
        Some(disk)
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mounted");
        std::fs::create_dir(&path).unwrap();
        Self { path, dir }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mount_image(&self) -> bool {
        let mut mount = Command::new("mount");
        succeeds(mount.args(["-o", "loop"]).arg(self.image()).arg(&self.path))
    }

    fn run(&self, command: &str, arguments: &[&str]) -> bool {
        succeeds(Command::new(command).args(arguments).arg(&self.path))
    }

    fn resize(&self, mib: u32) {
        assert!(self.run("mount", &["-o", &format!("remount,size={mib}m")]));
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes the space that is left; says whether there was any.
    fn fill(&self) -> bool {
        let mut options = std::fs::File::options();
        options.append(true).create(true);
        let mut filler = options.open(self.filler()).unwrap();
        let mut came = false;
        while filler.write_all(&[0; 4096]).is_ok() {
            came = true;
        }
        came
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        self.run("umount", &["-l"]);
    }
}

fn succeeds(command: &mut Command) -> bool {
    let output = command.output();
    output.is_ok_and(|output| output.status.success())
}

fn config(dir: &Path) -> Config {
    Config::new(dir)
        .ring(|ring| ring.ring_bytes = 256 << 10)
        .log(|log| {
            log.segment_bytes = 1 << 20;
            log.max_bytes = Some(1 << 30);
            log.min_free_percent = 0;
            log.sync = SyncPolicy::Every(Duration::from_millis(20));
        })
}

/// Ends what waits for it also where a test fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two threads that record events until they are told to stop; counts the attempts.
fn while_recording<R>(manager: &Manager, watch: impl FnOnce(&AtomicU64) -> R) -> (u64, R) {
    let (stop, attempts) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..50 {
                        manager.event("custom", "tick").with("n", 17u64).record();
                        attempts.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
        }
        let _stop = StopWhenDropped(&stop);
        watch(&attempts)
    });
    (attempts.into_inner(), result)
}

/// Whether logging stopped because of the disk, and not because it is slow just now.
fn is_full(manager: &Manager) -> bool {
    let stats = manager.stats();
    let reason = stats.reason.unwrap_or_default();
    stats.state == EngineState::Stalled
        && (reason.contains("bytes are missing") || reason.contains("No space"))
}

fn events(dir: &Path) -> u64 {
    let snapshot = Snapshot::open(dir).unwrap();
    let steps = snapshot.frames_from(Position::START);
    let of = |step| match step {
        Step::Frame(frame, _) => frame
            .records()
            .filter(|r| r.as_ref().unwrap().1.kind() == RecordKind::Event)
            .count() as u64,
        _ => 0,
    };
    steps.map(of).sum()
}

/// What the newest segment says about losses.
fn lost_in_log(dir: &Path) -> u64 {
    let snapshot = Snapshot::open(dir).unwrap();
    let last = snapshot.segments().iter().rfind(|view| !view.is_empty());
    last.unwrap().losses().iter().map(|loss| loss.total).sum()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_full_disk_stops_logging_and_room_resumes_it_and_every_record_is_accounted_for() {
    let Some(disk) = Disk::mount(6) else { return };
    stops_and_resumes(&disk, || disk.resize(64));
}

#[test]
fn a_full_ext4_does_as_well() {
    let Some(disk) = Disk::ext4(64) else { return };
    let filler = std::fs::File::create(disk.filler()).unwrap();
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, 48 << 20).unwrap();
    drop(filler);
    stops_and_resumes(&disk, || std::fs::remove_file(disk.filler()).unwrap());
}

fn stops_and_resumes(disk: &Disk, make_room: impl Fn()) {
    let dir = disk.path.join("log");
    let manager = Manager::open(config(&dir)).unwrap();
    let (attempts, ()) = while_recording(&manager, |_| {
        until("full", || is_full(&manager));
        until("lossy", || manager.stats().dropped_count > 1000);
        // Readers get what was logged, and see nothing wrong with it.
        let seen = events(&dir);
        assert!(seen > 10_000);
        assert!(manager.flush_within(Duration::from_millis(300)).is_err());
        make_room();
        until("resumed", || manager.stats().state == EngineState::Running);
        let logged = manager.stats().records["event"];
        until("growing", || {
            manager.stats().records["event"] > logged + 10_000
        });
    });
    manager.flush().unwrap();
    manager.sync(Duration::from_secs(10)).unwrap();
    let stats = manager.stats();
    assert_eq!(
        stats.lost.keys().copied().collect::<Vec<_>>(),
        ["ring_full"]
    );
    assert_eq!(attempts, stats.records["event"] + stats.dropped_count);
    manager.shutdown().unwrap();
    assert_eq!(attempts, events(&dir) + stats.dropped_count);
    assert_eq!(lost_in_log(&dir), stats.dropped_count);
    let report = verify(&dir).unwrap();
    assert!(
        report.ok && report.missing + report.duplicates == 0,
        "{report:?}"
    );
}

#[test]
fn what_was_in_the_rings_when_a_process_gave_up_on_a_full_disk_comes_with_the_next_open() {
    let Some(disk) = Disk::mount(5) else { return };
    let dir = disk.path.join("log");
    let manager = Manager::open(config(&dir)).unwrap();
    let (attempts, ()) = while_recording(&manager, |_| {
        // Full segments are still being cut to their length: what that gives back is taken, until
        // nothing comes any more while many records are lost.
        let mut lost = 0;
        until("full for good", || {
            let dropped = manager.stats().dropped_count;
            if disk.fill() || !is_full(&manager) {
                lost = dropped;
            }
            dropped > lost + 1000
        });
    });
    let lost = manager.stats().dropped_count;
    assert!(manager.shutdown().is_err());
    drop(manager);
    assert!(events(&dir) + lost < attempts);
    // Still full: opening fails with an error, and changes nothing.
    assert!(Manager::open(config(&dir)).is_err());
    disk.resize(64);
    let manager = Manager::open(config(&dir)).unwrap();
    manager.shutdown().unwrap();
    assert_eq!(attempts, events(&dir) + lost);
    let report = verify(&dir).unwrap();
    assert!(report.ok && report.duplicates == 0, "{report:?}");
}

#[test]
fn where_the_oldest_may_go_a_full_disk_does_not_stop_logging() {
    let Some(disk) = Disk::mount(12) else { return };
    let dir = disk.path.join("log");
    let config = config(&dir).log(|log| log.on_full = OnFull::DeleteOldest);
    let manager = Manager::open(config).unwrap();
    let (attempts, ()) = while_recording(&manager, |attempts| {
        until("more than the disk holds", || {
            attempts.load(Ordering::Relaxed) > 400_000
        });
    });
    manager.flush().unwrap();
    let stats = manager.stats();
    assert_eq!(attempts, stats.records["event"] + stats.dropped_count);
    // Some may be lost while room is made; most are not.
    assert!(stats.dropped_count < attempts / 10, "{:?}", stats.lost);
    manager.shutdown().unwrap();
    let snapshot = Snapshot::open(&dir).unwrap();
    assert!(snapshot.floor().records > 0);
    assert!(verify(&dir).unwrap().ok);
}

/// As ext4 does it when its device fails.
#[test]
fn a_disk_that_turns_read_only_keeps_what_was_synced_and_harms_nobody() {
    let Some(disk) = Disk::ext4(64) else { return };
    let dir = disk.path.join("log");
    let manager = Manager::open(config(&dir)).unwrap();
    for _ in 0..1000 {
        manager.event("custom", "synced").record();
    }
    manager.flush().unwrap();
    manager.sync(Duration::from_secs(10)).unwrap();
    while_recording(&manager, |_| {
        assert!(disk.run("mount", &["-o", "remount,abort"]));
        until("stalled", || manager.stats().state == EngineState::Stalled);
        until("lossy", || manager.stats().dropped_count > 1000);
        assert!(events(&dir) >= 1000);
    });
    let stats = manager.stats();
    assert!(stats
        .reason
        .is_some_and(|reason| reason.contains("os error 30")));
    assert!(manager.shutdown().is_err());
    drop(manager);
    assert!(Manager::open(config(&dir)).is_err());
    assert!(events(&dir) >= 1000);

    // What the disk had not written is gone with it.
    assert!(disk.run("umount", &[]));
    Command::new("e2fsck")
        .arg("-fy")
        .arg(disk.image())
        .output()
        .unwrap();
    assert!(disk.mount_image());
    let manager = Manager::open(config(&dir)).unwrap();
    let filter = emberlog::Filter::new().all().name("synced");
    assert_eq!(manager.query_events(&filter).unwrap().len(), 1000);
    manager.shutdown().unwrap();
    assert!(verify(&dir).unwrap().ok);
}
