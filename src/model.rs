//! The rows that queries return: traces, spans, events, metrics and links.
//!
//! Times are Unix nanoseconds (`i64`), durations nanoseconds (`u64`); the `*_time` and `duration`
//! methods give the documents' float seconds.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::record::{
    attributes::ValueRef,
    id::{InstanceId, RecordId, SpanId, TraceId},
    kinds::{Aggregation, EventType, SpanKind, Status},
    value::Value,
};

/// Keys and values in the order in which they were set; each key once, its last value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttributeMap(Vec<(String, Value)>);

impl AttributeMap {
    /// No attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The first value under any of `keys`.
    pub fn first_of(&self, keys: &[&str]) -> Option<&Value> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// Sets `key`, in place if it was there.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }

    /// Adds what `other` has under keys that are not here yet.
    pub fn fill_from(&mut self, other: &[(String, Value)]) {
        for (key, value) in other {
            if self.get(key).is_none() {
                self.0.push((key.clone(), value.clone()));
            }
        }
    }

    /// Makes these the entries, in the memory of those that were here.
    pub(crate) fn refill<'v>(
        &mut self,
        entries: impl Iterator<Item = (Cow<'v, str>, ValueRef<'v>)>,
    ) {
        let mut count = 0;
        for (key, value) in entries {
            let known = self.0[..count].iter_mut().find(|(k, _)| *k == key);
            if let Some((_, old)) = known {
                value.store_in(old);
                continue;
            }
            match self.0.get_mut(count) {
                Some((old_key, old)) => {
                    old_key.clear();
                    old_key.push_str(&key);
                    value.store_in(old);
                }
                None => self.0.push((key.into_owned(), value.to_value())),
            }
            count += 1;
        }
        self.0.truncate(count);
    }

    /// Bytes that the texts of keys and values have room for; lists and maps count as endless.
    pub(crate) fn capacity(&self) -> usize {
        let of_value = |value: &Value| match value {
            Value::Str(text) => text.capacity(),
            Value::Bytes(bytes) => bytes.capacity(),
            Value::Array(_) | Value::Map(_) => usize::MAX,
            _ => 0,
        };
        let entries = self.0.iter();
        entries.fold(0, |all: usize, (key, value)| {
            all.saturating_add(key.capacity())
                .saturating_add(of_value(value))
        })
    }

    /// All entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries as a slice.
    pub fn as_slice(&self) -> &[(String, Value)] {
        &self.0
    }

    /// The map as a JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(2 + self.0.len() * 24);
        out.push('{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            crate::record::value::write_json_str(&mut out, key);
            out.push(':');
            value.write_json(&mut out);
        }
        out.push('}');
        out
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for AttributeMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut map = Self::new();
        for (key, value) in items {
            map.set(key, value);
        }
        map
    }
}

/// What an instance says about all of its rows: who recorded, and what readers may derive.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The instance.
    pub instance: InstanceId,
    /// Attributes of the process.
    pub resource: Arc<AttributeMap>,
    /// Attributes that every row of the instance has.
    pub custom: Vec<(String, Value)>,
    /// Whether events are derived.
    pub derive_events: bool,
    /// Whether metrics are derived.
    pub derive_metrics: bool,
    /// Newest events that a span keeps.
    pub max_events_per_span: u32,
}

/// One run of a graph or workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Its id.
    pub trace_id: TraceId,
    /// Its name; empty if its start is not in the log.
    pub name: String,
    /// Start, Unix nanoseconds.
    pub start_ns: i64,
    /// End, Unix nanoseconds; `None` while it runs. For an orphaned trace the last sign of life.
    pub end_ns: Option<i64>,
    /// How it went.
    pub status: Status,
    /// Attributes, custom attributes of the instance included.
    pub attributes: AttributeMap,
    /// Attributes of the process that recorded it.
    pub resource: Arc<AttributeMap>,
    /// Span of the caller in another process.
    pub remote_parent: Option<SpanId>,
    /// Probability with which it was to be kept when it began, 0 to 1; what it stands for is its
    /// [`weight`](Self::weight).
    pub sampling_rate: f64,
    /// Attributes that were left out or cut.
    pub dropped_attributes: u32,
    /// The open of the log that recorded it.
    pub instance: InstanceId,
}

