//! Facts out of the raw records of a log, in one pass: no rows, no copies of attributes.

use ahash::{AHashMap, AHashSet};
use smallvec::SmallVec;

use crate::{
    backend::ScanError,
    model::{Span, Trace},
    query::{
        pass::{hash_of, Pass, Seen, Visit},
        rows::sampling_rate,
        LogReader,
    },
    record::{
        attributes::Attributes,
        id::{InstanceId, TraceId},
        kinds::{EventType, SpanKind, Status},
        layout::{self, NAME_INLINE, NAME_NONE},
        names::NameMap,
        value::Value,
        view::Body,
        RecordError,
    },
};

use super::{
    facts::{
        self, assemble, Assembled, BareSpan, EventClass, Marks, MetricClass, MetricFacts, Names,
        Parts, SpanFacts, TracePart, Wanted,
    },
    fields::{key_of, Fields, KeyIds, TRACE_ID},
    tally::Tallies,
    texts::{Texts, NONE},
};

/// Traces whose memory is kept for others.
const SPARE: usize = 256;
/// Spans beyond which a trace's memory is not kept.
const SPARE_SPANS: usize = 1024;

/// Reads everything that is asked for and adds it up. Returns the number of frames in which
/// something did not check.
pub(super) fn read(
    reader: &LogReader,
    wanted: &Wanted,
    tallies: &mut Tallies,
) -> Result<u64, ScanError> {
    let pass = reader.pass(wanted.since_ns, wanted.until_ns)?;
    let mut collector = Collector {
        pass: &pass,
        wanted,
        tallies,
        current: None,
        instances: AHashMap::new(),
        last: None,
        pending: Vec::new(),
        free: Vec::new(),
        by_hash: AHashMap::new(),
        strays: AHashMap::new(),
        only_strays: false,
    };
    pass.run(&mut collector)?;
    collector.add_late_strays(&pass)?;
    Ok(pass.damaged_frames())
}

/// Stands for no place.
const NOWHERE: u32 = u32::MAX;

/// A trace of which more may come.
#[derive(Debug)]
struct Pending {
    id: TraceId,
    /// Another one with the same hash.
    next: u32,
    of_trace: SmallVec<[TracePart; 2]>,
    parts: Parts,
    /// Spans of which only the start is known so far.
    began: Vec<(SpanFacts, InstanceId)>,
}

/// What the ids of an instance mean.
#[derive(Debug, Default)]
struct Instance {
    keys: KeyIds,
    /// By name id, what spans of that name are counted under, plus one.
    nodes: Vec<u32>,
    /// By type id.
    events: Vec<Option<Option<EventClass>>>,
    /// By name and unit.
    metrics: AHashMap<(u32, u32), MetricClass>,
    custom: Vec<(u8, Value)>,
    /// Of `custom`.
    marks: Marks,
}

fn fields_of<'f>(
    keys: &mut KeyIds,
    custom: &'f [(u8, Value)],
    names: &NameMap,
    attributes: &Attributes<'f>,
) -> Fields<'f> {
    let mut fields = Fields::default();
    for attribute in attributes.iter() {
        if let Some(key) = keys.key(names, &attribute) {
            fields.set(key, attribute.value.into());
        }
    }
    fields.fill_from(custom);
    fields
}

struct Collector<'a> {
    pass: &'a Pass,
    wanted: &'a Wanted,
    tallies: &'a mut Tallies,
    /// The one that the last record was of.
    current: Option<(InstanceId, Box<Instance>)>,
    instances: AHashMap<InstanceId, Box<Instance>>,
    /// Where the record before this one belonged.
    last: Option<(TraceId, u32)>,
    pending: Vec<Pending>,
    free: Vec<u32>,
    by_hash: AHashMap<u32, u32>,
    /// Measurements that name their trace in an attribute.
    strays: AHashMap<TraceId, Vec<MetricFacts>>,
    /// Traces come a second time, for their strays only.
    only_strays: bool,
}

impl Instance {
    fn new(custom: &[(String, Value)], wanted: &Wanted, texts: &mut Texts) -> Self {
        let known = custom.iter();
        let custom: Vec<_> = known
            .filter_map(|(key, value)| Some((key_of(key)?, value.clone())))
            .collect();
        let mut fields = Fields::default();
        fields.fill_from(&custom);
        let marks = Marks::of(&fields, wanted, texts);
        drop(fields);
        Self {
            custom,
            marks,
            ..Self::default()
        }
    }

    /// The attributes that mean something, those of the instance filled in.
    fn fields<'f>(&'f mut self, names: &NameMap, attributes: &Attributes<'f>) -> Fields<'f> {
        fields_of(&mut self.keys, &self.custom, names, attributes)
    }

