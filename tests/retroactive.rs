//! Traces that are sampled out and kept after all, whole, because of how they went.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::mpsc::channel,
};

use emberlog::{
    log::{verify, Position, Snapshot, Step},
    record::Body,
    Config, DetachedSpan, Filter, LossCause, Manager, Run, SpanId, Status, TraceId, TraceOptions,
};

/// Keeps nothing but what fails.
fn errors_only(dir: &Path) -> Config {
    Config::new(dir)
        .sampling_rate(0.0)
        .force_sample_on_error(true)
}

fn open(config: Config) -> Manager {
    Manager::open(config).unwrap()
}

/// A run with four spans, an event, a measurement and a link inside: nine records with its end.
fn work(manager: &Manager, name: &str) -> Run {
    let run = manager.start_trace(name);
    let outer = run.node("outer");
    outer.child("inner").ok();
    run.event("milestone", "half").record();
    run.metric("load").gauge(0.5);
    run.link(TraceId::from_u128(7), SpanId::new(7));
    outer.ok();
    let mut steps = run.steps();
    steps.enter("one");
    steps.enter("two");
    steps.ok();
    run
}

const RECORDS: u64 = 9;

fn fail(run: Run) {
    run.fail(&std::io::Error::other("disk on fire"));
}

/// Counts of traces, spans, recorded events, recorded measurements.
fn counts(manager: &Manager) -> [usize; 4] {
    let mut all = Filter::new().all();
    all.recorded_only = true;
    [
        manager.query_traces(&all).unwrap().len(),
        manager.query_spans(&all).unwrap().len(),
        manager.query_events(&all).unwrap().len(),
        manager.query_metrics(&all).unwrap().len(),
    ]
}

/// Ring and sequence.
type Identity = (u32, u64);

/// Records that belong to traces, by kind and identity.
fn records(log: &Path) -> Vec<(u8, TraceId, Identity)> {
    let snapshot = Snapshot::open(log).unwrap();
    let mut found = Vec::new();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            let (id, record) = record.unwrap();
            let (kind, trace) = match record.body {
                Body::TraceStart(record) => (1, record.trace_id),
                Body::TraceEnd(record) => (2, record.trace_id),
                Body::Span(record) => (3, record.trace_id),
                Body::SpanStart(record) => (4, record.trace_id),
                Body::Event(record) => (5, record.trace_id),
                Body::Metric(record) => (6, record.trace_id),
                Body::Link(record) => (7, record.trace_id),
                _ => continue,
            };
            found.push((kind, TraceId(trace), (id.ring, id.sequence)));
        }
    }
    found
}

/// What the log says was held and not kept.
fn sampled_out(log: &Path) -> u64 {
    let mut totals = BTreeMap::new();
    for segment in Snapshot::open(log).unwrap().segments() {
        for loss in segment.losses() {
            if loss.cause == Some(LossCause::SampledOut) {
                let key = (segment.header().instance, loss.ring);
                let total: &mut u64 = totals.entry(key).or_default();
                *total = loss.total.max(*total);
            }
        }
    }
    totals.values().sum()
}

#[test]
fn what_failed_is_kept_whole_and_hidden_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(errors_only(dir.path()));
    let good = work(&manager, "good");
    let bad = work(&manager, "bad");
    assert!(bad.is_recording() && !bad.is_sampled());
    let open_span = bad.span("open");
    // Everything so far went through the flusher.
    manager.flush().unwrap();
    assert_eq!(counts(&manager), [0; 4]);
    assert!(records(dir.path()).is_empty());
    open_span.ok();
    good.ok();
    fail(bad);
    assert_eq!(counts(&manager), [1, 5, 1, 1]);
    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert_eq!((trace.name.as_str(), trace.status), ("bad", Status::Error));
    assert_eq!((trace.kept_rate(), trace.weight()), (1.0, 1.0));
    assert_eq!(trace.sampling_rate, 1.0, "its start tells too");
    let tree = manager.query_spans(&Filter::new().name("inner")).unwrap();
    assert!(tree[0].parent_span_id.is_some());
    manager.shutdown().unwrap();
    let stats = manager.stats();
    assert_eq!((stats.sampled_out, stats.dropped_count), (RECORDS, 0));
}

#[test]
fn every_record_is_logged_or_counted_once_and_keeps_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let manager = open(errors_only(&log).log(|log| log.segment_bytes = 1 << 20));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let manager = &manager;
            scope.spawn(move || {
                for n in 0..1000 {
                    let run = work(manager, "run");
                    if n % 10 == thread {
                        fail(run);
                        // Not more than the windows hold.
                        manager.flush().unwrap();
                    } else {
                        run.ok();
                    }
                }
            });
        }
    });
    manager.flush().unwrap();
    manager.shutdown().unwrap();
    let stats = manager.stats();
    assert_eq!(stats.dropped_count, 0, "{:?}", stats.lost);
    let found = records(&log);
    assert_eq!(found.len() as u64, 300 * RECORDS);
    assert_eq!(stats.sampled_out, 2700 * RECORDS);
    assert_eq!(sampled_out(&log), stats.sampled_out);
    // Identities are those of the rings: distinct, and in order inside a trace.
    let ids: BTreeSet<_> = found.iter().map(|(_, _, id)| *id).collect();
    assert_eq!(ids.len(), found.len());
    let mut traces: BTreeMap<TraceId, Vec<(u8, Identity)>> = BTreeMap::new();
    for (kind, trace, id) in found {
        traces.entry(trace).or_default().push((kind, id));
    }
    assert_eq!(traces.len(), 300);
    for records in traces.values() {
        assert_eq!((records[0].0, records[8].0), (1, 2), "{records:?}");
        assert!(records.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }
    assert!(verify(&log).unwrap().ok);
    // Opening it again finds nothing to do.
    let manager = open(errors_only(&log));
    assert_eq!(manager.recovered().unwrap().1.records, 0);
    assert_eq!(counts(&manager)[0], 300);
}

