//! Where a tail's frames come from: the log, or a double of it.

use std::{collections::HashMap, path::Path, sync::Arc};

use crate::{
    backend::{Needs, Row},
    log::{Position, ReadError, Snapshot, Step},
    model::Origin,
    query::rows::{frame_rows, Spare},
    record::id::{InstanceId, LogId},
};

/// What stood next in the log.
#[derive(Clone, Debug)]
pub enum Pulled {
    /// A frame; its rows were appended.
    Frame {
        /// The position after it.
        next: Position,
        /// Who wrote it.
        origin: Arc<Origin>,
        /// Records in it, of every kind.
        records: u64,
        /// Whether some of them could not be read.
        damaged: bool,
    },
    /// Retention was faster.
    Gap {
        /// The first position that is left.
        to: Position,
    },
    /// Bytes that do not check.
    Damaged {
        /// The position after them.
        to: Position,
    },
    /// Nothing yet.
    End {
        /// Where to go on.
        at: Position,
    },
}

/// What a tail has not delivered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records of every kind.
    pub records: u64,
    /// When the earliest of them happened, Unix nanoseconds.
    pub since_ns: Option<i64>,
}

/// Opens the same source once more.
pub type Reopen = Box<dyn Fn() -> Option<Box<dyn FrameSource>> + Send + Sync>;

/// Gives frames in the order of the log.
pub trait FrameSource: Send {
    /// Names the log.
    fn log(&self) -> LogId;

    /// The end of the log. Asked ten times a second.
    fn end(&mut self) -> Position;

    /// Appends the rows of the frame at or after `from`.
    ///
    /// # Errors
    /// The log cannot be read; worth another try.
    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError>;

    /// Takes rows that are of no more use, so that others may have their memory.
    fn reuse(&mut self, rows: &mut Vec<Row>) {
        rows.clear();
    }

    /// Says which rows are wanted from now on: the others need not be given, though they may.
    fn only(&mut self, needs: Needs) {
        let _ = needs;
    }

    /// The instance whose frame ends at a position or holds it; `None` where that is not known: at
    /// the start, past the end, or where retention removed it.
    fn writer_before(&mut self, position: Position) -> Option<InstanceId> {
        let _ = position;
        None
    }

    /// Records of every kind that the log had before a position, removed ones included.
    fn records_before(&mut self, position: Position) -> u64;

    /// What is left from a position on.
    fn lag(&mut self, from: Position) -> Lag;

    /// How others can look at the log while the tail's own thread is in its sink; `None` if they
    /// cannot.
    fn reopen(&self) -> Option<Reopen> {
        None
    }
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    fn log(&self) -> LogId {
        (**self).log()
    }

    fn end(&mut self) -> Position {
        (**self).end()
    }

    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        (**self).pull(from, rows)
    }

    fn reuse(&mut self, rows: &mut Vec<Row>) {
        (**self).reuse(rows);
    }

    fn only(&mut self, needs: Needs) {
        (**self).only(needs);
    }

    fn writer_before(&mut self, position: Position) -> Option<InstanceId> {
        (**self).writer_before(position)
    }

    fn records_before(&mut self, position: Position) -> u64 {
        (**self).records_before(position)
    }

    fn lag(&mut self, from: Position) -> Lag {
        (**self).lag(from)
    }

    fn reopen(&self) -> Option<Reopen> {
        (**self).reopen()
    }
}

/// The log in a directory.
pub struct LogSource {
    snapshot: Snapshot,
    /// Where the log ended when it was opened.
    opened: Position,
    /// Tells the end without looking at files, where the writer is this process.
    end: Option<Box<dyn Fn() -> Position + Send>>,
    /// Base of the segment whose origin is known, and the origins of all instances seen.
    segment: Option<(u64, Arc<Origin>)>,
    origins: HashMap<InstanceId, Arc<Origin>>,
    /// Records in sealed segments, by base.
    sealed: HashMap<u64, u64>,
    needs: Needs,
    spare: Spare,
}

impl std::fmt::Debug for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("LogSource");
        out.field("dir", &self.snapshot.dir())
            .finish_non_exhaustive()
    }
}

impl LogSource {
    /// Reads the log in `dir`, whoever writes to it.
    ///
    /// # Errors
    /// There is no log, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let snapshot = Snapshot::open(dir)?;
        Ok(Self {
            opened: snapshot.end(),
            snapshot,
            end: None,
            segment: None,
            origins: HashMap::new(),
            sealed: HashMap::new(),
            needs: Needs::ALL,
            spare: Spare::default(),
        })
    }

    /// With the writer in this process: `end` says how far it is.
    #[must_use]
    pub fn with_end(mut self, end: impl Fn() -> Position + Send + 'static) -> Self {
        self.end = Some(Box::new(end));
        self
    }

    /// Records in each segment from the first on, with where it begins and ends.
    fn segments(&mut self) -> Vec<(Position, Position, u64)> {
        // What retention removed is not taken over.
        let known = std::mem::take(&mut self.sealed);
        let sealed = &mut self.sealed;
        let views = self.snapshot.segments().iter();
        let counted = views.map(|view| {
            let count = || view.frames().iter().map(|f| u64::from(f.count)).sum();
            let base = view.header().base;
            let records = known.get(&base).copied().unwrap_or_else(count);
            if view.is_sealed() {
                sealed.insert(base, records);
            }
            (view.start(), view.end(), records)
        });
        counted.collect()
    }

    /// Records in the segment that a position lies in, before it.
    fn inside(&self, position: Position) -> u64 {
        let holds = |start: Position, end: Position| start <= position && position < end;
        let views = self.snapshot.segments().iter();
        let within = views.filter(|view| holds(view.start(), view.end()));
        let base = |epoch: u64, offset: u64| Position { epoch, offset };
        within
            .flat_map(|view| {
                let header = view.header();
                view.frames().iter().filter(move |f| {
                    base(header.epoch, header.base + u64::from(f.offset)) < position
                })
            })
            .map(|frame| u64::from(frame.count))
            .sum()
    }
}

