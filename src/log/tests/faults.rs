//! Disks that fail, fill up or are slow: what was published stays, and the rest goes on.

use std::time::{Duration, Instant};

use crate::{
    log::{
        layout::HEADER_BYTES, verify, AppendError, LogDir, OnFull, Options, RemovedBy, Snapshot,
        SyncPolicy, Writer,
    },
    record::id::InstanceId,
};

use super::support::*;
use crate::sync::fault::{kill_after, Plan, EIO, ENOSPC};

/// Appends spans of ring 1 as the flusher does: what did not get logged is appended again.
struct Appender {
    writer: Writer,
    /// Records that are logged.
    logged: u64,
    /// How long a roll waits for the next segment.
    patience: Duration,
}

impl Appender {
    fn new(writer: Writer) -> Self {
        Self {
            writer,
            logged: 0,
            patience: Duration::from_millis(20),
        }
    }

    fn append(&mut self, count: u64) -> Result<(), AppendError> {
        if self.writer.should_roll() {
            self.roll()?;
        }
        let end = self.logged + count;
        let mut next = self.logged;
        while next < end {
            match self.writer.append(1, 1, next, &spans(1, next, end)) {
                Ok(a) => next += a.records,
                Err(AppendError::SegmentFull { appended }) => {
                    next += appended.records;
                    self.writer.leave()?;
                    self.logged = next;
                    self.roll()?;
                }
                Err(e) => return Err(e),
            }
        }
        self.writer.commit()?;
        self.logged = end;
        Ok(())
    }

    fn roll(&mut self) -> Result<(), AppendError> {
        self.writer
            .roll(&prologue(), Instant::now() + self.patience)
    }
}

fn every(interval: u64) -> Options {
    Options {
        sync: SyncPolicy::Every(Duration::from_millis(interval)),
        ..options()
    }
}

fn all_there(dir: &std::path::Path, logged: u64) {
    let found = sequences(&Snapshot::open(dir).unwrap());
    let found = found.get(&1).map_or(&[][..], Vec::as_slice);
    assert!(
        found.iter().copied().eq(0..logged),
        "{} of {logged}",
        found.len()
    );
}

