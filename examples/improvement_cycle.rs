//! One turn of an improvement: two hundred runs of a graph, an analysis of what is wrong with it, a
//! new version, two hundred more, and whether that was better. Recording goes on meanwhile.
//!
//! It prints:
//!
//! ```text
//! 1.0.0: 200 executions, 90 % ok, 4.00 usd, quality 0.70
//! answer fails in 20 of 200 executions: "no such document"
//! 1.1.0: 200 executions, 100 % ok, 2.00 usd, quality 0.80
//! more runs end well: yes; a run costs less: yes
//! ```

use std::time::Duration;

use emberlog::{
    analysis::{Analyzer, Comparison, Difference, Report},
    Config, Manager, Status,
};

const GRAPH: &str = "production_workflow";

/// What a version of the graph does to a request.
struct Version {
    name: &'static str,
    fails: fn(u32) -> bool,
    cost: f64,
    quality: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // `Config::create_postgresql(url)` does the same on a server that several processes share.
    let manager = Manager::open(Config::new(dir.path()))?;
    let first = Version {
        name: "1.0.0",
        fails: |request| request % 10 == 0,
        cost: 0.02,
        quality: 0.7,
    };
    let second = Version {
        name: "1.1.0",
        fails: |_| false,
        cost: 0.01,
        quality: 0.8,
    };

    (0..200).for_each(|request| run(&manager, &first, request));
    manager.flush()?;
    let analyzer = analyzer()?;
    let log = manager.reader()?.ok_or("nothing is recorded")?;
    let found = analyzer.clone().graph_version(first.name).log(&log)?;
    let report = found.report.ok_or("too few executions")?;
    print_report(first.name, &report);
    for failure in &report.failures {
        println!(
            "{} fails in {} of {} executions: {:?}",
            failure.node_name, failure.count, report.total_executions, failure.error_messages[0]
        );
    }

    (200..400).for_each(|request| run(&manager, &second, request));
    manager.flush()?;
    let log = manager.reader()?.ok_or("nothing is recorded")?;
    let comparison = analyzer.compare_log(first.name, second.name, &log)?;
    let report = comparison.after.report.as_ref();
    print_report(second.name, report.ok_or("too few executions")?);
    print_verdict(&comparison);
    Ok(())
}

/// What counts, over the last day and a hundred runs at least.
fn analyzer() -> Result<Analyzer, Box<dyn std::error::Error>> {
    Ok(Analyzer::new()
        .graph(GRAPH)
        .window(Duration::from_secs(24 * 3600))
        .min_executions(100)
        .objective("latency:minimize:0.5".parse()?)
        .objective("cost:minimize:0.3".parse()?)
        .objective("quality:maximize:0.2".parse()?))
}

fn run(manager: &Manager, version: &Version, request: u32) {
    let run = manager.start_trace(GRAPH);
    run.set("graph_id", GRAPH);
    run.set("graph_version", version.name);
    run.set("request_id", request);
    run.node("fetch").ok();
    let answer = run.node("answer");
    run.metric("api_cost").unit("usd").counter(version.cost);
    run.metric("quality").gauge(version.quality);
    if (version.fails)(request) {
        answer.fail_with("NotFound", "no such document");
        run.end(Status::Error);
    } else {
        answer.ok();
        run.ok();
    }
}

fn print_report(version: &str, report: &Report) {
    let quality = report
        .objectives
        .iter()
        .find(|objective| objective.objective.name == "quality");
    println!(
        "{version}: {} executions, {:.0} % ok, {:.2} usd, quality {:.2}",
        report.total_executions,
        report.success_rate * 100.0,
        report.total_cost.unwrap_or_default(),
        quality
            .and_then(|quality| quality.value)
            .unwrap_or_default()
    );
}

fn print_verdict(comparison: &Comparison) {
    let better = |difference: &Option<Difference>| match difference {
        Some(difference) if difference.better => "yes",
        _ => "no",
    };
    println!(
        "more runs end well: {}; a run costs less: {}",
        better(&comparison.success_rate),
        better(&comparison.cost),
    );
}
