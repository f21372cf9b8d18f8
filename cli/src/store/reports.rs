//! What is known about a log, apart from its rows: plain structs that `--json` prints as they are.

use std::path::PathBuf;

use serde::Serialize;

/// What `verify` found. Exactly these keys are the contract.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    pub ok: bool,
    pub records: u64,
    pub spans: u64,
    pub damaged_frames: u64,
    pub torn_bytes: u64,
    pub lost: u64,
    pub index_ok: bool,
    /// One line for each thing that is wrong, for people.
    #[serde(skip)]
    pub problems: Vec<String>,
}

/// What `recover` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovered {
    pub rings_drained: u64,
    pub records_drained: u64,
    pub orphaned_traces: u64,
    pub orphaned_spans: u64,
    pub torn_bytes: u64,
    pub damaged_frames: u64,
    pub damaged_ring_bytes: u64,
    /// Records that are known to be gone.
    pub lost: u64,
}

/// What a directory holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DirStats {
    pub dir: PathBuf,
    pub logs: u64,
    pub segments: u64,
    /// Bytes of frames.
    pub log_bytes: u64,
    /// Bytes that the segment files take, reserved ones included.
    pub file_bytes: u64,
    pub first_ns: Option<i64>,
    pub last_ns: Option<i64>,
    /// Processes that write to it right now.
    pub writers: Vec<String>,
    pub records: u64,
    pub records_by_kind: Vec<KindCount>,
    pub lost: u64,
    pub losses: Vec<Loss>,
    /// Records of traces that were held until they ended and were not kept.
    pub sampled_out: u64,
    pub backends: Vec<Backend>,
}

/// Records of a kind.
#[derive(Clone, Debug, Serialize)]
pub struct KindCount {
    pub kind: &'static str,
    pub records: u64,
}

/// Records lost for one cause.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    pub cause: &'static str,
    pub kind: &'static str,
    pub records: u64,
}

/// A backend that tails the log.
#[derive(Clone, Debug, Serialize)]
pub struct Backend {
    pub name: String,
    pub position: String,
    pub delivered: u64,
    pub lag_records: u64,
    pub lost: u64,
    pub running: bool,
}

/// A cursor, for `cursors list`.
#[derive(Clone, Debug, Serialize)]
pub struct CursorRow {
    #[serde(flatten)]
    pub backend: Backend,
    /// The log that it is a place in.
    pub log: PathBuf,
    pub moved_ns: Option<i64>,
}

/// A segment, for `inspect`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SegmentRow {
    pub segment: String,
    pub path: PathBuf,
    pub epoch: u64,
    pub instance: String,
    pub state: &'static str,
    pub stream: &'static str,
    pub origin: &'static str,
    pub created_ns: i64,
    pub bytes: u64,
    pub reserved_bytes: u64,
    pub frames: u64,
    pub records: u64,
    pub damaged_places: u64,
    pub index: &'static str,
}

/// A frame, for `inspect SEGMENT`.
#[derive(Clone, Debug, Serialize)]
pub struct FrameRow {
    pub offset: u64,
    pub bytes: u64,
    pub kind: &'static str,
    pub ring: u32,
    pub lease: u32,
    pub first_sequence: u64,
    pub records: u64,
    pub record_kinds: Vec<&'static str>,
    pub first_ns: Option<i64>,
    pub last_ns: Option<i64>,
    pub checksum_ok: bool,
}
