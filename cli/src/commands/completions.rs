//! `completions`: a script that a shell reads.

use clap::CommandFactory;

use crate::{
    args::{Cli, CompletionsArgs},
    failure::{Failure, Verdict},
    output::Output,
};

/// Prints the script for the shell.
pub fn run(args: &CompletionsArgs, out: &mut Output) -> Result<Verdict, Failure> {
    // Into memory first: the generator panics when its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "emberlog", &mut script);
    out.raw(&script)?;
    Ok(Verdict::Fine)
}
