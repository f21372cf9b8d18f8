//! Plots as inline SVG: no scripts, no fonts, nothing that is loaded from elsewhere.
//!
//! Colours are classes that the page's style sheet defines, so that both themes work.

use std::fmt::Write;

use emberlog::analysis::{Difference, Histogram, Point};

use super::{
    html::escape,
    text::{percent, seconds},
};

/// Width of a plot in its own units; it scales with the page.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// Room for the numbers at the left and the times below.
const LEFT: f64 = 64.0;
const BELOW: f64 = 20.0;

/// One bar of a plot with one value for each piece of time.
struct Bar {
    /// What a mouse over it shows.
    title: String,
    /// Parts from below: class and value.
    parts: Vec<(&'static str, f64)>,
}

/// Executions over time, what failed of them in another colour.
pub fn executions(points: &[Point], time: &dyn Fn(i64) -> String) -> String {
    let bars = points.iter().map(|point| Bar {
        title: format!(
            "{}: {} executions, {} failed",
            time(point.start_ns),
            point.executions,
            point.failures
        ),
        parts: vec![
            ("bad", point.failures as f64),
            ("good", (point.executions - point.failures) as f64),
        ],
    });
    over_time(bars.collect(), points, time, |value| format!("{value:.0}"))
}

/// Mean duration over time.
pub fn durations(points: &[Point], time: &dyn Fn(i64) -> String) -> String {
    let bars = points.iter().map(|point| Bar {
        title: format!("{}: {}", time(point.start_ns), seconds(point.avg_duration)),
        parts: vec![("plain", point.avg_duration)],
    });
    over_time(bars.collect(), points, time, seconds)
}

fn over_time(
    bars: Vec<Bar>,
    points: &[Point],
    time: &dyn Fn(i64) -> String,
    show: impl Fn(f64) -> String,
) -> String {
    let ends = match (points.first(), points.last()) {
        (Some(first), Some(last)) => [time(first.start_ns), time(last.end_ns)],
        _ => [String::new(), String::new()],
    };
    columns(&bars, &ends, show)
}

/// How many traces took how long.
pub fn histogram(histogram: &Histogram) -> String {
    let counts = histogram.bounds.iter().zip(&histogram.counts);
    let bars = counts.map(|(bound, count)| Bar {
        title: format!("up to {}: {count:.0} runs", seconds(*bound)),
        parts: vec![("plain", *count)],
    });
    let bars: Vec<Bar> = bars.collect();
    // Each bound is 2^(1/4) times the one before it; so is the first one.
    let first = histogram.bounds.first().map(|b| b / 2f64.powf(0.25));
    let ends = [first, histogram.bounds.last().copied()];
    let ends = ends.map(|bound| bound.map(seconds).unwrap_or_default());
    columns(&bars, &ends, |value| format!("{value:.0}"))
}

fn columns(bars: &[Bar], ends: &[String; 2], show: impl Fn(f64) -> String) -> String {
    let total = |bar: &Bar| bar.parts.iter().map(|(_, value)| value).sum::<f64>();
    let most = bars.iter().map(total).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let (inner, high) = (WIDTH - LEFT, HEIGHT - BELOW);
    let step = inner / bars.len() as f64;
    let mut svg = open(HEIGHT);
    for (value, y) in [(most, 0.0), (most / 2.0, high / 2.0)] {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 10.0,
            escape(&show(value))
        );
    }
    for (at, bar) in bars.iter().enumerate() {
        if total(bar) <= 0.0 {
            continue;
        }
        let x = LEFT + at as f64 * step;
        let width = (step - 1.0).max(step * 0.8);
        let mut y = high;
        let _ = write!(svg, "<g><title>{}</title>", escape(&bar.title));
        for (class, value) in bar.parts.iter().filter(|(_, value)| *value > 0.0) {
            let height = value / most * high;
            y -= height;
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
            );
        }
        svg.push_str("</g>");
    }
    let y = HEIGHT - 5.0;
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{LEFT}\" y=\"{y}\">{}</text>\
         <text class=\"axis end\" x=\"{WIDTH}\" y=\"{y}\">{}</text></svg>",
        escape(&ends[0]),
        escape(&ends[1])
    );
    svg
}

/// Shares as bars that lie: name, share, what stands behind it.
pub fn shares(rows: &[(String, f64, String)]) -> String {
    const ROW: f64 = 22.0;
    const NAME: f64 = 200.0;
    const BEHIND: f64 = 150.0;
    let most = rows.iter().map(|row| row.1).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let mut svg = open(ROW * rows.len() as f64);
    for (at, (name, share, behind)) in rows.iter().enumerate() {
        let y = at as f64 * ROW;
        let width = share / most * (WIDTH - NAME - BEHIND);
        let short: String = name.chars().take(28).collect();
        let _ = write!(
            svg,
            "<g><title>{}</title><text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"plain\" x=\"{NAME}\" y=\"{:.1}\" width=\"{width:.2}\" height=\"{:.1}\"/>\
             <text class=\"axis\" x=\"{:.2}\" y=\"{:.1}\">{}</text></g>",
            escape(name),
            NAME - 8.0,
            y + 15.0,
            escape(&short),
            y + 3.0,
            ROW - 6.0,
            NAME + width + 6.0,
            y + 15.0,
            escape(&format!("{} {behind}", percent(*share)))
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Differences with their intervals, each in the unit of its own line: name, difference.
pub fn intervals(rows: &[(String, &Difference)]) -> String {
    const ROW: f64 = 26.0;
    const NAME: f64 = 200.0;
    let (left, middle) = (NAME, NAME + (WIDTH - NAME) / 2.0);
    let half = WIDTH - middle - 8.0;
    let mut svg = open(ROW * rows.len() as f64);
    let _ = write!(
        svg,
        "<line class=\"grid\" x1=\"{middle}\" x2=\"{middle}\" y1=\"0\" y2=\"{:.1}\"/>",
        ROW * rows.len() as f64
    );
    for (at, (name, of)) in rows.iter().enumerate() {
        let y = at as f64 * ROW + ROW / 2.0;
        let reach = of.low.abs().max(of.high.abs());
        let x = |value: f64| match reach > 0.0 {
            true => middle + value / reach * half,
            false => middle,
        };
        let class = match (of.worse, of.better) {
            (true, _) => "bad",
            (_, true) => "good",
            _ => "plain",
        };
        let _ = write!(
            svg,
            "<g><title>{}</title><text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{class}\" x=\"{:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"4\"/>\
             <circle class=\"{class}\" cx=\"{:.2}\" cy=\"{y:.1}\" r=\"5\"/></g>",
            escape(name),
            left - 8.0,
            y + 4.0,
            escape(&name.chars().take(28).collect::<String>()),
            x(of.low),
            y - 2.0,
            (x(of.high) - x(of.low)).max(1.0),
            x(of.difference)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">")
}
