//! `stats`: what the directory holds.

use std::path::Path;

use crate::{
    failure::{Failure, Verdict},
    output::{
        escape::escape,
        human,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store::{self, DirStats},
};

/// Prints segments, records by kind, losses by cause, and backends with their lag.
pub fn run(dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let stats = store::stats(dir)?;
    if out.is_json() {
        out.json(&stats)?;
        return Ok(Verdict::Fine);
    }
    text(&stats, out)?;
    Ok(Verdict::Fine)
}

fn text(stats: &DirStats, out: &mut Output) -> Result<(), Failure> {
    let title = out.paint(Tone::Strong, &stats.dir.display().to_string());
    out.line(&format!(
        "{title}  {}, {}, {}",
        human::plural(stats.logs, "log"),
        human::plural(stats.segments, "segment"),
        human::bytes(stats.log_bytes)
    ))?;
    if let (Some(first), Some(last)) = (stats.first_ns, stats.last_ns) {
        let (first, last) = (out.time(first), out.time(last));
        out.line(&format!("{first} to {last}"))?;
    }
    match stats.writers.is_empty() {
        true => out.line("no process writes to it right now")?,
        false => out.line(&format!(
            "written right now by {}",
            escape(&stats.writers.join("; "))
        ))?,
    }

    out.line("")?;
    let mut table = Table::new(&[Column::text("RECORDS", 24), Column::number("COUNT")]);
    for kind in &stats.records_by_kind {
        table.row(
            out,
            vec![kind.kind.into(), human::count(kind.records).into()],
        )?;
    }
    table.row(
        out,
        vec![
            "all".into(),
            Cell::toned(Tone::Strong, &human::count(stats.records)),
        ],
    )?;
    table.end(out)?;

    out.line("")?;
    if stats.sampled_out > 0 {
        let records = human::count(stats.sampled_out);
        out.line(&format!("{records} records were sampled out"))?;
    }
    if stats.losses.is_empty() {
        out.line("nothing was lost")?;
    }
    let mut table = Table::new(&[
        Column::text("LOST BECAUSE", 24),
        Column::text("KIND", 16),
        Column::number("COUNT"),
    ]);
    for loss in &stats.losses {
        let number = Cell::toned(Tone::Bad, &human::count(loss.records));
        table.row(out, vec![loss.cause.into(), loss.kind.into(), number])?;
    }
    table.end(out)?;

    if stats.backends.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        Column::text("BACKEND", 24),
        Column::text("POSITION", 24),
        Column::number("DELIVERED"),
        Column::number("BEHIND"),
        Column::number("LOST TO IT"),
    ]);
    for backend in &stats.backends {
        let behind = match backend.lag_records {
            0 => Cell::toned(Tone::Good, "up to date"),
            records => Cell::toned(Tone::Odd, &human::plural(records, "record")),
        };
        let row = vec![
            backend.name.as_str().into(),
            backend.position.as_str().into(),
            human::count(backend.delivered).into(),
            behind,
            human::count(backend.lost).into(),
        ];
        table.row(out, row)?;
    }
    table.end(out)
}
