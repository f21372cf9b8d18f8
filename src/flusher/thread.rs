//! The loop around the rounds: sleeping by fill, answering flushes, failing visibly.

use std::{
    error::Error,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, PoisonError,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::round::{Flusher, Round};
use crate::{
    api::engine::Engine,
    log::{AppendError, Position},
    record::{kinds::LossCause, layout::RecordKind, RecordError},
    ring::{self, Tickets, WaitError},
    stats::EngineState,
    sync::{Mutex, MutexGuard},
};

/// Longest sleep while records arrive.
const BUSY_SLEEP: Duration = Duration::from_millis(10);
/// Longest sleep while nothing happens; other processes see records at most this late.
const IDLE_SLEEP: Duration = Duration::from_millis(100);
/// Shortest sleep: a timed sleep costs about 20 µs of CPU, so shorter ones do not pay.
const MIN_SLEEP: Duration = Duration::from_micros(500);
/// Sleep after the log refused to be written.
const STALL_SLEEP: Duration = Duration::from_millis(50);
/// Rounds without a record after which the flusher counts as idle.
const IDLE_ROUNDS: u32 = 20;
/// Pause before a round for threads that were inside a recording call when the gate closed.
const LATE_PAUSE: Duration = Duration::from_millis(2);
/// Most rounds for them; what comes later stays in its ring's file for the next open, or is taken
/// back and counted by its thread where the files are gone.
const MOST_LATE_ROUNDS: u32 = 50;
/// How long the last rounds may take when the log refuses to be written.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// What the flusher shares with the manager.
pub(crate) struct Shared {
    pub(crate) tickets: Tickets<Position>,
    stop: AtomicBool,
    state: Mutex<(EngineState, Option<String>)>,
    logged: Mutex<Position>,
    kinds: [AtomicU64; RecordKind::SLOTS],
    pub(crate) bytes: AtomicU64,
    pub(crate) rounds: AtomicU64,
    pub(crate) longest_round_ns: AtomicU64,
    damaged_bytes: AtomicU64,
    sampled_out: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            tickets: Tickets::new(),
            stop: AtomicBool::new(false),
            state: Mutex::new((EngineState::Running, None)),
            logged: Mutex::new(Position::START),
            kinds: [const { AtomicU64::new(0) }; RecordKind::SLOTS],
            bytes: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            longest_round_ns: AtomicU64::new(0),
            damaged_bytes: AtomicU64::new(0),
            sampled_out: AtomicU64::new(0),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, (EngineState, Option<String>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the engine does, and why.
    pub(crate) fn state(&self) -> (EngineState, Option<String>) {
        self.lock_state().clone()
    }

    pub(crate) fn set_state(&self, state: EngineState, reason: Option<String>) {
        *self.lock_state() = (state, reason);
    }

    /// Everything before this position is logged.
    pub(crate) fn logged(&self) -> Position {
        *self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn committed(&self, position: Position) {
        *self.logged.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// Records logged, by kind.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (RecordKind, u64)> + '_ {
        self.kinds.iter().enumerate().filter_map(|(kind, count)| {
            // Relaxed: counters for display.
            Some((
                RecordKind::from_u8(kind as u8)?,
                count.load(Ordering::Relaxed),
            ))
        })
    }

    /// Counts what was logged, and takes it out of `round`.
    pub(super) fn count(&self, round: &mut Round) {
        // Relaxed: counters for display, one writer.
        for (total, count) in self.kinds.iter().zip(std::mem::take(&mut round.kinds)) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.bytes
            .fetch_add(std::mem::take(&mut round.bytes), Ordering::Relaxed);
    }

    /// Counts records of traces that were held and are not kept.
    pub(super) fn sampled_out(&self, records: u64) {
        // Relaxed: a counter for display.
        self.sampled_out.fetch_add(records, Ordering::Relaxed);
    }

    /// Records of traces that were held and are not kept.
    pub(crate) fn all_sampled_out(&self) -> u64 {
        // Relaxed: see above.
        self.sampled_out.load(Ordering::Relaxed)
    }

    /// Notes bytes of a ring that were no records.
    pub(super) fn damaged(&self, ring: u32, bytes: u64, why: &RecordError) {
        // Relaxed: a counter for display.
        self.damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
        let reason = format!("ring {ring}: {bytes} bytes are no records: {why}");
        self.set_state(EngineState::Running, Some(reason));
    }

    /// Asks the flusher to drain once more, seal the log and end.
    pub(crate) fn stop(&self) {
        // Release: meets the Acquire in `run`: the gate was closed before.
        self.stop.store(true, Ordering::Release);
    }
}

/// Starts the flusher's thread.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn spawn(
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    flusher: Flusher,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("emberlog-flush".into())
        .spawn(move || {
            ring::engine_thread(true);
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&engine, &shared, flusher)));
            let why = match outcome {
                Ok(()) => {
                    if shared.state().0 != EngineState::Stalled {
                        shared.set_state(EngineState::Closed, None);
                    }
                    WaitError::Closed
                }
                Err(panic) => {
                    // Producers go on and count what is lost: the gate says so.
                    engine.gate.set_open(false);
                    engine.lose(LossCause::Flusher, RecordKind::Loss);
                    shared.set_state(EngineState::Poisoned, Some(message_of(&*panic)));
                    WaitError::Failed
                }
            };
            engine.rings.stop();
            shared.tickets.close(why);
        })
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}

