//! What is known of a trace and of what belongs to it, in numbers.
//!
//! `log` makes these out of records, `rows` out of rows; from here on nobody knows the difference.

use smallvec::SmallVec;

use crate::{
    model::weight,
    record::{
        id::{InstanceId, TraceId},
        kinds::{EventType, SpanKind, Status},
    },
};

use super::{
    fields::{self, Fields, Group},
    texts::{Texts, NONE},
};

/// Which traces are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub(super) graph: Option<String>,
    /// Empty: any. Each makes a group of its own.
    pub(super) versions: Vec<String>,
    /// First start that counts, Unix nanoseconds.
    pub(super) since_ns: i64,
    /// Last start that counts, Unix nanoseconds.
    pub(super) until_ns: i64,
}

/// A trace that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceFacts {
    pub(super) id: TraceId,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) status: Status,
    /// How many traces it stands for.
    pub(super) weight: f64,
    /// Text of its version, [`NONE`] if it has none.
    pub(super) version: u32,
    /// Bit per group that it is in.
    pub(super) groups: u8,
}

impl TraceFacts {
    pub(super) fn duration_ns(&self) -> u64 {
        u64::try_from(self.end_ns.saturating_sub(self.start_ns)).unwrap_or(0)
    }
}

/// A span that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanFacts {
    pub(super) id: u64,
    /// 0 if none.
    pub(super) parent: u64,
    pub(super) start_ns: i64,
    pub(super) duration_ns: u64,
    /// What it is counted under: text of `node.id`, else its name.
    pub(super) node: u32,
    /// Text of `node.name`, [`NONE`] if it has none.
    pub(super) node_name: u32,
    /// Place in [`Parts::details`], [`NONE`] if it has none.
    pub(super) details: u32,
    pub(super) status: Status,
    pub(super) kind: SpanKind,
    pub(super) has_node_id: bool,
}

impl SpanFacts {
    pub(super) fn end_ns(&self) -> i64 {
        self.start_ns.saturating_add_unsigned(self.duration_ns)
    }
}

/// What few spans have.
#[derive(Clone, Debug)]
pub(super) struct Details {
    /// Text of the type of the error; [`NONE`] if it names none.
    pub(super) error_type: u32,
    pub(super) message: Box<str>,
    pub(super) retries: Option<u64>,
    /// Text, [`NONE`] if none.
    pub(super) model: u32,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// Nodes that it says it comes after, each once.
    pub(super) after: SmallVec<[u32; 2]>,
}

impl Details {
    pub(super) fn none() -> Self {
        Self {
            error_type: NONE,
            message: Box::default(),
            retries: None,
            model: NONE,
            input_tokens: None,
            output_tokens: None,
            after: SmallVec::new(),
        }
    }
}

/// What an event tells the analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventClass {
    EdgeTaken,
    NodeFailed,
    RetryAttempted,
}

impl EventClass {
    pub(super) fn of(event_type: &EventType) -> Option<Self> {
        match event_type.as_str() {
            "edge.taken" => Some(Self::EdgeTaken),
            "node.failed" => Some(Self::NodeFailed),
            "retry.attempted" => Some(Self::RetryAttempted),
            _ => None,
        }
    }
}

/// An event that was recorded.
#[derive(Clone, Debug)]
pub(super) struct EventFacts {
    pub(super) class: EventClass,
    pub(super) at_ns: i64,
    /// 0 if none.
    pub(super) span: u64,
    /// What it is about: node or source of an edge; [`NONE`] if it does not say.
    pub(super) node: u32,
    /// Name of the node; [`NONE`] if it does not say.
    pub(super) node_name: u32,
    /// Target of an edge; [`NONE`] if it does not say.
    pub(super) to: u32,
    pub(super) error_type: u32,
    pub(super) message: Box<str>,
}

/// What a metric is to the analysis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MetricClass {
    pub(super) is_cost: bool,
    pub(super) is_tokens: bool,
    /// Number of the objective that asks for it, plus one; 0 if none does.
    pub(super) objective: u8,
}

impl MetricClass {
    pub(super) fn matters(self) -> bool {
        self != Self::default()
    }
}

/// A measurement that was recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetricFacts {
    pub(super) class: MetricClass,
    pub(super) value: f64,
    /// 0 if none.
    pub(super) span: u64,
    /// [`NONE`] if it does not say.
    pub(super) node: u32,
    /// [`NONE`] if it does not say.
    pub(super) model: u32,
}

/// Everything that belongs to a trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) spans: Vec<SpanFacts>,
    pub(super) details: Vec<Details>,
    pub(super) events: Vec<EventFacts>,
    pub(super) metrics: Vec<MetricFacts>,
}

