//! What can be tuned about the log.

use std::{path::Path, time::Duration};

use super::file;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

/// When logged frames are made durable, that is: survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// When a segment is full, and when somebody asks.
    OnRoll,
    /// As long after the first frame that is not durable; 1 ms to 1 hour.
    Every(Duration),
    /// As soon as a batch is logged. The flusher does not wait for it.
    EveryBatch,
}

/// What happens when the disk or the allowance is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// Logging stops, what comes is counted as lost, and it goes on when there is room.
    StopAndCount,
    /// The oldest sealed segments go, also those that a cursor still needs.
    DeleteOldest,
}

/// Tunes the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment file: what is reserved at once and removed at once.
    /// Default 64 MiB, 1 MiB to 1 GiB, rounded up to whole pages.
    pub segment_bytes: u64,
    /// When logged frames become durable. Default: one second after they were logged.
    pub sync: SyncPolicy,
    /// Segments whose newest record is older are removed. Default 30 days, at least a minute;
    /// `None` keeps them until `max_bytes`.
    pub retention_age: Option<Duration>,
    /// Bytes on disk above which the oldest segments are removed. Default: the smaller of 8 GiB
    /// and a tenth of the file system. At least four segments.
    pub max_bytes: Option<u64>,
    /// Bytes up to which segments are kept that a cursor still needs. Default twice `max_bytes`.
    pub hard_max_bytes: Option<u64>,
    /// Share of the file system that is left free, in percent. Default 5, 0 to 90.
    pub min_free_percent: u8,
    /// What happens when the disk is full. Default: stop and count.
    pub on_full: OnFull,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB,
            sync: SyncPolicy::Every(Duration::from_secs(1)),
            retention_age: Some(30 * DAY),
            max_bytes: None,
            hard_max_bytes: None,
            min_free_percent: 5,
            on_full: OnFull::StopAndCount,
        }
    }
}

/// Everything that is wrong with some options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log options: {}", .problems.join("; "))]
pub struct OptionsError {
    /// One sentence each.
    pub problems: Vec<String>,
}

impl Options {
    /// Checks every field.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let mut problems = Vec::new();
        if !(MIB..=GIB).contains(&self.segment_bytes) {
            problems.push(format!(
                "segment_bytes is {}, allowed are {MIB} to {GIB}",
                self.segment_bytes
            ));
        }
        if let SyncPolicy::Every(interval) = self.sync {
            if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&interval) {
                problems.push(format!(
                    "sync interval is {interval:?}, allowed are 1 ms to 1 h"
                ));
            }
        }
        if let Some(age) = self.retention_age {
            if age < Duration::from_secs(60) {
                problems.push(format!(
                    "retention_age is {age:?}, at least 60 s are needed"
                ));
            }
        }
        if let Some(max) = self.max_bytes {
            let least = self.segment_bytes.saturating_mul(4);
            if max < least {
                problems.push(format!(
                    "max_bytes is {max}, at least four segments ({least}) are needed"
                ));
            }
        }
        if let (Some(max), Some(hard)) = (self.max_bytes, self.hard_max_bytes) {
            if hard < max {
                problems.push(format!(
                    "hard_max_bytes is {hard}, less than max_bytes {max}"
                ));
            }
        }
        if self.min_free_percent > 90 {
            problems.push(format!(
                "min_free_percent is {}, at most 90 is allowed",
                self.min_free_percent
            ));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(OptionsError { problems })
        }
    }

    /// Age at which a segment is sealed although it is not full, so that retention by age can act
    /// on quiet processes: a day or a tenth of the retention.
    pub fn seal_after(&self) -> Duration {
        self.retention_age.map_or(DAY, |age| DAY.min(age / 10))
    }

    /// Bytes reserved for one segment, in whole pages.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.segment_bytes.clamp(MIB, GIB).next_multiple_of(4096)
    }

    /// The two limits in force for a log in `dir`.
    pub(super) fn limits(&self, dir: &Path) -> Limits {
        let default = || {
            let tenth = file::space(dir).map_or(8 * GIB, |space| space.total / 10);
            tenth.min(8 * GIB).max(self.segment_bytes.saturating_mul(4))
        };
        let max = self.max_bytes.unwrap_or_else(default);
        let hard = self.hard_max_bytes.unwrap_or(max.saturating_mul(2));
        Limits {
            max,
            hard: hard.max(max),
        }
    }
}

/// Bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Above it the oldest segments go that no cursor needs.
    pub max: u64,
    /// Above it they go in any case.
    pub hard: u64,
}
