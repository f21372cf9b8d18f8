//! What a query asks for. The filters mean the same on the log and on every backend that can be
//! read.

use std::time::Duration;

use crate::record::{
    id::{SpanId, TraceId},
    kinds::{SpanKind, Status},
};

/// Order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Latest start first.
    #[default]
    Newest,
    /// Earliest start first.
    Oldest,
    /// Longest first. Events and metrics have no length: newest first.
    Slowest,
}

/// A text to compare names with: exact, or a glob if it contains `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// `*` stands for any number of characters; everything else stands for itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, if there is no `*` in it.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.0.as_str())
    }

    /// Whether `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        if self.exact().is_some() {
            return self.0 == text;
        }
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// Filters, order and cut of a query. Every field that is set must hold.
///
/// ```
/// use emberlog::{Filter, Status};
/// use std::time::Duration;
/// let slow_failures = Filter::new()
///     .status(Status::Error)
///     .min_duration(Duration::from_millis(10))
///     .limit(20);
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Filter {
    /// Name of the trace, span, event or metric. `trace_name`, `span_name` and `metric_name` in
    /// the documents.
    pub name: Option<Pattern>,
    /// Status; traces and spans only. [`Status::Unset`] means: still running, or ended without a
    /// verdict.
    pub status: Option<Status>,
    /// Only rows that still run.
    pub active: bool,
    /// Kind of span.
    pub kind: Option<SpanKind>,
    /// Type of event; the documented types match in both spellings (`node.failed`, `node_failed`).
    pub event_type: Option<String>,
    /// Only this trace.
    pub trace_id: Option<TraceId>,
    /// Only this span: itself, or what belongs to it.
    pub span_id: Option<SpanId>,
    /// Start (or timestamp) at or after this Unix nanosecond.
    pub since_ns: Option<i64>,
    /// Start (or timestamp) before or at this Unix nanosecond.
    pub until_ns: Option<i64>,
    /// At least this long; rows that still run do not qualify.
    pub min_duration: Option<Duration>,
    /// Attributes with these values, compared as [`Value::matches_text`](crate::Value) does;
    /// `node.id` also finds `node_id` and so on.
    pub attributes: Vec<(String, String)>,
    /// Only of this graph: `graph_id`, `graph.id`, else the trace's name.
    pub graph: Option<String>,
    /// Only of this version of the graph: `graph_version`.
    pub graph_version: Option<String>,
    /// Only of this node: `node.id` or `node_id`.
    pub node: Option<String>,
    /// Only with this type of error: its whole path, or the last segments of it.
    pub error_type: Option<String>,
    /// Order.
    pub order: Order,
    /// Most rows. `None` takes the documented default: 100 traces, 1000 of the others.
    pub limit: Option<usize>,
    /// Rows to skip.
    pub offset: usize,
    /// Leave out rows that follow from spans and were not recorded themselves.
    pub recorded_only: bool,
}

/// The documented default limit of trace queries.
pub const DEFAULT_TRACE_LIMIT: usize = 100;
/// The documented default limit of span, event and metric queries.
pub const DEFAULT_LIMIT: usize = 1000;

impl Filter {
    /// Everything, newest first, cut at the documented default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this name; `*` globs.
    #[must_use]
    pub fn name(mut self, pattern: impl Into<String>) -> Self {
        self.name = Some(Pattern::new(pattern));
        self
    }

    /// Only this status.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Only what still runs.
    #[must_use]
    pub fn active(mut self) -> Self {
        self.active = true;
        self
    }

    /// Only this kind of span.
    #[must_use]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only this type of event.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Only this trace.
    #[must_use]
    pub fn trace_id(mut self, id: TraceId) -> Self {
        self.trace_id = Some(id);
        self
    }

    /// Only this span, or what belongs to it.
    #[must_use]
    pub fn span_id(mut self, id: SpanId) -> Self {
        self.span_id = Some(id);
        self
    }

    /// Only what started at or after this Unix nanosecond.
    #[must_use]
    pub fn since_ns(mut self, unix_ns: i64) -> Self {
        self.since_ns = Some(unix_ns);
        self
    }

    /// Only what started before or at this Unix nanosecond.
    #[must_use]
    pub fn until_ns(mut self, unix_ns: i64) -> Self {
        self.until_ns = Some(unix_ns);
        self
    }

    /// Only what took at least this long.
    #[must_use]
    pub fn min_duration(mut self, duration: Duration) -> Self {
        self.min_duration = Some(duration);
        self
    }

    /// Only rows with this attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// Only this graph.
    #[must_use]
    pub fn graph(mut self, id: impl Into<String>) -> Self {
        self.graph = Some(id.into());
        self
    }

    /// Only this version of the graph.
    #[must_use]
    pub fn graph_version(mut self, version: impl Into<String>) -> Self {
        self.graph_version = Some(version.into());
        self
    }

    /// Only this node.
    #[must_use]
    pub fn node(mut self, id: impl Into<String>) -> Self {
        self.node = Some(id.into());
        self
    }

    /// Only this type of error.
    #[must_use]
    pub fn error_type(mut self, error_type: impl Into<String>) -> Self {
        self.error_type = Some(error_type.into());
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// At most this many rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// All rows.
    #[must_use]
    pub fn all(mut self) -> Self {
        self.limit = Some(usize::MAX);
        self
    }

    /// Skip this many rows.
    #[must_use]
    pub fn offset(mut self, rows: usize) -> Self {
        self.offset = rows;
        self
    }
}
