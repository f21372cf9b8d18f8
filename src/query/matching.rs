//! What a [`Filter`] means, row by row. Every readable store must agree with this file.
//!
//! - A field for which a kind of row has no counterpart is not looked at: `status`, `active` and
//!   `min_duration` for events, metrics and links; `kind` for all but spans; `event_type` for all
//!   but events; `span_id` for traces; `name` for links.
//! - A key in [`aliases`] finds a value under any of its spellings.
//! - `graph` and `graph_version` hold for a span, event, metric or link if they hold for its own
//!   attributes or for its trace.

use crate::{
    model::{AttributeMap, Event, Link, Metric, Span, SpanError, Trace},
    query::filter::{Filter, DEFAULT_LIMIT, DEFAULT_TRACE_LIMIT},
    record::{kinds::EventType, value::Value},
};

/// Spellings of the node's id.
pub(crate) const NODE_ID: &[&str] = &["node.id", "node_id"];
/// Spellings of the graph's id.
pub(crate) const GRAPH_ID: &[&str] = &["graph_id", "graph.id"];
/// Spellings of the graph's version.
pub(crate) const GRAPH_VERSION: &[&str] = &["graph_version", "graph.version"];
/// Spellings of the type of an error.
pub(crate) const ERROR_TYPE: &[&str] = &["error.type", "error_type"];
/// Where the type of an error may stand in a record.
pub(crate) const ERROR_TYPE_RECORDED: &[&str] = &["error.type", "error_type", "exception.type"];

const ALIASES: &[&[&str]] = &[
    NODE_ID,
    &["node.name", "node_name"],
    &["node.type", "node_type"],
    ERROR_TYPE,
    GRAPH_ID,
    GRAPH_VERSION,
    &["graph_type", "graph.type"],
];

/// Every spelling of an attribute key, if it has several.
pub(crate) fn aliases(key: &str) -> Option<&'static [&'static str]> {
    ALIASES.iter().find(|group| group.contains(&key)).copied()
}

/// Whether a type of error is the one that is asked for: in full, or by the last segments of its
/// path, `TimeoutError` for `client::errors::TimeoutError` or `requests.exceptions.TimeoutError`.
pub(crate) fn is_error_type(found: &str, wanted: &str) -> bool {
    found == wanted
        || found
            .strip_suffix(wanted)
            .is_some_and(|path| !wanted.is_empty() && (path.ends_with("::") || path.ends_with('.')))
}

/// Whether any of `keys` has a type of error that is the one that is asked for.
fn any_is_error_type(attributes: &AttributeMap, keys: &[&str], wanted: &str) -> bool {
    let values = keys.iter().filter_map(|key| attributes.get(key));
    values
        .filter_map(Value::as_str)
        .any(|found| is_error_type(found, wanted))
}

/// Whether `attributes` have `text` under any of `keys`.
fn any_is(attributes: &AttributeMap, keys: &[&str], text: &str) -> bool {
    keys.iter()
        .filter_map(|key| attributes.get(key))
        .any(|value| value.matches_text(text))
}

