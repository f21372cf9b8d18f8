//! What an analysis says.

use crate::record::id::TraceId;

use super::{
    findings::{self, Bottleneck, FailurePattern},
    objectives::ObjectiveValue,
    period::Period,
};

/// What the runs of a graph were like. Durations are seconds; of sampled traces, rates, means and
/// quantiles are estimates of all, counts and totals what was recorded.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// The graph that was asked for.
    pub graph_id: Option<String>,
    /// The version that was asked for, else `unknown`.
    pub graph_version: String,
    /// The time that was looked at.
    pub analysis_period: Period,
    /// Finished traces.
    pub total_executions: u64,
    /// How many traces these stand for.
    pub estimated_executions: f64,
    /// Spans in them.
    pub total_spans: u64,
    /// Share of them that ended with the status ok.
    pub success_rate: f64,
    /// Mean duration.
    pub avg_duration: f64,
    /// Median of the duration.
    pub p50_duration: f64,
    /// 95 % quantile of the duration.
    pub p95_duration: f64,
    /// 99 % quantile of the duration.
    pub p99_duration: f64,
    /// Sum of the costs; `None` if there are none.
    pub total_cost: Option<f64>,
    /// Mean cost of a trace; `None` if there are none.
    pub avg_cost: Option<f64>,
    /// Each node, in the order in which they are met, newest first.
    #[cfg_attr(feature = "serde", serde(serialize_with = "by_id"))]
    pub node_metrics: Vec<NodeMetrics>,
    /// Nodes that are slow or fail often, greatest impact first.
    pub bottlenecks: Vec<Bottleneck>,
    /// Ways to fail, most frequent first.
    pub failures: Vec<FailurePattern>,
    /// What to do first.
    pub opportunities: Vec<String>,
    /// Where the time of the traces went: nodes on the measured critical path, most of it first.
    pub critical_path: Vec<CriticalNode>,
    /// Share of the traces' time on the critical path that no span covers.
    pub critical_outside: f64,
    /// Sequences of nodes on critical paths, most frequent first; the first 20.
    pub critical_chains: Vec<Chain>,
    /// Edges, most frequent first.
    pub edges: Vec<EdgeMetrics>,
    /// Sequences of nodes, most frequent first; the first 20.
    pub paths: Vec<PathMetrics>,
    /// Different sequences; those beyond 10,000 are not told apart and not counted.
    pub distinct_paths: u64,
    /// Models that were asked, most calls first.
    pub models: Vec<ModelMetrics>,
    /// What the objectives come to.
    pub objectives: Vec<ObjectiveValue>,
    /// Versions of the graph, in the order in which they came.
    pub versions: Vec<VersionCount>,
    /// What happened when.
    pub over_time: Vec<Point>,
    /// How long traces took.
    pub durations: Histogram,
    /// The slowest traces.
    pub slowest_traces: Vec<TraceId>,
    /// The newest traces that did not end with the status ok.
    pub failing_traces: Vec<TraceId>,
}

/// The report in five numbers.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Summary {
    /// Finished traces.
    pub total_executions: u64,
    /// Share of them that ended with the status ok.
    pub success_rate: f64,
    /// Mean duration, seconds.
    pub avg_duration: f64,
    /// Nodes that are slow or fail often.
    pub bottlenecks_count: usize,
    /// Ways to fail.
    pub failures_count: usize,
}

/// What the executions of a node were like.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct NodeMetrics {
    /// `node.id` of its spans, or their name if they have none.
    pub node_id: String,
    /// `node.name` of the span that is met first, newest first; else the id.
    pub node_name: String,
    /// Spans.
    pub executions: u64,
    /// How many executions these stand for.
    pub estimated_executions: f64,
    /// Those with the status ok.
    pub successes: u64,
    /// All others.
    pub failures: u64,
    /// Share of the successes.
    pub success_rate: f64,
    /// Share of the others.
    pub error_rate: f64,
    /// Mean duration.
    pub avg_duration: f64,
    /// Median of the duration.
    pub p50_duration: f64,
    /// 95 % quantile of the duration.
    pub p95_duration: f64,
    /// 99 % quantile of the duration.
    pub p99_duration: f64,
    /// Longest duration.
    pub max_duration: f64,
    /// Mean of the time that no child covers.
    pub avg_self_time: f64,
    /// Retries that were counted.
    pub retries: u64,
    /// What it spent; `None` if nothing was measured.
    pub cost: Option<f64>,
    /// Tokens that went into models.
    pub input_tokens: u64,
    /// Tokens that came out of models.
    pub output_tokens: u64,
    /// Tokens of metrics that do not tell the way.
    pub other_tokens: f64,
    /// Traces of its slowest executions.
    pub slowest_traces: Vec<TraceId>,
    /// Traces of its newest executions that were no success.
    pub failing_traces: Vec<TraceId>,
    /// What happened when.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub over_time: Vec<Point>,
}

