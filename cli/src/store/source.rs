//! Where an analysis reads: a log, or a database that a backend wrote.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use emberlog::{
    analysis::{Analysis, Analyzer, Comparison},
    backend::{postgres::PostgresReader, sqlite::SqliteReader, Scan, ScanError},
    export::Endpoint,
    query::LogReader,
    Filter, Trace,
};

use crate::{
    failure::{chain, Failure},
    target,
};

/// How long a busy database is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// An opened place.
pub enum Source {
    /// A log directory, or a root of several.
    Log(PathBuf, LogReader),
    /// A SQLite database.
    Sqlite(SqliteReader),
    /// A PostgreSQL database.
    Postgres(Box<Endpoint>, PostgresReader),
}

impl Source {
    /// Opens what a URL names: `sqlite:PATH`, `postgresql://…`, `env:NAME` for what stands in that
    /// variable, else a log directory.
    pub fn open(url: &str) -> Result<Self, Failure> {
        match url.split_once(':') {
            Some(("sqlite", path)) => Self::sqlite(path.strip_prefix("//").unwrap_or(path)),
            Some(("postgres" | "postgresql" | "env", _)) => {
                let endpoint = target::source(url)?;
                match endpoint
                    .path()
                    .map(|path| path.to_string_lossy().into_owned())
                {
                    Some(path) if endpoint.to_string().starts_with("sqlite:") => {
                        Self::sqlite(&path)
                    }
                    _ => Self::server(endpoint),
                }
            }
            _ => Self::log(Path::new(url)),
        }
    }

    /// Opens a log directory.
    pub fn log(dir: &Path) -> Result<Self, Failure> {
        super::logs(dir)?;
        let reader = LogReader::open(dir).map_err(|error| super::failed(dir, &error))?;
        Ok(Self::Log(dir.to_owned(), reader))
    }

    fn sqlite(path: &str) -> Result<Self, Failure> {
        let reader = SqliteReader::open(path, BUSY);
        reader
            .map(Self::Sqlite)
            .map_err(|error| Failure::because(format!("cannot read {path}"), &error))
    }

    fn server(endpoint: Endpoint) -> Result<Self, Failure> {
        let options = endpoint.reading();
        let options = options.map_err(|error| Failure::because("--from", &error))?;
        match PostgresReader::open(options) {
            Ok(reader) => Ok(Self::Postgres(Box::new(endpoint), reader)),
            Err(error) => {
                let why = endpoint.hide(&chain(&error));
                Err(Failure::new(format!("cannot read {endpoint}: {why}")))
            }
        }
    }

    fn failed(&self, error: &ScanError) -> Failure {
        match self {
            Self::Log(dir, _) => super::failed(dir, error),
            Self::Sqlite(reader) => {
                Failure::because(format!("cannot read {}", reader.path().display()), error)
            }
            Self::Postgres(endpoint, _) => {
                let why = endpoint.hide(&chain(error));
                Failure::new(format!("cannot read {endpoint}: {why}"))
            }
        }
    }

    /// Analyses it.
    pub fn analyze(&self, analyzer: &Analyzer) -> Result<Analysis, Failure> {
        let analysis = match self {
            Self::Log(_, log) => analyzer.log(log),
            Self::Sqlite(reader) => analyzer.scan(reader),
            Self::Postgres(_, reader) => analyzer.scan(reader),
        };
        analysis.map_err(|error| self.failed(&error))
    }

    /// Compares two versions of a graph in it.
    pub fn compare(
        &self,
        analyzer: &Analyzer,
        [before, after]: [&str; 2],
    ) -> Result<Comparison, Failure> {
        let comparison = match self {
            Self::Log(_, log) => analyzer.compare_log(before, after, log),
            Self::Sqlite(reader) => analyzer.compare_scan(before, after, reader),
            Self::Postgres(_, reader) => analyzer.compare_scan(before, after, reader),
        };
        comparison.map_err(|error| self.failed(&error))
    }

    /// The newest trace that fits.
    pub fn newest(&self, filter: Filter) -> Result<Option<Trace>, Failure> {
        let filter = filter.limit(1);
        let found = match self {
            Self::Log(_, log) => log.traces(&filter),
            Self::Sqlite(reader) => reader.traces(&filter),
            Self::Postgres(_, reader) => reader.traces(&filter),
        };
        let found = found.map_err(|error| self.failed(&error))?;
        Ok(found.into_iter().next())
    }
}
