//! The messages of OTLP 1.x that we write: number and JSON name of each field.
//!
//! As in <https://github.com/open-telemetry/opentelemetry-proto>; that they agree is tested
//! against the `opentelemetry-proto` crate.

/// A field: its number in protobuf, its name in JSON.
#[derive(Clone, Copy, Debug)]
pub(in crate::backend::otlp) struct Field(pub u32, pub &'static str);

macro_rules! messages {
    ($($(#[$doc:meta])* $message:ident { $($field:ident = $number:literal $name:literal,)* })*) => {$(
        $(#[$doc])*
        pub(in crate::backend::otlp) mod $message {
            use super::Field;
            $(pub(in crate::backend::otlp) const $field: Field = Field($number, $name);)*
        }
    )*};
}

messages! {
    /// `AnyValue`.
    any {
        STRING = 1 "stringValue",
        BOOL = 2 "boolValue",
        INT = 3 "intValue",
        DOUBLE = 4 "doubleValue",
        ARRAY = 5 "arrayValue",
        KVLIST = 6 "kvlistValue",
        BYTES = 7 "bytesValue",
        // `ArrayValue` and `KeyValueList`.
        VALUES = 1 "values",
    }
    /// `KeyValue`.
    pair {
        KEY = 1 "key",
        VALUE = 2 "value",
    }
    /// `Resource` and `InstrumentationScope`.
    resource {
        ATTRIBUTES = 1 "attributes",
        SCOPE_NAME = 1 "name",
        SCOPE_VERSION = 2 "version",
    }
    /// `Span`.
    span {
        TRACE_ID = 1 "traceId",
        SPAN_ID = 2 "spanId",
        TRACE_STATE = 3 "traceState",
        PARENT = 4 "parentSpanId",
        NAME = 5 "name",
        KIND = 6 "kind",
        START = 7 "startTimeUnixNano",
        END = 8 "endTimeUnixNano",
        ATTRIBUTES = 9 "attributes",
        DROPPED_ATTRIBUTES = 10 "droppedAttributesCount",
        EVENTS = 11 "events",
        DROPPED_EVENTS = 12 "droppedEventsCount",
        LINKS = 13 "links",
        STATUS = 15 "status",
        FLAGS = 16 "flags",
    }
    /// `Span.Event`.
    span_event {
        TIME = 1 "timeUnixNano",
        NAME = 2 "name",
        ATTRIBUTES = 3 "attributes",
        DROPPED_ATTRIBUTES = 4 "droppedAttributesCount",
    }
    /// `Span.Link`.
    span_link {
        TRACE_ID = 1 "traceId",
        SPAN_ID = 2 "spanId",
        ATTRIBUTES = 4 "attributes",
    }
    /// `Status`.
    status {
        MESSAGE = 2 "message",
        CODE = 3 "code",
    }
    /// `LogRecord`.
    log {
        TIME = 1 "timeUnixNano",
        SEVERITY = 2 "severityNumber",
        SEVERITY_TEXT = 3 "severityText",
        BODY = 5 "body",
        ATTRIBUTES = 6 "attributes",
        DROPPED_ATTRIBUTES = 7 "droppedAttributesCount",
        FLAGS = 8 "flags",
        TRACE_ID = 9 "traceId",
        SPAN_ID = 10 "spanId",
        OBSERVED = 11 "observedTimeUnixNano",
        EVENT_NAME = 12 "eventName",
    }
    /// `Metric`.
    metric {
        NAME = 1 "name",
        UNIT = 3 "unit",
        GAUGE = 5 "gauge",
        SUM = 7 "sum",
        HISTOGRAM = 9 "histogram",
        EXPONENTIAL = 10 "exponentialHistogram",
        // `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram`.
        POINTS = 1 "dataPoints",
        TEMPORALITY = 2 "aggregationTemporality",
        MONOTONIC = 3 "isMonotonic",
    }
    /// `NumberDataPoint`.
    number {
        START = 2 "startTimeUnixNano",
        TIME = 3 "timeUnixNano",
        DOUBLE = 4 "asDouble",
        EXEMPLARS = 5 "exemplars",
        INT = 6 "asInt",
        ATTRIBUTES = 7 "attributes",
    }
    /// `HistogramDataPoint`.
    histogram {
        START = 2 "startTimeUnixNano",
        TIME = 3 "timeUnixNano",
        COUNT = 4 "count",
        SUM = 5 "sum",
        COUNTS = 6 "bucketCounts",
        BOUNDS = 7 "explicitBounds",
        EXEMPLARS = 8 "exemplars",
        ATTRIBUTES = 9 "attributes",
        MIN = 11 "min",
        MAX = 12 "max",
    }
    /// `ExponentialHistogramDataPoint`.
    exponential {
        ATTRIBUTES = 1 "attributes",
        START = 2 "startTimeUnixNano",
        TIME = 3 "timeUnixNano",
        COUNT = 4 "count",
        SUM = 5 "sum",
        SCALE = 6 "scale",
        ZERO_COUNT = 7 "zeroCount",
        POSITIVE = 8 "positive",
        NEGATIVE = 9 "negative",
        EXEMPLARS = 11 "exemplars",
        MIN = 12 "min",
        MAX = 13 "max",
        // `Buckets`.
        OFFSET = 1 "offset",
        COUNTS = 2 "bucketCounts",
    }
    /// `Exemplar`.
    exemplar {
        TIME = 2 "timeUnixNano",
        DOUBLE = 3 "asDouble",
        SPAN_ID = 4 "spanId",
        TRACE_ID = 5 "traceId",
        INT = 6 "asInt",
    }
}
