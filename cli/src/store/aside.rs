//! Rows that a backend refused, as they lie in `aside/NAME.jsonl` below a log.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use emberlog::{
    backend::Row,
    log::Position,
    model::Origin,
    tail::{
        cursor::{self, Cursor, Place},
        FrameSource, LogSource, Pulled,
    },
    RecordId,
};
use serde::{Deserialize, Serialize};

use super::{failed, kept_before, logs};
use crate::failure::Failure;

/// A row that was set aside, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
    pub log: String,
    pub from: String,
    pub to: String,
    pub kind: String,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub name: String,
    pub instance: Option<String>,
    pub ring: Option<u32>,
    pub sequence: Option<u64>,
    pub time_ns: i64,
    pub set_aside_ns: i64,
    pub attributes: serde_json::Value,
}

impl Refused {
    /// What no two records share.
    fn record(&self) -> Option<RecordId> {
        Some(RecordId {
            instance: self.instance.as_deref()?.parse().ok()?,
            ring: self.ring?,
            sequence: self.sequence?,
        })
    }

    fn range(&self) -> Option<(Position, Position)> {
        Some((self.from.parse().ok()?, self.to.parse().ok()?))
    }
}

/// What one backend refused of one log.
#[derive(Debug)]
pub struct Aside {
    pub log: PathBuf,
    pub name: String,
    pub rows: Vec<Refused>,
    /// Where the backend's cursor is.
    kept: PathBuf,
    path: PathBuf,
}

/// A row of the log with who wrote it.
pub type Found = (Row, Arc<Origin>);

impl Aside {
    /// Everything that was set aside in the logs that `dir` means, or by one backend; in `state` if
    /// that is where it is kept.
    pub fn list(
        dir: &Path,
        state: Option<&Path>,
        name: Option<&str>,
    ) -> Result<Vec<Self>, Failure> {
        let mut found = Vec::new();
        for log in logs(dir)? {
            let kept = kept_before(&log, state)?;
            let mut paths = files(&kept.join("aside")).map_err(|error| failed(&log, &error))?;
            paths.sort();
            for path in paths {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let stem = stem.into_owned();
                if name.is_none_or(|name| name == stem) {
                    found.push(Self::read(&log, &kept, stem, path)?);
                }
            }
        }
        Ok(found)
    }

    fn read(log: &Path, kept: &Path, name: String, path: PathBuf) -> Result<Self, Failure> {
        let text = fs::read_to_string(&path).map_err(|error| failed(log, &error))?;
        let parse = |(number, line): (usize, &str)| {
            let what = || format!("{}: line {} is damaged", path.display(), number + 1);
            serde_json::from_str(line).map_err(|error| Failure::because(what(), &error))
        };
        // A line that a kill cut is written again: its batch was not delivered.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let rows = whole
            .lines()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            log: log.to_owned(),
            name,
            rows,
            kept: kept.to_owned(),
            path,
        })
    }

    /// The same as it is now.
    pub fn again(&self) -> Result<Self, Failure> {
        Self::read(&self.log, &self.kept, self.name.clone(), self.path.clone())
    }

    /// The rows themselves, from the log, in the order of the list; `None` for one that is gone.
    pub fn rows(&self) -> Result<Vec<Option<Found>>, Failure> {
        let failed = |error: &dyn std::error::Error| failed(&self.log, error);
        let mut source = LogSource::open(&self.log).map_err(|e| failed(&e))?;
        let mut found: HashMap<RecordId, Found> = HashMap::new();
        for wanted in &self.rows {
            let (Some(record), Some((from, to))) = (wanted.record(), wanted.range()) else {
                continue;
            };
            let mut at = from;
            while !found.contains_key(&record) && at < to {
                let mut rows = Vec::new();
                let pulled = source.pull(at, &mut rows).map_err(|e| failed(&e))?;
                at = match pulled {
                    Pulled::Frame { next, origin, .. } => {
                        let known = rows.into_iter().map(|row| (record_of(&row), row));
                        found.extend(
                            known.filter_map(|(id, row)| Some((id?, (row, origin.clone())))),
                        );
                        next
                    }
                    Pulled::Gap { to } | Pulled::Damaged { to } => to,
                    Pulled::End { .. } => break,
                };
            }
            let needed: Vec<_> = self.rows.iter().filter_map(Refused::record).collect();
            found.retain(|id, _| needed.contains(id));
        }
        let row = |wanted: &Refused| found.get(&wanted.record()?).cloned();
        Ok(self.rows.iter().map(row).collect())
    }

    /// Keeps these rows only. To be called while nobody adds to them, see [`Aside::hold`].
    pub fn keep(&self, rows: &[Refused]) -> Result<(), Failure> {
        let what = || format!("cannot write {}", self.path.display());
        if rows.is_empty() {
            return fs::remove_file(&self.path).map_err(|error| Failure::because(what(), &error));
        }
        let mut text = String::new();
        for row in rows {
            let line = serde_json::to_string(row);
            text.push_str(&line.map_err(|error| Failure::because(what(), &error))?);
            text.push('\n');
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .map_err(|error| Failure::because(what(), &error))
    }

    /// Keeps the backend from starting; refuses if it runs.
    pub fn hold(&self) -> Result<Option<Cursor>, Failure> {
        let cursors = cursor::list(&self.kept).map_err(|error| failed(&self.log, &error))?;
        if !cursors.iter().any(|cursor| cursor.name == self.name) {
            return Ok(None);
        }
        let source = LogSource::open(&self.log).map_err(|error| failed(&self.log, &error))?;
        let held = Cursor::open(&self.kept, &self.name, Place::start(source.log()));
        held.map(Some).map_err(|error| {
            Failure::because(
                format!("the backend {:?} has to be stopped", self.name),
                &error,
            )
        })
    }
}

fn record_of(row: &Row) -> Option<RecordId> {
    match row {
        Row::TraceBegan(row) => Some(row.record),
        Row::TraceEnded(row) => Some(row.record),
        Row::Span(row) => row.record,
        Row::Event(row) => row.record,
        Row::Metric(row) => row.record,
        Row::Link(row) => row.record,
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect())
}
