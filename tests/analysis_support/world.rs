//! Runs as tests say them, and the log that has them.

use std::path::Path;

use emberlog::Status;
use proptest::prelude::*;

use super::hand::{Log, Span, Val, RINGS};

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: u128,
    pub name: &'static str,
    /// Key and value of its graph's id.
    pub graph: Option<(&'static str, &'static str)>,
    pub version: Option<&'static str>,
    /// Whether graph and version stand in its end, not in its start.
    pub late: bool,
    /// Nanoseconds.
    pub start: u64,
    /// Nanoseconds; `None` while it runs.
    pub length: Option<u64>,
    pub status: Status,
    /// How many runs it stands for: a power of two.
    pub weight: u64,
    pub spans: Vec<Part>,
    /// Failures of nodes that were recorded as events: node, type, message, after the start.
    pub failures: Vec<(&'static str, &'static str, &'static str, u64)>,
    /// Edges that were recorded: from, to, after the start.
    pub edges: Vec<(&'static str, &'static str, u64)>,
    /// Measurements: name, unit, value, number of the span.
    pub metrics: Vec<(&'static str, &'static str, f64, Option<usize>)>,
}

/// A span.
#[derive(Clone, Debug)]
pub struct Part {
    pub id: u64,
    /// Number of another one of the same run.
    pub parent: Option<usize>,
    pub name: &'static str,
    /// Key and value of the node's id.
    pub node: Option<(&'static str, &'static str)>,
    pub node_name: Option<&'static str>,
    /// Nanoseconds after the start of the run.
    pub start: u64,
    pub length: u64,
    pub kind: u8,
    pub status: Status,
    /// Key and value.
    pub error_type: Option<(&'static str, &'static str)>,
    pub message: Option<(&'static str, &'static str)>,
    pub retries: Option<u64>,
    pub model: Option<(&'static str, u64, u64)>,
    /// The node that it says it comes after.
    pub after: Option<&'static str>,
}

impl Part {
    /// What it is counted under.
    pub fn key(&self) -> &'static str {
        self.node.map_or(self.name, |(_, node)| node)
    }
}

const NODES: &[&str] = &["fetch", "parse", "rank", "store"];

fn pick<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = T> {
    (0..of.len()).prop_map(|at| of[at].clone())
}

fn some<T: Clone + std::fmt::Debug + 'static>(
    of: &'static [T],
) -> impl Strategy<Value = Option<T>> {
    prop::option::of(pick(of))
}

/// Few different lengths, so that there are ties, and some that are long.
fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..6).prop_map(|n| n * 1000),
        4 => 0u64..1_000_000,
        1 => 4_294_967_290u64..4_294_967_300,
        1 => 0u64..20_000_000_000,
    ]
}

fn status(failing: bool) -> BoxedStrategy<Status> {
    if failing {
        return pick(&[Status::Error, Status::Error, Status::Cancelled]).boxed();
    }
    pick(&[
        Status::Ok,
        Status::Ok,
        Status::Ok,
        Status::Ok,
        Status::Ok,
        Status::Ok,
        Status::Unset,
        Status::Error,
        Status::Cancelled,
        Status::Orphaned,
    ])
    .boxed()
}

fn part(failing: bool) -> impl Strategy<Value = Part> {
    let tree = (prop::option::of(0usize..40), 0u64..12_000, length(), 0u8..8);
    let names = (
        pick(NODES),
        prop::option::weighted(0.8, (pick(&["node.id", "node_id"]), pick(NODES))),
        some(&["Fetch", "Parse"]),
    );
    let error = (
        some(&[
            ("error.type", "Timeout"),
            ("error_type", "ValueError"),
            ("exception.type", "Timeout"),
        ]),
        some(&[
            ("error.message", "too late"),
            ("exception.message", "no such key"),
            ("error", ""),
        ]),
    );
    let more = (
        prop::option::weighted(0.2, 0u64..4),
        prop::option::weighted(0.2, (pick(&["small", "large"]), 0u64..100, 0u64..100)),
        prop::option::weighted(0.05, pick(NODES)),
    );
    (tree, names, status(failing), error, more).prop_map(|(tree, names, status, error, more)| {
        Part {
            id: 0,
            parent: tree.0,
            start: tree.1,
            length: tree.2,
            kind: tree.3,
            name: names.0,
            node: names.1,
            node_name: names.2,
            status,
            error_type: error.0,
            message: error.1,
            retries: more.0,
            model: more.1,
            after: more.2,
        }
    })
}

