//! What the log says of the nodes: how often, how long, which were slow, which failed.

use std::collections::BTreeMap;

use emberlog::{Filter, Order, Span, Status, TraceId};

use super::graph::NODES;
use crate::{
    failure::Failure,
    output::{
        human, rows,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store::{Rows, Store},
};

/// What the log says of one node.
#[derive(Default)]
pub struct NodeSums {
    /// Times that it ran.
    pub spans: u64,
    /// Times that it failed.
    pub failed: u64,
    /// All its runs together.
    pub total_ns: u64,
    /// The longest.
    pub slowest_ns: u64,
}

/// Reads every span of the log, and sums up by place of the node in the graph.
pub fn sums(store: &Store) -> Result<BTreeMap<usize, NodeSums>, Failure> {
    let mut sums: BTreeMap<usize, NodeSums> = BTreeMap::new();
    for span in store.spans(&Filter::new().all())? {
        let span = span?;
        let place = NODES
            .iter()
            .position(|node| node.name == span.name)
            .unwrap_or(NODES.len());
        let node = sums.entry(place).or_default();
        let ns = span.duration_ns.unwrap_or(0);
        node.spans += 1;
        node.failed += u64::from(span.status == Status::Error);
        node.total_ns += ns;
        node.slowest_ns = node.slowest_ns.max(ns);
    }
    Ok(sums)
}

/// A line above a part of the report.
pub fn title(text: &str, out: &mut Output) -> Result<(), Failure> {
    let text = out.paint(Tone::Strong, text);
    out.line("")?;
    out.line(&text)
}

/// How often each node ran and how long.
pub fn node_table(
    nodes: &BTreeMap<usize, NodeSums>,
    total_ns: u64,
    out: &mut Output,
) -> Result<(), Failure> {
    title("Nodes", out)?;
    let mut table = Table::new(&[
        Column::text("NODE", 20),
        Column::number("RUNS"),
        Column::number("MEAN"),
        Column::number("SLOWEST"),
        Column::number("SHARE"),
        Column::number("FAILED"),
    ]);
    for (place, node) in nodes {
        let failed = match node.failed {
            0 => "0".into(),
            n => Cell::toned(Tone::Bad, &human::count(n)),
        };
        let cells = vec![
            NODES.get(*place).map_or("(other)", |node| node.name).into(),
            human::count(node.spans).into(),
            human::duration(node.total_ns / node.spans.max(1)).into(),
            human::duration(node.slowest_ns).into(),
            format!(
                "{:.1} %",
                node.total_ns as f64 * 100.0 / total_ns.max(1) as f64
            )
            .into(),
            failed,
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

/// The file that the run of a span worked on.
fn file_of(store: &Store, trace: TraceId) -> Result<String, Failure> {
    let trace = store
        .traces(&Filter::new().trace_id(trace).all())?
        .next()
        .transpose()?;
    let file = trace.and_then(|trace| Some(trace.attributes.get("file")?.as_str()?.to_owned()));
    Ok(file.unwrap_or_default())
}

/// The slowest nodes.
pub fn slowest(store: &Store, out: &mut Output) -> Result<(), Failure> {
    title("Slowest nodes", out)?;
    let mut table = Table::new(&[
        Column::number("TOOK"),
        Column::text("NODE", 20),
        Column::text("TRACE", 12),
        Column::text("FILE", 80),
    ]);
    for span in store.spans(&Filter::new().order(Order::Slowest).limit(5))? {
        let span = span?;
        let cells = vec![
            rows::duration(span.duration_ns),
            span.name.as_str().into(),
            rows::short(span.trace_id).into(),
            file_of(store, span.trace_id)?.into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

/// Nodes that failed, one for each different message.
pub fn failures(store: &Store, failed: u64, out: &mut Output) -> Result<(), Failure> {
    title(&format!("Failed nodes: {}", human::count(failed)), out)?;
    let mut table = Table::new(&[
        Column::text("NODE", 20),
        Column::text("TRACE", 12),
        Column::text("ERROR", 76),
        Column::text("FILE", 80),
    ]);
    for span in distinct(store.spans(&Filter::new().status(Status::Error).limit(500))?)? {
        let error = span
            .error
            .as_ref()
            .map(rows::error_line)
            .unwrap_or_default();
        let cells = vec![
            span.name.as_str().into(),
            rows::short(span.trace_id).into(),
            Cell::toned(Tone::Bad, &error),
            file_of(store, span.trace_id)?.into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

/// The first five failures whose messages differ.
fn distinct(spans: Rows<Span>) -> Result<Vec<Span>, Failure> {
    let mut chosen: Vec<Span> = Vec::new();
    for span in spans {
        let span = span?;
        if chosen.len() < 5 && chosen.iter().all(|other| other.error != span.error) {
            chosen.push(span);
        }
    }
    Ok(chosen)
}
