//! Opens a log, wires the stages, and hands out runs: the one place that knows all of them.

mod backends;
mod current;
mod error;
mod global;
mod query;
mod stats;
#[cfg(test)]
mod tests;
mod volatile;

pub use backends::BackendError;
pub use error::{FlushError, OpenError, Shutdown};
#[cfg(feature = "macros")]
pub(crate) use global::global_records;
pub use global::{global, init, reset, InitError};
use volatile::Volatile;

use std::{
    fmt,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, PoisonError, RwLock,
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    api::{
        engine::{Capture, Engine, Switches},
        held::{Held, RECORDS},
        EventBuilder, MetricBuilder, Place, Run, TraceOptions,
    },
    clock::{deadline, Clock},
    config::Config,
    exit::{self, AtExit},
    flusher::{
        self,
        prologue::{Batch, Resource},
        recovery::{self, RecoveredRings},
        round::Flusher,
    },
    log::{Housekeeper, LogDir, Position, Recovered},
    model::AttributeMap,
    record::{
        attributes::AttributeBuffer,
        id::{InstanceId, LogId},
        kinds::LossCause,
        names::Name,
    },
    ring::{self, Registry, WaitError},
    stats::{EngineState, Stats},
    sync::Mutex,
};

/// How long [`Manager::flush`] waits at most.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Records into one log. Cheap to clone; the last clone that is dropped shuts down.
///
/// ```
/// use emberlog::{Config, Filter, Manager};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// let manager = Manager::open(Config::new(path))?;
/// let run = manager.start_trace("index_file");
/// run.node("read").ok();
/// run.ok();
/// manager.flush()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Manager {
    inner: Held<Arc<Inner>>,
}

/// The documents' name of [`Manager`].
pub type TelemetryManager = Manager;

struct Inner {
    engine: Arc<Engine>,
    shared: Arc<flusher::Shared>,
    config: Config,
    log: LogId,
    recovered: (Recovered, RecoveredRings),
    threads: Mutex<Option<Threads>>,
    backends: RwLock<Option<backends::Backends>>,
    closed: AtomicBool,
    reader: query::Reader,
    /// Where the log lies if it is kept in memory. Last: it goes after all else.
    volatile: Option<Volatile>,
}

struct Threads {
    flusher: JoinHandle<()>,
    housekeeper: Housekeeper,
}

