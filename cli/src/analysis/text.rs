//! An analysis on a terminal: first what is wrong, since when and where to look, then the rest.

use emberlog::{
    analysis::{Analysis, Bottleneck, BottleneckKind, Comparison, Difference, Report, Severity},
    TraceId,
};

use crate::{
    failure::Failure,
    output::{
        escape::escape,
        human, rows,
        table::{Cell, Column, Table},
        Output, Tone,
    },
};

/// Rows of the tables that nobody acts on at once.
const ROWS: usize = 12;

/// Seconds as people read them.
pub fn seconds(seconds: f64) -> String {
    let ns = seconds * 1e9;
    match ns < 0.0 {
        true => format!("-{}", human::duration((-ns).round() as u64)),
        false => human::duration(ns.round() as u64),
    }
}

/// A share as people read it.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A cost as people read it.
pub fn money(cost: f64) -> String {
    if cost != 0.0 && cost.abs() < 0.01 {
        return human::number(cost);
    }
    format!("{cost:.2}")
}

/// Prints an analysis.
pub fn analysis(analysis: &Analysis, out: &mut Output) -> Result<(), Failure> {
    let Some(report) = &analysis.report else {
        let reason = analysis.reason.as_deref().unwrap_or_default();
        let reason = out.paint(Tone::Odd, reason);
        return out.line(&reason);
    };
    heading(report, analysis.running, out)?;
    findings(report, out)?;
    times(report, out)?;
    nodes(report, out)?;
    edges(report, out)?;
    models(report, out)?;
    objectives(report, out)
}

fn heading(report: &Report, running: u64, out: &mut Output) -> Result<(), Failure> {
    let graph = report.graph_id.as_deref().unwrap_or("all graphs");
    let mut title = out.paint(Tone::Strong, &escape(graph));
    if report.graph_version != "unknown" {
        title.push_str(&format!("  version {}", escape(&report.graph_version)));
    }
    let period = &report.analysis_period;
    let (from, to) = (out.time(period.start_ns), out.time(period.end_ns));
    out.line(&format!("{title}  {from} to {to}"))?;
    let rate = percent(report.success_rate);
    let rate = match report.success_rate < 0.95 {
        true => out.paint(Tone::Bad, &rate),
        false => out.paint(Tone::Good, &rate),
    };
    let mut line = format!(
        "{}, {rate} ok",
        human::plural(report.total_executions, "run")
    );
    if running > 0 {
        line.push_str(&format!(", {} more still running", human::count(running)));
    }
    if report.estimated_executions > report.total_executions as f64 {
        let all = human::count(report.estimated_executions.round() as u64);
        line.push_str(&format!(", sampled out of about {all}"));
    }
    out.line(&line)?;
    let mut line = format!(
        "took {} on average, p50 {}, p95 {}, p99 {}",
        seconds(report.avg_duration),
        seconds(report.p50_duration),
        seconds(report.p95_duration),
        seconds(report.p99_duration)
    );
    if let (Some(total), Some(average)) = (report.total_cost, report.avg_cost) {
        line.push_str(&format!(
            "; cost {}, {} a run",
            money(total),
            money(average)
        ));
    }
    out.line(&line)?;
    if report.versions.len() > 1 {
        let versions = report.versions.iter().map(|v| {
            let since = out.time(v.first_seen_ns);
            let runs = human::plural(v.executions, "run");
            format!("{} ({runs} since {since})", escape(&v.version))
        });
        let versions: Vec<String> = versions.collect();
        out.line(&format!("versions: {}", versions.join(", ")))?;
    }
    Ok(())
}

fn examples(ids: &[TraceId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| rows::short(*id)).collect();
    ids.join(" ")
}

fn severity(of: Severity) -> Cell {
    match of {
        Severity::Medium => Cell::toned(Tone::Odd, "medium"),
        Severity::High => Cell::toned(Tone::Bad, "high"),
        Severity::Critical => Cell::toned(Tone::Bad, "critical"),
    }
}

