//! What OTLP wants inside a span and the log has in records of its own: starts of traces, links,
//! and events, where these go out as span events.
//!
//! Always true:
//! - noting a row twice changes nothing, so that a batch that failed can come again in pieces
//! - what was attached is given up only when the batch with its span was taken
//! - memory is bounded: of what was forgotten, and of what came before this process, the log is asked

use std::path::PathBuf;

use ahash::{AHashMap, AHashSet};

use crate::{
    backend::Row,
    model::{Event, Link, Span, Trace},
    query::{filter::Filter, LogReader},
    record::id::{InstanceId, SpanId, TraceId},
};

/// Rows that are kept.
const KEPT: usize = 1 << 16;

/// The part of a trace that one instance recorded.
type Part = (TraceId, InstanceId);

/// What belongs inside a span.
#[derive(Clone, Debug, Default)]
pub(super) struct Attached {
    /// With the span that they belong to, where that is another one, which left before.
    events: Vec<(Event, Option<SpanId>)>,
    pub(super) links: Vec<Link>,
    /// Newest events that leave; 0 is not known.
    most: usize,
}

impl Attached {
    /// The events that leave.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&Event, Option<SpanId>)> {
        let skip = self.dropped() as usize;
        self.events[skip..]
            .iter()
            .map(|(event, span)| (event, *span))
    }

    /// How many events do not.
    pub(super) fn dropped(&self) -> u32 {
        match self.most {
            0 => 0,
            most => self.events.len().saturating_sub(most) as u32,
        }
    }

    fn len(&self) -> usize {
        self.events.len() + self.links.len()
    }
}

/// An open trace.
#[derive(Debug, Default)]
struct Open {
    began: Option<Trace>,
    spans: AHashMap<Option<SpanId>, Attached>,
    /// Whether the log was asked: then rows may come that are here already.
    asked: bool,
    /// When it was seen first, to forget the oldest.
    order: u64,
}

impl Open {
    fn len(&self) -> usize {
        1 + self.spans.values().map(Attached::len).sum::<usize>()
    }
}

/// Open traces.
#[derive(Debug)]
pub(super) struct Pending {
    /// Whether events become span events.
    with_events: bool,
    traces: AHashMap<Part, Open>,
    /// Rows in `traces`.
    kept: usize,
    order: u64,
    /// What the batch at hand takes away, when it is taken.
    spent: AHashSet<(Part, Option<SpanId>)>,
    ended: AHashSet<Part>,
    /// Whether rows may come that came before.
    again: bool,
    /// Of what was before this Unix nanosecond, not everything is here.
    since_ns: Option<i64>,
    newest_ns: i64,
    log: Option<PathBuf>,
    reader: Option<LogReader>,
    /// Events and links that were forgotten and are in no log.
    pub(super) lost: u64,
}

impl Pending {
    pub(super) fn new(with_events: bool, log: Option<PathBuf>) -> Self {
        Self {
            with_events,
            traces: AHashMap::new(),
            kept: 0,
            order: 0,
            spent: AHashSet::new(),
            ended: AHashSet::new(),
            again: false,
            since_ns: None,
            newest_ns: i64::MIN,
            log,
            reader: None,
            lost: 0,
        }
    }

    fn open(&mut self, part: Part) -> &mut Open {
        self.traces.entry(part).or_insert_with(|| {
            self.kept += 1;
            self.order += 1;
            Open {
                order: self.order,
                ..Open::default()
            }
        })
    }

    /// Takes what a row says, if that is for another row to carry. `most` is how many events a span
    /// keeps.
    pub(super) fn note(&mut self, row: &Row, most: u32) {
        let time_ns = match row {
            Row::TraceBegan(row) => row.trace.start_ns,
            Row::TraceEnded(row) => row.trace.end_ns.unwrap_or(row.trace.start_ns),
            Row::Span(row) => row.end_ns().unwrap_or(row.start_ns),
            Row::Event(row) => row.timestamp_ns,
            Row::Metric(row) => row.timestamp_ns,
            Row::Link(row) => row.timestamp_ns,
        };
        self.since_ns.get_or_insert(time_ns);
        self.newest_ns = self.newest_ns.max(time_ns);
        match row {
            Row::TraceBegan(began) => {
                let part = (began.trace.trace_id, began.trace.instance);
                let open = self.open(part);
                open.began.get_or_insert_with(|| began.trace.clone());
            }
            Row::Event(event) if self.with_events => self.note_event(event, most),
            Row::Link(link) => self.note_link(link),
            _ => {}
        }
        if self.kept > KEPT {
            self.forget();
        }
    }

    fn note_event(&mut self, event: &Event, most: u32) {
        let (Some(trace), Some(record)) = (event.trace_id, event.record) else {
            return;
        };
        let again = self.again;
        let open = self.open((trace, record.instance));
        let again = again || open.asked;
        let attached = open.spans.entry(event.span_id).or_default();
        attached.most = most as usize;
        let known = |(e, _): &(Event, _)| e.event_id == event.event_id;
        if !again || !attached.events.iter().any(known) {
            attached.events.push((event.clone(), None));
            self.kept += 1;
        }
    }

