//! Rows to write.

use std::sync::Arc;

use emberlog::{
    backend::{BatchRange, Row, TraceBegan, TraceEnded},
    log::Position,
    model::Origin,
    Aggregation, AttributeMap, Event, EventType, InstanceId, Link, LogId, Metric, RecordId, Span,
    SpanError, SpanId, SpanKind, Status, Trace, TraceId, Value,
};

/// 2026-01-01, Unix nanoseconds.
pub const T0: i64 = 1_767_225_600_000_000_000;
/// 1900-01-01 and 2200-01-01.
pub const FAR: [i64; 2] = [-2_208_988_800_000_000_000, 7_258_118_400_000_000_000];

/// Texts that somebody will have to quote.
pub const TEXTS: &[&str] = &[
    "",
    "plain",
    "\0",
    "a\0b",
    "'; DROP TABLE span_rows; DROP TABLE spans; --",
    "\"); DELETE FROM traces; --",
    "x' OR '1'='1",
    "$1 ?1 :a @b %s {0} $$",
    "\\",
    "\\u0000 \\ud800 \\x00",
    "line\r\nbreak\ttab\u{8}\u{c}\u{1}\u{7f}",
    "{\"bytes\": \"00ff\"}",
    "NaN",
    "null",
    "\u{fffd}\u{feff}\u{10ffff}\u{e000}",
    "e\u{301} \u{202e}rtl\u{202c} 😀",
    "\\N\t\\.",
];

/// A text of a megabyte, not all of it one byte per character.
pub fn megabyte() -> String {
    let text = "0123456789 é\0'\"\\".repeat(1 << 16);
    assert!(text.len() > 1 << 20);
    text
}

/// Values that some store will lack a type for.
pub fn values() -> Vec<Value> {
    let text = |text: &&str| Value::from(*text);
    let mut values = vec![Value::Null, true.into(), false.into()];
    values.extend([0, 1, -1, i64::MIN, i64::MAX].map(Value::I64));
    values.extend([0, 1, i64::MAX as u64, 1 << 63, u64::MAX].map(Value::U64));
    let floats = [
        0.0,
        -0.0,
        1.0,
        0.1,
        f64::MAX,
        f64::MIN,
        5e-324,
        1e300,
        9e15 + 1.0,
    ];
    values.extend(floats.map(Value::F64));
    values.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::F64));
    values.extend(TEXTS.iter().map(text));
    // Bytes that are no UTF-8: a lone surrogate, a cut character, an overlong one.
    let bytes: [&[u8]; 5] = [b"", &[0], &[0xed, 0xa0, 0x80], &[0xf0, 0x9f], &[0xc0, 0x80]];
    values.extend(bytes.map(|bytes| Value::Bytes(bytes.to_vec())));
    let some = values.clone();
    values.push(Value::Array(Vec::new()));
    values.push(Value::Map(Vec::new()));
    values.push(Value::Array(some.clone()));
    let keyed = some.into_iter().enumerate();
    let keyed = keyed.map(|(n, value)| (format!("{}{n}", TEXTS[n % TEXTS.len()]), value));
    values.push(Value::Map(keyed.collect()));
    values.push(Value::Map(vec![("bytes".into(), "00".into())]));
    let mut deep = Value::U64(7);
    for n in 0..30 {
        deep = match n % 2 {
            0 => Value::Array(vec![deep]),
            _ => Value::Map(vec![(String::new(), deep)]),
        };
    }
    values.push(deep);
    values
}

/// Attributes with every awkward key and value.
pub fn awkward() -> AttributeMap {
    let values = values().into_iter().enumerate();
    values
        .map(|(n, value)| match TEXTS.get(n) {
            Some(key) => ((*key).to_owned(), value),
            None => (format!("key {n}"), value),
        })
        .collect()
}

/// Makes rows of one instance.
pub struct Maker {
    pub origin: Arc<Origin>,
    pub sequence: u64,
}

impl Maker {
    pub fn new(number: u8) -> Self {
        let resource = [("service.name", "it's"), ("a\0b", "'; --")];
        let custom = [("environment", Value::from("it's \0"))];
        Self {
            origin: Arc::new(Origin {
                instance: InstanceId([number; 16]),
                resource: Arc::new(resource.into_iter().collect()),
                custom: custom.map(|(k, v)| (k.to_owned(), v)).to_vec(),
                derive_events: true,
                derive_metrics: true,
                max_events_per_span: 100,
            }),
            sequence: 0,
        }
    }

