//! A log as a reader sees it: every segment, up to the commit marks of one moment.
//!
//! Always true:
//! - opening one changes nothing, not even for a log that nobody recovered
//! - if it has a frame, it has all frames before it that retention left, and none that it removed
//! - the writer does not notice it, and it does not wait for the writer

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    dir::{read_log, segment_bases},
    error::ReadError,
    layout::{segment_name, Bad, LogHeader, FORMAT_MAJOR, STREAM_MAIN},
    scan::Damage,
    tail::FramesFrom,
    view::SegmentView,
    watermark::{read_floor, read_watermark, Floor},
    Position,
};

/// A log at one moment.
#[derive(Debug)]
pub struct Snapshot {
    dir: PathBuf,
    log: LogHeader,
    durable: u64,
    floor: Floor,
    /// Main stream, in order.
    segments: Vec<Arc<SegmentView>>,
    /// Segments of the provisional stream, in order.
    provisional: Vec<Arc<SegmentView>>,
    /// Segment files that cannot be read.
    unreadable: Vec<PathBuf>,
}

impl Snapshot {
    /// Opens the log in `dir`, whether somebody writes to it, died in it, or it is read-only.
    ///
    /// # Errors
    /// There is no log, it is of a newer format, or the directory cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let log = open_log(dir)?;
        let mut snapshot = Self {
            dir: dir.into(),
            log,
            durable: 0,
            floor: Floor::default(),
            segments: Vec::new(),
            provisional: Vec::new(),
            unreadable: Vec::new(),
        };
        snapshot.refresh()?;
        Ok(snapshot)
    }

    /// Moves on to now. Views that somebody else holds stay as they are.
    ///
    /// # Errors
    /// The directory cannot be read; the snapshot is as before then.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        let listed = self.list()?;
        self.capture(listed)
    }

    /// The bases of the segments that there are, in order, after which it is read what retention
    /// has removed.
    pub(super) fn list(&mut self) -> Result<Vec<u64>, ReadError> {
        let bases = segment_bases(&self.dir).map_err(|source| ReadError::Io {
            path: self.dir.clone(),
            source,
        })?;
        let watermark = read_watermark(&self.dir, self.log.log_id);
        // Without a watermark whatever checks counts.
        self.durable = watermark.map_or(u64::MAX, |w| w.durable);
        self.floor = read_floor(&self.dir, self.log.log_id);
        Ok(bases)
    }

    /// Takes in the segments that were listed.
    pub(super) fn capture(&mut self, bases: Vec<u64>) -> Result<(), ReadError> {
        let known = self.segments.drain(..).chain(self.provisional.drain(..));
        let mut known: Vec<_> = known.collect();
        let mut views = Vec::with_capacity(bases.len());
        let (mut gone, mut result) = (false, Ok(()));
        self.unreadable.clear();
        // Newest first: the mark of each is loaded after those of all that come after it, so that
        // no frame is missing before one that is there.
        for base in bases.iter().rev() {
            let old = known.iter().position(|v| v.header().base == *base);
            let old = old.map(|i| known.swap_remove(i));
            match self.view(*base, old) {
                Ok(Some(view)) => views.push(view),
                Ok(None) => gone = true,
                Err(error) => {
                    // What was known stays.
                    known.retain(|view| bases.contains(&view.header().base));
                    views.append(&mut known);
                    result = Err(error);
                    break;
                }
            }
        }
        if gone {
            // Retention removed it since it was listed, and had said so before it did.
            self.floor = read_floor(&self.dir, self.log.log_id);
        }
        // What is said to be removed is not there, also where its file still is; so what is there
        // has no hole.
        views.retain(|view| !view.is_sealed() || view.end() > self.floor.position);
        views.sort_by_key(|view| view.header().base);
        let (main, provisional) = views
            .into_iter()
            .partition(|v| v.header().stream == STREAM_MAIN);
        self.segments = main;
        self.provisional = provisional;
        result
    }

    fn view(
        &mut self,
        base: u64,
        old: Option<Arc<SegmentView>>,
    ) -> Result<Option<Arc<SegmentView>>, ReadError> {
        if let Some(mut view) = old {
            if !view.may_grow() {
                return Ok(Some(view));
            }
            if !(view.is_empty() && view.is_replaced()) {
                match Arc::get_mut(&mut view) {
                    Some(view) => view.refresh(self.durable),
                    None => {
                        let mut copy = view.duplicate();
                        copy.refresh(self.durable);
                        view = Arc::new(copy);
                    }
                }
                return Ok(Some(view));
            }
        }
        let path = self.dir.join(segment_name(base));
        match SegmentView::open_until(&path, self.durable) {
            Ok(view) if view.header().log_id == self.log.log_id => Ok(Some(Arc::new(view))),
            Err(newer @ ReadError::NewerFormat { .. }) => Err(newer),
            Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Ok(_) | Err(_) => {
                self.unreadable.push(path);
                Ok(None)
            }
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the log says about itself.
    pub fn log(&self) -> &LogHeader {
        &self.log
    }

    /// All segments in order.
    pub fn segments(&self) -> &[Arc<SegmentView>] {
        &self.segments
    }

    /// Segments of what was sampled out, in order.
    pub fn provisional(&self) -> &[Arc<SegmentView>] {
        &self.provisional
    }

    /// Segment files that cannot be read: damaged in their header, or of another log.
    pub fn unreadable(&self) -> &[PathBuf] {
        &self.unreadable
    }

    /// What retention removed so far.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// The first position that is left.
    pub fn start(&self) -> Position {
        let first = self.segments.first();
        first.map_or(self.floor.position, |view| view.start())
    }

    /// The position after the last frame.
    pub fn end(&self) -> Position {
        let mut with_frames = self.segments.iter().rev().filter(|v| !v.is_empty());
        let last = with_frames.next().map(|view| view.end());
        last.unwrap_or_default().max(self.floor.position)
    }

    /// Position below which everything survives a power cut, as far as the files say.
    pub fn durable(&self) -> Position {
        let end = self.end();
        Position {
            epoch: end.epoch,
            offset: end.offset.min(self.durable),
        }
    }

    /// Everything that does not check, as far as segments were scanned.
    pub fn damage(&self) -> Vec<(Position, Damage)> {
        let views = self.segments.iter();
        let of = |view: &Arc<SegmentView>| {
            let list: Vec<_> = view
                .damage()
                .iter()
                .map(|d| (view.at(d.from), *d))
                .collect();
            list
        };
        views.flat_map(of).collect()
    }

    /// The frames from a position on, in the order of the log, up to the end of this snapshot.
    pub fn frames_from(&self, position: Position) -> FramesFrom<'_> {
        FramesFrom::new(self, position)
    }
}

