//! What the targets share: small real logs, made once, over which an input is laid.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use emberlog::{
    log::{Position, Snapshot, Step},
    Config, Manager,
};
use tempfile::TempDir;

/// A directory in memory.
pub fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").expect("/dev/shm")
}

/// The files below a directory: path from there, content.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

/// Reads all files below `dir`, in order of their paths.
pub fn files(dir: &Path) -> Files {
    fn walk(base: &Path, dir: &Path, found: &mut Files) {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(base, &path, found);
            } else {
                let name = path.strip_prefix(base).expect("below").to_owned();
                found.push((name, fs::read(&path).expect("a file")));
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

/// Segments among files.
pub fn segments(files: &Files) -> Files {
    let is_segment = |path: &Path| path.extension().is_some_and(|e| e == "seg");
    files
        .iter()
        .filter(|(path, _)| is_segment(path))
        .cloned()
        .collect()
}

/// Writes files below `dir`, private as the engine wants them.
pub fn place(files: &Files, dir: &Path) {
    for (name, bytes) in files {
        let path = dir.join(name);
        let mut parent = path.parent().expect("below");
        fs::create_dir_all(parent).expect("a directory");
        while parent != dir {
            fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).expect("permissions");
            parent = parent.parent().expect("below");
        }
        fs::write(&path, bytes).expect("a file");
    }
}

/// A configuration with small files, whose rings lie where the caller says.
pub fn config(log: &Path, rings: &Path) -> Config {
    Config::new(log)
        .log(|log| log.segment_bytes = 1 << 20)
        .ring(|ring| {
            ring.dir = Some(rings.to_owned());
            ring.ring_bytes = 16 << 10;
        })
}

/// Twenty runs with everything in them.
pub fn record(manager: &Manager) {
    for i in 0..20u64 {
        let run = manager.start_trace("run");
        run.node("read").with("bytes", i).ok();
        run.node("parse").fail_with("Bad", "no");
        run.event("note", "half way").with("i", i).record();
        run.metric("size").unit("bytes").gauge(i);
        if i % 4 == 0 {
            // One frame per few runs.
            manager.flush().expect("flushed");
        }
        run.ok();
    }
}

/// Bytes of the rings of the model: more than is recorded, so that nothing is written over and what
/// was drained can be put back. The stack traces of its errors take most of it.
const MODEL_RING: usize = 512 << 10;

/// What a process left.
pub struct Model {
    /// The log of one that ended.
    pub sealed: Files,
    /// The log of one that died after a flush.
    pub open: Files,
    /// The log and the rings of one that died before anything but its start was logged.
    pub unlogged: (Files, Files),
}

/// Made once.
pub fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let dir = directory();
        let (log, rings) = (dir.path().join("log"), dir.path().join("rings"));
        fs::create_dir(&rings).expect("a directory");
        let large = config(&log, &rings).ring(|ring| ring.ring_bytes = MODEL_RING);
        let manager = Manager::open(large).expect("opened");
        assert_eq!(
            manager.stats().not_crash_safe,
            None,
            "the model needs rings in files"
        );
        manager.flush().expect("flushed");
        let begun = files(&log);
        record(&manager);
        manager.flush().expect("flushed");
        let open = files(&log);
        let mut left = files(&rings);
        for (path, bytes) in &mut left {
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ring-"))
            {
                undrain(bytes);
            }
        }
        manager.shutdown().expect("shut down");
        Model {
            sealed: files(&log),
            open,
            unlogged: (begun, left),
        }
    })
}

/// Puts a ring back to before its first record was drained (`docs/format.md`, section 7).
fn undrain(ring: &mut [u8]) {
    let tail = ring[384..392].try_into().map(u64::from_le_bytes);
    assert!(
        tail.is_ok_and(|tail| tail <= MODEL_RING as u64),
        "what was recorded went around the ring: {tail:?}"
    );
    ring[256..264].fill(0);
    ring[264..280].fill(0);
    ring[280..296].fill(0xff);
}

/// One change of an input: where, and the bytes.
pub struct Patch<'a> {
    /// Chooses a file, or a part of one.
    pub what: u8,
    /// Where in it; wrap it to the size.
    pub at: usize,
    /// What to write there; nothing means: cut here.
    pub bytes: &'a [u8],
}

/// An input as a list of changes: what, two bytes of offset, length below 32, bytes.
pub fn patches(data: &[u8]) -> Vec<Patch<'_>> {
    let (mut found, mut rest) = (Vec::new(), data);
    while let [what, at0, at1, len, tail @ ..] = rest {
        let (bytes, next) = tail.split_at(usize::from(*len % 32).min(tail.len()));
        found.push(Patch {
            what: *what,
            at: usize::from(u16::from_le_bytes([*at0, *at1])),
            bytes,
        });
        rest = next;
    }
    found
}

/// Lays a change over a file on disk.
pub fn apply(path: &Path, patch: &Patch<'_>, at: usize) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    if patch.bytes.is_empty() {
        file.set_len(at as u64).expect("cut");
    } else {
        file.write_all_at(patch.bytes, at as u64).expect("written");
    }
}

/// A frame by what identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// Ring and sequence of the first record.
    pub first: (u32, u64),
    /// Records.
    pub count: u32,
    /// Bytes in its segment.
    pub range: (usize, usize),
}

/// The frames that a reader of the log sees.
pub fn frames(dir: &Path) -> Vec<Known> {
    let Ok(snapshot) = Snapshot::open(dir) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for step in snapshot.frames_from(Position::START) {
        if let Step::Frame(frame, _) = step {
            let head = frame.header;
            let offset = head.offset as usize;
            found.push(Known {
                first: (head.ring, head.first_sequence),
                count: head.count,
                range: (offset, offset + head.length as usize),
            });
        }
    }
    found
}

/// Reads everything that a log says; only that it returns matters.
pub fn read_everything(dir: &Path) {
    let _ = emberlog::log::verify(dir);
    if let Ok(snapshot) = Snapshot::open(dir) {
        for step in snapshot.frames_from(Position::START) {
            if let Step::Frame(frame, _) = step {
                for (id, record) in frame.records().flatten() {
                    let _ = (id, record.kind(), record.is_truncated());
                }
            }
        }
    }
    let all = emberlog::Filter::new().all();
    let reader = emberlog::LogReader::open_with(dir, emberlog::query::Rings::Ignore);
    if let Ok(reader) = reader {
        for trace in reader.traces(&all).unwrap_or_default() {
            let _ = reader.trace(trace.trace_id);
        }
        let _ = (
            reader.spans(&all),
            reader.events(&all),
            reader.metrics(&all),
            reader.links(&all),
        );
    }
}
