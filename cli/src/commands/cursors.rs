//! `cursors`: how far backends and exports are, and for whom the log keeps what.

use std::path::Path;

use emberlog::tail::cursor::{self, CursorError};

use crate::{
    args::{CursorsArgs, CursorsCommand},
    failure::{Failure, Verdict},
    output::{
        human,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store,
};

/// Lists cursors, or drops one.
pub fn run(args: &CursorsArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let state = args.state.as_deref();
    match &args.command {
        CursorsCommand::List => list(dir, state, out)?,
        CursorsCommand::Drop { name } => drop_one(name, dir, state, out)?,
    }
    Ok(Verdict::Fine)
}

fn list(dir: &Path, state: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let rows = store::cursors(dir, state)?;
    let mut table = Table::new(&[
        Column::text("CURSOR", 64),
        Column::text("STATE", 8),
        Column::text("POSITION", 24),
        Column::number("DELIVERED"),
        Column::number("LEFT"),
        Column::number("LOST"),
        Column::text("MOVED", 40),
        Column::text("LOG", 60),
    ]);
    for row in &rows {
        if out.is_json() {
            out.json(row)?;
            continue;
        }
        let backend = &row.backend;
        let state = match backend.running {
            true => Cell::toned(Tone::Good, "running"),
            false => Cell::toned(Tone::Odd, "idle"),
        };
        let lost = match backend.lost {
            0 => Tone::Plain,
            _ => Tone::Bad,
        };
        let moved = row.moved_ns.map(|ns| out.time(ns)).unwrap_or_default();
        let cells = vec![
            Cell::toned(Tone::Strong, &backend.name),
            state,
            backend.position.as_str().into(),
            human::count(backend.delivered).into(),
            human::count(backend.lag_records).into(),
            Cell::toned(lost, &human::count(backend.lost)),
            moved.into(),
            row.log.display().to_string().into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)?;
    if rows.is_empty() && !out.is_json() {
        out.note("no cursors: nothing was exported, no backend was configured");
    }
    Ok(())
}

fn drop_one(name: &str, dir: &Path, state: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let mut dropped = 0u64;
    for log in store::logs(dir)? {
        match cursor::drop_cursor(&store::kept_before(&log, state)?, name) {
            Ok(()) => dropped += 1,
            Err(CursorError::Missing { .. }) => {}
            Err(error) => return Err(Failure::because("cursors drop", &error)),
        }
    }
    if dropped == 0 {
        return Err(Failure::new(format!(
            "no cursor {name:?} in {}",
            state.unwrap_or(dir).display()
        )));
    }
    if out.is_json() {
        return out.json(&serde_json::json!({ "dropped": dropped }));
    }
    out.line(&format!("dropped {}", human::plural(dropped, "cursor")))
}
