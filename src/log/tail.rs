//! Reading on from a position, frame by frame, in the order of the log.

use super::{
    error::FrameError, frame::Frame, layout::HEADER_BYTES, snapshot::Snapshot, view::SegmentView,
    Position,
};

/// What stands next in the log.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A frame, with the segment whose names and resource it uses.
    Frame(Frame<'a>, &'a SegmentView),
    /// Segments that are gone: retention removed them before this reader came.
    Gap {
        /// Where the reader was.
        from: Position,
        /// The first position that is left.
        to: Position,
    },
    /// Bytes that do not check; what follows is read.
    Damaged {
        /// Where they are.
        from: Position,
        /// The position after them.
        to: Position,
        /// What is wrong.
        error: FrameError,
    },
}

impl Step<'_> {
    /// The position at which to go on after this step.
    pub fn next_position(&self) -> Position {
        match self {
            Self::Frame(frame, _) => frame.next_position(),
            Self::Gap { to, .. } | Self::Damaged { to, .. } => *to,
        }
    }
}

/// Iterates over the log from a position; see [`Snapshot::frames_from`].
#[derive(Debug)]
pub struct FramesFrom<'a> {
    snapshot: &'a Snapshot,
    position: Position,
    segment: usize,
    frame: usize,
}

impl<'a> FramesFrom<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, position: Position) -> Self {
        // The first segment that ends behind the position, or could grow there.
        let segments = snapshot.segments();
        let segment = segments.partition_point(|view| {
            view.end() <= position && !(view.may_grow() && view.start() <= position)
        });
        let mut this = Self {
            snapshot,
            position,
            segment,
            frame: 0,
        };
        this.find_frame();
        this
    }

    /// Where to go on later: after the last step that was taken.
    pub fn position(&self) -> Position {
        self.position
    }

    fn find_frame(&mut self) {
        self.frame = self
            .snapshot
            .segments()
            .get(self.segment)
            .map_or(0, |view| {
                view.frames()
                    .partition_point(|e| view.at(u64::from(e.offset)) < self.position)
            });
    }

    /// Whether something between the position and the current segment is gone.
    fn gap(&self, view: &SegmentView) -> Option<Step<'a>> {
        let to = view.at(HEADER_BYTES);
        // Retention says how far it came, and a snapshot has all that is above that; a file that
        // was deleted by hand shows as a hole between segments of one epoch.
        let floor = self.snapshot.floor().position;
        let removed = self.segment == 0 && self.position < floor && self.position < view.start();
        let hole = self.segment > 0 && {
            let before = &self.snapshot.segments()[self.segment - 1];
            let (old, new) = (before.header(), view.header());
            old.epoch == new.epoch
                && old.base + old.reserved < new.base
                && self.position <= before.end()
                && !self.snapshot.covers(old.base + old.reserved, new.base)
        };
        (removed || hole).then_some(Step::Gap {
            from: self.position,
            to,
        })
    }
}

impl<'a> Iterator for FramesFrom<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        loop {
            let view: &'a SegmentView = self.snapshot.segments().get(self.segment)?;
            if self.frame == 0 && self.position < view.start() {
                if let Some(step) = self.gap(view) {
                    self.position = step.next_position();
                    return Some(step);
                }
            }
            let frames = view.frames();
            let Some(entry) = frames.get(self.frame) else {
                if self.segment + 1 >= self.snapshot.segments().len() {
                    // Behind the seal frame, or where the next frame will be.
                    if !view.is_empty() {
                        self.position = self.position.max(view.end());
                    }
                    return None;
                }
                self.segment += 1;
                self.frame = 0;
                continue;
            };
            let at = view.at(u64::from(entry.offset));
            let number = self.frame as u32;
            self.frame += 1;
            let step = match view.frame(number) {
                Ok(frame) => Step::Frame(frame, view),
                Err(error) => Step::Damaged {
                    from: at,
                    to: view.at(entry.end()),
                    error,
                },
            };
            self.position = step.next_position();
            return Some(step);
        }
    }
}