    /// What spans of this name are counted under.
    #[inline]
    fn node_of_name(nodes: &mut Vec<u32>, names: &NameMap, id: u32, texts: &mut Texts) -> u32 {
        match nodes.get(id as usize) {
            Some(node) if *node > 0 => node - 1,
            _ => Self::learn_name(nodes, names, id, texts),
        }
    }

    #[cold]
    fn learn_name(nodes: &mut Vec<u32>, names: &NameMap, id: u32, texts: &mut Texts) -> u32 {
        let node = match names.get(id) {
            Some(text) => texts.id(text),
            None if id == NAME_NONE => texts.id(""),
            // It was never defined here; another segment may know it.
            None => return texts.id(&format!("#{id}")),
        };
        if id as usize >= nodes.len() {
            nodes.resize(id as usize + 1, 0);
        }
        nodes[id as usize] = node + 1;
        node
    }
}

impl Collector<'_> {
    /// The place of a trace; it is made if it is new.
    fn place(&mut self, id: TraceId) -> u32 {
        if let Some((last, place)) = self.last {
            if last == id {
                return place;
            }
        }
        let hash = hash_of(id);
        let head = self.by_hash.get(&hash).copied().unwrap_or(NOWHERE);
        let mut at = head;
        while let Some(pending) = self.pending.get(at as usize) {
            if pending.id == id {
                self.last = Some((id, at));
                return at;
            }
            at = pending.next;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.pending.push(Pending {
                id,
                next: NOWHERE,
                of_trace: SmallVec::new(),
                parts: Parts::default(),
                began: Vec::new(),
            });
            self.pending.len() as u32 - 1
        });
        let pending = &mut self.pending[place as usize];
        (pending.id, pending.next) = (id, head);
        self.by_hash.insert(hash, place);
        self.last = Some((id, place));
        place
    }

    /// Takes out what is known of the instance of a record, so that the rest can be changed while
    /// it is in use.
    #[inline]
    fn take_instance(&mut self, seen: &Seen<'_>) -> Box<Instance> {
        let origin = seen.context.origin;
        match self.current.take() {
            Some((id, instance)) if id == origin.instance => return instance,
            Some((id, instance)) => drop(self.instances.insert(id, instance)),
            None => {}
        }
        self.instances.remove(&origin.instance).unwrap_or_else(|| {
            let texts = &mut self.tallies.names.texts;
            Box::new(Instance::new(&origin.custom, self.wanted, texts))
        })
    }

    fn trace_part(
        &mut self,
        instance: &mut Instance,
        seen: &Seen<'_>,
        part: (i64, Option<(i64, Status)>, f64),
    ) -> Result<(), RecordError> {
        let (start_ns, end, rate) = part;
        let record = seen.record()?;
        let name = seen.body.header().name.to_native();
        let names = seen.context.names;
        let text = record.inline_name.or_else(|| names.get(name));
        let named = text.filter(|text| !text.is_empty()).map(|text| {
            let graph = self.wanted.graph.as_deref();
            graph.is_none_or(|graph| graph == text)
        });
        let fields = fields_of(&mut instance.keys, &[], names, &record.attributes);
        let marks = Marks::of(&fields, self.wanted, &mut self.tallies.names.texts);
        let place = self.place(seen.trace);
        self.pending[place as usize].of_trace.push(TracePart {
            start_ns,
            end,
            instance: seen.context.origin.instance,
            rate,
            named,
            marks,
            of_instance: instance.marks,
            is_open: false,
        });
        Ok(())
    }

    fn span(
        &mut self,
        instance: &mut Instance,
        seen: &Seen<'_>,
        bare: BareSpan,
        attributes: u16,
    ) -> Result<SpanFacts, RecordError> {
        let place = self.place(seen.trace);
        let names = seen.context.names;
        let id = seen.body.header().name.to_native();
        let details = &mut self.pending[place as usize].parts.details;
        let known = &mut self.tallies.names;
        if attributes == 0 && instance.custom.is_empty() && id != NAME_INLINE {
            let node = Instance::node_of_name(&mut instance.nodes, names, id, &mut known.nodes);
            return Ok(facts::span(
                bare,
                &Fields::default(),
                known,
                details,
                |_| node,
            ));
        }
        let record = seen.record()?;
        let Instance {
            keys,
            custom,
            nodes,
            ..
        } = instance;
        let fields = fields_of(keys, custom, names, &record.attributes);
        Ok(facts::span(
            bare,
            &fields,
            known,
            details,
            |texts| match record.inline_name {
                Some(text) => texts.id(text),
                None => Instance::node_of_name(nodes, names, id, texts),
            },
        ))
    }

    fn event(
        &mut self,
        instance: &mut Instance,
        seen: &Seen<'_>,
        event: &layout::Event,
    ) -> Result<(), RecordError> {
        let id = event.event_type.to_native();
        let names = seen.context.names;
        let class = if id == NAME_INLINE {
            let record = seen.record()?;
            EventClass::of(&EventType::new(record.inline_second.unwrap_or_default()))
        } else {
            let slot = id as usize;
            match instance.events.get(slot) {
                Some(Some(class)) => *class,
                _ => {
                    let text = names.get(id);
                    let class = text.and_then(|text| EventClass::of(&EventType::new(text)));
                    if text.is_some() {
                        let len = instance.events.len().max(slot + 1);
                        instance.events.resize(len, None);
                        instance.events[slot] = Some(class);
                    }
                    class
                }
            }
        };
        let (Some(class), false) = (class, seen.trace.is_none()) else {
            return Ok(());
        };
        let record = seen.record()?;
        let at_ns = seen.context.anchor.unix_ns(event.tick.to_native());
        let fields = instance.fields(names, &record.attributes);
        let known = &mut self.tallies.names;
        let event = facts::event(class, at_ns, event.span_id.to_native(), &fields, known);
        let place = self.place(seen.trace);
        self.pending[place as usize].parts.events.push(event);
        Ok(())
    }

    fn metric(
        &mut self,
        instance: &mut Instance,
        seen: &Seen<'_>,
        metric: &layout::Metric,
    ) -> Result<(), RecordError> {
        let (name, unit) = (metric.header.name.to_native(), metric.unit.to_native());
        let names = seen.context.names;
        let inline = name == NAME_INLINE || unit == NAME_INLINE;
        let known = match inline {
            true => None,
            false => instance.metrics.get(&(name, unit)).copied(),
        };
        let class = match known {
            Some(class) => class,
            None => {
                let record = seen.record()?;
                let text = |id, inline: Option<&str>| seen.context.text(id, inline);
                let class = self.tallies.classify(
                    &text(name, record.inline_name),
                    &text(unit, record.inline_second),
                );
                let defined = |id| id == NAME_NONE || names.get(id).is_some();
                if !inline && defined(name) && defined(unit) {
                    instance.metrics.insert((name, unit), class);
                }
                class
            }
        };
        if !class.matters() {
            return Ok(());
        }
        let bits = metric.value.to_native();
        let value = match metric.value_type {
            1 => bits as i64 as f64,
            2 => bits as f64,
            _ => f64::from_bits(bits),
        };
        let record = seen.record()?;
        let fields = instance.fields(names, &record.attributes);
        let known = &mut self.tallies.names;
        let facts = facts::metric(class, value, metric.span_id.to_native(), &fields, known);
        if !seen.trace.is_none() {
            let place = self.place(seen.trace);
            self.pending[place as usize].parts.metrics.push(facts);
        } else if let Some(text) = fields.text(TRACE_ID).filter(|_| !self.only_strays) {
            let (trace, _) = TraceId::from_text(&text);
            self.strays.entry(trace).or_default().push(facts);
        }
        Ok(())
    }

    /// Everything of a trace is there.
    fn finish(&mut self, place: u32) {
        let pass = self.pass;
        let pending = &mut self.pending[place as usize];
        let trace = assemble(
            pending.id,
            &mut pending.of_trace,
            self.wanted,
            |instances| pass.orphaned_at(instances),
        );
        let trace = match trace {
            Assembled::Ended(trace) => trace,
            Assembled::Running => {
                self.tallies.running += u64::from(!self.only_strays);
                return;
            }
            Assembled::Other => return,
        };
        let parts = &mut pending.parts;
        if !pending.began.is_empty() {
            let mut known: AHashSet<u64> = parts.spans.iter().map(|span| span.id).collect();
            for (mut span, instance) in pending.began.drain(..) {
                if let (true, Some(end)) = (known.insert(span.id), pass.orphaned_at(&[instance])) {
                    let length = end.saturating_sub(span.start_ns);
                    span.duration_ns = u64::try_from(length).unwrap_or(0);
                    span.status = Status::Orphaned;
                    if span.details == NONE {
                        span.details = parts.details.len() as u32;
                        parts.details.push(facts::Details::none());
                    }
                    parts.spans.push(span);
                }
            }
        }
        let strays = match self.strays.is_empty() {
            true => None,
            false => self.strays.remove(&pending.id),
        };
        if self.only_strays {
            parts.metrics = strays.unwrap_or_default();
            self.tallies.add_metrics(&trace, parts);
        } else {
            parts.metrics.extend(strays.into_iter().flatten());
            self.tallies.add(&trace, parts);
        }
    }

    /// Strays that came after everything else of their trace. Few programs have any.
    fn add_late_strays(&mut self, pass: &Pass) -> Result<(), ScanError> {
        self.only_strays = true;
        let late: Vec<TraceId> = self.strays.keys().copied().collect();
        late.into_iter()
            .try_for_each(|trace| pass.again(trace, self))
    }
}

