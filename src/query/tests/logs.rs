//! Queries on real log directories: while they are written, after their writer died, several.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rend::{i64_le, u16_le, u32_le, u64_le};

use super::make::{Maker, Spanned};
use crate::{
    log::{Housekeeper, LogDir, Options, Position, Writer},
    query::{filter::Filter, LogReader},
    record::{
        attributes::AttributeBuffer,
        id::TraceId,
        kinds::{SpanKind, Status},
        layout::{self, Header, RecordKind},
        names::Name,
        value::Value,
        view::{bytes_of_mut, words_of},
    },
};

/// A log that is being written by hand.
pub(super) struct Writing {
    pub(super) writer: Writer,
    housekeeper: Housekeeper,
    pub(super) maker: Maker,
    sequences: [u64; 8],
}

fn name_record(id: u32, text: &str) -> Vec<u64> {
    let words = layout::Name::WORDS + text.len().div_ceil(8);
    let fixed: [u64; 2] = words_of(&layout::Name {
        header: Header::new(RecordKind::Name, words, id),
        len: u32_le::from_native(text.len() as u32),
        reserved: [0; 4],
    });
    let mut record = fixed.to_vec();
    record.resize(words, 0);
    bytes_of_mut(&mut record[layout::Name::WORDS..])[..text.len()].copy_from_slice(text.as_bytes());
    record
}

impl Writing {
    pub(super) fn open(dir: &Path, segment_bytes: u64) -> Self {
        let options = Options {
            segment_bytes,
            ..Options::default()
        };
        let (writer, housekeeper) = LogDir::lock(dir, &options).unwrap().start().unwrap();
        let mut this = Self {
            writer,
            housekeeper,
            maker: Maker::new(),
            sequences: [0; 8],
        };
        this.roll();
        this
    }

    /// Begins a segment; it knows the names that are known by then.
    pub(super) fn roll(&mut self) {
        let anchor: [u64; 5] = words_of(&layout::Anchor {
            header: Header::new(RecordKind::Anchor, 5, 0),
            tick: u64_le::from_native(0),
            unix_ns: i64_le::from_native(1_000_000),
            rate: u64_le::from_native(1 << 32),
            reason: 1,
            reserved: [0; 7],
        });
        let key = self.maker.names.id("env");
        let mut custom = AttributeBuffer::default();
        custom.push_named(Name::of_id(key), "prod");
        let words = layout::Resource::WORDS + custom.words().len();
        let resource: [u64; 4] = words_of(&layout::Resource {
            header: Header::new(RecordKind::Resource, words, 0),
            derive: u32_le::from_native(3),
            attributes: u16_le::from_native(0),
            custom: u16_le::from_native(1),
            pid: u32_le::from_native(1),
            max_events_per_span: u32_le::from_native(2),
            threshold: u64_le::from_native(0),
        });
        let mut prologue = [&anchor[..], &resource[..], custom.words()].concat();
        for (id, text) in self.maker.names.all() {
            prologue.extend(name_record(id, &text));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        self.writer.roll(&prologue, deadline).unwrap();
    }

    /// Appends records as one frame of a ring, with the names that are new.
    pub(super) fn frame(&mut self, ring: usize, records: &[Vec<u64>]) {
        let names = self.maker.names.take_new();
        let names: Vec<u64> = names
            .into_iter()
            .flat_map(|(id, text)| name_record(id, &text))
            .collect();
        if !names.is_empty() {
            self.writer.append_own(&names).unwrap();
        }
        let first = self.sequences[ring];
        let words = records.concat();
        if self.writer.append(ring as u32, 0, first, &words).is_err() {
            self.roll();
            self.writer.append(ring as u32, 0, first, &words).unwrap();
        }
        self.sequences[ring] += records.len() as u64;
    }

    pub(super) fn commit(&mut self) -> Position {
        self.writer.commit().unwrap()
    }

    pub(super) fn close(self) {
        self.writer.close().unwrap();
        self.housekeeper.stop().unwrap();
    }

    /// Lets go of everything as a killed process would.
    fn die(self) {
        drop(self.writer);
        drop(self.housekeeper);
    }
}

fn id(n: u128) -> TraceId {
    TraceId::from_u128(n << 100 | n)
}

/// A run of two nodes, the second of which fails, from this tick on.
fn run(log: &mut Writing, n: u128, at: u64) {
    let trace = id(n);
    let node = |name, span, start, end, status| Spanned {
        name,
        trace,
        span,
        parent: 0,
        start: at + start,
        end: at + end,
        kind: SpanKind::NodeExecution,
        status,
        attributes: &[],
    };
    let graph = [("graph_id", Value::from("g"))];
    let failure = [
        ("error.type", Value::from("Timeout")),
        ("exception.message", Value::from("took too long")),
    ];
    let maker = &mut log.maker;
    let records = [
        maker.trace_start("flow", trace, at, &graph),
        maker.span(&node("fetch", 1, 10, 20, Status::Ok)),
        maker.event("halfway", "milestone", (trace, 1), at + 25, &[]),
        maker.span(&Spanned {
            attributes: &failure,
            ..node("store", 2, 30, 90, Status::Error)
        }),
        maker.metric("api_cost", 0.5, (trace, 2), at + 95, &[]),
        maker.trace_end("flow", trace, (at, at + 100), Status::Error, &[]),
    ];
    log.frame(0, &records);
}

#[test]
fn what_is_committed_is_found_at_once_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    run(&mut log, 1, 1000);
    log.commit();
    let reader = LogReader::open(dir.path()).unwrap();
    assert_eq!(reader.traces(&Filter::new()).unwrap().len(), 1);
    run(&mut log, 2, 2000);
    assert_eq!(reader.traces(&Filter::new()).unwrap().len(), 1);
    log.commit();
    let traces = reader.traces(&Filter::new()).unwrap();
    let ids: Vec<_> = traces.iter().map(|t| t.trace_id).collect();
    assert_eq!(ids, [id(2), id(1)]);
    assert_eq!(traces[0].status, Status::Error);
    assert_eq!(traces[0].name, "flow");
    assert_eq!(traces[0].start_ns, 1_002_000);
    assert_eq!(traces[0].attributes.get("env"), Some(&Value::from("prod")));
    // All of it again after it was closed, and by somebody else.
    log.close();
    assert_eq!(reader.traces(&Filter::new()).unwrap(), traces);
    let other = LogReader::open(dir.path()).unwrap();
    assert_eq!(other.traces(&Filter::new()).unwrap(), traces);
}

