//! From what was added up to a report.

use std::cmp::Reverse;

use crate::record::id::TraceId;

use super::{
    durations::Weighted,
    facts::Names,
    findings,
    newest::Top,
    node::{NodeTally, EXAMPLES},
    objectives::{Objective, ObjectiveValue},
    period::Period,
    report::{
        Chain, CriticalNode, EdgeMetrics, Histogram, ModelMetrics, NodeMetrics, PathMetrics, Point,
        Report, VersionCount,
    },
    series::{Bucket, Series},
    tally::{EdgeTally, ModelTally, ObjectiveSums, Sequences, Tally},
    texts::NONE,
};

/// An edge that no more than this share of the executions goes along is redundant.
const REDUNDANT: f64 = 0.01;
/// A path that is taken at least this often is worth a shortcut.
const SHORTCUT: u64 = 100;
/// Most paths and chains that are listed.
const LISTED: usize = 20;

/// What a report repeats of the question.
pub(super) struct Head {
    pub(super) graph_id: Option<String>,
    pub(super) graph_version: String,
    pub(super) since_ns: i64,
    pub(super) until_ns: i64,
}

impl Report {
    pub(super) fn new(head: Head, tally: &Tally, names: &Names, objectives: &[Objective]) -> Self {
        let mut nodes: Vec<(&NodeTally, NodeMetrics)> = (0..tally.nodes.len())
            .filter(|node| tally.nodes[*node].strata.count() > 0)
            .map(|node| {
                let of = &tally.nodes[node];
                (of, node_metrics(of, &node_text(names, node as u32), names))
            })
            .collect();
        nodes.sort_by_key(|(tally, _)| Reverse(tally.first()));
        let bottlenecks = findings::bottlenecks(&nodes);
        let failures = findings::failures(tally, names);
        let opportunities = findings::opportunities(&bottlenecks, &failures);
        let durations = tally.traces.durations();
        let critical_path = critical_path(&nodes, tally);
        let critical_ns = tally.critical_ns + tally.outside_ns;
        let mut report = Self {
            graph_id: head.graph_id,
            graph_version: head.graph_version,
            analysis_period: period(head.since_ns, head.until_ns, tally),
            total_executions: tally.traces.count(),
            estimated_executions: tally.traces.estimated(),
            total_spans: tally.spans,
            success_rate: tally.traces.success_rate(),
            avg_duration: seconds(durations.mean_ns()),
            p50_duration: seconds(durations.median_ns()),
            p95_duration: quantile(&durations, 0.95),
            p99_duration: quantile(&durations, 0.99),
            total_cost: tally.costs.total,
            avg_cost: tally
                .costs
                .total
                .map(|_| tally.costs.weighted / tally.traces.estimated()),
            bottlenecks,
            failures,
            opportunities,
            critical_path,
            critical_outside: match critical_ns > 0.0 {
                true => tally.outside_ns / critical_ns,
                false => 0.0,
            },
            critical_chains: chains(&tally.chains, names),
            edges: edges(tally, names),
            paths: paths(&tally.paths, names),
            distinct_paths: tally.paths.known.len() as u64,
            models: models(tally, names),
            objectives: Vec::new(),
            versions: versions(tally, names),
            over_time: points(&tally.series),
            durations: histogram(&durations),
            slowest_traces: ids(&tally.slowest),
            failing_traces: ids(&tally.failing),
            node_metrics: nodes.into_iter().map(|(_, node)| node).collect(),
        };
        let values = objectives.iter().enumerate().map(|(no, objective)| {
            let sums = tally.objectives.get(&((no + 1).min(255) as u8));
            ObjectiveValue {
                value: report.value_of(&objective.name, sums),
                objective: objective.clone(),
            }
        });
        report.objectives = values.collect();
        report
    }

    fn value_of(&self, name: &str, sums: Option<&ObjectiveSums>) -> Option<f64> {
        match name {
            "latency" | "avg_duration" => Some(self.avg_duration),
            "p50_duration" => Some(self.p50_duration),
            "p95_duration" => Some(self.p95_duration),
            "p99_duration" => Some(self.p99_duration),
            "cost" => self.avg_cost,
            "success_rate" => Some(self.success_rate),
            "error_rate" => Some(1.0 - self.success_rate),
            _ => sums.map(|sums| sums.weighted / sums.weight),
        }
    }
}

