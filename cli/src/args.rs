//! What can be typed. The names here are a contract: scripts depend on them.

mod filters;
mod moving;

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use emberlog::Order;

pub use filters::FilterArgs;
pub use moving::{
    CursorsArgs, CursorsCommand, ExportArgs, MigrateArgs, PruneArgs, QuarantineArgs,
    QuarantineCommand, TargetArgs, Tracks,
};

/// Query, follow and check emberlog telemetry logs, of a live process or a dead one
#[derive(Debug, Parser)]
#[command(
    name = "emberlog",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  emberlog demo                                       the whole engine on real files, in 20 s
  emberlog query traces --status error --since 2h     what failed in the last two hours
  emberlog query spans --order slowest --limit 10     the ten slowest nodes
  emberlog trace 4f3c                                 one run as a tree; any unique prefix will do
  emberlog tail -f                                    follow a process while it records
  emberlog export --to sqlite:telemetry.db            copy to a database; again, only what is new

Exit codes: 0 fine; 1 verify or recover found a loss, analyze found something; 2 usage, unknown id or
I/O error; 3 analyze saw too few runs."
)]
pub struct Cli {
    /// Log directory, or a root of several [default: $EMBERLOG_DIR, else ./emberlog-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub dir: Option<PathBuf>,
    /// Print JSON, one object per line for lists, and nothing else on standard output
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Show and read times in UTC instead of local time
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub utc: bool,
    /// Where the recording process keeps its rings, if it was told a folder of its own
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub ring_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Index real files with recording off and on, and show what recording costs
    Demo(DemoArgs),
    /// List traces, spans, events or metrics that fit
    Query(Box<QueryArgs>),
    /// Show one trace as a tree, with durations, self times and errors
    Trace(TraceArgs),
    /// Compare two traces node by node
    Diff(DiffArgs),
    /// What is slow, what fails and since when; exit 1 if anything is, 3 after too few runs
    Analyze(Box<AnalyzeArgs>),
    /// Show the newest records, and follow them with -f
    Tail(TailArgs),
    /// What the directory holds: segments, records, losses, backends and their lag
    Stats,
    /// Frames and index of a segment, for people who debug the format
    Inspect(InspectArgs),
    /// Check checksums, sequences, and the index against the frames; exit 1 if they do not hold
    Verify,
    /// Do what opening for writing does, then stop; exit 1 if something was lost
    Recover,
    /// Bring what is recorded to a database, a collector or a file; again, only what is new
    Export(Box<ExportArgs>),
    /// Move a database to another one, or to any other target
    Migrate(MigrateArgs),
    /// Remove the oldest segments of a log that nobody writes
    Prune(PruneArgs),
    /// Rows that a backend refused: list, send again, drop
    Quarantine(QuarantineArgs),
    /// Places of backends and exports in the log: list, drop
    Cursors(CursorsArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// `demo`
#[derive(Debug, Args)]
#[command(
    after_help = "Every file is one run through the nodes read, decode, tokenise, count and index, in
parallel. The same runs are done with recording off and on, in turns. The log goes to ./emberlog-demo,
not to $EMBERLOG_DIR; what is there is deleted only if an earlier demo wrote it.

Examples:
  emberlog demo
  emberlog demo --input ~/notes --runs 2000 --threads 4
  emberlog demo --json"
)]
pub struct DemoArgs {
    /// Files to index [default: the sources of this project and of its dependencies]
    #[arg(long, value_name = "DIR")]
    pub input: Option<PathBuf>,
    /// Runs to record in all [default: as many as fill about 20 seconds]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub runs: Option<NonZeroUsize>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
}

/// What `query` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    Traces,
    Spans,
    Events,
    Metrics,
}

/// `query`
#[derive(Debug, Args)]
#[command(
    after_help = "Names and --attr values match exactly; * in a name stands for anything.
Times are RFC 3339, a date, epoch seconds, now, today, yesterday, or an age: 90m, 2h, 7d. A date means
its beginning for --since and its end for --until.

Examples:
  emberlog query traces --status active                 what runs right now
  emberlog query traces --graph rag --since today --min-duration 2s
  emberlog query spans --name 'llm.*' --order slowest --limit 10
  emberlog query spans --node retriever --error-type TimeoutError --attr tenant=acme
  emberlog query events --type node.failed --since yesterday
  emberlog query metrics --name '*_cost' --limit all --json | jq -s 'map(.value) | add'"
)]
pub struct QueryArgs {
    /// What to list
    pub target: Target,
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Order of the rows
    #[arg(long, value_enum, default_value = "newest")]
    pub order: OrderArg,
    /// Most rows, or all [default: 100 traces, 1000 of the others]
    #[arg(long, value_name = "N|all", value_parser = limit, allow_hyphen_values = true)]
    pub limit: Option<Limit>,
    /// Rows to skip
    #[arg(long, value_name = "N", default_value = "0", value_parser = rows, allow_hyphen_values = true)]
    pub offset: usize,
}