impl Manager {
    /// Opens the log of `config` for writing: recovers what an earlier process left, then records.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that was recorded before is lost. [`Manager::disabled`] is what to go
    /// on with.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let Some(mut config) = config.settled()? else {
            return Ok(Self::disabled());
        };
        if !RECORDS {
            return Ok(Self::disabled());
        }
        exit::watch();
        let volatile = Volatile::for_config(&mut config).map_err(OpenError::Memory)?;
        let clock = Clock::get();
        let mut dir = LogDir::lock(&config.dir, &config.log)?;
        let recovered = dir.recover()?;
        let rings_dir = config.ring.base_dir();
        let rings = recovery::drain(&mut dir, &rings_dir).map_err(OpenError::Recovery)?;
        let (log, instance) = (dir.log_id(), dir.instance());
        let anchor = clock.anchor(None);
        let (writer, housekeeper) = dir.start()?;
        // Whole, because others ask whether it is the same as theirs.
        let log_dir = config.dir.canonicalize();
        let log_dir = log_dir.as_deref().unwrap_or(&config.dir);
        let registry = Registry::create(&config.ring, log, instance, log_dir, anchor)?;
        let resource = resource_of(&config);
        let mut record = Batch::default();
        record.resource(&resource);
        registry.set_resource(record.words());
        let switches = Switches {
            traces: config.enable_traces,
            events: config.enable_events,
            metrics: config.enable_metrics,
            errors: config.capture_errors,
            capture: Capture {
                inputs: config.capture_inputs,
                outputs: config.capture_outputs,
                sizes: config.capture_sizes,
                bytes: config.capture_bytes,
            },
            propagate: config.propagate_context,
            metric_interval: config.metric_interval,
        };
        let consumers = registry.consumers().ok_or(OpenError::TooMany)?;
        let engine = Arc::new(Engine::new(
            registry,
            switches,
            config.sampling_rules(),
            config.redact.clone(),
        ));
        let shared = Arc::new(flusher::Shared::new());
        let flusher = Flusher::new(
            Arc::clone(&engine),
            Arc::clone(&shared),
            consumers,
            writer,
            resource,
            anchor,
            recovered.gaps.clone(),
        );
        let flusher = match flusher::spawn(Arc::clone(&engine), Arc::clone(&shared), flusher) {
            Ok(flusher) => flusher,
            Err(error) => {
                let _ = engine.rings.remove_files();
                return Err(OpenError::Thread(error));
            }
        };
        let backends = backends::Backends::start(&config, &shared).inspect_err(|_| {
            // The log is open; it is sealed as at any end.
            shared.stop();
            engine.rings.bell().ring();
        })?;
        engine.gate.set_open(true);
        let inner = Arc::new(Inner {
            engine,
            shared,
            config,
            log,
            recovered: (recovered, rings),
            threads: Mutex::new(Some(Threads {
                flusher,
                housekeeper,
            })),
            backends: RwLock::new(Some(backends)),
            closed: AtomicBool::new(false),
            reader: query::Reader::default(),
            volatile,
        });
        let at_exit: Arc<dyn AtExit> = inner.clone();
        exit::register(Arc::downgrade(&at_exit));
        Ok(Self {
            inner: Held::new(Some(inner)),
        })
    }

    /// Opens like [`Manager::open`]; where that fails, tells `on_error` and records nothing.
    pub fn open_or_disabled(config: Config, on_error: impl FnOnce(OpenError)) -> Self {
        Self::open(config).unwrap_or_else(|error| {
            on_error(error);
            Self::disabled()
        })
    }

    /// Records nothing: no thread, no file.
    pub const fn disabled() -> Self {
        Self {
            inner: Held::NOTHING,
        }
    }

    /// Whether anything is recorded.
    pub fn is_recording(&self) -> bool {
        self.inner()
            .is_some_and(|inner| inner.engine.gate.is_open())
    }

    /// Begins a trace with a fresh id.
    #[inline]
    pub fn start_trace<'n>(&self, name: impl Into<Name<'n>>) -> Run {
        self.start_trace_with(name, TraceOptions::NONE)
    }

    /// Begins a trace.
    #[inline]
    pub fn start_trace_with<'n>(&self, name: impl Into<Name<'n>>, options: &TraceOptions) -> Run {
        match self.inner() {
            Some(inner) => Run::start(&inner.engine, name.into(), options),
            None => Run::disabled(),
        }
    }

    /// Runs `work` as a trace: its `Err` becomes the trace's status, a panic too.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn in_trace<'n, T, E: fmt::Display + 'static>(
        &self,
        name: impl Into<Name<'n>>,
        work: impl FnOnce(&Run) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = self.start_trace(name);
        let result = work(&run);
        run.end_with(&result);
        result
    }

    /// An event outside of any run.
    #[inline]
    pub fn event<'n>(
        &self,
        event_type: impl Into<Name<'n>>,
        name: impl Into<Name<'n>>,
    ) -> EventBuilder<'_> {
        EventBuilder::new(self.outside(), event_type, name)
    }

    /// A measurement outside of any run.
    #[inline]
    pub fn metric<'n>(&self, name: impl Into<Name<'n>>) -> MetricBuilder<'_> {
        MetricBuilder::new(self.outside(), name)
    }

    #[inline]
    fn outside(&self) -> Option<Place<'_>> {
        self.inner().map(|inner| Place::outside(&inner.engine))
    }

    #[inline(always)]
    fn inner(&self) -> Option<&Arc<Inner>> {
        self.inner.get()
    }

    /// The directory of the log; `None` when nothing is recorded.
    pub fn dir(&self) -> Option<&Path> {
        self.inner().map(|inner| inner.config.dir.as_path())
    }

    /// The log and this open of it; `None` when nothing is recorded.
    pub fn identity(&self) -> Option<(LogId, InstanceId)> {
        self.inner().map(|inner| (inner.log, inner.engine.instance))
    }

    /// What opening found and did: in the log, and in rings that dead processes left.
    pub fn recovered(&self) -> Option<(&Recovered, &RecoveredRings)> {
        self.inner()
            .map(|inner| (&inner.recovered.0, &inner.recovered.1))
    }

    /// Waits until everything recorded before this call, by whoever's recording happened before
    /// it, is logged; returns the end of the log then. At most 10 s.
    ///
    /// # Errors
    /// [`FlushError`]; what is in the rings stays there.
    pub fn flush(&self) -> Result<Position, FlushError> {
        self.flush_within(FLUSH_TIMEOUT)
    }

    /// [`Manager::flush`] with another timeout.
    ///
    /// # Errors
    /// [`FlushError`].
    pub fn flush_within(&self, timeout: Duration) -> Result<Position, FlushError> {
        let Some(inner) = self.inner() else {
            return Ok(Position::START);
        };
        let position = inner.flush(timeout)?;
        if let Some(backends) = &*inner.backends() {
            backends.nudge();
        }
        Ok(position)
    }

    /// Waits until every backend has everything recorded before this call; returns the end of the
    /// log then.
    ///
    /// # Errors
    /// [`FlushError`]; the backend that is late goes on trying.
    pub fn export(&self, timeout: Duration) -> Result<Position, FlushError> {
        let Some(inner) = self.inner() else {
            return Ok(Position::START);
        };
        let until = deadline(timeout);
        let position = inner.flush(timeout)?;
        if let Some(backends) = &*inner.backends() {
            backends.export(position, until)?;
        }
        Ok(position)
    }

    /// Waits until everything recorded before this call is durable: survives a loss of power.
    ///
    /// # Errors
    /// [`FlushError`].
    pub fn sync(&self, timeout: Duration) -> Result<Position, FlushError> {
        let Some(inner) = self.inner() else {
            return Ok(Position::START);
        };
        let until = deadline(timeout);
        let position = inner.flush(timeout)?;
        let threads = inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = &*threads else {
            return Err(FlushError::Closed("shut down"));
        };
        threads
            .housekeeper
            .wait_durable(position, until)
            .map_err(|error| FlushError::Timeout(timeout, format!(": {error}")))
    }

    /// Counters, watermarks and states, now.
    pub fn stats(&self) -> Stats {
        match self.inner() {
            Some(inner) => inner.stats(),
            None => Stats::new(EngineState::Disabled),
        }
    }

    /// Stops recording, logs what was recorded, seals the log, gives backends what is left of
    /// `shutdown_timeout`. Called by the last handle's drop
    /// and at the end of the process. Records of threads that still record are counted as lost.
    ///
    /// # Errors
    /// [`FlushError`]; what could not be logged stays in the rings for the next open.
    pub fn shutdown(&self) -> Result<Shutdown, FlushError> {
        let Some(inner) = self.inner() else {
            return Ok(Shutdown {
                logged: Position::START,
                backends: Vec::new(),
            });
        };
        inner.shutdown(inner.config.shutdown_timeout)
    }
}

