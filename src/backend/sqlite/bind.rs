//! The statements of a batch, and how ids and attributes become their values.

use rusqlite::{
    types::{ToSqlOutput, ValueRef},
    ToSql,
};

use crate::{
    backend::exact,
    model::SpanError,
    record::{
        id::{InstanceId, SpanId, TraceId},
        value::{write_json_str, Value},
    },
};

pub(super) const TRACE: &str = "INSERT INTO trace_rows (trace_id, seen_ns) VALUES (?1, ?2) \
    ON CONFLICT (trace_id) DO NOTHING";
pub(super) const FIND_TRACE: &str = "SELECT id FROM trace_rows WHERE trace_id = ?1";
pub(super) const SPAN: &str =
    "INSERT INTO span_rows (trace, span_id, parent_span_id, name, kind, start_ns, \
    duration_ns, status, attributes, types, error, remote_parent, dropped, instance, ring, lease, \
    sequence, written_out) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
    ?15, ?16, ?17, ?18) \
    ON CONFLICT (span_id, trace) DO UPDATE SET \
    parent_span_id = excluded.parent_span_id, name = excluded.name, kind = excluded.kind, \
    start_ns = excluded.start_ns, duration_ns = excluded.duration_ns, status = excluded.status, \
    attributes = excluded.attributes, types = excluded.types, error = excluded.error, \
    remote_parent = excluded.remote_parent, dropped = excluded.dropped, \
    instance = excluded.instance, ring = excluded.ring, lease = excluded.lease, \
    sequence = excluded.sequence, written_out = excluded.written_out \
    WHERE duration_ns IS NULL AND excluded.duration_ns IS NOT NULL";
pub(super) const EVENT: &str =
    "INSERT INTO event_rows (instance, ring, sequence, trace, span_id, type, name, \
    timestamp_ns, attributes, types, dropped) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
    ?11) ON CONFLICT (instance, ring, sequence) DO NOTHING";
pub(super) const METRIC: &str =
    "INSERT INTO metric_rows (instance, ring, sequence, trace, span_id, name, \
    value, value_text, unit, aggregation_type, timestamp_ns, attributes, types, dropped) VALUES \
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
    ON CONFLICT (instance, ring, sequence) DO NOTHING";
pub(super) const LINK: &str = "INSERT INTO link_rows (instance, ring, sequence, trace, span_id, \
    linked_trace_id, linked_span_id, timestamp_ns, attributes, types) VALUES (?1, ?2, ?3, ?4, ?5, \
    ?6, ?7, ?8, ?9, ?10) ON CONFLICT (instance, ring, sequence) DO NOTHING";
pub(super) const CURSOR: &str =
    "INSERT INTO emberlog_cursors (log_id, epoch, offset, instance, updated) \
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (log_id) DO UPDATE SET epoch = excluded.epoch, \
    offset = excluded.offset, instance = excluded.instance, updated = excluded.updated \
    WHERE (excluded.epoch, excluded.offset) > (epoch, offset)";
pub(super) const INSTANCE: &str =
    "INSERT INTO instances (instance, high, low, resource, resource_types, \
    custom, custom_types, derive_events, derive_metrics, max_events_per_span) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (instance) DO UPDATE SET \
    resource = coalesce(excluded.resource, resource), \
    resource_types = coalesce(excluded.resource_types, resource_types), \
    custom = coalesce(excluded.custom, custom), \
    custom_types = coalesce(excluded.custom_types, custom_types), \
    derive_events = max(derive_events, excluded.derive_events), \
    derive_metrics = max(derive_metrics, excluded.derive_metrics), \
    max_events_per_span = coalesce(excluded.max_events_per_span, max_events_per_span) \
    RETURNING id";
pub(super) const COUNT_EVENTS: &str =
    "SELECT count(*) FROM event_rows WHERE trace = ?1 AND span_id = ?2";
pub(super) const TRIM_EVENTS: &str =
    "DELETE FROM event_rows WHERE rowid IN (SELECT rowid FROM event_rows \
    WHERE trace = ?1 AND span_id = ?2 ORDER BY timestamp_ns DESC, rowid DESC LIMIT -1 OFFSET ?3)";

/// Lower-case hex digits of an id, as text for SQL.
pub(super) struct Hex<const N: usize>([u8; N]);

impl<const N: usize> Hex<N> {
    pub(super) fn new(mut bits: u128) -> Self {
        let mut digits = [0; N];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
        Self(digits)
    }
}

impl<const N: usize> ToSql for Hex<N> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

pub(super) fn trace_hex(id: TraceId) -> Hex<32> {
    Hex::new(id.as_u128())
}

pub(super) fn span_hex(id: SpanId) -> Hex<16> {
    Hex::new(u128::from(id.get()))
}

pub(super) fn instance_hex(id: InstanceId) -> Hex<32> {
    Hex::new(u128::from_be_bytes(id.0))
}

/// Attributes as text for SQL; the buffers are used again and again.
#[derive(Debug, Default)]
pub(super) struct Texts {
    json: String,
    types: String,
    error: String,
}

impl Texts {
    pub(super) fn set(&mut self, attributes: &[(String, Value)]) {
        self.json.clear();
        self.types.clear();
        exact::write_json(&mut self.json, attributes);
        exact::write_types(&mut self.types, attributes);
    }

    pub(super) fn json(&self) -> &str {
        &self.json
    }

    pub(super) fn types(&self) -> Option<&str> {
        (!self.types.is_empty()).then_some(self.types.as_str())
    }

    /// `None` if there is none.
    pub(super) fn error(&self) -> Option<&str> {
        (!self.error.is_empty()).then_some(self.error.as_str())
    }

    pub(super) fn set_error(&mut self, error: Option<&SpanError>) {
        let out = &mut self.error;
        out.clear();
        let Some(error) = error else {
            return;
        };
        out.push_str("{\"type\":");
        write_json_str(out, &error.error_type);
        out.push_str(",\"message\":");
        write_json_str(out, &error.message);
        for (i, text) in error.chain.iter().enumerate() {
            out.push_str(if i == 0 { ",\"chain\":[" } else { "," });
            write_json_str(out, text);
        }
        if !error.chain.is_empty() {
            out.push(']');
        }
        if let Some(trace) = &error.stack_trace {
            out.push_str(",\"stack_trace\":");
            write_json_str(out, trace);
        }
        out.push('}');
    }
}