/// The `LOG` file, or what the segments say where it is damaged or gone.
fn open_log(dir: &Path) -> Result<LogHeader, ReadError> {
    let failed = |source| ReadError::Io {
        path: dir.into(),
        source,
    };
    let name = dir.join("LOG");
    let bytes = std::fs::read(&name).unwrap_or_default();
    if let Err(Bad::Newer(found)) = LogHeader::decode(&bytes) {
        return Err(ReadError::NewerFormat {
            path: name,
            found,
            newest: FORMAT_MAJOR,
        });
    }
    if let Ok(Some(log)) = read_log(dir) {
        return Ok(log);
    }
    for base in segment_bases(dir).map_err(failed)?.into_iter().rev() {
        if let Ok(view) = SegmentView::open(&dir.join(segment_name(base))) {
            return Ok(LogHeader {
                log_id: view.header().log_id,
                created_ns: view.header().created_ns,
            });
        }
    }
    Err(ReadError::NotALog { path: dir.into() })
}

impl Snapshot {
    /// Whether segments of the provisional stream account for the offsets between two of the
    /// main one.
    pub(super) fn covers(&self, from: u64, to: u64) -> bool {
        let between = self.provisional.iter().map(|view| view.header());
        let covered: u64 = between
            .filter(|h| h.base >= from && h.base < to)
            .map(|h| h.reserved)
            .sum();
        covered >= to - from
    }
}
