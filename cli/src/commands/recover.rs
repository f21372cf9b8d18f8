//! `recover`: what opening for writing does, then stops.

use std::path::Path;

use emberlog::query::Rings;

use crate::{
    failure::{Failure, Verdict},
    output::{human, Output},
    store,
};

/// Drains left rings, ends open spans, cuts a torn tail, and reports each.
pub fn run(dir: &Path, rings: Rings, out: &mut Output) -> Result<Verdict, Failure> {
    let (done, in_use) = store::recover(dir, &rings)?;
    if done == store::Recovered::default() && in_use.is_some() {
        // Nothing was done at all.
    } else if out.is_json() {
        out.json(&done)?;
    } else {
        let lines = [
            ("rings drained", done.rings_drained),
            ("records drained", done.records_drained),
            ("traces ended as orphaned", done.orphaned_traces),
            ("spans ended as orphaned", done.orphaned_spans),
            ("torn bytes cut and kept aside", done.torn_bytes),
            ("damaged frames", done.damaged_frames),
            ("damaged bytes in rings", done.damaged_ring_bytes),
            ("records lost", done.lost),
        ];
        for (what, number) in lines {
            out.line(&format!("{what:<30} {:>12}", human::count(number)))?;
        }
        if lines.iter().all(|(_, number)| *number == 0) {
            out.note("nothing to recover: the log was closed properly");
        }
    }
    if let Some(failure) = in_use {
        return Err(failure);
    }
    Ok(if done.lost_something() {
        Verdict::Bad
    } else {
        Verdict::Fine
    })
}
