//! Each rule of the analysis at its very limit: one step further and the answer changes. A constant
//! or a comparison that is changed fails here.

mod analysis_support;

use std::time::Duration;

use analysis_support::rows::{Rows, NOW, SECOND};
use emberlog::{
    analysis::{
        Analyzer, BottleneckKind, CostRule, Objective, Report, Severity, DEFAULT_MIN_EXECUTIONS,
        DEFAULT_WINDOW,
    },
    EventType, Pattern, Status, TraceId,
};

/// One run with nodes that take these nanoseconds.
fn nodes(lengths: &[u64]) -> Report {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    for (number, ns) in lengths.iter().enumerate() {
        rows.node(&format!("n{number}"), Status::Ok, *ns);
    }
    rows.report()
}

/// One run of a node of which some executions fail.
fn failing(failures: usize, of: usize) -> Report {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    for number in 0..of {
        let status = if number < failures {
            Status::Error
        } else {
            Status::Ok
        };
        rows.node("n", status, 1000);
    }
    rows.report()
}

#[test]
fn slow_is_more_than_twice_the_mean_of_all_means() {
    // 4 of 1, 1, 4: the mean is 2, twice it is 4.
    assert!(nodes(&[1000, 1000, 4000]).bottlenecks.is_empty());
    let report = nodes(&[1000, 1000, 4001]);
    let [found] = &report.bottlenecks[..] else {
        panic!("{:?}", report.bottlenecks)
    };
    assert_eq!(found.kind, BottleneckKind::HighLatency);
    assert_eq!(found.severity, Severity::Medium);
    assert!((found.impact_score - 4001.0 * 3.0 / 6001.0).abs() < 1e-12);
    // Each node counts once, however often it runs.
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    for _ in 0..50 {
        rows.node("often", Status::Ok, 1000);
    }
    rows.node("once", Status::Ok, 1000);
    rows.node("slow", Status::Ok, 4001);
    assert_eq!(rows.report().bottlenecks.len(), 1);
    // Two nodes are never slow, and what takes no time has no mean to compare with.
    assert!(nodes(&[1, 1_000_000]).bottlenecks.is_empty());
    assert!(nodes(&[0, 0, 0]).bottlenecks.is_empty());
}

#[test]
fn very_slow_is_more_than_five_times() {
    // 25 of 1 x 20 and 25: mean 45/21, five times less than 25. With ten: 10 x 9 + x = 5 * mean.
    let nine = [900u64; 9];
    let exactly = [&nine[..], &[8100]].concat(); // mean 1620, five times 8100
    assert_eq!(nodes(&exactly).bottlenecks[0].severity, Severity::Medium);
    let above = [&nine[..], &[8102]].concat();
    assert_eq!(nodes(&above).bottlenecks[0].severity, Severity::High);
}

#[test]
fn failing_often_is_more_than_one_in_twenty() {
    assert!(failing(1, 20).bottlenecks.is_empty());
    let report = failing(2, 39);
    let [found] = &report.bottlenecks[..] else {
        panic!("{:?}", report.bottlenecks)
    };
    assert_eq!(found.kind, BottleneckKind::HighErrorRate);
    assert_eq!(found.severity, Severity::High);
    assert!((found.impact_score - 20.0 / 39.0).abs() < 1e-12);
    assert_eq!((found.executions, found.failures), (39, 2));
    assert_eq!(failing(4, 20).bottlenecks[0].severity, Severity::High);
    assert_eq!(failing(5, 24).bottlenecks[0].severity, Severity::Critical);
}

#[test]
fn everything_but_ok_is_no_success() {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    for status in [Status::Ok, Status::Unset, Status::Error, Status::Cancelled] {
        rows.node("n", status, 1000);
    }
    let report = rows.report();
    let node = report.node("n").unwrap();
    assert_eq!((node.executions, node.successes, node.failures), (4, 1, 3));
    assert_eq!((node.success_rate, node.error_rate), (0.25, 0.75));
}

