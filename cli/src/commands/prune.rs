//! `prune`: retention by hand, in a log that nobody writes.

use std::path::{Path, PathBuf};

use emberlog::log::{plan_prune, prune, Heed, OpenError, Prune, Pruned, Removed, RemovedBy};
use serde::Serialize;

use crate::{
    args::PruneArgs,
    failure::{Failure, Verdict},
    output::{
        human,
        table::{Column, Table},
        Output,
    },
    store,
};

/// A segment that went, or would go.
#[derive(Serialize)]
struct Gone<'a> {
    log: &'a Path,
    from: String,
    to: String,
    records: u64,
    bytes: u64,
    reason: &'static str,
    missed_by: &'a [String],
}

impl<'a> Gone<'a> {
    fn new(log: &'a Path, removed: &'a Removed) -> Self {
        Self {
            log,
            from: removed.from.to_string(),
            to: removed.to.to_string(),
            records: removed.records,
            bytes: removed.bytes,
            reason: match removed.reason {
                RemovedBy::Age => "age",
                _ => "size",
            },
            missed_by: &removed.cursors,
        }
    }
}

/// Removes what is old, or too much.
pub fn run(args: &PruneArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    if args.older_than.is_none() && args.max_size.is_none() {
        return Err(Failure::new(
            "prune needs --older-than, --max-size or both: what is to go?",
        ));
    }
    let what = Prune {
        older_than: args.older_than,
        max_bytes: args.max_size,
        heed: match args.ignore_cursors {
            true => Heed::Nobody,
            false => Heed::Cursors,
        },
    };
    let mut all: Vec<(PathBuf, Pruned)> = Vec::new();
    let mut in_use = None;
    for log in store::logs(dir)? {
        let pruned = match args.dry_run {
            true => plan_prune(&log, &what),
            false => prune(&log, &what),
        };
        match pruned {
            Ok(pruned) => all.push((log, pruned)),
            // The others of a root are free.
            Err(error @ OpenError::Locked { .. }) => {
                in_use.get_or_insert_with(|| Failure::new(error.to_string()));
            }
            Err(error) => {
                return Err(Failure::because(
                    format!("cannot prune {}", log.display()),
                    &error,
                ))
            }
        }
    }
    show(&all, args.dry_run, out)?;
    in_use.map_or(Ok(Verdict::Fine), Err)
}

fn show(all: &[(PathBuf, Pruned)], dry_run: bool, out: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::text("SEGMENT", 24),
        Column::number("RECORDS"),
        Column::number("SIZE"),
        Column::text("REASON", 8),
        Column::text("MISSED BY", 60),
        Column::text("LOG", 60),
    ]);
    for (log, removed) in all
        .iter()
        .flat_map(|(log, p)| p.removed.iter().map(move |r| (log, r)))
    {
        let gone = Gone::new(log, removed);
        if out.is_json() {
            out.json(&gone)?;
            continue;
        }
        let cells = vec![
            gone.from.as_str().into(),
            human::count(gone.records).into(),
            human::bytes(gone.bytes).into(),
            gone.reason.into(),
            gone.missed_by.join(", ").into(),
            log.display().to_string().into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)?;
    for (log, pruned) in all {
        let segments = human::plural(pruned.removed.len() as u64, "segment");
        let bytes = human::bytes(pruned.removed.iter().map(|segment| segment.bytes).sum());
        let did = if dry_run { "would remove" } else { "removed" };
        let left = human::bytes(pruned.bytes_left);
        out.note(&format!(
            "{}: {did} {segments}, {bytes}; {left} left",
            log.display()
        ));
        if !pruned.held_by.is_empty() {
            out.note(&format!(
                "more stays because it is not delivered yet to {}: see cursors, or --ignore-cursors",
                pruned.held_by.join(", ")
            ));
        }
    }
    Ok(())
}
