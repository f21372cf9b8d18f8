//! Rows as packets: which track, which lane, what is said of it.

use ahash::{AHashMap, AHashSet};
use std::sync::Arc;

use super::{
    lanes::Lanes,
    proto::{
        append, Clock, ClockSnapshot, CounterDescriptor, DebugAnnotation, EventKind,
        ProcessDescriptor, ThreadDescriptor, TracePacket, TrackDescriptor, TrackEvent,
    },
    Tracks,
};
use crate::{
    backend::Row,
    model::{AttributeMap, Event, Link, Metric, Origin, Span, Trace},
    record::{
        id::{InstanceId, RecordId, TraceId},
        value::Value,
    },
};

/// Tracks whose slices are remembered; then all are begun anew.
const REMEMBERED: usize = 1 << 14;
/// `BuiltinClock`: Unix time, and the clock that time stamps without another word are of.
const REALTIME: u32 = 1;
const BOOTTIME: u32 = 6;
/// Our packets are one sequence that needs no state of earlier ones.
const SEQUENCE: u32 = 1;
const STATE_CLEARED: u32 = 1;

/// What a track of slices stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Instance, ring and lease.
    Thread(InstanceId, u32, u32),
    Trace(TraceId),
}

#[derive(Debug)]
struct Track {
    lanes: Lanes,
    name: String,
    process: u64,
    pid: i32,
}

/// What of a file's tracks has to be known to go on.
#[derive(Debug)]
pub(super) struct Writer {
    tracks: Tracks,
    known: AHashMap<Key, Track>,
    /// Descriptors that are in the file.
    described: AHashSet<u64>,
    /// Bytes that the file had when the slices began to be remembered.
    generation: u64,
    /// Lease of a ring, as spans told it last.
    leases: AHashMap<(InstanceId, u32), u32>,
    origins: AHashMap<InstanceId, Arc<Origin>>,
    out: Vec<u8>,
}

/// A number that is the same for the same things, in every process.
fn hash(what: &str) -> u64 {
    let (id, _) = TraceId::from_text(&format!("track {what}"));
    let id = id.as_u128();
    ((id >> 64) as u64 ^ id as u64).max(1)
}

fn time(unix_ns: i64) -> u64 {
    // The schema has no time before 1970; the exact one is among the annotations.
    u64::try_from(unix_ns).unwrap_or(0)
}

