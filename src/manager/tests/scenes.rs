//! What the children of `failpoints` do, and what their logs must hold afterwards.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use crate::{
    backend::{otlp, BackendConfig, BatchRange, Row, Sink, SinkError},
    log::{self, verify, LogDir, Position, Prune, Snapshot, Step},
    record::{
        id::LogId,
        kinds::{LossCause, Status},
        layout::{is_own, RecordKind},
        Body,
    },
    Config, Manager, Overflow, StaticName,
};

static NAME: StaticName = StaticName::new("failpoint.span");
static NUMBER: StaticName = StaticName::new("failpoint.number");
static FILL: StaticName = StaticName::new("failpoint.fill");

/// Where a segment's header repeats the beginning of its first frame (`docs/format.md`, 4).
const OPENING_AT: u64 = 4096 + 2048;
/// Spans of one life; with their fill they take about two segments and a half.
pub(super) const SPANS: u64 = 88;
/// Rows of a batch.
const BATCH: usize = 64;
/// The number that one backend refuses.
const REFUSED: u64 = 7;

/// Takes everything but one row, which it blames.
struct Picky;

impl Sink for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    fn position(&mut self, _: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        let refused = |row: &Row| match row {
            Row::Span(span) => span.attributes.get("failpoint.number") == Some(&REFUSED.into()),
            _ => false,
        };
        match rows.iter().any(refused) {
            true => Err(SinkError::Content("a number that it does not like".into())),
            false => Ok(()),
        }
    }
}

fn config(dir: &Path) -> Config {
    let options = otlp::Options::file(dir.join("otlp.jsonl")).environment([("NOT", "used")]);
    Config::new(dir.join("log"))
        .log(|log| {
            log.segment_bytes = 1 << 20;
            log.sync = log::SyncPolicy::Every(Duration::from_millis(2));
            log.min_free_percent = 0;
        })
        .ring(|ring| {
            // Room for all of a life: nothing is lost where the log cannot be written.
            ring.ring_bytes = 4 << 20;
            ring.overflow = Overflow::DropNewest;
            ring.dir = Some(dir.join("rings"));
        })
        .sqlite(dir.join("rows.db"))
        .otlp(options)
        .backend(BackendConfig::jsonl(dir.join("rows.jsonl")))
        .backend(BackendConfig::new("picky", || Ok(Box::new(Picky))))
        .buffer_size(BATCH)
        .export_interval(Duration::from_millis(1))
        .shutdown_timeout(Duration::from_millis(200))
}

/// Records a life, and says after each call how far it is. What fails is not retried.
pub(super) fn live(dir: &Path, spans: u64) {
    fs::create_dir_all(dir.join("rings")).unwrap();
    let Ok(manager) = Manager::open(config(dir)) else {
        return;
    };
    let first = said(dir);
    let words = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("said"))
        .unwrap();
    let fill = "x".repeat(30 << 10);
    for number in first..first + spans {
        let run = manager.start_trace("failpoint");
        run.span(&NAME)
            .with(&NUMBER, number)
            .with(&FILL, fill.as_str())
            .ok();
        words.write_all_at(&(number + 1).to_le_bytes(), 0).unwrap();
        run.metric("failpoint.hits").counter(1u64);
        run.ok();
        if number % 20 == 19 {
            let _ = manager.flush_within(Duration::from_millis(200));
        }
    }
    let _ = manager.export(Duration::from_millis(200));
    let _ = manager.shutdown();
}

/// Lets the oldest segments of a closed log go.
pub(super) fn prune(dir: &Path) {
    let what = Prune {
        max_bytes: Some(1 << 20),
        heed: log::Heed::Nobody,
        ..Prune::default()
    };
    let _ = log::prune(&dir.join("log"), &what);
}

/// Damages what a killed life left: a frame below the mark of the open segment, the copy of its
/// first frame's beginning, and a file that was being made.
pub(super) fn damage(dir: &Path) {
    let log = dir.join("log");
    fs::write(log.join("half.idx.tmp"), b"half").unwrap();
    let snapshot = Snapshot::open(&log).unwrap();
    let mut segments = snapshot.segments().iter().rev();
    let open = segments.find(|s| !s.frames().is_empty()).unwrap();
    let entries = open.frames();
    assert!(entries.len() > 3, "{}", entries.len());
    let hit = &entries[entries.len() / 2];
    let file = File::options().write(true).open(open.path()).unwrap();
    file.write_all_at(&[0x5a; 16], u64::from(hit.offset) + 96)
        .unwrap();
    file.write_all_at(&[0; 256], OPENING_AT).unwrap();
}

/// Whether a killed life left a segment that was prepared and not used.
pub(super) fn left_an_empty_segment(dir: &Path) -> bool {
    let snapshot = Snapshot::open(&dir.join("log")).unwrap();
    snapshot.segments().iter().any(|s| s.frames().is_empty())
}

/// How many spans were recorded: calls that returned.
pub(super) fn said(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join("said")).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// What a log holds of the spans.
pub(super) struct Found {
    pub(super) numbers: Vec<u64>,
    /// Of spans, for any cause.
    lost: u64,
    /// Records of any kind in parts that recovery found damaged.
    damaged: u64,
    /// Records of any kind that are missing between others.
    missing: u64,
    removed: u64,
    /// Spans that recovery ended; stores have them, too.
    orphaned: u64,
}

