//! `emberlog`: query, follow and check telemetry logs, of a live process or a dead one.
//!
//! Always true:
//! - standard output carries data and nothing else; notes and progress go to standard error
//! - exit 0: fine. 1: `verify` or `recover` found a loss, `analyze` something. 2: usage, unknown id or
//!   I/O, in one line. 3: `analyze` saw too few runs
//! - a closed pipe ends the command quietly with 0; nothing panics
//!
//! `args` says what can be typed, `commands` has a file for each command, `store` is the only
//! place that knows how a log is read, `target` how one is brought elsewhere, `demo` the only one that
//! records.

mod analysis;
mod args;
mod commands;
mod demo;
mod failure;
mod output;
mod store;
mod target;
mod time;
mod tree;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use crate::{
    args::Cli,
    failure::{Failure, Verdict},
    output::{escape::escape, Output},
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut out = Output::new(cli.json, cli.utc);
    let verdict = commands::run(cli, &mut out).and_then(|verdict| {
        out.finish()?;
        Ok(verdict)
    });
    match verdict {
        Ok(Verdict::Fine) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Ok(Verdict::TooFew) => ExitCode::from(3),
        Err(Failure::Message(message)) => {
            // Rows that came before the failure are data too; what went wrong is said after them.
            let _ = out.finish();
            complain(&message);
            ExitCode::from(2)
        }
    }
}

/// Help goes to standard output; a mistake is one line on standard error.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr()
        && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        let text = error.render().to_string();
        let line: Vec<&str> = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
            .filter(|line| !line.is_empty())
            .collect();
        let line = line.join(" ");
        complain(&format!(
            "{} (see --help)",
            line.trim_start_matches("error: ")
        ));
        return ExitCode::from(2);
    }
    let _ = error.print(); // A closed pipe is no reason to complain.
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "emberlog: {}", escape(message));
}
