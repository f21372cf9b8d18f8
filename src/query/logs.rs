//! From directories to a [`Store`]: which logs there are, how far they reach now, who is alive.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ahash::AHashMap;

use crate::{
    log::{log_is_locked, logs_under, ReadError, SegmentView, Snapshot},
    record::id::InstanceId,
};

use super::{
    overlay::{self, Left, Overlay},
    source::Segment,
    store::{Life, Store},
};

/// One log or all logs below a root.
#[derive(Debug)]
pub(super) struct Logs {
    root: PathBuf,
    /// Folder of ring files; `None` reads none.
    rings: Option<PathBuf>,
    logs: Vec<Log>,
}

/// A log and what was prepared of it.
#[derive(Debug)]
struct Log {
    snapshot: Snapshot,
    prepared: Vec<(Arc<SegmentView>, Arc<Segment>)>,
}

impl Logs {
    /// Finds the logs.
    pub(super) fn open(root: &Path, rings: Option<PathBuf>) -> Result<Self, ReadError> {
        let mut this = Self {
            root: root.into(),
            rings,
            logs: Vec::new(),
        };
        this.find()?;
        if this.logs.is_empty() {
            return Err(ReadError::NotALog { path: root.into() });
        }
        Ok(this)
    }

    /// Looks which logs there are; those that are known stay.
    fn find(&mut self) -> Result<(), ReadError> {
        let paths = logs_under(&self.root)?;
        self.logs
            .retain(|log| paths.iter().any(|p| p == log.snapshot.dir()));
        for path in paths {
            if self.logs.iter().any(|log| log.snapshot.dir() == path) {
                continue;
            }
            match Snapshot::open(&path) {
                Ok(snapshot) => self.logs.push(Log {
                    snapshot,
                    prepared: Vec::new(),
                }),
                // Removed since it was listed.
                Err(ReadError::NotALog { .. }) if path != self.root => {}
                Err(error) => return Err(error),
            }
        }
        self.logs
            .sort_by(|a, b| a.snapshot.dir().cmp(b.snapshot.dir()));
        Ok(())
    }

    /// Everything as it is now.
    pub(super) fn refresh(&mut self) -> Result<Store, ReadError> {
        self.find()?;
        let mut segments = Vec::new();
        let mut open = Vec::new();
        let mut lives = AHashMap::new();
        for log in &mut self.logs {
            // Rings, then the lock, then the marks: what moves or ends in between is seen later.
            let rings = self.rings.as_deref();
            let left = rings.map(|dir| overlay::read(dir, log.snapshot.log().log_id));
            let locked = log_is_locked(log.snapshot.dir())?;
            log.snapshot.refresh()?;
            log.prepare();
            segments.extend(log.prepared.iter().map(|(_, segment)| segment.clone()));
            lives.extend(log.lives(locked));
            for left in left.into_iter().flatten() {
                let (instance, overlay) = (left.instance, log.overlay(left));
                let life = lives.entry(instance).or_insert(Life {
                    // It has written nothing yet.
                    alive: locked,
                    settled: false,
                    sign_ns: i64::MIN,
                });
                life.settled = false;
                life.sign_ns = overlay
                    .sign_ns
                    .map_or(life.sign_ns, |ns| ns.max(life.sign_ns));
                segments.extend(overlay.segment);
                open.extend(overlay.open);
            }
        }
        Ok(Store::new(segments, open, lives))
    }

    /// The snapshot of the only log; `None` if there are several.
    pub(super) fn only(&mut self) -> Option<&mut Snapshot> {
        match &mut self.logs[..] {
            [log] => Some(&mut log.snapshot),
            _ => None,
        }
    }

    /// The directories.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let logs = self.logs.iter();
        logs.map(|log| log.snapshot.dir().to_owned()).collect()
    }
}

impl Log {
    /// Prepares segments that are new or grew.
    fn prepare(&mut self) {
        let mut old = std::mem::take(&mut self.prepared);
        for view in self.snapshot.segments() {
            if view.is_empty() {
                continue;
            }
            let same = old.iter().position(|(of, _)| Arc::ptr_eq(of, view));
            self.prepared.push(match same {
                Some(at) => old.swap_remove(at),
                None => (view.clone(), Arc::new(Segment::log(view.clone()))),
            });
        }
    }

    /// What rings have on top of the log.
    fn overlay(&self, left: Left) -> Overlay {
        let segments: Vec<_> = self.prepared.iter().map(|(_, s)| s.clone()).collect();
        let own = segments.iter().rev();
        let last = own
            .filter(|s| s.origin.instance == left.instance)
            .find_map(|segment| {
                let block = segment.block(segment.entries().len().checked_sub(1)? as u32)?;
                Some(block.context.anchor)
            });
        left.overlay(&segments, last)
    }

    /// What is known of the instances of the log. The newest one is alive if somebody holds the
    /// lock; recovery ended what older ones left open.
    fn lives(&self, locked: bool) -> Vec<(InstanceId, Life)> {
        let views = self.snapshot.segments();
        let newest = views.iter().map(|view| view.header().epoch).max();
        let mut lives = Vec::new();
        for view in views {
            let header = view.header();
            // Recovery writes in the name of a dead instance.
            let own = header.origin == crate::log::ORIGIN_LIVE;
            let last = Some(header.epoch) == newest && own;
            lives.push((
                header.instance,
                Life {
                    alive: last && locked,
                    settled: !last || !locked && views.last().is_some_and(|v| v.is_sealed()),
                    sign_ns: i64::MIN,
                },
            ));
        }
        lives
    }
}
