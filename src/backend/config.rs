//! A backend as a configuration names it.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use super::{memory::MemoryStore, Needs, Secrets, Select, Sink, SinkError};
use crate::model::AttributeMap;

/// Makes a sink for the log in that directory, on the thread of its tail.
type Make = dyn Fn(Option<&Path>) -> Result<Box<dyn Sink>, SinkError> + Send + Sync;

/// Where a backend that is new to a log begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// With everything that the log still has.
    #[default]
    Start,
    /// With what is logged after its first start. It never gets what was before.
    End,
}

/// A backend: a name, which is also its cursor's, how to open its sink, what it gets and when.
///
/// ```
/// use std::time::Duration;
/// use emberlog::{backend::{memory::MemoryStore, Begin, RowKind, Select}, BackendConfig};
/// let store = MemoryStore::default();
/// let backend = BackendConfig::memory(&store)
///     .named("recent-spans")
///     .begin(Begin::End)
///     .select(Select::new().kinds([RowKind::Span]))
///     .buffer_size(200)
///     .export_interval(Duration::from_secs(1));
/// ```
#[derive(Clone)]
pub struct BackendConfig {
    name: String,
    make: Arc<Make>,
    description: Option<Description>,
    pub(crate) tuning: Tuning,
    /// What is wrong with its options.
    problems: Vec<String>,
}

/// What a file says about a backend: enough to make it again.
#[derive(Clone, PartialEq)]
pub(crate) struct Description {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// What was set about it.
    pub(crate) parameters: Parameters,
}

/// What is set about a backend, as files have it.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Parameters {
    /// What may be written.
    pub(crate) shown: AttributeMap,
    /// What is never written anywhere.
    pub(crate) secret: AttributeMap,
}

/// What differs from what the configuration says for all backends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tuning {
    pub(crate) buffer_size: Option<usize>,
    pub(crate) export_interval: Option<Duration>,
    /// `Some(None)` keeps rows for ever.
    pub(crate) retention: Option<Option<Duration>>,
    pub(crate) begin: Begin,
    pub(crate) select: Select,
    pub(crate) secrets: Secrets,
    /// What its sink makes something of.
    pub(crate) needs: Needs,
}

impl BackendConfig {
    /// A backend of any kind. `make` runs on the backend's own thread, and again after a panic.
    pub fn new(
        name: impl Into<String>,
        make: impl Fn() -> Result<Box<dyn Sink>, SinkError> + Send + Sync + 'static,
    ) -> Self {
        Self::beside_log(name, move |_| make())
    }