    fn record(&mut self) -> RecordId {
        self.sequence += 1;
        RecordId {
            instance: self.origin.instance,
            ring: 3,
            sequence: self.sequence,
        }
    }

    fn with_custom(&self, mut map: AttributeMap) -> AttributeMap {
        map.fill_from(&self.origin.custom);
        map
    }

    pub fn began(&mut self, id: u128, name: &str, map: AttributeMap) -> TraceBegan {
        TraceBegan {
            trace: Trace {
                trace_id: TraceId::from_u128(id),
                name: name.to_owned(),
                start_ns: T0 + id as u32 as i64 * 1_000,
                end_ns: None,
                status: Status::Unset,
                attributes: self.with_custom(map),
                resource: self.origin.resource.clone(),
                remote_parent: SpanId::new(id as u64 % 2 * u64::MAX),
                sampling_rate: 0.25,
                dropped_attributes: 1,
                instance: self.origin.instance,
            },
            record: self.record(),
        }
    }

    pub fn ended(&mut self, id: u128, name: &str, status: Status, map: AttributeMap) -> TraceEnded {
        let TraceBegan { trace, record } = self.began(id, name, AttributeMap::new());
        TraceEnded {
            trace: Trace {
                end_ns: Some(trace.start_ns + 500_000_123),
                status,
                attributes: map,
                remote_parent: None,
                sampling_rate: 1.0,
                dropped_attributes: 0,
                ..trace
            },
            record,
        }
    }

    pub fn span(&mut self, trace: u128, id: u64, name: &str, map: AttributeMap) -> Span {
        let record = self.record();
        let status = Status::ALL[id as usize % Status::ALL.len()];
        Span {
            span_id: SpanId::new(id).expect("not 0"),
            trace_id: TraceId::from_u128(trace),
            parent_span_id: SpanId::new(id / 2),
            remote_parent: id % 7 == 0,
            name: name.to_owned(),
            kind: SpanKind::ALL[id as usize % SpanKind::ALL.len()],
            start_ns: T0 + id as u32 as i64 * 1000,
            duration_ns: Some(u64::from(id as u32) * 1_001),
            status,
            attributes: self.with_custom(map),
            error: (status == Status::Error).then(|| SpanError {
                error_type: name.to_owned(),
                message: format!("{name} it took \"too\" long\n\0"),
                chain: vec![String::new(), name.to_owned()],
                stack_trace: (id % 2 == 0).then(|| name.to_owned()),
            }),
            dropped_attributes: 2,
            thread: (3, 8),
            record: Some(record),
            instance: record.instance,
        }
    }

    pub fn span_began(&mut self, trace: u128, id: u64, name: &str) -> Span {
        let map = [("early", true)].into_iter().collect();
        Span {
            duration_ns: None,
            status: Status::Unset,
            error: None,
            ..self.span(trace, id, name, map)
        }
    }

    pub fn event(
        &mut self,
        trace: Option<u128>,
        kind: &str,
        name: &str,
        map: AttributeMap,
    ) -> Event {
        let record = self.record();
        Event {
            event_id: record.as_u128(0),
            event_type: EventType::new(kind),
            name: name.to_owned(),
            timestamp_ns: T0 + record.sequence as i64 * 7_001,
            trace_id: trace.map(TraceId::from_u128),
            span_id: trace.and_then(|id| SpanId::new(id as u64 % 3)),
            attributes: self.with_custom(map),
            dropped_attributes: 3,
            derived: false,
            record: Some(record),
        }
    }

    pub fn metric(&mut self, trace: Option<u128>, name: &str, value: f64) -> Metric {
        let record = self.record();
        Metric {
            metric_id: record.as_u128(0),
            name: name.to_owned(),
            value,
            integer: None,
            unit: name.to_owned(),
            aggregation: Aggregation::ALL[record.sequence as usize % Aggregation::ALL.len()],
            timestamp_ns: T0 + record.sequence as i64 * 7_003,
            trace_id: trace.map(TraceId::from_u128),
            span_id: None,
            attributes: self.with_custom(AttributeMap::new()),
            dropped_attributes: 4,
            derived: false,
            record: Some(record),
        }
    }

    pub fn integer(&mut self, name: &str, value: i128) -> Metric {
        Metric {
            integer: Some(value),
            ..self.metric(None, name, value as f64)
        }
    }

    pub fn link(&mut self, trace: u128, to: u128, map: AttributeMap) -> Link {
        let record = self.record();
        Link {
            link_id: record.as_u128(0),
            trace_id: TraceId::from_u128(trace),
            span_id: SpanId::new(trace as u64 % 2 * 9),
            linked_trace_id: TraceId::from_u128(to),
            linked_span_id: SpanId::new(to as u64 % 2 * u64::MAX),
            timestamp_ns: T0 + 5,
            attributes: self.with_custom(map),
            record: Some(record),
        }
    }