#[test]
fn a_failed_fsync_costs_the_file_and_no_record_and_the_watermark_does_not_lie() {
    for step in ["sync.current", "sync.sealed"] {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new(dir.path());
        let (writer, housekeeper) = open(dir.path(), &every(5));
        let mut to = Appender::new(writer);
        // The disk is fine but for one sync: a segment comes, however busy the machine is.
        to.patience = Duration::from_secs(20);
        to.append(500).unwrap();
        housekeeper.wait_durable(to.writer.end(), soon()).unwrap();
        plan.fail(step, EIO, 0, 1);
        let vouched = durable(dir.path());
        to.append(500).unwrap();
        let end = to.writer.end();
        if step == "sync.current" {
            // Nobody leaves the segment: however often it is synced, nothing more is durable.
            let deadline = soon();
            while housekeeper.status().sync_error.is_none() {
                assert!(Instant::now() < deadline, "no sync failed");
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(durable(dir.path()), vouched);
            assert!(housekeeper.status().sync_error.is_some());
            assert!(to.writer.should_roll());
        } else {
            to.writer.leave().unwrap();
        }
        to.append(500).unwrap();
        housekeeper.wait_durable(end, soon()).unwrap();
        assert!(
            plan.done().iter().any(|step| step == "rewrite.write"),
            "{step}"
        );
        all_there(dir.path(), 1500);
        to.append(500).unwrap();
        to.writer.close().unwrap();
        housekeeper.stop().unwrap();
        all_there(dir.path(), 2000);
        let report = verify(dir.path()).unwrap();
        assert!(report.ok && report.duplicates == 0, "{step}: {report:?}");
    }
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_and_appends_resume() {
    let mut skip = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new(dir.path());
        let (writer, housekeeper) = open(dir.path(), &every(2));
        let mut to = Appender::new(writer);
        plan.fail("", ENOSPC, skip, u64::MAX);
        let mut failed = false;
        // About three segments.
        for _ in 0..60 {
            if to.append(800).is_ok() {
                continue;
            }
            failed = true;
            for _ in 0..3 {
                let _ = to.append(800);
            }
            all_there(dir.path(), to.logged);
            plan.heal();
            let deadline = soon();
            while let Err(error) = to.append(800) {
                assert!(Instant::now() < deadline, "{skip}: {error:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        plan.heal();
        housekeeper.wait_durable(to.writer.end(), soon()).unwrap();
        to.writer.close().unwrap();
        housekeeper.stop().unwrap();
        all_there(dir.path(), to.logged);
        let report = verify(dir.path()).unwrap();
        assert!(report.ok && report.duplicates == 0, "{skip}: {report:?}");
        if !failed {
            break;
        }
        skip += if skip < 24 { 1 } else { 11 };
    }
    assert!(skip > 30, "{skip} steps were tried");
}

#[test]
fn a_full_disk_takes_the_oldest_if_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path());
    let options = Options {
        on_full: OnFull::DeleteOldest,
        ..every(2)
    };
    let (writer, housekeeper) = open(dir.path(), &options);
    let mut to = Appender::new(writer);
    while segments_of(dir.path()).len() < 6 {
        let _ = to.append(1000);
    }
    housekeeper.wait_durable(to.writer.end(), soon()).unwrap();
    plan.fail("segment.allocate", ENOSPC, 0, 1);
    let deadline = soon();
    let mut removed = Vec::new();
    while removed.is_empty() {
        let _ = to.append(1000);
        removed = housekeeper.take_removed();
        assert!(Instant::now() < deadline);
    }
    assert!(removed.iter().all(|r| r.reason == RemovedBy::DiskFull));
    let lost: u64 = removed.iter().map(|r| r.records).sum();
    assert_eq!(Snapshot::open(dir.path()).unwrap().floor().records, lost);
    to.append(1000).unwrap();
    to.writer.close().unwrap();
    housekeeper.stop().unwrap();
    assert!(verify(dir.path()).unwrap().ok);
}

#[test]
fn slow_syncs_do_not_stall_appends() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new(dir.path());
    plan.delay("sync", Duration::from_millis(200));
    plan.delay("dir", Duration::from_millis(200));
    let options = Options {
        segment_bytes: 4 << 20,
        ..every(10)
    };
    let (writer, housekeeper) = open(dir.path(), &options);
    let mut to = Appender::new(writer);
    while to.append(1).is_err() {}
    let begin = Instant::now();
    let mut slow = 0;
    // About 2.5 MB/s: each segment lasts for 1.7 s.
    while begin.elapsed() < Duration::from_secs(4) {
        let one = Instant::now();
        to.append(400).unwrap();
        slow += usize::from(one.elapsed() >= Duration::from_millis(200));
        std::thread::sleep(Duration::from_millis(10));
    }
    let rolled = Snapshot::open(dir.path()).unwrap().segments().len();
    assert!(rolled >= 3, "{rolled} segments");
    // No append waited for one of the slow calls; the machine may have been busy for a moment.
    assert!(slow < rolled - 1, "{slow} slow appends, {rolled} segments");
    plan.heal();
    to.writer.close().unwrap();
    housekeeper.stop().unwrap();
    all_there(dir.path(), to.logged);
}

#[test]
fn what_dead_instances_left_is_appended_under_their_name_once() {
    let dead = InstanceId([7; 16]);
    let mut steps = 0;
    loop {
        let trial = tempfile::tempdir().unwrap();
        let append = || -> Result<(), Box<dyn std::error::Error>> {
            let mut log = LogDir::lock(trial.path(), &options())?;
            log.recover()?;
            let own = log.epoch() << 32;
            let next = log.logged_sequences(dead).get(&4).copied().unwrap_or(0);
            let mut writer = log.append_recovered(dead, prologue(), own);
            // More than one segment.
            writer.append(4, 1, next, &spans(4, next, 40_000))?;
            writer.finish()?;
            Ok(())
        };
        let (_, killed) = kill_after(steps, append);
        append().unwrap();
        let snapshot = Snapshot::open(trial.path()).unwrap();
        let found = &sequences(&snapshot)[&4];
        assert!(found.iter().copied().eq(0..40_000), "killed at {steps}");
        let named = |v: &std::sync::Arc<crate::log::SegmentView>| v.header().instance == dead;
        assert!(snapshot.segments().iter().all(named));
        let report = verify(trial.path()).unwrap();
        assert!(report.ok && report.duplicates == 0, "{report:?}");
        if !killed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 30, "{steps} steps were tried");
}

#[test]
fn a_damaged_prologue_borrows_from_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, housekeeper) = open(dir.path(), &options());
    append(&mut writer, 1, 0, &spans(1, 0, 40_000));
    writer.close().unwrap();
    housekeeper.stop().unwrap();
    let names = segments_of(dir.path());
    assert!(names.len() >= 3);
    for name in [&names[0], &names[1], names.last().unwrap()] {
        let old = std::fs::read(name).unwrap();
        let mut bytes = old.clone();
        bytes[HEADER_BYTES as usize + 90] ^= 1;
        std::fs::write(name, bytes).unwrap();
        std::fs::remove_file(name.with_extension("idx")).unwrap();
        let snapshot = Snapshot::open(dir.path()).unwrap();
        all_there(dir.path(), 40_000);
        let views = snapshot.segments().iter();
        let view = views.clone().find(|v| v.path() == name.as_path()).unwrap();
        assert_eq!(view.damage().len(), 1);
        assert_eq!(view.names().get(256), Some("fetch"));
        assert_eq!(view.resource().pid, 7);
        assert_eq!(view.frame(0).unwrap().anchor.unix_ns(1000), 1_001_000);
        assert_eq!(view.lease(3, 1).unwrap().thread, "main");
        std::fs::write(name, old).unwrap();
    }
}
