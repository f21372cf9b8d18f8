//! Retention against slow backends: nothing unread goes below the hard limit, and what goes above
//! it is counted for whom it is lost, shown, and said in the log.

#[path = "support/tails.rs"]
mod tails;

use std::{
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, Mutex,
    },
    time::Duration,
};

use emberlog::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::{Position, Snapshot, SyncPolicy},
    record::kinds::GapCause,
    tail::{LogSource, Options, Tail},
    Config, LogId, Manager,
};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(60);
/// Bytes of one record, nearly.
const RECORD: u64 = 50_000;
/// Allowance above which what everybody has read goes.
const MAX: u64 = 4 * MIB;
/// What is on disk besides unread records: the segment that is written, those that are prepared,
/// one of which a cursor has read all but the end, a batch that was taken a moment ago.
const BESIDES: u64 = 5 * MIB;

/// What one backend got, and how many batches it may still take.
#[derive(Default)]
struct Got {
    numbers: Vec<u64>,
    permits: u64,
}

#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Got>>);

impl Sink for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let mut got = self.0.lock().unwrap();
        got.permits = match got.permits.checked_sub(1) {
            Some(left) => left,
            None => return Err(SinkError::Retry("not now".into())),
        };
        for row in rows {
            if let Row::Event(event) = row {
                let number = event.attributes.get("n").and_then(|n| n.as_i64());
                got.numbers.extend(number.map(|n| n as u64));
            }
        }
        Ok(())
    }
}

impl Slow {
    /// How many were given to it, counted from the first number: what retention took counts too.
    fn reached(&self) -> u64 {
        self.0.lock().unwrap().numbers.last().map_or(0, |n| n + 1)
    }