#[test]
fn bottlenecks_come_by_impact_and_then_as_their_nodes_are_met() {
    let mut rows = Rows::default();
    rows.run(Status::Ok, 10 * SECOND);
    rows.node("early", Status::Error, 1000); // 10.0
    rows.node("late", Status::Error, 1000); // 10.0
    rows.node("fine", Status::Ok, 1000);
    rows.node("slow", Status::Ok, 10_000); // 10000 / 3250
    let report = rows.report();
    let order: Vec<&str> = report.bottlenecks.iter().map(|b| &*b.node_id).collect();
    // Newest first: `late` began after `early`.
    assert_eq!(order, ["late", "early", "slow"]);
}

#[test]
fn a_graph_has_issues_below_95_percent() {
    let graph = |ok: usize, of: usize| {
        let mut rows = Rows::default();
        for number in 0..of {
            // Without a verdict: no success, and nothing that failed.
            let status = if number < ok {
                Status::Ok
            } else {
                Status::Unset
            };
            rows.run(status, SECOND);
        }
        rows.report()
    };
    let healthy = graph(19, 20);
    assert_eq!(healthy.success_rate, 0.95);
    assert!(!healthy.has_issues());
    assert!(graph(18, 19).has_issues());
    let summary = healthy.summary();
    assert_eq!((summary.total_executions, summary.success_rate), (20, 0.95));
    assert_eq!((summary.bottlenecks_count, summary.failures_count), (0, 0));
    assert_eq!(summary.avg_duration, 1.0);
}

#[test]
fn fewer_executions_than_the_least_say_nothing() {
    assert_eq!(DEFAULT_MIN_EXECUTIONS, 10);
    let mut rows = Rows::default();
    for _ in 0..9 {
        rows.run(Status::Ok, SECOND);
    }
    let all = Analyzer::new().since_ns(i64::MIN).until_ns(i64::MAX);
    let few = rows.analysis(&all);
    assert_eq!(
        few.reason.as_deref(),
        Some("Insufficient data: 9 executions (minimum: 10)")
    );
    assert!(few.report.is_none() && !few.has_issues && few.summary.is_none());
    rows.run(Status::Ok, SECOND);
    let enough = rows.analysis(&all);
    assert!(enough.reason.is_none() && enough.report.is_some());
    // What still runs does not count.
    rows.traces[0].end_ns = None;
    rows.traces[0].status = Status::Unset;
    let few = rows.analysis(&all);
    assert_eq!((few.executions, few.running), (9, 1));
    assert!(few.report.is_none());

    let nameless = rows.analysis(&all.graph(""));
    assert_eq!(nameless.reason.as_deref(), Some("graph_id is required"));
    let off = Analyzer::new().unavailable();
    assert_eq!(
        off.reason.as_deref(),
        Some("Telemetry system not available")
    );
}

#[test]
fn the_window_holds_its_ends_and_is_a_day() {
    assert_eq!(DEFAULT_WINDOW, Duration::from_secs(86_400));
    let mut rows = Rows::default();
    for _ in 0..4 {
        rows.run(Status::Ok, SECOND);
    }
    let start = |number: usize| rows.traces[number].start_ns;
    let count = |since: i64, until: i64| {
        let analyzer = Analyzer::new().since_ns(since).until_ns(until);
        rows.analysis(&analyzer).executions
    };
    assert_eq!(count(start(1), start(2)), 2);
    assert_eq!(count(start(1) + 1, start(2)), 1);
    assert_eq!(count(start(1), start(2) - 1), 1);
    let day = 86_400 * SECOND as i64;
    let until = |until: i64| rows.analysis(&Analyzer::new().until_ns(until)).executions;
    assert_eq!(until(start(3) + day), 1);
    assert_eq!(until(start(3) + day + 1), 0);
    let hour = Analyzer::new()
        .until_ns(start(3))
        .window(Duration::from_secs(1));
    assert_eq!(rows.analysis(&hour).executions, 2);
}