/// One operation inside a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its id.
    pub span_id: SpanId,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its parent; `None` means that the trace itself is its parent.
    pub parent_span_id: Option<SpanId>,
    /// Whether the parent lives in another process.
    pub remote_parent: bool,
    /// Its name.
    pub name: String,
    /// What it stands for.
    pub kind: SpanKind,
    /// Start, Unix nanoseconds.
    pub start_ns: i64,
    /// Length in nanoseconds; `None` while it runs.
    pub duration_ns: Option<u64>,
    /// How it went.
    pub status: Status,
    /// Attributes, custom attributes of the instance included, error details not.
    pub attributes: AttributeMap,
    /// What failed.
    pub error: Option<SpanError>,
    /// Attributes that were left out or cut.
    pub dropped_attributes: u32,
    /// Which thread recorded it, as (ring, lease).
    pub thread: (u32, u32),
    /// Identity of the record that it comes from; open spans have none.
    pub record: Option<RecordId>,
    /// The open of the log that recorded it.
    pub instance: InstanceId,
}

/// Why a span failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SpanError {
    /// Type of the error.
    #[cfg_attr(feature = "serde", serde(rename = "type"))]
    pub error_type: String,
    /// Its message.
    pub message: String,
    /// Messages of its sources, outermost first.
    pub chain: Vec<String>,
    /// Where it happened, if the environment asks for backtraces.
    pub stack_trace: Option<String>,
}

/// A point in time inside a trace or outside of any.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, 128 bits made of its record's identity.
    pub event_id: u128,
    /// Its type.
    pub event_type: EventType,
    /// Its name.
    pub name: String,
    /// When, Unix nanoseconds.
    pub timestamp_ns: i64,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// Its span.
    pub span_id: Option<SpanId>,
    /// Attributes.
    pub attributes: AttributeMap,
    /// Attributes that were left out or cut.
    pub dropped_attributes: u32,
    /// Whether it follows from a span or trace and was not recorded itself.
    pub derived: bool,
    /// Identity of the record that it comes from.
    pub record: Option<RecordId>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its id, 128 bits made of its record's identity.
    pub metric_id: u128,
    /// Its name.
    pub name: String,
    /// Its value as a float.
    pub value: f64,
    /// The exact value, where it was an integer.
    pub integer: Option<i128>,
    /// Its unit.
    pub unit: String,
    /// How values combine.
    pub aggregation: Aggregation,
    /// When, Unix nanoseconds.
    pub timestamp_ns: i64,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// Its span.
    pub span_id: Option<SpanId>,
    /// Attributes.
    pub attributes: AttributeMap,
    /// Attributes that were left out or cut.
    pub dropped_attributes: u32,
    /// Whether it follows from a span and was not recorded itself.
    pub derived: bool,
    /// Identity of the record that it comes from.
    pub record: Option<RecordId>,
}

/// A span refers to a span of this or another trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its id, 128 bits made of its record's identity.
    pub link_id: u128,
    /// Trace of the span that refers.
    pub trace_id: TraceId,
    /// The span that refers.
    pub span_id: Option<SpanId>,
    /// The trace it refers to.
    pub linked_trace_id: TraceId,
    /// The span it refers to.
    pub linked_span_id: Option<SpanId>,
    /// When, Unix nanoseconds.
    pub timestamp_ns: i64,
    /// Attributes.
    pub attributes: AttributeMap,
    /// Identity of the record that it comes from.
    pub record: Option<RecordId>,
}

/// Nanoseconds as the documents' float seconds.
pub fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// How many traces one stands for that was kept with this probability; what is not above 0 and below
/// 1 was kept for certain.
pub(crate) fn weight(rate: f64) -> f64 {
    if rate > 0.0 && rate < 1.0 {
        1.0 / rate
    } else {
        1.0
    }
}

impl Trace {
    /// The whole probability with which it was kept, 0 to 1: its attribute `sampling.rate` where
    /// how it went changed that, else [`sampling_rate`](Self::sampling_rate).
    pub fn kept_rate(&self) -> f64 {
        let own = self
            .attributes
            .first_of(&["sampling.rate", "sampling_rate"]);
        own.and_then(Value::as_f64).unwrap_or(self.sampling_rate)
    }

