//! The append-only log: segments, index, recovery, readers.
//!
//! Always true:
//! - bytes below a commit mark never change; a frame counts as a whole or not at all
//! - one process writes, any number read, and no reader makes the writer wait
//! - nothing that checks is ever thrown away, except by retention, which counts it
//!
//! | to do this | begin here |
//! |---|---|
//! | open for writing | `dir`, then `recovery`, `writer`, `housekeeper` |
//! | append | `writer` → `segment` → `walk` |
//! | read | `snapshot` → `view` → `frame`; `tail` to read on |
//! | check everything | `verify` |
//! | remove what is old, with nobody writing | `prune` |
//!
//! Bytes are drawn in `docs/format.md` and spelled out in `layout`. Unsafe code is in `map` only.

mod checked;
mod dir;
mod error;
pub(crate) mod file;
mod finish;
mod frame;
mod gap;
mod holes;
mod housekeeper;
mod index;
mod layout;
mod map;
mod mark;
mod meta;
mod opening;
mod options;
mod position;
mod prepare;
mod progress;
mod prune;
mod recovered;
mod recovery;
mod retention;
mod rewrite;
mod scan;
mod segment;
mod shared;
mod slots;
mod snapshot;
mod source;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod view;
mod walk;
mod watermark;
mod writer;

pub use dir::{log_is_locked, logs_under, LogDir};
pub use error::{AppendError, FrameError, OpenError, ReadError};
pub use frame::{Frame, Records};
pub use gap::GapInfo;
pub use housekeeper::{Housekeeper, LogStatus};
pub use index::FrameEntry;
pub use layout::{
    FrameHeader, FrameKind, LogHeader, SegmentHeader, ORIGIN_LIVE, ORIGIN_RECOVERY, STREAM_MAIN,
    STREAM_PROVISIONAL,
};
pub use meta::{LeaseInfo, LossInfo, ResourceInfo};
pub use options::{OnFull, Options, OptionsError, SyncPolicy};
pub use position::Position;
pub use prune::{plan_prune, prune, Prune, Pruned};
pub use recovered::RecoveredWriter;
pub use recovery::{Damaged, Recovered};
pub use retention::{Heed, Removed, RemovedBy};
pub use scan::Damage;
pub(crate) use slots::{newest, Slots};
pub use snapshot::Snapshot;
pub use tail::{FramesFrom, Step};
pub use verify::{verify, VerifyReport};
pub use view::SegmentView;
pub(crate) use walk::trace_hash;
pub use walk::{inline_name_bit, name_bit};
pub use watermark::Floor;
pub use writer::{Appended, Writer};