impl Parts {
    pub(super) fn clear(&mut self) {
        self.spans.clear();
        self.details.clear();
        self.events.clear();
        self.metrics.clear();
    }

    /// The details of a span.
    pub(super) fn details_of(&self, span: &SpanFacts) -> Option<&Details> {
        self.details.get(span.details as usize)
    }
}

/// The texts that facts refer to.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// What spans are counted under.
    pub(super) nodes: Texts,
    /// Everything else.
    pub(super) texts: Texts,
}

impl Names {
    fn text(&mut self, fields: &Fields<'_>, group: Group) -> u32 {
        let text = fields.text(group);
        text.map_or(NONE, |text| self.texts.id(&text))
    }

    fn node(&mut self, fields: &Fields<'_>, group: Group) -> u32 {
        let text = fields.text(group);
        text.map_or(NONE, |text| self.nodes.id(&text))
    }
}

/// A span before its attributes were looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareSpan {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) start_ns: i64,
    pub(super) duration_ns: u64,
    pub(super) status: Status,
    pub(super) kind: SpanKind,
}

/// Makes the facts of a span. `by_name` gives the number of its name, which it is counted under
/// if it has no node id.
pub(super) fn span(
    bare: BareSpan,
    fields: &Fields<'_>,
    names: &mut Names,
    details: &mut Vec<Details>,
    by_name: impl FnOnce(&mut Texts) -> u32,
) -> SpanFacts {
    let node = names.node(fields, fields::NODE_ID);
    let failed = failed(bare.status);
    let mut after = SmallVec::new();
    fields.texts(fields::NODE_AFTER, |text| {
        let node = names.nodes.id(text);
        if !after.contains(&node) {
            after.push(node);
        }
    });
    let more = Details {
        error_type: NONE,
        message: Box::default(),
        retries: fields.count(fields::RETRY_COUNT),
        model: names.text(fields, fields::MODEL),
        input_tokens: fields.count(fields::INPUT_TOKENS),
        output_tokens: fields.count(fields::OUTPUT_TOKENS),
        after,
    };
    let has_more = failed
        || !more.after.is_empty()
        || more.retries.is_some()
        || more.model != NONE
        || more.input_tokens.is_some()
        || more.output_tokens.is_some();
    let mut place = NONE;
    if has_more {
        place = details.len() as u32;
        details.push(if failed {
            Details {
                error_type: names.text(fields, fields::ERROR_TYPE),
                message: message(fields),
                ..more
            }
        } else {
            more
        });
    }
    SpanFacts {
        id: bare.id,
        parent: bare.parent,
        start_ns: bare.start_ns,
        duration_ns: bare.duration_ns,
        node: match node {
            NONE => by_name(&mut names.nodes),
            node => node,
        },
        node_name: names.text(fields, fields::NODE_NAME),
        details: place,
        status: bare.status,
        kind: bare.kind,
        has_node_id: node != NONE,
    }
}

/// Makes the facts of an event.
pub(super) fn event(
    class: EventClass,
    at_ns: i64,
    span: u64,
    fields: &Fields<'_>,
    names: &mut Names,
) -> EventFacts {
    let is_edge = class == EventClass::EdgeTaken;
    let about = if is_edge {
        fields::EDGE_FROM
    } else {
        fields::NODE_ID
    };
    EventFacts {
        class,
        at_ns,
        span,
        node: names.node(fields, about),
        node_name: names.text(fields, fields::NODE_NAME),
        to: match is_edge {
            true => names.node(fields, fields::EDGE_TO),
            false => NONE,
        },
        error_type: names.text(fields, fields::ERROR_TYPE),
        message: message(fields),
    }
}

/// Makes the facts of a measurement.
pub(super) fn metric(
    class: MetricClass,
    value: f64,
    span: u64,
    fields: &Fields<'_>,
    names: &mut Names,
) -> MetricFacts {
    MetricFacts {
        class,
        value,
        span,
        node: names.node(fields, fields::NODE_ID),
        model: names.text(fields, fields::MODEL),
    }
}

fn message(fields: &Fields<'_>) -> Box<str> {
    let text = fields.text(fields::ERROR_MESSAGE);
    text.map_or_else(Box::default, |text| text.as_ref().into())
}

/// Whether a status counts as a failure of what has it: all but ok and no verdict.
pub(super) fn failed(status: Status) -> bool {
    matches!(status, Status::Error | Status::Cancelled | Status::Orphaned)
}

/// What the attributes of a trace say, key by key, so that later ones can replace earlier ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Per spelling: whether it is the graph that is asked for.
    graph: [Option<bool>; 2],
    /// Per spelling: bit per version that it is, text of the version.
    version: [Option<(u8, u32)>; 2],
    rate: Option<f64>,
}

