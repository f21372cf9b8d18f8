//! Rows by hand, for the rules of the analysis.

use std::sync::Arc;

use emberlog::{
    analysis::{Analysis, Analyzer, Report},
    backend::{Scan, ScanError},
    AttributeMap, Event, EventType, Filter, InstanceId, Link, Metric, Span, SpanId, SpanKind,
    Status, Trace, TraceId,
};

pub const SECOND: u64 = 1_000_000_000;
pub const NOW: i64 = 1_700_000_000_000_000_000;

/// Rows that are there, whatever is asked for: the analysis itself must choose.
#[derive(Default)]
pub struct Rows {
    pub traces: Vec<Trace>,
    pub spans: Vec<Span>,
    pub events: Vec<Event>,
    pub metrics: Vec<Metric>,
}

impl Scan for Rows {
    fn traces(&self, _: &Filter) -> Result<Vec<Trace>, ScanError> {
        Ok(self.traces.clone())
    }
    fn spans(&self, filter: &Filter) -> Result<Vec<Span>, ScanError> {
        let of = |span: &&Span| Some(span.trace_id) == filter.trace_id;
        Ok(self.spans.iter().filter(of).cloned().collect())
    }
    fn events(&self, filter: &Filter) -> Result<Vec<Event>, ScanError> {
        let of = |event: &&Event| event.trace_id == filter.trace_id;
        Ok(self.events.iter().filter(of).cloned().collect())
    }
    fn metrics(&self, filter: &Filter) -> Result<Vec<Metric>, ScanError> {
        let of = |metric: &&Metric| metric.trace_id == filter.trace_id;
        Ok(self.metrics.iter().filter(of).cloned().collect())
    }
    fn links(&self, _: &Filter) -> Result<Vec<Link>, ScanError> {
        Ok(Vec::new())
    }
}

impl Rows {
    /// A run that takes this long; runs begin one second after the other.
    pub fn run(&mut self, status: Status, ns: u64) -> TraceId {
        let number = self.traces.len() as u128 + 1;
        let start_ns = NOW + number as i64 * SECOND as i64;
        self.traces.push(Trace {
            trace_id: TraceId::from_u128(number),
            name: "flow".into(),
            start_ns,
            end_ns: Some(start_ns + ns as i64),
            status,
            attributes: AttributeMap::new(),
            resource: Arc::default(),
            remote_parent: None,
            sampling_rate: 1.0,
            dropped_attributes: 0,
            instance: InstanceId([1; 16]),
        });
        TraceId::from_u128(number)
    }

    /// A node of the newest run, right behind the one before it.
    pub fn node(&mut self, name: &str, status: Status, ns: u64) -> SpanId {
        let trace = self.traces.last().unwrap();
        let before = self.spans.last().filter(|s| s.trace_id == trace.trace_id);
        let start_ns = before.map_or(trace.start_ns, |span| span.end_ns().unwrap());
        let id = SpanId::new(self.spans.len() as u64 + 1).unwrap();
        self.spans.push(Span {
            span_id: id,
            trace_id: trace.trace_id,
            parent_span_id: None,
            remote_parent: false,
            name: name.into(),
            kind: SpanKind::NodeExecution,
            start_ns,
            duration_ns: Some(ns),
            status,
            attributes: AttributeMap::new(),
            error: None,
            dropped_attributes: 0,
            thread: (0, 0),
            record: None,
            instance: InstanceId([1; 16]),
        });
        id
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let span = self.spans.last_mut().unwrap();
        span.attributes.set(key, value);
    }

    pub fn event(&mut self, event_type: EventType, attributes: &[(&str, &str)]) {
        let trace = self.traces.last().unwrap();
        self.events.push(Event {
            event_id: self.events.len() as u128,
            event_type,
            name: String::new(),
            timestamp_ns: trace.start_ns + self.events.len() as i64,
            trace_id: Some(trace.trace_id),
            span_id: None,
            attributes: attributes.iter().map(|(k, v)| (*k, *v)).collect(),
            dropped_attributes: 0,
            derived: false,
            record: None,
        });
    }

    pub fn metric(&mut self, name: &str, unit: &str, value: f64) {
        let trace = self.traces.last().unwrap();
        self.metrics.push(Metric {
            metric_id: self.metrics.len() as u128,
            name: name.into(),
            value,
            integer: None,
            unit: unit.into(),
            aggregation: emberlog::Aggregation::Counter,
            timestamp_ns: trace.start_ns,
            trace_id: Some(trace.trace_id),
            span_id: None,
            attributes: AttributeMap::new(),
            dropped_attributes: 0,
            derived: false,
            record: None,
        });
    }

    pub fn analysis(&self, analyzer: &Analyzer) -> Analysis {
        analyzer.scan(self).unwrap()
    }

    pub fn report(&self) -> Report {
        let all = Analyzer::new().since_ns(i64::MIN).until_ns(i64::MAX);
        self.analysis(&all.min_executions(1)).report.unwrap()
    }
}