#[test]
fn graphs_and_versions_have_two_spellings_and_a_graph_may_be_a_name() {
    let mut rows = Rows::default();
    for (key, value, version) in [
        ("graph_id", "g", "graph_version"),
        ("graph.id", "g", "graph.version"),
        ("graph_id", "flow", "graph_version"),
        ("none", "g", "none"),
    ] {
        rows.run(Status::Ok, SECOND);
        let attributes = &mut rows.traces.last_mut().unwrap().attributes;
        attributes.set(key, value);
        attributes.set(version, 2);
    }
    let all = Analyzer::new().since_ns(i64::MIN).until_ns(i64::MAX);
    let count = |analyzer: &Analyzer| rows.analysis(analyzer).executions;
    assert_eq!(count(&all.clone().graph("g")), 2);
    // The one that says so, and the one that says nothing but has the name.
    assert_eq!(count(&all.clone().graph("flow")), 2);
    assert_eq!(count(&all.clone().graph_version("2")), 3);
    assert_eq!(count(&all.clone().graph("g").graph_version("2")), 2);
    assert_eq!(count(&all.clone().graph("g").graph_version("1")), 0);
    let versions = rows.report().versions;
    assert_eq!((&*versions[0].version, versions[0].executions), ("2", 3));
    assert_eq!(rows.report().graph_version, "unknown");
}

#[test]
fn failures_need_a_trace_that_failed_and_come_by_number() {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    rows.node("caught", Status::Error, 1000);
    for number in 0..4 {
        rows.run(Status::Error, SECOND);
        rows.node("fetch", Status::Error, 1000);
        rows.set("error.type", "Timeout");
        rows.set("error.message", &format!("message {number}"));
        rows.node("parse", Status::Ok, 1000);
    }
    rows.run(Status::Error, SECOND);
    rows.node("parse", Status::Error, 1000);
    rows.event(
        EventType::NODE_FAILED,
        &[("node_id", "quiet"), ("error_type", "Lost")],
    );
    // It is the failure of the span that is there already.
    rows.event(EventType::NODE_FAILED, &[("node.id", "parse")]);
    let report = rows.report();
    let list: Vec<_> = report
        .failures
        .iter()
        .map(|f| (&*f.node_id, &*f.error_type, f.count))
        .collect();
    assert_eq!(
        list,
        [
            ("fetch", "Timeout", 4),
            ("parse", "unknown_error", 1),
            ("quiet", "Lost", 1),
        ]
    );
    let fetch = &report.failures[0];
    assert_eq!(
        fetch.error_messages,
        ["message 3", "message 2", "message 1"]
    );
    let newest = [5, 4, 3].map(TraceId::from_u128);
    assert_eq!(fetch.examples, newest);
    assert_eq!(fetch.first_seen_ns, NOW + 2 * SECOND as i64 + 1000);
    assert_eq!(fetch.last_seen_ns, NOW + 5 * SECOND as i64 + 1000);
    assert_eq!(
        report.opportunities,
        [
            "Fix fetch - high error rate (100.0%)",
            "Fix caught - high error rate (100.0%)",
            "Fix parse - high error rate (20.0%)",
            "Handle Timeout in fetch (4 occurrences)",
            "Handle unknown_error in parse (1 occurrences)",
            "Handle Lost in quiet (1 occurrences)",
        ]
    );
}

#[test]
fn opportunities_are_the_first_three_of_each() {
    let mut rows = Rows::default();
    rows.run(Status::Error, 10 * SECOND);
    for node in ["a", "b", "c", "d"] {
        rows.node(node, Status::Error, 1000);
    }
    rows.node("slow", Status::Ok, 6 * SECOND);
    let report = rows.report();
    assert_eq!((report.bottlenecks.len(), report.failures.len()), (5, 4));
    assert_eq!(report.opportunities.len(), 6);
    let mut rows = Rows::default();
    rows.run(Status::Ok, 10 * SECOND);
    rows.node("a", Status::Ok, 1000);
    rows.node("b", Status::Ok, 1000);
    rows.node("c", Status::Ok, 1_234_567_890);
    rows.set("node.name", "Call the model");
    assert_eq!(
        rows.report().opportunities,
        ["Optimize Call the model - high latency (1.23s average)"]
    );
}