impl Filter {
    /// Most traces that the query returns.
    pub(crate) fn trace_limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_TRACE_LIMIT)
    }

    /// Most rows that a query for anything but traces returns.
    pub(crate) fn row_limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// Whether the graph matters, so that rows need their trace.
    pub(crate) fn wants_graph(&self) -> bool {
        self.graph.is_some() || self.graph_version.is_some()
    }

    /// Whether a row can only be judged with its attributes.
    pub(crate) fn wants_attributes(&self) -> bool {
        !self.attributes.is_empty()
            || self.node.is_some()
            || self.error_type.is_some()
            || self.wants_graph()
    }

    /// Whether a start or timestamp lies in the time that is asked for.
    pub(crate) fn accepts_time(&self, unix_ns: i64) -> bool {
        self.since_ns.is_none_or(|since| unix_ns >= since)
            && self.until_ns.is_none_or(|until| unix_ns <= until)
    }

    /// Whether a name fits.
    pub(crate) fn accepts_name(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|p| p.matches(name))
    }

    /// Whether a length fits; `None` is a row that still runs.
    pub(crate) fn accepts_duration(&self, ns: Option<u64>) -> bool {
        self.min_duration
            .is_none_or(|min| ns.is_some_and(|ns| u128::from(ns) >= min.as_nanos()))
            && (!self.active || ns.is_none())
    }

    /// Whether the type of an event fits.
    pub(crate) fn accepts_event_type(&self, event_type: &EventType) -> bool {
        self.event_type
            .as_deref()
            .is_none_or(|text| EventType::new(text) == *event_type)
    }

    fn accepts_attributes(&self, attributes: &AttributeMap) -> bool {
        let node = self.node.as_deref();
        node.is_none_or(|node| any_is(attributes, NODE_ID, node))
            && self.attributes.iter().all(|(key, text)| {
                let single = [key.as_str()];
                any_is(attributes, aliases(key).unwrap_or(&single), text)
            })
    }

    fn accepts_error_type(&self, attributes: &AttributeMap) -> bool {
        self.error_type
            .as_deref()
            .is_none_or(|text| any_is_error_type(attributes, ERROR_TYPE_RECORDED, text))
    }

    /// Whether a trace is of the graph.
    pub(crate) fn accepts_graph(&self, trace: &Trace) -> bool {
        let attributes = &trace.attributes;
        self.graph
            .as_deref()
            .is_none_or(|graph| match attributes.first_of(GRAPH_ID) {
                Some(_) => any_is(attributes, GRAPH_ID, graph),
                None => trace.name == graph,
            })
            && self
                .graph_version
                .as_deref()
                .is_none_or(|version| any_is(attributes, GRAPH_VERSION, version))
    }

    /// Whether a row with these attributes, in this trace, is of the graph.
    pub(crate) fn accepts_graph_of(&self, own: &AttributeMap, trace: Option<&Trace>) -> bool {
        let own_is = |wanted: &Option<String>, keys: &[&str]| {
            wanted.as_deref().is_none_or(|text| any_is(own, keys, text))
        };
        !self.wants_graph()
            || own_is(&self.graph, GRAPH_ID) && own_is(&self.graph_version, GRAPH_VERSION)
            || trace.is_some_and(|trace| self.accepts_graph(trace))
    }

    /// Whether a trace fits.
    pub(crate) fn accepts_trace(&self, trace: &Trace) -> bool {
        self.trace_id.is_none_or(|id| id == trace.trace_id)
            && self.status.is_none_or(|status| status == trace.status)
            && self.accepts_time(trace.start_ns)
            && self.accepts_duration(trace.duration_ns())
            && self.accepts_name(&trace.name)
            && self.accepts_attributes(&trace.attributes)
            && self.accepts_error_type(&trace.attributes)
            && self.accepts_graph(trace)
    }

    /// Whether a span fits; its trace is needed where [`Filter::wants_graph`].
    pub(crate) fn accepts_span(&self, span: &Span, trace: Option<&Trace>) -> bool {
        self.trace_id.is_none_or(|id| id == span.trace_id)
            && self.span_id.is_none_or(|id| id == span.span_id)
            && self.kind.is_none_or(|kind| kind == span.kind)
            && self.status.is_none_or(|status| status == span.status)
            && self.accepts_time(span.start_ns)
            && self.accepts_duration(span.duration_ns)
            && self.accepts_name(&span.name)
            && self.accepts_attributes(&span.attributes)
            && self.error_type.as_deref().is_none_or(|text| {
                let of = |error: &SpanError| is_error_type(&error.error_type, text);
                span.error.as_ref().is_some_and(of)
                    || any_is_error_type(&span.attributes, ERROR_TYPE, text)
            })
            && self.accepts_graph_of(&span.attributes, trace)
    }

    /// Whether an event fits; its trace is needed where [`Filter::wants_graph`].
    pub(crate) fn accepts_event(&self, event: &Event, trace: Option<&Trace>) -> bool {
        self.trace_id.is_none_or(|id| Some(id) == event.trace_id)
            && self.span_id.is_none_or(|id| Some(id) == event.span_id)
            && !(self.recorded_only && event.derived)
            && self.accepts_time(event.timestamp_ns)
            && self.accepts_name(&event.name)
            && self.accepts_event_type(&event.event_type)
            && self.accepts_attributes(&event.attributes)
            && self.accepts_error_type(&event.attributes)
            && self.accepts_graph_of(&event.attributes, trace)
    }

    /// Whether a metric fits; its trace is needed where [`Filter::wants_graph`].
    pub(crate) fn accepts_metric(&self, metric: &Metric, trace: Option<&Trace>) -> bool {
        self.trace_id.is_none_or(|id| Some(id) == metric.trace_id)
            && self.span_id.is_none_or(|id| Some(id) == metric.span_id)
            && !(self.recorded_only && metric.derived)
            && self.accepts_time(metric.timestamp_ns)
            && self.accepts_name(&metric.name)
            && self.accepts_attributes(&metric.attributes)
            && self.accepts_error_type(&metric.attributes)
            && self.accepts_graph_of(&metric.attributes, trace)
    }

    /// Whether a link fits; its trace is needed where [`Filter::wants_graph`].
    pub(crate) fn accepts_link(&self, link: &Link, trace: Option<&Trace>) -> bool {
        self.trace_id.is_none_or(|id| id == link.trace_id)
            && self.span_id.is_none_or(|id| Some(id) == link.span_id)
            && self.accepts_time(link.timestamp_ns)
            && self.accepts_attributes(&link.attributes)
            && self.accepts_error_type(&link.attributes)
            && self.accepts_graph_of(&link.attributes, trace)
    }

    /// What must stand among a record's own or its instance's attributes for it to have a chance:
    /// one of the keys, with the text. Cheap to test, see [`Needle`].
    pub(crate) fn needles(&self) -> Vec<Needle> {
        let fixed = |keys: &[&str], text: &Option<String>| {
            text.as_deref().map(|text| Needle::new(keys, text))
        };
        let mut needles: Vec<Needle> = fixed(NODE_ID, &self.node)
            .into_iter()
            .chain(self.error_type.as_deref().map(Needle::error_type))
            .collect();
        for (key, text) in &self.attributes {
            needles.push(match aliases(key) {
                Some(group) if group == ERROR_TYPE => Needle::new(ERROR_TYPE_RECORDED, text),
                Some(group) => Needle::new(group, text),
                None => Needle::new(&[key], text),
            });
        }
        needles
    }
}

