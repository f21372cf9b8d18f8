//! The run that a thread is in, for code to which nobody hands one down.

use std::sync::{atomic::Ordering, Arc};

use super::{
    engine::Engine,
    held::Held,
    local,
    run::{Run, Sampled},
    write::TraceBegin,
};
use crate::record::layout::NAME_NONE;

impl Run {
    /// The trace whose span is open on this thread. A handle that does not end it, if the trace was
    /// begun on another thread.
    pub(crate) fn current(engine: &Arc<Engine>) -> Self {
        let state = local::existing(engine, |local| {
            let current = local.current;
            if current.trace == 0 {
                return None;
            }
            let trace = current.trace_id();
            if let Some(state) = local.runs.iter().find(|state| state.trace == trace) {
                // Relaxed: see `Clone`.
                state.handles.fetch_add(1, Ordering::Relaxed);
                return Some(Arc::clone(state));
            }
            let begin = TraceBegin {
                trace,
                name: NAME_NONE,
                tick: 0,
                remote_parent: 0,
                threshold: 0,
                flags: 0,
                held: current.held,
                shown: None,
            };
            let sampled = match current.held {
                true => Sampled::Held,
                false => Sampled::Yes,
            };
            let state = Self::pooled(engine, local, begin, sampled);
            // Relaxed: nobody else has it yet.
            state.ended.store(1, Ordering::Relaxed);
            Some(state)
        });
        Self {
            state: Held::new(state.flatten()),
        }
    }
}
