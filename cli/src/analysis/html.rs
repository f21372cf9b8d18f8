//! An analysis as one HTML file that needs nothing else: style and plots are inside, and there is
//! no script.

use std::fmt::Write;

use emberlog::{
    analysis::{Analysis, BottleneckKind, Comparison, Difference, Report, Severity},
    TraceId,
};

use super::{
    plot,
    text::{money, per_run, percent, seconds, verdict, Show},
};
use crate::output::{human, rows, Output};

const STYLE: &str = "\
:root{--bg:#fff;--fg:#1d2330;--dim:#667085;--line:#e4e7ec;--card:#f7f8fa;--plain:#4c78c9;--good:#3f9c6b;--bad:#d1495b;--odd:#c98a1b}\
@media(prefers-color-scheme:dark){:root{--bg:#14171f;--fg:#e6e9ef;--dim:#98a2b3;--line:#2b3140;--card:#1c212c;--plain:#7aa2f0;--good:#5cc191;--bad:#f0728a;--odd:#e3b04b}}\
body{margin:0 auto;max-width:60rem;padding:1.5rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.dim{color:var(--dim)}\
.cards{display:flex;flex-wrap:wrap;gap:.75rem;margin:1rem 0}.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.6rem 1rem;min-width:6rem}\
.card b{display:block;font-size:1.25rem}.card span{color:var(--dim);font-size:.85rem}\
table{border-collapse:collapse;width:100%;font-size:.9rem}th{text-align:left;color:var(--dim);font-weight:500}\
td,th{padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
td.text{overflow-wrap:anywhere}.scroll{overflow-x:auto}code{font:.85rem ui-monospace,monospace}\
svg{width:100%;height:auto;display:block}.grid{stroke:var(--line)}.axis{fill:var(--dim);font-size:11px}.end{text-anchor:end}\
rect.plain,circle.plain{fill:var(--plain)}rect.good,circle.good{fill:var(--good)}rect.bad,circle.bad{fill:var(--bad)}\
b.bad,td.bad{color:var(--bad)}b.good,td.good{color:var(--good)}td.odd{color:var(--odd)}";

