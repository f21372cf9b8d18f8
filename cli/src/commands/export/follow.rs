//! `export --follow`: every log below a directory, those that come later too, until a signal.
//!
//! A log that a process writes has its tails running. One that nobody writes is brought to its end,
//! then only looked at, so that thousands of logs of dead processes cost no thread.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use emberlog::{
    export::Report,
    log::{log_is_locked, logs_under, Position},
    tail::{FrameSource, LogSource},
};

use super::{
    job::{Job, Stop},
    one_position_one_log, Plan,
};
use crate::{failure::Failure, output::Output, store};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Logs of dead processes that are brought to their end at once.
const AT_ONCE: usize = 16;
/// How long an interrupted export goes on with what is there.
const GRACE: Duration = Duration::from_secs(5);

/// A log and what is done with it.
enum Place {
    Running(Job),
    /// At its end when nobody wrote it.
    Resting(Box<LogSource>, Position),
}

/// Goes on until a signal comes.
pub(super) fn run(
    plan: &Plan<'_>,
    dir: &Path,
    stop: &Stop,
    out: &mut Output,
) -> Result<Report, Failure> {
    let first = found(dir)?;
    one_position_one_log(plan, &first)?;
    let mut follow = Follow {
        plan,
        places: BTreeMap::new(),
        troubles: BTreeMap::new(),
        report: Report::default(),
        begun: false,
    };
    follow.look_for(first, out)?;
    while !stop.came() {
        std::thread::sleep(LOOK);
        follow.watch(out)?;
        follow.look_for(found(dir)?, out)?;
    }
    Ok(follow.finish(out))
}

/// The logs there are; none yet is no mistake while following.
fn found(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    match logs_under(dir) {
        Ok(logs) => Ok(logs),
        // Says what is wrong with the directory.
        Err(_) => store::logs(dir),
    }
}

struct Follow<'p> {
    plan: &'p Plan<'p>,
    places: BTreeMap<PathBuf, Place>,
    /// What was last said of each log.
    troubles: BTreeMap<PathBuf, String>,
    report: Report,
    /// Whether any log was begun; mistakes of the first are the user's.
    begun: bool,
}

impl Follow<'_> {
    /// Begins with logs that are new, and with those that somebody writes again.
    fn look_for(&mut self, logs: Vec<PathBuf>, out: &mut Output) -> Result<(), Failure> {
        self.places.retain(|path, _| logs.contains(path));
        let running = |place: &&Place| matches!(place, Place::Running(_));
        let mut running = self.places.values().filter(running).count();
        for log in logs {
            let live = log_is_locked(&log).unwrap_or(false);
            let due = match self.places.get_mut(&log) {
                None => true,
                Some(Place::Running(_)) => false,
                Some(Place::Resting(source, end)) => live || source.end() > *end,
            };
            if !due || !live && running >= AT_ONCE {
                continue;
            }
            let again = self.places.contains_key(&log);
            match self.plan.start(&log, again) {
                Ok(job) => {
                    self.begun = true;
                    running += 1;
                    self.places.insert(log, Place::Running(job));
                }
                Err(Failure::Message(why)) if self.begun => self.say(&log, Some(why), out),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Tells of trouble, and lets logs rest that are at their end.
    fn watch(&mut self, out: &mut Output) -> Result<(), Failure> {
        let mut resting = Vec::new();
        let mut said = Vec::new();
        for (log, place) in &mut self.places {
            let Place::Running(job) = place else {
                continue;
            };
            // Before the end is looked at: whoever held the lock wrote before it was given up.
            let live = log_is_locked(log).unwrap_or(true);
            let looks = job.look(Duration::ZERO);
            let never = looks.iter().all(|look| !look.reached);
            match job.hopeless(&looks) {
                // A target that never answered is a mistake; one that did comes back.
                Some(why) if never => return Err(Failure::new(why)),
                trouble => said.push((log.clone(), trouble)),
            }
            if !live && looks.iter().all(|look| look.done && look.left == 0) {
                if let Ok(mut source) = LogSource::open(log) {
                    let end = source.end();
                    resting.push((log.clone(), source, end));
                }
            }
        }
        for (log, trouble) in said {
            self.say(&log, trouble, out);
        }
        for (log, source, end) in resting {
            if let Some(Place::Running(job)) = self
                .places
                .insert(log, Place::Resting(Box::new(source), end))
            {
                self.add(job, GRACE);
            }
        }
        Ok(())
    }

    /// Says what is wrong once, and that it is over.
    fn say(&mut self, log: &Path, trouble: Option<String>, out: &mut Output) {
        match trouble {
            Some(why) if self.troubles.get(log) == Some(&why) => {}
            Some(why) => {
                out.note(&format!("{}: {why}; still trying", log.display()));
                self.troubles.insert(log.to_owned(), why);
            }
            None => {
                if self.troubles.remove(log).is_some() {
                    out.note(&format!("{}: it goes on", log.display()));
                }
            }
        }
    }

    fn add(&mut self, job: Job, within: Duration) -> Option<String> {
        let (report, left) = job.finish(within);
        self.report = self.report.and(report);
        left
    }

    /// Brings what is there now to the target, as far as that goes, and ends.
    fn finish(mut self, out: &mut Output) -> Report {
        let until = std::time::Instant::now() + GRACE;
        for (log, place) in std::mem::take(&mut self.places) {
            let Place::Running(job) = place else {
                continue;
            };
            let within = until.saturating_duration_since(std::time::Instant::now());
            if let Some(left) = self.add(job, within) {
                out.note(&format!("{}: {left}", log.display()));
            }
        }
        self.report
    }
}
