//! Backends that tail a log, as far as their cursors tell.

use std::{path::Path, time::SystemTime};

use emberlog::{
    log::Snapshot,
    tail::{
        cursor::{self, Listed},
        FrameSource, LogSource,
    },
};

use super::{failed, kept_before, logs, Backend, CursorRow};
use crate::failure::Failure;

/// The backends with a cursor in the log.
pub fn list(dir: &Path, snapshot: &Snapshot) -> Vec<Backend> {
    let Ok(mut source) = LogSource::open(dir) else {
        return Vec::new();
    };
    let cursors = cursor::list(dir).unwrap_or_default();
    let backends = cursors
        .into_iter()
        .map(|found| backend(found, snapshot, &mut source));
    backends.collect()
}

fn backend(found: Listed, snapshot: &Snapshot, source: &mut LogSource) -> Backend {
    // A damaged cursor is shown where nothing is delivered.
    let position = found.place.map(|place| place.position).unwrap_or_default();
    let behind = position < snapshot.end();
    Backend {
        name: found.name,
        position: position.to_string(),
        delivered: found.place.map_or(0, |place| place.delivered),
        lag_records: if behind {
            source.lag(position).records
        } else {
            0
        },
        lost: found.place.map_or(0, |place| place.lost),
        running: found.held,
    }
}

/// Every cursor of every log that `dir` means, those in `state` if they are kept there.
pub fn cursors(dir: &Path, state: Option<&Path>) -> Result<Vec<CursorRow>, Failure> {
    let mut rows = Vec::new();
    for log in logs(dir)? {
        let snapshot = Snapshot::open(&log).map_err(|error| failed(&log, &error))?;
        let mut source = LogSource::open(&log).map_err(|error| failed(&log, &error))?;
        let kept = kept_before(&log, state)?;
        for found in cursor::list(&kept).map_err(|error| failed(&log, &error))? {
            let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
            let moved = found.moved.and_then(since_1970);
            rows.push(CursorRow {
                moved_ns: moved.and_then(|time| i64::try_from(time.as_nanos()).ok()),
                backend: backend(found, &snapshot, &mut source),
                log: log.clone(),
            });
        }
    }
    Ok(rows)
}