    /// Everything that some store could fail to hold.
    pub fn awkward(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (n, text) in TEXTS.iter().enumerate() {
            let id = u128::MAX - n as u128;
            let number = n as u64 + 1;
            rows.push(Row::TraceBegan(self.began(id, text, awkward())));
            rows.push(Row::Span(self.span(id, number, text, awkward())));
            rows.push(Row::Event(self.event(Some(id), text, text, awkward())));
            rows.push(Row::Event(self.event(None, "node_failed", text, awkward())));
            rows.push(Row::Metric(self.metric(Some(id), text, n as f64)));
            rows.push(Row::Link(self.link(id, n as u128 + 1, awkward())));
            let status = Status::ALL[n % Status::ALL.len()];
            rows.push(Row::TraceEnded(self.ended(id, text, status, awkward())));
        }
        for value in values() {
            if let Value::F64(value) = value {
                rows.push(Row::Metric(self.metric(None, "float", value)));
            }
        }
        let integers = [
            0,
            -1,
            i64::MIN.into(),
            i64::MAX.into(),
            1 << 63,
            u64::MAX.into(),
        ];
        for value in integers {
            rows.push(Row::Metric(self.integer("integer", value)));
        }
        for (n, at) in FAR.into_iter().enumerate() {
            let id = 1000 + n as u128;
            let mut began = self.began(id, "far", AttributeMap::new());
            began.trace.start_ns = at;
            let mut ended = self.ended(id, "far", Status::Ok, AttributeMap::new());
            (ended.trace.start_ns, ended.trace.end_ns) = (at, Some(at + 1));
            let mut span = self.span(id, 1000 + n as u64, "far", AttributeMap::new());
            (span.start_ns, span.duration_ns) = (at, Some(86_400_000_000_000 * 365 * 60));
            let mut event = self.event(Some(id), "far", "far", AttributeMap::new());
            event.timestamp_ns = at;
            let mut metric = self.metric(Some(id), "far", 0.5);
            metric.timestamp_ns = at;
            rows.extend([
                Row::TraceBegan(began),
                Row::TraceEnded(ended),
                Row::Span(span),
            ]);
            rows.extend([Row::Event(event), Row::Metric(metric)]);
        }
        let long = [("long", megabyte())].into_iter().collect();
        rows.push(Row::Span(self.span(7, u64::MAX, &megabyte(), long)));
        rows
    }

    /// Traces with something of everything, some of them not ended.
    pub fn mixed(&mut self, traces: u128) -> Vec<Row> {
        let mut rows = Vec::new();
        for id in 1..=traces {
            let name = ["ingest", "answer"][id as usize % 2];
            let map: AttributeMap = [("graph_id", format!("g{}", id % 3))].into_iter().collect();
            rows.push(Row::TraceBegan(self.began(id, name, map)));
            for n in 1..=SpanKind::ALL.len() as u64 {
                let map = [("node.id", format!("n{}", n % 4))].into_iter().collect();
                let number = id as u64 * 100 + n;
                if n % 4 == 0 {
                    rows.push(Row::Span(self.span_began(id, number, "long")));
                }
                if n % 8 != 0 {
                    rows.push(Row::Span(self.span(id, number, "read", map)));
                }
            }
            let none = AttributeMap::new;
            rows.push(Row::Event(self.event(
                Some(id),
                "node_failed",
                "event",
                none(),
            )));
            rows.push(Row::Event(self.event(None, "my.own", "outside", none())));
            rows.push(Row::Metric(self.metric(Some(id), "cost", 0.25)));
            rows.push(Row::Metric(self.integer("count", 7)));
            rows.push(Row::Link(self.link(id, id + 1, none())));
            if id % 4 != 0 {
                let status = Status::ALL[id as usize % Status::ALL.len()];
                let map = [("exception.message", "no")].into_iter().collect();
                rows.push(Row::TraceEnded(self.ended(id, name, status, map)));
            }
        }
        rows
    }
}

pub fn log(number: u8) -> LogId {
    LogId([number; 16])
}

pub fn at(offset: u64) -> Position {
    Position { epoch: 1, offset }
}

pub fn range(log: LogId, maker: &Maker, from: u64, to: u64) -> BatchRange {
    BatchRange {
        log,
        instance: maker.origin.instance,
        from: at(from),
        to: at(to),
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}
