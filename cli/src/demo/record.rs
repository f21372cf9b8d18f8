//! Recording the demo: the only file of the command line that writes a log.

use std::{path::Path, time::Duration};

use emberlog::{
    backend::{
        sqlite::{self, SqliteSink},
        Sink,
    },
    log::Snapshot,
    tail::{self, LogSource, Tail},
    Config, Manager, StaticName,
};

use super::{
    graph::NODES,
    nodes::NodeError,
    recorder::{self, Recorder},
};
use crate::failure::Failure;

/// The copy takes some seconds; a disk that takes longer than this is broken.
const COPY_TIMEOUT: Duration = Duration::from_secs(120);

static RUN: StaticName = StaticName::new("index_file");
static FILE: StaticName = StaticName::new("file");

/// The names of the nodes and of what they count, as in [`NODES`]: interned once, then numbers.
static NAMES: [(StaticName, StaticName); NODES.len()] = {
    const fn names(node: usize) -> (StaticName, StaticName) {
        (
            StaticName::new(NODES[node].name),
            StaticName::new(NODES[node].counts),
        )
    }
    [names(0), names(1), names(2), names(3), names(4)]
};

/// A log that is open for writing.
pub struct Engine {
    manager: Manager,
}

impl Engine {
    /// Opens a log in `dir`.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let config = Config::new(dir).resource("service.name", "emberlog-demo");
        let manager = Manager::open(config);
        let manager = manager
            .map_err(|e| Failure::because(format!("cannot record to {}", dir.display()), &e))?;
        Ok(Self { manager })
    }

    /// Waits until everything that was recorded is in the log.
    pub fn settle(&self) -> Result<(), Failure> {
        let done = self.manager.flush();
        done.map(drop)
            .map_err(|e| Failure::because("the log of the demo", &e))
    }

    /// Closes the log; returns how many records were lost.
    pub fn close(self) -> Result<u64, Failure> {
        let done = self.manager.shutdown();
        done.map_err(|e| Failure::because("cannot close the log of the demo", &e))?;
        Ok(self.manager.stats().dropped_count)
    }
}

impl Recorder for Engine {
    type Steps = Steps;

    #[inline]
    fn run(
        &self,
        file: &str,
        graph: impl FnOnce(&mut Steps) -> Option<NodeError>,
    ) -> Option<NodeError> {
        let run = self.manager.start_trace(&RUN);
        run.set(&FILE, file);
        let mut steps = Steps { steps: run.steps() };
        let error = graph(&mut steps);
        steps.steps.ok();
        match &error {
            None => run.ok(),
            Some(NodeError::Read(error)) => run.fail(error),
            Some(NodeError::Decode(error)) => run.fail(error),
        }
        error
    }
}

/// The nodes of a run that is being recorded.
pub struct Steps {
    steps: emberlog::Steps,
}

impl recorder::Steps for Steps {
    #[inline]
    fn enter(&mut self, node: usize) {
        self.steps.enter(&NAMES[node].0);
    }

    #[inline]
    fn counted(&mut self, node: usize, number: u64) {
        self.steps.set(&NAMES[node].1, number);
    }

    fn failed(&mut self, error: &NodeError) {
        match error {
            NodeError::Read(error) => self.steps.fail(error),
            NodeError::Decode(error) => self.steps.fail(error),
        }
    }
}

/// Copies the log in `dir` to a SQLite file, as a backend of a running program would; returns how
/// many rows it delivered.
pub fn to_sqlite(dir: &Path, database: &Path) -> Result<u64, Failure> {
    let failed = |e: &dyn std::error::Error| {
        Failure::because(format!("cannot copy the log to {}", database.display()), e)
    };
    let source = LogSource::open(dir).map_err(|e| failed(&e))?;
    let end = Snapshot::open(dir).map_err(|e| failed(&e))?.end();
    let options = sqlite::Options::new(database);
    let open = move || {
        let sink = SqliteSink::open("sqlite", options.clone())?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    };
    let mut tuning = tail::Options::new("sqlite");
    tuning.buffer_size = 5_000;
    let tail = Tail::start(dir, source, open, tuning).map_err(|e| failed(&e))?;
    tail.export(end, COPY_TIMEOUT).map_err(|e| failed(&e))?;
    let delivered = tail.stats().delivered;
    tail.shutdown(Duration::from_secs(1));
    Ok(delivered)
}
