//! `demo`: the engine doing its main job on real files, and what that costs.
//!
//! A small graph runtime (`graph`, `nodes`, `index`) indexes files (`input`) with recording off
//! and on in turns (`rounds`). It knows recording only as a trait (`recorder`); `record` is the
//! implementation that writes a log. What the report says is read back from that log.

mod cost;
mod findings;
mod graph;
mod index;
mod input;
mod measure;
mod nodes;
mod place;
mod record;
mod recorder;
mod report;
mod rounds;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::{
    input::{Found, Input},
    measure::Spread,
    place::Place,
    record::Engine,
    rounds::{Round, Workers},
};
use crate::{
    args::DemoArgs,
    failure::{Failure, Verdict},
    output::{human, Output},
    store,
};

/// Pairs of rounds: many short ones, since the median of many beats the mean of few.
const PAIRS: usize = 40;
/// How long a round takes, unless `--runs` says how much it does.
const ROUND: Duration = Duration::from_millis(200);
/// Fewer runs do not make a round.
const MIN_RUNS: usize = 200;
/// Longest warm-up: files that it does not reach are left out.
const WARM_UP: Duration = Duration::from_secs(3);

/// What was measured.
pub struct Measured {
    found: Found,
    threads: usize,
    pairs: usize,
    /// All recorded rounds together.
    recorded: Round,
    wall_percent: Spread,
    cpu_percent: Option<Spread>,
    cost: cost::Cost,
    lost: u64,
    ranking: Vec<index::Ranked>,
    index_size: (u64, u64),
    verified: store::Verified,
    verify_time: Duration,
    sqlite: PathBuf,
    sqlite_rows: u64,
    sqlite_time: Duration,
}

/// Runs the demo.
pub fn run(args: &DemoArgs, dir: Option<PathBuf>, out: &mut Output) -> Result<Verdict, Failure> {
    let dir = dir.unwrap_or_else(|| PathBuf::from("emberlog-demo"));
    let mut found = input::find(args.input.as_deref())?;
    let place = Place::take(&dir)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from).min(256);

    let bytes = warm_up(&mut found.files, out);
    let files = human::plural(found.files.len() as u64, "file");
    out.note(&format!(
        "{files}, {}, from {}",
        human::bytes(bytes),
        found.origin
    ));
    if found.too_large > 0 {
        out.note(&format!(
            "{} over 1 MiB left out",
            human::plural(found.too_large, "file")
        ));
    }
    out.note("each was read once before, so that the disk is no part of the figures");
    if Backtrace::capture().status() == BacktraceStatus::Captured {
        out.note(
            "RUST_BACKTRACE is set: each failed node keeps a stack trace, and that is part of them",
        );
    }

    let cost = cost::measure()?;
    let engine = Engine::open(place.dir())?;
    let settle = || engine.settle();
    let alternated = rounds::with_workers(&found.files, threads, &engine, &settle, |workers| {
        alternate(workers, args.runs.map(usize::from), found.files.len())
    })?;
    let lost = engine.close()?;

    out.note("checking the log, copying it to SQLite");
    let start = Instant::now();
    let verified = store::verify(place.dir())?;
    let verify_time = start.elapsed();
    let (sqlite, start) = (place.database(), Instant::now());
    let sqlite_rows = record::to_sqlite(place.dir(), &sqlite)?;
    let sqlite_time = start.elapsed();
    place.finish()?;
    let measured = Measured {
        found,
        threads,
        pairs: alternated.pairs,
        recorded: alternated.recorded,
        wall_percent: alternated.wall_percent,
        cpu_percent: alternated.cpu_percent,
        cost,
        lost,
        ranking: alternated.ranking,
        index_size: alternated.index_size,
        verified,
        verify_time,
        sqlite,
        sqlite_rows,
        sqlite_time,
    };
    report::write(&measured, place.dir(), out)?;
    Ok(Verdict::Fine)
}

