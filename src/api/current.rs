//! The run that is open on a thread, for code that was not handed one.

use std::sync::{atomic::Ordering, Arc};

use super::{
    engine::Engine,
    local::{self, Current},
    run::Run,
    state::Sampled,
    write::TraceBegin,
};
use crate::{record::layout::NAME_NONE, sampling::Threshold};

impl Run {
    /// A handle of the run whose span is open on this thread; nothing ends with it.
    pub(crate) fn current(engine: &Arc<Engine>) -> Self {
        if !engine.gate.is_open() {
            return Self::disabled();
        }
        let passed = |low| engine.carried_by(low);
        let state = local::existing(engine, |local| {
            let current = local.current;
            (current != Current::NONE).then(|| {
                let begin = TraceBegin {
                    trace: current.trace_id(),
                    name: NAME_NONE,
                    tick: 0,
                    remote_parent: 0,
                    threshold: current.sampled.threshold().map_or(0, Threshold::bits),
                    flags: 0,
                    held: current.sampled == Sampled::HELD,
                    shown: None,
                };
                let passed = passed(current.trace);
                let state = Self::pooled(engine, local, begin, current.sampled, passed);
                // Relaxed: nobody else has seen it. Whoever began the trace ends it.
                state.ended.store(1, Ordering::Relaxed);
                state
            })
        });
        Self::of_state(state.flatten())
    }
}