    /// How many traces it stands for: the inverse of [`kept_rate`](Self::kept_rate).
    pub fn weight(&self) -> f64 {
        weight(self.kept_rate())
    }

    /// Start as Unix seconds.
    pub fn start_time(&self) -> f64 {
        seconds(self.start_ns)
    }

    /// End as Unix seconds; `None` while it runs.
    pub fn end_time(&self) -> Option<f64> {
        self.end_ns.map(seconds)
    }

    /// Length in nanoseconds; `None` while it runs.
    pub fn duration_ns(&self) -> Option<u64> {
        self.end_ns
            .map(|end| u64::try_from(end.saturating_sub(self.start_ns)).unwrap_or(0))
    }

    /// Length; `None` while it runs.
    pub fn duration(&self) -> Option<Duration> {
        self.duration_ns().map(Duration::from_nanos)
    }

    /// Whether it still runs.
    pub fn is_active(&self) -> bool {
        self.end_ns.is_none()
    }
}

impl Span {
    /// Start as Unix seconds.
    pub fn start_time(&self) -> f64 {
        seconds(self.start_ns)
    }

    /// End, Unix nanoseconds; `None` while it runs.
    pub fn end_ns(&self) -> Option<i64> {
        Some(self.start_ns.saturating_add_unsigned(self.duration_ns?))
    }

    /// End as Unix seconds; `None` while it runs.
    pub fn end_time(&self) -> Option<f64> {
        self.end_ns().map(seconds)
    }

    /// Length; `None` while it runs.
    pub fn duration(&self) -> Option<Duration> {
        self.duration_ns.map(Duration::from_nanos)
    }

    /// Whether it still runs.
    pub fn is_active(&self) -> bool {
        self.duration_ns.is_none()
    }

    /// The node that it executed: `node.id` or `node_id`.
    pub fn node_id(&self) -> Option<&str> {
        self.attributes
            .first_of(&["node.id", "node_id"])
            .and_then(Value::as_str)
    }
}

impl Event {
    /// When, as Unix seconds.
    pub fn timestamp(&self) -> f64 {
        seconds(self.timestamp_ns)
    }
}

impl Metric {
    /// When, as Unix seconds.
    pub fn timestamp(&self) -> f64 {
        seconds(self.timestamp_ns)
    }
}

#[cfg(feature = "serde")]
mod serialize {
    //! JSON with the documented field names, float seconds, and exact nanoseconds beside them.

    use serde::{
        ser::{SerializeMap, SerializeStruct},
        Serialize, Serializer,
    };

    use super::{AttributeMap, Event, Link, Metric, Span, Trace};
    use crate::record::value::serialize_f64;

    struct Float(f64);

