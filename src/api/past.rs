//! Spans that are over, of which somebody else kept the times.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    engine::Engine,
    local,
    run::Run,
    state::RunState,
    write::{self, SpanEnd},
};
use crate::{
    clock::Anchor,
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        id::SpanId,
        kinds::{SpanKind, Status},
        layout::{RecordKind, KEY_NAME},
        names::Name,
    },
};

/// Records spans that are over: of a runtime that keeps a log of its own, with its own times.
///
/// ```
/// # use emberlog::{Config, Filter, Manager, SpanKind};
/// # use std::time::{Duration, SystemTime};
/// # let dir = tempfile::tempdir()?;
/// # let manager = Manager::open(Config::new(dir.path()))?;
/// let run = manager.start_trace("dataflow");
/// let end = SystemTime::now();
/// let times = end - Duration::from_millis(3)..end;
/// let mut past = run.past();
/// past.span("map", SpanKind::NodeExecution, times).with("records", 17).ok();
/// drop(past);
/// run.ok();
/// let took = manager.query_spans(&Filter::new())?[0].duration().unwrap();
/// assert!(took.abs_diff(Duration::from_millis(3)) < Duration::from_micros(100));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Times are exact to the drift of two clocks since this value was made (microseconds): make one
/// for each batch. A start that is behind its end counts as the end.
#[derive(Debug)]
pub struct Past<'r> {
    state: Option<(&'r RunState, Anchor)>,
}

impl Run {
    /// Records spans of this run that are over.
    pub fn past(&self) -> Past<'_> {
        let state = self.state().filter(|state| state.engine.gate.is_open());
        Past {
            state: state.map(|state| (state, state.engine.anchor())),
        }
    }
}

impl Past<'_> {
    /// A span that lasted so long, under the trace itself unless something else is said. It is
    /// recorded when it is told how it went.
    pub fn span<'n>(
        &mut self,
        name: impl Into<Name<'n>>,
        kind: SpanKind,
        times: std::ops::Range<SystemTime>,
    ) -> PastSpan<'_> {
        PastSpan(self.state.as_ref().map(|(state, anchor)| {
            let name = name.into();
            let mut attributes = local::buffer(&state.engine);
            if let Some(text) = name.inline_text() {
                attributes.push_reserved(KEY_NAME, text);
            }
            let end = anchor.tick_at(unix_ns(times.end));
            Content {
                state,
                attributes,
                end: SpanEnd {
                    trace: state.trace,
                    held: state.is_held(),
                    name: name.id(),
                    id: 0,
                    parent: 0,
                    start: anchor.tick_at(unix_ns(times.start)).min(end),
                    end,
                    kind,
                    status: Status::Unset,
                    flags: 0,
                },
            }
        }))
    }
}

/// Nanoseconds since 1970, as far as they can be counted.
fn unix_ns(time: SystemTime) -> i64 {
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos());
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since).unwrap_or(i64::MAX),
        Err(before) => nanos(before.duration()).map_or(i64::MIN, |before| -before),
    }
}

/// A span that is over; made by [`Past::span`].
#[derive(Debug)]
#[must_use = "it is recorded when it is told how it went"]
pub struct PastSpan<'p>(Option<Content<'p>>);

#[derive(Debug)]
struct Content<'p> {
    state: &'p RunState,
    attributes: Box<AttributeBuffer>,
    end: SpanEnd,
}

impl PastSpan<'_> {
    /// Puts it under a span.
    pub fn under(mut self, parent: Option<SpanId>) -> Self {
        if let Some(content) = &mut self.0 {
            content.end.parent = parent.map_or(0, SpanId::get);
        }
        self
    }

    /// Sets an attribute.
    pub fn with<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        if let Some(content) = &mut self.0 {
            content.attributes.push(key, value);
        }
        self
    }

    /// Records it: it succeeded.
    pub fn ok(self) -> Option<SpanId> {
        self.end(Status::Ok)
    }

    /// Records it as `status`; returns its id, for those below it.
    pub fn end(self, status: Status) -> Option<SpanId> {
        let Content {
            state,
            attributes,
            mut end,
        } = self.0?;
        let engine: &Arc<Engine> = &state.engine;
        if !engine.gate.is_open() {
            engine.lose_closed(RecordKind::Span);
            return None;
        }
        let id = local::with(engine, RecordKind::Span, |local| {
            end.id = local.span_id();
            end.status = status;
            let id = end.id;
            write::span(local, end, Some(attributes));
            id
        });
        id.and_then(SpanId::new)
    }
}