impl Visit for Collector<'_> {
    fn open_trace(&mut self, trace: &Trace) {
        let attributes = trace.attributes.iter();
        let fields = Fields::of_rows(attributes);
        let graph = self.wanted.graph.as_deref();
        let part = TracePart {
            start_ns: trace.start_ns,
            end: None,
            instance: trace.instance,
            rate: trace.sampling_rate,
            named: (!trace.name.is_empty()).then(|| graph.is_none_or(|graph| graph == trace.name)),
            marks: Marks::of(&fields, self.wanted, &mut self.tallies.names.texts),
            of_instance: Marks::default(),
            is_open: true,
        };
        let place = self.place(trace.trace_id);
        self.pending[place as usize].of_trace.push(part);
    }

    fn open_span(&mut self, span: &Span) {
        let fields = Fields::of_rows(span.attributes.iter());
        let bare = BareSpan {
            id: span.span_id.get(),
            parent: span.parent_span_id.map_or(0, |id| id.get()),
            start_ns: span.start_ns,
            duration_ns: 0,
            status: Status::Unset,
            kind: span.kind,
        };
        let place = self.place(span.trace_id);
        let pending = &mut self.pending[place as usize];
        let names: &mut Names = &mut self.tallies.names;
        let details = &mut pending.parts.details;
        let facts = facts::span(bare, &fields, names, details, |texts| texts.id(&span.name));
        pending.began.push((facts, span.instance));
    }

    fn record(&mut self, seen: &Seen<'_>) -> Result<(), RecordError> {
        let mut instance = self.take_instance(seen);
        let done = self.look(&mut instance, seen);
        self.current = Some((seen.context.origin.instance, instance));
        done
    }

    fn complete(&mut self, hash: u32) {
        let mut at = self.by_hash.remove(&hash).unwrap_or(NOWHERE);
        self.last = None;
        while at != NOWHERE {
            self.finish(at);
            let pending = &mut self.pending[at as usize];
            pending.of_trace.clear();
            pending.began.clear();
            pending.parts.clear();
            if pending.parts.spans.capacity() > SPARE_SPANS || self.free.len() >= SPARE {
                pending.parts = Parts::default();
            }
            self.free.push(at);
            at = pending.next;
        }
    }
}