fn run(failing: bool) -> impl Strategy<Value = Run> {
    let about = (
        pick(&["flow", "g1", "other"]),
        some(&[("graph_id", "g1"), ("graph.id", "g1"), ("graph_id", "g2")]),
        some(&["1", "2"]),
        any::<bool>(),
    );
    let times = (0u64..5, length(), prop::bool::weighted(0.95));
    let more = (
        prop::collection::vec(
            (
                pick(NODES),
                pick(&["Timeout", ""]),
                pick(&["from an event", ""]),
                0u64..9000,
            ),
            0..2,
        ),
        prop_oneof![
            3 => Just(Vec::new()),
            1 => prop::collection::vec((pick(NODES), pick(NODES), 0u64..20_000), 1..5),
        ],
        prop::collection::vec(
            (
                pick(&[
                    "cost",
                    "llm.cost",
                    "api_cost",
                    "costs",
                    "latency_ms",
                    "agent.tokens",
                ]),
                pick(&["usd", "$", "", "dollars", "eur"]),
                pick(&[0.25, 1.5, -0.5, 3.0]),
                prop::option::of(0usize..8),
            ),
            0..3,
        ),
        pick(&[1u64, 1, 1, 2, 4]),
    );
    // Few as a rule; many are looked up in another way.
    let spans = prop_oneof![
        8 => prop::collection::vec(part(failing), 0..9),
        1 => prop::collection::vec(part(failing), 25..40),
    ];
    (about, times, status(failing), spans, more).prop_map(|(about, times, status, spans, more)| {
        Run {
            id: 0,
            name: about.0,
            graph: about.1,
            version: about.2,
            late: about.3,
            start: times.0 * 3_000_000_000,
            length: times.2.then_some(times.1),
            status,
            weight: more.3,
            spans,
            failures: more.0,
            edges: more.1,
            metrics: more.2,
        }
    })
}

/// Some runs; in some worlds all fail, in some none is sampled, some have one run only.
pub fn world() -> impl Strategy<Value = Vec<Run>> {
    let size = prop_oneof![1 => Just(1usize), 1 => Just(2), 6 => 3usize..30];
    (size, any::<bool>(), prop::bool::weighted(0.15)).prop_flat_map(|(size, sampled, failing)| {
        prop::collection::vec(run(failing), size).prop_map(move |mut runs| {
            for (no, run) in runs.iter_mut().enumerate() {
                // Ids in no order of time.
                let number = no as u128 + 1;
                run.id = (number * 0x9E37_79B9_7F4A_7C15) << 40 | number;
                run.weight = if sampled { run.weight } else { 1 };
                let spans = run.spans.len();
                for (at, span) in run.spans.iter_mut().enumerate() {
                    span.id = (no as u64 * 100 + 17 * at as u64 % 97) + 1;
                    // Parents come before their children, so that there is no circle.
                    span.parent = span
                        .parent
                        .map(|p| p % 8)
                        .filter(|p| *p < at)
                        .or(span.parent.filter(|p| *p < at));
                }
                for metric in &mut run.metrics {
                    metric.3 = metric.3.filter(|at| *at < spans);
                }
            }
            runs
        })
    })
}

/// Writes runs to a log: in the order that `turn` tells, over all rings, in many small frames. What
/// did not end runs as long as the log is held.
pub fn write(dir: &Path, runs: &[Run], turn: u64) -> Log {
    let mut logs = write_all(&[dir], runs, turn);
    logs.remove(0)
}

