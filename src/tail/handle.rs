//! The handle of a tail: what other threads may ask of it.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    cursor::{Cursor, CursorError, Place},
    observer::Observer,
    runner::Runner,
    source::{FrameSource, Lag},
};
use crate::{
    backend::{Begin, Needs, Secrets, Select, Sink, SinkError},
    clock::{deadline, unix_now},
    log::Position,
    sync::{Condvar, Mutex, MutexGuard},
};

/// How a tail batches, retries and cleans up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the tail and its cursor: letters, digits, `-`, `_`, `.`; at most 64.
    pub name: String,
    /// A batch is sent when it has this many rows; it ends with a frame, so it may have some more.
    /// Default 100, at least 1.
    pub buffer_size: usize,
    /// A batch is sent when its first row has waited this long. Default 5 seconds. Zero sends only
    /// full batches and what somebody flushes or exports.
    pub export_interval: Duration,
    /// Rows of traces that began longer ago are deleted from the backend. Default `None`: kept.
    pub retention: Option<Duration>,
    /// Wait after the first failure; doubles with each. Default 100 milliseconds.
    pub retry_min: Duration,
    /// Longest wait between attempts. Default 30 seconds.
    pub retry_max: Duration,
    /// Failures in a row after which the backend counts as down. Default 5.
    pub breaker_after: u32,
    /// How often the log is looked at when nobody nudges. Default 100 milliseconds.
    pub poll: Duration,
    /// Where it begins when its cursor is new. Default: at the start.
    pub begin: Begin,
    /// Which rows its sink gets. Default: all.
    pub select: Select,
    /// What its sink makes something of; other rows need not be read. Default: all.
    pub needs: Needs,
    /// What must appear in no error that it reports.
    pub secrets: Secrets,
}

impl Options {
    /// This name, everything else as by default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            buffer_size: 100,
            export_interval: Duration::from_secs(5),
            retention: None,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            breaker_after: 5,
            poll: Duration::from_millis(100),
            begin: Begin::Start,
            select: Select::new(),
            needs: Needs::ALL,
            secrets: Secrets::default(),
        }
    }
}

/// What a tail is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum TailState {
    /// It has not reached its backend yet.
    #[default]
    Starting,
    /// It delivers, or there is nothing to deliver.
    Running,
    /// The last attempt failed; it tries again soon.
    Retrying,
    /// Many attempts failed; it tries again now and then.
    Down,
    /// The backend refuses: credentials, address, a foreign database. Tried again now and then.
    Paused,
    /// The sink panicked; it is opened again after a while.
    Failed,
    /// It ended.
    Stopped,
}

impl fmt::Display for TailState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// How a tail is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TailStats {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: TailState,
    /// Everything before it is delivered.
    pub position: Position,
    /// Records of every kind in the log that are not delivered yet, as of about a second ago.
    pub lag_records: u64,
    /// Age of the earliest of them.
    pub lag: Duration,
    /// Rows delivered, by this cursor, ever.
    pub delivered: u64,
    /// Batches delivered since it was started.
    pub batches: u64,
    /// Attempts that failed since it was started.
    pub errors: u64,
    /// Why the last of them failed, or what else is wrong; kept after a success.
    pub last_error: Option<String>,
    /// Attempts that were repetitions.
    pub retries: u64,
    /// Rows put aside because the backend blamed them.
    pub quarantined: u64,
    /// Rows of delivered batches that the backend refused for good (OTLP's partial success).
    pub rejected: u64,
    /// Records that retention removed before they were delivered, by this cursor, ever.
    pub lost_to_retention: u64,
    /// Frames or records that could not be read.
    pub damaged: u64,
    /// Rows that retention deleted from the backend.
    pub pruned: u64,
    /// How long the last batch took.
    pub export_latency_last: Duration,
    /// Mean of all batches since it was started.
    pub export_latency_avg: Duration,
    /// Half of the batches since then took no longer; a sixteenth too high at most.
    pub export_latency_p50: Duration,
    /// 99 of 100 batches took no longer; a sixteenth too high at most.
    pub export_latency_p99: Duration,
    /// The slowest batch.
    pub export_latency_max: Duration,
}

impl TailStats {
    pub(super) fn set_lag(&mut self, lag: Lag) {
        let since = |since| unix_now().saturating_sub(since).max(0) as u64;
        self.lag_records = lag.records;
        self.lag = Duration::from_nanos(lag.since_ns.map_or(0, since));
    }
}

