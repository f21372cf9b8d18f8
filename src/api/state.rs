//! What the handles of one run share, and how a run ends.

use std::sync::{
    atomic::{AtomicU32, AtomicU64, Ordering},
    Arc, Mutex, MutexGuard, PoisonError,
};

use super::{
    engine::Engine,
    local::{self, Current, Local},
    passed::Passed,
    scope::no_verdict,
    write::{self, Shown, TraceFinish},
};
use crate::{
    record::{
        attributes::AttributeBuffer,
        id::TraceId,
        kinds::Status,
        layout::{flag, RecordKind},
        names::Name,
    },
    ring::GateWord,
    sampling::Threshold,
};

/// What the handles of one run share. Threads keep a few for their next runs, so that starting a
/// run allocates nothing in steady state.
#[derive(Debug)]
pub(crate) struct RunState {
    pub(super) engine: Arc<Engine>,
    /// That of the engine.
    pub(super) gate: GateWord,
    pub(super) trace: TraceId,
    /// What a thread is in where no span of the run is open.
    pub(super) root: Current,
    pub(super) name: u32,
    pub(super) start: u64,
    pub(super) flags: u16,
    pub(super) threshold: Threshold,
    /// Where it is shown as open, if it is held: a crash judges by that.
    pub(super) shown: Option<Shown>,
    /// Handles that users hold. The last one to go ends the run.
    pub(super) handles: AtomicU32,
    /// 0 while the run is open.
    pub(super) ended: AtomicU64,
    pub(super) attributes: Mutex<Option<Box<AttributeBuffer>>>,
    /// What came with the call that it serves.
    pub(super) passed: Option<Arc<Passed>>,
}

/// What is recorded of a run: one word, which what is open on a thread carries along. Below the two
/// that have names, the threshold by which it was decided that everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampled(u64);

impl Sampled {
    /// Everything, into a ring that holds it until it is known how the run went.
    pub(super) const HELD: Self = Self(u64::MAX);
    /// Nothing.
    pub(super) const NO: Self = Self(u64::MAX - 1);

    /// Everything; those that it calls are told this threshold.
    pub(super) const fn yes(threshold: Threshold) -> Self {
        Self(threshold.bits())
    }

    /// The threshold, if it is sampled.
    pub(super) fn threshold(self) -> Option<Threshold> {
        (self.0 < Self::NO.0).then(|| Threshold::from_bits(self.0))
    }
}

impl RunState {
    /// What a thread is in while this span of it is the innermost one there.
    #[inline(always)]
    pub(super) fn current(&self, span: u64) -> Current {
        Current { span, ..self.root }
    }

    fn attributes(&self) -> MutexGuard<'_, Option<Box<AttributeBuffer>>> {
        self.attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds attributes to the trace, if they will be written. `write` runs user code, which may
    /// come back here, so it does not run while the lock is held. A forked child must not wait for
    /// the lock, which a thread that it lacks may hold.
    pub(super) fn describe(&self, write: impl FnOnce(&mut AttributeBuffer)) {
        if !self.gate.is_open() {
            return;
        }
        let mut added = local::buffer(&self.engine);
        write(&mut added);
        let mut attributes = self.attributes();
        match &mut *attributes {
            Some(attributes) => attributes.extend(&added),
            none => {
                *none = Some(added);
                return;
            }
        }
        drop(attributes);
        local::recycle(&self.engine, added);
    }

    /// A handle goes away.
    pub(super) fn release(&self) {
        // AcqRel: the last handle sees everything that the others did, as in `Arc`.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Relaxed: no other handle is left.
            if self.ended.load(Ordering::Relaxed) == 0 {
                self.end(no_verdict());
            }
        }
    }

    /// Whether a thread notes that it is inside: of a run that is not sampled nothing is lost when
    /// the log is closed.
    #[inline]
    pub(super) fn is_noticed(&self) -> bool {
        self.root.sampled != Sampled::NO || self.gate.is_open()
    }

    /// Whether it is held until it is known how it went.
    #[inline(always)]
    pub(super) fn is_held(&self) -> bool {
        self.root.sampled == Sampled::HELD
    }

    /// It is over: no longer shown as open.
    fn hide(&self, local: &mut Local, Shown { ring, slot }: Shown) {
        match local.ring(true) {
            Some(own) if own.ring() == ring => own.close(slot),
            _ => {
                let rings = &self.engine.rings;
                rings.close_open_span(ring.0, slot, self.start);
            }
        }
    }

    /// Whether a run that went like this is kept, and the whole probability of that where it is
    /// not the one that its start was recorded with.
    fn judge(&self, status: Status, ticks: u64) -> (bool, Option<f64>) {
        let Some(outcome) = self.engine.sampling.outcome() else {
            return (true, None);
        };
        let whole = outcome.threshold(status, self.engine.length(ticks));
        let kept = !self.is_held() || whole.keeps(self.trace);
        // The same part of the id decides both times, so the lower threshold is the whole.
        let lower = kept && whole < self.threshold;
        (kept, lower.then(|| whole.rate()))
    }

    pub(super) fn end(&self, status: Status) {
        // AcqRel: one handle wins; it sees what the others set before they let go.
        if self.ended.swap(1, Ordering::AcqRel) != 0 {
            return;
        }
        if !self.gate.is_open() {
            return self.engine.lose_closed(RecordKind::TraceEnd);
        }
        if let Some(passed) = &self.passed {
            self.engine.no_longer_carries(self.root.trace, passed);
        }
        let attributes = self.attributes().take();
        local::with(&self.engine, RecordKind::TraceEnd, |local| {
            let mut attributes = attributes;
            let mut name = self.name;
            if name == crate::record::layout::NAME_INLINE {
                // The text stands in the start record.
                name = crate::record::layout::NAME_NONE;
            }
            let error = status == Status::Error
                && attributes.as_ref().is_some_and(|a| !a.words().is_empty());
            let end = self.engine.tick();
            let (kept, rate) = self.judge(status, end.saturating_sub(self.start));
            if let Some(rate) = rate {
                let buffer = attributes.get_or_insert_with(|| local.buffer());
                buffer.push_named(Name::of_id(crate::record::wellknown::SAMPLING_RATE), &rate);
            }
            let mut flags = self.flags;
            for (is, bit) in [(error, flag::ERROR), (!kept, flag::PROVISIONAL)] {
                flags |= if is { bit } else { 0 };
            }
            let end = TraceFinish {
                trace: self.trace,
                name,
                start: self.start,
                end,
                status,
                flags,
                threshold: rate.map_or(0, |rate| Threshold::of_rate(rate).bits() + 1),
                held: self.is_held(),
            };
            write::trace_end(local, end, attributes.take());
            if let Some(shown) = self.shown {
                self.hide(local, shown);
            }
        });
    }
}
