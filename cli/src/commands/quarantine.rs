//! `quarantine`: rows that a backend refused.

use std::path::Path;

use emberlog::{
    backend::SinkError,
    export::{Report, Resend},
};
use serde::Serialize;

use crate::{
    args::{QuarantineArgs, QuarantineCommand, TargetArgs},
    failure::{chain, Failure, Verdict},
    output::{
        human,
        rows::short,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store::{Aside, Refused},
    target::Target,
};

/// Lists, sends again, or forgets.
pub fn run(args: &QuarantineArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let state = args.state.as_deref();
    let found = |name| found(dir, state, name);
    match &args.command {
        QuarantineCommand::List { name } => list(&Aside::list(dir, state, name.as_deref())?, out)?,
        QuarantineCommand::Replay { name, target } => replay(&found(name)?, target, out)?,
        QuarantineCommand::Drop { name } => forget(found(name)?, out)?,
    }
    Ok(Verdict::Fine)
}

fn found(dir: &Path, state: Option<&Path>, name: &str) -> Result<Vec<Aside>, Failure> {
    let found = Aside::list(dir, state, Some(name))?;
    match found.is_empty() {
        true => Err(Failure::new(format!(
            "nothing is set aside for {name:?} in {}",
            state.unwrap_or(dir).display()
        ))),
        false => Ok(found),
    }
}

/// A row, and who refused it.
#[derive(Serialize)]
struct Listed<'a> {
    backend: &'a str,
    #[serde(flatten)]
    row: &'a Refused,
}

fn list(found: &[Aside], out: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::text("SET ASIDE", 40),
        Column::text("BACKEND", 64),
        Column::text("KIND", 12),
        Column::text("NAME", 40),
        Column::text("TRACE", 32),
        Column::text("ERROR", 100),
    ]);
    for (aside, row) in found
        .iter()
        .flat_map(|aside| aside.rows.iter().map(move |r| (aside, r)))
    {
        if out.is_json() {
            out.json(&Listed {
                backend: &aside.name,
                row,
            })?;
            continue;
        }
        let trace = row.trace_id.as_deref().and_then(|id| id.parse().ok());
        let cells = vec![
            out.time(row.set_aside_ns).into(),
            aside.name.as_str().into(),
            row.kind.as_str().into(),
            Cell::toned(Tone::Strong, &row.name),
            trace.map(short).unwrap_or_default().into(),
            Cell::toned(Tone::Bad, &row.error),
        ];
        table.row(out, cells)?;
    }
    table.end(out)?;
    if found.is_empty() && !out.is_json() {
        out.note("nothing is set aside");
    }
    Ok(())
}

fn replay(found: &[Aside], args: &TargetArgs, out: &mut Output) -> Result<(), Failure> {
    let target = Target::new(args)?;
    let begun = std::time::Instant::now();
    let mut report = Report::default();
    let mut gone = 0;
    for aside in found {
        // Held until the rows that stay are written.
        let held = aside.hold()?;
        let aside = aside.again()?;
        let mut senders: Vec<Resend> = target.backends.iter().map(Resend::to).collect();
        let rows = aside.rows()?;
        let mut stay = Vec::new();
        let mut stopped = None;
        for (wanted, row) in aside.rows.iter().zip(rows) {
            let Some((row, origin)) = row.filter(|_| stopped.is_none()) else {
                gone += u64::from(stopped.is_none());
                stay.push(wanted.clone());
                continue;
            };
            let sent = senders.iter_mut().try_for_each(|to| to.send(&origin, &row));
            match sent {
                Ok(()) => {
                    report.records += 1;
                    report.spans += u64::from(wanted.kind == "span");
                }
                Err(SinkError::Content(error)) => stay.push(Refused {
                    error: target.hide(&chain(&*error)),
                    ..wanted.clone()
                }),
                Err(error) => {
                    stopped =
                        Some(target.trouble(&format!("{}: {}", target.name(), chain(&error))));
                    stay.push(wanted.clone());
                }
            }
        }
        report.duplicates += senders.iter().map(Resend::duplicates).sum::<u64>();
        report.quarantined += stay.len() as u64;
        aside.keep(&stay)?;
        drop(held);
        if let Some(failure) = stopped {
            return Err(failure);
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    if gone > 0 {
        let rows = human::plural(gone, "row");
        out.note(&format!(
            "{rows} cannot be sent: retention removed them from the log"
        ));
    }
    match out.is_json() {
        true => out.json(&report),
        false => out.line(&format!(
            "{} sent to {}; {} still set aside",
            human::plural(report.records, "row"),
            target.name(),
            human::count(report.quarantined)
        )),
    }
}

fn forget(found: Vec<Aside>, out: &mut Output) -> Result<(), Failure> {
    let mut dropped = 0;
    for aside in found {
        dropped += aside.rows.len() as u64;
        let _held = aside.hold()?;
        aside.keep(&[])?;
    }
    match out.is_json() {
        true => out.json(&serde_json::json!({ "dropped": dropped })),
        false => out.line(&format!("dropped {}", human::plural(dropped, "row"))),
    }
}
