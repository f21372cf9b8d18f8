//! Traces added up, one whole trace at a time.
//!
//! Always true:
//! - nothing of a trace is kept but a few numbers, and its id where it is an example

use std::collections::BTreeMap;

use ahash::AHashMap;

use crate::record::{
    id::TraceId,
    kinds::{SpanKind, Status},
};

use super::{
    analyzer::CostRule,
    facts::{failed, EventClass, MetricClass, MetricFacts, Names, Parts, SpanFacts, TraceFacts},
    newest::{Moment, Top},
    node::{NodeTally, Strata, EXAMPLES},
    objectives::Objective,
    series::Series,
    shape::Shape,
    texts::NONE,
};

/// Most different sequences of nodes that are told apart; the rest is counted together.
pub(super) const MOST_PATHS: usize = 10_000;
/// Messages that a failure shows.
pub(super) const MESSAGES: usize = 3;

/// One tally per group of [`Wanted`](super::facts::Wanted), and what they share.
#[derive(Debug)]
pub(super) struct Tallies {
    pub(super) names: Names,
    pub(super) groups: Vec<Tally>,
    /// Traces that would count if they had ended.
    pub(super) running: u64,
    shape: Shape,
    costs: CostRule,
    objectives: Vec<String>,
}

impl Tallies {
    pub(super) fn new(groups: usize, costs: &CostRule, objectives: &[Objective]) -> Self {
        let names = objectives.iter().map(|objective| objective.name.clone());
        Self {
            names: Names::default(),
            groups: (0..groups).map(|_| Tally::default()).collect(),
            running: 0,
            shape: Shape::default(),
            costs: costs.clone(),
            objectives: names.collect(),
        }
    }

    /// What a metric is to the analysis.
    pub(super) fn classify(&self, name: &str, unit: &str) -> MetricClass {
        let objective = self.objectives.iter().position(|wanted| wanted == name);
        MetricClass {
            is_cost: self.costs.is_cost(name, unit),
            is_tokens: is_tokens(name),
            objective: objective.map_or(0, |at| (at + 1).min(255) as u8),
        }
    }

    /// Adds a trace.
    pub(super) fn add(&mut self, trace: &TraceFacts, parts: &Parts) {
        self.shape.look(trace, parts);
        for (no, tally) in self.groups.iter_mut().enumerate() {
            if trace.groups & 1 << no != 0 {
                tally.add(trace, parts, &self.shape);
            }
        }
    }

    /// Adds measurements of a trace that was added before.
    pub(super) fn add_metrics(&mut self, trace: &TraceFacts, parts: &Parts) {
        self.shape.look(trace, parts);
        for (no, tally) in self.groups.iter_mut().enumerate() {
            if trace.groups & 1 << no != 0 {
                tally.add_metrics(trace, parts, &self.shape);
            }
        }
    }
}

fn is_tokens(name: &str) -> bool {
    name == "tokens" || name.ends_with(".tokens") || name.ends_with("_tokens")
}

/// A kind of failure.
#[derive(Clone, Debug)]
pub(super) struct FailureTally {
    pub(super) count: u64,
    pub(super) estimated: f64,
    /// Of the first that is seen, newest first.
    pub(super) first: Moment,
    pub(super) name: u32,
    pub(super) messages: Top<Moment, Box<str>, MESSAGES>,
    pub(super) examples: Top<Moment, TraceId, EXAMPLES>,
    /// Unix nanoseconds of the earliest and the latest.
    pub(super) times: (i64, i64),
}

/// An edge between two nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EdgeTally {
    pub(super) count: u64,
    pub(super) estimated: f64,
    /// Those whose wait is known.
    pub(super) waits: u64,
    pub(super) wait_ns: u128,
    pub(super) longest_ns: u64,
    pub(super) recorded: bool,
}

/// A model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ModelTally {
    pub(super) calls: u64,
    pub(super) cost: Option<f64>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) other_tokens: f64,
}

