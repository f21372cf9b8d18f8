//! `export`: what is recorded, to a database, a collector or a file.

mod follow;
pub(super) mod job;

use std::path::{Path, PathBuf};

use emberlog::{
    export::{ExportOptions, Report},
    log::{log_is_locked, Position, Snapshot},
    query::Rings,
    Filter,
};

use self::job::{Job, Stop};
use super::filters;
use crate::{
    args::ExportArgs,
    failure::{Failure, Verdict},
    output::{human, Output},
    store::{self, Store},
    target::Target,
};

/// What every log of the directory is exported with.
struct Plan<'a> {
    target: Target,
    args: &'a ExportArgs,
    filter: Option<Filter>,
    /// The filters as typed.
    stream: String,
    rings: Rings,
}

/// Exports, once or until it is told to stop.
pub fn run(
    args: &ExportArgs,
    dir: &Path,
    rings: Rings,
    out: &mut Output,
) -> Result<Verdict, Failure> {
    let plan = Plan::new(args, dir, rings, out)?;
    plan.target.is_outside(dir)?;
    let stop = Stop::on_signals()?;
    let report = match args.follow {
        true => follow::run(&plan, dir, &stop, out)?,
        false => once(&plan, dir, &stop, out)?,
    };
    show(&report, &plan.target, out)?;
    Ok(Verdict::Fine)
}

impl<'a> Plan<'a> {
    fn new(args: &'a ExportArgs, dir: &Path, rings: Rings, out: &Output) -> Result<Self, Failure> {
        let target = Target::new(&args.target)?;
        let mut filter = filters::filter(&args.filters, out)?;
        if filter.active {
            return Err(Failure::new(
                "export sends what is recorded; what is active is recorded when it ends",
            ));
        }
        if let Some(id) = &args.filters.trace_id {
            let store = Store::open(dir, rings.clone())?;
            filter.trace_id = Some(store.find_trace(id)?);
        }
        let stream = filters::typed(&args.filters);
        Ok(Self {
            target,
            args,
            filter: (!stream.is_empty()).then_some(filter),
            stream,
            rings,
        })
    }

    /// The exports of one log, one for each backend of the target.
    ///
    /// `again` says that it is not the first one: then it goes on where that ended.
    fn start(&self, log: &Path, again: bool) -> Result<Job, Failure> {
        let from = match again {
            true => None,
            false => self.from(log)?,
        };
        let state = self.state(log)?;
        let mut job = Job::new(log, &self.target);
        // Sums that go on need a log that can be written to, and rows that come once.
        let sums = (from.is_none() && state.is_none()).then_some(log);
        let cursor = self.args.cursor.as_deref();
        for (cursor, backend) in self.target.tails(cursor, &self.stream, sums)? {
            let mut options = ExportOptions::new(cursor);
            options.from = from;
            options.filter.clone_from(&self.filter);
            options.stream.clone_from(&self.stream);
            options.rings = self.rings.clone();
            options.state.clone_from(&state);
            job.start(&backend, &options)?;
        }
        Ok(job)
    }

    /// Where to begin, if that was said.
    fn from(&self, log: &Path) -> Result<Option<Position>, Failure> {
        let Some(text) = &self.args.from_position else {
            return Ok(None);
        };
        if text == "end" {
            let snapshot = Snapshot::open(log);
            let what = || format!("cannot read the log in {}", log.display());
            let snapshot = snapshot.map_err(|error| Failure::because(what(), &error))?;
            return Ok(Some(snapshot.end()));
        }
        let position = text.parse();
        let position = position.map_err(|error| Failure::because("--from-position", &error))?;
        Ok(Some(position))
    }

    /// Cursors outside of the log lie in a folder for each log.
    fn state(&self, log: &Path) -> Result<Option<PathBuf>, Failure> {
        let state = self.args.state.as_deref();
        state.map(|state| store::kept(log, Some(state))).transpose()
    }
}

fn once(plan: &Plan<'_>, dir: &Path, stop: &Stop, out: &mut Output) -> Result<Report, Failure> {
    let logs = store::logs(dir)?;
    one_position_one_log(plan, &logs)?;
    let mut all = Report::default();
    for log in &logs {
        let report = plan.start(log, false)?.run(stop, out)?;
        let seconds = all.seconds + report.seconds;
        all = Report {
            seconds,
            ..all.and(report)
        };
        note_what_rings_hold(log, out);
    }
    Ok(all)
}

fn one_position_one_log(plan: &Plan<'_>, logs: &[PathBuf]) -> Result<(), Failure> {
    let exact = plan.args.from_position.as_deref();
    match exact.filter(|text| !matches!(*text, "0" | "end")) {
        Some(_) if logs.len() > 1 => Err(Failure::new(
            "--from-position: a position of one log means nothing in another; name one log with --dir, or 0 or end",
        )),
        _ => Ok(()),
    }
}

/// Says so if a dead process left something that only `recover` brings into the log.
fn note_what_rings_hold(log: &Path, out: &mut Output) {
    let open = |snapshot: Snapshot| snapshot.segments().last().is_some_and(|s| !s.is_sealed());
    let died = !log_is_locked(log).unwrap_or(true) && Snapshot::open(log).is_ok_and(open);
    if died {
        out.note(&format!(
            "{}: its last writer died; recover brings what its rings hold into the log, then export again",
            log.display()
        ));
    }
}

/// Says what was done.
pub(super) fn show(report: &Report, target: &Target, out: &mut Output) -> Result<(), Failure> {
    if report.quarantined > 0 {
        let rows = human::plural(report.quarantined, "row");
        out.note(&format!(
            "{rows} refused and set aside: see quarantine list"
        ));
    }
    if out.is_json() {
        return out.json(report);
    }
    let lines = [
        ("records", report.records),
        ("spans among them", report.spans),
        ("duplicates", report.duplicates),
        ("quarantined", report.quarantined),
    ];
    for (what, number) in lines {
        out.line(&format!("{what:<30} {:>12}", human::count(number)))?;
    }
    let time = human::duration((report.seconds * 1e9) as u64);
    out.line(&format!("{:<30} {time:>12}", "time"))?;
    out.note(&format!("brought to {}", target.name()));
    Ok(())
}
