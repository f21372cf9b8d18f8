#![doc = include_str!("../README.md")]
// Models drive parts of the crate only.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(loom))]
pub mod analysis;
#[cfg(not(loom))]
mod api;
#[cfg(not(loom))]
pub mod backend;
#[cfg(not(loom))]
pub mod bridge;
mod clock;
#[cfg(not(loom))]
pub mod config;
#[cfg(not(loom))]
mod exit;
#[cfg(not(loom))]
pub mod export;
#[cfg(not(loom))]
mod flusher;
#[cfg(not(loom))]
pub mod instrument;
#[cfg(not(loom))]
pub mod log;
#[cfg(not(loom))]
mod manager;
#[cfg(loom)]
#[doc(hidden)]
#[path = "log/mark.rs"]
pub mod mark;
#[cfg(not(loom))]
pub mod model;
#[cfg(loom)]
#[path = "log/progress.rs"]
mod progress;
#[cfg(not(loom))]
pub mod query;
pub mod record;
// Models drive parts that the engine does not use.
#[allow(dead_code)]
mod ring;
#[cfg(not(loom))]
pub mod sampling;
#[cfg(not(loom))]
mod stats;
mod sync;
#[cfg(not(loom))]
pub mod tail;

#[cfg(not(loom))]
pub use api::{
    ActiveSpan, ContextGuard, Counter, DetachedSpan, EventBuilder, Gauge, Histogram, InSpan, Meter,
    MetricBuilder, MetricValue, Past, PastSpan, Run, Spanned, Steps, TraceOptions,
};
#[cfg(not(loom))]
pub use backend::BackendConfig;
#[cfg(not(loom))]
pub use bridge::propagation;
#[cfg(not(loom))]
pub use config::{Config, ConfigError, Preset, TelemetryConfig};
#[cfg(feature = "macros")]
pub use emberlog_macros::trace;
#[cfg(not(loom))]
pub use flusher::recovery::RecoveredRings;
#[cfg(not(loom))]
pub use manager::{
    global, init, reset, BackendError, FlushError, InitError, Manager, OpenError, Shutdown,
    TelemetryManager,
};
#[cfg(not(loom))]
pub use model::{AttributeMap, Event, Link, Metric, Span, SpanError, Trace};
#[cfg(not(loom))]
pub use query::{
    filter::{Filter, Order, Pattern},
    LogReader, TraceTree,
};
pub use record::{
    attributes::{AttributeValue, ValueWriter},
    id::{InstanceId, LogId, RecordId, SpanId, TraceId},
    kinds::{Aggregation, EventType, LossCause, SpanKind, SpanStatus, Status},
    names::{Name, StaticName},
    redact::{Redaction, Redactor},
    value::Value,
};
pub use ring::{Options as RingOptions, Overflow, RingStats};
#[cfg(not(loom))]
pub use stats::{EngineState, Stats};

/// What loom's models drive.
#[cfg(loom)]
#[doc(hidden)]
pub mod loom_api {
    pub use crate::{
        clock::Anchor,
        progress::Progress,
        record::{
            id::{InstanceId, LogId},
            layout::{Header, RecordKind},
        },
        ring::loom_api::*,
        sync::{desk::Desk, mutant},
    };
}
