//! What is slow, what fails, and what to do about it: the rules, with their limits.

use std::cmp::Reverse;

use crate::record::id::TraceId;

use super::{
    build::{ids, label, node_text},
    facts::Names,
    node::NodeTally,
    report::NodeMetrics,
    series::Bucket,
    tally::{FailureTally, Tally},
    texts::NONE,
};

/// A node is slow if its mean is above this many times the mean of all nodes' means.
const SLOW: f64 = 2.0;
/// It is very slow above this many times.
const VERY_SLOW: f64 = 5.0;
/// A node fails often if more than this share of its executions fails.
const OFTEN: f64 = 0.05;
/// It fails very often above this share.
const VERY_OFTEN: f64 = 0.20;
/// Makes a share comparable to a ratio of times.
const ERROR_IMPACT: f64 = 10.0;
/// Success rate below which a graph has issues.
pub(super) const HEALTHY: f64 = 0.95;
/// Bottlenecks, and failures, that become opportunities.
const OPPORTUNITIES: usize = 3;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum BottleneckKind {
    /// Its mean duration is above twice the mean of all nodes' means.
    HighLatency,
    /// More than 5 % of its executions fail.
    HighErrorRate,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Severity {
    /// Slow: above 2 times.
    Medium,
    /// Very slow: above 5 times. Or fails in more than 5 %.
    High,
    /// Fails in more than 20 %.
    Critical,
}

/// A node that is slow or fails often.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Bottleneck {
    /// Id of the node, or the name of its spans if they have none.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// What is wrong.
    #[cfg_attr(feature = "serde", serde(rename = "issue_type"))]
    pub kind: BottleneckKind,
    /// How bad it is.
    pub severity: Severity,
    /// Mean duration in means of all nodes, or ten times the error rate.
    pub impact_score: f64,
    /// Mean duration, seconds.
    pub avg_duration: f64,
    /// 95 % quantile of the duration, seconds.
    pub p95_duration: f64,
    /// Share of the executions that fail.
    pub error_rate: f64,
    /// Executions.
    pub executions: u64,
    /// Those that failed.
    pub failures: u64,
    /// Since when it holds, Unix nanoseconds, as exactly as the buckets of time are narrow.
    pub since_ns: Option<i64>,
    /// Whether it still holds in the newest bucket with anything in it.
    pub ongoing: bool,
    /// Traces in which it shows best.
    pub examples: Vec<TraceId>,
}

/// A way in which nodes fail, in traces that failed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FailurePattern {
    /// Id of the node, or the name of its spans if they have none.
    pub node_id: String,
    /// Its name.
    pub node_name: String,
    /// Type of the error; `unknown_error` if nobody said.
    pub error_type: String,
    /// How often.
    pub count: u64,
    /// How many failures these stand for, if traces were sampled.
    pub estimated_count: f64,
    /// Up to three messages, newest first.
    pub error_messages: Vec<String>,
    /// The first one, Unix nanoseconds.
    pub first_seen_ns: i64,
    /// The last one, Unix nanoseconds.
    pub last_seen_ns: i64,
    /// Up to three traces, newest first.
    pub examples: Vec<TraceId>,
}