impl Collector<'_> {
    fn look(&mut self, instance: &mut Instance, seen: &Seen<'_>) -> Result<(), RecordError> {
        let anchor = &seen.context.anchor;
        match seen.body {
            Body::Span(span) => {
                let duration_ns = anchor.duration_ns(span.ticks.to_native());
                let end_ns = anchor.unix_ns(span.end.to_native());
                let bare = BareSpan {
                    id: span.span_id.to_native(),
                    parent: span.parent.to_native(),
                    start_ns: end_ns.saturating_sub_unsigned(duration_ns),
                    duration_ns,
                    status: Status::from_u8(span.status).unwrap_or_default(),
                    kind: SpanKind::from_u8(span.kind).unwrap_or_default(),
                };
                let facts = self.span(instance, seen, bare, span.attributes.to_native())?;
                let place = self.place(seen.trace);
                self.pending[place as usize].parts.spans.push(facts);
            }
            Body::SpanStart(span) => {
                let bare = BareSpan {
                    id: span.span_id.to_native(),
                    parent: span.parent.to_native(),
                    start_ns: anchor.unix_ns(span.tick.to_native()),
                    duration_ns: 0,
                    status: Status::Unset,
                    kind: SpanKind::from_u8(span.kind).unwrap_or_default(),
                };
                let facts = self.span(instance, seen, bare, span.attributes.to_native())?;
                let place = self.place(seen.trace);
                let of = seen.context.origin.instance;
                self.pending[place as usize].began.push((facts, of));
            }
            Body::TraceStart(start) => {
                let at = anchor.unix_ns(start.tick.to_native());
                let rate = sampling_rate(start.threshold.to_native());
                self.trace_part(instance, seen, (at, None, rate))?;
            }
            Body::TraceEnd(end) => {
                let end_ns = anchor.unix_ns(end.end.to_native());
                let length = anchor.duration_ns(end.ticks.to_native());
                let status = Status::from_u8(end.status).unwrap_or_default();
                let start_ns = end_ns.saturating_sub_unsigned(length);
                self.trace_part(instance, seen, (start_ns, Some((end_ns, status)), 1.0))?;
            }
            Body::Event(event) => self.event(instance, seen, event)?,
            Body::Metric(metric) => self.metric(instance, seen, metric)?,
            _ => {}
        }
        Ok(())
    }
}