/// Attributes as they lie in the resource record.
fn resource_of(config: &Config) -> Resource {
    let list = |map: &AttributeMap| {
        let mut buffer = AttributeBuffer::default();
        for (key, value) in map.iter() {
            buffer.push(key, value);
        }
        buffer.fit(4096);
        buffer
    };
    Resource {
        attributes: list(&config.resource_attributes),
        custom: list(&config.custom_attributes),
        derive_events: config.enable_events,
        derive_metrics: config.enable_metrics,
        max_events_per_span: config.max_events_per_span,
        orphans: config.kept_orphans(),
    }
}

impl Inner {
    fn check(&self) -> Result<(), FlushError> {
        if ring::is_engine_thread() {
            return Err(FlushError::OwnThread);
        }
        if !self.engine.gate.is_open() {
            return Err(match self.engine.why_closed() {
                LossCause::Fork => FlushError::Closed("off in a forked child"),
                _ => match self.shared.state() {
                    (EngineState::Poisoned, reason) => {
                        FlushError::Failed(reason.unwrap_or_default())
                    }
                    _ => FlushError::Closed("shut down"),
                },
            });
        }
        Ok(())
    }

    fn flush(&self, timeout: Duration) -> Result<Position, FlushError> {
        self.check()?;
        self.engine.series.write(&self.engine);
        let tickets = &self.shared.tickets;
        let reached = tickets.take().and_then(|ticket| {
            self.engine.rings.bell().ring();
            tickets.wait(ticket, timeout)
        });
        match reached {
            Ok(position) => Ok(position),
            Err(WaitError::Engine) => Err(FlushError::OwnThread),
            Err(WaitError::TimedOut) => match self.shared.state() {
                (EngineState::Stalled, Some(reason)) => Err(FlushError::Failed(reason)),
                _ => Err(FlushError::Timeout(timeout, String::new())),
            },
            Err(WaitError::Closed | WaitError::Failed) => {
                let (_, reason) = self.shared.state();
                Err(FlushError::Failed(
                    reason.unwrap_or_else(|| "shut down".to_owned()),
                ))
            }
        }
    }

