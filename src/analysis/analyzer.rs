//! What can be asked, and the way from a source to a report.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    backend::{Scan, ScanError},
    query::{filter::Pattern, LogReader},
};

use super::{
    build::Head,
    compare::{self, Comparison},
    facts::Wanted,
    log,
    objectives::Objective,
    period::Period,
    report::{Report, Summary},
    rows,
    tally::Tallies,
};

/// Fewest finished traces that say something, unless [`Analyzer::min_executions`] says otherwise.
pub const DEFAULT_MIN_EXECUTIONS: u64 = 10;
/// How far back an analysis looks, unless [`Analyzer::since_ns`] says otherwise.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Which metrics are costs. A name and a unit must both fit.
#[derive(Clone, Debug, PartialEq)]
pub struct CostRule {
    /// Names, `*` for anything.
    pub names: Vec<Pattern>,
    /// Units, exactly.
    pub units: Vec<String>,
}

impl Default for CostRule {
    /// `cost`, `*.cost`, `*_cost` in `usd`, `dollars`, `$` or without a unit.
    fn default() -> Self {
        Self {
            names: ["cost", "*.cost", "*_cost"].map(Pattern::new).into(),
            units: ["usd", "dollars", "$", ""].map(str::to_owned).into(),
        }
    }
}

impl CostRule {
    /// Whether a metric with this name and unit is a cost.
    pub fn is_cost(&self, name: &str, unit: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
            && self.units.iter().any(|known| known == unit)
    }
}

/// Where an analysis reads.
#[derive(Clone, Copy)]
enum Source<'a> {
    Log(&'a LogReader),
    Scan(&'a dyn Scan),
}

/// What was found out.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Analysis {
    /// The report; `None` if there is a `reason` against it.
    pub report: Option<Report>,
    /// Whether the success rate is below 95 %, or there is any bottleneck or failure.
    pub has_issues: bool,
    /// The report in five numbers.
    pub summary: Option<Summary>,
    /// Why there is no report.
    pub reason: Option<String>,
    /// Finished traces that fit.
    pub executions: u64,
    /// Traces that fit and still run; they are not in the report.
    pub running: u64,
    /// The time that was looked at.
    pub period: Period,
    /// Frames of the log in which something did not check; what they held is missing.
    pub damaged_frames: u64,
}

/// Analyses the runs of a graph.
///
/// ```no_run
/// use emberlog::{analysis::Analyzer, query::LogReader};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = LogReader::open("/var/lib/app/telemetry")?;
/// let analysis = Analyzer::new().graph("rag").min_executions(100).log(&log)?;
/// if let Some(report) = analysis.report {
///     for what in &report.opportunities {
///         println!("{what}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Analyzer {
    graph: Option<String>,
    graph_version: Option<String>,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    window: Duration,
    min_executions: u64,
    costs: CostRule,
    objectives: Vec<Objective>,
}

impl Default for Analyzer {
    fn default() -> Self {
        Self::new()
    }
}

impl Analyzer {
    /// All graphs, the last 24 hours, at least ten executions.
    pub fn new() -> Self {
        Self {
            graph: None,
            graph_version: None,
            since_ns: None,
            until_ns: None,
            window: DEFAULT_WINDOW,
            min_executions: DEFAULT_MIN_EXECUTIONS,
            costs: CostRule::default(),
            objectives: Vec::new(),
        }
    }

    /// Only this graph: `graph_id`, `graph.id`, else the trace's name.
    #[must_use]
    pub fn graph(mut self, id: impl Into<String>) -> Self {
        self.graph = Some(id.into());
        self
    }

    /// Only this version of the graph.
    #[must_use]
    pub fn graph_version(mut self, version: impl Into<String>) -> Self {
        self.graph_version = Some(version.into());
        self
    }

    /// Only traces that began at or after this Unix nanosecond; `i64::MIN` for all.
    #[must_use]
    pub fn since_ns(mut self, unix_ns: i64) -> Self {
        self.since_ns = Some(unix_ns);
        self
    }

    /// Only traces that began before or at this Unix nanosecond; else until now.
    #[must_use]
    pub fn until_ns(mut self, unix_ns: i64) -> Self {
        self.until_ns = Some(unix_ns);
        self
    }

    /// How far to look back from the end, unless [`since_ns`](Self::since_ns) says where to begin.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Fewest finished traces that make a report.
    #[must_use]
    pub fn min_executions(mut self, traces: u64) -> Self {
        self.min_executions = traces;
        self
    }

    /// Which metrics are costs.
    #[must_use]
    pub fn costs(mut self, rule: CostRule) -> Self {
        self.costs = rule;
        self
    }

