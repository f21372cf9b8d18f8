//! Futures that are nodes.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{node::DetachedNode, BUSY_NS, IDLE_NS};
use crate::{api::Run, clock::Clock};

pin_project! {
    /// A future with its node; made by [`GraphRun::call_async`](super::GraphRun::call_async).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct NodeFuture<F> {
        // Dropped first: what ends with it ends inside the node.
        #[pin]
        future: F,
        watched: Watched,
    }
}

impl<F> NodeFuture<F> {
    pub(super) fn new(future: F, node: DetachedNode) -> Self {
        let watched = Watched::new(node);
        Self { future, watched }
    }
}

impl<F, T, E> Future for NodeFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display + 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let end = |node: DetachedNode, result: &Self::Output| node.end_with(result);
        this.watched.poll(this.future, cx, end)
    }
}

/// A node, and how long its future was polled. Dropped early, it still says how long.
#[derive(Debug)]
pub(super) struct Watched {
    /// None: nothing is recorded, or it ended.
    node: Option<DetachedNode>,
    /// The run, if it is not sampled: nothing that begins inside is recorded, whatever the thread.
    unsampled: Option<Run>,
    begun: u64,
    busy: u64,
}

impl Watched {
    pub(super) fn new(node: DetachedNode) -> Self {
        let run = node.run();
        let unsampled = run.trace_id().is_some() && !run.is_recording();
        let unsampled = unsampled.then(|| run.clone());
        let node = Some(node).filter(|node| node.id().is_some());
        Self {
            unsampled,
            begun: node.as_ref().map_or(0, |_| Clock::get().tick()),
            node,
            busy: 0,
        }
    }

    /// Polls inside the node; `end` ends it.
    pub(super) fn poll<F: Future>(
        &mut self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
        end: impl FnOnce(DetachedNode, &F::Output),
    ) -> Poll<F::Output> {
        let Some(node) = &mut self.node else {
            let _scope = self.unsampled.as_ref().map(|run| run.enter(None));
            return future.poll(cx);
        };
        let polled = {
            let _scope = node.enter();
            let _busy = Busy {
                since: Clock::get().tick(),
                total: &mut self.busy,
            };
            future.poll(cx)
        };
        match &polled {
            Poll::Ready(output) => {
                if let Some(node) = self.take() {
                    end(node, output);
                }
            }
            Poll::Pending => node.mark_suspended(),
        }
        polled
    }

    /// The node with its times.
    fn take(&mut self) -> Option<DetachedNode> {
        let mut node = self.node.take()?;
        let clock = Clock::get();
        let rate = clock.first();
        let whole = clock.tick().saturating_sub(self.begun);
        node.set(&BUSY_NS, rate.duration_ns(self.busy));
        let idle = whole.saturating_sub(self.busy);
        node.set(&IDLE_NS, rate.duration_ns(idle));
        Some(node)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Adds up the time of a poll, also of one that panics.
struct Busy<'a> {
    since: u64,
    total: &'a mut u64,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.total += Clock::get().tick().saturating_sub(self.since);
    }
}
