//! Open spans that may move between threads.

use std::{error::Error, fmt};

use super::{
    failure,
    held::Held,
    local,
    run::Run,
    scope::{Block, ContextGuard},
    span::ActiveSpan,
    state::RunState,
    write,
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    id::SpanId,
    kinds::{SpanKind, Status},
    layout::{flag, RecordKind},
    names::Name,
};

/// An open span that is tied to no scope: it can be sent, stored, and ended on any thread.
///
/// A start record is written for it, so that it is visible while it runs.
#[derive(Debug)]
#[must_use = "a span lasts until it is dropped"]
pub struct DetachedSpan {
    run: Run,
    block: Held<Box<Block>>,
}

impl DetachedSpan {
    /// A span that has left its scope; `None` if there was none.
    #[inline]
    pub(super) fn new(run: Run, block: Option<Box<Block>>) -> Self {
        Self {
            run,
            block: Held::new(block),
        }
    }

    #[inline]
    pub(super) fn disabled() -> Self {
        Self {
            run: Run::disabled(),
            block: Held::NOTHING,
        }
    }

    /// The span's id; `None` when nothing is recorded.
    #[inline]
    pub fn id(&self) -> Option<SpanId> {
        SpanId::new(self.block.get()?.open.id)
    }

    /// The run it belongs to.
    #[inline]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Sets an attribute.
    pub fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        if let Some(block) = self.block.get_mut() {
            block.attributes.push(key, value);
        }
    }

    /// Begins a child of this span in a scope of this thread.
    pub fn child<'n>(&self, name: impl Into<Name<'n>>) -> ActiveSpan<'_> {
        self.run.child_of(self.id(), name, SpanKind::Internal)
    }

    /// Makes spans that begin on this thread its children until the guard is dropped.
    #[inline]
    pub fn enter(&self) -> ContextGuard<'_> {
        self.run.enter(self.id())
    }

    /// Ends the span: it succeeded.
    #[inline]
    pub fn ok(mut self) {
        self.finish(Some(Status::Ok));
    }

    /// Ends the span: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(self, error: &E) {
        self.failed(|buffer| failure::write_typed(buffer, error));
    }

    /// Ends the span: it failed, for a reason that is no [`Error`].
    pub fn fail_with(self, error_type: &str, message: &str) {
        self.failed(|buffer| failure::write_text(buffer, error_type, message));
    }

    /// Ends the span as `status`.
    #[inline]
    pub fn end(mut self, status: Status) {
        self.finish(Some(status));
    }

    /// Ends the span as `result` went.
    pub fn end_with<T, E: fmt::Display + 'static>(mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.finish(Some(Status::Ok)),
            Err(error) => self.failed(|buffer| failure::write_any(buffer, error)),
        }
    }

    #[inline]
    fn failed(mut self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if let (Some(block), Some(state)) = (self.block.get_mut(), self.run.state()) {
            block.fail(state, describe);
        }
        self.finish(None);
    }

    /// Notes that a future was suspended inside.
    #[inline]
    pub(crate) fn mark_suspended(&mut self) {
        if let Some(block) = self.block.get_mut() {
            block.open.flags |= flag::SUSPENDED;
        }
    }

    #[inline]
    fn finish(&mut self, verdict: Option<Status>) {
        if let (Some(block), Some(state)) = (self.block.take(), self.run.state()) {
            finish(state, block, verdict);
        }
    }
}

/// Writes a span that is tied to no thread.
fn finish(state: &RunState, mut block: Box<Block>, verdict: Option<Status>) {
    let engine = &state.engine;
    if !engine.gate.is_open() {
        return engine.lose_closed(RecordKind::Span);
    }
    local::with(engine, RecordKind::Span, |local| {
        let Block { open, attributes } = &mut *block;
        open.verdict = verdict.or(open.verdict);
        let end = open.end(state, engine.tick());
        write::span_with(local, state.is_held(), attributes, || end);
        local.keep(block);
    });
}

impl Drop for DetachedSpan {
    #[inline]
    fn drop(&mut self) {
        self.finish(None);
    }
}