    impl Serialize for Float {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            serialize_f64(&self.0, s)
        }
    }

    impl Serialize for AttributeMap {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut map = s.serialize_map(Some(self.len()))?;
            for (key, value) in self.iter() {
                map.serialize_entry(key, value)?;
            }
            map.end()
        }
    }

    impl Serialize for Trace {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut row = s.serialize_struct("Trace", 14)?;
            row.serialize_field("trace_id", &self.trace_id)?;
            row.serialize_field("name", &self.name)?;
            row.serialize_field("start_time", &self.start_time())?;
            row.serialize_field("end_time", &self.end_time())?;
            row.serialize_field("duration", &self.duration().map(|d| d.as_secs_f64()))?;
            row.serialize_field("status", &self.status)?;
            row.serialize_field("attributes", &self.attributes)?;
            row.serialize_field("resource", &*self.resource)?;
            row.serialize_field("start_ns", &self.start_ns)?;
            row.serialize_field("duration_ns", &self.duration_ns())?;
            row.serialize_field("is_active", &self.is_active())?;
            row.serialize_field("remote_parent_span_id", &self.remote_parent)?;
            row.serialize_field("sampling_rate", &self.sampling_rate)?;
            row.serialize_field("dropped_attributes", &self.dropped_attributes)?;
            row.end()
        }
    }

    impl Serialize for Span {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut row = s.serialize_struct("Span", 15)?;
            row.serialize_field("span_id", &self.span_id)?;
            row.serialize_field("trace_id", &self.trace_id)?;
            row.serialize_field("parent_span_id", &self.parent_span_id)?;
            row.serialize_field("name", &self.name)?;
            row.serialize_field("kind", &self.kind)?;
            row.serialize_field("start_time", &self.start_time())?;
            row.serialize_field("end_time", &self.end_time())?;
            row.serialize_field("duration", &self.duration().map(|d| d.as_secs_f64()))?;
            row.serialize_field("status", &self.status)?;
            row.serialize_field("attributes", &self.attributes)?;
            row.serialize_field("error", &self.error)?;
            row.serialize_field("start_ns", &self.start_ns)?;
            row.serialize_field("duration_ns", &self.duration_ns)?;
            row.serialize_field("is_active", &self.is_active())?;
            row.serialize_field("dropped_attributes", &self.dropped_attributes)?;
            row.end()
        }
    }

    impl Serialize for Event {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut row = s.serialize_struct("Event", 9)?;
            row.serialize_field("event_id", &format_args!("{:032x}", self.event_id))?;
            row.serialize_field("trace_id", &self.trace_id)?;
            row.serialize_field("span_id", &self.span_id)?;
            row.serialize_field("type", &self.event_type)?;
            row.serialize_field("name", &self.name)?;
            row.serialize_field("timestamp", &self.timestamp())?;
            row.serialize_field("attributes", &self.attributes)?;
            row.serialize_field("timestamp_ns", &self.timestamp_ns)?;
            row.serialize_field("derived", &self.derived)?;
            row.end()
        }
    }

    impl Serialize for Metric {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut row = s.serialize_struct("Metric", 11)?;
            row.serialize_field("metric_id", &format_args!("{:032x}", self.metric_id))?;
            row.serialize_field("trace_id", &self.trace_id)?;
            row.serialize_field("span_id", &self.span_id)?;
            row.serialize_field("name", &self.name)?;
            match self.integer {
                Some(value) => row.serialize_field("value", &value)?,
                None => row.serialize_field("value", &Float(self.value))?,
            }
            row.serialize_field("unit", &self.unit)?;
            row.serialize_field("aggregation_type", &self.aggregation)?;
            row.serialize_field("timestamp", &self.timestamp())?;
            row.serialize_field("attributes", &self.attributes)?;
            row.serialize_field("timestamp_ns", &self.timestamp_ns)?;
            row.serialize_field("derived", &self.derived)?;
            row.end()
        }
    }

    impl Serialize for Link {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            let mut row = s.serialize_struct("Link", 8)?;
            row.serialize_field("link_id", &format_args!("{:032x}", self.link_id))?;
            row.serialize_field("trace_id", &self.trace_id)?;
            row.serialize_field("span_id", &self.span_id)?;
            row.serialize_field("linked_trace_id", &self.linked_trace_id)?;
            row.serialize_field("linked_span_id", &self.linked_span_id)?;
            row.serialize_field("timestamp", &super::seconds(self.timestamp_ns))?;
            row.serialize_field("attributes", &self.attributes)?;
            row.serialize_field("timestamp_ns", &self.timestamp_ns)?;
            row.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Vec<(String, u8, String)>> {
        prop::collection::vec(("[a-c]{0,2}", 0..5u8, "[a-z]{0,9}"), 0..6)
    }

    fn value<'t>(kind: u8, text: &'t str) -> ValueRef<'t> {
        match kind {
            0 | 1 => ValueRef::Str(text),
            2 => ValueRef::U64(text.len() as u64),
            3 => ValueRef::Bytes(text.as_bytes()),
            _ => ValueRef::Null,
        }
    }

    proptest! {
        #[test]
        fn a_map_in_the_memory_of_another_is_a_new_one(maps in prop::collection::vec(entries(), 1..5)) {
            let mut used = AttributeMap::new();
            for entries in maps {
                let refs = entries.iter().map(|(key, kind, text)| {
                    (Cow::Borrowed(key.as_str()), value(*kind, text))
                });
                used.refill(refs);
                let mut new = AttributeMap::new();
                for (key, kind, text) in &entries {
                    new.set(key.as_str(), value(*kind, text).to_value());
                }
                prop_assert_eq!(&used, &new);
            }
        }
    }
}
