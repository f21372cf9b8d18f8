//! Rows as a tail would give them.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::Connection;

use crate::{
    backend::{
        sqlite::{Options, SqliteReader, SqliteSink},
        BatchRange, Row, Sink, TraceBegan, TraceEnded,
    },
    log::Position,
    model::{AttributeMap, Event, Link, Metric, Origin, Span, SpanError, Trace},
    record::{
        id::{InstanceId, LogId, RecordId, SpanId, TraceId},
        kinds::{Aggregation, EventType, SpanKind, Status},
        value::Value,
    },
};

/// 2026-01-01, in nanoseconds.
pub(super) const T0: i64 = 1_767_225_600_000_000_000;

/// Makes rows of one instance.
pub(super) struct Maker {
    pub(super) origin: Arc<Origin>,
    sequence: u64,
}

pub(super) fn attributes(items: &[(&str, Value)]) -> AttributeMap {
    items.iter().map(|(k, v)| (*k, v.clone())).collect()
}

impl Maker {
    pub(super) fn new(number: u8) -> Self {
        Self {
            origin: Arc::new(Origin {
                instance: InstanceId([number; 16]),
                resource: Arc::new(attributes(&[("service.name", "test".into())])),
                custom: vec![("environment".into(), Value::from("staging"))],
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

    pub(super) fn trace(&self, id: u128, map: AttributeMap) -> Trace {
        Trace {
            trace_id: TraceId::from_u128(id),
            name: format!("graph-{}", id % 3),
            start_ns: T0 + id as i64 * 1_000_000,
            end_ns: None,
            status: Status::Unset,
            attributes: self.with_custom(map),
            resource: self.origin.resource.clone(),
            remote_parent: SpanId::new(id as u64 % 2),
            sampling_rate: 0.25,
            dropped_attributes: 1,
            instance: self.origin.instance,
        }
    }

    pub(super) fn began(&mut self, id: u128, map: AttributeMap) -> Row {
        Row::TraceBegan(TraceBegan {
            trace: self.trace(id, map),
            record: self.record(),
        })
    }

    pub(super) fn ended(&mut self, id: u128, status: Status, map: AttributeMap) -> Row {
        let began = self.trace(id, AttributeMap::new());
        Row::TraceEnded(TraceEnded {
            trace: Trace {
                end_ns: Some(began.start_ns + 500_000_123),
                status,
                attributes: map,
                remote_parent: None,
                sampling_rate: 1.0,
                dropped_attributes: 0,
                ..began
            },
            record: self.record(),
        })
    }

    pub(super) fn span(&mut self, trace: u128, id: u64, kind: SpanKind, status: Status) -> Span {
        let record = self.record();
        let map = attributes(&[
            ("node.id", format!("n{}", id % 5).into()),
            ("tokens", Value::U64(id)),
            ("cost", Value::F64(0.5)),
        ]);
        Span {
            span_id: SpanId::new(id).expect("not 0"),
            trace_id: TraceId::from_u128(trace),
            parent_span_id: SpanId::new(id / 2),
            remote_parent: id % 7 == 0,
            name: format!("span-{}", id % 4),
            kind,
            start_ns: T0 + trace as i64 * 1_000_000 + id as i64 * 1000,
            duration_ns: Some(id * 1_000_001),
            status,
            attributes: self.with_custom(map),
            error: (status == Status::Error).then(|| SpanError {
                error_type: "Timeout".into(),
                message: "it took \"too\" long\n".into(),
                chain: vec!["a".into(), "b".into()],
                stack_trace: (id % 2 == 0).then(|| "at x:1".into()),
            }),
            dropped_attributes: 2,
            thread: (3, 8),
            record: Some(record),
            instance: record.instance,
        }
    }

    pub(super) fn event(&mut self, trace: Option<u128>, span: Option<u64>, kind: &str) -> Event {
        let record = self.record();
        Event {
            event_id: record.as_u128(0),
            event_type: EventType::new(kind),
            name: format!("event-{}", record.sequence % 3),
            timestamp_ns: T0 + record.sequence as i64 * 7_001,
            trace_id: trace.map(TraceId::from_u128),
            span_id: span.and_then(SpanId::new),
            attributes: self.with_custom(attributes(&[("error.type", "Timeout".into())])),
            dropped_attributes: 0,
            derived: false,
            record: Some(record),
        }
    }

    pub(super) fn metric(
        &mut self,
        trace: Option<u128>,
        value: f64,
        integer: Option<i128>,
    ) -> Metric {
        let record = self.record();
        Metric {
            metric_id: record.as_u128(0),
            name: format!("metric-{}", record.sequence % 3),
            value,
            integer,
            unit: "usd".into(),
            aggregation: Aggregation::Histogram,
            timestamp_ns: T0 + record.sequence as i64 * 7_003,
            trace_id: trace.map(TraceId::from_u128),
            span_id: None,
            attributes: self.with_custom(attributes(&[("model", "m1".into())])),
            dropped_attributes: 4,
            derived: false,
            record: Some(record),
        }
    }

    pub(super) fn link(&mut self, trace: u128, to: u128) -> Link {
        let record = self.record();
        Link {
            link_id: record.as_u128(0),
            trace_id: TraceId::from_u128(trace),
            span_id: SpanId::new(9),
            linked_trace_id: TraceId::from_u128(to),
            linked_span_id: None,
            timestamp_ns: T0 + 5,
            attributes: self.with_custom(AttributeMap::new()),
            record: Some(record),
        }
    }

    /// Something of everything.
    pub(super) fn mixed(&mut self, traces: u128) -> Vec<Row> {
        let mut rows = Vec::new();
        for id in 1..=traces {
            let graph = format!("g{}", id % 2);
            let version = [("graph_id", graph.into()), ("graph_version", "2".into())];
            rows.push(self.began(id, attributes(&version[..(id % 3) as usize])));
            for n in 0..SpanKind::ALL.len() as u64 {
                let status = Status::ALL[(n as usize + id as usize) % Status::ALL.len()];
                let kind = SpanKind::ALL[n as usize];
                let mut span = self.span(id, id as u64 * 100 + n, kind, status);
                if status == Status::Unset {
                    span.duration_ns = None;
                }
                rows.push(Row::Span(span));
            }
            rows.push(Row::Event(self.event(
                Some(id),
                Some(id as u64 * 100),
                "node_failed",
            )));
            rows.push(Row::Event(self.event(Some(id), None, "my.own")));
            rows.push(Row::Metric(self.metric(Some(id), 0.25, None)));
            rows.push(Row::Metric(self.metric(None, 7.0, Some(7))));
            rows.push(Row::Link(self.link(id, id + 1)));
            if id % 4 != 0 {
                let status = if id % 5 == 0 {
                    Status::Error
                } else {
                    Status::Ok
                };
                let failed = [("exception.message", "no".into())];
                let map = attributes(if id % 5 == 0 { &failed } else { &[] });
                rows.push(self.ended(id, status, map));
            }
        }
        rows
    }
}

pub(super) fn log(number: u8) -> LogId {
    LogId([number; 16])
}

pub(super) fn range(log: LogId, from: u64, to: u64) -> BatchRange {
    let at = |offset| Position { epoch: 1, offset };
    BatchRange {
        log,
        instance: InstanceId([1; 16]),
        from: at(from),
        to: at(to),
    }
}

pub(super) fn sink(path: &Path) -> SqliteSink {
    let options = Options {
        busy_timeout: Duration::from_millis(200),
        ..Options::new(path)
    };
    SqliteSink::open("sqlite", options).expect("opens")
}

/// A new database with these rows in it.
pub(super) fn filled(path: &Path, maker: &Maker, rows: &[Row]) -> SqliteSink {
    let mut sink = sink(path);
    sink.meet(&maker.origin);
    sink.write(range(log(1), 0, 10), rows).expect("writes");
    sink
}

pub(super) fn reader(path: &Path) -> SqliteReader {
    SqliteReader::open(path, Duration::from_secs(1)).expect("opens")
}

pub(super) fn plain(path: &Path) -> Connection {
    Connection::open(path).expect("opens")
}

pub(super) fn count(path: &Path, from: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {from}");
    plain(path)
        .query_row(&sql, [], |row| row.get(0))
        .expect("counts")
}

/// Every check that SQLite has.
pub(super) fn assert_sound(path: &Path) {
    let db = plain(path);
    let ok: String = db
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ok, "ok");
    let mut foreign = db.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!foreign.exists([]).unwrap(), "a row without its trace");
}