/// Why an export did not reach what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Not in time.
    #[error("backend {name:?} is {state} at {position}, not yet at {wanted}{}", reason(.last_error))]
    Timeout {
        /// Name of the tail.
        name: String,
        /// What it is doing.
        state: TailState,
        /// How far it is.
        position: Position,
        /// What was asked for.
        wanted: Position,
        /// Why, if something failed.
        last_error: Option<String>,
    },
    /// It ended before.
    #[error("backend {name:?} was stopped at {position}, before {wanted}")]
    Stopped {
        /// Name of the tail.
        name: String,
        /// How far it came.
        position: Position,
        /// What was asked for.
        wanted: Position,
    },
    /// Called by a sink, which would wait for itself.
    #[error("export was called from the thread of backend {name:?}, which cannot wait for itself")]
    OwnThread {
        /// Name of the tail.
        name: String,
    },
}

fn reason(error: &Option<String>) -> String {
    error
        .as_ref()
        .map_or_else(String::new, |e| format!(": {e}"))
}

/// What a tail left when it was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Name of the tail.
    pub name: String,
    /// Everything before it is delivered; the next start goes on here.
    pub position: Position,
    /// Records of every kind after it.
    pub records: u64,
    /// Rows put aside since it was started.
    pub quarantined: u64,
    /// Whether the thread ended; one that hangs in its backend is left to itself.
    pub ended: bool,
    /// Why something is left, if an attempt failed.
    pub last_error: Option<String>,
}

/// What the handles ask of the thread.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Look at what is asked for, and send what the log has now.
    pub(super) nudged: bool,
    /// Somebody waits for this position.
    pub(super) wanted: Position,
    /// The first position that somebody waits for, who is not woken before it is reached.
    pub(super) awaited: Option<Position>,
    /// End, at the latest then.
    pub(super) stop: Option<Instant>,
    /// Whether the sink was reached: before, the position is what the cursor file says.
    pub(super) reached: bool,
    /// When the lag was counted.
    pub(super) counted: Option<Instant>,
    /// The thread is gone.
    pub(super) ended: bool,
    pub(super) stats: TailStats,
}

/// What handles and thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    control: Mutex<Control>,
    /// The thread waits here for something to do.
    pub(super) wake: Condvar,
    /// Handles wait here for progress.
    pub(super) progress: Condvar,
}

impl Shared {
    /// A panic while it was held cannot have left it half changed in a way that matters.
    pub(super) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for progress until a moment.
    fn wait<'a>(
        &self,
        control: MutexGuard<'a, Control>,
        until: Instant,
    ) -> MutexGuard<'a, Control> {
        let left = until.saturating_duration_since(Instant::now());
        match self.progress.wait_timeout(control, left) {
            Ok((control, _)) => control,
            Err(e) => e.into_inner().0,
        }
    }
}

/// Makes a sink: at the start, and again after one that panicked.
pub(super) type MakeSink = Box<dyn FnMut() -> Result<Box<dyn Sink>, SinkError> + Send>;

/// A thread that brings the log to one backend. Dropping it ends the thread without waiting for
/// what is not delivered yet; the next start goes on there.
#[derive(Debug)]
pub struct Tail {
    name: String,
    shared: Arc<Shared>,
    observer: Observer,
    thread: Option<thread::JoinHandle<()>>,
}

/// How long a dropped tail waits for what its sink is doing.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