/// Sequences of nodes with what they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequences {
    pub(super) known: AHashMap<Box<[u32]>, (u64, u128)>,
    /// Traces with a sequence that is not among them.
    pub(super) others: u64,
}

impl Sequences {
    fn add(&mut self, nodes: &[u32], duration_ns: u64) {
        if let Some(known) = self.known.get_mut(nodes) {
            known.0 += 1;
            known.1 += u128::from(duration_ns);
        } else if self.known.len() < MOST_PATHS {
            self.known
                .insert(nodes.into(), (1, u128::from(duration_ns)));
        } else {
            self.others += 1;
        }
    }
}

/// Sums of costs per trace, for means and their spread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CostSums {
    /// As recorded; `None` without any.
    pub(super) total: Option<f64>,
    pub(super) weighted: f64,
    pub(super) weighted_squares: f64,
}

/// The measurements of an objective.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ObjectiveSums {
    pub(super) weight: f64,
    pub(super) weighted: f64,
}

/// What is added up of the traces of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// All traces; their successes are those with the status ok.
    pub(super) traces: Strata,
    pub(super) series: Series,
    pub(super) slowest: Top<(u64, Moment), TraceId, EXAMPLES>,
    pub(super) failing: Top<Moment, TraceId, EXAMPLES>,
    /// Start of the first and of the last, Unix nanoseconds.
    pub(super) times: Option<(i64, i64)>,
    pub(super) spans: u64,
    /// By number of the node.
    pub(super) nodes: Vec<NodeTally>,
    pub(super) failures: AHashMap<(u32, u32), FailureTally>,
    pub(super) edges: AHashMap<(u32, u32), EdgeTally>,
    pub(super) paths: Sequences,
    pub(super) chains: Sequences,
    pub(super) outside_ns: f64,
    pub(super) critical_ns: f64,
    pub(super) costs: CostSums,
    pub(super) models: AHashMap<u32, ModelTally>,
    pub(super) objectives: BTreeMap<u8, ObjectiveSums>,
    /// Per version: traces, start of the first one.
    pub(super) versions: AHashMap<u32, (u64, i64)>,
}

impl Tally {
    pub(super) fn sort(&mut self) {
        self.traces.sort();
        self.nodes.iter_mut().for_each(|node| node.strata.sort());
    }

    fn add(&mut self, trace: &TraceFacts, parts: &Parts, shape: &Shape) {
        let number = self.traces.count() + 1;
        let duration_ns = trace.duration_ns();
        let ok = trace.status == Status::Ok;
        let stratum = self.traces.of(trace.weight);
        stratum.durations.push(duration_ns);
        stratum.successes += u64::from(ok);
        self.series.add(trace.start_ns, duration_ns, !ok);
        let moment = moment(trace, trace.start_ns, 0);
        self.slowest.add_once((duration_ns, moment), trace.id);
        if !ok {
            self.failing.add_once(moment, trace.id);
        }
        let (first, last) = self.times.unwrap_or((trace.start_ns, trace.start_ns));
        self.times = Some((first.min(trace.start_ns), last.max(trace.start_ns)));
        let (count, first) = self
            .versions
            .entry(trace.version)
            .or_insert((0, trace.start_ns));
        *count += 1;
        *first = trace.start_ns.min(*first);

        self.spans += parts.spans.len() as u64;
        for (at, span) in parts.spans.iter().enumerate() {
            let times = (shape.self_ns[at], shape.critical_ns[at]);
            let critical_ns = trace.weight * times.1 as f64;
            if is_node(span) {
                self.node(span.node).add(number, trace, span, times);
                self.critical_ns += critical_ns;
            } else {
                self.outside_ns += critical_ns;
            }
            if let Some(details) = parts.details_of(span) {
                self.add_details(span, details);
            }
        }
        self.outside_ns += trace.weight * shape.outside_ns as f64;
        if failed(trace.status) {
            self.add_failures(trace, parts);
        }
        for event in &parts.events {
            if event.class == EventClass::RetryAttempted {
                let span = parts.spans.iter().position(|span| span.id == event.span);
                let counted = span.and_then(|at| parts.details_of(&parts.spans[at])?.retries);
                let of_span = span.and_then(|at| owner(shape, at, &parts.spans));
                let node = if event.node == NONE {
                    of_span
                } else {
                    Some(event.node)
                };
                if let (None, Some(node)) = (counted, node) {
                    self.node(node).retries += 1;
                }
            }
        }
        for step in &shape.steps {
            let edge = self.edges.entry((step.from, step.to)).or_default();
            edge.count += 1;
            edge.estimated += trace.weight;
            edge.recorded |= !shape.inferred;
            if let Some(wait) = step.wait_ns {
                edge.waits += 1;
                edge.wait_ns += u128::from(wait);
                edge.longest_ns = edge.longest_ns.max(wait);
            }
        }
        if !shape.path.is_empty() {
            self.paths.add(&shape.path, duration_ns);
        }
        if !shape.chain.is_empty() {
            self.chains.add(&shape.chain, duration_ns);
        }
        self.add_metrics(trace, parts, shape);
    }

