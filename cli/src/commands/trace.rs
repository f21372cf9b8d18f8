//! `trace`: one run as a tree.

use std::path::Path;

use emberlog::{
    query::{Rings, TraceTree},
    Event, Link, Metric, Span, Trace,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    args::TraceArgs,
    failure::{Failure, Verdict},
    output::{escape::escape, human, rows, Output, Tone},
    store::Store,
    tree::{fold, render, Tree},
};

/// Rows of a tree before it is folded.
const ROWS: usize = 200;

/// Shows one trace.
pub fn run(
    args: &TraceArgs,
    dir: &Path,
    rings: Rings,
    out: &mut Output,
) -> Result<Verdict, Failure> {
    let store = Store::open(dir, rings)?;
    let id = store.find_trace(&args.id)?;
    show(
        store.trace(id)?,
        if args.all { usize::MAX } else { ROWS },
        out,
    )?;
    Ok(Verdict::Fine)
}

/// Shows a trace in at most `rows` rows.
pub fn show(mut trace: TraceTree, rows: usize, out: &mut Output) -> Result<(), Failure> {
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    // What a dead process left open lasted until its last sign of life.
    let end = trace.trace.end_ns.unwrap_or(now);
    let tree = Tree::new(&mut trace, end);
    if out.is_json() {
        return json(&trace, &tree, out);
    }
    heading(&trace.trace, &tree, out)?;
    if !tree.nodes.is_empty() {
        out.line("")?;
        let lines = fold::lines(&tree, rows);
        render::write(&tree, &lines, out)?;
        if lines.len() < tree.nodes.len() {
            out.note(&format!(
                "folded: {} spans in {} rows, --all shows each",
                tree.nodes.len(),
                lines.len()
            ));
        }
    }
    let recorded = trace.events.iter().filter(|event| !event.derived).count();
    let measured = trace
        .metrics
        .iter()
        .filter(|metric| !metric.derived)
        .count();
    let id = rows::short(trace.trace.trace_id);
    for (number, one, target) in [
        (recorded, "event", "events"),
        (measured, "measurement", "metrics"),
    ] {
        if number > 0 {
            let number = human::plural(number as u64, one);
            out.line(&format!("{number}  (query {target} --trace-id {id})"))?;
        }
    }
    for link in &trace.links {
        out.line(&format!("follows from {}", link.linked_trace_id))?;
    }
    Ok(())
}

fn heading(trace: &Trace, tree: &Tree, out: &mut Output) -> Result<(), Failure> {
    let failed = (0..tree.nodes.len()).filter(|&i| tree.failed(i)).count();
    let spans = human::plural(tree.nodes.len() as u64, "span");
    let failed = match failed {
        0 => String::new(),
        n => out.paint(Tone::Bad, &format!(", {n} failed")),
    };
    let name = match trace.name.as_str() {
        "" => out.paint(Tone::Odd, "(its start is not in the log)"),
        name => out.paint(Tone::Strong, &escape(name)),
    };
    out.line(&format!("{name}  {}", trace.trace_id))?;
    let status = rows::status(trace.status, trace.is_active());
    let status = out.paint(status.tone, &status.text);
    let (so_far, end) = match trace.end_ns {
        Some(end) => ("", end),
        None => (" so far", tree.range.1),
    };
    let took = human::duration(end.saturating_sub(trace.start_ns).max(0).unsigned_abs());
    let started = out.time(trace.start_ns);
    out.line(&format!(
        "{status}  {took}{so_far}  {spans}{failed}  started {started}"
    ))?;
    let error = rows::trace_error(trace).unwrap_or_default();
    for (tone, text) in [
        (Tone::Bad, error),
        (Tone::Faint, rows::attributes(&trace.attributes)),
    ] {
        if !text.is_empty() {
            let text = out.paint(tone, &escape(&text));
            out.line(&text)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct TraceJson<'a> {
    #[serde(flatten)]
    trace: &'a Trace,
    /// Parents before their children.
    spans: Vec<SpanJson<'a>>,
    events: &'a [Event],
    metrics: &'a [Metric],
    links: &'a [Link],
}

#[derive(Serialize)]
struct SpanJson<'a> {
    #[serde(flatten)]
    span: &'a Span,
    depth: usize,
    self_ns: Option<u64>,
}

fn json(trace: &TraceTree, tree: &Tree, out: &mut Output) -> Result<(), Failure> {
    let nodes = tree.nodes.iter();
    let spans = nodes.map(|node| SpanJson {
        span: &node.span,
        depth: node.depth,
        self_ns: node.self_time_ns,
    });
    let TraceTree {
        trace,
        events,
        metrics,
        links,
        ..
    } = trace;
    out.json(&TraceJson {
        trace,
        spans: spans.collect(),
        events,
        metrics,
        links,
    })
}