impl FrameSource for LogSource {
    fn log(&self) -> LogId {
        self.snapshot.log().log_id
    }

    fn end(&mut self) -> Position {
        match &self.end {
            // A writer that has not logged anything yet knows nothing of what was before it.
            Some(end) => end().max(self.opened),
            None => {
                // What cannot be read now is tried again with the next frame.
                let _ = self.snapshot.refresh();
                self.snapshot.end()
            }
        }
    }

    fn pull(&mut self, from: Position, rows: &mut Vec<Row>) -> Result<Pulled, ReadError> {
        if self.snapshot.frames_from(from).next().is_none() {
            self.snapshot.refresh()?;
        }
        let mut frames = self.snapshot.frames_from(from);
        let Some(step) = frames.next() else {
            return Ok(Pulled::End {
                at: frames.position(),
            });
        };
        let next = step.next_position();
        Ok(match step {
            Step::Frame(frame, view) => {
                let base = view.header().base;
                let origin = match &self.segment {
                    Some((known, origin)) if *known == base => origin.clone(),
                    _ => {
                        let new = Origin::of(view);
                        let known = self.origins.get(&new.instance).filter(|o| ***o == new);
                        let origin = known.cloned().unwrap_or_else(|| Arc::new(new));
                        self.origins.insert(origin.instance, origin.clone());
                        self.segment = Some((base, origin.clone()));
                        origin
                    }
                };
                let (needs, spare) = (self.needs, &mut self.spare);
                let damaged = frame_rows(&frame, view, &origin, needs, spare, rows).is_err();
                Pulled::Frame {
                    next,
                    origin,
                    records: u64::from(frame.header.count),
                    damaged,
                }
            }
            Step::Gap { .. } => Pulled::Gap { to: next },
            Step::Damaged { .. } => Pulled::Damaged { to: next },
        })
    }

    fn reuse(&mut self, rows: &mut Vec<Row>) {
        self.spare.keep(rows);
    }

    fn only(&mut self, needs: Needs) {
        self.needs = needs;
    }

    fn writer_before(&mut self, position: Position) -> Option<InstanceId> {
        let _ = self.snapshot.refresh();
        let mut views = self.snapshot.segments().iter();
        let found = views.find(|view| view.start() < position && position <= view.end())?;
        Some(found.header().instance)
    }

    fn records_before(&mut self, position: Position) -> u64 {
        let _ = self.snapshot.refresh();
        let removed = self.snapshot.floor().records;
        let whole = self
            .segments()
            .into_iter()
            .filter(|(_, end, _)| *end <= position);
        removed + whole.map(|(.., records)| records).sum::<u64>() + self.inside(position)
    }

    fn lag(&mut self, from: Position) -> Lag {
        let _ = self.snapshot.refresh();
        let ahead = self
            .segments()
            .into_iter()
            .filter(|(_, end, _)| *end > from);
        let records = ahead.map(|(.., records)| records).sum::<u64>();
        let next = self.snapshot.frames_from(from).find_map(|step| match step {
            Step::Frame(frame, _) if frame.header.min_tick <= frame.header.max_tick => {
                Some(frame.anchor.unix_ns(frame.header.min_tick))
            }
            _ => None,
        });
        Lag {
            records: records.saturating_sub(self.inside(from)),
            since_ns: next.filter(|_| records > 0),
        }
    }

    fn reopen(&self) -> Option<Reopen> {
        let dir = self.snapshot.dir().to_owned();
        Some(Box::new(move || match Self::open(&dir) {
            Ok(source) => Some(Box::new(source)),
            // Then the tail cannot read it either.
            Err(_) => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rend::{i64_le, u64_le};

    use super::*;
    use crate::{
        log::{prune, LogDir, Options, Prune},
        record::{
            layout::{Anchor, Header, RecordKind},
            view::words_of,
        },
    };

    #[test]
    fn what_is_remembered_of_segments_goes_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            segment_bytes: 1 << 20,
            ..Options::default()
        };
        let (mut writer, housekeeper) =
            LogDir::lock(dir.path(), &options).unwrap().start().unwrap();
        let anchor: [u64; 5] = words_of(&Anchor {
            header: Header::new(RecordKind::Anchor, 5, 0),
            tick: u64_le::from_native(0),
            unix_ns: i64_le::from_native(1),
            rate: u64_le::from_native(1 << 32),
            reason: 1,
            reserved: [0; 7],
        });
        for _ in 0..5 {
            let patience = Instant::now() + Duration::from_secs(60);
            writer.roll(&anchor, patience).unwrap();
        }
        writer.close().unwrap();
        housekeeper.stop().unwrap();
        let mut source = LogSource::open(dir.path()).unwrap();
        assert_eq!(source.lag(Position::START).records, 5);
        assert_eq!(source.sealed.len(), 5);
        let all = Prune {
            max_bytes: Some(0),
            ..Prune::default()
        };
        prune(dir.path(), &all).unwrap();
        assert_eq!(source.lag(Position::START).records, 0);
        assert_eq!(source.sealed.len(), 0);
    }
}