#[test]
fn a_trace_comes_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    for n in 1..=20 {
        run(&mut log, n, n as u64 * 1000);
    }
    log.commit();
    let reader = LogReader::open(dir.path()).unwrap();
    let tree = reader.trace(id(7)).unwrap().unwrap();
    let named: Vec<_> = tree.nodes.iter().map(|n| &*n.span.name).collect();
    assert_eq!(named, ["fetch", "store"]);
    let events: Vec<_> = tree.events.iter().map(|e| &*e.name).collect();
    assert_eq!(
        events,
        [
            "flow started",
            "fetch started",
            "fetch finished",
            "halfway",
            "store started",
            "store failed",
            "flow failed"
        ]
    );
    let error = tree.nodes[1].span.error.as_ref().unwrap();
    assert_eq!(error.error_type, "Timeout");
    assert_eq!(tree.metrics.len(), 9);
    assert_eq!(reader.trace(id(99)).unwrap(), None);

    let f = Filter::new().graph("g").event_type("node_failed");
    assert_eq!(reader.events(&f).unwrap().len(), 20);
    let f = Filter::new().name("node_execution_count").graph("flow");
    assert_eq!(reader.metrics(&f).unwrap().len(), 0);
    assert_eq!(reader.metrics(&f.graph("g")).unwrap().len(), 40);
}

/// A log that came to a root took the place of one that was known, whose new records were not read
/// then, although its rings were: what the flusher had moved in between was in no answer.
#[test]
fn a_log_that_comes_to_a_root_keeps_nothing_of_the_others_back() {
    let root = tempfile::tempdir().unwrap();
    let mut old = Writing::open(&root.path().join("b"), 1 << 20);
    run(&mut old, 1, 1000);
    old.commit();
    let reader = LogReader::open(root.path()).unwrap();
    assert_eq!(reader.traces(&Filter::new()).unwrap().len(), 1);
    let mut new = Writing::open(&root.path().join("a"), 1 << 20);
    run(&mut new, 2, 2000);
    new.commit();
    run(&mut old, 3, 3000);
    old.commit();
    let traces = reader.traces(&Filter::new()).unwrap();
    let ids: Vec<_> = traces.iter().map(|t| t.trace_id).collect();
    assert_eq!(ids, [id(3), id(2), id(1)]);
}

#[test]
fn prefixes_find_traces() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    for n in 1..=20 {
        run(&mut log, n, n as u64 * 1000);
        log.commit();
    }
    let reader = LogReader::open(dir.path()).unwrap();
    let whole = id(5).to_string();
    assert_eq!(reader.trace_by_prefix(&whole, 9).unwrap(), [id(5)]);
    // The number is the first seven digits: 16..=20 begin with 000001.
    assert_eq!(reader.trace_by_prefix("000001", 9).unwrap().len(), 5);
    assert_eq!(
        reader.trace_by_prefix("000001", 2).unwrap(),
        [id(20), id(19)]
    );
    assert!(reader.trace_by_prefix("f", 9).unwrap().is_empty());
}