    fn note_link(&mut self, link: &Link) {
        let Some(record) = link.record else { return };
        let again = self.again;
        let open = self.open((link.trace_id, record.instance));
        let again = again || open.asked;
        let attached = open.spans.entry(link.span_id).or_default();
        if !again || !attached.links.iter().any(|l| l.link_id == link.link_id) {
            attached.links.push(link.clone());
            self.kept += 1;
        }
    }

    /// The probability with which the trace of a finished span was to be kept, as far as its start
    /// is known, and what belongs inside the span.
    #[inline]
    pub(super) fn of_span(&mut self, span: &Span, most: u32) -> (f64, Option<&Attached>) {
        let part = (span.trace_id, span.instance);
        if self.since_ns.is_some_and(|since| span.start_ns < since) {
            self.ask(part, most);
        }
        let Some(open) = self.traces.get(&part) else {
            return (1.0, None);
        };
        let rate = open.began.as_ref().map_or(1.0, |began| began.sampling_rate);
        if open.spans.is_empty() {
            return (rate, None);
        }
        let key = Some(span.span_id);
        let attached = open.spans.get(&key);
        if attached.is_some() {
            self.spent.insert((part, key));
        }
        (rate, attached)
    }

    /// What belongs inside the root of a trace that ended, with what its spans left behind.
    pub(super) fn of_root(
        &mut self,
        ended: &Trace,
        most: u32,
    ) -> (Option<&Trace>, Option<Attached>) {
        let part = (ended.trace_id, ended.instance);
        let known = self
            .traces
            .get(&part)
            .is_some_and(|open| open.began.is_some());
        if !known {
            self.ask(part, most);
        }
        self.ended.insert(part);
        let Some(open) = self.traces.get(&part) else {
            return (None, None);
        };
        let mut all = Attached {
            most: most as usize,
            ..Attached::default()
        };
        for (span, attached) in &open.spans {
            if self.spent.contains(&(part, *span)) {
                continue;
            }
            all.links.extend(attached.links.iter().cloned());
            let events = attached.events.iter();
            all.events
                .extend(events.map(|(event, _)| (event.clone(), *span)));
        }
        all.events
            .sort_by_key(|(event, _)| (event.timestamp_ns, event.event_id));
        (open.began.as_ref(), (all.len() > 0).then_some(all))
    }

    /// The batch was taken.
    pub(super) fn commit(&mut self) {
        for (part, span) in self.spent.drain() {
            if let Some(attached) = self
                .traces
                .get_mut(&part)
                .and_then(|o| o.spans.remove(&span))
            {
                self.kept -= attached.len();
            }
        }
        for part in self.ended.drain() {
            if let Some(open) = self.traces.remove(&part) {
                self.kept -= open.len();
            }
        }
        self.again = false;
    }

    /// The batch comes again, maybe in pieces.
    pub(super) fn roll_back(&mut self) {
        self.spent.clear();
        self.ended.clear();
        self.again = true;
    }

    /// Forgets the oldest half.
    fn forget(&mut self) {
        let mut orders: Vec<u64> = self.traces.values().map(|open| open.order).collect();
        orders.sort_unstable();
        let middle = orders[orders.len() / 2];
        let lost = &mut self.lost;
        let in_log = self.log.is_some();
        self.traces.retain(|_, open| {
            let stays = open.order > middle;
            // What came after its root had left nobody will ask the log for.
            if !stays && (!in_log || open.began.is_none()) {
                *lost += open.len() as u64 - 1;
            }
            stays
        });
        self.kept = self.traces.values().map(Open::len).sum();
        self.since_ns = Some(self.newest_ns);
    }

    /// Asks the log for what is not here of a trace, once.
    fn ask(&mut self, part: Part, most: u32) {
        let Some(dir) = &self.log else { return };
        if self.traces.get(&part).is_some_and(|open| open.asked) {
            return;
        }
        if self.reader.is_none() {
            self.reader = LogReader::open(dir).ok();
        }
        let mut filter = Filter::new().all().trace_id(part.0);
        filter.recorded_only = true;
        // What cannot be read is left out; the span itself is more than its parts.
        let Some(reader) = &self.reader else { return };
        let began = reader.traces(&filter).unwrap_or_default();
        let links = reader.links(&filter).unwrap_or_default();
        let events = match self.with_events {
            true => reader.events(&filter).unwrap_or_default(),
            false => Vec::new(),
        };
        let here = |instance: Option<InstanceId>| instance == Some(part.1);
        let open = self.open(part);
        open.asked = true;
        let began = began.into_iter().find(|trace| trace.instance == part.1);
        open.began = open.began.take().or(began);
        let mine = |event: &&Event| here(event.record.map(|record| record.instance));
        for event in events.iter().filter(mine).rev() {
            self.note_event(event, most);
        }
        for link in links
            .iter()
            .filter(|link| here(link.record.map(|r| r.instance)))
            .rev()
        {
            self.note_link(link);
        }
    }
}
