//! Rows that a filter leaves, of any source of frames.
//!
//! - A filter that has no counterpart in a kind of record leaves that kind out: `kind` takes spans
//!   only, `event_type` events only, `status` and `min_duration` traces and spans only.
//! - A trace is judged as a whole, as the log knows it then. Where its end decides, its start is
//!   held back until the end comes and goes with it; a start that was held when the process died
//!   does not come again.
//! - A row that is judged by its trace (`graph`, `graph_version`) is judged by what is known of the
//!   trace when the row comes.

use ahash::AHashMap;

use crate::{
    backend::{Row, TraceBegan},
    log::{Position, ReadError},
    model::Trace,
    query::{filter::Filter, LogReader},
    record::id::{InstanceId, LogId, TraceId},
    tail::{FrameSource, Lag, Pulled, Reopen},
};

/// Traces, and starts of traces, that are remembered.
const REMEMBERED: usize = 1 << 14;

/// A source without the rows that do not fit.
pub(super) struct Filtered<S> {
    inner: S,
    reader: LogReader,
    filter: Filter,
    /// Traces that ended, as the log knows them.
    traces: AHashMap<TraceId, Trace>,
    /// Starts of traces that still run.
    held: AHashMap<TraceId, TraceBegan>,
}

impl<S: FrameSource> Filtered<S> {
    /// Leaves the rows that fit; `reader` knows their traces.
    pub(super) fn new(inner: S, reader: LogReader, filter: Filter) -> Self {
        Self {
            inner,
            reader,
            filter,
            traces: AHashMap::new(),
            held: AHashMap::new(),
        }
    }

    /// A trace as the log knows it now. One that cannot be read is as one that is not there: its
    /// rows are judged by themselves.
    fn trace(&mut self, id: TraceId) -> Option<Trace> {
        if let Some(trace) = self.traces.get(&id) {
            return Some(trace.clone());
        }
        let filter = Filter::new().trace_id(id).limit(1);
        let trace = self.reader.traces(&filter).ok()?.pop()?;
        if !trace.is_active() {
            if self.traces.len() >= REMEMBERED {
                self.traces.clear();
            }
            self.traces.insert(id, trace.clone());
        }
        Some(trace)
    }

    fn trace_of(&mut self, id: Option<TraceId>) -> Option<Trace> {
        match self.filter.wants_graph() {
            true => self.trace(id?),
            false => None,
        }
    }

    /// Whether what a trace has only at its end decides.
    fn needs_end(&self) -> bool {
        let filter = &self.filter;
        filter.status.is_some() || filter.min_duration.is_some() || filter.wants_attributes()
    }

    fn sift(&mut self, row: Row, out: &mut Vec<Row>) {
        let filter = &self.filter;
        let of_spans = filter.kind.is_some();
        let of_events = filter.event_type.is_some();
        let of_lengths = filter.status.is_some() || filter.min_duration.is_some();
        let fits = match &row {
            Row::TraceBegan(_) | Row::TraceEnded(_) if of_spans || of_events => false,
            Row::TraceBegan(_) | Row::TraceEnded(_) if filter.span_id.is_some() => false,
            Row::TraceBegan(began) => return self.began(began.clone(), row, out),
            Row::TraceEnded(ended) => {
                let id = ended.trace.trace_id;
                let held = self.held.remove(&id);
                let trace = self.trace(id);
                let fits = self
                    .filter
                    .accepts_trace(trace.as_ref().unwrap_or(&ended.trace));
                out.extend(held.filter(|_| fits).map(Row::TraceBegan));
                fits
            }
            Row::Span(_) if of_events => false,
            Row::Span(span) => {
                let trace = self.trace_of(Some(span.trace_id));
                self.filter.accepts_span(span, trace.as_ref())
            }
            _ if of_spans || of_lengths => false,
            Row::Event(event) => {
                let trace = self.trace_of(event.trace_id);
                self.filter.accepts_event(event, trace.as_ref())
            }
            _ if of_events => false,
            Row::Metric(metric) => {
                let trace = self.trace_of(metric.trace_id);
                self.filter.accepts_metric(metric, trace.as_ref())
            }
            Row::Link(_) if filter.name.is_some() => false,
            Row::Link(link) => {
                let trace = self.trace_of(Some(link.trace_id));
                self.filter.accepts_link(link, trace.as_ref())
            }
        };
        out.extend(Some(row).filter(|_| fits));
    }

    fn began(&mut self, began: TraceBegan, row: Row, out: &mut Vec<Row>) {
        let id = began.trace.trace_id;
        match self.trace(id) {
            Some(trace) if trace.is_active() && self.needs_end() => {
                if self.held.len() >= REMEMBERED {
                    self.held.clear();
                }
                self.held.insert(id, began);
            }
            trace => {
                let fits = self
                    .filter
                    .accepts_trace(trace.as_ref().unwrap_or(&began.trace));
                out.extend(Some(row).filter(|_| fits));
            }
        }
    }
}

impl<S: FrameSource> FrameSource for Filtered<S> {
    fn log(&self) -> LogId {
        self.inner.log()
    }

    fn end(&mut self) -> Position {
        self.inner.end()
    }

    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        let before = rows.len();
        let pulled = self.inner.pull(from, rows)?;
        for row in rows.split_off(before) {
            self.sift(row, rows);
        }
        Ok(pulled)
    }

    fn reuse(&mut self, rows: &mut Vec<Row>) {
        self.inner.reuse(rows);
    }

    fn writer_before(&mut self, position: Position) -> Option<InstanceId> {
        self.inner.writer_before(position)
    }

    fn records_before(&mut self, position: Position) -> u64 {
        self.inner.records_before(position)
    }

    fn lag(&mut self, from: Position) -> Lag {
        self.inner.lag(from)
    }

    fn reopen(&self) -> Option<Reopen> {
        self.inner.reopen()
    }
}
