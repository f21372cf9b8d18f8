//! Rows of the data model as lines of a table.

use emberlog::{AttributeMap, Event, Metric, Span, SpanError, Status, Trace, TraceId, Value};

use super::{
    human,
    table::{Cell, Column},
    Output, Tone,
};

/// Hex digits of a trace id in a table; `trace` and `--trace-id` take them back.
const SHORT_ID: usize = 12;

/// The columns of a table of traces.
pub const TRACES: &[Column] = &[
    Column::text("STARTED", 40),
    Column::text("STATUS", 10),
    Column::number("DURATION"),
    Column::text("NAME", 40),
    Column::text("TRACE", 32),
    Column::text("ERROR AND ATTRIBUTES", 100),
];

/// The columns of a table of spans.
pub const SPANS: &[Column] = &[
    Column::text("STARTED", 40),
    Column::text("STATUS", 10),
    Column::number("DURATION"),
    Column::text("KIND", 16),
    Column::text("NAME", 40),
    Column::text("TRACE", 32),
    Column::text("SPAN", 16),
    Column::text("ERROR OR ATTRIBUTES", 100),
];

/// The columns of a table of events.
pub const EVENTS: &[Column] = &[
    Column::text("TIME", 40),
    Column::text("TYPE", 30),
    Column::text("NAME", 40),
    Column::text("TRACE", 32),
    Column::text("SPAN", 16),
    Column::text("ATTRIBUTES", 100),
];

/// The columns of a table of measurements.
pub const METRICS: &[Column] = &[
    Column::text("TIME", 40),
    Column::text("NAME", 40),
    Column::number("VALUE"),
    Column::text("UNIT", 12),
    Column::text("AGGREGATION", 12),
    Column::text("TRACE", 32),
    Column::text("ATTRIBUTES", 100),
];

/// A trace in the columns of [`TRACES`].
pub fn trace(out: &Output, trace: &Trace) -> Vec<Cell> {
    vec![
        out.time(trace.start_ns).into(),
        status(trace.status, trace.is_active()),
        duration(trace.duration_ns()),
        Cell::toned(Tone::Strong, &trace.name),
        short(trace.trace_id).into(),
        match trace_error(trace) {
            Some(error) => Cell::toned(
                Tone::Bad,
                &format!("{error}  {}", attributes(&trace.attributes)),
            ),
            None => Cell::toned(Tone::Faint, &attributes(&trace.attributes)),
        },
    ]
}

/// A span in the columns of [`SPANS`].
pub fn span(out: &Output, span: &Span) -> Vec<Cell> {
    vec![
        out.time(span.start_ns).into(),
        status(span.status, span.is_active()),
        duration(span.duration_ns),
        span.kind.as_str().into(),
        Cell::toned(Tone::Strong, &span.name),
        short(span.trace_id).into(),
        span.span_id.to_string().into(),
        match &span.error {
            Some(error) => Cell::toned(Tone::Bad, &error_line(error)),
            None => Cell::toned(Tone::Faint, &attributes(&span.attributes)),
        },
    ]
}

/// An event in the columns of [`EVENTS`].
pub fn event(out: &Output, event: &Event) -> Vec<Cell> {
    vec![
        out.time(event.timestamp_ns).into(),
        event.event_type.as_str().into(),
        Cell::toned(Tone::Strong, &event.name),
        event.trace_id.map(short).unwrap_or_default().into(),
        event
            .span_id
            .map(|id| id.to_string())
            .unwrap_or_default()
            .into(),
        Cell::toned(Tone::Faint, &attributes(&event.attributes)),
    ]
}

/// A measurement in the columns of [`METRICS`].
pub fn metric(out: &Output, metric: &Metric) -> Vec<Cell> {
    vec![
        out.time(metric.timestamp_ns).into(),
        Cell::toned(Tone::Strong, &metric.name),
        value(metric).into(),
        metric.unit.as_str().into(),
        metric.aggregation.as_str().into(),
        metric.trace_id.map(short).unwrap_or_default().into(),
        Cell::toned(Tone::Faint, &attributes(&metric.attributes)),
    ]
}

/// The value of a measurement, exact where it is an integer.
pub fn value(metric: &Metric) -> String {
    metric
        .integer
        .map_or_else(|| human::number(metric.value), |v| v.to_string())
}

/// A status with the tone that it deserves.
pub fn status(status: Status, active: bool) -> Cell {
    let (tone, text) = match status {
        Status::Unset if active => (Tone::Odd, "active"),
        Status::Ok => (Tone::Good, "ok"),
        Status::Error => (Tone::Bad, "error"),
        Status::Cancelled | Status::Orphaned => (Tone::Odd, status.as_str()),
        _ => (Tone::Plain, status.as_str()),
    };
    Cell::toned(tone, text)
}

/// A length, or that there is none yet.
pub fn duration(ns: Option<u64>) -> Cell {
    ns.map_or_else(
        || Cell::toned(Tone::Odd, "…"),
        |ns| human::duration(ns).into(),
    )
}

/// An id as short as a command still understands it.
pub fn short(id: TraceId) -> String {
    let mut text = id.to_string();
    text.truncate(SHORT_ID);
    text
}

/// `TimeoutError: no answer in 30 s`. The type stands there as `--error-type` wants it.
pub fn error_line(error: &SpanError) -> String {
    match (error.error_type.as_str(), error.message.as_str()) {
        ("", message) => message.to_owned(),
        (error_type, "") => error_type.to_owned(),
        (error_type, message) => format!("{error_type}: {message}"),
    }
}

/// Why a trace failed: its error lies among its attributes.
pub fn trace_error(trace: &Trace) -> Option<String> {
    let text = |key| {
        trace
            .attributes
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let error = SpanError {
        error_type: text("error.type"),
        message: text("exception.message"),
        ..SpanError::default()
    };
    Some(error_line(&error)).filter(|line| !line.is_empty())
}

/// Whether an attribute belongs to an error, which is shown as a whole.
fn is_error_detail(key: &str) -> bool {
    key == "error.type" || key.starts_with("exception.")
}

/// `key=value key=value`, as much as a line needs.
pub fn attributes(attributes: &AttributeMap) -> String {
    let mut text = String::new();
    for (key, value) in attributes.iter().filter(|(key, _)| !is_error_detail(key)) {
        if text.len() > 400 {
            break; // More than a line ever shows.
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(key);
        text.push('=');
        match value {
            Value::Str(v) if !v.is_empty() && !v.contains([' ', '"', '=']) => {
                text.extend(v.chars().take(400))
            }
            Value::Str(v) => {
                let head: String = v.chars().take(400).collect();
                text.push_str(&format!("{head:?}"));
            }
            Value::Bytes(v) => text.push_str(&format!("<{}>", human::bytes(v.len() as u64))),
            other => text.push_str(&other.to_json()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_fit_a_line() {
        let map: AttributeMap = [
            ("file", Value::from("src/lib.rs")),
            ("text", Value::from("two words")),
            ("n", Value::from(3u64)),
            ("x", Value::F64(f64::NAN)),
            ("blob", Value::Bytes(vec![0; 2048])),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            attributes(&map),
            "file=src/lib.rs text=\"two words\" n=3 x=\"NaN\" blob=<2.00 KiB>"
        );
    }

    #[test]
    fn ids_are_cut_to_a_prefix() {
        assert_eq!(
            short(TraceId::from_u128(0x1234_5678_9abc_0000 << 64 | 1)),
            "123456789abc"
        );
    }
}