impl Marks {
    pub(super) fn of(fields: &Fields<'_>, wanted: &Wanted, texts: &mut Texts) -> Self {
        let mut this = Self::default();
        for (key, slot) in fields::GRAPH_ID.zip(&mut this.graph) {
            let graph = wanted.graph.as_deref();
            *slot = fields
                .get(key)
                .map(|value| graph.is_none_or(|graph| value.matches(graph)));
        }
        for (key, slot) in fields::GRAPH_VERSION.zip(&mut this.version) {
            let Some(value) = fields.get(key) else {
                continue;
            };
            let versions = wanted.versions.iter().enumerate();
            let bits = versions.fold(0, |bits, (no, version)| {
                bits | u8::from(value.matches(version)) << no
            });
            let text = value.text().map_or(NONE, |text| texts.id(&text));
            *slot = Some((bits, text));
        }
        let rate = fields.first(fields::SAMPLING_RATE);
        this.rate = rate.and_then(|rate| rate.number());
        this
    }

    /// What `others` say counts where they say something.
    fn replace_by(&mut self, others: &Self) {
        for (slot, other) in self.graph.iter_mut().zip(others.graph) {
            *slot = other.or(*slot);
        }
        for (slot, other) in self.version.iter_mut().zip(others.version) {
            *slot = other.or(*slot);
        }
        self.rate = others.rate.or(self.rate);
    }
}

/// One record that speaks of a trace: a start, an end, or an open one in a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct TracePart {
    pub(super) start_ns: i64,
    /// `None`: it is a start.
    pub(super) end: Option<(i64, Status)>,
    pub(super) instance: InstanceId,
    /// Probability with which it was kept.
    pub(super) rate: f64,
    /// Whether its name is the graph that is asked for; `None` if it has no name.
    pub(super) named: Option<bool>,
    pub(super) marks: Marks,
    /// What the instance says about all of its rows.
    pub(super) of_instance: Marks,
    /// Whether a ring showed it; the record itself counts where there is one.
    pub(super) is_open: bool,
}

/// A trace put together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Assembled {
    /// It counts.
    Ended(TraceFacts),
    /// It would count if it had ended.
    Running,
    /// It is not asked for, or nothing tells when it began.
    Other,
}

/// Puts a trace together as queries do: earliest start, latest end, attributes of the ends over
/// those of the starts. `orphaned_at` tells when those who began it died, if they did.
pub(super) fn assemble(
    id: TraceId,
    parts: &mut SmallVec<[TracePart; 2]>,
    wanted: &Wanted,
    orphaned_at: impl Fn(&[InstanceId]) -> Option<i64>,
) -> Assembled {
    let Some(start_ns) = parts.iter().map(|part| part.start_ns).min() else {
        return Assembled::Other;
    };
    if start_ns < wanted.since_ns || start_ns > wanted.until_ns {
        return Assembled::Other;
    }
    let began: SmallVec<[InstanceId; 2]> = parts.iter().map(|part| part.instance).collect();
    if parts.iter().any(|part| part.end.is_none() && !part.is_open) {
        parts.retain(|part| !part.is_open);
    }
    parts.sort_by_key(|part| {
        let end = part.end.map(|(end, _)| end);
        (end.is_some(), end, part.start_ns, part.instance)
    });
    let Some(first) = parts.first() else {
        return Assembled::Other;
    };
    let mut marks = Marks::default();
    let mut named = None;
    if first.end.is_some() {
        // Its start is gone, and with it what the instance had filled in there.
        for part in parts.iter().rev() {
            marks.replace_by(&part.of_instance);
        }
    }
    for part in parts.iter() {
        if part.end.is_none() {
            marks.replace_by(&part.of_instance);
        }
        marks.replace_by(&part.marks);
        named = named.or(part.named);
    }
    let is_graph = match marks.graph {
        _ if wanted.graph.is_none() => true,
        [None, None] => named == Some(true),
        spellings => spellings.contains(&Some(true)),
    };
    let versions = marks.version.iter().flatten();
    let groups = match wanted.versions.is_empty() {
        true => 1,
        false => versions.clone().fold(0, |bits, (of, _)| bits | of),
    };
    if !is_graph || groups == 0 {
        return Assembled::Other;
    }
    let ends = parts.iter().filter_map(|part| part.end);
    let end = ends.max_by_key(|(end, _)| *end);
    let orphaned = || Some((orphaned_at(&began)?.max(start_ns), Status::Orphaned));
    let Some((end_ns, status)) = end.or_else(orphaned) else {
        return Assembled::Running;
    };
    let version = versions.map(|(_, text)| *text).next();
    Assembled::Ended(TraceFacts {
        id,
        start_ns,
        end_ns,
        status,
        weight: weight(marks.rate.unwrap_or(first.rate)),
        version: version.unwrap_or(NONE),
        groups,
    })
}