/// The same to several logs: each record of each run to one of them, as processes that share their
/// traces do.
pub fn write_all(dirs: &[&Path], runs: &[Run], turn: u64) -> Vec<Log> {
    let mut logs: Vec<Log> = dirs.iter().map(|dir| Log::open(dir, 1 << 20)).collect();
    let mut records: Vec<(u64, usize, usize, Vec<u64>)> = Vec::new();
    let mut random = turn | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 11
    };
    for run in runs {
        // Each log has its own names; the records are the same.
        let all: Vec<_> = logs.iter_mut().map(|log| records_of(log, run)).collect();
        for (at, of_first) in all[0].iter().enumerate() {
            // Mostly near its place, sometimes anywhere.
            let place = records.len() as u64 + next() % 40;
            let far = next() % 20 == 0;
            let place = if far { next() % 4000 } else { place };
            let log = next() as usize % logs.len();
            records.push((
                place,
                next() as usize % RINGS,
                log,
                all[log].get(at).unwrap_or(of_first).clone(),
            ));
        }
    }
    records.sort_by_key(|(place, ..)| *place);
    for some in records.chunks(3) {
        for (no, log) in logs.iter_mut().enumerate() {
            for ring in 0..RINGS {
                let here = some.iter().filter(|r| (r.1, r.2) == (ring, no));
                let here: Vec<&Vec<u64>> = here.map(|(.., record)| record).collect();
                if !here.is_empty() {
                    let words: Vec<u64> = here.iter().flat_map(|r| r.iter().copied()).collect();
                    log.frame(ring, here.len() as u64, &words);
                }
            }
            if next() % 16 == 0 {
                log.commit();
                log.roll();
            }
        }
    }
    logs.iter_mut().for_each(Log::commit);
    logs
}

fn records_of(log: &mut Log, run: &Run) -> Vec<Vec<u64>> {
    let mut about: Vec<(&str, Val<'_>)> = Vec::new();
    if let Some((key, graph)) = run.graph {
        about.push((key, Val::Text(graph)));
    }
    if let Some(version) = run.version {
        about.push(("graph_version", Val::Text(version)));
    }
    let (at_start, at_end) = match run.late {
        true => (&[][..], &about[..]),
        false => (&about[..], &[][..]),
    };
    let threshold = (1u64 << 56) - (1u64 << 56) / run.weight;
    let mut records = vec![log.trace_start(run.name, run.id, run.start, threshold, at_start)];
    for span in &run.spans {
        let mut attributes: Vec<(&str, Val<'_>)> = Vec::new();
        let texts = [span.node, span.error_type, span.message];
        for (key, text) in texts.into_iter().flatten() {
            attributes.push((key, Val::Text(text)));
        }
        if let Some(name) = span.node_name {
            attributes.push(("node.name", Val::Text(name)));
        }
        if let Some(retries) = span.retries {
            attributes.push(("retry_count", Val::Int(retries as i64)));
        }
        if let Some(after) = span.after {
            attributes.push(("node.after", Val::Text(after)));
        }
        if let Some((model, input, output)) = span.model {
            attributes.push(("gen_ai.request.model", Val::Text(model)));
            attributes.push(("gen_ai.usage.input_tokens", Val::Int(input as i64)));
            attributes.push(("gen_ai.usage.output_tokens", Val::Int(output as i64)));
        }
        records.push(log.span(&Span {
            trace: run.id,
            id: span.id,
            parent: span.parent.map_or(0, |at| run.spans[at].id),
            name: span.name,
            start: run.start + span.start,
            length: span.length,
            kind: span.kind,
            status: span.status as u8,
            attributes: &attributes,
        }));
    }
    for (node, error_type, message, at) in &run.failures {
        let attributes = [
            ("node_id", Val::Text(node)),
            ("error_type", Val::Text(error_type)),
            ("error", Val::Text(message)),
        ];
        records.push(log.event("node_failed", (run.id, 0), run.start + at, &attributes));
    }
    for (from, to, at) in &run.edges {
        let attributes = [("edge.from", Val::Text(from)), ("edge.to", Val::Text(to))];
        records.push(log.event("edge.taken", (run.id, 0), run.start + at, &attributes));
    }
    for (name, unit, value, span) in &run.metrics {
        let span = span.map_or(0, |at| run.spans[at].id);
        records.push(log.metric((name, unit), *value, (run.id, span), run.start, &[]));
    }
    if let Some(length) = run.length {
        let end = (run.start + length, length);
        records.push(log.trace_end(run.name, run.id, end, run.status as u8, at_end));
    }
    records
}
