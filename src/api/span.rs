//! Open spans: the guard of a scope, and the one that may move between threads.

use std::{error::Error, fmt, marker::PhantomData, mem::ManuallyDrop};

use super::{
    detached::DetachedSpan,
    failure,
    held::Held,
    run::Run,
    scope::{self, Block, Open, Parent},
    state::RunState,
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    id::SpanId,
    kinds::{SpanKind, Status},
    layout::flag,
    names::Name,
};

/// An open span that belongs to a scope of this thread. Spans that begin inside it become its
/// children.
///
/// Say how it went with [`ok`](Self::ok), [`fail`](Self::fail) or [`end`](Self::end); dropped
/// without a verdict it is [`Status::Cancelled`], during a panic [`Status::Error`]. It stays on its
/// thread; [`detach`](Self::detach) makes a span of it that can move.
#[must_use = "a span lasts until it is dropped"]
pub struct ActiveSpan<'r> {
    // Two words, so that it travels in registers.
    state: Held<&'r RunState>,
    /// Nothing of a run that is not sampled.
    block: Held<Box<Block>>,
    // The scope belongs to this thread.
    _thread: PhantomData<*const ()>,
}

impl<'r> ActiveSpan<'r> {
    /// A span that records nothing.
    #[inline]
    pub(crate) const fn disabled() -> Self {
        Self {
            state: Held::NOTHING,
            block: Held::NOTHING,
            _thread: PhantomData,
        }
    }

    /// A span that records nothing, as does all that begins inside it on this thread.
    #[inline]
    pub(super) fn unsampled(state: &'r RunState) -> Self {
        match scope::enter_unsampled(state) {
            true => Self {
                state: Held::new(Some(state)),
                block: Held::NOTHING,
                _thread: PhantomData,
            },
            false => Self::disabled(),
        }
    }

    /// What is recorded into; `None` if nothing is.
    #[inline(always)]
    fn recorded(&self) -> Option<&'r RunState> {
        self.state
            .get()
            .copied()
            .filter(|_| self.block.get().is_some())
    }

    /// What it is, to be changed; `None` if nothing is recorded.
    #[inline(always)]
    fn open(&mut self) -> Option<&mut Open> {
        self.block.get_mut().map(|block| &mut block.open)
    }

    #[inline]
    pub(super) fn begin(
        state: &'r RunState,
        name: Name<'_>,
        kind: SpanKind,
        parent: Parent,
    ) -> Self {
        match scope::begin(state, &name, kind, parent) {
            None => Self::disabled(),
            block => Self {
                state: Held::new(Some(state)),
                block: Held::new(block),
                _thread: PhantomData,
            },
        }
    }

    /// The span's id; `None` when nothing is recorded.
    #[inline]
    pub fn id(&self) -> Option<SpanId> {
        SpanId::new(self.block.get()?.open.id)
    }

    /// Whether anything is recorded.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.block.get().is_some()
    }

    /// Changes the kind.
    #[inline]
    pub fn with_kind(mut self, kind: SpanKind) -> Self {
        if let Some(open) = self.open() {
            open.kind = kind;
        }
        self
    }

    /// Sets an attribute.
    // Always, like `set`: a span that records nothing then costs a comparison, not a call.
    #[inline(always)]
    pub fn with<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        self.set(key, value);
        self
    }

    /// Sets an attribute. Set twice, the later value counts.
    #[inline(always)]
    pub fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        if let Some(block) = self.block.get_mut() {
            block.attributes.push(key, value);
        }
    }

    /// Adds attributes that were put together before.
    #[inline]
    pub(crate) fn extend(&mut self, list: &AttributeBuffer) {
        if let Some(block) = self.block.get_mut() {
            block.attributes.extend(list);
        }
    }

    /// Says that its parent is in another process.
    #[cfg_attr(not(feature = "tower-0-5"), allow(dead_code))]
    pub(crate) fn mark_remote_parent(&mut self) {
        if let Some(open) = self.open() {
            open.flags |= flag::REMOTE_PARENT;
        }
    }

    /// Begins a child of this span.
    #[inline]
    pub fn child<'n>(&self, name: impl Into<Name<'n>>) -> ActiveSpan<'r> {
        match self.recorded() {
            Some(state) => {
                let parent = Parent::Given(self.id().map_or(0, SpanId::get));
                Self::begin(state, name.into(), SpanKind::Internal, parent)
            }
            None => Self::disabled(),
        }
    }

    /// Says how it went without ending it.
    #[inline]
    pub fn set_status(&mut self, status: Status) {
        if let Some(open) = self.open() {
            open.verdict = Some(status);
        }
    }

    /// Records what failed and marks the span as failed, without ending it.
    ///
    /// Where `RUST_BACKTRACE` is set, a backtrace is kept with it, as with every error here; its
    /// symbols are looked up on this thread, which takes tens of milliseconds the first time.
    /// `RUST_LIB_BACKTRACE=0` leaves it out.
    pub fn record_error<E: Error + 'static>(&mut self, error: &E) {
        self.failed(|buffer| failure::write_typed(buffer, error));
    }

    fn failed(&mut self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if let (Some(state), Some(block)) = (self.state.get(), self.block.get_mut()) {
            block.fail(state, describe);
        }
    }

    /// Ends the span: it succeeded.
    #[inline]
    pub fn ok(self) {
        self.end(Status::Ok);
    }

    /// Ends the span: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(mut self, error: &E) {
        self.record_error(error);
    }

    /// Ends the span: it failed, with an error whose type is not known here.
    #[inline]
    pub fn fail_dyn(mut self, error: &(dyn Error + 'static)) {
        self.failed(|buffer| failure::write(buffer, error, None));
    }

    /// Ends the span: it failed, for a reason that is no [`Error`].
    #[inline]
    pub fn fail_with(mut self, error_type: &str, message: &str) {
        self.failed(|buffer| failure::write_text(buffer, error_type, message));
    }

    /// Ends the span as `status`.
    #[inline]
    pub fn end(self, status: Status) {
        // Nothing is left to drop, which the compiler does not see by itself.
        ManuallyDrop::new(self).finish(Some(status));
    }

    /// Ends the span as `result` went.
    #[inline]
    pub fn end_with<T, E: fmt::Display + 'static>(mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.end(Status::Ok),
            Err(error) => self.failed(|buffer| failure::write_any(buffer, error)),
        }
    }

    /// Leaves the scope: the span goes on, may move to other threads, and is no longer the parent
    /// of what begins here.
    #[inline]
    pub fn detach(mut self, run: &Run) -> DetachedSpan {
        match (self.recorded(), self.block.take()) {
            (Some(state), Some(block)) => {
                self.state = Held::NOTHING;
                DetachedSpan::new(run.clone(), scope::leave(state, block))
            }
            // So that those who enter it know that it is not sampled.
            _ if !run.is_recording() => DetachedSpan::new(run.clone(), None),
            _ => DetachedSpan::disabled(),
        }
    }

    /// Writes the span, once.
    #[inline]
    fn finish(&mut self, verdict: Option<Status>) {
        match (self.state.take(), self.block.take()) {
            (Some(state), Some(block)) => scope::finish(state, block, verdict),
            (Some(state), None) => scope::leave_unsampled(state),
            (None, _) => {}
        }
    }
}

impl Drop for ActiveSpan<'_> {
    #[inline]
    fn drop(&mut self) {
        self.finish(None);
    }
}

impl fmt::Debug for ActiveSpan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveSpan")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