    fn tail(&self, dir: &Path, name: &str) -> Tail {
        let mut options = Options::new(name);
        options.buffer_size = 4;
        options.export_interval = Duration::from_millis(1);
        options.retry_min = Duration::from_micros(200);
        options.retry_max = Duration::from_millis(1);
        options.poll = Duration::from_millis(1);
        tails::started(|| {
            let (source, sink) = (LogSource::open(dir).unwrap(), self.clone());
            let open = move || Ok(Box::new(sink.clone()) as Box<dyn Sink>);
            Tail::start(dir, source, open, options.clone())
        })
    }
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn config(dir: &Path, hard: u64) -> Config {
    Config::new(dir)
        .ring(|ring| {
            ring.ring_bytes = 1 << 18;
            ring.crash_safe = false;
        })
        .log(|log| {
            log.segment_bytes = MIB;
            log.max_bytes = Some(MAX);
            log.hard_max_bytes = Some(hard);
            log.min_free_percent = 0;
            log.sync = SyncPolicy::OnRoll;
        })
}

/// What a schedule showed.
#[derive(Default)]
struct Seen {
    /// Something was lost.
    lost: bool,
    /// Retention had to remove something, and nobody lost anything.
    kept: bool,
}

fn folder() -> tempfile::TempDir {
    // In memory, where that is a folder: thousands of megabytes are written.
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn schedule(seed: u64) -> Seen {
    let dir = folder();
    let mut dice = Dice(seed * 7919 + 1);
    let hard = (6 + dice.roll(16)) * MIB;
    let manager = Manager::open(config(dir.path(), hard)).unwrap();
    let sinks: Vec<Slow> = (0..1 + dice.roll(3)).map(|_| Slow::default()).collect();
    let name = |n: usize| format!("t{n}");
    let start = |n: usize| sinks[n].tail(dir.path(), &name(n));
    let mut tails: Vec<Option<Tail>> = (0..sinks.len()).map(|n| Some(start(n))).collect();
    let text = "x".repeat(RECORD as usize - 100);
    let mut written = 0;
    // The most that was ever unread by the slowest.
    let mut unread = 0;
    for _ in 0..10 + dice.roll(20) {
        let n = dice.roll(sinks.len() as u64) as usize;
        match dice.roll(8) {
            0..=3 => {
                for _ in 0..dice.roll(50) {
                    let event = manager.event("custom", "e");
                    event
                        .with("n", written)
                        .with("text", text.as_str())
                        .record();
                    written += 1;
                    // The ring is small, so that it is the log that fills.
                    manager.flush().unwrap();
                }
            }
            4..=5 => sinks[n].0.lock().unwrap().permits += dice.roll(8),
            6 => {
                drop(tails[n].take());
                tails[n] = Some(start(n));
            }
            _ => {
                // One catches up.
                sinks[n].0.lock().unwrap().permits = u64::MAX;
                let tail = tails[n].as_ref().unwrap();
                tail.export(manager.flush().unwrap(), LONG).unwrap();
                sinks[n].0.lock().unwrap().permits = 0;
            }
        }
        let slowest = sinks.iter().map(Slow::reached).min().unwrap_or(0);
        unread = unread.max((written - slowest) * RECORD);
    }
    let end = manager.flush().unwrap();
    assert_eq!(manager.stats().dropped_count, 0, "seed {seed}");
    let mut seen = Seen {
        lost: false,
        kept: written * RECORD > MAX + BESIDES,
    };
    for (n, sink) in sinks.iter().enumerate() {
        sink.0.lock().unwrap().permits = u64::MAX;
        let tail = tails[n].as_ref().unwrap();
        tail.export(end, LONG).unwrap();
        let got = std::mem::take(&mut sink.0.lock().unwrap().numbers);
        assert!(
            got.windows(2).all(|two| two[0] < two[1]),
            "seed {seed}: twice or out of order"
        );
        let missing = written - got.len() as u64;
        let stats = tail.stats();
        let lost = stats.lost_to_retention;
        // What is lost is counted: all of it, and of other kinds no more than segments begin with.
        assert!(
            missing <= lost,
            "seed {seed}: {missing} missing, {lost} counted"
        );
        assert!(
            lost <= missing + 40 * 20,
            "seed {seed}: {missing} missing, {lost} counted"
        );
        if lost > 0 {
            // Nothing goes unread that fits below the hard limit.
            assert!(
                unread + BESIDES > hard,
                "seed {seed}: {missing} lost at {unread} unread bytes of {hard}"
            );
            (seen.lost, seen.kept) = (true, false);
        }
    }
    seen
}

#[test]
fn nothing_unread_goes_below_the_hard_limit() {
    let deep = std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1");
    let schedules = if deep { 10_000 } else { 1_000 };
    let (next, lost, kept) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= schedules {
                    return;
                }
                let seen = schedule(seed as u64);
                lost.fetch_add(usize::from(seen.lost), Ordering::Relaxed);
                kept.fetch_add(usize::from(seen.kept), Ordering::Relaxed);
            });
        }
    });
    // Both happened often enough to mean something.
    let (lost, kept) = (lost.into_inner(), kept.into_inner());
    println!("{schedules} schedules: something was lost in {lost}, removed without loss in {kept}");
    assert!(
        lost > schedules / 20 && kept > schedules / 20,
        "{lost} {kept}"
    );
}

#[test]
fn the_log_says_what_was_removed_unread() {
    let dir = folder();
    let sink = Slow::default();
    let manager = Manager::open(config(dir.path(), 6 * MIB)).unwrap();
    let tail = sink.tail(dir.path(), "slow");
    let text = "x".repeat(RECORD as usize - 100);
    for n in 0..400u64 {
        manager
            .event("custom", "e")
            .with("n", n)
            .with("text", text.as_str())
            .record();
        manager.flush().unwrap();
    }
    sink.0.lock().unwrap().permits = u64::MAX;
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    let lost = tail.stats().lost_to_retention;
    assert!(lost > 100, "{lost}");
    drop(tail);
    manager.shutdown().unwrap();
    drop(manager);
    // It is in the log of the next open.
    let manager = Manager::open(config(dir.path(), 6 * MIB)).unwrap();
    manager.flush().unwrap();
    let log = Snapshot::open(dir.path()).unwrap();
    let gaps: Vec<_> = log.segments().iter().flat_map(|view| view.gaps()).collect();
    let ours = |gap: &emberlog::log::GapInfo| gap.cause == Some(GapCause::Retention);
    assert!(gaps.iter().all(|gap| ours(gap)), "{gaps:?}");
    let records: u64 = gaps.iter().filter_map(|gap| gap.records).sum();
    assert!(gaps.len() > 5, "{gaps:?}");
    // What the tail had before its eyes when it was removed, it read all the same: how much that is,
    // depends on when it looked.
    let got = sink.0.lock().unwrap().numbers.len() as u64;
    assert!(
        (lost..=lost + got).contains(&records),
        "{records} {lost} {got}"
    );
}