fn seconds(ns: Option<f64>) -> f64 {
    ns.unwrap_or(0.0) / 1e9
}

fn quantile(durations: &Weighted<'_>, p: f64) -> f64 {
    seconds(durations.quantile_ns(p).map(|ns| ns as f64))
}

/// The time that was asked for, or the time of the traces where that has no beginning or end.
fn period(since_ns: i64, until_ns: i64, tally: &Tally) -> Period {
    let (first, last) = tally.times.unwrap_or((since_ns, until_ns));
    let start = if since_ns == i64::MIN {
        first
    } else {
        since_ns
    };
    let end = if until_ns == i64::MAX { last } else { until_ns };
    Period::new(start, end)
}

/// What a node is called by its id.
pub(super) fn node_text(names: &Names, node: u32) -> String {
    match node {
        NONE => "unknown".to_owned(),
        node => names.nodes.text(node).to_owned(),
    }
}

/// A name, or the id if there is none.
pub(super) fn label(names: &Names, name: u32, id: &str) -> String {
    match name {
        NONE => id.to_owned(),
        name => names.texts.text(name).to_owned(),
    }
}

pub(super) fn ids<K: Ord + Copy>(top: &Top<K, TraceId, EXAMPLES>) -> Vec<TraceId> {
    top.values().copied().collect()
}

fn node_metrics(tally: &NodeTally, id: &str, names: &Names) -> NodeMetrics {
    let strata = &tally.strata;
    let durations = strata.durations();
    let (executions, successes) = (strata.count(), strata.successes());
    let estimated = strata.estimated();
    NodeMetrics {
        node_id: id.to_owned(),
        node_name: label(names, tally.name, id),
        executions,
        estimated_executions: estimated,
        successes,
        failures: executions - successes,
        success_rate: strata.success_rate(),
        error_rate: strata.failure_rate(),
        avg_duration: seconds(durations.mean_ns()),
        p50_duration: seconds(durations.median_ns()),
        p95_duration: quantile(&durations, 0.95),
        p99_duration: quantile(&durations, 0.99),
        max_duration: quantile(&durations, 1.0),
        avg_self_time: strata.sum(|s| s.self_ns as f64) / estimated / 1e9,
        retries: tally.retries,
        cost: tally.cost,
        input_tokens: tally.input_tokens,
        output_tokens: tally.output_tokens,
        other_tokens: tally.other_tokens,
        slowest_traces: ids(&tally.slowest),
        failing_traces: ids(&tally.failing),
        over_time: points(&tally.series),
    }
}

fn critical_path(nodes: &[(&NodeTally, NodeMetrics)], tally: &Tally) -> Vec<CriticalNode> {
    let all_ns = tally.critical_ns + tally.outside_ns;
    let traces = tally.traces.estimated();
    let on_it = nodes.iter().filter(|(of, _)| of.critical_traces > 0);
    let mut list: Vec<CriticalNode> = on_it
        .map(|(of, node)| {
            let ns = of.strata.sum(|s| s.critical_ns as f64);
            CriticalNode {
                node_id: node.node_id.clone(),
                node_name: node.node_name.clone(),
                share: ns / all_ns,
                avg_time: ns / traces / 1e9,
                traces: of.critical_traces,
            }
        })
        .collect();
    list.sort_by(|a, b| b.share.total_cmp(&a.share));
    list
}

fn texts(names: &Names, nodes: &[u32]) -> Vec<String> {
    nodes.iter().map(|node| node_text(names, *node)).collect()
}

/// The most frequent sequences: nodes, traces, seconds on average.
fn sequences(sequences: &Sequences, names: &Names) -> Vec<(Vec<String>, u64, f64)> {
    let known = sequences.known.iter();
    let mut list: Vec<_> = known
        .map(|(nodes, (count, sum))| {
            let average = *sum as f64 / *count as f64 / 1e9;
            (texts(names, nodes), *count, average)
        })
        .collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.truncate(LISTED);
    list
}

