//! Any sequence of appends, commits, rolls, crashes, full disks and reads, against a model.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use crate::{
    log::{verify, AppendError, Housekeeper, Position, Snapshot, Step, Writer},
    record::Body,
};

use super::support::*;
use crate::sync::fault::{Plan, ENOSPC};

#[derive(Clone, Debug)]
enum Op {
    /// Append so many records to a ring.
    Append(u32, u64),
    Commit,
    Roll,
    /// Die and open again; nothing that was committed may be missing.
    Crash,
    /// Close and open again.
    Close,
    /// The so-manieth step from now on fails, once.
    Full(u64),
    /// Read everything, with the snapshot that was there or a new one.
    Read(bool),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u32..3, 1u64..3000).prop_map(|(ring, n)| Op::Append(ring, n)),
        3 => Just(Op::Commit),
        1 => Just(Op::Roll),
        1 => Just(Op::Crash),
        1 => Just(Op::Close),
        1 => (0u64..6).prop_map(Op::Full),
        2 => any::<bool>().prop_map(Op::Read),
    ]
}

/// Records by epoch and ring.
type Records = BTreeMap<(u64, u32), u64>;

struct Run<'a> {
    dir: &'a Path,
    writer: Option<Writer>,
    housekeeper: Option<Housekeeper>,
    epoch: u64,
    logged: Records,
    /// Of this epoch, with what is not committed.
    next: BTreeMap<u32, u64>,
    reader: Snapshot,
}

impl<'a> Run<'a> {
    fn new(dir: &'a Path) -> Self {
        let (writer, housekeeper) = open(dir, &options());
        Self {
            dir,
            epoch: writer.end().epoch,
            writer: Some(writer),
            housekeeper: Some(housekeeper),
            logged: Records::new(),
            next: BTreeMap::new(),
            reader: Snapshot::open(dir).unwrap(),
        }
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    fn committed(&mut self) {
        for (ring, next) in &self.next {
            if *next > 0 {
                self.logged.insert((self.epoch, *ring), *next);
            }
        }
    }

    /// Back to what counts.
    fn rolled_back(&mut self) {
        let epoch = self.epoch;
        let logged = |ring| self.logged.get(&(epoch, ring)).copied().unwrap_or(0);
        let rings: Vec<u32> = self.next.keys().copied().collect();
        self.next = rings.into_iter().map(|r| (r, logged(r))).collect();
    }

    fn roll(&mut self) {
        loop {
            match self.writer().leave() {
                Ok(()) => break self.committed(),
                Err(_) => self.rolled_back(),
            }
        }
        while self.writer().roll(&prologue(), soon()).is_err() {}
    }

    fn append(&mut self, ring: u32, count: u64) {
        let mut end = self.next.get(&ring).copied().unwrap_or(0) + count;
        loop {
            let next = self.next.get(&ring).copied().unwrap_or(0);
            if next >= end {
                break;
            }
            if self.writer().should_roll() {
                self.roll();
            }
            match self.writer().append(ring, 1, next, &spans(ring, next, end)) {
                Ok(a) => *self.next.entry(ring).or_default() += a.records,
                Err(AppendError::SegmentFull { appended }) => {
                    *self.next.entry(ring).or_default() += appended.records;
                    self.roll();
                }
                Err(AppendError::Io(_)) => {
                    self.rolled_back();
                    let from = self.next.get(&ring).copied().unwrap_or(0);
                    end = end.min(from + count);
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn commit(&mut self) {
        match self.writer().commit() {
            Ok(_) => self.committed(),
            Err(_) => self.rolled_back(),
        }
    }

    fn reopen(&mut self, close: bool) {
        let writer = self.writer.take().unwrap();
        if !close {
            drop(writer);
        } else if writer.close().is_ok() {
            self.committed();
        }
        // What it could not do is left to the open.
        let _ = self.housekeeper.take().unwrap().stop();
        let (writer, housekeeper) = open(self.dir, &options());
        assert!(writer.end().epoch > self.epoch);
        self.epoch = writer.end().epoch;
        (self.writer, self.housekeeper) = (Some(writer), Some(housekeeper));
        self.next.clear();
    }

    fn read(&mut self, fresh: bool) {
        if fresh {
            self.reader = Snapshot::open(self.dir).unwrap();
        } else {
            self.reader.refresh().unwrap();
        }
        let mut found = Records::new();
        let mut position = Position::START;
        for step in self.reader.frames_from(Position::START) {
            let Step::Frame(frame, view) = step else {
                panic!("{step:?}");
            };
            assert!(frame.position >= position);
            position = frame.next_position();
            for record in frame.records() {
                let (id, record) = record.unwrap();
                let Body::Span(span) = record.body else {
                    continue;
                };
                let next = found.entry((view.header().epoch, id.ring)).or_default();
                assert_eq!((id.sequence, span.span_id.to_native()), (*next, *next + 1));
                *next += 1;
            }
        }
        assert_eq!(found, self.logged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn the_log_is_what_was_committed(ops in proptest::collection::vec(any_op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan::new(dir.path());
        let mut run = Run::new(dir.path());
        for op in ops {
            match op {
                Op::Append(ring, count) => run.append(ring, count),
                Op::Commit => run.commit(),
                Op::Roll => run.roll(),
                Op::Crash => {
                    plan.heal();
                    run.reopen(false);
                }
                Op::Close => {
                    plan.heal();
                    run.reopen(true);
                }
                Op::Full(skip) => plan.fail("", ENOSPC, skip, 1),
                Op::Read(fresh) => run.read(fresh),
            }
        }
        plan.heal();
        run.reopen(true);
        run.read(false);
        run.read(true);
        run.reopen(true);
        let report = verify(dir.path()).unwrap();
        prop_assert!(report.ok && report.duplicates == 0, "{report:?}");
    }
}