    fn backends(&self) -> std::sync::RwLockReadGuard<'_, Option<backends::Backends>> {
        self.backends.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn shutdown(&self, timeout: Duration) -> Result<Shutdown, FlushError> {
        if ring::is_engine_thread() {
            return Err(FlushError::OwnThread);
        }
        if !self.engine.gate.is_home() {
            return Err(FlushError::Closed("off in a forked child"));
        }
        // AcqRel: one caller shuts down; others come after it.
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(Shutdown {
                logged: self.shared.logged(),
                backends: Vec::new(),
            });
        }
        let until = deadline(timeout);
        self.engine.series.stop(&self.engine);
        self.engine.gate.set_open(false);
        // Threads that wait for room give up and count what they had.
        self.engine.rings.stop();
        self.shared.stop();
        self.engine.rings.bell().ring();
        let threads = self
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Threads {
            flusher,
            housekeeper,
        }) = threads
        else {
            return Ok(Shutdown {
                logged: self.shared.logged(),
                backends: Vec::new(),
            });
        };
        while !flusher.is_finished() {
            if std::time::Instant::now() >= until {
                // The threads end by themselves when the disk answers.
                return Err(FlushError::Timeout(
                    timeout,
                    ": the log's disk does not answer".into(),
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let _ = flusher.join();
        if self.shared.state().0 == EngineState::Closed {
            // What cannot be removed is found logged by the next open. Where the flusher failed,
            // the files tell the next open what was lost since.
            let _ = self.engine.rings.close_drained();
        }
        let backends = self
            .backends
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let left = backends.map_or_else(Vec::new, |backends| backends.shutdown(until));
        let stopped = housekeeper.stop();
        match (self.shared.state(), stopped) {
            ((EngineState::Stalled | EngineState::Poisoned, Some(reason)), _) => {
                Err(FlushError::Failed(reason))
            }
            (_, Err(error)) => Err(FlushError::Failed(error.to_string())),
            _ => Ok(Shutdown {
                logged: self.shared.logged(),
                backends: left,
            }),
        }
    }
}

impl AtExit for Inner {
    fn at_exit(&self) {
        let _ = self.shutdown(self.config.shutdown_timeout);
        if let Some(volatile) = &self.volatile {
            volatile.remove();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.at_exit();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let abroad = |inner: &Arc<Inner>| !inner.engine.gate.is_home();
        if self.inner.get().is_some_and(abroad) {
            // A forked child has none of the threads that the end of `Inner` waits for.
            std::mem::forget(self.inner.take());
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("dir", &self.dir())
            .field("recording", &self.is_recording())
            .finish()
    }
}
