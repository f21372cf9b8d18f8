//! One file for each command.

mod analyze;
mod completions;
mod cursors;
mod diff;
mod export;
mod filters;
mod inspect;
mod migrate;
mod prune;
mod quarantine;
mod query;
mod recover;
mod stats;
mod tail;
mod trace;
mod verify;

pub use trace::show as show_trace;

use std::path::PathBuf;

use emberlog::query::Rings;

use crate::{
    args::{Cli, Command},
    demo,
    failure::{Failure, Verdict},
    output::Output,
};

/// Runs what was asked for.
pub fn run(cli: Cli, out: &mut Output) -> Result<Verdict, Failure> {
    let dir = cli.dir;
    let rings = cli.ring_dir.map_or(Rings::Default, Rings::Folder);
    match cli.command {
        // The demo ignores EMBERLOG_DIR: it writes, and that directory may hold somebody's log.
        Command::Demo(args) => demo::run(&args, dir, out),
        Command::Query(args) => query::run(&args, &log_dir(dir), rings, out),
        Command::Trace(args) => trace::run(&args, &log_dir(dir), rings, out),
        Command::Diff(args) => diff::run(&args, &log_dir(dir), rings, out),
        Command::Analyze(args) => analyze::run(&args, &log_dir(dir), out),
        Command::Tail(args) => tail::run(&args, &log_dir(dir), out),
        Command::Stats => stats::run(&log_dir(dir), out),
        Command::Inspect(args) => inspect::run(&args, &log_dir(dir), out),
        Command::Verify => verify::run(&log_dir(dir), out),
        Command::Recover => recover::run(&log_dir(dir), rings, out),
        Command::Export(args) => export::run(&args, &log_dir(dir), rings, out),
        Command::Migrate(args) => migrate::run(&args, out),
        Command::Prune(args) => prune::run(&args, &log_dir(dir), out),
        Command::Quarantine(args) => quarantine::run(&args, &log_dir(dir), out),
        Command::Cursors(args) => cursors::run(&args, &log_dir(dir), out),
        Command::Completions(args) => completions::run(&args, out),
    }
}

/// `--dir`, else `$EMBERLOG_DIR`, else `./emberlog-data`.
fn log_dir(dir: Option<PathBuf>) -> PathBuf {
    dir.or_else(|| {
        std::env::var_os("EMBERLOG_DIR")
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    })
    .unwrap_or_else(|| PathBuf::from("emberlog-data"))
}
