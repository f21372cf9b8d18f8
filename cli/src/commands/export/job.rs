//! The exports of one log, from the start of their tails to what they did.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use emberlog::{
    backend::BackendConfig,
    export::{Export, ExportOptions, Progress, Report, StartError},
    tail::{cursor::CursorError, TailState},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    failure::{chain, Failure},
    output::{human, Output},
    target::Target,
};

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Whether SIGINT or SIGTERM came.
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on the signals end an export between two batches.
    pub fn on_signals() -> Result<Self, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the process as it would without us.
            signal_hook::flag::register_conditional_default(signal, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .map_err(|error| Failure::because("cannot listen to signals", &error))?;
        }
        Ok(Self(flag))
    }

    /// Whether one came.
    pub fn came(&self) -> bool {
        // Relaxed: nothing else is read because of it.
        self.0.load(Ordering::Relaxed)
    }
}

/// One log on its way to a target.
pub struct Job {
    log: PathBuf,
    target: String,
    retry_for: Duration,
    exports: Vec<Export>,
    /// Since when nothing arrives, and what had arrived then.
    stuck: Option<(Instant, u64)>,
}

impl Job {
    /// Nothing runs yet.
    pub fn new(log: &Path, target: &Target) -> Self {
        Self {
            log: log.to_owned(),
            target: target.name(),
            retry_for: target.retry_for,
            exports: Vec::new(),
            stuck: None,
        }
    }

    /// Starts the tail of one backend.
    pub fn start(
        &mut self,
        backend: &BackendConfig,
        options: &ExportOptions,
    ) -> Result<(), Failure> {
        let export = Export::start(&self.log, backend, options);
        self.exports
            .push(export.map_err(|error| refused(&self.log, &error))?);
        Ok(())
    }

    /// One that runs already.
    pub fn of(log: &Path, target: &Target, export: Export) -> Self {
        let mut job = Self::new(log, target);
        job.exports.push(export);
        job
    }

    /// How far each is, after waiting that long at most.
    pub fn look(&self, within: Duration) -> Vec<Progress> {
        let until = Instant::now() + within;
        let left = || until.saturating_duration_since(Instant::now());
        self.exports
            .iter()
            .map(|export| export.wait(left()))
            .collect()
    }

    /// Why there is no hope, if so: the target refuses, or has not answered for too long.
    pub fn hopeless(&mut self, looks: &[Progress]) -> Option<String> {
        let in_trouble = |look: &&Progress| {
            let states = [TailState::Running, TailState::Starting];
            !look.done && !states.contains(&look.state)
        };
        let Some(bad) = looks.iter().find(in_trouble) else {
            self.stuck = None;
            return None;
        };
        let records = looks.iter().map(|look| look.records).sum();
        let (since, before) = *self.stuck.get_or_insert((Instant::now(), records));
        if records > before {
            self.stuck = None;
            return None;
        }
        let ended = matches!(bad.state, TailState::Paused | TailState::Stopped);
        (ended || since.elapsed() >= self.retry_for).then(|| {
            let why = bad.trouble.as_deref().unwrap_or("no answer");
            let delivered = match records {
                0 => String::new(),
                _ => format!(
                    "; {} arrived, export again to go on",
                    human::plural(records, "record")
                ),
            };
            format!("{}: {why}{delivered}", self.target)
        })
    }

    /// Brings everything there that the log had at the beginning.
    pub fn run(mut self, stop: &Stop, out: &mut Output) -> Result<Report, Failure> {
        let total: u64 = self.exports.iter().map(|export| export.total).sum();
        let bar = progress(total);
        loop {
            let looks = self.look(LOOK);
            let left: u64 = looks.iter().map(|look| look.left).sum();
            bar.set_position(total.saturating_sub(left));
            if looks.iter().all(|look| look.done) {
                break;
            }
            let interrupted = stop.came();
            let hopeless = self.hopeless(&looks);
            if interrupted || hopeless.is_some() {
                bar.finish_and_clear();
                let target = self.target.clone();
                let (report, _) = self.finish(Duration::ZERO);
                let arrived = human::plural(report.records, "record");
                return Err(Failure::new(hopeless.unwrap_or_else(|| {
                    format!("interrupted: {arrived} arrived at {target}, export again to go on")
                })));
            }
        }
        bar.finish_and_clear();
        let log = self.log.clone();
        let (report, left) = self.finish(Duration::from_secs(10));
        if let Some(left) = left {
            out.note(&format!("{}: {left}", log.display()));
        }
        Ok(report)
    }

    /// Ends it: what it did, and a sentence about what is left.
    pub fn finish(self, within: Duration) -> (Report, Option<String>) {
        let until = Instant::now() + within;
        let mut all = Report::default();
        let mut troubles = None;
        for export in self.exports {
            let (report, left) = export.finish(until.saturating_duration_since(Instant::now()));
            all = all.and(report);
            if let Some((records, why)) = left {
                let records = human::plural(records, "record");
                troubles = Some(format!("{records} not yet at {}: {why}", self.target));
            }
        }
        (all, troubles)
    }
}

/// What to say when an export cannot begin.
pub fn refused(log: &Path, error: &StartError) -> Failure {
    let denied = |error: &io::Error| {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
    };
    match error {
        StartError::Cursor(CursorError::Io { source, .. }) if denied(source) => Failure::new(
            format!("{}; keep it elsewhere with --state DIR", chain(error)),
        ),
        _ => Failure::because(format!("cannot export {}", log.display()), error),
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(records: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("exporting  {bar:40}  {human_pos} records  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
