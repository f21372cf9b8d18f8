//! Counters of a running instance, as [`Manager::stats`](crate::Manager::stats) returns them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    log::Position,
    record::{
        id::{InstanceId, LogId},
        kinds::LossCause,
    },
    ring::RingStats,
    tail::TailStats,
};

/// How an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EngineState {
    /// Records nothing, because it was configured so or could not be opened.
    Disabled,
    /// Records and logs.
    Running,
    /// The log cannot be written; records are counted as lost until it can.
    Stalled,
    /// The flusher failed; records are counted as lost.
    Poisoned,
    /// Shut down.
    Closed,
}

/// Everything that a running instance counts.
///
/// `traces_count`, `buffer_size`, `avg_export_latency` and `dropped_count` are the documents' keys.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// How it does.
    pub state: EngineState,
    /// Why, where the state says that something is wrong.
    pub reason: Option<String>,
    /// The log.
    pub log: Option<LogId>,
    /// This open of it.
    pub instance: Option<InstanceId>,
    /// Traces begun and logged.
    pub traces_count: u64,
    /// Records recorded and not logged yet, in units of `buffer_size` (records), estimated from
    /// the fill of the rings.
    pub buffer_size: u64,
    /// Mean time that a backend takes for a batch, seconds.
    pub avg_export_latency: f64,
    /// Records lost for any cause.
    pub dropped_count: u64,
    /// Records logged, by kind.
    pub records: BTreeMap<&'static str, u64>,
    /// Bytes logged.
    pub bytes: u64,
    /// Records lost, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// Records of traces that were held until they ended and were not kept: attempted = logged +
    /// lost + sampled out + still in rings.
    pub sampled_out: u64,
    /// Names longer than 4096 bytes that were cut, each time that one was recorded, by whatever
    /// manager of this process. Their records are marked as truncated.
    pub cut_names: u64,
    /// Every ring.
    pub rings: Vec<RingStats>,
    /// Bytes of memory that rings and the name table take, all but the next field.
    pub ring_bytes: u64,
    /// Bytes that further rings of threads whose ring was full take.
    pub spill_bytes: u64,
    /// Why some or all rings lie in memory that dies with the process; the first reason.
    pub not_crash_safe: Option<String>,
    /// What is logged: survives the death of the process.
    pub logged: Position,
    /// What is durable: survives a loss of power.
    pub durable: Position,
    /// Every backend.
    pub backends: Vec<TailStats>,
    /// Bytes that the log takes on disk.
    pub disk_bytes: u64,
    /// Times that the flusher woke up.
    pub flusher_rounds: u64,
    /// How long the longest round took.
    pub longest_round: Duration,
}

impl Stats {
    pub(crate) fn new(state: EngineState) -> Self {
        Self {
            state,
            reason: None,
            log: None,
            instance: None,
            traces_count: 0,
            buffer_size: 0,
            avg_export_latency: 0.0,
            dropped_count: 0,
            records: BTreeMap::new(),
            bytes: 0,
            lost: BTreeMap::new(),
            sampled_out: 0,
            cut_names: 0,
            rings: Vec::new(),
            ring_bytes: 0,
            spill_bytes: 0,
            not_crash_safe: None,
            logged: Position::START,
            durable: Position::START,
            backends: Vec::new(),
            disk_bytes: 0,
            flusher_rounds: 0,
            longest_round: Duration::ZERO,
        }
    }

    /// Adds lost records.
    pub(crate) fn add_lost(&mut self, cause: LossCause, records: u64) {
        if records > 0 {
            let lost = self.lost.entry(cause.as_str()).or_default();
            *lost = lost.saturating_add(records);
            self.dropped_count = self.dropped_count.saturating_add(records);
        }
    }
}
