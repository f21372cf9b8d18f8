//! What runs say about the graph: how long, how often, what fails, since when, and whether a new
//! version is better.
//!
//! Always true:
//! - every trace counts once, as a whole, when nothing of it can come any more; what still runs is
//!   left out
//! - the answer depends on what was recorded, not on where it lies or in which order it is read:
//!   the log, SQLite and any other [`Scan`](crate::backend::Scan) give the same
//! - quantiles are exact; times are added up as whole nanoseconds
//! - a trace that was kept with probability *p* stands for 1/*p* traces, in rates, means and
//!   quantiles; counts say what was recorded
//!
//! Each definition is written out in `docs/analysis.md`.
//!
//! | to see | begin here |
//! |---|---|
//! | what can be asked | [`Analyzer`] in `analyzer`, [`Report`] in `report` |
//! | where facts come from | `log` (raw records), `rows` (any `Scan`); `fields` knows the attributes |
//! | what is known of a trace | `facts`; its tree, critical path and edges: `shape` |
//! | what is added up | `tally`, for each node `node`; `durations`, `series`, `newest` below it |
//! | what follows from it | `build` makes the report; `findings`, `compare`, `objectives`, `diff` |

mod analyzer;
mod build;
mod compare;
mod diff;
mod durations;
mod facts;
mod fields;
mod findings;
mod log;
mod newest;
mod node;
mod objectives;
mod period;
mod report;
mod rows;
mod series;
mod shape;
mod student;
mod tally;
mod texts;

pub use analyzer::{Analysis, Analyzer, CostRule, DEFAULT_MIN_EXECUTIONS, DEFAULT_WINDOW};
pub use compare::{Comparison, Difference, NodeDifference};
pub use diff::{diff, NodeChange, TraceDiff};
pub use findings::{Bottleneck, BottleneckKind, FailurePattern, Severity};
pub use objectives::{Direction, Objective, ObjectiveValue, ParseObjectiveError};
pub use period::Period;
pub use report::{
    Chain, CriticalNode, EdgeMetrics, Histogram, ModelMetrics, NodeMetrics, PathMetrics, Point,
    Report, Summary, VersionCount,
};