#[test]
fn costs_have_a_name_and_a_unit() {
    let rule = CostRule::default();
    for (name, unit, expected) in [
        ("cost", "usd", true),
        ("agent.cost", "dollars", true),
        ("api_cost", "$", true),
        ("tool_cost", "", true),
        ("costs", "usd", false),
        ("cost", "eur", false),
        ("api-cost", "usd", false),
        ("cost.total", "usd", false),
    ] {
        assert_eq!(rule.is_cost(name, unit), expected, "{name} {unit}");
    }
    let mut rows = Rows::default();
    for _ in 0..2 {
        rows.run(Status::Ok, SECOND);
    }
    rows.metric("api_cost", "usd", 0.75);
    rows.metric("cost", "eur", 100.0);
    rows.metric("cost", "usd", f64::NAN);
    let report = rows.report();
    assert_eq!(
        (report.total_cost, report.avg_cost),
        (Some(0.75), Some(0.375))
    );
    let euros = CostRule {
        names: vec![Pattern::new("cost")],
        units: vec!["eur".into()],
    };
    let all = Analyzer::new()
        .since_ns(i64::MIN)
        .min_executions(1)
        .until_ns(i64::MAX);
    let report = rows.analysis(&all.costs(euros)).report.unwrap();
    assert_eq!(report.total_cost, Some(100.0));
}

#[test]
fn edges_are_redundant_up_to_one_in_a_hundred_and_paths_worth_a_shortcut_from_a_hundred_on() {
    let graph = |rare: usize, of: usize| {
        let mut rows = Rows::default();
        for number in 0..of {
            rows.run(Status::Ok, SECOND);
            rows.node("a", Status::Ok, 1000);
            rows.node(if number < rare { "x" } else { "b" }, Status::Ok, 1000);
        }
        rows.report()
    };
    let to_x = |report: &Report| {
        let edge = report.edges.iter().find(|edge| edge.to == "x");
        edge.unwrap().clone()
    };
    let report = graph(1, 100);
    assert!(to_x(&report).redundant && !to_x(&report).recorded);
    assert!(!to_x(&graph(2, 100)).redundant);
    assert!(!report.paths[0].shortcut, "99 are not enough");
    assert!(graph(1, 101).paths[0].shortcut);
}

#[test]
fn recorded_edges_count_instead_of_those_that_times_suggest() {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    rows.node("a", Status::Ok, 1000);
    rows.node("b", Status::Ok, 1000);
    rows.event(
        EventType::EDGE_TAKEN,
        &[("edge.from", "a"), ("edge.to", "b")],
    );
    rows.event(
        EventType::EDGE_TAKEN,
        &[("edge.from", "b"), ("edge.to", "end")],
    );
    let report = rows.report();
    assert_eq!(report.edges.len(), 2);
    assert!(report.edges.iter().all(|edge| edge.recorded));
    assert_eq!(report.edges[0].avg_wait, Some(0.0));
    assert_eq!(report.edges[1].avg_wait, None, "there is no span `end`");
    assert_eq!(report.paths[0].nodes, ["a", "b", "end"]);
}

#[test]
fn a_trace_stands_for_as_many_as_were_not_kept() {
    let mut rows = Rows::default();
    rows.run(Status::Ok, SECOND);
    rows.run(Status::Error, 3 * SECOND);
    rows.traces[0].sampling_rate = 0.25;
    let report = rows.report();
    assert_eq!(report.total_executions, 2);
    assert_eq!(report.estimated_executions, 5.0);
    assert_eq!(report.success_rate, 0.8);
    assert_eq!(report.avg_duration, (4.0 + 3.0) / 5.0);
    assert_eq!(report.p50_duration, 1.0);
    assert_eq!(report.p95_duration, 3.0);
    // The attribute counts where it is there.
    rows.traces[0].attributes.set("sampling.rate", 0.5);
    assert_eq!(rows.report().estimated_executions, 3.0);
    // A rate that none can have says nothing.
    for rate in [0.0, -1.0, 2.0, f64::NAN] {
        rows.traces[0].attributes.set("sampling.rate", rate);
        assert_eq!(rows.report().estimated_executions, 2.0, "{rate}");
    }
}