#[test]
fn late_spans_and_those_of_other_threads_belong_to_a_kept_trace() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(errors_only(dir.path()));
    let (send, spans) = channel::<(Run, DetachedSpan)>();
    let (done, is_done) = channel();
    std::thread::scope(|scope| {
        let manager = &manager;
        scope.spawn(move || {
            for (run, span) in spans {
                run.child_of(span.id(), "elsewhere", emberlog::SpanKind::Internal)
                    .ok();
                run.event("milestone", "elsewhere").record();
                manager.flush().unwrap();
                done.send(span).unwrap();
            }
        });
        for failing in [true, false] {
            let run = work(manager, "run");
            let span = run.span("late").detach(&run);
            send.send((run.clone(), span)).unwrap();
            let span = is_done.recv().unwrap();
            let also = run.clone();
            if failing {
                fail(run);
                manager.flush().unwrap();
            } else {
                run.ok();
            }
            // Its trace has ended.
            span.ok();
            also.span("after").ok();
            also.event("milestone", "after").record();
        }
        drop(send);
    });
    assert_eq!(counts(&manager), [1, 7, 3, 1]);
    manager.shutdown().unwrap();
    // The start of the detached span is a record too.
    let logged = records(dir.path()).len() as u64;
    assert_eq!(logged, RECORDS + 6);
    assert_eq!(manager.stats().sampled_out, logged);
}

#[test]
fn what_is_open_when_the_log_is_closed_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(errors_only(dir.path()));
    let run = work(&manager, "open");
    manager.shutdown().unwrap();
    assert_eq!(manager.stats().sampled_out, RECORDS - 1);
    fail(run);
    drop(manager);
    assert_eq!(sampled_out(dir.path()), RECORDS - 1);
    let manager = open(errors_only(dir.path()));
    assert_eq!(counts(&manager), [0; 4]);
    assert_eq!(manager.recovered().unwrap().1.orphaned_traces, 0);
}

#[test]
fn a_window_is_bounded_and_a_sampled_trace_beside_it_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = errors_only(dir.path()).graph_sampling_rate("sampled", 1.0);
    let manager = open(config.ring(|ring| {
        ring.ring_bytes = 64 << 10;
        ring.total_bytes = 4 << 20;
        ring.overflow = emberlog::Overflow::Block {
            timeout: std::time::Duration::from_secs(60),
        };
    }));
    let sampled = manager.start_trace("sampled");
    let long = manager.start_trace("long");
    for n in 0..20_000 {
        long.span("held").ok();
        sampled.span("logged").ok();
        if n % 100 == 0 {
            manager.flush().unwrap();
        }
    }
    fail(long);
    sampled.ok();
    let stats = manager.stats();
    let held: Vec<_> = stats.rings.iter().filter(|r| r.ring >= 1 << 31).collect();
    assert_eq!(held.len(), 1);
    assert!(held[0].used_bytes <= 64 << 10);
    assert_eq!(stats.dropped_count, 0, "{:?}", stats.lost);
    let logged = manager
        .query_spans(&Filter::new().name("logged").all())
        .unwrap();
    assert_eq!(logged.len(), 20_000);
    // The newest spans, as many as the window holds, and the end.
    let kept = manager
        .query_spans(&Filter::new().name("held").all())
        .unwrap();
    assert!((100..2_000).contains(&kept.len()), "{}", kept.len());
    manager.shutdown().unwrap();
    let all = 20_002;
    assert_eq!(manager.stats().sampled_out, all - kept.len() as u64 - 1);
}

#[test]
fn a_sampled_trace_that_failed_stands_for_what_would_have_been_kept() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).sampling_rate(0.25);
    let manager = open(config.error_sample_rate(0.5));
    // Sampled; kept for its error; neither.
    for (low, failing) in [
        (0xc0, true),
        (0xc0, false),
        (0x80, true),
        (0x80, false),
        (0x7f, true),
    ] {
        let id = TraceId::from_u128(u128::from(failing) << 64 | low << 48);
        let run = manager.start_trace_with("run", &TraceOptions::new().id(id));
        run.span("work").ok();
        if failing {
            fail(run);
        } else {
            run.ok();
        }
    }
    let mut weights: Vec<_> = manager
        .query_traces(&Filter::new())
        .unwrap()
        .iter()
        .map(|trace| (trace.status == Status::Error, trace.weight()))
        .collect();
    weights.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(weights, [(false, 4.0), (true, 2.0), (true, 2.0)]);
}

#[test]
fn events_by_id_share_the_fate_of_their_trace() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(errors_only(dir.path()));
    for failing in [true, false] {
        let run = manager.start_trace("run");
        let id = run.trace_id().unwrap();
        manager.event("milestone", "by id").in_trace(id).record();
        if failing {
            fail(run);
        } else {
            run.ok();
        }
    }
    assert_eq!(counts(&manager), [1, 0, 1, 0]);
}