/// Reads files until the time is up, forgets the rest, and returns how many bytes there are.
fn warm_up(files: &mut Vec<Input>, out: &mut Output) -> u64 {
    let start = Instant::now();
    let mut bytes = 0;
    let mut warm = 0;
    for file in files.iter() {
        // A file that cannot be read stays: its node fails, as it should.
        bytes += std::fs::read(&file.path).map_or(0, |content| content.len() as u64);
        warm += 1;
        if start.elapsed() > WARM_UP {
            out.note(&format!(
                "{} more files are left out to save time",
                files.len() - warm
            ));
            break;
        }
    }
    files.truncate(warm);
    bytes
}

struct Alternated {
    pairs: usize,
    recorded: Round,
    wall_percent: Spread,
    cpu_percent: Option<Spread>,
    ranking: Vec<index::Ranked>,
    index_size: (u64, u64),
}

fn alternate(
    workers: &Workers<'_>,
    runs: Option<usize>,
    files: usize,
) -> Result<Alternated, Failure> {
    let per_pair = match runs {
        Some(runs) => split(runs),
        None => vec![calibrate(workers, files)?; PAIRS],
    };
    let pairs = per_pair.len();
    let progress = progress(pairs as u64 * 2);
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    let mut recorded = Round::default();
    let mut last = None;
    let mut from = 0;
    for (pair, runs) in per_pair.into_iter().enumerate() {
        let mut times = [Round::default(); 2];
        for on in if pair % 2 == 0 {
            [false, true]
        } else {
            [true, false]
        } {
            let (round, job) = workers.round(on, from, from + runs)?;
            times[usize::from(on)] = round;
            if on {
                recorded.runs += round.runs;
                recorded.nodes += round.nodes;
                recorded.failed += round.failed;
                recorded.wall += round.wall;
                last = Some(job);
            }
            progress.inc(1);
        }
        let [off, on] = times;
        walls.push(percent(off.wall, on.wall));
        cpus.extend(off.cpu.zip(on.cpu).map(|(off, on)| percent(off, on)));
        from += runs;
    }
    progress.finish_and_clear();
    let nothing = || Failure::new("nothing was measured");
    let last = last.ok_or_else(nothing)?;
    Ok(Alternated {
        pairs,
        recorded,
        wall_percent: Spread::of(walls).ok_or_else(nothing)?,
        cpu_percent: Spread::of(cpus),
        ranking: last.index().ranking(8),
        index_size: last.index().size(),
    })
}

/// `runs` in as many parts as make sense, all of about the same size.
fn split(runs: usize) -> Vec<usize> {
    let pairs = (runs / MIN_RUNS).clamp(1, PAIRS);
    (0..pairs)
        .map(|pair| runs / pairs + usize::from(pair < runs % pairs))
        .collect()
}

/// How many runs take about as long as a round should.
fn calibrate(workers: &Workers<'_>, files: usize) -> Result<usize, Failure> {
    let mut runs = files.clamp(1, MIN_RUNS);
    loop {
        let (round, _) = workers.round(false, 0, runs)?;
        let rate = runs as f64 / round.wall.as_secs_f64().max(1e-9);
        let wanted = ((rate * ROUND.as_secs_f64()) as usize).clamp(1, 50_000_000);
        if round.wall >= ROUND * 2 / 3 {
            return Ok(wanted);
        }
        runs = wanted.clamp(runs + 1, runs * 8);
    }
}

fn percent(off: Duration, on: Duration) -> f64 {
    (on.as_secs_f64() / off.as_secs_f64().max(1e-9) - 1.0) * 100.0
}

/// A bar on a terminal, nothing elsewhere.
fn progress(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "indexing, recording off and on in turns  {bar:40}  {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// How a user calls this program: as it was called.
fn program() -> String {
    if std::env::var_os("CARGO").is_some() {
        return "cargo run --release --".to_owned();
    }
    std::env::args()
        .next()
        .unwrap_or_else(|| "emberlog".to_owned())
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_split_without_losing_any() {
        for runs in [1, 199, 200, 401, 4_800, 10_007] {
            let parts = split(runs);
            assert_eq!(parts.iter().sum::<usize>(), runs);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
            assert!(parts.len() <= PAIRS);
        }
    }

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("emberlog-demo")), "emberlog-demo");
        assert_eq!(quoted(Path::new("a b'c")), r"'a b'\''c'");
    }
}