/// Order of rows, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OrderArg {
    Newest,
    Oldest,
    Slowest,
}

impl From<OrderArg> for Order {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::Newest => Self::Newest,
            OrderArg::Oldest => Self::Oldest,
            OrderArg::Slowest => Self::Slowest,
        }
    }
}

/// How many rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    All,
    Rows(usize),
}

/// `trace`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  emberlog trace 4f3c9a        a unique prefix is enough
  emberlog trace 4f3c9a --all  without folding, however large
  emberlog trace order-4711    a trace that was started under a foreign id")]
pub struct TraceArgs {
    /// Id of the trace, a unique prefix of it, or the text it was made from
    pub id: String,
    /// Show every span, also beyond 200 rows
    #[arg(long)]
    pub all: bool,
}

/// `diff`
#[derive(Debug, Args)]
#[command(
    after_help = "Nodes are the same if they have the same id (or name), are the same time in a row, and lie below the
same parent. ! marks what ended differently, - what only the first trace has, + what only the second.

Examples:
  emberlog diff 4f3c9a 81d2   two runs of a graph; unique prefixes are enough"
)]
pub struct DiffArgs {
    /// Id of the first trace, a unique prefix of it, or the text it was made from
    pub before: String,
    /// Id of the second trace
    pub after: String,
}

/// `analyze`
#[derive(Debug, Args)]
#[command(
    after_help = "A node is slow if its mean duration is above twice the mean of all nodes' means, and fails often if
more than 5 % of its executions do. Traces that still run do not count. docs/analysis.md has every
definition.

Exit codes: 0 nothing found; 1 findings, with --compare: the second version is worse and the 95 %
interval of the difference does not hold zero; 2 usage or I/O error; 3 too few executions.

Examples:
  emberlog analyze                                     everything that ran in the last 24 hours
  emberlog analyze --graph rag --since 2h --min-executions 100
  emberlog analyze --graph rag --compare 1.4 1.5       is 1.5 worse than 1.4?
  emberlog analyze --graph rag --report rag.html       with plots, for a browser
  emberlog analyze --from sqlite:telemetry.db --json | jq .report.bottlenecks"
)]
pub struct AnalyzeArgs {
    /// Only this graph
    #[arg(long, value_name = "GRAPH")]
    pub graph: Option<String>,
    /// Only this version of the graph
    #[arg(long, value_name = "VERSION", conflicts_with = "compare")]
    pub graph_version: Option<String>,
    /// Only runs that started at or after this time, or all [default: 24 hours before the end]
    #[arg(long, value_name = "TIME|all", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Only runs that started at or before this time [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Fewest finished runs that say something
    #[arg(long, value_name = "N", default_value = "10")]
    pub min_executions: u64,
    /// Compare two versions of the graph: whether the second is worse
    #[arg(long, num_args = 2, value_names = ["V1", "V2"])]
    pub compare: Option<Vec<String>>,
    /// What is wanted, as NAME:minimize or NAME:maximize, then :WEIGHT if not 1; may be given more
    /// than once. NAME is latency, cost, success_rate, ... or a metric
    #[arg(long, value_name = "OBJECTIVE")]
    pub objective: Vec<emberlog::analysis::Objective>,
    /// Where to read: a log directory, or sqlite:PATH [default: --dir]
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// Also write a report with plots, one HTML file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `tail`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  emberlog tail
  emberlog tail -n 100
  emberlog tail -f --json | jq -r 'select(.record == \"span\") | .name'")]
pub struct TailArgs {
    /// Go on with what a live process records, until interrupted
    #[arg(short, long)]
    pub follow: bool,
    /// Records to begin with
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = rows, allow_hyphen_values = true)]
    pub lines: usize,
}

/// `inspect`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  emberlog inspect                         the segments of the log
  emberlog inspect 00000000000067108864    the frames of one; a unique prefix or number will do")]
pub struct InspectArgs {
    /// Segment: its file, or the log offset that it is named by [default: lists the segments]
    pub segment: Option<String>,
}

/// `completions`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  emberlog completions bash > ~/.local/share/bash-completion/completions/emberlog")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

fn rows(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "expected a whole number, 0 or more".to_owned())
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "all" => Ok(Limit::All),
        _ => rows(text)
            .map(Limit::Rows)
            .map_err(|e| format!("{e}, or all")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn limits() {
        assert_eq!(limit("all"), Ok(Limit::All));
        assert_eq!(limit("0"), Ok(Limit::Rows(0)));
        assert!(limit("-1").is_err());
        assert!(limit("many").is_err());
    }
}
