//! A log in memory and a sink that does what it is told.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::{Position, ReadError},
    model::{AttributeMap, Metric, Origin},
    record::{
        id::{InstanceId, LogId, RecordId},
        kinds::Aggregation,
    },
    tail::{cursor::CursorError, FrameSource, Lag, Options, Pulled, Tail},
};

pub(super) const LOG: LogId = LogId([9; 16]);
const INSTANCE: InstanceId = InstanceId([4; 16]);

pub(super) fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

pub(super) fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        instance: INSTANCE,
        resource: Arc::new(AttributeMap::new()),
        custom: Vec::new(),
        derive_events: false,
        derive_metrics: false,
        max_events_per_span: 0,
    })
}

/// A row that says its number.
pub(super) fn row(number: u64) -> Row {
    let record = RecordId {
        instance: INSTANCE,
        ring: 0,
        sequence: number,
    };
    Row::Metric(Metric {
        metric_id: record.as_u128(0),
        name: format!("m{number}"),
        value: number as f64,
        integer: None,
        unit: String::new(),
        aggregation: Aggregation::Gauge,
        timestamp_ns: number as i64,
        trace_id: None,
        span_id: None,
        attributes: AttributeMap::new(),
        dropped_attributes: 0,
        derived: false,
        record: Some(record),
    })
}

pub(super) fn number(row: &Row) -> u64 {
    match row {
        Row::Metric(metric) => metric.value as u64,
        _ => panic!("{row:?}"),
    }
}

#[derive(Debug)]
struct Frames {
    /// Offset and rows of each; a frame ends where the next begins.
    frames: Vec<(u64, u64, Vec<u64>)>,
    removed: u64,
    floor: u64,
    next: u64,
    pulls: u64,
}

/// A log of frames; each row takes ten bytes.
#[derive(Clone, Debug)]
pub(super) struct FakeLog(Arc<Mutex<Frames>>, Arc<Origin>);

impl FakeLog {
    pub(super) fn new() -> Self {
        let frames = Frames {
            frames: Vec::new(),
            removed: 0,
            floor: 0,
            next: 0,
            pulls: 0,
        };
        Self(Arc::new(Mutex::new(frames)), origin())
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.0.lock().unwrap()
    }

    /// Appends a frame with the next `rows` numbers.
    pub(super) fn append(&self, rows: u64) -> Position {
        let mut log = self.frames();
        let from = log.frames.last().map_or(0, |f| f.1);
        let from = from.max(log.floor);
        let numbers = (log.next..log.next + rows).collect();
        log.next += rows;
        log.frames.push((from, from + rows.max(1) * 10, numbers));
        at(from + rows.max(1) * 10)
    }

    /// Retention removes everything before.
    pub(super) fn remove_before(&self, position: Position) {
        let mut log = self.frames();
        log.floor = position.offset;
        let gone = log.frames.iter().filter(|f| f.1 <= position.offset);
        let gone: u64 = gone.map(|f| f.2.len() as u64).sum();
        log.removed += gone;
        log.frames.retain(|f| f.1 > position.offset);
    }

    pub(super) fn pulls(&self) -> u64 {
        self.frames().pulls
    }

    pub(super) fn end(&self) -> Position {
        let log = self.frames();
        at(log.frames.last().map_or(log.floor, |f| f.1))
    }
}

impl FrameSource for FakeLog {
    fn log(&self) -> LogId {
        LOG
    }

    fn end(&mut self) -> Position {
        FakeLog::end(self)
    }

    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        let mut log = self.frames();
        log.pulls += 1;
        if from.offset < log.floor {
            return Ok(Pulled::Gap { to: at(log.floor) });
        }
        let Some((_, end, numbers)) = log.frames.iter().find(|f| f.0 >= from.offset) else {
            return Ok(Pulled::End { at: from });
        };
        rows.extend(numbers.iter().map(|n| row(*n)));
        Ok(Pulled::Frame {
            next: at(*end),
            origin: self.1.clone(),
            records: numbers.len() as u64,
            damaged: false,
        })
    }

    fn writer_before(&mut self, position: Position) -> Option<InstanceId> {
        let log = self.frames();
        let end = log.frames.last().map_or(log.floor, |f| f.1);
        (position.offset > log.floor && position.offset <= end).then_some(INSTANCE)
    }

    fn records_before(&mut self, position: Position) -> u64 {
        let log = self.frames();
        let before = log.frames.iter().filter(|f| f.1 <= position.offset);
        log.removed + before.map(|f| f.2.len() as u64).sum::<u64>()
    }

    fn lag(&mut self, from: Position) -> Lag {
        let log = self.frames();
        let after = log.frames.iter().filter(|f| f.1 > from.offset);
        Lag {
            records: after.map(|f| f.2.len() as u64).sum(),
            since_ns: None,
        }
    }
}