    /// Adds an objective; no more than 255 are looked at.
    #[must_use]
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objectives.push(objective);
        self
    }

    /// Reads a log, raw records in one pass.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn log(&self, log: &LogReader) -> Result<Analysis, ScanError> {
        self.analyze(Source::Log(log))
    }

    /// Reads rows, from any store that answers queries.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    pub fn scan(&self, store: &dyn Scan) -> Result<Analysis, ScanError> {
        self.analyze(Source::Scan(store))
    }

    /// Compares two versions of a graph in a log: whether `after` is worse than `before`.
    ///
    /// # Errors
    /// [`ScanError`] if the log cannot be read.
    pub fn compare_log(
        &self,
        before: &str,
        after: &str,
        log: &LogReader,
    ) -> Result<Comparison, ScanError> {
        self.compare(before, after, Source::Log(log))
    }

    /// Compares two versions of a graph in any store that answers queries.
    ///
    /// # Errors
    /// [`ScanError`] if the store cannot be read.
    pub fn compare_scan(
        &self,
        before: &str,
        after: &str,
        store: &dyn Scan,
    ) -> Result<Comparison, ScanError> {
        self.compare(before, after, Source::Scan(store))
    }

    /// What an analysis says where nothing is recorded: telemetry is off.
    pub fn unavailable(&self) -> Analysis {
        let wanted = self.wanted(Vec::new());
        self.refusal("Telemetry system not available".to_owned(), &wanted, (0, 0))
    }

    fn analyze(&self, source: Source<'_>) -> Result<Analysis, ScanError> {
        let wanted = self.wanted(self.graph_version.iter().cloned().collect());
        if self.graph.as_deref() == Some("") {
            return Ok(self.refusal("graph_id is required".to_owned(), &wanted, (0, 0)));
        }
        let (mut tallies, damaged) = self.read(&wanted, source)?;
        let version = self.graph_version.as_deref();
        Ok(self.conclude(&mut tallies, 0, version, &wanted, damaged))
    }

    fn compare(
        &self,
        before: &str,
        after: &str,
        source: Source<'_>,
    ) -> Result<Comparison, ScanError> {
        let wanted = self.wanted(vec![before.to_owned(), after.to_owned()]);
        let (mut tallies, damaged) = self.read(&wanted, source)?;
        let [before, after] = [(0, before), (1, after)]
            .map(|(no, version)| self.conclude(&mut tallies, no, Some(version), &wanted, damaged));
        Ok(compare::compare(before, after, &tallies))
    }

    fn read(&self, wanted: &Wanted, source: Source<'_>) -> Result<(Tallies, u64), ScanError> {
        let groups = wanted.versions.len().max(1);
        let mut tallies = Tallies::new(groups, &self.costs, &self.objectives);
        let damaged = match source {
            Source::Log(log) => log::read(log, wanted, &mut tallies)?,
            Source::Scan(store) => {
                rows::read(store, wanted, &mut tallies)?;
                0
            }
        };
        Ok((tallies, damaged))
    }

    fn conclude(
        &self,
        tallies: &mut Tallies,
        group: usize,
        version: Option<&str>,
        wanted: &Wanted,
        damaged_frames: u64,
    ) -> Analysis {
        let executions = tallies.groups[group].traces.count();
        let mut analysis = if executions < self.min_executions {
            let least = self.min_executions;
            let reason = format!("Insufficient data: {executions} executions (minimum: {least})");
            self.refusal(reason, wanted, (executions, tallies.running))
        } else {
            tallies.groups[group].sort();
            let head = Head {
                graph_id: self.graph.clone(),
                graph_version: version.unwrap_or("unknown").to_owned(),
                since_ns: wanted.since_ns,
                until_ns: wanted.until_ns,
            };
            let tally = &tallies.groups[group];
            let report = Report::new(head, tally, &tallies.names, &self.objectives);
            Analysis {
                has_issues: report.has_issues(),
                summary: Some(report.summary()),
                reason: None,
                executions,
                running: tallies.running,
                period: report.analysis_period.clone(),
                damaged_frames: 0,
                report: Some(report),
            }
        };
        analysis.damaged_frames = damaged_frames;
        analysis
    }

    fn refusal(&self, reason: String, wanted: &Wanted, counts: (u64, u64)) -> Analysis {
        Analysis {
            report: None,
            has_issues: false,
            summary: None,
            reason: Some(reason),
            executions: counts.0,
            running: counts.1,
            period: Period::new(wanted.since_ns, wanted.until_ns),
            damaged_frames: 0,
        }
    }

    fn wanted(&self, versions: Vec<String>) -> Wanted {
        let until_ns = self.until_ns.unwrap_or_else(now_ns);
        let window = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        Wanted {
            graph: self.graph.clone(),
            versions,
            since_ns: self
                .since_ns
                .unwrap_or_else(|| until_ns.saturating_sub(window)),
            until_ns,
        }
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}
