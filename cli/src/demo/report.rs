//! What the demo found out, read back from its own log.

use std::path::Path;

use emberlog::{query::Rings, Filter, Order, Status};
use serde::Serialize;

use super::{
    findings::{failures, node_table, slowest, sums, title},
    measure::Spread,
    program, quoted, Measured,
};
use crate::{
    commands::show_trace,
    failure::Failure,
    output::{human, rows, Output, Tone},
    store::{self, Store},
};

/// The figures. The first eleven keys are a contract.
#[derive(Serialize)]
struct Summary<'a> {
    runs: u64,
    spans: u64,
    records: u64,
    lost: u64,
    node_us_mean: f64,
    ns_per_span: f64,
    wall_overhead_percent: f64,
    cpu_overhead_percent: Option<f64>,
    log_bytes: u64,
    dir: &'a Path,
    sqlite: &'a Path,
    failed_runs: u64,
    threads: usize,
    pairs_of_rounds: usize,
    wall_overhead_spread: Spread,
    cpu_overhead_spread: Option<Spread>,
    ns_per_span_spread: Spread,
    cpu_ns_per_span: Option<f64>,
    sqlite_rows: u64,
    verified: bool,
    files: usize,
    words: u64,
}

/// Checks the log against what was counted while it was written, then prints the figures.
pub fn write(measured: &Measured, dir: &Path, out: &mut Output) -> Result<(), Failure> {
    let store = Store::open(dir, Rings::Default)?;
    let nodes = sums(&store)?;
    let spans: u64 = nodes.values().map(|node| node.spans).sum();
    let verified = &measured.verified;
    if !verified.ok {
        let problem = verified.problems.first().map_or("", String::as_str);
        return Err(Failure::new(format!(
            "the log of the demo does not verify: {problem}"
        )));
    }
    if spans + measured.lost < measured.recorded.nodes || spans > measured.recorded.nodes {
        return Err(Failure::new(format!(
            "{} nodes were recorded, {spans} are in the log, {} are known to be lost",
            measured.recorded.nodes, measured.lost
        )));
    }
    let total_ns: u64 = nodes.values().map(|node| node.total_ns).sum();
    let stats = store::stats(dir)?;
    let summary = Summary {
        runs: measured.recorded.runs,
        spans,
        records: verified.records,
        lost: measured.lost,
        node_us_mean: total_ns as f64 / 1e3 / spans.max(1) as f64,
        ns_per_span: measured.cost.thread_ns.median,
        wall_overhead_percent: measured.wall_percent.median,
        cpu_overhead_percent: measured.cpu_percent.map(|spread| spread.median),
        log_bytes: stats.log_bytes,
        dir,
        sqlite: &measured.sqlite,
        failed_runs: measured.recorded.failed,
        threads: measured.threads,
        pairs_of_rounds: measured.pairs,
        wall_overhead_spread: measured.wall_percent,
        cpu_overhead_spread: measured.cpu_percent,
        ns_per_span_spread: measured.cost.thread_ns,
        cpu_ns_per_span: measured.cost.process_ns,
        sqlite_rows: measured.sqlite_rows,
        verified: verified.ok,
        files: measured.found.files.len(),
        words: measured.index_size.0,
    };
    if out.is_json() {
        return out.json(&summary);
    }
    figures(&summary, measured, out)?;
    node_table(&nodes, total_ns, out)?;
    slowest(&store, out)?;
    failures(&store, measured.recorded.failed, out)?;
    ranking(measured, out)?;
    one_run(&store, out)?;
    farewell(&summary, &store, out)
}

