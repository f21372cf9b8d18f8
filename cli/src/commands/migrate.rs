//! `migrate`: a database to another one, or to any other target.
//!
//! Each table is moved by itself, a trace before what belongs to it; each has a place of its own.

use std::path::PathBuf;

use emberlog::{
    export::{Endpoint, Export, ExportOptions, Report, Source},
    log::Position,
};

use super::export::{
    job::{refused, Job, Stop},
    show,
};
use crate::{
    args::MigrateArgs,
    failure::{chain, Failure, Verdict},
    output::Output,
    target::{source, Target},
};

/// Moves everything, or what is new.
pub fn run(args: &MigrateArgs, out: &mut Output) -> Result<Verdict, Failure> {
    let from = source(&args.from)?;
    let target = Target::new(&args.target)?;
    let file = |endpoint: &Endpoint| endpoint.path().and_then(|path| path.canonicalize().ok());
    if file(&from).is_some_and(|from| Some(from) == target.file()) {
        return Err(Failure::new("--from and --to are the same file"));
    }
    if from.to_string() == target.name() {
        return Err(Failure::new("--from and --to are the same database"));
    }
    let state = state(args, &from);
    let sources = sources(&from)?;
    let stop = Stop::on_signals()?;
    let mut all = Report::default();
    for (name, source) in sources {
        let mut source = Some(source);
        let stream = format!("{name} of {from}");
        for (cursor, backend) in target.tails(None, &stream, None)? {
            let source = match source.take() {
                Some(source) => source,
                // Each backend reads for itself.
                None => again(&from, name)?,
            };
            let mut options = ExportOptions::new(cursor);
            options.from = args.again.then_some(Position::START);
            let export = Export::of(&state, source, &backend, &options);
            let export = export.map_err(|error| refused(&state, &error))?;
            let report = Job::of(&state, &target, export).run(&stop, out)?;
            let seconds = all.seconds + report.seconds;
            all = Report {
                seconds,
                ..all.and(report)
            };
        }
    }
    show(&all, &target, out)?;
    Ok(Verdict::Fine)
}

/// What there is to be moved, each by its name.
fn sources(from: &Endpoint) -> Result<Vec<(&'static str, Source)>, Failure> {
    from.sources().map_err(|error| {
        let why = from.hide(&chain(&error));
        Failure::new(format!("--from {from}: {why}"))
    })
}

fn again(from: &Endpoint, wanted: &str) -> Result<Source, Failure> {
    let found = sources(from)?.into_iter().find(|(name, _)| *name == wanted);
    let (_, source) =
        found.ok_or_else(|| Failure::new(format!("no {wanted} in {from} any more")))?;
    Ok(source)
}

/// Where the places are kept.
fn state(args: &MigrateArgs, from: &Endpoint) -> PathBuf {
    let beside = || {
        let mut name = from.path()?.as_os_str().to_owned();
        name.push(".migrate");
        Some(PathBuf::from(name))
    };
    let given = args.state.clone().or_else(beside);
    given.unwrap_or_else(|| PathBuf::from("emberlog-migrate"))
}