/// The bottlenecks, greatest impact first.
pub(super) fn bottlenecks(nodes: &[(&NodeTally, NodeMetrics)]) -> Vec<Bottleneck> {
    let means = nodes.iter().filter_map(|(tally, _)| {
        let mean = tally.strata.durations().mean_ns();
        mean.filter(|ns| ns.is_finite())
    });
    let sum: f64 = means.sum();
    let average = sum / nodes.len().max(1) as f64;
    let mut found = Vec::new();
    for (tally, node) in nodes {
        let mean = tally.strata.durations().mean_ns().unwrap_or(0.0);
        if average > 0.0 && mean > SLOW * average {
            let slow =
                |bucket: &Bucket| bucket.sum_ns as f64 / bucket.count as f64 > SLOW * average;
            let severity = match mean > VERY_SLOW * average {
                true => Severity::High,
                false => Severity::Medium,
            };
            found.push(Bottleneck {
                impact_score: mean / average,
                severity,
                ..of_node(
                    node,
                    BottleneckKind::HighLatency,
                    tally.series.since(slow),
                    node.slowest_traces.clone(),
                )
            });
        }
        if node.error_rate > OFTEN {
            let often = |bucket: &Bucket| bucket.failed as f64 / bucket.count as f64 > OFTEN;
            let severity = match node.error_rate > VERY_OFTEN {
                true => Severity::Critical,
                false => Severity::High,
            };
            found.push(Bottleneck {
                impact_score: node.error_rate * ERROR_IMPACT,
                severity,
                ..of_node(
                    node,
                    BottleneckKind::HighErrorRate,
                    tally.series.since(often),
                    node.failing_traces.clone(),
                )
            });
        }
    }
    // Stable: equals stay in the order of the nodes.
    found.sort_by(|a, b| b.impact_score.total_cmp(&a.impact_score));
    found
}

fn of_node(
    node: &NodeMetrics,
    kind: BottleneckKind,
    since: Option<(i64, bool)>,
    examples: Vec<TraceId>,
) -> Bottleneck {
    Bottleneck {
        node_id: node.node_id.clone(),
        node_name: node.node_name.clone(),
        kind,
        severity: Severity::Medium,
        impact_score: 0.0,
        avg_duration: node.avg_duration,
        p95_duration: node.p95_duration,
        error_rate: node.error_rate,
        executions: node.executions,
        failures: node.failures,
        since_ns: since.map(|(from, _)| from),
        ongoing: since.is_some_and(|(_, ongoing)| ongoing),
        examples,
    }
}

/// The failures, most frequent first.
pub(super) fn failures(tally: &Tally, names: &Names) -> Vec<FailurePattern> {
    let mut found: Vec<_> = tally.failures.iter().collect();
    // Equals stay in the order in which they are met, newest first.
    found.sort_by_key(|(_, failure)| Reverse((failure.count, failure.first)));
    let pattern = |(&(node, error_type), failure): (&(u32, u32), &FailureTally)| {
        let node_id = node_text(names, node);
        let error_type = match error_type {
            NONE => "unknown_error",
            t if t == NONE - 1 => "cancelled",
            t if t == NONE - 2 => "orphaned",
            known => names.texts.text(known),
        };
        FailurePattern {
            node_name: label(names, failure.name, &node_id),
            node_id,
            error_type: error_type.to_owned(),
            count: failure.count,
            estimated_count: failure.estimated,
            error_messages: failure.messages.values().map(|m| m.to_string()).collect(),
            first_seen_ns: failure.times.0,
            last_seen_ns: failure.times.1,
            examples: ids(&failure.examples),
        }
    };
    found.into_iter().map(pattern).collect()
}

/// What to do first: about the worst bottlenecks, then about the most frequent failures.
pub(super) fn opportunities(
    bottlenecks: &[Bottleneck],
    failures: &[FailurePattern],
) -> Vec<String> {
    let of_bottlenecks = bottlenecks.iter().take(OPPORTUNITIES).map(|b| {
        let node = &b.node_name;
        match b.kind {
            BottleneckKind::HighLatency => format!(
                "Optimize {node} - high latency ({:.2}s average)",
                b.avg_duration
            ),
            BottleneckKind::HighErrorRate => format!(
                "Fix {node} - high error rate ({:.1}%)",
                b.error_rate * 100.0
            ),
        }
    });
    let of_failures = failures.iter().take(OPPORTUNITIES).map(|f| {
        let (kind, node, count) = (&f.error_type, &f.node_name, f.count);
        format!("Handle {kind} in {node} ({count} occurrences)")
    });
    of_bottlenecks.chain(of_failures).collect()
}
