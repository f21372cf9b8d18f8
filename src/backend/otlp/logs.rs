//! Events as OTLP's log records.

use super::{
    encode::{
        fields::{any, log},
        Out,
    },
    spans::TIME,
    values::{pairs, unix},
};
use crate::{
    model::Event,
    record::{
        id::{root_span_id, InstanceId, SpanId},
        value::Value,
    },
};

/// Number and name of a severity.
type Severity = (u32, &'static str);

const SEVERITIES: [Severity; 6] = [
    (1, "TRACE"),
    (5, "DEBUG"),
    (9, "INFO"),
    (13, "WARN"),
    (17, "ERROR"),
    (21, "FATAL"),
];

/// What the event says itself, else what its type means.
fn severity(event: &Event) -> Severity {
    let said = event
        .attributes
        .first_of(&["severity", "severity_text", "level", "log.level"]);
    let said = said.and_then(Value::as_str).and_then(|said| {
        let said = match said {
            word if word.eq_ignore_ascii_case("warning") => "WARN",
            word if word.eq_ignore_ascii_case("critical") => "FATAL",
            word => word,
        };
        SEVERITIES
            .into_iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(said))
    });
    said.unwrap_or_else(|| match event.event_type.as_str() {
        "node.failed" | "graph.failed" | "error.occurred" => SEVERITIES[4],
        "retry.attempted" => SEVERITIES[3],
        _ => SEVERITIES[2],
    })
}

/// Writes the fields of a log record.
pub(super) fn write_log<O: Out>(out: &mut O, event: &Event, instance: InstanceId) {
    let (number, name) = severity(event);
    out.fixed64(log::TIME, unix(event.timestamp_ns));
    out.uint32(log::SEVERITY, number);
    out.text(log::SEVERITY_TEXT, name);
    out.message(log::BODY, |out| out.some_text(any::STRING, &event.name));
    pairs(out, log::ATTRIBUTES, |pairs| {
        pairs.all(&event.attributes);
        if event.attributes.get("log.record.uid").is_none() {
            // Lets a receiver see what came twice.
            pairs.text("log.record.uid", &format!("{:032x}", event.event_id));
        }
        if event.timestamp_ns < 0 {
            pairs.int(TIME, event.timestamp_ns);
        }
    });
    out.uint32(log::DROPPED_ATTRIBUTES, event.dropped_attributes);
    if let Some(trace) = event.trace_id {
        let span = event.span_id.map(SpanId::get);
        let span = span.unwrap_or_else(|| root_span_id(trace, instance).get());
        out.fixed32(log::FLAGS, 1);
        out.id(log::TRACE_ID, &trace.0);
        out.id(log::SPAN_ID, &span.to_be_bytes());
    } else if let Some(span) = event.span_id {
        out.id(log::SPAN_ID, &span.get().to_be_bytes());
    }
    out.fixed64(log::OBSERVED, unix(event.timestamp_ns));
    out.text(log::EVENT_NAME, event.event_type.as_str());
}
