//! Makes segments: records by the dozen, from a seed.

use std::sync::Arc;

use ahash::AHashMap;
use rend::{u16_le, u32_le, u64_le};

use crate::{
    clock::Anchor,
    model::{AttributeMap, Span, Trace},
    query::{
        memory::MemorySegment,
        rows::Origin,
        source::Segment,
        store::{Life, Open, Store},
    },
    record::{
        attributes::AttributeBuffer,
        id::{InstanceId, SpanId, TraceId},
        kinds::{SpanKind, Status},
        layout::{self, Header, RecordKind, KEY_NAME, KEY_TYPE, NAME_INLINE},
        names::{Name, NameMap},
        value::Value,
        view::words_of,
    },
};

/// A small generator; the same numbers everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Names with ids, as a segment has them.
#[derive(Clone, Default)]
pub(super) struct Names {
    pub(super) map: NameMap,
    texts: Vec<String>,
    taken: usize,
}

impl Names {
    pub(super) fn id(&mut self, text: &str) -> u32 {
        self.map.find(text).unwrap_or_else(|| {
            let id = 256 + self.texts.len() as u32;
            self.texts.push(text.to_owned());
            self.map.define(id, text);
            id
        })
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(u32, String)> {
        let texts = self.texts.iter().enumerate();
        texts
            .map(|(i, text)| (256 + i as u32, text.clone()))
            .collect()
    }

    /// Those that came since the last call.
    pub(super) fn take_new(&mut self) -> Vec<(u32, String)> {
        let new = self.all().split_off(self.taken);
        self.taken = self.texts.len();
        new
    }
}

/// Attributes of a record to be made.
pub(super) type Attrs<'a> = &'a [(&'a str, Value)];

/// Writes records the way producers do.
pub(super) struct Maker {
    pub(super) names: Names,
    /// Every n-th name is spelled out; 0 never.
    pub(super) inline_every: u32,
    made: u32,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self {
            names: Names::default(),
            inline_every: 0,
            made: 0,
        }
    }

    fn buffer(&mut self, name: &str, attributes: Attrs<'_>) -> (u32, AttributeBuffer) {
        let mut buffer = AttributeBuffer::default();
        self.made += 1;
        let inline = self.inline_every > 0 && self.made % self.inline_every == 0;
        let id = if inline {
            buffer.push_reserved(KEY_NAME, name);
            NAME_INLINE
        } else if name.is_empty() {
            0
        } else {
            self.names.id(name)
        };
        self.push(&mut buffer, attributes);
        (id, buffer)
    }

    fn push(&mut self, buffer: &mut AttributeBuffer, attributes: Attrs<'_>) {
        for (key, value) in attributes {
            buffer.push_named(Name::of_id(self.names.id(key)), value);
        }
    }

    pub(super) fn trace_start(
        &mut self,
        name: &str,
        trace: TraceId,
        tick: u64,
        attributes: Attrs<'_>,
    ) -> Vec<u64> {
        let (id, buffer) = self.buffer(name, attributes);
        let words = layout::TraceStart::WORDS + buffer.words().len();
        let fixed: [u64; 8] = words_of(&layout::TraceStart {
            header: Header::new(RecordKind::TraceStart, words, id),
            trace_id: trace.0,
            tick: u64_le::from_native(tick),
            remote_parent: u64_le::from_native(0),
            threshold: u64_le::from_native(1 << 55),
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u32_le::from_native(0),
            reserved: [0; 8],
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn trace_end(
        &mut self,
        name: &str,
        trace: TraceId,
        (start, end): (u64, u64),
        status: Status,
        attributes: Attrs<'_>,
    ) -> Vec<u64> {
        let (id, buffer) = self.buffer(name, attributes);
        let words = layout::TraceEnd::WORDS + buffer.words().len();
        let fixed: [u64; 7] = words_of(&layout::TraceEnd {
            header: Header::new(RecordKind::TraceEnd, words, id),
            trace_id: trace.0,
            end: u64_le::from_native(end),
            ticks: u64_le::from_native(end - start),
            status: status as u8,
            reserved: 0,
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
            reserved2: [0; 8],
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn span(&mut self, s: &Spanned<'_>) -> Vec<u64> {
        let (id, buffer) = self.buffer(s.name, s.attributes);
        let words = layout::Span::WORDS + buffer.words().len();
        let fixed: [u64; 8] = words_of(&layout::Span {
            header: Header::new(RecordKind::Span, words, id),
            trace_id: s.trace.0,
            span_id: u64_le::from_native(s.span),
            parent: u64_le::from_native(s.parent),
            end: u64_le::from_native(s.end),
            ticks: u64_le::from_native(s.end - s.start),
            kind: s.kind as u8,
            status: s.status as u8,
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn span_start(&mut self, s: &Spanned<'_>) -> Vec<u64> {
        let (id, buffer) = self.buffer(s.name, s.attributes);
        let words = layout::SpanStart::WORDS + buffer.words().len();
        let fixed: [u64; 7] = words_of(&layout::SpanStart {
            header: Header::new(RecordKind::SpanStart, words, id),
            trace_id: s.trace.0,
            span_id: u64_le::from_native(s.span),
            parent: u64_le::from_native(s.parent),
            tick: u64_le::from_native(s.start),
            kind: s.kind as u8,
            reserved: 0,
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn event(
        &mut self,
        name: &str,
        event_type: &str,
        (trace, span): (TraceId, u64),
        tick: u64,
        attributes: Attrs<'_>,
    ) -> Vec<u64> {
        let (id, mut buffer) = self.buffer(name, &[]);
        let type_id = if id == NAME_INLINE {
            buffer.push_reserved(KEY_TYPE, event_type);
            NAME_INLINE
        } else {
            self.names.id(event_type)
        };
        self.push(&mut buffer, attributes);
        let words = layout::Event::WORDS + buffer.words().len();
        let fixed: [u64; 7] = words_of(&layout::Event {
            header: Header::new(RecordKind::Event, words, id),
            trace_id: trace.0,
            span_id: u64_le::from_native(span),
            tick: u64_le::from_native(tick),
            event_type: u32_le::from_native(type_id),
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
            reserved: [0; 6],
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn metric(
        &mut self,
        name: &str,
        value: f64,
        (trace, span): (TraceId, u64),
        tick: u64,
        attributes: Attrs<'_>,
    ) -> Vec<u64> {
        let (id, buffer) = self.buffer(name, attributes);
        let unit = self.names.id("items");
        let words = layout::Metric::WORDS + buffer.words().len();
        let fixed: [u64; 8] = words_of(&layout::Metric {
            header: Header::new(RecordKind::Metric, words, id),
            trace_id: trace.0,
            span_id: u64_le::from_native(span),
            tick: u64_le::from_native(tick),
            value: u64_le::from_native(value.to_bits()),
            unit: u32_le::from_native(unit),
            aggregation: 1,
            value_type: 0,
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
            reserved: [0; 4],
        });
        [&fixed[..], buffer.words()].concat()
    }

    pub(super) fn link(
        &mut self,
        (trace, span): (TraceId, u64),
        to: (TraceId, u64),
        tick: u64,
        attributes: Attrs<'_>,
    ) -> Vec<u64> {
        let mut buffer = AttributeBuffer::default();
        self.push(&mut buffer, attributes);
        let words = layout::Link::WORDS + buffer.words().len();
        let fixed: [u64; 9] = words_of(&layout::Link {
            header: Header::new(RecordKind::Link, words, 0),
            trace_id: trace.0,
            span_id: u64_le::from_native(span),
            linked_trace_id: to.0 .0,
            linked_span_id: u64_le::from_native(to.1),
            tick: u64_le::from_native(tick),
            flags: u16_le::from_native(0),
            attributes: u16_le::from_native(buffer.count()),
            dropped: u16_le::from_native(0),
            reserved: [0; 2],
        });
        [&fixed[..], buffer.words()].concat()
    }
}

/// A span to be made.
#[derive(Clone, Copy)]
pub(super) struct Spanned<'a> {
    pub(super) name: &'a str,
    pub(super) trace: TraceId,
    pub(super) span: u64,
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) kind: SpanKind,
    pub(super) status: Status,
    pub(super) attributes: Attrs<'a>,
}

/// The ids of the traces in a world, from 1.
pub(super) fn trace_id(n: u128) -> TraceId {
    TraceId::from_u128((n << 64) | (n * 7))
}

pub(super) fn instance(n: u8) -> InstanceId {
    InstanceId([n.wrapping_mul(0x9d) ^ 0x55; 16])
}

pub(super) fn origin(n: u8) -> Origin {
    Origin {
        instance: instance(n),
        resource: Arc::new(
            [("service.name", "tests")]
                .into_iter()
                .collect::<AttributeMap>(),
        ),
        custom: vec![
            ("env".to_owned(), Value::from("prod")),
            ("team".to_owned(), Value::from(i64::from(n))),
        ],
        derive_events: n % 3 != 2,
        derive_metrics: n % 3 != 1,
        max_events_per_span: 100,
    }
}

/// Ticks of a made-up instance.
pub(super) fn anchor(n: u8) -> Anchor {
    Anchor {
        tick: 0,
        unix_ns: 1_000_000,
        // Some instances count something else than nanoseconds.
        rate: if n % 2 == 0 {
            1 << 32
        } else {
            (1 << 32) * 10 / 3
        },
    }
}

const NAMES: &[&str] = &["fetch", "parse", "store", "fetch_all", ""];
const TYPES: &[&str] = &["node_failed", "milestone", "edge.taken", "node.started"];
const METRICS: &[&str] = &["node.duration", "api_cost", "tokens"];
const STATUSES: &[Status] = &[
    Status::Unset,
    Status::Ok,
    Status::Ok,
    Status::Error,
    Status::Cancelled,
];

/// Everything that a random store is made of.
pub(super) struct World {
    pub(super) store: Arc<Store>,
}

fn attributes(random: &mut Random) -> Vec<(&'static str, Value)> {
    let mut list = Vec::new();
    if random.one_in(2) {
        let key = random.pick(&["node.id", "node_id"]);
        list.push((key, Value::from(random.pick(&["n1", "n2", "n3"]))));
    }
    if random.one_in(6) {
        list.push(("env", Value::from("test")));
    }
    if random.one_in(6) {
        let key = random.pick(&["exception.type", "error.type", "error_type"]);
        list.push((key, Value::from(random.pick(&["Timeout", "ValueError"]))));
    }
    if random.one_in(6) {
        list.push(("retries", Value::from(random.below(3) as i64)));
    }
    if random.one_in(8) {
        list.push(("graph_id", Value::from("g1")));
    }
    list
}

/// A store with a few instances, segments, rings; traces across all of them.
pub(super) fn world(seed: u64) -> World {
    world_with(seed, |_, _| {})
}

/// The same after `harm` was done to the words of its frames.
pub(super) fn world_with(seed: u64, harm: impl Fn(&mut Random, &mut [u64])) -> World {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut segments = Vec::new();
    let traces: Vec<TraceId> = (1..=12u128).map(trace_id).collect();
    let mut open = Vec::new();
    let instances = 1 + random.below(3) as u8;
    for n in 0..instances {
        let mut maker = Maker::new();
        maker.inline_every = 7;
        let mut sequences = [0u64; 3];
        // A trace has one start and one end per instance.
        let mut runs = Runs::new(&mut random, &traces);
        for _ in 0..1 + random.below(3) {
            let mut blocks = Vec::new();
            for _ in 0..random.below(6) {
                let ring = random.below(3) as usize;
                let first = sequences[ring];
                let mut words = Vec::new();
                for _ in 0..1 + random.below(12) {
                    words.extend(record(&mut random, &mut maker, &traces, &mut runs));
                    sequences[ring] += 1;
                }
                harm(&mut random, &mut words);
                blocks.push(((ring as u32, n as u32), first, words));
            }
            let mut segment = MemorySegment::new(maker.names.map.clone());
            for (thread, first, words) in blocks {
                segment.push(thread, first, anchor(n), words);
            }
            segments.push(Arc::new(Segment::memory(origin(n), segment)));
        }
        for _ in 0..random.below(3) {
            open.push(open_row(&mut random, n, &traces));
        }
    }
    let mut lives = AHashMap::new();
    for n in 0..instances {
        let life = Life {
            alive: random.one_in(2),
            settled: false,
            sign_ns: 1_000_000 + random.below(2_000) as i64,
        };
        lives.insert(instance(n), life);
    }
    World {
        store: Arc::new(Store::new(segments, open, lives)),
    }
}

/// When each trace runs in an instance, and what of it is not recorded yet.
struct Runs(Vec<(u64, u64, bool, bool)>);

impl Runs {
    fn new(random: &mut Random, traces: &[TraceId]) -> Self {
        let runs = traces.iter().map(|_| {
            let start = random.below(300) * 3;
            (start, start + random.below(900), false, false)
        });
        Self(runs.collect())
    }
}

fn open_row(random: &mut Random, n: u8, traces: &[TraceId]) -> Open {
    let start_ns = 1_000_000 + random.below(1000) as i64;
    let trace_id = random.pick(traces);
    if random.one_in(3) {
        return Open::Trace(Trace {
            trace_id,
            name: "open".into(),
            start_ns,
            end_ns: None,
            status: Status::Unset,
            attributes: AttributeMap::new(),
            resource: Arc::default(),
            remote_parent: None,
            sampling_rate: 1.0,
            dropped_attributes: 0,
            instance: instance(n),
        });
    }
    Open::Span(Span {
        // Unlike ids of different instances, the same one twice would be one span.
        span_id: SpanId::new(1 + random.below(40) + 1000 * u64::from(n)).unwrap(),
        trace_id,
        parent_span_id: None,
        remote_parent: false,
        name: "fetch".into(),
        kind: SpanKind::Internal,
        start_ns,
        duration_ns: None,
        status: Status::Unset,
        attributes: AttributeMap::new(),
        error: None,
        dropped_attributes: 0,
        thread: (0, 0),
        record: None,
        instance: instance(n),
    })
}

fn record(random: &mut Random, maker: &mut Maker, traces: &[TraceId], runs: &mut Runs) -> Vec<u64> {
    let which = random.below(traces.len() as u64) as usize;
    let trace = traces[which];
    let run = &mut runs.0[which];
    let start = random.below(300) * 3;
    let end = start + random.below(60) * random.below(60);
    let name = random.pick(NAMES);
    let attributes = attributes(random);
    let owner = match random.below(4) {
        0 => (TraceId::NONE, 0),
        1 => (trace, 0),
        _ => (trace, 1 + random.below(40)),
    };
    let span = Spanned {
        name,
        trace,
        span: 1 + random.below(40),
        parent: random.below(4),
        start,
        end,
        kind: random.pick(SpanKind::ALL),
        status: random.pick(STATUSES),
        attributes: &attributes,
    };
    match random.below(12) {
        0 if !std::mem::replace(&mut run.2, true) => {
            maker.trace_start(name, trace, run.0, &attributes)
        }
        1 if !std::mem::replace(&mut run.3, true) => {
            let status = random.pick(STATUSES);
            maker.trace_end(name, trace, (run.0, run.1), status, &attributes)
        }
        2 => maker.span_start(&span),
        3 | 4 => maker.event(name, random.pick(TYPES), owner, start, &attributes),
        5 | 6 => maker.metric(random.pick(METRICS), 0.5, owner, start, &attributes),
        7 => maker.link((trace, 3), (random.pick(traces), 0), start, &attributes),
        _ => maker.span(&span),
    }
}