    fn node(&mut self, node: u32) -> &mut NodeTally {
        let at = node as usize;
        if at >= self.nodes.len() {
            self.nodes.resize_with(at + 1, NodeTally::default);
        }
        &mut self.nodes[at]
    }

    fn add_details(&mut self, span: &SpanFacts, details: &super::facts::Details) {
        let (input, output) = (
            details.input_tokens.unwrap_or(0),
            details.output_tokens.unwrap_or(0),
        );
        if is_node(span) {
            let node = self.node(span.node);
            node.retries += details.retries.unwrap_or(0);
            node.input_tokens += input;
            node.output_tokens += output;
        }
        if details.model != NONE {
            let model = self.models.entry(details.model).or_default();
            model.calls += 1;
            model.input_tokens += input;
            model.output_tokens += output;
        }
    }

    /// Failed spans, and failures of nodes that were recorded as events only.
    fn add_failures(&mut self, trace: &TraceFacts, parts: &Parts) {
        for span in &parts.spans {
            if !failed(span.status) || span.kind == SpanKind::GraphRun {
                continue;
            }
            let details = parts.details_of(span);
            let failure = Failure {
                node: span.node,
                node_name: span.node_name,
                error_type: details.map_or(NONE, |details| details.error_type),
                status: span.status,
                message: details.map_or("", |details| &details.message),
            };
            self.add_failure(trace, span.end_ns(), span.id, &failure);
        }
        for event in &parts.events {
            if event.class != EventClass::NodeFailed {
                continue;
            }
            let of_event = parts.spans.iter().find(|span| span.id == event.span);
            let known = match of_event {
                Some(span) => failed(span.status),
                None => parts
                    .spans
                    .iter()
                    .any(|span| span.node == event.node && failed(span.status)),
            };
            let of_span = of_event.map(|span| (span.node, span.node_name));
            let (node, node_name) = match event.node {
                NONE => of_span.unwrap_or((NONE, NONE)),
                node => (node, event.node_name),
            };
            if !known {
                let failure = Failure {
                    node,
                    node_name,
                    error_type: event.error_type,
                    status: Status::Error,
                    message: &event.message,
                };
                self.add_failure(trace, event.at_ns, event.span, &failure);
            }
        }
    }

