//! OTLP, into a receiver of the test's own: what arrives there is what was recorded, as far as OTLP
//! can say it.
//!
//! Metrics leave added up, so they are no rows any more; `tests/otlp/arrives.rs` has them. A sink that was
//! started anew asks the log for what it forgot of an open trace. Here is no log: restarts are those
//! of the tail, and the sink lives on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use emberlog::{
    backend::{
        otlp::{Options, OtlpSink, Protocol, Signal},
        BatchRange, Row, Scan, Sink, SinkError,
    },
    log::Position,
    model::Origin,
    AttributeMap, InstanceId, Link, LogId, SpanId, Trace, TraceId,
};

use crate::{
    backend::{Backend, Contents},
    conformance_of_writes,
};

#[path = "../support/otlp/mod.rs"]
mod receiver;

use receiver::{decode, http::Receiver};

struct Otlp {
    receiver: Receiver,
    sinks: Arc<Mutex<[OtlpSink; 2]>>,
}

/// Writes spans and log records.
struct Both(Arc<Mutex<[OtlpSink; 2]>>);

impl Sink for Both {
    fn name(&self) -> &str {
        "otlp"
    }

    fn position(&mut self, log: LogId) -> Result<Option<Position>, SinkError> {
        for sink in &mut *self.0.lock().unwrap() {
            assert_eq!(sink.position(log).unwrap(), None);
        }
        Ok(None)
    }

    fn meet(&mut self, origin: &Arc<Origin>) {
        for sink in &mut *self.0.lock().unwrap() {
            sink.meet(origin);
        }
    }

    fn write(&mut self, range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        for sink in &mut *self.0.lock().unwrap() {
            sink.write(range, rows)?;
            let refusals = sink.refusals();
            assert_eq!(refusals.rows, 0, "{refusals:?}");
        }
        Ok(())
    }
}

impl Backend for Otlp {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(Both(self.sinks.clone()))
    }

    fn scan(&self) -> Option<Box<dyn Scan>> {
        None
    }

    fn contents(&self) -> Contents {
        let decoded = decode::rows(&self.receiver.stored());
        Contents {
            traces: decoded.traces,
            spans: decoded.spans,
            events: decoded.events,
            metrics: Vec::new(),
            links: decoded.links,
        }
    }

    fn keeps(&self, rows: &[Row], origins: &[Arc<Origin>]) -> Contents {
        sent(rows, origins)
    }

    fn once(&self) -> bool {
        false
    }
}

/// The part of a trace that one instance recorded.
type Part = (TraceId, InstanceId);

/// What leaves of these rows, in whatever order they come: a span when it ends, the root of a trace
/// when that ends, with what is known of its start by then, and each link with its span or, if that
/// left before, with the root.
fn sent(rows: &[Row], origins: &[Arc<Origin>]) -> Contents {
    let mut contents = Contents::expected(rows, origins);
    contents.metrics.clear();
    let returned = |map: &mut AttributeMap| *map = decode::map_as_it_returns(map);
    for event in &mut contents.events {
        returned(&mut event.attributes);
    }
    contents.spans.retain(|span| span.duration_ns.is_some());
    for span in &mut contents.spans {
        returned(&mut span.attributes);
        (span.thread, span.record) = ((0, 0), None);
        let error = span.error.as_ref().map(|error| error.error_type.clone());
        if let Some(error) = error.filter(|error| !error.is_empty()) {
            span.attributes.set("error.type", error);
        }
    }
    (contents.traces, contents.links) = roots(rows, origins);
    contents
}

fn roots(rows: &[Row], origins: &[Arc<Origin>]) -> (Vec<Trace>, Vec<Link>) {
    let mut began: BTreeMap<Part, &Trace> = BTreeMap::new();
    let mut waiting: BTreeMap<Part, Vec<(Option<SpanId>, Link)>> = BTreeMap::new();
    let mut left: BTreeSet<Part> = BTreeSet::new();
    let (mut roots, mut links) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::TraceBegan(row) => {
                let part = (row.trace.trace_id, row.trace.instance);
                began.entry(part).or_insert(&row.trace);
            }
            Row::TraceEnded(row) => {
                let part = (row.trace.trace_id, row.trace.instance);
                assert!(left.insert(part), "no trace ends twice in one instance");
                roots.push(root(&row.trace, began.get(&part).copied(), origins));
                for (_, link) in waiting.remove(&part).unwrap_or_default() {
                    let span_id = None;
                    links.push(Link { span_id, ..link });
                }
            }
            Row::Span(span) if span.duration_ns.is_some() => {
                let of_trace = waiting.entry((span.trace_id, span.instance)).or_default();
                let own = Some(span.span_id);
                links.extend(
                    of_trace
                        .iter()
                        .filter(|(of, _)| *of == own)
                        .map(|(_, link)| link.clone()),
                );
                of_trace.retain(|(of, _)| *of != own);
            }
            Row::Link(link) => {
                let instance = link.record.unwrap().instance;
                let as_it_returns = Link {
                    link_id: 0,
                    timestamp_ns: 0,
                    record: None,
                    attributes: decode::map_as_it_returns(&link.attributes),
                    ..link.clone()
                };
                let of_trace = waiting.entry((link.trace_id, instance)).or_default();
                of_trace.push((link.span_id, as_it_returns));
            }
            _ => {}
        }
    }
    (roots, links)
}

fn root(ended: &Trace, began: Option<&Trace>, origins: &[Arc<Origin>]) -> Trace {
    let mut root = began.unwrap_or(ended).clone();
    root.start_ns = root.start_ns.min(ended.start_ns);
    root.end_ns = ended.end_ns;
    root.status = ended.status;
    // The end's name, else that of the start, which is there already.
    if !ended.name.is_empty() {
        root.name.clone_from(&ended.name);
    }
    if root.name.is_empty() {
        root.name = "trace".to_owned();
    }
    if began.is_some() {
        root.dropped_attributes += ended.dropped_attributes;
        for (key, value) in ended.attributes.iter() {
            root.attributes.set(key, value.clone());
        }
    }
    let origin = origins
        .iter()
        .find(|origin| origin.instance == ended.instance);
    root.attributes.fill_from(&origin.unwrap().custom);
    root.attributes = decode::map_as_it_returns(&root.attributes);
    root
}

fn store(protocol: Protocol) -> Otlp {
    let receiver = Receiver::start();
    let options = Options::new()
        .environment([("NOT", "used")])
        .endpoint(receiver.url())
        .protocol(protocol);
    let open = |signal| OtlpSink::open(signal, &options).unwrap();
    let sinks = [open(Signal::Traces), open(Signal::Logs)];
    Otlp {
        receiver,
        sinks: Arc::new(Mutex::new(sinks)),
    }
}

fn fresh() -> Otlp {
    store(Protocol::HttpProtobuf)
}

conformance_of_writes!(fresh);