/// Text between tags and in attributes. What could not be seen, or could turn other text around,
/// is spelled out as on a terminal.
pub fn escape(text: &str) -> String {
    let text = crate::output::escape::escape(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

/// A table cell: its class and its text.
type Cell = (&'static str, String);

fn number(text: impl Into<String>) -> Cell {
    ("n", text.into())
}

fn plain(text: impl Into<String>) -> Cell {
    ("text", text.into())
}

/// A table; one without rows is nothing. A title that begins with `#` is that of numbers.
fn table(titles: &[&str], rows: impl Iterator<Item = Vec<Cell>>) -> String {
    let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
    for title in titles {
        let _ = match title.strip_prefix('#') {
            Some(title) => write!(out, "<th class=\"n\">{}</th>", escape(title)),
            None => write!(out, "<th>{}</th>", escape(title)),
        };
    }
    out.push_str("</tr></thead><tbody>\n");
    let mut any = false;
    for row in rows {
        any = true;
        out.push_str("<tr>");
        for (class, text) in row {
            let _ = write!(out, "<td class=\"{class}\">{}</td>", escape(&text));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if any {
        out
    } else {
        String::new()
    }
}

/// A part of the page; one without content is nothing.
fn section(body: &mut String, title: &str, content: &str) {
    if !content.is_empty() {
        let _ = writeln!(
            body,
            "<section><h2>{}</h2>\n{content}</section>",
            escape(title)
        );
    }
}

fn cards(body: &mut String, cards: &[(&str, String, &str)]) {
    body.push_str("<div class=\"cards\">");
    for (name, value, class) in cards {
        let _ = write!(
            body,
            "<div class=\"card\"><b class=\"{class}\">{}</b><span>{}</span></div>",
            escape(value),
            escape(name)
        );
    }
    body.push_str("</div>\n");
}

fn examples(ids: &[TraceId]) -> Cell {
    let ids: Vec<String> = ids.iter().map(|id| rows::short(*id)).collect();
    plain(ids.join(" "))
}

/// The page of an analysis.
pub fn report(report: &Report, analysis: &Analysis, out: &Output) -> String {
    let graph = report.graph_id.as_deref().unwrap_or("all graphs");
    let mut body = String::new();
    let period = &report.analysis_period;
    let _ = writeln!(
        body,
        "<h1>{}</h1><p class=\"dim\">{}{} to {}</p>",
        escape(graph),
        match report.graph_version.as_str() {
            "unknown" => String::new(),
            version => format!("version {}, ", escape(version)),
        },
        escape(&out.time(period.start_ns)),
        escape(&out.time(period.end_ns))
    );
    let health = if report.success_rate < 0.95 {
        "bad"
    } else {
        "good"
    };
    let mut list = vec![
        ("runs", human::count(report.total_executions), ""),
        ("ended ok", percent(report.success_rate), health),
        ("average", seconds(report.avg_duration), ""),
        ("p50", seconds(report.p50_duration), ""),
        ("p95", seconds(report.p95_duration), ""),
        ("p99", seconds(report.p99_duration), ""),
    ];
    if let Some(cost) = report.total_cost {
        list.push(("cost", money(cost), ""));
    }
    if analysis.running > 0 {
        list.push(("still running", human::count(analysis.running), ""));
    }
    cards(&mut body, &list);
    findings(&mut body, report, out);
    let time = |ns| out.time(ns);
    section(
        &mut body,
        "Runs over time",
        &plot::executions(&report.over_time, &time),
    );
    section(
        &mut body,
        "Average duration over time",
        &plot::durations(&report.over_time, &time),
    );
    section(
        &mut body,
        "How long runs take",
        &plot::histogram(&report.durations),
    );
    section(&mut body, "Where the time goes", &critical(report));
    section(&mut body, "Nodes", &nodes(report));
    section(&mut body, "Waits", &edges(report));
    section(&mut body, "Paths", &paths(report));
    section(&mut body, "Models", &models(report));
    page(&format!("{graph}: analysis"), &body)
}

fn findings(body: &mut String, report: &Report, out: &Output) {
    if !report.has_issues() {
        section(
            body,
            "Findings",
            "<p><b class=\"good\">Nothing is slow, nothing fails.</b></p>\n",
        );
        return;
    }
    let mut list = String::new();
    for what in &report.opportunities {
        let _ = write!(list, "<li>{}</li>", escape(what));
    }
    if !list.is_empty() {
        section(body, "What to do first", &format!("<ol>{list}</ol>\n"));
    }
    let bottlenecks = report.bottlenecks.iter().map(|found| {
        let class = match found.severity {
            Severity::Medium => "odd",
            Severity::High | Severity::Critical => "bad",
        };
        let severity = format!("{:?}", found.severity).to_lowercase();
        let (what, value) = match found.kind {
            BottleneckKind::HighLatency => (
                "slow",
                format!(
                    "{} ({:.1}x)",
                    seconds(found.avg_duration),
                    found.impact_score
                ),
            ),
            BottleneckKind::HighErrorRate => (
                "fails often",
                format!(
                    "{} ({} of {})",
                    percent(found.error_rate),
                    found.failures,
                    found.executions
                ),
            ),
        };
        let since = match found.since_ns {
            Some(ns) if found.ongoing => out.time(ns),
            Some(ns) => format!("{}, not any more", out.time(ns)),
            None => String::new(),
        };
        vec![
            plain(&*found.node_name),
            plain(what),
            (class, severity),
            number(value),
            plain(since),
            examples(&found.examples),
        ]
    });
    let titles = ["Node", "What", "Severity", "#Value", "Since", "Examples"];
    section(body, "Bottlenecks", &table(&titles, bottlenecks));
    let failures = report.failures.iter().map(|found| {
        vec![
            number(human::count(found.count)),
            plain(&*found.node_name),
            ("bad", found.error_type.clone()),
            plain(found.error_messages.join("; ")),
            plain(out.time(found.first_seen_ns)),
            plain(out.time(found.last_seen_ns)),
            examples(&found.examples),
        ]
    });
    let titles = [
        "#Count", "Node", "Error", "Messages", "First", "Last", "Examples",
    ];
    section(body, "Failures", &table(&titles, failures));
}

fn critical(report: &Report) -> String {
    let mut list: Vec<(String, f64, String)> = report
        .critical_path
        .iter()
        .take(20)
        .map(|node| {
            let behind = format!("{} a run", seconds(node.avg_time));
            (node.node_name.clone(), node.share, behind)
        })
        .collect();
    if report.critical_outside > 0.0 && !list.is_empty() {
        let outside = "(outside of any span)".to_owned();
        list.push((outside, report.critical_outside, String::new()));
    }
    let mut content = plot::shares(&list);
    let chains = report.critical_chains.iter().take(5).map(|chain| {
        vec![
            number(human::count(chain.count)),
            number(seconds(chain.avg_duration)),
            plain(chain.nodes.join(" → ")),
        ]
    });
    content.push_str(&table(&["#Runs", "#Average", "Critical path"], chains));
    content
}

fn nodes(report: &Report) -> String {
    let rows = report.node_metrics.iter().map(|node| {
        vec![
            plain(&*node.node_name),
            number(human::count(node.executions)),
            number(human::count(node.failures)),
            number(seconds(node.avg_duration)),
            number(seconds(node.p50_duration)),
            number(seconds(node.p95_duration)),
            number(seconds(node.p99_duration)),
            number(seconds(node.avg_self_time)),
            number(human::count(node.retries)),
            number(node.cost.map(money).unwrap_or_default()),
        ]
    });
    let titles = [
        "Node",
        "#Executions",
        "#Failed",
        "#Average",
        "#P50",
        "#P95",
        "#P99",
        "#Self",
        "#Retries",
        "#Cost",
    ];
    table(&titles, rows)
}

fn edges(report: &Report) -> String {
    let rows = report.edges.iter().take(50).map(|edge| {
        vec![
            plain(edge.from.as_deref().unwrap_or("(start)")),
            plain(&*edge.to),
            number(human::count(edge.traversals)),
            number(percent(edge.share)),
            number(edge.avg_wait.map(seconds).unwrap_or_default()),
            number(edge.max_wait.map(seconds).unwrap_or_default()),
        ]
    });
    let titles = [
        "From",
        "To",
        "#Taken",
        "#Of runs",
        "#Average wait",
        "#Longest wait",
    ];
    table(&titles, rows)
}

fn paths(report: &Report) -> String {
    let rows = report.paths.iter().map(|path| {
        vec![
            number(human::count(path.count)),
            number(seconds(path.avg_duration)),
            plain(path.nodes.join(" → ")),
        ]
    });
    table(&["#Runs", "#Average", "Path"], rows)
}

fn models(report: &Report) -> String {
    let rows = report.models.iter().map(|model| {
        vec![
            plain(&*model.model),
            number(human::count(model.calls)),
            number(human::count(model.input_tokens)),
            number(human::count(model.output_tokens)),
            number(model.cost.map(money).unwrap_or_default()),
        ]
    });
    let titles = ["Model", "#Calls", "#Tokens in", "#Tokens out", "#Cost"];
    table(&titles, rows)
}

/// The page of a comparison.
pub fn comparison(comparison: &Comparison, out: &Output) -> String {
    let (Some(before), Some(after)) = (&comparison.before.report, &comparison.after.report) else {
        let reason = comparison.reason.as_deref().unwrap_or_default();
        return page("comparison", &format!("<p>{}</p>", escape(reason)));
    };
    let names = [before.graph_version.clone(), after.graph_version.clone()];
    let graph = before.graph_id.as_deref().unwrap_or("all graphs");
    let mut body = String::new();
    let class = match (comparison.worse, comparison.better) {
        (true, _) => "bad",
        (_, true) => "good",
        _ => "",
    };
    let period = &before.analysis_period;
    let _ = writeln!(
        body,
        "<h1>{}: {} → {}</h1><p><b class=\"{class}\">{}</b></p><p class=\"dim\">{} to {}</p>",
        escape(graph),
        escape(&names[0]),
        escape(&names[1]),
        escape(&verdict(comparison, &names)),
        escape(&out.time(period.start_ns)),
        escape(&out.time(period.end_ns))
    );
    let mut list = vec![
        ("runs before", human::count(before.total_executions), ""),
        ("runs after", human::count(after.total_executions), ""),
    ];
    if let Some(score) = comparison.score {
        list.push(("objectives", format!("{:+.1}%", score * 100.0), ""));
    }
    cards(&mut body, &list);
    let per_run = per_run(comparison);
    let intervals = per_run
        .iter()
        .map(|(name, of, _)| ((*name).to_owned(), *of));
    let mut content = plot::intervals(&intervals.collect::<Vec<_>>());
    let titles = [
        "",
        "#Before",
        "#After",
        "#Difference",
        "#95 % interval",
        "#Effect size",
    ];
    let rows = per_run.into_iter();
    content.push_str(&table(
        &titles,
        rows.map(|(name, of, show)| difference(name, of, show)),
    ));
    section(&mut body, "A run", &content);
    let nodes: Vec<_> = comparison
        .nodes
        .iter()
        .map(|node| (node.node_name.clone(), &node.duration))
        .collect();
    let mut content = String::new();
    if !nodes.is_empty() {
        content = plot::intervals(&nodes);
        let rows = nodes.iter().map(|(name, of)| difference(name, of, seconds));
        content.push_str(&table(&titles, rows));
    }
    section(&mut body, "Average duration of nodes", &content);
    page(&format!("{graph}: comparison"), &body)
}

fn difference(name: &str, of: &Difference, show: Show) -> Vec<Cell> {
    let effect = of.effect_size.map(|effect| format!("{effect:+.2}"));
    vec![
        plain(name),
        number(show(of.before)),
        number(show(of.after)),
        number(show(of.difference)),
        number(format!("{} to {}", show(of.low), show(of.high))),
        number(effect.unwrap_or_default()),
    ]
}
