//! Random runs, ties, single runs and all-failing ones included: the analysis says what its
//! definitions say, from the raw log and from rows, in whichever order the records came.

mod analysis_support;

use analysis_support::{
    hand::BASE_NS,
    reference::{self, Reference},
    world::{self, Run},
};
use emberlog::{
    analysis::{Analysis, Analyzer, BottleneckKind, Report, Severity},
    query::{LogReader, Rings},
};
use proptest::prelude::*;

/// Runs of each property test; more on demand.
fn config(cases: u32) -> ProptestConfig {
    let deep = std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1");
    ProptestConfig {
        cases: if deep { cases * 20 } else { cases },
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    }
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64) {
    let scale = expected.abs().max(found.abs()).max(1e-9);
    assert!(
        (found - expected).abs() <= 1e-12 * scale,
        "{what}: {found}, expected {expected}"
    );
}

fn check(analysis: &Analysis, expected: &Reference) {
    assert_eq!(analysis.executions, expected.executions);
    assert_eq!(analysis.running, expected.running);
    let Some(report) = &analysis.report else {
        assert_eq!(expected.executions, 0);
        return;
    };
    assert_eq!(report.total_executions, expected.executions);
    close("success_rate", report.success_rate, expected.success_rate);
    close("avg_duration", report.avg_duration, expected.avg);
    close("p50_duration", report.p50_duration, expected.p50);
    close("p95_duration", report.p95_duration, expected.p95);
    close("p99_duration", report.p99_duration, expected.p99);
    match (report.total_cost, expected.total_cost) {
        (Some(found), Some(expected)) => close("total_cost", found, expected),
        (found, expected) => assert_eq!(found, expected),
    }
    check_nodes(report, expected);
    check_findings(report, expected);
    check_steps(report, expected);
    assert_eq!(analysis.has_issues, expected.has_issues);
}

fn check_nodes(report: &Report, expected: &Reference) {
    let ids: Vec<&str> = report.node_metrics.iter().map(|n| &*n.node_id).collect();
    let wanted: Vec<&str> = expected.nodes.iter().map(|n| &*n.id).collect();
    assert_eq!(ids, wanted);
    for (found, node) in report.node_metrics.iter().zip(&expected.nodes) {
        assert_eq!(found.node_name, node.name, "{}", node.id);
        assert_eq!(found.executions, node.executions);
        assert_eq!(found.successes, node.successes);
        assert_eq!(found.failures, node.executions - node.successes);
        close("success_rate", found.success_rate, node.success_rate);
        close("error_rate", found.error_rate, node.error_rate);
        close("avg", found.avg_duration, node.avg);
        close("p50", found.p50_duration, node.p50);
        close("p95", found.p95_duration, node.p95);
        close("p99", found.p99_duration, node.p99);
        close("self", found.avg_self_time, node.self_time);
        assert_eq!(found.retries, node.retries);
        assert_eq!((found.input_tokens, found.output_tokens), node.tokens);
        close("other tokens", found.other_tokens, node.other_tokens);
        assert_eq!(found.cost, node.cost, "{}", node.id);
        let on_path = report.critical_path.iter();
        let share = on_path
            .filter(|critical| critical.node_id == node.id)
            .map(|critical| critical.share);
        close("critical", share.sum(), node.critical_share);
    }
    close("outside", report.critical_outside, expected.outside);
}

fn check_findings(report: &Report, expected: &Reference) {
    let found: Vec<_> = report
        .bottlenecks
        .iter()
        .map(|b| {
            let kind = match b.kind {
                BottleneckKind::HighLatency => "slow",
                BottleneckKind::HighErrorRate => "failing",
            };
            let severity = match b.severity {
                Severity::Medium => "medium",
                Severity::High => "high",
                Severity::Critical => "critical",
            };
            (b.node_id.as_str(), kind, severity)
        })
        .collect();
    let wanted: Vec<_> = expected
        .bottlenecks
        .iter()
        .map(|(node, kind, severity, _)| (node.as_str(), *kind, *severity))
        .collect();
    assert_eq!(found, wanted);
    for (found, (.., score)) in report.bottlenecks.iter().zip(&expected.bottlenecks) {
        close("impact_score", found.impact_score, *score);
    }
    assert_eq!(report.failures.len(), expected.failures.len());
    for (found, failure) in report.failures.iter().zip(&expected.failures) {
        assert_eq!(found.node_id, failure.node);
        assert_eq!(found.error_type, failure.error_type);
        assert_eq!(found.count, failure.count);
        assert_eq!(found.node_name, failure.name);
        assert_eq!(found.error_messages, failure.messages);
    }
    assert_eq!(report.opportunities, expected.opportunities);
}