fn run(engine: &Engine, shared: &Shared, mut flusher: Flusher) {
    let mut sleep = BUSY_SLEEP;
    let mut idle = 0;
    loop {
        // Acquire: meets the Release in `stop`: what was recorded before it is in this round.
        let last = shared.stop.load(Ordering::Acquire);
        let asked = shared.tickets.begin_round();
        let begin = Instant::now();
        let outcome = flusher.round();
        let stalled = outcome.is_err();
        match outcome {
            Ok(round) => {
                note(shared, begin.elapsed());
                shared.tickets.end_round(asked, shared.logged());
                if shared.state().0 == EngineState::Stalled {
                    shared.set_state(EngineState::Running, None);
                }
                idle = if round.records + round.came == 0 {
                    idle + 1
                } else {
                    0
                };
                sleep = next_sleep(sleep, &round, idle);
                if last {
                    late_comers(&mut flusher);
                    break;
                }
            }
            Err(error) => {
                shared.set_state(EngineState::Stalled, Some(describe(&error)));
                if last {
                    last_try(shared, &mut flusher);
                    break;
                }
                sleep = STALL_SLEEP;
            }
        }
        engine.rings.bell().sleep(sleep, || {
            // Acquire: see above.
            let stop = shared.stop.load(Ordering::Acquire);
            // While the log cannot be written nothing else is a reason to hurry.
            stop || !stalled && (shared.tickets.wanted() || flusher.is_urgent())
        });
    }
    if let Err(error) = flusher.close() {
        shared.set_state(EngineState::Stalled, Some(describe(&error)));
    }
}

/// A thread that was inside a recording call when the gate closed publishes after it: rounds go on
/// until one finds nothing, with a pause before it in which such a thread gets its turn.
fn late_comers(flusher: &mut Flusher) {
    for _ in 0..MOST_LATE_ROUNDS {
        std::thread::sleep(LATE_PAUSE);
        match flusher.round() {
            Ok(round) if round.records > 0 => {}
            _ => return,
        }
    }
}

/// The log refused to be written while shutting down: tries for a little longer.
fn last_try(shared: &Shared, flusher: &mut Flusher) {
    let until = Instant::now() + LAST_PATIENCE;
    while Instant::now() < until {
        std::thread::sleep(STALL_SLEEP);
        if flusher.round().is_ok() {
            shared.set_state(EngineState::Running, None);
            return;
        }
    }
}

/// Sleeps so long that the fullest ring will be about a quarter full.
fn next_sleep(last: Duration, round: &Round, idle: u32) -> Duration {
    if idle > IDLE_ROUNDS {
        return IDLE_SLEEP;
    }
    let fill = u32::try_from(round.fill.max(1)).unwrap_or(u32::MAX);
    (last * 64 / fill).clamp(MIN_SLEEP, BUSY_SLEEP)
}

fn note(shared: &Shared, took: Duration) {
    // Relaxed: counters for display, one writer.
    shared.rounds.fetch_add(1, Ordering::Relaxed);
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    shared.longest_round_ns.fetch_max(ns, Ordering::Relaxed);
}

fn describe(error: &AppendError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
