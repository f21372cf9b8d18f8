//! `export`, `prune`, `quarantine`, `cursors`.

use std::{fmt, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::FilterArgs;
use crate::time::parse_duration;

/// What the tracks of a Perfetto trace stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Tracks {
    #[default]
    Threads,
    Traces,
}

/// Where to, and how the target is spoken to.
#[derive(Args)]
pub struct TargetArgs {
    /// sqlite:PATH, jsonl:PATH, perfetto:PATH, otlp-file:PATH, postgresql://USER@HOST/DATABASE,
    /// otlp+http://HOST:PORT, otlp+json://, otlp+grpc:// (with TLS: otlp+https://, otlp+jsons://,
    /// otlp+grpcs://); env:NAME takes the URL from that variable, so that no secret of it shows in
    /// the list of processes
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// One track per thread, or one per trace (perfetto:)
    #[arg(long, value_enum, value_name = "WHAT")]
    pub tracks: Option<Tracks>,
    /// Header of every request (otlp+...://), may be repeated; NAME=env:VARIABLE takes the value from
    /// that variable
    #[arg(long, value_name = "NAME=VALUE")]
    pub header: Vec<String>,
    /// Authorities to trust, PEM (postgresql://, otlp+...s://)
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate, PEM (postgresql://, otlp+...s://)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// How long to go on trying while the target does not answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub retry_for: Duration,
}

impl fmt::Debug for TargetArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URL and headers may hold secrets.
        f.debug_struct("TargetArgs").finish_non_exhaustive()
    }
}

/// `export`
#[derive(Debug, Args)]
#[command(
    after_help = "A second export to the same target, with the same filters, sends only what is new. How far
it is stands in a cursor in the log directory, which keeps the log from removing what is not exported
yet: see `cursors`. A filter that says nothing of a kind of record leaves that kind out.

Examples:
  emberlog export --to sqlite:telemetry.db
  emberlog export --to jsonl:failed.jsonl --status error --since yesterday
  emberlog export --to perfetto:run.pftrace --trace-id 4f3c9a
  emberlog export --to otlp+http://localhost:4318
  emberlog export --to otlp+grpcs://api.example.com --header api-key=env:API_KEY
  emberlog export --to env:TELEMETRY_URL --follow
  emberlog export --to sqlite:telemetry.db --from-position 0"
)]
pub struct ExportArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Go on with what live processes record, until SIGINT or SIGTERM
    #[arg(long)]
    pub follow: bool,
    /// Begin here, whatever was exported before: 0, end, or a position as `cursors` shows it
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub from_position: Option<String>,
    /// Cursor to use [default: named by the target and the filters]
    #[arg(long, value_name = "NAME")]
    pub cursor: Option<String>,
    /// Keep the cursor there, for a log directory that cannot be written to
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `migrate`
#[derive(Debug, Args)]
#[command(
    after_help = "Every id, time and attribute is kept, and every row is there once, also after a migration that
was interrupted. Also reads a database with the documented tables that another program wrote; what
emberlog has no type for stays as attributes source.*. Run again, it moves the rows that are new;
rows that were changed since are moved by --again. Rows of PostgreSQL have no order of their own:
those that were written since are moved by --again too.

Examples:
  emberlog migrate --from sqlite:telemetry.db --to sqlite:all.db
  emberlog migrate --from sqlite:spark_telemetry.db --to env:TELEMETRY_URL
  emberlog migrate --from env:TELEMETRY_URL --to sqlite:copy.db"
)]
pub struct MigrateArgs {
    /// sqlite:PATH or postgresql://...; env:NAME takes the URL from that variable
    #[arg(long, value_name = "URL")]
    pub from: String,
    #[command(flatten)]
    pub target: TargetArgs,
    /// From the first row on, whatever was moved before
    #[arg(long)]
    pub again: bool,
    /// Where it is noted how far the migration is [default: beside the database, PATH.migrate; of a
    /// server emberlog-migrate]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `prune`
#[derive(Debug, Args)]
#[command(
    after_help = "Whole segments go, oldest first. What a cursor still needs stays, unless
--ignore-cursors is given. Of a root of several logs, each is pruned by itself.

Examples:
  emberlog prune --older-than 7d --dry-run
  emberlog prune --max-size 10GiB"
)]
pub struct PruneArgs {
    /// Remove segments whose newest record is older, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub older_than: Option<Duration>,
    /// Remove the oldest segments until the directory takes no more, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub max_size: Option<u64>,
    /// Also what a cursor still needs
    #[arg(long)]
    pub ignore_cursors: bool,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
}

/// `quarantine`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  emberlog quarantine list
  emberlog quarantine replay sqlite --to sqlite:telemetry.db
  emberlog quarantine drop sqlite")]
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub command: QuarantineCommand,
    /// Directory that the export was given as its --state
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
}

/// What to do with rows that were set aside.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// Show them, with what the backend said
    List {
        /// Backend, or cursor of an export [default: all]
        name: Option<String>,
    },
    /// Send them again; those that are refused again stay
    Replay {
        /// Backend, or cursor of an export
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Forget them
    Drop {
        /// Backend, or cursor of an export
        name: String,
    },
}

/// `cursors`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  emberlog cursors list
  emberlog cursors drop sqlite-telemetry.db-0f3c29a1b6d4e587")]
pub struct CursorsArgs {
    #[command(subcommand)]
    pub command: CursorsCommand,
    /// Directory that the export was given as its --state
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
}

/// What to do with cursors.
#[derive(Debug, Subcommand)]
pub enum CursorsCommand {
    /// Show each, and how far it is
    List,
    /// Remove one: the log no longer keeps anything for it, and its next export begins anew
    Drop {
        /// Its name
        name: String,
    },
}

/// Bytes: a number, with or without KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB.
fn size(text: &str) -> Result<u64, String> {
    let unknown = || {
        format!("{text:?} is no size: expected a number, with KiB, MiB, GiB or TiB, such as 10GiB")
    };
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let power = |base: u64, power: u32| Some(base.pow(power));
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => power(1024, 1),
        "m" | "mib" => power(1024, 2),
        "g" | "gib" => power(1024, 3),
        "t" | "tib" => power(1024, 4),
        "kb" => power(1000, 1),
        "mb" => power(1000, 2),
        "gb" => power(1000, 3),
        "tb" => power(1000, 4),
        _ => None,
    };
    let number: f64 = number.parse().map_err(|_| unknown())?;
    let bytes = number * unit.ok_or_else(unknown)? as f64;
    match bytes < u64::MAX as f64 {
        true => Ok(bytes as u64),
        false => Err(format!("{text:?} is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        for text in ["", "-1", "GiB", "1.2.3", "5 parsecs", "99999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
