//! A graph runtime of one's own, observed: nodes run on threads as soon as those that they come
//! after are done, one of them fails at first, and the recording tells where the time went.
//!
//! It prints:
//!
//! ```text
//! 9592 primes below 100000, the largest gap is 72
//! trace: primes, status ok
//!   primes (graph_run)
//!     sieve (node_execution) after nothing
//!     count (node_execution) after sieve
//!     gaps (node_execution) after sieve, 1 retry
//!     report (node_execution) after count, gaps
//! edges: count -> report, gaps -> report, sieve -> count, sieve -> gaps
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{
        atomic::{AtomicU32, Ordering},
        Mutex,
    },
    thread,
};

use emberlog::{
    analysis::Analyzer,
    instrument::{ActiveNode, GraphRun, Node, Observer},
    Config, Filter, Manager, Span, SpanKind, Value,
};

/// What nodes hand on.
type Values = Mutex<BTreeMap<&'static str, Vec<usize>>>;
type Work = fn(&Values, &mut ActiveNode<'_>) -> io::Result<Vec<usize>>;

/// A task of this runtime. That it keeps a [`Node`] is all that observing needs.
struct Task {
    name: &'static str,
    after: &'static [&'static str],
    work: Work,
    node: Node,
}

fn task(graph: &Observer, name: &'static str, after: &'static [&'static str], work: Work) -> Task {
    Task {
        name,
        after,
        work,
        node: graph.node(name).after(after.iter().copied()),
    }
}

/// Runs every task on a thread of its own, in waves of those that can run.
fn run(tasks: &[Task], observed: &GraphRun) -> io::Result<BTreeMap<&'static str, Vec<usize>>> {
    let values = Values::default();
    let mut left: Vec<&Task> = tasks.iter().collect();
    while !left.is_empty() {
        let done: Vec<_> = lock(&values).keys().copied().collect();
        let can_run = |task: &&Task| task.after.iter().all(|name| done.contains(name));
        let (wave, rest): (Vec<&Task>, Vec<&Task>) = left.into_iter().partition(can_run);
        left = rest;
        thread::scope(|scope| {
            let running: Vec<_> = wave
                .into_iter()
                .map(|task| {
                    scope.spawn(|| {
                        let result =
                            observed.call(&task.node, |node| again(task, &values, node))?;
                        lock(&values).insert(task.name, result);
                        Ok::<_, io::Error>(())
                    })
                })
                .collect();
            let mut ended = running.into_iter().map(|thread| thread.join());
            ended.try_for_each(|result| result.expect("no task panics"))
        })?;
    }
    Ok(values.into_inner().expect("no task panics"))
}

/// Tries a task up to three times.
fn again(task: &Task, values: &Values, node: &mut ActiveNode<'_>) -> io::Result<Vec<usize>> {
    for _ in 0..2 {
        match (task.work)(values, node) {
            Err(error) => node.retry(&error),
            result => return result,
        }
    }
    (task.work)(values, node)
}

fn lock(values: &Values) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Vec<usize>>> {
    values.lock().expect("no task panics")
}

const LIMIT: usize = 100_000;

fn sieve(_: &Values, node: &mut ActiveNode<'_>) -> io::Result<Vec<usize>> {
    let mut prime = vec![true; LIMIT];
    let mut primes = Vec::new();
    for n in 2..LIMIT {
        if prime[n] {
            primes.push(n);
            (n * n..LIMIT).step_by(n).for_each(|at| prime[at] = false);
        }
    }
    node.set("primes", primes.len());
    Ok(primes)
}

fn count(values: &Values, _: &mut ActiveNode<'_>) -> io::Result<Vec<usize>> {
    Ok(vec![lock(values)["sieve"].len()])
}

fn gaps(values: &Values, _: &mut ActiveNode<'_>) -> io::Result<Vec<usize>> {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    if TRIES.fetch_add(1, Ordering::Relaxed) == 0 {
        return Err(io::Error::other("the disk was busy"));
    }
    let values = lock(values);
    let gaps = values["sieve"].windows(2).map(|pair| pair[1] - pair[0]);
    Ok(vec![gaps.max().unwrap_or(0)])
}

fn report(values: &Values, _: &mut ActiveNode<'_>) -> io::Result<Vec<usize>> {
    let values = lock(values);
    Ok(vec![values["count"][0], values["gaps"][0]])
}

fn after(span: &Span) -> String {
    let names = match span.attributes.get("node.after") {
        None => "nothing".to_owned(),
        Some(Value::Array(names)) => {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            names.join(", ")
        }
        Some(name) => name.as_str().unwrap_or_default().to_owned(),
    };
    match span.attributes.get("retry_count") {
        Some(_) => format!("{names}, 1 retry"),
        None => names,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    let graph = Observer::new(&manager, "primes").version("1");
    let tasks = [
        task(&graph, "sieve", &[], sieve),
        task(&graph, "count", &["sieve"], count),
        task(&graph, "gaps", &["sieve"], gaps),
        task(&graph, "report", &["count", "gaps"], report),
    ];

    let observed = graph.start();
    let result = run(&tasks, &observed);
    observed.end_with(&result);
    let report = &result?["report"];
    println!(
        "{} primes below {LIMIT}, the largest gap is {}",
        report[0], report[1]
    );

    let trace = manager.query_traces(&Filter::new())?.remove(0);
    println!("trace: {}, status {}", trace.name, trace.status);
    let mut spans = manager.query_spans(&Filter::new())?;
    let place = |span: &Span| tasks.iter().position(|task| task.name == span.name);
    spans.sort_by_key(place);
    for span in &spans {
        match span.kind {
            SpanKind::GraphRun => println!("  {} ({})", span.name, span.kind),
            kind => println!("    {} ({kind}) after {}", span.name, after(span)),
        }
    }
    let reader = manager.reader()?.expect("it records");
    let analysis = Analyzer::new()
        .graph("primes")
        .min_executions(1)
        .log(&reader)?;
    let report = analysis.report.expect("one execution is enough");
    let edge = |edge: &emberlog::analysis::EdgeMetrics| {
        format!("{} -> {}", edge.from.as_deref().unwrap_or(""), edge.to)
    };
    let mut edges: Vec<_> = report.edges.iter().map(edge).collect();
    edges.sort();
    println!("edges: {}", edges.join(", "));
    Ok(())
}
