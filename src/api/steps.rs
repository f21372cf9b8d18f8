//! Nodes that follow one another on one thread: a single clock reading ends one and begins the
//! next.

use std::{error::Error, fmt, marker::PhantomData};

use super::{
    failure,
    held::Held,
    local,
    run::Run,
    scope::{self, Block, Parent},
    state::RunState,
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    id::SpanId,
    kinds::{SpanKind, Status},
    layout::RecordKind,
    names::Name,
};

/// The nodes of a sequential run, one after the other.
///
/// ```
/// # use emberlog::{Config, Manager};
/// # fn read() -> Result<String, std::io::Error> { Ok("a b".into()) }
/// # fn parse(text: &str) -> Vec<&str> { text.split(' ').collect() }
/// # let dir = tempfile::tempdir()?;
/// # let manager = Manager::open(Config::new(dir.path()))?;
/// let run = manager.start_trace("index_file");
/// let mut steps = run.steps();
/// let text = steps.run("read", read)?;
/// steps.enter("parse");
/// let words = parse(&text);
/// steps.set("words", words.len());
/// steps.enter("store");
/// // ...
/// steps.ok();
/// run.ok();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Dropped without a verdict, the node that is open is [`Status::Cancelled`], during a panic
/// [`Status::Error`].
#[must_use = "the open node lasts until this is dropped"]
pub struct Steps {
    run: Run,
    /// The open node.
    node: Held<Box<Block>>,
    parent: u64,
    /// Whether the thread came into a run that is not sampled by this.
    unsampled: bool,
    // The scope belongs to this thread.
    _thread: PhantomData<*const ()>,
}

impl Steps {
    #[inline]
    pub(super) fn new(run: Run) -> Self {
        let parent = run.state().map_or(0, current_span);
        Self {
            run,
            node: Held::NOTHING,
            parent,
            unsampled: false,
            _thread: PhantomData,
        }
    }

    /// Ends the open node as succeeded, unless it has another verdict, and begins the next.
    #[inline]
    pub fn enter<'n>(&mut self, name: impl Into<Name<'n>>) {
        match self.run.state() {
            Some(state) => {
                let next = step(state, self.node.take(), self.parent, &name.into());
                self.node = Held::new(next);
            }
            None => self.unsampled = self.unsampled || self.run.enter_unsampled(),
        }
    }

    /// Runs `work` as a node of its own; its `Err` becomes the node's error.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn run<'n, T, E: fmt::Display + 'static>(
        &mut self,
        name: impl Into<Name<'n>>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.enter(name);
        let result = work();
        if let Err(error) = &result {
            self.failed(|buffer| failure::write_any(buffer, error));
        }
        result
    }

    /// Id of the open node.
    #[inline]
    pub fn id(&self) -> Option<SpanId> {
        SpanId::new(self.node.get()?.open.id)
    }

    /// Sets an attribute of the open node.
    #[inline]
    pub fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
        if let Some(node) = self.node.get_mut() {
            node.attributes.push(key, value);
        }
    }

    /// Ends the open node: it failed. Type, message and causes of the error are kept.
    pub fn fail<E: Error + 'static>(&mut self, error: &E) {
        self.failed(|buffer| failure::write_typed(buffer, error));
    }

    fn failed(&mut self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if let (Some(state), Some(node)) = (self.run.state(), self.node.get_mut()) {
            node.fail(state, describe);
            self.leave(None);
        }
    }

    /// Ends the open node: it succeeded.
    #[inline]
    pub fn ok(mut self) {
        self.leave(Some(Status::Ok));
    }

    /// Ends the open node.
    #[inline]
    fn leave(&mut self, verdict: Option<Status>) {
        if let (Some(state), Some(node)) = (self.run.state(), self.node.take()) {
            scope::finish(state, node, verdict);
        }
    }
}

/// The innermost span of the run that is open on this thread; 0 if there is none.
fn current_span(state: &RunState) -> u64 {
    local::with(&state.engine, RecordKind::Span, |local| local.current)
        .filter(|current| current.trace == state.root.trace)
        .map_or(0, |current| current.span)
}

/// Ends one node and begins the next with one clock reading, in the same block where it can.
#[inline(never)]
fn step(
    state: &RunState,
    mut node: Option<Box<Block>>,
    parent: u64,
    name: &Name<'_>,
) -> Option<Box<Block>> {
    let engine = &state.engine;
    if !state.gate.is_open() {
        if let Some(node) = node {
            scope::lose(state, node.open.id);
        }
        engine.lose_closed(RecordKind::Span);
        return None;
    }
    let begun = local::with(engine, RecordKind::Span, |local| {
        let now = engine.tick();
        if let Some(mut node) = node.take() {
            if let Some(in_table) = scope::replace_scope(state, local, &mut node, name, now) {
                return (node, in_table);
            }
            scope::pop_scope(state, local, node, Some(Status::Ok), now);
        }
        let parent = Parent::Given(parent);
        scope::push_scope(state, local, name, SpanKind::NodeExecution, parent, now)
    });
    let (node, in_table) = begun?;
    if !in_table {
        scope::show(state, &node);
    }
    Some(node)
}

impl Drop for Steps {
    #[inline]
    fn drop(&mut self) {
        self.leave(None);
        if let (Some(state), true) = (self.run.held(), self.unsampled) {
            scope::leave_unsampled(state);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("open", &self.id())
            .finish_non_exhaustive()
    }
}