#[test]
fn objectives_have_values() {
    let mut rows = Rows::default();
    for quality in [0.5, 1.0] {
        rows.run(Status::Ok, 2 * SECOND);
        rows.metric("quality", "ratio", quality);
        rows.metric("api_cost", "usd", 3.0);
    }
    let analyzer = [
        "latency:min",
        "cost:min",
        "quality:max",
        "unknown:max",
        "error_rate:min",
    ]
    .iter()
    .fold(Analyzer::new(), |analyzer, text| {
        analyzer.objective(text.parse::<Objective>().unwrap())
    });
    let analyzer = analyzer
        .since_ns(i64::MIN)
        .until_ns(i64::MAX)
        .min_executions(2);
    let report = rows.analysis(&analyzer).report.unwrap();
    let values: Vec<_> = report.objectives.iter().map(|o| o.value).collect();
    assert_eq!(values, [Some(2.0), Some(3.0), Some(0.75), None, Some(0.0)]);
}

#[test]
fn a_version_is_worse_if_chance_does_not_explain_it() {
    let mut rows = Rows::default();
    let mut version = |name: &str, lengths: [u64; 12], failures: usize| {
        for (number, ns) in lengths.into_iter().enumerate() {
            let status = if number < failures {
                Status::Error
            } else {
                Status::Ok
            };
            rows.run(status, ns * 1_000_000);
            rows.node("n", Status::Ok, ns * 1_000_000);
            let trace = rows.traces.last_mut().unwrap();
            trace.attributes.set("graph_version", name);
        }
    };
    let usual = [100, 104, 96, 101, 99, 103, 97, 100, 102, 98, 100, 100];
    version("1", usual, 0);
    version("1b", usual.map(|ns| ns + 1), 1);
    version("2", usual.map(|ns| ns + 10), 0);
    version("3", usual, 9);
    let all = Analyzer::new().since_ns(i64::MIN).until_ns(i64::MAX);
    let compare = |a: &str, b: &str| all.compare_scan(a, b, &rows).unwrap();

    let same = compare("1", "1b");
    assert!(!same.worse && !same.better, "{same:?}");
    let slower = compare("1", "2");
    assert!(slower.worse && !slower.better);
    let duration = slower.duration.unwrap();
    assert!((duration.difference - 0.01).abs() < 1e-12);
    assert!(
        duration.low > 0.007 && duration.high < 0.013,
        "{duration:?}"
    );
    assert!(duration.effect_size.unwrap() > 3.0);
    assert!(slower.nodes[0].duration.worse);
    assert!(!slower.success_rate.unwrap().worse);
    let faster = compare("2", "1");
    assert!(faster.better && !faster.worse);
    let failing = compare("1", "3");
    assert!(failing.worse && failing.success_rate.unwrap().worse);
    assert!(!failing.duration.unwrap().worse);
    let unknown = compare("1", "9");
    assert!(!unknown.worse && unknown.duration.is_none());
    assert_eq!(
        unknown.reason.as_deref(),
        Some("Insufficient data: 0 executions (minimum: 10)")
    );
}

#[test]
fn since_when_something_is_wrong() {
    let mut rows = Rows::default();
    for number in 0..40 {
        rows.run(Status::Ok, SECOND);
        rows.node("a", Status::Ok, 1000);
        rows.node("b", Status::Ok, 1000);
        // All is well for half of the time.
        let (ns, status) = match number < 20 {
            true => (1000, Status::Ok),
            false => (50_000, Status::Error),
        };
        rows.node("c", status, ns);
    }
    let report = rows.report();
    assert_eq!(report.bottlenecks.len(), 2);
    for found in &report.bottlenecks {
        assert!(found.ongoing);
        let since = found.since_ns.unwrap();
        let began = NOW + 21 * SECOND as i64;
        let bucket = 1 << 30;
        assert!(
            (began - bucket..=began + bucket).contains(&since),
            "{since}"
        );
        assert_eq!(found.examples.len(), 3);
    }
}
