//! `analyze`: what is slow, what fails, since when, and whether a version is worse.

use std::path::Path;

use emberlog::{
    analysis::{Analysis, Analyzer},
    Filter,
};
use jiff::Timestamp;

use crate::{
    analysis::{html, text},
    args::AnalyzeArgs,
    failure::{Failure, Verdict},
    output::{human, Output},
    store::Source,
    time::parse_time,
};

/// Analyses, prints, and writes the report if it is wanted.
pub fn run(args: &AnalyzeArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let analyzer = analyzer(args, out)?;
    let source = match &args.from {
        Some(url) => Source::open(url)?,
        None => Source::log(dir)?,
    };
    if let Some([before, after]) = args.compare.as_deref() {
        let comparison = source.compare(&analyzer, [before, after])?;
        let page = || html::comparison(&comparison, out);
        save(args, &comparison.reason, page)?;
        match out.is_json() {
            true => out.json(&comparison)?,
            false => text::comparison(&comparison, out)?,
        }
        hint(args, &source, &comparison.before, &comparison.reason, out)?;
        return Ok(match (&comparison.reason, comparison.worse) {
            (Some(_), _) => Verdict::TooFew,
            (None, true) => Verdict::Bad,
            (None, false) => Verdict::Fine,
        });
    }
    let analysis = source.analyze(&analyzer)?;
    if let Some(report) = &analysis.report {
        save(args, &None, || html::report(report, &analysis, out))?;
    }
    match out.is_json() {
        true => out.json(&analysis)?,
        false => text::analysis(&analysis, out)?,
    }
    hint(args, &source, &analysis, &analysis.reason, out)?;
    Ok(match (&analysis.report, analysis.has_issues) {
        (None, _) => Verdict::TooFew,
        (Some(_), true) => Verdict::Bad,
        (Some(_), false) => Verdict::Fine,
    })
}

fn analyzer(args: &AnalyzeArgs, out: &Output) -> Result<Analyzer, Failure> {
    let mut analyzer = Analyzer::new().min_executions(args.min_executions);
    if let Some(graph) = &args.graph {
        if graph.is_empty() {
            return Err(Failure::new("--graph: graph_id is required"));
        }
        analyzer = analyzer.graph(graph);
    }
    if let Some(version) = &args.graph_version {
        analyzer = analyzer.graph_version(version);
    }
    let now = Timestamp::now();
    let time = |option: &str, text: &str| {
        parse_time(text, now, out.zone()).map_err(|e| Failure::new(format!("{option}: {e}")))
    };
    analyzer = match args.since.as_deref() {
        Some("all") => analyzer.since_ns(i64::MIN),
        Some(text) => analyzer.since_ns(time("--since", text)?.from_ns),
        None => analyzer,
    };
    if let Some(text) = &args.until {
        analyzer = analyzer.until_ns(time("--until", text)?.to_ns);
    }
    Ok(args.objective.iter().fold(analyzer, |analyzer, objective| {
        analyzer.objective(objective.clone())
    }))
}

/// Writes the report where one was asked for and there is something to report.
fn save(
    args: &AnalyzeArgs,
    reason: &Option<String>,
    page: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let (Some(path), None) = (&args.report, reason) else {
        return Ok(());
    };
    std::fs::write(path, page())
        .map_err(|e| Failure::because(format!("cannot write the report to {}", path.display()), &e))
}

/// Who finds nothing wants to know where to look.
fn hint(
    args: &AnalyzeArgs,
    source: &Source,
    analysis: &Analysis,
    reason: &Option<String>,
    out: &mut Output,
) -> Result<(), Failure> {
    if analysis.damaged_frames > 0 {
        let damaged = human::plural(analysis.damaged_frames, "damaged frame");
        out.note(&format!("{damaged} left out; emberlog verify says more"));
    }
    if reason.is_none() {
        return Ok(());
    }
    if args.report.is_some() {
        out.note("no report was written");
    }
    if analysis.executions > 0 {
        out.note("--min-executions or an earlier --since lets it say something");
        return Ok(());
    }
    let mut filter = Filter::new();
    if let Some(graph) = &args.graph {
        filter = filter.graph(graph);
    }
    match source.newest(filter)? {
        Some(trace) if trace.start_ns < analysis.period.start_ns => {
            let time = out.time(trace.start_ns);
            out.note(&format!("the newest run began at {time}: see --since"));
        }
        Some(_) => {}
        None => out.note(match args.graph {
            Some(_) => "no run of this graph is recorded: see emberlog query traces",
            None => "no run is recorded",
        }),
    }
    Ok(())
}