impl Writer {
    pub(super) fn new(tracks: Tracks) -> Self {
        Self {
            tracks,
            known: AHashMap::new(),
            described: AHashSet::new(),
            generation: 0,
            leases: AHashMap::new(),
            origins: AHashMap::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn meet(&mut self, origin: &Arc<Origin>) {
        self.origins.insert(origin.instance, origin.clone());
    }

    /// The packets of a batch that begins after `before` bytes of the file.
    pub(super) fn batch(&mut self, before: u64, rows: &[Row]) -> Vec<u8> {
        if self.described.is_empty() {
            self.generation = before;
        } else if self.known.len() > REMEMBERED {
            self.forget();
            self.generation = before;
        }
        // What comes before the first span of its thread belongs to the same thread.
        for row in rows {
            if let Row::Span(span) = row {
                let (ring, lease) = span.thread;
                self.leases.entry((span.instance, ring)).or_insert(lease);
            }
        }
        for row in rows {
            if before == 0 && self.out.is_empty() {
                self.clock(row);
            }
            match row {
                Row::TraceBegan(began) => self.name_trace(&began.trace),
                Row::TraceEnded(ended) => self.trace(&ended.trace, ended.record),
                Row::Span(span) => self.span(span),
                Row::Event(event) => self.event(event),
                Row::Metric(metric) => self.metric(metric),
                Row::Link(link) => self.link(link),
            }
        }
        std::mem::take(&mut self.out)
    }

    /// Begins all tracks anew.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.described.clear();
        self.leases.clear();
        self.out.clear();
    }

    /// Says that time stamps are Unix time.
    fn clock(&mut self, first: &Row) {
        let now = time(match first {
            Row::TraceBegan(row) => row.trace.start_ns,
            Row::TraceEnded(row) => row.trace.start_ns,
            Row::Span(row) => row.start_ns,
            Row::Event(row) => row.timestamp_ns,
            Row::Metric(row) => row.timestamp_ns,
            Row::Link(row) => row.timestamp_ns,
        });
        let clock = |clock_id| Clock {
            clock_id: Some(clock_id),
            timestamp: Some(now),
        };
        let snapshot = ClockSnapshot {
            clocks: vec![clock(BOOTTIME), clock(REALTIME)],
            primary_trace_clock: Some(BOOTTIME as i32),
        };
        append(
            &mut self.out,
            &TracePacket {
                clock_snapshot: Some(snapshot),
                timestamp: Some(now),
                trusted_packet_sequence_id: Some(SEQUENCE),
                sequence_flags: Some(STATE_CLEARED),
                ..TracePacket::default()
            },
        );
    }

    fn describe(&mut self, uuid: u64, make: impl FnOnce() -> TrackDescriptor) -> u64 {
        if self.described.insert(uuid) {
            let descriptor = TrackDescriptor {
                uuid: Some(uuid),
                ..make()
            };
            append(
                &mut self.out,
                &TracePacket {
                    track_descriptor: Some(descriptor),
                    trusted_packet_sequence_id: Some(SEQUENCE),
                    ..TracePacket::default()
                },
            );
        }
        uuid
    }

    /// The track of a process: uuid and process id.
    fn process(&mut self, instance: InstanceId) -> (u64, i32) {
        let uuid = hash(&format!("process {instance}"));
        let origin = self.origins.get(&instance).cloned();
        let said = |key: &str| origin.as_ref().and_then(|o| o.resource.get(key).cloned());
        let pid = said("process.pid").and_then(|pid| i32::try_from(pid.as_i64()?).ok());
        // Two processes must not look like one.
        let pid = pid.unwrap_or((uuid & 0x3fff_ffff) as i32 + 1);
        let name = said("service.name").and_then(|name| name.as_str().map(str::to_owned));
        let uuid = self.describe(uuid, || TrackDescriptor {
            process: Some(ProcessDescriptor {
                pid: Some(pid),
                process_name: Some(name.unwrap_or_else(|| "emberlog".to_owned())),
            }),
            ..TrackDescriptor::default()
        });
        (uuid, pid)
    }

    /// The track that a row belongs to.
    fn key(
        &self,
        instance: InstanceId,
        ring: u32,
        lease: Option<u32>,
        trace: Option<TraceId>,
    ) -> Key {
        match (self.tracks, trace) {
            (Tracks::Traces, Some(trace)) => Key::Trace(trace),
            _ => {
                let known = self.leases.get(&(instance, ring)).copied();
                Key::Thread(instance, ring, lease.or(known).unwrap_or_default())
            }
        }
    }

    fn known(&mut self, key: Key, instance: InstanceId, name: &str) -> &mut Track {
        let (process, pid) = self.process(instance);
        self.known.entry(key).or_insert_with(|| Track {
            lanes: Lanes::default(),
            name: match key {
                Key::Thread(_, ring, 0) => format!("thread {ring}"),
                Key::Thread(_, ring, lease) => format!("thread {ring}.{lease}"),
                // Names tell tracks apart: the UI draws those with one name as one.
                Key::Trace(id) => format!("{name} {:08x}", id.as_u128() >> 96),
            },
            process,
            pid,
        })
    }

    fn name_trace(&mut self, trace: &Trace) {
        if self.tracks == Tracks::Traces {
            self.known(Key::Trace(trace.trace_id), trace.instance, &trace.name);
        }
    }

    /// Uuid of a lane; described if it is new.
    fn lane(&mut self, key: Key, instance: InstanceId, lane: usize) -> u64 {
        let track = self.known(key, instance, "trace");
        let (name, process, pid) = (track.name.clone(), track.process, track.pid);
        let base = match key {
            Key::Trace(id) => hash(&format!("trace {id}")),
            Key::Thread(of, ring, lease) => {
                let uuid = hash(&format!("thread {of} {ring} {lease}"));
                self.describe(uuid, || TrackDescriptor {
                    thread: Some(ThreadDescriptor {
                        pid: Some(pid),
                        tid: Some((i64::from(lease) << 16) + i64::from(ring) + 1),
                        thread_name: Some(name.clone()),
                    }),
                    parent_uuid: Some(process),
                    ..TrackDescriptor::default()
                })
            }
        };
        let first = lane == 0 && self.generation == 0;
        if first && matches!(key, Key::Thread(..)) {
            return base;
        }
        // What an earlier process wrote is not known: its lanes are not gone on with.
        let uuid = hash(&format!("{base} lane {} {lane}", self.generation));
        self.describe(uuid, || TrackDescriptor {
            name: Some(name),
            parent_uuid: Some(match key {
                Key::Thread(..) => base,
                Key::Trace(_) => process,
            }),
            ..TrackDescriptor::default()
        })
    }

    fn push(&mut self, at: u64, kind: EventKind, track: u64, event: TrackEvent) {
        append(
            &mut self.out,
            &TracePacket {
                timestamp: Some(at),
                trusted_packet_sequence_id: Some(SEQUENCE),
                track_event: Some(TrackEvent {
                    kind: Some(kind as i32),
                    track_uuid: Some(track),
                    ..event
                }),
                ..TracePacket::default()
            },
        );
    }

    fn slice(&mut self, key: Key, instance: InstanceId, begin: u64, end: u64, event: TrackEvent) {
        let end = end.max(begin);
        let lane = self.known(key, instance, "trace").lanes.place(begin, end);
        let track = self.lane(key, instance, lane);
        self.push(begin, EventKind::SliceBegin, track, event);
        self.push(end, EventKind::SliceEnd, track, TrackEvent::default());
    }

    fn trace(&mut self, trace: &Trace, record: RecordId) {
        let key = self.key(record.instance, record.ring, None, Some(trace.trace_id));
        let mut notes = annotations(&trace.attributes);
        notes.push(text("trace_id", &trace.trace_id.to_string()));
        notes.push(text("status", trace.status.as_str()));
        notes.push(exact(trace.start_ns));
        let event = TrackEvent {
            name: Some(trace.name.clone()),
            categories: vec!["trace".to_owned()],
            flow_ids: vec![hash(&format!("flow {}", trace.trace_id))],
            debug_annotations: notes,
            ..TrackEvent::default()
        };
        let end = time(trace.end_ns.unwrap_or(trace.start_ns));
        self.slice(key, record.instance, time(trace.start_ns), end, event);
    }

    fn span(&mut self, span: &Span) {
        let (ring, lease) = span.thread;
        self.leases.insert((span.instance, ring), lease);
        // One that began comes again when it ends.
        let Some(end_ns) = span.end_ns() else {
            return;
        };
        let key = self.key(span.instance, ring, Some(lease), Some(span.trace_id));
        let mut notes = annotations(&span.attributes);
        notes.push(text("trace_id", &span.trace_id.to_string()));
        notes.push(text("span_id", &span.span_id.to_string()));
        if let Some(parent) = span.parent_span_id {
            notes.push(text("parent_span_id", &parent.to_string()));
        }
        notes.push(text("status", span.status.as_str()));
        if let Some(error) = &span.error {
            notes.push(text("error.type", &error.error_type));
            notes.push(text("error.message", &error.message));
        }
        notes.push(exact(span.start_ns));
        let event = TrackEvent {
            name: Some(span.name.clone()),
            categories: vec![span.kind.as_str().to_owned()],
            flow_ids: vec![hash(&format!("flow {} {}", span.trace_id, span.span_id))],
            debug_annotations: notes,
            ..TrackEvent::default()
        };
        self.slice(key, span.instance, time(span.start_ns), time(end_ns), event);
    }

    fn event(&mut self, event: &Event) {
        let Some(record) = event.record else { return };
        let key = self.key(record.instance, record.ring, None, event.trace_id);
        let track = self.lane(key, record.instance, 0);
        let mut notes = annotations(&event.attributes);
        notes.extend(event.trace_id.map(|id| text("trace_id", &id.to_string())));
        notes.extend(event.span_id.map(|id| text("span_id", &id.to_string())));
        let at = time(event.timestamp_ns);
        let event = TrackEvent {
            name: Some(event.name.clone()),
            categories: vec![event.event_type.as_str().to_owned()],
            debug_annotations: notes,
            ..TrackEvent::default()
        };
        self.push(at, EventKind::Instant, track, event);
    }

    fn metric(&mut self, metric: &Metric) {
        let Some(record) = metric.record else { return };
        let (process, _) = self.process(record.instance);
        let at = time(metric.timestamp_ns);
        if metric.integer.is_none() && !metric.value.is_finite() {
            // No counter can show it.
            let mut notes = annotations(&metric.attributes);
            notes.push(text("value", &metric.value.to_string()));
            let event = TrackEvent {
                name: Some(metric.name.clone()),
                categories: vec!["metric".to_owned()],
                debug_annotations: notes,
                ..TrackEvent::default()
            };
            return self.push(at, EventKind::Instant, process, event);
        }
        let what = format!(
            "counter {} {:?} {:?}",
            record.instance, metric.name, metric.unit
        );
        let track = self.describe(hash(&what), || TrackDescriptor {
            name: Some(metric.name.clone()),
            parent_uuid: Some(process),
            counter: Some(CounterDescriptor {
                unit_name: Some(metric.unit.clone()).filter(|unit| !unit.is_empty()),
            }),
            ..TrackDescriptor::default()
        });
        let whole = metric.integer.and_then(|value| i64::try_from(value).ok());
        let event = TrackEvent {
            counter_value: whole,
            double_counter_value: whole.is_none().then_some(metric.value),
            ..TrackEvent::default()
        };
        self.push(at, EventKind::Counter, track, event);
    }

    /// An arrow from what is referred to, to the moment that refers to it.
    fn link(&mut self, link: &Link) {
        let Some(record) = link.record else { return };
        let key = self.key(record.instance, record.ring, None, Some(link.trace_id));
        let track = self.lane(key, record.instance, 0);
        let linked = match link.linked_span_id {
            Some(span) => format!("flow {} {span}", link.linked_trace_id),
            None => format!("flow {}", link.linked_trace_id),
        };
        let mut notes = annotations(&link.attributes);
        notes.push(text("linked_trace_id", &link.linked_trace_id.to_string()));
        notes.extend(
            link.linked_span_id
                .map(|id| text("linked_span_id", &id.to_string())),
        );
        let event = TrackEvent {
            name: Some("link".to_owned()),
            categories: vec!["link".to_owned()],
            flow_ids: vec![hash(&linked)],
            debug_annotations: notes,
            ..TrackEvent::default()
        };
        self.push(time(link.timestamp_ns), EventKind::Instant, track, event);
    }
}

fn text(name: &str, value: &str) -> DebugAnnotation {
    annotation(name, &Value::Str(value.to_owned()))
}

/// The start to the nanosecond, also before 1970.
fn exact(start_ns: i64) -> DebugAnnotation {
    annotation("start_ns", &Value::I64(start_ns))
}

fn annotations(attributes: &AttributeMap) -> Vec<DebugAnnotation> {
    attributes
        .iter()
        .map(|(key, value)| annotation(key, value))
        .collect()
}

fn annotation(name: &str, value: &Value) -> DebugAnnotation {
    let mut note = unnamed(value);
    note.name = Some(name.to_owned());
    note
}

fn unnamed(value: &Value) -> DebugAnnotation {
    let mut note = DebugAnnotation::default();
    match value {
        Value::Bool(v) => note.bool_value = Some(*v),
        Value::I64(v) => note.int_value = Some(*v),
        Value::U64(v) => note.uint_value = Some(*v),
        Value::F64(v) => note.double_value = Some(*v),
        Value::Str(v) => note.string_value = Some(v.clone()),
        Value::Null | Value::Bytes(_) => note.string_value = Some(value.to_json()),
        Value::Array(items) => note.array_values = items.iter().map(unnamed).collect(),
        Value::Map(items) => {
            note.dict_entries = items
                .iter()
                .map(|(key, value)| annotation(key, value))
                .collect();
        }
    }
    note
}