/// Since when something is wrong.
fn since(of: &Bottleneck, out: &Output) -> String {
    match of.since_ns {
        Some(ns) if of.ongoing => out.time(ns),
        Some(ns) => format!("{}, not any more", out.time(ns)),
        None => "now and then".to_owned(),
    }
}

fn findings(report: &Report, out: &mut Output) -> Result<(), Failure> {
    out.line("")?;
    if !report.has_issues() {
        let fine = out.paint(Tone::Good, "nothing is slow, nothing fails");
        return out.line(&fine);
    }
    for (number, what) in report.opportunities.iter().enumerate() {
        let what = out.paint(Tone::Strong, &escape(what));
        out.line(&format!("{}. {what}", number + 1))?;
    }
    let of_kind = |kind| report.bottlenecks.iter().filter(move |b| b.kind == kind);

    let mut table = Table::new(&[
        Column::text("SLOW NODE", 32),
        Column::text("SEVERITY", 8),
        Column::number("AVERAGE"),
        Column::number("P95"),
        Column::number("OF NORMAL"),
        Column::text("SINCE", 48),
        Column::text("EXAMPLES", 40),
    ]);
    if of_kind(BottleneckKind::HighLatency).next().is_some() {
        out.line("")?;
    }
    for found in of_kind(BottleneckKind::HighLatency) {
        let cells = vec![
            Cell::toned(Tone::Strong, &found.node_name),
            severity(found.severity),
            seconds(found.avg_duration).into(),
            seconds(found.p95_duration).into(),
            format!("{:.1}x", found.impact_score).into(),
            since(found, out).into(),
            examples(&found.examples).into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)?;

    let mut table = Table::new(&[
        Column::text("FAILING NODE", 32),
        Column::text("SEVERITY", 8),
        Column::number("FAILED"),
        Column::number("OF"),
        Column::number("RATE"),
        Column::text("SINCE", 48),
        Column::text("EXAMPLES", 40),
    ]);
    if of_kind(BottleneckKind::HighErrorRate).next().is_some() {
        out.line("")?;
    }
    for found in of_kind(BottleneckKind::HighErrorRate) {
        let cells = vec![
            Cell::toned(Tone::Strong, &found.node_name),
            severity(found.severity),
            human::count(found.failures).into(),
            human::count(found.executions).into(),
            percent(found.error_rate).into(),
            since(found, out).into(),
            examples(&found.examples).into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)?;
    failures(report, out)
}

fn failures(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.failures.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        Column::number("FAILURES"),
        Column::text("NODE", 32),
        Column::text("ERROR", 60),
        Column::text("FIRST", 32),
        Column::text("LAST", 32),
        Column::text("EXAMPLES", 40),
    ]);
    for found in &report.failures {
        let message = found.error_messages.first().map_or("", String::as_str);
        let error = match message {
            "" => found.error_type.clone(),
            message => format!("{}: {message}", found.error_type),
        };
        let cells = vec![
            human::count(found.count).into(),
            Cell::toned(Tone::Strong, &found.node_name),
            Cell::toned(Tone::Bad, &error),
            out.time(found.first_seen_ns).into(),
            out.time(found.last_seen_ns).into(),
            examples(&found.examples).into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

fn times(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.critical_path.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("WHERE THE TIME GOES", 32),
        Column::number("SHARE"),
        Column::number("A RUN"),
        Column::number("RUNS"),
    ]);
    for node in report.critical_path.iter().take(ROWS) {
        let cells = vec![
            node.node_name.as_str().into(),
            percent(node.share).into(),
            seconds(node.avg_time).into(),
            human::count(node.traces).into(),
        ];
        table.row(out, cells)?;
    }
    if report.critical_outside > 0.0 {
        let share = percent(report.critical_outside).into();
        let time = seconds(report.critical_outside * report.avg_duration).into();
        let name = Cell::toned(Tone::Faint, "(outside of any span)");
        table.row(out, vec![name, share, time])?;
    }
    table.end(out)?;
    if let Some(chain) = report.critical_chains.first() {
        let nodes: Vec<String> = chain.nodes.iter().map(|n| escape(n).into_owned()).collect();
        let runs = human::plural(chain.count, "run");
        out.line(&format!("most often {} ({runs})", nodes.join(" → ")))?;
    }
    Ok(())
}

fn nodes(report: &Report, out: &mut Output) -> Result<(), Failure> {
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("NODE", 32),
        Column::number("EXECUTIONS"),
        Column::number("FAILED"),
        Column::number("AVERAGE"),
        Column::number("P50"),
        Column::number("P95"),
        Column::number("P99"),
        Column::number("SELF"),
        Column::number("RETRIES"),
        Column::number("COST"),
    ]);
    for node in &report.node_metrics {
        let none_if = |number: u64| match number {
            0 => String::new(),
            number => human::count(number),
        };
        let cells = vec![
            node.node_name.as_str().into(),
            human::count(node.executions).into(),
            none_if(node.failures).into(),
            seconds(node.avg_duration).into(),
            seconds(node.p50_duration).into(),
            seconds(node.p95_duration).into(),
            seconds(node.p99_duration).into(),
            seconds(node.avg_self_time).into(),
            none_if(node.retries).into(),
            node.cost.map(money).unwrap_or_default().into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

fn edges(report: &Report, out: &mut Output) -> Result<(), Failure> {
    let mut slow: Vec<_> = report
        .edges
        .iter()
        .filter(|edge| edge.avg_wait.is_some_and(|wait| wait > 0.0))
        .collect();
    let waited = |edge: &emberlog::analysis::EdgeMetrics| {
        edge.avg_wait.unwrap_or(0.0) * edge.traversals as f64
    };
    slow.sort_by(|a, b| waited(b).total_cmp(&waited(a)));
    if slow.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("WAITS FROM", 32),
        Column::text("TO", 32),
        Column::number("TAKEN"),
        Column::number("AVERAGE"),
        Column::number("LONGEST"),
    ]);
    for edge in slow.into_iter().take(ROWS) {
        let from = match &edge.from {
            Some(from) => Cell::from(from.as_str()),
            None => Cell::toned(Tone::Faint, "(start)"),
        };
        let cells = vec![
            from,
            edge.to.as_str().into(),
            human::count(edge.traversals).into(),
            edge.avg_wait.map(seconds).unwrap_or_default().into(),
            edge.max_wait.map(seconds).unwrap_or_default().into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

fn models(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.models.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("MODEL", 40),
        Column::number("CALLS"),
        Column::number("TOKENS IN"),
        Column::number("TOKENS OUT"),
        Column::number("OTHER TOKENS"),
        Column::number("COST"),
    ]);
    for model in &report.models {
        let cells = vec![
            model.model.as_str().into(),
            human::count(model.calls).into(),
            human::count(model.input_tokens).into(),
            human::count(model.output_tokens).into(),
            human::number(model.other_tokens).into(),
            model.cost.map(money).unwrap_or_default().into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

fn objectives(report: &Report, out: &mut Output) -> Result<(), Failure> {
    if report.objectives.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[Column::text("OBJECTIVE", 40), Column::number("VALUE")]);
    for objective in &report.objectives {
        let value = objective.value.map(human::number);
        let value = value.unwrap_or_else(|| "not measured".to_owned());
        let name = objective.objective.name.as_str();
        table.row(out, vec![name.into(), value.into()])?;
    }
    table.end(out)
}

/// Prints a comparison.
pub fn comparison(comparison: &Comparison, out: &mut Output) -> Result<(), Failure> {
    let (Some(before), Some(after)) = (&comparison.before.report, &comparison.after.report) else {
        for (name, analysis) in [("before", &comparison.before), ("after", &comparison.after)] {
            if let Some(reason) = &analysis.reason {
                let reason = out.paint(Tone::Odd, reason);
                out.line(&format!("{name}: {reason}"))?;
            }
        }
        return Ok(());
    };
    let names = [&before.graph_version, &after.graph_version].map(|v| escape(v).into_owned());
    let verdict = verdict(comparison, &names);
    let tone = match (comparison.worse, comparison.better) {
        (true, _) => Tone::Bad,
        (_, true) => Tone::Good,
        _ => Tone::Plain,
    };
    let verdict = out.paint(tone, &verdict);
    out.line(&verdict)?;
    out.line(&format!(
        "{} of {}, {} of {}",
        human::plural(before.total_executions, "run"),
        names[0],
        human::plural(after.total_executions, "run"),
        names[1]
    ))?;
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("PER RUN", 24),
        Column::number("BEFORE"),
        Column::number("AFTER"),
        Column::number("DIFFERENCE"),
        Column::text("95 % INTERVAL", 40),
        Column::number("EFFECT"),
    ]);
    for (name, difference, show) in per_run(comparison) {
        table.row(out, difference_row(name, difference, show))?;
    }
    table.end(out)?;
    if !comparison.nodes.is_empty() {
        out.line("")?;
        let mut table = Table::new(&[
            Column::text("NODE", 32),
            Column::number("BEFORE"),
            Column::number("AFTER"),
            Column::number("DIFFERENCE"),
            Column::text("INTERVAL", 40),
            Column::number("EFFECT"),
        ]);
        for node in &comparison.nodes {
            table.row(
                out,
                difference_row(&node.node_name, &node.duration, seconds),
            )?;
        }
        table.end(out)?;
    }
    for (what, nodes) in [
        ("only before", &comparison.nodes_gone),
        ("only after", &comparison.nodes_new),
    ] {
        if !nodes.is_empty() {
            out.line(&format!("{what}: {}", escape(&nodes.join(", "))))?;
        }
    }
    if let Some(score) = comparison.score {
        out.line(&format!("objectives: {:+.1}%", score * 100.0))?;
    }
    Ok(())
}

/// How a number is shown.
pub type Show = fn(f64) -> String;

/// What two versions are compared by, as far as it is known.
pub fn per_run(of: &Comparison) -> Vec<(&'static str, &Difference, Show)> {
    let duration = of.duration.iter().map(|d| ("duration", d, seconds as Show));
    let success = of.success_rate.iter();
    let success = success.map(|d| ("success rate", d, percent as Show));
    let cost = of.cost.iter().map(|d| ("cost", d, money as Show));
    duration.chain(success).chain(cost).collect()
}

/// What a comparison comes to, in a sentence.
pub fn verdict(comparison: &Comparison, [before, after]: &[String; 2]) -> String {
    let named = [
        ("slower", "faster", &comparison.duration),
        (
            "fails more often",
            "fails less often",
            &comparison.success_rate,
        ),
        ("costs more", "costs less", &comparison.cost),
    ];
    let listed = |which: fn(&Difference) -> bool, better: bool| {
        let words = named.iter().filter_map(|(worse, good, difference)| {
            let holds = difference.as_ref().is_some_and(which);
            holds.then_some(if better { *good } else { *worse })
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let worse = listed(|d| d.worse, false);
    let better = listed(|d| d.better, true);
    match (comparison.worse, comparison.better) {
        (true, _) if better.is_empty() => format!("{after} is worse than {before}: {worse}"),
        (true, _) => format!("{after} is worse than {before}: {worse}, but {better}"),
        (_, true) => format!("{after} is better than {before}: {better}"),
        _ => format!("no difference between {before} and {after} that chance does not explain"),
    }
}

fn difference_row(name: &str, of: &Difference, show: Show) -> Vec<Cell> {
    let tone = match (of.worse, of.better) {
        (true, _) => Tone::Bad,
        (_, true) => Tone::Good,
        _ => Tone::Plain,
    };
    let effect = of.effect_size.map(|effect| format!("{effect:+.2}"));
    vec![
        name.into(),
        show(of.before).into(),
        show(of.after).into(),
        Cell::toned(tone, &show(of.difference)),
        format!("{} to {}", show(of.low), show(of.high)).into(),
        effect.unwrap_or_default().into(),
    ]
}