fn found(dir: &Path) -> Found {
    let snapshot = Snapshot::open(&dir.join("log")).unwrap();
    let mut numbers = Vec::new();
    let mut orphaned = 0;
    // Of each ring of each instance: how many records, and the sequence after the last one.
    let mut rings: HashMap<_, (u64, u64)> = HashMap::new();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, _) = step else {
            continue;
        };
        for record in frame.records() {
            let (id, record) = record.unwrap();
            if !is_own(id.ring) {
                let ring = rings.entry((id.instance, id.ring)).or_default();
                *ring = (ring.0 + 1, ring.1.max(id.sequence + 1));
            }
            let Body::Span(span) = record.body else {
                continue;
            };
            if span.status == Status::Orphaned as u8 {
                // Recovery ended what was under way.
                orphaned += 1;
                continue;
            }
            let number = record.attributes.iter().next().map(|a| a.value.to_value());
            match number {
                Some(crate::Value::U64(number)) => numbers.push(number),
                other => panic!("{other:?}"),
            }
        }
    }
    let mut lost = HashMap::new();
    let mut damaged = HashMap::new();
    for segment in snapshot.segments() {
        let instance = segment.header().instance;
        for loss in segment.losses() {
            // A trace that begins while recording is off counts as one, with its one span.
            let of_spans = matches!(loss.kind, Some(RecordKind::Span | RecordKind::TraceStart));
            if of_spans && loss.cause != Some(LossCause::SampledOut) {
                let total = lost
                    .entry((instance, loss.ring, loss.cause, loss.kind))
                    .or_insert(0u64);
                *total = loss.total.max(*total);
            }
        }
        for gap in segment.gaps() {
            damaged.insert(gap.from, gap.records.unwrap_or(0));
        }
    }
    Found {
        numbers,
        lost: lost.values().sum(),
        damaged: damaged.values().sum(),
        missing: rings.values().map(|(count, next)| next - count).sum(),
        removed: snapshot.floor().records,
        orphaned,
    }
}

/// The files of a log that another recovery must leave as they are.
fn files(dir: &Path) -> HashMap<String, Vec<u8>> {
    let mut found = HashMap::new();
    for sub in ["", "aside"] {
        for entry in fs::read_dir(dir.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(dir)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if path.is_file() && name != "watermark" && name != "lock" {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Opens the log as the next process would, delivers what is left, and checks what is always true.
/// `killed`: the call that was under way may have recorded, too.
pub(super) fn check(dir: &Path, killed: bool, what: &str) -> Found {
    fs::create_dir_all(dir.join("rings")).unwrap();
    let manager = Manager::open(config(dir)).unwrap_or_else(|e| panic!("{what}: {e}"));
    manager
        .export(Duration::from_secs(30))
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    manager.shutdown().unwrap();
    drop(manager);
    let log = dir.join("log");
    let recover = || {
        LogDir::lock(&log, &log::Options::default())
            .unwrap()
            .recover()
            .unwrap()
    };
    recover();
    let once = files(&log);
    recover();
    assert!(
        once == files(&log),
        "{what}: a second recovery changed files"
    );
    let report = verify(&log).unwrap();
    assert!(report.ok && report.duplicates == 0, "{what}: {report:?}");

    let found = found(dir);
    let numbers = &found.numbers;
    let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(in_order, "{what}: not once and in order: {numbers:?}");
    let recorded = said(dir);
    let held = numbers.len() as u64 + found.lost;
    if found.removed == 0 {
        assert_eq!(
            found.missing, found.damaged,
            "{what}: what is said to be damaged"
        );
        let most = recorded + u64::from(killed);
        let right = held <= most && held + found.damaged >= recorded;
        assert!(
            right,
            "{what}: {recorded} recorded, {} found, {} counted as lost, {} as damaged",
            numbers.len(),
            found.lost,
            found.damaged
        );
    } else {
        // What retention removed is older than all that is left.
        let first = numbers.first().copied().unwrap_or(recorded);
        assert!(first <= found.removed, "{what}: {first}, {}", found.removed);
        assert!(numbers.iter().copied().eq(first..recorded), "{what}");
    }
    delivered(dir, &found, what);
    found
}

/// SQLite has each span of the log once, and the files of OTLP lines.
fn delivered(dir: &Path, found: &Found, what: &str) {
    let db = rusqlite::Connection::open(dir.join("rows.db")).unwrap();
    let (rows, distinct): (u64, u64) = db
        .query_row(
            "SELECT count(*), count(DISTINCT span_id) FROM spans WHERE name = 'failpoint.span'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(rows, distinct, "{what}: SQLite has spans twice");
    let lines = fs::read_to_string(dir.join("otlp-traces.jsonl")).unwrap_or_default();
    let key = "\"failpoint.number\",\"value\":{\"intValue\":\"";
    let numbers = lines.match_indices(key).map(|(at, _)| {
        let rest = &lines[at + key.len()..];
        rest[..rest.find('"').unwrap()].parse::<u64>().unwrap()
    });
    let mut once = BTreeSet::new();
    let again = numbers.filter(|number| !once.insert(*number)).count();
    // What was sent and not acknowledged comes again: a batch, which ends with a frame.
    assert!(again <= 2 * BATCH, "{what}: OTLP has {again} spans twice");
    if found.removed == 0 {
        // What was delivered before its frame was damaged is in the stores alone.
        let all = found.numbers.len() as u64 + found.orphaned;
        assert!(
            (all..=all + found.damaged).contains(&rows),
            "{what}: SQLite has {rows} of {all}, {} records are damaged",
            found.damaged
        );
        let all: BTreeSet<u64> = found.numbers.iter().copied().collect();
        let more = once.difference(&all).count() as u64;
        assert!(
            once.is_superset(&all) && more <= found.damaged,
            "{what}: OTLP has {} of {}, {} records are damaged",
            once.len(),
            all.len(),
            found.damaged
        );
    }
}