    fn add_failure(&mut self, trace: &TraceFacts, at_ns: i64, span: u64, failure: &Failure<'_>) {
        let moment = moment(trace, at_ns, span);
        // A type that nobody named is told apart by how the span ended.
        let error_type = match (failure.error_type, failure.status) {
            (NONE, Status::Cancelled) => NONE - 1,
            (NONE, Status::Orphaned) => NONE - 2,
            (known, _) => known,
        };
        let tally = self
            .failures
            .entry((failure.node, error_type))
            .or_insert_with(|| FailureTally {
                count: 0,
                estimated: 0.0,
                first: Moment::FIRST,
                name: NONE,
                messages: Top::default(),
                examples: Top::default(),
                times: (at_ns, at_ns),
            });
        tally.count += 1;
        tally.estimated += trace.weight;
        if moment > tally.first {
            (tally.first, tally.name) = (moment, failure.node_name);
        }
        if !failure.message.is_empty() {
            tally.messages.add(moment, || failure.message.into());
        }
        tally.examples.add_once(moment, trace.id);
        tally.times = (tally.times.0.min(at_ns), tally.times.1.max(at_ns));
    }

    fn add_metrics(&mut self, trace: &TraceFacts, parts: &Parts, shape: &Shape) {
        let mut cost = None;
        // One value that is no number must not make all sums none.
        for metric in parts.metrics.iter().filter(|m| m.value.is_finite()) {
            if metric.class.is_cost {
                *cost.get_or_insert(0.0) += metric.value;
            }
            if metric.class.objective > 0 {
                let sums = self.objectives.entry(metric.class.objective).or_default();
                sums.weight += trace.weight;
                sums.weighted += trace.weight * metric.value;
            }
            if metric.class.is_cost || metric.class.is_tokens {
                self.add_spent(parts, shape, metric);
            }
        }
        if let Some(cost) = cost {
            *self.costs.total.get_or_insert(0.0) += cost;
            self.costs.weighted += trace.weight * cost;
            self.costs.weighted_squares += trace.weight * cost * cost;
        }
    }

    /// Cost or tokens go to the node that spent them and to the model that was asked.
    fn add_spent(&mut self, parts: &Parts, shape: &Shape, metric: &MetricFacts) {
        let spans = &parts.spans;
        let span = spans
            .iter()
            .position(|span| metric.span != 0 && span.id == metric.span);
        let details = span.and_then(|at| parts.details_of(&spans[at]));
        let counted = details.is_some_and(|d| d.input_tokens.or(d.output_tokens).is_some());
        let node = match metric.node {
            NONE => span.and_then(|at| owner(shape, at, spans)),
            node => Some(node),
        };
        let model = match metric.model {
            NONE => span.and_then(|at| {
                shape.up(at, spans, |span| {
                    let details = parts.details_of(span)?;
                    (details.model != NONE).then_some(details.model)
                })
            }),
            model => Some(model),
        };
        let is_cost = metric.class.is_cost;
        if !is_cost && counted {
            return;
        }
        if let Some(node) = node {
            let node = self.node(node);
            if is_cost {
                *node.cost.get_or_insert(0.0) += metric.value;
            } else {
                node.other_tokens += metric.value;
            }
        }
        if let Some(model) = model {
            let model = self.models.entry(model).or_default();
            if is_cost {
                *model.cost.get_or_insert(0.0) += metric.value;
            } else {
                model.other_tokens += metric.value;
            }
        }
    }
}

/// What failed.
struct Failure<'a> {
    node: u32,
    node_name: u32,
    error_type: u32,
    status: Status,
    message: &'a str,
}

fn moment(trace: &TraceFacts, at_ns: i64, span: u64) -> Moment {
    Moment {
        trace_ns: trace.start_ns,
        trace: trace.id.as_u128(),
        at_ns,
        span,
    }
}

/// Whether a span is an execution of a node: a run of a whole graph is none, unless it says so.
fn is_node(span: &SpanFacts) -> bool {
    span.kind != SpanKind::GraphRun || span.has_node_id
}

/// The node that a span works for: the first of it and its ancestors that has a node id, else
/// what it is counted under itself.
fn owner(shape: &Shape, at: usize, spans: &[SpanFacts]) -> Option<u32> {
    let node = shape.up(at, spans, |span| span.has_node_id.then_some(span.node));
    node.or_else(|| spans.get(at).map(|span| span.node))
}
