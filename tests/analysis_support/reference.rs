//! The definitions of the analysis once more: written from their text, plainly, slowly, without
//! anything of the code that is tested. A run that stands for several is simply there several
//! times wherever a rate, a mean or a quantile is asked for.

use std::collections::BTreeMap;

use emberlog::{SpanKind, Status};

use super::world::{Part, Run};

#[derive(Debug, Default)]
pub struct Reference {
    pub executions: u64,
    pub running: u64,
    pub success_rate: f64,
    pub avg: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub total_cost: Option<f64>,
    pub nodes: Vec<Node>,
    pub bottlenecks: Vec<(String, &'static str, &'static str, f64)>,
    pub failures: Vec<Failure>,
    pub opportunities: Vec<String>,
    pub has_issues: bool,
    /// From (`None`: the beginning), to: how often, nanoseconds of waits that are known.
    pub edges: BTreeMap<(Option<String>, String), (u64, Vec<u64>)>,
    pub paths: BTreeMap<Vec<String>, u64>,
    pub chains: BTreeMap<Vec<String>, u64>,
    /// Share of the critical time that no span covers.
    pub outside: f64,
}

#[derive(Debug, Default, Clone)]
pub struct Node {
    pub id: String,
    pub name: String,
    pub executions: u64,
    pub successes: u64,
    pub success_rate: f64,
    pub error_rate: f64,
    pub avg: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub self_time: f64,
    pub critical_share: f64,
    pub retries: u64,
    pub tokens: (u64, u64),
    pub other_tokens: f64,
    pub cost: Option<f64>,
}

#[derive(Debug, Clone)]
pub struct Failure {
    pub node: String,
    pub name: String,
    pub error_type: String,
    pub count: u64,
    pub messages: Vec<String>,
}

fn failed(status: Status) -> bool {
    [Status::Error, Status::Cancelled, Status::Orphaned].contains(&status)
}

/// Seconds out of nanoseconds.
fn seconds(ns: f64) -> f64 {
    ns / 1e9
}

fn mean(values: &[u64]) -> f64 {
    values.iter().map(|v| *v as f64).sum::<f64>() / values.len() as f64
}