/// What a sink does with the next calls.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Retry,
    Refuse,
    Panic,
    /// Takes the batch and says that it did not.
    TakeAndFail,
    Sleep(Duration),
}

/// Everything that a sink was given, and how it is to behave.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) rows: Vec<u64>,
    pub(super) batches: Vec<usize>,
    pub(super) position: Option<Position>,
    pub(super) script: VecDeque<Act>,
    /// Acts so as long as it is set and there is no script.
    pub(super) always: Option<Act>,
    /// Numbers whose content it refuses.
    pub(super) poison: Vec<u64>,
    pub(super) writes: u64,
    pub(super) opened: u64,
    pub(super) met: u64,
    pub(super) retained: Vec<i64>,
    /// Whether it stores positions with the rows.
    pub(super) transactional: bool,
    /// Whose position it has.
    pub(super) instance: Option<InstanceId>,
    /// How long it takes to say where it is.
    pub(super) slow_answer: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FakeStore(Arc<Mutex<Store>>);

impl FakeStore {
    pub(super) fn transactional() -> Self {
        let store = Self::default();
        store.get().transactional = true;
        store
    }

    pub(super) fn get(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn sink(&self) -> Box<dyn Sink> {
        self.get().opened += 1;
        Box::new(FakeSink(self.clone()))
    }
}

struct FakeSink(FakeStore);

fn error(text: &str) -> Box<dyn std::error::Error + Send + Sync> {
    text.into()
}

impl Sink for FakeSink {
    fn name(&self) -> &str {
        "fake"
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        assert_eq!(log, LOG);
        let slow = self.0.get().slow_answer;
        std::thread::sleep(slow);
        let store = self.0.get();
        if let (Some(Act::Refuse), true) = (&store.always, store.script.is_empty()) {
            return Err(SinkError::Refused(error("wrong password")));
        }
        let position = store.position.unwrap_or(Position::START);
        Ok(store.transactional.then_some(position))
    }

    fn position_instance(&mut self, _: LogId) -> Result<Option<InstanceId>, SinkError> {
        Ok(self.0.get().instance)
    }

    fn meet(&mut self, _: &Arc<Origin>) {
        self.0.get().met += 1;
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let mut store = self.0.get();
        store.writes += 1;
        let act = store.script.pop_front().or_else(|| store.always.clone());
        match act {
            Some(Act::Retry) => return Err(SinkError::Retry(error("busy"))),
            Some(Act::Refuse) => return Err(SinkError::Refused(error("wrong password"))),
            Some(Act::Panic) => panic!("sink on fire"),
            Some(Act::Sleep(time)) => {
                drop(store);
                std::thread::sleep(time);
                store = self.0.get();
            }
            Some(Act::TakeAndFail) | None => {}
        }
        if rows.iter().any(|row| store.poison.contains(&number(row))) {
            return Err(SinkError::Content(error("cannot store this")));
        }
        for row in rows {
            let number = number(row);
            // A store with identities takes each once.
            if !(store.transactional && store.rows.contains(&number)) {
                store.rows.push(number);
            }
        }
        store.batches.push(rows.len());
        let moved = store.position.is_none_or(|position| range.to > position);
        if store.transactional && moved {
            store.position = Some(range.to);
        }
        match act {
            Some(Act::TakeAndFail) => Err(SinkError::Retry(error("connection lost"))),
            _ => Ok(()),
        }
    }

    fn retain(&mut self, since_ns: i64) -> Result<u64, SinkError> {
        self.0.get().retained.push(since_ns);
        Ok(3)
    }
}

pub(super) fn options() -> Options {
    Options {
        buffer_size: 10,
        export_interval: Duration::from_millis(50),
        retry_min: Duration::from_millis(1),
        retry_max: Duration::from_millis(20),
        poll: Duration::from_millis(5),
        ..Options::new("fake")
    }
}

/// Starts a tail. The one before it may still be busy, for longer than its drop waited.
pub(super) fn start(dir: &Path, log: &FakeLog, store: &FakeStore, options: Options) -> Tail {
    let mut started = None;
    eventually("the cursor is free", || {
        let store = store.clone();
        let tail = Tail::start(dir, log.clone(), move || Ok(store.sink()), options.clone());
        started = match tail {
            Err(CursorError::Locked { .. }) => None,
            other => Some(other.unwrap()),
        };
        started.is_some()
    });
    started.unwrap()
}

pub(super) const LONG: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
