//! What a backend gives the suite, and what a store holds.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::Arc,
};

use emberlog::{
    backend::{Row, Scan, Sink},
    model::Origin,
    AttributeMap, Event, Filter, Link, Metric, RecordId, Span, SpanId, Trace, TraceId,
};

/// One store, empty when it is made and gone when it is dropped.
pub trait Backend {
    /// Opens a sink on it; again after each restart.
    fn sink(&self) -> Box<dyn Sink>;

    /// Opens what answers queries.
    fn scan(&self) -> Option<Box<dyn Scan>>;

    /// What it holds, without what follows from rows.
    fn contents(&self) -> Contents {
        let scan = self.scan().expect("a store without queries has contents");
        Contents::of(&*scan)
    }

    /// What it can hold of these rows: all, unless its format is poorer than ours.
    fn keeps(&self, rows: &[Row], origins: &[Arc<Origin>]) -> Contents {
        Contents::expected(rows, origins)
    }

    /// Whether a batch that is given twice is there once.
    fn once(&self) -> bool {
        true
    }

    /// Anything else that must be true of it at the end of each check.
    fn assert_sound(&self) {}
}

/// Makes fresh stores.
pub type Fresh<'a> = &'a dyn Fn() -> Box<dyn Backend>;

/// Rows in a store.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub traces: Vec<Trace>,
    pub spans: Vec<Span>,
    pub events: Vec<Event>,
    pub metrics: Vec<Metric>,
    pub links: Vec<Link>,
}

impl Contents {
    /// What queries find.
    pub fn of(scan: &dyn Scan) -> Self {
        let mut all = Filter::new().all();
        all.recorded_only = true;
        Self {
            traces: scan.traces(&all).unwrap(),
            spans: scan.spans(&all).unwrap(),
            events: scan.events(&all).unwrap(),
            metrics: scan.metrics(&all).unwrap(),
            links: scan.links(&all).unwrap(),
        }
    }

    /// What is to be there after these rows came, in whatever order and however often.
    pub fn expected<'r>(rows: impl IntoIterator<Item = &'r Row>, origins: &[Arc<Origin>]) -> Self {
        let mut parts: BTreeMap<TraceId, BTreeMap<RecordKey, Trace>> = BTreeMap::new();
        let mut spans: BTreeMap<(TraceId, SpanId), Span> = BTreeMap::new();
        let (mut events, mut metrics, mut links) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for row in rows {
            match row {
                Row::TraceBegan(row) => {
                    let parts = parts.entry(row.trace.trace_id).or_default();
                    parts.insert(key(row.record), row.trace.clone());
                }
                Row::TraceEnded(row) => {
                    let parts = parts.entry(row.trace.trace_id).or_default();
                    parts.insert(key(row.record), row.trace.clone());
                }
                Row::Span(row) => {
                    let known = spans.entry((row.trace_id, row.span_id));
                    let known = known.or_insert_with(|| row.clone());
                    if known.duration_ns.is_none() && row.duration_ns.is_some() {
                        *known = row.clone();
                    }
                }
                Row::Event(row) => drop(events.insert(key(row.record.unwrap()), row.clone())),
                Row::Metric(row) => drop(metrics.insert(key(row.record.unwrap()), row.clone())),
                Row::Link(row) => drop(links.insert(key(row.record.unwrap()), row.clone())),
            }
        }
        let traces = parts.into_values();
        Self {
            traces: traces
                .map(|parts| merged(parts.into_values().collect(), origins))
                .collect(),
            spans: spans.into_values().collect(),
            events: events.into_values().collect(),
            metrics: metrics.into_values().collect(),
            links: links.into_values().collect(),
        }
    }

    /// One text per row, sorted; NaN has the same text as NaN, -0.0 another one than 0.0.
    pub fn texts(&self) -> Vec<String> {
        fn add<T: Debug>(texts: &mut Vec<String>, rows: &[T]) {
            texts.extend(rows.iter().map(|row| format!("{row:?}")));
        }
        let mut texts = Vec::new();
        add(&mut texts, &self.traces);
        add(&mut texts, &self.spans);
        add(&mut texts, &self.events);
        add(&mut texts, &self.metrics);
        add(&mut texts, &self.links);
        texts.sort();
        texts
    }

    pub fn len(&self) -> usize {
        let (points, lines) = (self.events.len() + self.metrics.len(), self.links.len());
        self.traces.len() + self.spans.len() + points + lines
    }
}

type RecordKey = ([u8; 16], u32, u64);

fn key(record: RecordId) -> RecordKey {
    (record.instance.0, record.ring, record.sequence)
}

/// One trace out of what its records tell: earliest start, latest end with its status, attributes
/// of ends over those of starts. Without a start it has the attributes of its instances.
fn merged(mut parts: Vec<Trace>, origins: &[Arc<Origin>]) -> Trace {
    parts.sort_by_key(|part| {
        (
            part.end_ns.is_some(),
            part.end_ns,
            part.start_ns,
            part.instance,
        )
    });
    let started = parts.iter().any(|part| part.end_ns.is_none());
    let mut whole = parts[0].clone();
    whole.start_ns = parts.iter().map(|part| part.start_ns).min().unwrap();
    whole.dropped_attributes = parts.iter().map(|part| part.dropped_attributes).sum();
    let names = parts.iter().map(|part| part.name.as_str());
    whole.name = names
        .clone()
        .find(|name| !name.is_empty())
        .unwrap_or_default()
        .to_owned();
    whole.attributes = AttributeMap::new();
    for part in &parts {
        for (key, value) in part.attributes.iter() {
            whole.attributes.set(key, value.clone());
        }
        if part.end_ns.is_some() {
            (whole.end_ns, whole.status) = (part.end_ns, part.status);
        }
    }
    if !started {
        let customs: HashMap<_, _> = origins.iter().map(|o| (o.instance, &o.custom)).collect();
        for part in &parts {
            whole.attributes.fill_from(customs[&part.instance]);
        }
    }
    whole
}

/// Whether the store holds these rows and nothing else.
#[track_caller]
pub fn assert_holds(store: &dyn Backend, rows: &[Row], origins: &[Arc<Origin>], when: &str) {
    let wanted = store.keeps(rows, origins);
    let mut have = store.contents();
    if !store.once() {
        have = deduplicated(have);
    }
    assert!(wanted.len() > 0, "{when}: nothing is expected");
    let (wanted, have) = (wanted.texts(), have.texts());
    for (wanted, have) in wanted.iter().zip(&have) {
        assert_eq!(cut(have), cut(wanted), "{when}");
    }
    assert_eq!(have.len(), wanted.len(), "{when}");
    store.assert_sound();
}

/// The part of a long text that tells; equal texts are cut alike.
fn cut(text: &str) -> String {
    match text.len() {
        ..20_000 => text.to_owned(),
        bytes => {
            let sum = text.bytes().fold(7u64, |sum, b| {
                sum.wrapping_mul(1_099_511_628_211) ^ u64::from(b)
            });
            let head: String = text.chars().take(500).collect();
            format!("{head}… ({bytes} bytes, {sum:x})")
        }
    }
}

fn deduplicated(mut have: Contents) -> Contents {
    fn once<T: Debug>(rows: &mut Vec<T>) {
        let mut seen = std::collections::HashSet::new();
        rows.retain(|row| seen.insert(format!("{row:?}")));
    }
    once(&mut have.traces);
    once(&mut have.spans);
    once(&mut have.events);
    once(&mut have.metrics);
    once(&mut have.links);
    have
}