fn chains(of: &Sequences, names: &Names) -> Vec<Chain> {
    let list = sequences(of, names).into_iter();
    list.map(|(nodes, count, avg_duration)| Chain {
        nodes,
        count,
        avg_duration,
    })
    .collect()
}

fn paths(of: &Sequences, names: &Names) -> Vec<PathMetrics> {
    let list = sequences(of, names).into_iter();
    list.map(|(nodes, count, avg_duration)| PathMetrics {
        nodes,
        count,
        avg_duration,
        shortcut: count >= SHORTCUT,
    })
    .collect()
}

fn edges(tally: &Tally, names: &Names) -> Vec<EdgeMetrics> {
    let executions = tally.traces.estimated();
    let edge = |(&(from, to), edge): (&(u32, u32), &EdgeTally)| {
        let share = edge.estimated / executions;
        let known = edge.waits > 0;
        EdgeMetrics {
            from: (from != NONE).then(|| node_text(names, from)),
            to: node_text(names, to),
            traversals: edge.count,
            estimated_traversals: edge.estimated,
            share,
            redundant: share <= REDUNDANT,
            avg_wait: known.then(|| edge.wait_ns as f64 / edge.waits as f64 / 1e9),
            max_wait: known.then(|| edge.longest_ns as f64 / 1e9),
            recorded: edge.recorded,
        }
    };
    let mut list: Vec<EdgeMetrics> = tally.edges.iter().map(edge).collect();
    list.sort_by(|a, b| {
        let order = b.traversals.cmp(&a.traversals);
        order.then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to)))
    });
    list
}

fn models(tally: &Tally, names: &Names) -> Vec<ModelMetrics> {
    let model = |(name, of): (&u32, &ModelTally)| ModelMetrics {
        model: names.texts.text(*name).to_owned(),
        calls: of.calls,
        cost: of.cost,
        input_tokens: of.input_tokens,
        output_tokens: of.output_tokens,
        other_tokens: of.other_tokens,
    };
    let mut list: Vec<ModelMetrics> = tally.models.iter().map(model).collect();
    list.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.model.cmp(&b.model)));
    list
}

fn versions(tally: &Tally, names: &Names) -> Vec<VersionCount> {
    let known = tally
        .versions
        .iter()
        .filter(|(version, _)| **version != NONE);
    let mut list: Vec<VersionCount> = known
        .map(|(version, (executions, first_seen_ns))| VersionCount {
            version: names.texts.text(*version).to_owned(),
            executions: *executions,
            first_seen_ns: *first_seen_ns,
        })
        .collect();
    list.sort_by(|a, b| (a.first_seen_ns, &a.version).cmp(&(b.first_seen_ns, &b.version)));
    list
}

fn points(series: &Series) -> Vec<Point> {
    let point = |(start_ns, end_ns, bucket): (i64, i64, &Bucket)| Point {
        start_ns,
        end_ns,
        executions: bucket.count,
        failures: bucket.failed,
        avg_duration: match bucket.count {
            0 => 0.0,
            count => bucket.sum_ns as f64 / count as f64 / 1e9,
        },
    };
    series.buckets().map(point).collect()
}

fn histogram(durations: &Weighted<'_>) -> Histogram {
    let mut this = Histogram::default();
    // The step of a duration: its logarithm in quarters of a doubling, rounded up.
    let step = |ns: u64| ((ns.max(1) as f64).log2() * 4.0).ceil() as i32;
    let mut first = 0;
    for (weight, ns) in durations.sorted() {
        let step = step(ns);
        if this.counts.is_empty() {
            first = step;
        }
        // They come in order, so none lies below the first.
        let at = (step - first).max(0) as usize;
        while this.counts.len() <= at {
            let bound = f64::from(first + this.counts.len() as i32) / 4.0;
            this.bounds.push(bound.exp2() / 1e9);
            this.counts.push(0.0);
        }
        this.counts[at] += weight;
    }
    this
}
