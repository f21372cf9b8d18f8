//! Verifying and recovering.

use std::{path::Path, time::Duration};

use emberlog::{log, query::Rings, Config, Manager, OpenError};

use super::{failed, logs, Recovered, Verified};
use crate::failure::Failure;

/// Checks everything that can be checked in every log of `dir`.
pub fn verify(dir: &Path) -> Result<Verified, Failure> {
    let mut all = Verified {
        ok: true,
        index_ok: true,
        ..Verified::default()
    };
    for path in logs(dir)? {
        let report = log::verify(&path).map_err(|error| failed(&path, &error))?;
        let damaged = report
            .damage
            .iter()
            .filter(|(_, damage)| !damage.torn)
            .count() as u64;
        all.ok &= report.ok;
        all.records += report.records;
        all.spans += report.spans;
        all.damaged_frames += damaged + report.unreadable.len() as u64;
        all.torn_bytes += report.torn_bytes;
        all.lost = all.lost.saturating_add(report.recorded_losses);
        all.index_ok &= report.wrong_indexes.is_empty();
        let name = path.display();
        all.problems.extend(
            report
                .problems
                .iter()
                .map(|problem| format!("{name}: {problem}")),
        );
        let places = report.damage.iter().take(20).map(|(position, damage)| {
            let what = if damage.torn { "torn" } else { "damaged" };
            format!("{name}: {} bytes {what} at {position}", damage.bytes())
        });
        all.problems.extend(places);
    }
    Ok(all)
}

/// Does what opening for writing does, then stops, in every log of `dir`.
///
/// A log that a live process writes is left alone and is a failure beside what was done.
pub fn recover(dir: &Path, rings: &Rings) -> Result<(Recovered, Option<Failure>), Failure> {
    let mut all = Recovered::default();
    let mut in_use = None;
    for path in logs(dir)? {
        match recover_one(&path, rings) {
            Ok(one) => all.add(&one),
            Err(error @ OpenError::Log(log::OpenError::Locked { .. })) => {
                in_use.get_or_insert_with(|| Failure::new(error.to_string()));
            }
            Err(error) => {
                return Err(Failure::because(
                    format!("cannot recover {}", path.display()),
                    &error,
                ))
            }
        }
    }
    Ok((all, in_use))
}

fn recover_one(path: &Path, rings: &Rings) -> Result<Recovered, OpenError> {
    // What the owner configured is not known here: nothing may be removed for age or size, and as
    // little as possible reserved.
    let config = Config::new(path)
        .log(|log| {
            log.retention_age = None;
            log.max_bytes = Some(u64::MAX);
            log.hard_max_bytes = Some(u64::MAX);
            log.segment_bytes = 1 << 20;
            log.min_free_percent = 0;
        })
        .ring(|ring| {
            ring.crash_safe = false;
            if let Rings::Folder(folder) = rings {
                ring.dir = Some(folder.clone());
            }
        });
    let manager = Manager::open(config)?;
    let recovered = manager.recovered().map(|(log, rings)| Recovered {
        rings_drained: rings.instances.len() as u64,
        records_drained: rings.records,
        orphaned_traces: rings.orphaned_traces,
        orphaned_spans: rings.orphaned_spans,
        torn_bytes: log.damage.iter().filter(|d| d.torn).map(|d| d.bytes).sum(),
        damaged_frames: log.damage.iter().filter(|d| !d.torn).count() as u64
            + log.unreadable.len() as u64,
        damaged_ring_bytes: rings.damaged_bytes,
        lost: log.damage.iter().map(|d| d.records).sum(),
    });
    let _ = manager.flush_within(Duration::from_secs(10));
    let _ = manager.shutdown(); // What could not be logged stays in its rings for the next open.
    Ok(recovered.unwrap_or_default())
}

impl Recovered {
    fn add(&mut self, other: &Self) {
        self.rings_drained += other.rings_drained;
        self.records_drained += other.records_drained;
        self.orphaned_traces += other.orphaned_traces;
        self.orphaned_spans += other.orphaned_spans;
        self.torn_bytes += other.torn_bytes;
        self.damaged_frames += other.damaged_frames;
        self.damaged_ring_bytes += other.damaged_ring_bytes;
        self.lost = self.lost.saturating_add(other.lost);
    }

    /// Whether something is gone that had been recorded.
    pub fn lost_something(&self) -> bool {
        self.lost > 0 || self.torn_bytes + self.damaged_frames + self.damaged_ring_bytes > 0
    }
}