fn check_steps(report: &Report, expected: &Reference) {
    assert_eq!(report.edges.len(), expected.edges.len());
    for edge in &report.edges {
        let key = (edge.from.clone(), edge.to.clone());
        let (count, waits) = &expected.edges[&key];
        assert_eq!(edge.traversals, *count, "{key:?}");
        let sum = waits.iter().map(|ns| *ns as f64).sum::<f64>();
        let mean = (!waits.is_empty()).then(|| sum / waits.len() as f64 / 1e9);
        match (edge.avg_wait, mean) {
            (Some(found), Some(expected)) => close("wait", found, expected),
            (found, expected) => assert_eq!(found, expected, "{key:?}"),
        }
        let longest = waits.iter().max().map(|ns| *ns as f64 / 1e9);
        assert_eq!(edge.max_wait, longest, "{key:?}");
    }
    for (nodes, count) in report.paths.iter().map(|p| (&p.nodes, p.count)) {
        assert_eq!(expected.paths.get(nodes), Some(&count), "{nodes:?}");
    }
    assert_eq!(report.distinct_paths, expected.paths.len() as u64);
    for (nodes, count) in report.critical_chains.iter().map(|c| (&c.nodes, c.count)) {
        assert_eq!(expected.chains.get(nodes), Some(&count), "{nodes:?}");
    }
    assert_eq!(report.critical_chains.len(), expected.chains.len().min(20));
}

fn all() -> Analyzer {
    Analyzer::new()
        .since_ns(i64::MIN)
        .until_ns(i64::MAX)
        .min_executions(1)
}

/// The question that `which` stands for, and the runs that it is about.
fn question(which: u8, runs: &[Run]) -> (Analyzer, Vec<&Run>) {
    let (graph, version) = match which % 4 {
        0 => (None, None),
        1 => (Some("g1"), None),
        2 => (Some("flow"), None),
        _ => (Some("g1"), Some("2")),
    };
    let window = (which >= 4).then_some((3_000_000_000u64, 9_000_000_000u64));
    let mut analyzer = all();
    if let Some(graph) = graph {
        analyzer = analyzer.graph(graph);
    }
    if let Some(version) = version {
        analyzer = analyzer.graph_version(version);
    }
    if let Some((since, until)) = window {
        analyzer = analyzer
            .since_ns(BASE_NS + since as i64)
            .until_ns(BASE_NS + until as i64);
    }
    let kept = runs.iter().filter(|run| {
        // What runs has said nothing yet of what stands in its end.
        let said = !(run.late && run.length.is_none());
        let known = Run {
            graph: run.graph.filter(|_| said),
            version: run.version.filter(|_| said),
            ..(*run).clone()
        };
        reference::is_of(&known, graph, version)
            && window.is_none_or(|(since, until)| (since..=until).contains(&run.start))
    });
    (analyzer, kept.collect())
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn the_log_and_its_rows_say_what_the_definitions_say(
        runs in world::world(),
        turn in any::<u64>(),
        which in 0u8..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let held = world::write(dir.path(), &runs, turn);
        let reader = LogReader::open_with(dir.path(), Rings::Ignore).unwrap();
        let (analyzer, kept) = question(which, &runs);
        let expected = reference::report(&kept);
        let from_log = analyzer.log(&reader).unwrap();
        check(&from_log, &expected);
        let from_rows = analyzer.scan(&reader).unwrap();
        check(&from_rows, &expected);
        prop_assert_eq!(from_log, from_rows);
        drop(held);
    }

    #[test]
    fn several_processes_may_share_traces(runs in world::world(), turn in any::<u64>()) {
        let root = tempfile::tempdir().unwrap();
        let dirs = [root.path().join("a"), root.path().join("b")];
        let held = world::write_all(&dirs.each_ref().map(|dir| dir.as_path()), &runs, turn);
        let reader = LogReader::open_with(root.path(), Rings::Ignore).unwrap();
        let expected = reference::report(&runs.iter().collect::<Vec<_>>());
        check(&all().log(&reader).unwrap(), &expected);
        drop(held);
    }

    #[test]
    fn the_order_of_the_records_does_not_matter(
        runs in world::world(),
        turns in any::<[u64; 2]>(),
    ) {
        let analyses = turns.map(|turn| {
            let dir = tempfile::tempdir().unwrap();
            let held = world::write(dir.path(), &runs, turn);
            let reader = LogReader::open_with(dir.path(), Rings::Ignore).unwrap();
            let analysis = all().log(&reader).unwrap();
            drop(held);
            analysis
        });
        // Sums of costs are floating-point: exact here, since all values are quarters.
        prop_assert_eq!(&analyses[0], &analyses[1]);
    }
}
