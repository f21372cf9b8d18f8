//! What the recording side of one open log shares between its handles, its threads and its flusher.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    time::Duration,
};

use super::{passed::Passed, series::AllSeries};
use crate::{
    clock::{Anchor, Clock},
    record::{id::InstanceId, kinds::LossCause, layout::RecordKind, redact::Redactor},
    ring::{Gate, Registry},
    sampling::Rules,
};

/// What is recorded at all, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switches {
    /// Traces and spans.
    pub(crate) traces: bool,
    /// Events, recorded and derived.
    pub(crate) events: bool,
    /// Metrics, recorded and derived.
    pub(crate) metrics: bool,
    /// Details of errors.
    pub(crate) errors: bool,
    /// Where traces come from and go to in other processes.
    pub(crate) propagate: bool,
    /// Time between two records of a series; 0 for never but when asked.
    pub(crate) metric_interval: Duration,
    /// Inputs and outputs.
    pub(crate) capture: Capture,
}

/// What is kept of inputs and outputs of nodes, calls and functions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture {
    pub(crate) inputs: bool,
    pub(crate) outputs: bool,
    /// How long they are.
    pub(crate) sizes: bool,
    /// Most bytes of a text that are kept.
    pub(crate) bytes: usize,
}

impl Capture {
    /// Nothing at all.
    pub(crate) const NOTHING: Self = Self {
        inputs: false,
        outputs: false,
        sizes: false,
        bytes: 0,
    };
}

/// The recording side of one open log.
pub(crate) struct Engine {
    /// Distinguishes opens of logs everywhere.
    pub(crate) instance: InstanceId,
    /// Whether recording is on: 0 after shutdown and in a forked child.
    pub(crate) gate: Gate,
    /// The rings.
    pub(crate) rings: Registry,
    /// What is recorded.
    pub(crate) switches: Switches,
    /// Which traces are recorded.
    pub(crate) sampling: Rules,
    /// Judges attributes before they are recorded.
    pub(crate) redactor: Option<Redactor>,
    /// Records lost in this process if it is a forked child: its rings are the parent's.
    lost_in_child: AtomicU64,
    /// What open traces were called with from other processes, by the low half of their id.
    carried: Mutex<Vec<(u64, Arc<Passed>)>>,
    /// Measurements that add up in memory.
    pub(crate) series: AllSeries,
    clock: &'static Clock,
}

impl Engine {
    pub(crate) fn new(
        rings: Registry,
        switches: Switches,
        sampling: Rules,
        redactor: Option<Redactor>,
    ) -> Self {
        Self {
            instance: rings.instance(),
            gate: rings.gate().clone(),
            rings,
            switches,
            sampling,
            redactor,
            lost_in_child: AtomicU64::new(0),
            carried: Mutex::new(Vec::new()),
            series: AllSeries::default(),
            clock: Clock::get(),
        }
    }

    /// The counter now.
    #[inline(always)]
    pub(crate) fn tick(&self) -> u64 {
        self.clock.tick()
    }

    /// A length in ticks as time.
    pub(crate) fn length(&self, ticks: u64) -> Duration {
        Duration::from_nanos(self.clock.first().duration_ns(ticks))
    }

    /// What a tick means now.
    pub(super) fn anchor(&self) -> Anchor {
        self.clock.anchor(None)
    }

    fn carried(&self) -> MutexGuard<'_, Vec<(u64, Arc<Passed>)>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A trace begins that was called with something.
    #[cold]
    pub(super) fn carries(&self, trace: u64, passed: &Arc<Passed>) {
        self.carried().push((trace, Arc::clone(passed)));
    }

    /// It ends.
    #[cold]
    pub(super) fn no_longer_carries(&self, trace: u64, passed: &Arc<Passed>) {
        let mut carried = self.carried();
        let at = carried
            .iter()
            .position(|(of, what)| *of == trace && Arc::ptr_eq(what, passed));
        if let Some(at) = at {
            carried.swap_remove(at);
        }
    }

    /// What an open trace was called with.
    pub(super) fn carried_by(&self, trace: u64) -> Option<Arc<Passed>> {
        let carried = self.carried();
        let (_, passed) = carried.iter().find(|(of, _)| *of == trace)?;
        Some(Arc::clone(passed))
    }

    /// Why recording is off.
    #[cold]
    pub(crate) fn why_closed(&self) -> LossCause {
        if self.gate.is_home() {
            LossCause::Shutdown
        } else {
            LossCause::Fork
        }
    }

    /// Counts a record that was lost outside of any ring.
    #[cold]
    pub(crate) fn lose(&self, cause: LossCause, kind: RecordKind) {
        if cause == LossCause::Fork {
            // Relaxed: a counter, for display.
            self.lost_in_child.fetch_add(1, Ordering::Relaxed);
        } else {
            self.rings.lose(cause, kind);
        }
    }

    /// Counts a record that was lost because recording is off.
    #[cold]
    pub(crate) fn lose_closed(&self, kind: RecordKind) {
        self.lose(self.why_closed(), kind);
    }

    /// Records lost because this process is a forked child.
    pub(crate) fn lost_in_child(&self) -> u64 {
        // Relaxed: see `lose`.
        self.lost_in_child.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
