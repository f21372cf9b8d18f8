//! The same runs with recording off and on, in turns, on the same threads.
//!
//! Always true:
//! - the two halves of a pair work on the same files, in the same order, into an empty index
//! - which half comes first alternates, so that a machine that slows down favours neither
//! - recording is charged for all it causes: its round ends when everything is in the log

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc, Arc,
    },
    time::{Duration, Instant},
};

use super::{
    graph::{self, State},
    index::Index,
    input::Input,
    measure::process_cpu,
    recorder::{Off, Recorder},
};
use crate::failure::Failure;

/// What a round took and did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Time on the clock.
    pub wall: Duration,
    /// CPU time of the whole process.
    pub cpu: Option<Duration>,
    /// Runs.
    pub runs: u64,
    /// Nodes that ran.
    pub nodes: u64,
    /// Runs that failed.
    pub failed: u64,
}

/// A stretch of work for the threads.
pub struct Job {
    recorded: bool,
    from: usize,
    to: usize,
    next: AtomicUsize,
    index: Index,
}

/// Threads that wait for work.
pub struct Workers<'a> {
    jobs: Vec<mpsc::Sender<Arc<Job>>>,
    done: mpsc::Receiver<Round>,
    /// Makes sure that what was recorded is in the log.
    settle: &'a dyn Fn() -> Result<(), Failure>,
}

impl Workers<'_> {
    /// Indexes files `from..to` (the list begins again after its end).
    pub fn round(
        &self,
        recorded: bool,
        from: usize,
        to: usize,
    ) -> Result<(Round, Arc<Job>), Failure> {
        let job = Arc::new(Job {
            recorded,
            from,
            to,
            next: AtomicUsize::new(from),
            index: Index::new(),
        });
        let cpu = process_cpu();
        let start = Instant::now();
        for worker in &self.jobs {
            worker.send(Arc::clone(&job)).map_err(|_| stopped())?;
        }
        let mut round = Round::default();
        for _ in &self.jobs {
            let part = self.done.recv().map_err(|_| stopped())?;
            round.runs += part.runs;
            round.nodes += part.nodes;
            round.failed += part.failed;
        }
        if recorded {
            (self.settle)()?;
        }
        round.wall = start.elapsed();
        round.cpu = cpu
            .zip(process_cpu())
            .map(|(before, after)| after.saturating_sub(before));
        Ok((round, job))
    }
}

impl Job {
    /// What was indexed.
    pub fn index(&self) -> &Index {
        &self.index
    }
}

fn stopped() -> Failure {
    Failure::new("a worker thread of the demo stopped")
}

/// Starts `threads` workers on `files`, gives them to `drive`, and stops them.
pub fn with_workers<R: Recorder, T>(
    files: &[Input],
    threads: usize,
    recorder: &R,
    settle: &dyn Fn() -> Result<(), Failure>,
    drive: impl FnOnce(&Workers<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    std::thread::scope(|scope| {
        let (finished, done) = mpsc::channel();
        let mut workers = Workers {
            jobs: Vec::new(),
            done,
            settle,
        };
        for number in 0..threads {
            let (jobs, work) = mpsc::channel::<Arc<Job>>();
            let finished = finished.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn_scoped(scope, move || {
                    let mut state = State::default();
                    for job in work {
                        let round = match job.recorded {
                            true => share(recorder, &job, files, &mut state),
                            false => share(&Off, &job, files, &mut state),
                        };
                        drop(job);
                        if finished.send(round).is_err() {
                            break;
                        }
                    }
                })
                .map_err(|e| Failure::because("cannot start a worker thread", &e))?;
            workers.jobs.push(jobs);
        }
        drop(finished);
        drive(&workers)
    })
}

/// One worker's share of a job: the next file that nobody has, until none is left.
fn share<R: Recorder>(recorder: &R, job: &Job, files: &[Input], state: &mut State) -> Round {
    let mut round = Round::default();
    loop {
        // Relaxed: only hands out numbers, each once; the files were there before the threads.
        let number = job.next.fetch_add(1, Ordering::Relaxed);
        if number >= job.to {
            return round;
        }
        let Some(file) = files.get(number % files.len().max(1)) else {
            return round;
        };
        state.document = (number - job.from) as u32;
        state.path.clone_from(&file.path);
        let outcome = graph::run(recorder, &file.name, state, &job.index);
        round.runs += 1;
        round.nodes += outcome.nodes;
        round.failed += u64::from(outcome.error.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_indexes_every_file_of_its_stretch_once() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<Input> = (0..10)
            .map(|i| {
                let path = dir.path().join(i.to_string());
                std::fs::write(&path, format!("word{i} common")).unwrap();
                Input {
                    path,
                    name: i.to_string(),
                }
            })
            .collect();
        let (round, job) = with_workers(&files, 3, &Off, &|| Ok(()), |workers| {
            assert_eq!(workers.round(false, 5, 9)?.0.runs, 4);
            workers.round(true, 7, 32)
        })
        .unwrap();
        assert_eq!((round.runs, round.nodes, round.failed), (25, 125, 0));
        assert_eq!(job.index().ranking(1)[0].occurrences, 25);
        assert_eq!(job.index().size().0, 11);
    }
}