fn figures(summary: &Summary<'_>, measured: &Measured, out: &mut Output) -> Result<(), Failure> {
    let line = |out: &mut Output, name: &str, text: String| {
        let name = out.paint(Tone::Faint, &format!("{name:<18}"));
        out.line(&format!("{name}{text}"))
    };
    let spread = |s: &Spread| {
        format!(
            "{:+.2} %   half of the rounds {:+.2} to {:+.2}, all {:+.1} to {:+.1}",
            s.median, s.low, s.high, s.min, s.max
        )
    };
    title("What recording costs", out)?;
    line(
        out,
        "runs",
        format!(
            "{} on {}, {} of them failed; the same runs once more without recording, {} in turns",
            human::count(summary.runs),
            human::plural(summary.threads as u64, "thread"),
            human::count(summary.failed_runs),
            human::plural(summary.pairs_of_rounds as u64, "pair")
        ),
    )?;
    line(
        out,
        "nodes",
        format!(
            "{}, {:.1} µs each on average",
            human::count(summary.spans),
            summary.node_us_mean
        ),
    )?;
    line(out, "wall time", spread(&summary.wall_overhead_spread))?;
    match &summary.cpu_overhead_spread {
        Some(cpu) => line(out, "process CPU", spread(cpu))?,
        None => line(out, "process CPU", "not known on this system".to_owned())?,
    }
    let cpu = summary
        .cpu_ns_per_span
        .map(|ns| format!(", {ns:.0} ns of CPU until it is in the log"))
        .unwrap_or_default();
    let cost = summary.ns_per_span_spread;
    line(
        out,
        "one span",
        format!("{:.0} ns ({:.0} to {:.0}) where it is recorded{cpu}; measured with nodes that do nothing", cost.median, cost.low, cost.high),
    )?;
    let lost = match summary.lost {
        0 => out.paint(Tone::Good, "0 lost"),
        n => out.paint(Tone::Bad, &format!("{} lost", human::count(n))),
    };
    let checked = human::duration(measured.verify_time.as_nanos() as u64);
    line(
        out,
        "log",
        format!(
            "{}, {lost}, {}, verified in {checked}",
            human::plural(summary.records, "record"),
            human::bytes(summary.log_bytes)
        ),
    )?;
    let copied = human::duration(measured.sqlite_time.as_nanos() as u64);
    line(
        out,
        "SQLite",
        format!(
            "{} copied from the log in {copied}",
            human::plural(summary.sqlite_rows, "row")
        ),
    )
}

fn ranking(measured: &Measured, out: &mut Output) -> Result<(), Failure> {
    let (words, places) = measured.index_size;
    title(
        &format!(
            "Words in most files (last index: {} words, {} places)",
            human::count(words),
            human::count(places)
        ),
        out,
    )?;
    let line = |r: &super::index::Ranked| format!("{} {}", r.word, human::count(r.documents));
    let ranking: Vec<String> = measured.ranking.iter().map(line).collect();
    out.line(&ranking.join(" · "))
}

fn one_run(store: &Store, out: &mut Output) -> Result<(), Failure> {
    title("One run", out)?;
    let slowest = Filter::new()
        .status(Status::Ok)
        .order(Order::Slowest)
        .limit(1);
    match store.traces(&slowest)?.next().transpose()? {
        Some(trace) => show_trace(store.trace(trace.trace_id)?, usize::MAX, out),
        None => out.line("none succeeded"),
    }
}

fn farewell(summary: &Summary<'_>, store: &Store, out: &mut Output) -> Result<(), Failure> {
    let failed = store
        .traces(&Filter::new().status(Status::Error).limit(1))?
        .next()
        .transpose()?;
    let some = match failed {
        Some(trace) => Some(trace),
        None => store.traces(&Filter::new().limit(1))?.next().transpose()?,
    };
    let id = some
        .map(|trace| rows::short(trace.trace_id))
        .unwrap_or_default();
    let (program, dir) = (program(), quoted(summary.dir));
    title("Where it is", out)?;
    out.line(&format!("log     {dir}"))?;
    out.line(&format!("SQLite  {}", quoted(summary.sqlite)))?;
    title("Try next", out)?;
    out.line(&format!("{program} trace {id} --dir {dir}"))?;
    out.line(&format!(
        "{program} query spans --status error --limit 5 --dir {dir}"
    ))?;
    out.line(&format!(
        "{program} query spans --order slowest --name tokenise --limit 10 --dir {dir}"
    ))
}
