//! What only a log has: processes that died, records that come late, damage, and a time that is
//! asked for.

mod analysis_support;

use std::fs;

use analysis_support::hand::{Log, Span, Val, BASE_NS};
use emberlog::{
    analysis::{Analysis, Analyzer},
    query::{LogReader, Rings},
};

const OK: u8 = 1;
const NODE: u8 = 2;

fn all() -> Analyzer {
    Analyzer::new()
        .since_ns(i64::MIN)
        .until_ns(i64::MAX)
        .min_executions(1)
}

fn read(dir: &std::path::Path, analyzer: &Analyzer) -> Analysis {
    let reader = LogReader::open_with(dir, Rings::Ignore).unwrap();
    let from_log = analyzer.log(&reader).unwrap();
    let mut from_rows = analyzer.scan(&reader).unwrap();
    // Queries count no damage.
    from_rows.damaged_frames = from_log.damaged_frames;
    assert_eq!(from_log, from_rows);
    from_log
}

fn span(trace: u128, id: u64, start: u64, length: u64) -> Span<'static> {
    Span {
        trace,
        id,
        parent: 0,
        name: "work",
        start,
        length,
        kind: NODE,
        status: OK,
        attributes: &[],
    }
}

/// A run with one node, in a frame of its own.
fn run(log: &mut Log, trace: u128, start: u64) {
    let records = [
        log.trace_start("flow", trace, start, 0, &[]),
        log.span(&span(trace, trace as u64 * 10, start + 10, 100)),
        log.trace_end("flow", trace, (start + 200, 200), OK, &[]),
    ];
    log.frame(0, 3, &records.concat());
}

#[test]
fn what_a_dead_process_left_open_is_orphaned_at_its_last_sign_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20);
    let records = [
        log.trace_start("flow", 7, 1000, 0, &[]),
        log.span_start(&span(7, 71, 1500, 0)),
        log.span_start(&span(7, 72, 1600, 0)),
        log.span(&span(7, 72, 1600, 50)),
    ];
    log.frame(1, 4, &records.concat());
    run(&mut log, 8, 5000);
    log.commit();
    let alive = read(dir.path(), &all());
    assert_eq!((alive.executions, alive.running), (1, 1));
    log.close();
    let dead = read(dir.path(), &all());
    assert_eq!((dead.executions, dead.running), (2, 0));
    let report = dead.report.unwrap();
    assert_eq!(report.success_rate, 0.5);
    // Until the end of the other run.
    assert_eq!(report.durations.counts.iter().sum::<f64>(), 2.0);
    assert_eq!(report.p99_duration, 4200e-9);
    let node = report.node("work").unwrap();
    assert_eq!((node.executions, node.failures), (3, 1));
    assert_eq!(node.max_duration, 3700e-9);
    assert_eq!(report.failures[0].error_type, "orphaned");
}

#[test]
fn a_span_far_behind_the_end_of_its_trace_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20);
    run(&mut log, 1, 1000);
    for trace in 2..2000 {
        run(&mut log, trace, 1000 * trace as u64);
        if trace % 500 == 0 {
            log.commit();
            log.roll();
        }
    }
    let late = log.span(&span(1, 11, 3_000_000, 100));
    log.frame(3, 1, &late);
    log.close();
    let report = read(dir.path(), &all()).report.unwrap();
    assert_eq!(report.total_executions, 1999);
    assert_eq!(report.total_spans, 2000);
    let path = report.paths.iter().find(|path| path.count == 1).unwrap();
    assert_eq!(path.nodes, ["work", "work"]);
}

#[test]
fn measurements_that_name_their_trace_in_an_attribute_count_early_and_late() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20);
    let id = format!("{:032x}", 5);
    let of_trace = [("trace_id", Val::Text(&id)), ("node.id", Val::Text("work"))];
    let early = log.metric(("cost", "usd"), 0.25, (0, 0), 10, &of_trace);
    log.frame(2, 1, &early);
    run(&mut log, 5, 1000);
    run(&mut log, 6, 2000);
    let late = log.metric(("cost", "usd"), 0.5, (0, 0), 20, &of_trace);
    log.frame(2, 1, &late);
    let unknown = [("trace_id", Val::Text("nobody"))];
    let stray = log.metric(("cost", "usd"), 100.0, (0, 0), 30, &unknown);
    log.frame(2, 1, &stray);
    log.close();
    // The queries of a log find them by their rows only, so there is nothing to compare with.
    let reader = LogReader::open_with(dir.path(), Rings::Ignore).unwrap();
    let report = all().log(&reader).unwrap().report.unwrap();
    assert_eq!(report.total_executions, 2);
    assert_eq!(report.total_cost, Some(0.75));
    assert_eq!(report.node("work").unwrap().cost, Some(0.75));
}

#[test]
fn a_time_that_is_asked_for_has_whole_traces() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20);
    for trace in 1..=3000u64 {
        run(&mut log, trace.into(), trace * 1_000_000);
    }
    // A part of trace 2000 lies where nobody would look for it.
    let lost = log.span(&span(2000, 5, 0, 100));
    log.frame(4, 1, &lost);
    log.close();
    let from = |trace: i64| BASE_NS + trace * 1_000_000;
    let window = all().since_ns(from(2000)).until_ns(from(2009));
    let report = read(dir.path(), &window).report.unwrap();
    assert_eq!((report.total_executions, report.total_spans), (10, 11));
    assert_eq!(report.analysis_period.start_ns, from(2000));
    let open = read(dir.path(), &all()).report.unwrap();
    assert_eq!(open.total_executions, 3000);
    assert_eq!(open.analysis_period.end_ns, from(3000));
    let nothing = read(dir.path(), &all().since_ns(from(4000)));
    assert_eq!(nothing.executions, 0);
}

#[test]
fn damage_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20);
    for trace in 1..=100 {
        run(&mut log, trace, 1000 * trace as u64);
    }
    log.close();
    let whole = read(dir.path(), &all());
    assert_eq!((whole.executions, whole.damaged_frames), (100, 0));
    let segments = fs::read_dir(dir.path()).unwrap().flatten();
    let mut segments: Vec<_> = segments
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&segments[0], bytes).unwrap();
    let harmed = read(dir.path(), &all());
    assert_eq!((harmed.executions, harmed.damaged_frames), (99, 1));
}

#[test]
fn an_empty_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    Log::open(dir.path(), 1 << 20).close();
    let nothing = read(dir.path(), &all());
    assert!(nothing.report.is_none());
    assert_eq!(
        nothing.reason.as_deref(),
        Some("Insufficient data: 0 executions (minimum: 1)")
    );
}