/// `sorted[min(int(n * p), n - 1)]`
fn nearest_rank(values: &[u64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    sorted[((n as f64 * p) as usize).min(n - 1)] as f64
}

/// `statistics.median`
fn median(values: &[u64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let n = sorted.len();
    if n % 2 == 1 {
        sorted[n / 2] as f64
    } else {
        (sorted[n / 2 - 1] as f64 + sorted[n / 2] as f64) / 2.0
    }
}

fn is_cost(name: &str, unit: &str) -> bool {
    let names = name == "cost" || name.ends_with(".cost") || name.ends_with("_cost");
    names && ["usd", "dollars", "$", ""].contains(&unit)
}

fn end(span: &Part) -> u64 {
    span.start + span.length
}

/// The children of a span, or the roots.
fn children(run: &Run, of: Option<usize>) -> Vec<usize> {
    let all = 0..run.spans.len();
    all.filter(|at| run.spans[*at].parent == of).collect()
}

/// Nanoseconds of a span that no child covers: every stretch between two ends of anything is
/// covered or not.
fn self_time(run: &Run, at: usize) -> u64 {
    let span = &run.spans[at];
    let children = children(run, Some(at));
    let mut cuts = vec![span.start, end(span)];
    for child in &children {
        let child = &run.spans[*child];
        cuts.extend([child.start, end(child)]);
    }
    cuts.retain(|cut| (span.start..=end(span)).contains(cut));
    cuts.sort_unstable();
    let mut free = 0;
    for pair in cuts.windows(2) {
        let covered = children.iter().any(|child| {
            let child = &run.spans[*child];
            child.start <= pair[0] && pair[1] <= end(child)
        });
        if !covered {
            free += pair[1] - pair[0];
        }
    }
    free
}

/// What is waited for between `from` and `to` below a span: of the children that ended by `to` the
/// one that ended last, and before its start the same again.
fn critical(
    run: &Run,
    of: Option<usize>,
    (from, to): (u64, u64),
    spent: &mut BTreeMap<Option<usize>, u64>,
    chain: &mut BTreeMap<Option<usize>, Vec<usize>>,
) {
    let mut left = children(run, of);
    let mut cursor = to;
    loop {
        left.retain(|at| {
            let span = &run.spans[*at];
            end(span) <= cursor && end(span) > from
        });
        let last = left.iter().copied().max_by_key(|at| {
            let span = &run.spans[*at];
            (end(span), span.start, span.id)
        });
        let Some(last) = last.filter(|_| cursor > from) else {
            break;
        };
        left.retain(|at| *at != last);
        let span = &run.spans[last];
        *spent.entry(of).or_default() += cursor - end(span);
        let begin = span.start.max(from);
        critical(run, Some(last), (begin, end(span)), spent, chain);
        chain.entry(of).or_default().insert(0, last);
        cursor = begin;
    }
    *spent.entry(of).or_default() += cursor.max(from) - from;
}

/// The first level with more than one span, else the last one.
fn main_level(run: &Run) -> Option<usize> {
    let mut of = None;
    loop {
        match children(run, of)[..] {
            [only] if !children(run, Some(only)).is_empty() => of = Some(only),
            _ => return of,
        }
    }
}

fn by_start(run: &Run, mut spans: Vec<usize>) -> Vec<usize> {
    spans.sort_by_key(|at| (run.spans[*at].start, run.spans[*at].id));
    spans
}

fn keys(run: &Run, spans: &[usize]) -> Vec<String> {
    spans
        .iter()
        .map(|at| run.spans[*at].key().to_owned())
        .collect()
}

/// Whether a run is of this graph: by any of its ids, by its name if it has none.
pub fn is_of(run: &Run, graph: Option<&str>, version: Option<&str>) -> bool {
    let of_graph = graph.is_none_or(|graph| match run.graph {
        Some((_, id)) => id == graph,
        None => run.name == graph,
    });
    of_graph && version.is_none_or(|version| run.version == Some(version))
}

/// The report on runs, all of which count.
pub fn report(runs: &[&Run]) -> Reference {
    let mut this = Reference {
        running: runs.iter().filter(|run| run.length.is_none()).count() as u64,
        ..Reference::default()
    };
    let mut runs: Vec<&Run> = runs
        .iter()
        .copied()
        .filter(|run| run.length.is_some())
        .collect();
    this.executions = runs.len() as u64;
    if runs.is_empty() {
        return this;
    }
    // Newest first, as queries give them.
    runs.sort_by_key(|run| std::cmp::Reverse((run.start, run.id)));
    let repeated = || {
        let each = runs.iter();
        each.flat_map(|run| std::iter::repeat_n(*run, run.weight as usize))
    };
    let lengths: Vec<u64> = repeated().map(|run| run.length.unwrap()).collect();
    this.avg = seconds(mean(&lengths));
    this.p50 = seconds(median(&lengths));
    this.p95 = seconds(nearest_rank(&lengths, 0.95));
    this.p99 = seconds(nearest_rank(&lengths, 0.99));
    let ok = repeated().filter(|run| run.status == Status::Ok).count();
    this.success_rate = ok as f64 / lengths.len() as f64;
    for metric in runs.iter().flat_map(|run| &run.metrics) {
        if is_cost(metric.0, metric.1) {
            *this.total_cost.get_or_insert(0.0) += metric.2;
        }
    }
    nodes(&mut this, &runs);
    bottlenecks(&mut this);
    failures(&mut this, &runs);
    for (node, kind, _, _) in this.bottlenecks.iter().take(3) {
        let node = this.nodes.iter().find(|n| n.id == *node).unwrap();
        this.opportunities.push(match *kind {
            "slow" => format!(
                "Optimize {} - high latency ({:.2}s average)",
                node.name, node.avg
            ),
            _ => format!(
                "Fix {} - high error rate ({:.1}%)",
                node.name,
                node.error_rate * 100.0
            ),
        });
    }
    for failure in this.failures.iter().take(3) {
        this.opportunities.push(format!(
            "Handle {} in {} ({} occurrences)",
            failure.error_type, failure.name, failure.count
        ));
    }
    this.has_issues =
        this.success_rate < 0.95 || !this.bottlenecks.is_empty() || !this.failures.is_empty();
    steps(&mut this, &runs);
    this
}

/// The spans of a run, newest first.
fn newest_first(run: &Run) -> Vec<usize> {
    let mut spans = by_start(run, (0..run.spans.len()).collect());
    spans.reverse();
    spans
}

fn is_graph(span: &Part) -> bool {
    span.kind == SpanKind::GraphRun as u8 && span.node.is_none()
}

fn nodes(this: &mut Reference, runs: &[&Run]) {
    let mut lengths: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut selves: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut spent: BTreeMap<Option<String>, u64> = BTreeMap::new();
    let mut well: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        let mut on_path = BTreeMap::new();
        let whole = (0, run.length.unwrap());
        critical(run, None, whole, &mut on_path, &mut BTreeMap::new());
        for (at, ns) in on_path {
            let node = at.filter(|at| !is_graph(&run.spans[*at]));
            let node = node.map(|at| run.spans[at].key().to_owned());
            *spent.entry(node).or_default() += ns * run.weight;
        }
        for at in newest_first(run) {
            let span = &run.spans[at];
            if is_graph(span) {
                continue;
            }
            let id = span.key().to_owned();
            let place = this.nodes.iter().position(|node| node.id == id);
            let place = place.unwrap_or_else(|| {
                // The first span that is met names the node.
                this.nodes.push(Node {
                    name: span.node_name.unwrap_or(span.key()).to_owned(),
                    id: id.clone(),
                    ..Node::default()
                });
                this.nodes.len() - 1
            });
            let node = &mut this.nodes[place];
            node.executions += 1;
            node.retries += span.retries.unwrap_or(0);
            if let Some((_, input, output)) = span.model {
                node.tokens.0 += input;
                node.tokens.1 += output;
            }
            if span.status == Status::Ok {
                node.successes += 1;
                *well.entry(id.clone()).or_default() += run.weight;
            }
            for _ in 0..run.weight {
                lengths.entry(id.clone()).or_default().push(span.length);
                selves
                    .entry(id.clone())
                    .or_default()
                    .push(self_time(run, at));
            }
        }
    }
    for run in runs {
        for (name, unit, value, span) in &run.metrics {
            let tokens = name.ends_with(".tokens");
            let Some(span) = span.filter(|_| tokens || is_cost(name, unit)) else {
                continue;
            };
            if tokens && run.spans[span].model.is_some() {
                continue;
            }
            // The span or the nearest one above it that has a node id, else the span itself.
            let mut at = Some(span);
            while let Some(place) = at.filter(|place| run.spans[*place].node.is_none()) {
                at = run.spans[place].parent;
            }
            let key = run.spans[at.unwrap_or(span)].key();
            // A graph is no node.
            let Some(node) = this.nodes.iter_mut().find(|node| node.id == key) else {
                continue;
            };
            if tokens {
                node.other_tokens += value;
            } else {
                *node.cost.get_or_insert(0.0) += value;
            }
        }
    }
    let all: u64 = spent.values().sum();
    this.outside = match all {
        0 => 0.0,
        all => spent.get(&None).copied().unwrap_or(0) as f64 / all as f64,
    };
    for node in &mut this.nodes {
        let lengths = &lengths[&node.id];
        let n = lengths.len() as f64;
        let well = well.get(&node.id).copied().unwrap_or(0) as f64;
        node.avg = seconds(mean(lengths));
        node.p50 = seconds(median(lengths));
        node.p95 = seconds(nearest_rank(lengths, 0.95));
        node.p99 = seconds(nearest_rank(lengths, 0.99));
        node.success_rate = well / n;
        node.error_rate = (n - well) / n;
        node.self_time = seconds(mean(&selves[&node.id]));
        let spent = spent.get(&Some(node.id.clone())).copied().unwrap_or(0);
        node.critical_share = match all {
            0 => 0.0,
            all => spent as f64 / all as f64,
        };
    }
}

fn bottlenecks(this: &mut Reference) {
    // In nanoseconds, where whole numbers are exact and so are their ratios.
    let means: Vec<f64> = this.nodes.iter().map(|node| node.avg * 1e9).collect();
    let average = means.iter().sum::<f64>() / means.len() as f64;
    for (node, mean) in this.nodes.iter().zip(means) {
        if average > 0.0 && mean > 2.0 * average {
            let severity = if mean > 5.0 * average {
                "high"
            } else {
                "medium"
            };
            let found = (node.id.clone(), "slow", severity, mean / average);
            this.bottlenecks.push(found);
        }
        if node.error_rate > 0.05 {
            let severity = if node.error_rate > 0.20 {
                "critical"
            } else {
                "high"
            };
            let found = (node.id.clone(), "failing", severity, node.error_rate * 10.0);
            this.bottlenecks.push(found);
        }
    }
    this.bottlenecks
        .sort_by(|a, b| b.3.partial_cmp(&a.3).unwrap());
}

fn failures(this: &mut Reference, runs: &[&Run]) {
    for run in runs.iter().filter(|run| failed(run.status)) {
        // When, span, node, name, type, message.
        let mut of_run = Vec::new();
        for span in run.spans.iter().filter(|span| failed(span.status)) {
            if span.kind == 1 {
                continue; // A graph that failed is not a node that failed.
            }
            let unnamed = match span.status {
                Status::Cancelled => "cancelled",
                Status::Orphaned => "orphaned",
                _ => "unknown_error",
            };
            let error_type = span.error_type.map_or(unnamed, |(_, text)| text);
            let message = span.message.map_or("", |(_, text)| text);
            of_run.push((
                end(span),
                span.id,
                span.key(),
                span.node_name,
                error_type,
                message,
            ));
        }
        for (node, error_type, message, at) in &run.failures {
            let known = |span: &Part| span.key() == *node && failed(span.status);
            if run.spans.iter().any(known) {
                continue;
            }
            let error_type = if error_type.is_empty() {
                "unknown_error"
            } else {
                error_type
            };
            of_run.push((*at, 0, *node, None, error_type, *message));
        }
        // Newest first.
        of_run.sort_by_key(|found| std::cmp::Reverse((found.0, found.1)));
        for (_, _, node, name, error_type, message) in of_run {
            let same = |f: &Failure| f.node == node && f.error_type == error_type;
            let place = this.failures.iter().position(same);
            let place = place.unwrap_or_else(|| {
                this.failures.push(Failure {
                    node: node.to_owned(),
                    name: name.unwrap_or(node).to_owned(),
                    error_type: error_type.to_owned(),
                    count: 0,
                    messages: Vec::new(),
                });
                this.failures.len() - 1
            });
            let failure = &mut this.failures[place];
            failure.count += 1;
            if !message.is_empty() && failure.messages.len() < 3 {
                failure.messages.push(message.to_owned());
            }
        }
    }
    this.failures
        .sort_by_key(|failure| std::cmp::Reverse(failure.count));
}

fn steps(this: &mut Reference, runs: &[&Run]) {
    for run in runs {
        let level = main_level(run);
        let mut chain = BTreeMap::new();
        let whole = (0, run.length.unwrap());
        critical(run, None, whole, &mut BTreeMap::new(), &mut chain);
        if let Some(chain) = chain.get(&level) {
            *this.chains.entry(keys(run, chain)).or_default() += 1;
        }
        let mut taken = |from: Option<&str>, to: &str, wait: Option<u64>| {
            let key = (from.map(str::to_owned), to.to_owned());
            let edge = this.edges.entry(key).or_default();
            edge.0 += 1;
            edge.1.extend(wait);
        };
        let mut named = 0;
        for span in &run.spans {
            let told = |from| {
                let mut edges = run.edges.iter();
                edges.any(|(f, to, _)| (*f, *to) == (from, span.key()))
            };
            let Some(from) = span.after.filter(|from| !told(*from)) else {
                continue;
            };
            let before = run.spans.iter().filter(|before| {
                before.key() == from && before.id != span.id && end(before) <= span.start
            });
            let last = before.map(end).max();
            taken(Some(from), span.key(), last.map(|last| span.start - last));
            named += 1;
        }
        if run.edges.is_empty() && named == 0 {
            for (at, span) in run.spans.iter().enumerate() {
                let siblings = children(run, span.parent).into_iter().filter(|other| {
                    let other = &run.spans[*other];
                    end(other) <= span.start && (other.start, other.id) < (span.start, span.id)
                });
                let before = siblings.map(|other| &run.spans[other]);
                let before = before.max_by_key(|other| (end(other), other.start, other.id));
                let since = match (before, span.parent) {
                    (Some(before), _) => end(before),
                    (None, Some(parent)) => run.spans[parent].start,
                    (None, None) => 0,
                };
                let wait = run.spans[at].start.saturating_sub(since);
                taken(before.map(Part::key), span.key(), Some(wait));
            }
        }
        let path = if run.edges.is_empty() {
            keys(run, &by_start(run, children(run, level)))
        } else {
            let mut edges = run.edges.clone();
            edges.sort_by_key(|(.., at)| *at);
            for (from, to, at) in &edges {
                let targets = run
                    .spans
                    .iter()
                    .filter(|s| s.key() == *to && s.start >= *at);
                let target = targets.min_by_key(|span| (span.start, span.id));
                let wait = target.and_then(|target| {
                    let sources = run.spans.iter().filter(|span| {
                        span.key() == *from && end(span) <= target.start && span.id != target.id
                    });
                    Some(target.start - sources.map(end).max()?)
                });
                taken(Some(from), to, wait);
            }
            let first = edges[0].0.to_owned();
            let others = edges.iter().map(|(_, to, _)| (*to).to_owned());
            std::iter::once(first).chain(others).collect()
        };
        if !path.is_empty() {
            *this.paths.entry(path).or_default() += 1;
        }
    }
}