/// A necessary condition on attributes, tested without making rows.
#[derive(Clone, Debug)]
pub(crate) struct Needle {
    keys: Vec<String>,
    text: String,
    /// Whether the text may be the end of a path.
    path: bool,
}

impl Needle {
    fn new(keys: &[&str], text: &str) -> Self {
        Self {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            text: text.to_owned(),
            path: false,
        }
    }

    fn error_type(text: &str) -> Self {
        Self {
            path: true,
            ..Self::new(ERROR_TYPE_RECORDED, text)
        }
    }

    /// Whether this attribute is it.
    pub(crate) fn is(&self, key: &str, value: impl FnOnce() -> Value) -> bool {
        let is = |value: Value| match (self.path, value.as_str()) {
            (true, Some(text)) => is_error_type(text, &self.text),
            _ => value.matches_text(&self.text),
        };
        self.keys.iter().any(|k| k == key) && is(value())
    }

    /// Whether this text attribute is it; `None` if the value is no text.
    pub(crate) fn is_text(&self, key: &str, value: &str) -> bool {
        let is = match self.path {
            true => is_error_type(value, &self.text),
            false => value == self.text,
        };
        is && self.keys.iter().any(|k| k == key)
    }
}

#[cfg(test)]
mod tests {
    use super::is_error_type;

    #[test]
    fn a_type_of_error_by_its_last_segments() {
        for wanted in ["client::errors::Timeout", "errors::Timeout", "Timeout"] {
            assert!(is_error_type("client::errors::Timeout", wanted), "{wanted}");
        }
        assert!(is_error_type("requests.exceptions.Timeout", "Timeout"));
        for wanted in [
            "",
            "out",
            "client",
            "client::errors",
            "::Timeout",
            "timeout",
        ] {
            assert!(
                !is_error_type("client::errors::Timeout", wanted),
                "{wanted}"
            );
        }
        assert!(is_error_type("", ""));
    }
}