impl Tail {
    /// Takes the cursor in the log directory `dir` and starts the thread. `open` makes the sink,
    /// on that thread; what it fails with is treated like an error of the sink.
    ///
    /// # Errors
    /// The cursor is held by somebody else, damaged or of another log, or no thread can be started.
    pub fn start(
        dir: &Path,
        mut source: impl FrameSource + 'static,
        open: impl FnMut() -> Result<Box<dyn Sink>, SinkError> + Send + 'static,
        options: Options,
    ) -> Result<Self, CursorError> {
        let log = source.log();
        let begin = || match options.begin {
            Begin::Start => Place::start(log),
            Begin::End => {
                let position = source.end();
                Place {
                    position,
                    begin: position,
                    passed: source.records_before(position),
                    ..Place::start(log)
                }
            }
        };
        let cursor = Cursor::open_or(dir, &options.name, log, begin)?;
        let shared = Arc::new(Shared::default());
        {
            let stats = &mut shared.control().stats;
            stats.name = options.name.clone();
            stats.position = cursor.place().position;
            stats.delivered = cursor.place().delivered;
            stats.lost_to_retention = cursor.place().lost;
        }
        let name = options.name.clone();
        let observer = Observer::new(source.reopen());
        let path = cursor.path().to_owned();
        let runner = Runner::new(
            dir,
            Box::new(source),
            Box::new(open),
            cursor,
            options,
            shared.clone(),
        );
        // Linux shows 15 bytes of it.
        let thread = thread::Builder::new().name(format!("ember-{name}"));
        let thread = thread
            .spawn(move || runner.run())
            .map_err(|source| CursorError::Io {
                what: "start a thread for",
                path,
                source,
            })?;
        Ok(Self {
            name,
            shared,
            observer,
            thread: Some(thread),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is.
    pub fn stats(&self) -> TailStats {
        let control = self.shared.control();
        let (mut stats, busy) = (
            control.stats.clone(),
            !control.ended && Observer::is_stale(control.counted),
        );
        drop(control);
        // Not under the lock: the thread may want it meanwhile.
        if let Some(lag) = self.observe(busy, stats.position) {
            stats.set_lag(lag);
        }
        stats
    }

    /// Counts the lag in place of the thread, if that is busy.
    fn observe(&self, busy: bool, position: Position) -> Option<Lag> {
        busy.then(|| self.observer.lag(position)).flatten()
    }

    /// Sends what is there without waiting for a full batch or the interval; returns at once.
    pub fn nudge(&self) {
        self.shared.control().nudged = true;
        self.shared.wake.notify_all();
    }

    /// Waits until everything before `until` is delivered; returns how far it is then.
    ///
    /// # Errors
    /// Not in time, or the tail was stopped before. The tail goes on trying.
    pub fn export(&self, until: Position, timeout: Duration) -> Result<Position, ExportError> {
        let name = self.name.clone();
        let thread = self.thread.as_ref().map(|thread| thread.thread().id());
        if thread == Some(thread::current().id()) {
            return Err(ExportError::OwnThread { name });
        }
        let deadline = deadline(timeout);
        let mut control = self.shared.control();
        control.wanted = control.wanted.max(until);
        control.nudged = true;
        self.shared.wake.notify_all();
        while !control.reached || control.stats.position < until {
            let position = control.stats.position;
            if control.ended {
                return Err(ExportError::Stopped {
                    name,
                    position,
                    wanted: until,
                });
            }
            if Instant::now() >= deadline {
                let state = control.stats.state;
                let fine = state == TailState::Running;
                return Err(ExportError::Timeout {
                    name,
                    state,
                    position,
                    wanted: until,
                    last_error: control.stats.last_error.clone().filter(|_| !fine),
                });
            }
            let first = control.awaited.map_or(until, |first| first.min(until));
            control.awaited = Some(first);
            control = self.shared.wait(control, deadline);
        }
        Ok(control.stats.position)
    }

    /// Delivers what the log has now, as far as that goes before the deadline, and ends.
    pub fn shutdown(mut self, within: Duration) -> Left {
        // A sink that hangs is given a moment to see that time is up.
        self.stop(deadline(within), Duration::from_millis(200))
    }

    /// Stops the thread while other threads still have the handle.
    #[cfg(test)]
    pub(super) fn stop_for_test(&self) {
        let mut control = self.shared.control();
        control.stop = Some(Instant::now());
        control.nudged = true;
        self.shared.wake.notify_all();
    }

    fn stop(&mut self, deadline: Instant, grace: Duration) -> Left {
        let mut control = self.shared.control();
        let stop = control.stop.map_or(deadline, |stop| stop.min(deadline));
        control.stop = Some(stop);
        control.nudged = true;
        self.shared.wake.notify_all();
        while !control.ended && Instant::now() < deadline + grace {
            control = self.shared.wait(control, deadline + grace);
        }
        let (ended, position) = (control.ended, control.stats.position);
        let (counted, last_error) = (control.stats.lag_records, control.stats.last_error.clone());
        let quarantined = control.stats.quarantined;
        drop(control);
        let seen = self.observe(!ended, position);
        let records = seen.map_or(counted, |lag| lag.records);
        let left = Left {
            name: self.name.clone(),
            position,
            records,
            quarantined,
            ended,
            last_error: last_error.filter(|_| records > 0),
        };
        let thread = self.thread.take();
        if let Some(thread) = thread.filter(|_| left.ended) {
            // It has nothing left to do but return.
            let _ = thread.join();
        }
        left
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop(Instant::now(), DROP_PATIENCE);
        }
    }
}

/// Whether a text may name a tail.
pub(crate) fn is_name(name: &str) -> bool {
    super::cursor::check_name(name).is_ok()
}