/// A node on the critical path.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CriticalNode {
    /// The node.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// Share of all traces' time that is spent in it, on the critical path, children left out.
    pub share: f64,
    /// That time for one trace, on average.
    pub avg_time: f64,
    /// Traces in which it is on the critical path.
    pub traces: u64,
}

/// A sequence of nodes on critical paths.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Chain {
    /// The nodes in order; at most 64.
    pub nodes: Vec<String>,
    /// Traces.
    pub count: u64,
    /// Mean duration of these traces.
    pub avg_duration: f64,
}

/// An edge between two nodes.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EdgeMetrics {
    /// Where it comes from; `None` is the beginning of the trace or of the parent.
    pub from: Option<String>,
    /// Where it leads.
    pub to: String,
    /// How often it was taken.
    pub traversals: u64,
    /// How often, for all traces that these stand for.
    pub estimated_traversals: f64,
    /// Traversals for each execution of the graph.
    pub share: f64,
    /// Whether no more than one in a hundred executions takes it.
    pub redundant: bool,
    /// Mean wait between the end of the one and the start of the other; `None` if it is not known.
    pub avg_wait: Option<f64>,
    /// Longest wait.
    pub max_wait: Option<f64>,
    /// Whether it was recorded; else it follows from the times of the spans.
    pub recorded: bool,
}

/// A sequence of nodes.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PathMetrics {
    /// The nodes in order; at most 64.
    pub nodes: Vec<String>,
    /// Traces.
    pub count: u64,
    /// Mean duration of these traces.
    pub avg_duration: f64,
    /// Whether it is taken at least a hundred times.
    pub shortcut: bool,
}

/// A model that was asked.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ModelMetrics {
    /// Its name.
    pub model: String,
    /// Spans that name it.
    pub calls: u64,
    /// What it cost; `None` if nothing was measured.
    pub cost: Option<f64>,
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Tokens of metrics that do not tell the way.
    pub other_tokens: f64,
}

/// How often a version of the graph ran.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VersionCount {
    /// The version.
    pub version: String,
    /// Finished traces.
    pub executions: u64,
    /// Start of the first one, Unix nanoseconds.
    pub first_seen_ns: i64,
}

/// What happened in a piece of time.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Point {
    /// First Unix nanosecond.
    pub start_ns: i64,
    /// First Unix nanosecond after it.
    pub end_ns: i64,
    /// Executions that began in it.
    pub executions: u64,
    /// Those that did not end with the status ok.
    pub failures: u64,
    /// Mean duration; 0 without executions.
    pub avg_duration: f64,
}

/// How many durations lie where.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Histogram {
    /// Upper bounds, seconds, each included, each 2^(1/4) times the one before.
    pub bounds: Vec<f64>,
    /// How many lie up to each bound and above the one before; weighted.
    pub counts: Vec<f64>,
}

#[cfg(feature = "serde")]
fn by_id<S: serde::Serializer>(nodes: &[NodeMetrics], s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(nodes.iter().map(|node| (&node.node_id, node)))
}

impl Report {
    /// Whether the success rate is below 95 %, or there is any bottleneck or failure.
    pub fn has_issues(&self) -> bool {
        self.success_rate < findings::HEALTHY
            || !self.bottlenecks.is_empty()
            || !self.failures.is_empty()
    }

    /// The report in five numbers.
    pub fn summary(&self) -> Summary {
        Summary {
            total_executions: self.total_executions,
            success_rate: self.success_rate,
            avg_duration: self.avg_duration,
            bottlenecks_count: self.bottlenecks.len(),
            failures_count: self.failures.len(),
        }
    }

    /// A node by its id.
    pub fn node(&self, id: &str) -> Option<&NodeMetrics> {
        self.node_metrics.iter().find(|node| node.node_id == id)
    }
}