    /// A backend that keeps something beside the log, or looks things up there. It learns where
    /// that is when it is opened: the directory may be settled after the backend was named.
    pub(crate) fn beside_log(
        name: impl Into<String>,
        make: impl Fn(Option<&Path>) -> Result<Box<dyn Sink>, SinkError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            make: Arc::new(make),
            description: None,
            tuning: Tuning::default(),
            problems: Vec::new(),
        }
    }

    /// The newest rows in memory; `store` is the handle to ask them.
    pub fn memory(store: &MemoryStore) -> Self {
        let store = store.clone();
        Self::new("memory", move || Ok(Box::new(store.sink("memory"))))
    }

    /// A backend whose options are wrong: the configuration is not valid with it.
    #[cfg(any(feature = "otlp", feature = "postgres"))]
    pub(crate) fn wrong(name: &str, problems: &[String]) -> Self {
        let text = problems.join("; ");
        let make = move || Err(SinkError::Refused(text.clone().into()));
        Self {
            problems: problems.to_vec(),
            ..Self::new(name, make)
        }
    }

    /// Gives its batches a size of their own; `None` takes that of the configuration.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub(crate) fn batches_of(mut self, rows: Option<usize>) -> Self {
        self.tuning.buffer_size = rows;
        self
    }

    /// Says that its sink makes nothing of other rows.
    #[cfg(feature = "otlp")]
    #[must_use]
    pub(crate) fn needing(mut self, needs: Needs) -> Self {
        self.tuning.needs = needs;
        self
    }

    /// A SQLite database at `path`, created if it is missing.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(path: impl Into<std::path::PathBuf>) -> Self {
        Self::sqlite_with(crate::backend::sqlite::Options::new(path))
    }

    /// A SQLite database, created if it is missing.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_with(options: crate::backend::sqlite::Options) -> Self {
        let mut parameters = Parameters::default();
        let path = options.path.to_string_lossy().into_owned();
        parameters.shown.set("db_path", path);
        let timeout = options.busy_timeout.as_secs_f64();
        parameters.shown.set("busy_timeout", timeout);
        parameters.shown.set("write_derived", options.write_derived);
        let made = Self::new("sqlite", move || {
            let sink = crate::backend::sqlite::SqliteSink::open("sqlite", options.clone())?;
            Ok(Box::new(sink))
        });
        made.described("sqlite", parameters)
    }

    /// Says what it was made from, so that a configuration can be written and read again.
    #[cfg(any(feature = "otlp", feature = "postgres", feature = "sqlite", test))]
    #[must_use]
    pub(crate) fn described(mut self, kind: &'static str, parameters: Parameters) -> Self {
        self.description = Some(Description { kind, parameters });
        self
    }

    /// Says what is wrong with its options: the configuration is not valid then.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub(crate) fn with_problems(mut self, problems: Vec<String>) -> Self {
        self.problems = problems;
        self
    }

    /// Gives it the name of another one and what that had for itself.
    pub(crate) fn in_place_of(mut self, other: &Self) -> Self {
        self.name.clone_from(&other.name);
        let secrets = std::mem::take(&mut self.tuning.secrets);
        self.tuning = Tuning {
            secrets,
            needs: self.tuning.needs,
            ..other.tuning.clone()
        };
        self
    }

    /// What it was made from; `None` if code made it.
    pub(crate) fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// A file of JSON lines at `path`, created if it is missing.
    #[cfg(feature = "jsonl")]
    pub fn jsonl(path: impl Into<std::path::PathBuf>) -> Self {
        let file = crate::backend::appended::Appended::new(path);
        Self::new("jsonl", move || {
            let sink = crate::backend::jsonl::JsonlSink::to("jsonl", file.clone());
            Ok(Box::new(sink))
        })
    }

    /// A trace file for the Perfetto UI at `path`, created if it is missing.
    #[cfg(feature = "perfetto")]
    pub fn perfetto(
        path: impl Into<std::path::PathBuf>,
        tracks: crate::backend::perfetto::Tracks,
    ) -> Self {
        use crate::backend::perfetto::{PerfettoSink, TraceFile};
        let file = TraceFile::new(path, tracks);
        Self::new("perfetto", move || {
            Ok(Box::new(PerfettoSink::to("perfetto", file.clone())))
        })
    }

    /// Gives it another name: two backends of one kind need two.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Rows after which it gets a batch, from 1. Default: what the configuration says.
    #[must_use]
    pub fn buffer_size(mut self, rows: usize) -> Self {
        self.tuning.buffer_size = Some(rows);
        self
    }

    /// Time after which it gets a batch, however small; 0 = only on `flush` and `export`. Default:
    /// what the configuration says.
    #[must_use]
    pub fn export_interval(mut self, interval: Duration) -> Self {
        self.tuning.export_interval = Some(interval);
        self
    }

    /// Deletes from it what began longer ago than this; `None` keeps everything. Default: as long
    /// as the log.
    #[must_use]
    pub fn retention(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.tuning.retention = Some(age.into());
        self
    }

    /// Where it begins when it is new to the log. Default: at the start.
    #[must_use]
    pub fn begin(mut self, begin: Begin) -> Self {
        self.tuning.begin = begin;
        self
    }

    /// Which rows it gets. Default: all.
    #[must_use]
    pub fn select(mut self, select: Select) -> Self {
        self.tuning.select = select;
        self
    }

    /// A text that must appear in no error and no report about this backend: a password, the value
    /// of a header, a key.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.tuning.secrets.add(secret);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is wrong with its options.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        if self.tuning.buffer_size == Some(0) {
            problems.push("buffer_size must be at least 1".to_owned());
        }
        if let Some(Some(age)) = self.tuning.retention {
            if age < Duration::from_secs(60) {
                problems.push(format!("retention is {age:?}, at least 60 s are needed"));
            }
        }
        problems
    }

    /// Opens its sink.
    ///
    /// # Errors
    /// [`SinkError`] if the backend cannot be had; for some it shows with the first batch.
    pub fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        (self.make)(None)
    }

    /// Opens its sink for the log in `dir`.
    pub(crate) fn open_beside(&self, dir: &Path) -> Result<Box<dyn Sink>, SinkError> {
        (self.make)(Some(dir))
    }
}

/// Equal are two of the same description, or one that code made and its clones.
impl PartialEq for BackendConfig {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.description, &other.description) {
            (Some(a), Some(b)) => a == b,
            (None, None) => Arc::ptr_eq(&self.make, &other.make),
            _ => false,
        };
        same && self.name == other.name && self.tuning == other.tuning
    }
}

impl fmt::Debug for BackendConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendConfig")
            .field("name", &self.name)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}
