//! Settings that go together, as the documents group them.

use std::time::Duration;

use super::{settings::DAY, Config};

/// What an installation is about. A preset sets the sampling rate, batching, retention and volume; it sets no place,
/// no backend and no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// See everything within a second: batches of 100 or every second.
    Development,
    /// Between the two: half of all traces, batches of 1000 or every 10 seconds, 30 days.
    Staging,
    /// Many records: 5 % of all traces, batches of 10,000 or every 30 seconds, a year.
    Production,
    /// Very many records: 1 % of all traces, batches of 50,000 or every minute, 30 days, no events.
    HighVolume,
    /// Tests: batches of 10 or every 100 milliseconds.
    Testing,
    /// As little work as possible: 1 % of all traces, batches of 100,000 or every 2 minutes, no
    /// events.
    LowOverhead,
    /// As much detail as possible: every 5 seconds, up to 1000 events per span.
    MaxVisibility,
    /// Neither: batches of 100 or every 5 seconds.
    Balanced,
    /// Detail against cost: 10 % of all traces, batches of 5000 or every 30 seconds, 60 days.
    BalancedCost,
}

impl Preset {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Development,
        Self::Staging,
        Self::Production,
        Self::HighVolume,
        Self::Testing,
        Self::LowOverhead,
        Self::MaxVisibility,
        Self::Balanced,
        Self::BalancedCost,
    ];

    /// Its name in files and in the environment.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::HighVolume => "high_volume",
            Self::Testing => "testing",
            Self::LowOverhead => "low_overhead",
            Self::MaxVisibility => "max_visibility",
            Self::Balanced => "balanced",
            Self::BalancedCost => "balanced_cost",
        }
    }

    /// The preset of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let fits = |preset: &&Self| preset.as_str() == name;
        Self::ALL.iter().find(fits).copied()
    }

    pub(super) fn apply(self, config: &mut Config) {
        let (records, seconds) = match self {
            Self::Development => (100, 1.0),
            Self::Staging => (1000, 10.0),
            Self::Production => (10_000, 30.0),
            Self::HighVolume => (50_000, 60.0),
            Self::Testing => (10, 0.1),
            Self::LowOverhead => (100_000, 120.0),
            Self::MaxVisibility => (1000, 5.0),
            Self::Balanced => (100, 5.0),
            Self::BalancedCost => (5000, 30.0),
        };
        config.buffer_size = records;
        config.export_interval = Duration::from_secs_f64(seconds);
        config.sampling_rate = match self {
            Self::Staging => 0.5,
            Self::Production => 0.05,
            Self::HighVolume | Self::LowOverhead => 0.01,
            Self::BalancedCost => 0.1,
            Self::Development | Self::Testing | Self::MaxVisibility | Self::Balanced => 1.0,
        };
        let days = match self {
            Self::Staging | Self::HighVolume => Some(30),
            Self::Production => Some(365),
            Self::BalancedCost => Some(60),
            _ => None,
        };
        if let Some(days) = days {
            config.log.retention_age = Some(DAY * days);
        }
        match self {
            Self::HighVolume => config.max_events_per_span = 50,
            Self::LowOverhead => config.max_events_per_span = 10,
            Self::MaxVisibility => config.max_events_per_span = 1000,
            _ => {}
        }
        match self {
            Self::HighVolume | Self::LowOverhead => config.enable_events = false,
            Self::Development | Self::Testing | Self::MaxVisibility => {
                config.enable_traces = true;
                config.enable_events = true;
                config.enable_metrics = true;
            }
            _ => {}
        }
    }
}
