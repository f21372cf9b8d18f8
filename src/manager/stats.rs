//! What `Manager::stats` tells: one look at every stage.

use std::{
    sync::{atomic::Ordering, PoisonError},
    time::Duration,
};

use super::Inner;
use crate::{
    record::{kinds::LossCause, layout::is_held, names},
    stats::{EngineState, Stats},
};

impl Inner {
    pub(super) fn stats(&self) -> Stats {
        if !self.engine.gate.is_home() {
            return self.stats_of_child();
        }
        let (mut state, reason) = self.shared.state();
        if state == EngineState::Running && !self.engine.gate.is_open() {
            state = EngineState::Closed;
        }
        let mut stats = Stats::new(state);
        stats.reason = reason;
        stats.log = Some(self.log);
        stats.instance = Some(self.engine.instance);
        // Relaxed: counters for display.
        stats.bytes = self.shared.bytes.load(Ordering::Relaxed);
        stats.flusher_rounds = self.shared.rounds.load(Ordering::Relaxed);
        let longest = self.shared.longest_round_ns.load(Ordering::Relaxed);
        stats.longest_round = Duration::from_nanos(longest);
        for (kind, count) in self.shared.counts() {
            stats.records.insert(kind.as_str(), count);
        }
        stats.traces_count = stats.records.get("trace_start").copied().unwrap_or(0);
        stats.sampled_out = self.shared.all_sampled_out();
        stats.cut_names = names::names_cut();
        let rings = self.engine.rings.stats();
        let logs = rings.rings.iter().filter(|ring| !is_held(ring.ring));
        let waiting = logs.map(|ring| ring.used_bytes as u64 / 64);
        stats.buffer_size = waiting.sum();
        stats.ring_bytes = rings.bytes as u64;
        stats.spill_bytes = rings.spill_bytes as u64;
        (stats.rings, stats.not_crash_safe) = (rings.rings, rings.not_crash_safe);
        self.engine.rings.all_losses(|cause, _, total| {
            if let Some(cause) = LossCause::from_u8(cause) {
                stats.add_lost(cause, total);
            }
        });
        stats.add_lost(LossCause::Fork, self.engine.lost_in_child());
        if let Some(backends) = &*self.backends() {
            stats.backends = backends.stats();
            let batches: u64 = stats.backends.iter().map(|tail| tail.batches).sum();
            let time: f64 = stats
                .backends
                .iter()
                .map(|tail| tail.export_latency_avg.as_secs_f64() * tail.batches as f64)
                .sum();
            stats.avg_export_latency = time / batches.max(1) as f64;
        }
        stats.logged = self.shared.logged();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(threads) = &*threads {
            let status = threads.housekeeper.status();
            stats.durable = status.durable;
            stats.disk_bytes = status.disk_bytes;
        }
        stats
    }

    /// What there is to say in a forked child, where nobody may wait for a lock of the parent's.
    fn stats_of_child(&self) -> Stats {
        let mut stats = Stats::new(EngineState::Closed);
        stats.reason = Some("off in a forked child".to_owned());
        stats.log = Some(self.log);
        stats.instance = Some(self.engine.instance);
        stats.add_lost(LossCause::Fork, self.engine.lost_in_child());
        stats
    }
}
