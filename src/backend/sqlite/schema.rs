//! The tables, and the views with the documented names and columns on top of them.
//!
//! | view | columns | over |
//! |---|---|---|
//! | `traces`, `spans`, `events`, `metrics` | the documented ones, in their order | the tables below; what follows from spans and traces is computed |
//! | `links` | the spans that a span refers to | `link_rows` |
//! | `trace_details`, `span_details`, `event_details`, `metric_details` | exact nanoseconds, errors, resource, ISO times | the same |
//!
//! Rows of spans, events and metrics name their trace and instance by a small integer, so that a
//! table and its indexes grow at their end and stay small; times are nanoseconds. Ids are text:
//! 32 hex digits for traces, events and metrics, 16 for spans. The ids of events and metrics are
//! computed from (instance, ring, sequence), which is what is unique.

use super::views;

/// `EMBR`: what `PRAGMA application_id` says of our files.
pub(super) const APPLICATION_ID: i64 = 0x454d_4252;
/// What `PRAGMA user_version` says; a greater one is refused.
pub(super) const VERSION: i64 = 2;

/// Rows that follow from others, where they are written out.
const DERIVED: &str = "
CREATE TABLE derived_event_rows (
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    part INTEGER NOT NULL,
    trace INTEGER NOT NULL REFERENCES trace_rows(id),
    span_id TEXT,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    timestamp REAL AS (timestamp_ns / 1e9),
    UNIQUE (instance, ring, sequence, part)
);
CREATE INDEX idx_derived_events_trace_id ON derived_event_rows(trace);
CREATE INDEX idx_derived_events_type ON derived_event_rows(type);

CREATE TABLE derived_metric_rows (
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    part INTEGER NOT NULL,
    trace INTEGER NOT NULL REFERENCES trace_rows(id),
    span_id TEXT,
    name TEXT NOT NULL,
    value NOT NULL,
    unit TEXT NOT NULL,
    aggregation_type TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    timestamp REAL AS (timestamp_ns / 1e9),
    UNIQUE (instance, ring, sequence, part)
);
CREATE INDEX idx_derived_metrics_name ON derived_metric_rows(name);
CREATE INDEX idx_derived_metrics_timestamp ON derived_metric_rows(timestamp);
CREATE INDEX idx_derived_metrics_trace_id ON derived_metric_rows(trace);
";

/// What makes a database of version *n* + 1 of one of version *n*, from 1 on.
fn step(version: i64) -> String {
    match version {
        1 => format!(
            "ALTER TABLE span_rows ADD COLUMN written_out INTEGER NOT NULL DEFAULT 0;
             ALTER TABLE trace_parts ADD COLUMN written_out INTEGER NOT NULL DEFAULT 0;
             {DERIVED}"
        ),
        _ => String::new(),
    }
}

/// What makes a database of this version of an older one.
pub(super) fn upgrade(from: i64) -> String {
    let steps: String = (from..VERSION).map(step).collect();
    let drop: String = views::NAMES
        .iter()
        .map(|name| format!("DROP VIEW IF EXISTS {name};"))
        .collect();
    format!("{drop}{steps}{}", views::create())
}

pub(super) const TABLES: &str = "
CREATE TABLE emberlog_cursors (
    log_id TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    instance TEXT NOT NULL,
    updated REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    instance TEXT NOT NULL UNIQUE,
    high INTEGER NOT NULL,
    low INTEGER NOT NULL,
    resource TEXT,
    resource_types TEXT,
    custom TEXT,
    custom_types TEXT,
    derive_events INTEGER NOT NULL DEFAULT 0,
    derive_metrics INTEGER NOT NULL DEFAULT 0,
    max_events_per_span INTEGER
);

CREATE TABLE trace_rows (
    id INTEGER PRIMARY KEY,
    trace_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL DEFAULT '',
    start_ns INTEGER,
    end_ns INTEGER,
    status TEXT NOT NULL DEFAULT 'unset',
    attributes TEXT NOT NULL DEFAULT '{}',
    types TEXT,
    remote_parent TEXT,
    sampling_rate REAL,
    dropped INTEGER NOT NULL DEFAULT 0,
    instance INTEGER,
    seen_ns INTEGER,
    start_time REAL AS (start_ns / 1e9),
    end_time REAL AS (end_ns / 1e9),
    duration REAL AS (max(end_ns - start_ns, 0) / 1e9)
);
CREATE INDEX idx_traces_start_time ON trace_rows(start_time);
CREATE INDEX idx_traces_status ON trace_rows(status);
CREATE INDEX idx_traces_unknown ON trace_rows(seen_ns) WHERE start_ns IS NULL;

CREATE TABLE trace_parts (
    trace INTEGER NOT NULL REFERENCES trace_rows(id),
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    name TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER,
    status TEXT NOT NULL,
    attributes TEXT NOT NULL,
    types TEXT,
    remote_parent TEXT,
    sampling_rate REAL NOT NULL,
    dropped INTEGER NOT NULL,
    written_out INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (trace, instance, ring, sequence)
) WITHOUT ROWID;

CREATE TABLE span_rows (
    trace INTEGER NOT NULL REFERENCES trace_rows(id),
    span_id TEXT NOT NULL,
    parent_span_id TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start_ns INTEGER NOT NULL,
    duration_ns INTEGER,
    status TEXT NOT NULL,
    attributes TEXT NOT NULL,
    types TEXT,
    error TEXT,
    remote_parent INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    sequence INTEGER,
    start_time REAL AS (start_ns / 1e9),
    end_time REAL AS ((start_ns + duration_ns) / 1e9),
    duration REAL AS (duration_ns / 1e9),
    written_out INTEGER NOT NULL DEFAULT 0,
    UNIQUE (span_id, trace)
);
CREATE INDEX idx_spans_trace_id ON span_rows(trace);
CREATE INDEX idx_spans_parent_span_id ON span_rows(parent_span_id);

CREATE TABLE event_rows (
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    trace INTEGER REFERENCES trace_rows(id),
    span_id TEXT,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    types TEXT,
    dropped INTEGER NOT NULL,
    timestamp REAL AS (timestamp_ns / 1e9),
    UNIQUE (instance, ring, sequence)
);
CREATE INDEX idx_events_trace_id ON event_rows(trace);
CREATE INDEX idx_events_type ON event_rows(type);

CREATE TABLE metric_rows (
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    trace INTEGER REFERENCES trace_rows(id),
    span_id TEXT,
    name TEXT NOT NULL,
    value,
    value_text TEXT,
    unit TEXT NOT NULL,
    aggregation_type TEXT NOT NULL,
    timestamp_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    types TEXT,
    dropped INTEGER NOT NULL,
    timestamp REAL AS (timestamp_ns / 1e9),
    UNIQUE (instance, ring, sequence)
);
CREATE INDEX idx_metrics_name ON metric_rows(name);
CREATE INDEX idx_metrics_timestamp ON metric_rows(timestamp);
CREATE INDEX idx_metrics_trace_id ON metric_rows(trace);

CREATE TABLE link_rows (
    instance INTEGER NOT NULL,
    ring INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    trace INTEGER NOT NULL REFERENCES trace_rows(id),
    span_id TEXT,
    linked_trace_id TEXT NOT NULL,
    linked_span_id TEXT,
    timestamp_ns INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    types TEXT,
    UNIQUE (instance, ring, sequence)
);
CREATE INDEX idx_links_trace_id ON link_rows(trace);
";

/// Everything that a new file gets.
pub(super) fn create() -> String {
    format!("{TABLES}{DERIVED}{}", views::create())
}