#[test]
fn streams_give_everything_in_order_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    for n in 1..=3000 {
        run(&mut log, n, n as u64 * 1000);
        if n % 1000 == 0 {
            log.roll();
        }
    }
    log.close();
    let reader = LogReader::open(dir.path()).unwrap();
    let spans = reader.spans_iter(&Filter::new()).unwrap();
    let starts: Vec<_> = spans.map(|span| span.unwrap().start_ns).collect();
    assert_eq!(starts.len(), 6000);
    assert!(starts.windows(2).all(|pair| pair[0] > pair[1]));
    assert_eq!(reader.traces_iter(&Filter::new()).unwrap().count(), 3000);
    assert_eq!(reader.traces(&Filter::new()).unwrap().len(), 100);
    assert_eq!(reader.spans(&Filter::new()).unwrap().len(), 1000);
}

#[test]
fn what_runs_is_active_and_orphaned_when_its_process_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    run(&mut log, 1, 5000);
    let began = log.maker.trace_start("long", id(2), 1000, &[]);
    let suspended = log.maker.span_start(&Spanned {
        name: "waits",
        trace: id(2),
        span: 9,
        parent: 0,
        start: 1500,
        end: 1500,
        kind: SpanKind::Internal,
        status: Status::Unset,
        attributes: &[],
    });
    log.frame(1, &[began, suspended]);
    log.commit();
    let reader = LogReader::open(dir.path()).unwrap();
    let active = reader.traces(&Filter::new().active()).unwrap();
    assert_eq!(active.len(), 1);
    assert_eq!(
        (active[0].trace_id, active[0].status),
        (id(2), Status::Unset)
    );
    let spans = reader.spans(&Filter::new().status(Status::Unset)).unwrap();
    assert_eq!(spans.len(), 1);
    assert!(spans[0].is_active());
    log.die();
    assert!(reader.traces(&Filter::new().active()).unwrap().is_empty());
    let gone = reader
        .traces(&Filter::new().status(Status::Orphaned))
        .unwrap();
    assert_eq!(gone.len(), 1);
    // The last sign of life is the end of the other trace.
    assert_eq!(gone[0].end_ns, Some(1_005_100));
    let spans = reader
        .spans(&Filter::new().status(Status::Orphaned))
        .unwrap();
    assert_eq!(spans[0].end_ns(), Some(1_005_100));
    let tree = reader.trace(id(2)).unwrap().unwrap();
    assert_eq!(tree.nodes[0].span.status, Status::Orphaned);
}

#[test]
fn a_root_reads_as_one_log() {
    let root = tempfile::tempdir().unwrap();
    for worker in 0..3u64 {
        let mut log = Writing::open(&root.path().join(format!("w{worker}")), 1 << 20);
        for n in 0..5 {
            run(
                &mut log,
                u128::from(1 + worker * 5 + n),
                1000 * (n * 3 + worker),
            );
        }
        log.close();
    }
    let reader = LogReader::open(root.path()).unwrap();
    assert_eq!(reader.paths().len(), 3);
    let traces = reader.traces(&Filter::new()).unwrap();
    let starts: Vec<_> = traces
        .iter()
        .map(|t| (t.start_ns - 1_000_000) / 1000)
        .collect();
    assert_eq!(starts, (0..15).rev().collect::<Vec<_>>());
    assert!(reader.trace(id(12)).unwrap().is_some());
    assert!(reader.records_since(Position::START, 10).is_err());
}

#[test]
fn records_come_in_log_order_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Writing::open(dir.path(), 1 << 20);
    for n in 1..=50 {
        run(&mut log, n, n as u64 * 1000);
    }
    let end = log.commit();
    let reader = LogReader::open(dir.path()).unwrap();
    let mut next = Position::START;
    let mut rows = Vec::new();
    loop {
        let since = reader.records_since(next, 20).unwrap();
        assert!(!since.gap);
        assert_eq!(since.damaged, 0);
        if since.rows.is_empty() {
            break;
        }
        next = since.next;
        rows.extend(since.rows);
    }
    assert_eq!(rows.len(), 300);
    assert_eq!(next, end);
    run(&mut log, 51, 51_000);
    log.commit();
    assert_eq!(reader.records_since(next, 20).unwrap().rows.len(), 6);
}
