//! Records, small logs and comparisons for the tests.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rend::{i64_le, u16_le, u32_le, u64_le};

use crate::{
    log::{AppendError, Housekeeper, LogDir, Options, Snapshot, Step, SyncPolicy, Writer},
    record::{
        id::TraceId,
        layout::{Anchor, Header, Lease, Name, RecordKind, Resource, Span},
        view::{aligned, words_of},
    },
};

pub(super) const NS_PER_TICK: u64 = 1 << 32;

/// A span of a trace; its end tick and its span id are `n`.
pub(super) fn span(trace: u128, n: u64, name: u32) -> [u64; 8] {
    words_of(&Span {
        header: Header::new(RecordKind::Span, 8, name),
        trace_id: TraceId::from_u128(trace).0,
        span_id: u64_le::from_native(n + 1),
        parent: u64_le::from_native(0),
        end: u64_le::from_native(n + 1000),
        ticks: u64_le::from_native(10),
        kind: 1,
        status: (n % 3) as u8,
        flags: u16_le::from_native(0),
        attributes: u16_le::from_native(0),
        dropped: u16_le::from_native(0),
    })
}

fn text_words(text: &str) -> Vec<u64> {
    aligned(text.as_bytes())
}

/// An anchor, a resource, two names and a lease.
pub(super) fn prologue() -> Vec<u64> {
    let mut out = Vec::new();
    out.extend(words_of::<_, 5>(&Anchor {
        header: Header::new(RecordKind::Anchor, 5, 0),
        tick: u64_le::from_native(0),
        unix_ns: i64_le::from_native(1_000_000),
        rate: u64_le::from_native(NS_PER_TICK),
        reason: 1,
        reserved: [0; 7],
    }));
    out.extend(words_of::<_, 4>(&Resource {
        header: Header::new(RecordKind::Resource, 4, 0),
        derive: u32_le::from_native(3),
        attributes: u16_le::from_native(0),
        custom: u16_le::from_native(0),
        pid: u32_le::from_native(7),
        max_events_per_span: u32_le::from_native(128),
        threshold: u64_le::from_native(0),
    }));
    for (id, text) in [(256, "fetch"), (257, "a longer name than eight bytes")] {
        let tail = text_words(text);
        out.extend(words_of::<_, 2>(&Name {
            header: Header::new(RecordKind::Name, 2 + tail.len(), id),
            len: u32_le::from_native(text.len() as u32),
            reserved: [0; 4],
        }));
        out.extend(tail);
    }
    let tail = text_words("main");
    out.extend(words_of::<_, 4>(&Lease {
        header: Header::new(RecordKind::Lease, 4 + tail.len(), 3),
        lease: u32_le::from_native(1),
        len: u16_le::from_native(4),
        reserved: [0; 2],
        thread: u64_le::from_native(42),
        tick: u64_le::from_native(5),
    }));
    out.extend(tail);
    out
}

pub(super) fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        sync: SyncPolicy::OnRoll,
        max_bytes: Some(1 << 30),
        min_free_percent: 0,
        ..Options::default()
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(super) fn open(dir: &Path, options: &Options) -> (Writer, Housekeeper) {
    LogDir::lock(dir, options).unwrap().start().unwrap()
}

/// Appends everything, rolling as needed.
pub(super) fn append(writer: &mut Writer, ring: u32, first: u64, words: &[u64]) {
    let mut at = 0;
    let mut sequence = first;
    while at < words.len() {
        match writer.append(ring, 1, sequence, &words[at..]) {
            Ok(a) => {
                at += a.bytes / 8;
                sequence += a.records;
            }
            Err(AppendError::SegmentFull { appended: a }) => {
                at += a.bytes / 8;
                sequence += a.records;
                writer.roll(&prologue(), soon()).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
    }
}

/// Spans `from..to` of ring `ring`, each of the trace `n / 10`.
pub(super) fn spans(ring: u32, from: u64, to: u64) -> Vec<u64> {
    (from..to)
        .flat_map(|n| span(trace_of(ring, n), n, 256 + (n % 2) as u32))
        .collect()
}

pub(super) fn trace_of(ring: u32, n: u64) -> u128 {
    let seed = u128::from(ring) << 64 | u128::from(n / 10 + 1);
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15)
}

/// Sequences of all rings but the flusher's, in log order; panics on steps that are no frame.
pub(super) fn sequences(snapshot: &Snapshot) -> BTreeMap<u32, Vec<u64>> {
    let mut found: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for step in snapshot.frames_from(crate::log::Position::START) {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}");
        };
        for record in frame.records() {
            let (id, record) = record.unwrap();
            if !crate::record::layout::is_own(id.ring) {
                assert_eq!(record.kind(), RecordKind::Span);
                found.entry(id.ring).or_default().push(id.sequence);
            }
        }
    }
    found
}

/// All files of a directory with their bytes, but for those that every open changes.
pub(super) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for sub in ["", "aside"] {
        for entry in std::fs::read_dir(dir.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(dir)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if path.is_file() && name != "watermark" && name != "lock" {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A copy of a log's files.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("aside")).unwrap();
    for sub in ["", "aside", "cursors"] {
        let Ok(entries) = std::fs::read_dir(from.join(sub)) else {
            continue;
        };
        std::fs::create_dir_all(to.join(sub)).unwrap();
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, to.join(path.strip_prefix(from).unwrap())).unwrap();
            }
        }
    }
}

/// Makes a segment look as if another boot of the machine had written it.
pub(super) fn other_boot(segment: &Path) {
    let mut bytes = std::fs::read(segment).unwrap();
    for at in [0, crate::log::layout::HEADER_COPY] {
        let identity = &mut bytes[at..at + crate::log::layout::IDENTITY_BYTES];
        identity[88] ^= 0x55;
        crate::log::layout::finish(identity);
    }
    std::fs::write(segment, bytes).unwrap();
}

/// Bytes of a segment in memory.
pub(super) struct Bytes<'a>(pub &'a [u64]);

impl crate::log::source::Source for Bytes<'_> {
    fn bytes(&mut self, from: u64, to: u64) -> Option<&[u8]> {
        crate::record::view::bytes_of(self.0).get(from as usize..to as usize)
    }
}

/// The newest segment file.
pub(super) fn segment_of(dir: &Path) -> std::path::PathBuf {
    segments_of(dir).pop().unwrap()
}

/// All segment files, in order.
pub(super) fn segments_of(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    found.sort();
    found
}

/// Says how far a log is durable.
pub(super) fn set_durable(dir: &Path, durable: u64) {
    let log = LogDir::lock(dir, &options()).unwrap();
    let id = log.log_id();
    let (mut file, found) = crate::log::watermark::WatermarkFile::open(dir, id).unwrap();
    let mark = crate::log::watermark::Watermark {
        durable,
        ..found.unwrap()
    };
    file.write(mark).unwrap();
}

/// How far a log is durable.
pub(super) fn durable(dir: &Path) -> u64 {
    let id = Snapshot::open(dir).unwrap().log().log_id;
    crate::log::watermark::read_watermark(dir, id)
        .unwrap()
        .durable
}
