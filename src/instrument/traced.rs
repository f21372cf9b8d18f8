//! What the attribute macro's code calls. Nobody else should: it may change with any version.

use std::{
    fmt::{Debug, Display},
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{capture::Side, future::Watched, node::DetachedNode};
use crate::{
    api::{ActiveSpan, Run},
    manager::{global, global_records},
    record::{
        attributes::AttributeValue,
        kinds::{SpanKind, Status},
        names::StaticName,
    },
};

/// Whether a call has to look any further.
#[inline(always)]
pub fn on() -> bool {
    global_records()
}

/// Calls the body of a function. That it is called once lets it return what it borrows from its
/// arguments.
#[inline(always)]
pub fn once<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// The trace that a call belongs to.
#[derive(Debug)]
pub struct Call {
    run: Run,
    /// Whether the call is a trace of its own.
    whole: bool,
}

impl Call {
    /// Records nothing.
    #[inline(always)]
    pub const fn none() -> Self {
        Self {
            run: Run::disabled(),
            whole: false,
        }
    }

    /// The trace that is open on this thread, else a new one.
    pub fn begin(name: &'static StaticName) -> Self {
        let manager = global();
        let run = manager.current_run();
        // Inside a run that is not sampled, nothing is recorded.
        let whole = run.trace_id().is_none();
        Self {
            run: if whole {
                manager.start_trace(name)
            } else {
                run
            },
            whole,
        }
    }

    /// The span of the call.
    #[inline]
    pub fn span(&self, name: &'static StaticName, kind: SpanKind) -> Guard<'_> {
        Guard {
            span: self.run.span(name).with_kind(kind),
            call: self,
        }
    }

    fn end(&self, status: Status) {
        if self.whole {
            self.run.clone().end(status);
        }
    }

    fn end_with<T, E: Display + 'static>(&self, result: &Result<T, E>) {
        if self.whole {
            self.run.clone().end_with(result);
        }
    }
}

/// The span of a call that goes on: ok when it is dropped, unless a panic does that.
#[derive(Debug)]
pub struct Guard<'c> {
    span: ActiveSpan<'c>,
    call: &'c Call,
}

impl<'c> Guard<'c> {
    /// Whether anything is recorded.
    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    /// Whether arguments are kept.
    pub fn wants_inputs(&self) -> bool {
        self.call.run.capture().wants(Side::Input)
    }

    /// Keeps arguments.
    pub fn inputs(&mut self, inputs: &[(&str, &dyn Debug)]) {
        let capture = self.call.run.capture();
        capture.write(Side::Input, &Inputs(inputs), &mut self.span);
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static StaticName, value: impl AttributeValue) {
        self.span.set(key, value);
    }

    fn take(&mut self) -> ActiveSpan<'c> {
        std::mem::replace(&mut self.span, ActiveSpan::disabled())
    }

    /// Ends it as `result` went.
    #[inline]
    pub fn end_with<T, E: Display + 'static>(mut self, result: &Result<T, E>) {
        if self.is_recording() {
            self.take().end_with(result);
            self.call.end_with(result);
        }
    }

    /// Lets it go on in a future.
    pub fn detach(mut self) -> Begun {
        let run = &self.call.run;
        Begun {
            watched: Watched::new(DetachedNode::of(self.take().detach(run))),
            call: Call {
                run: run.clone(),
                whole: self.call.whole,
            },
        }
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        // During a panic the guards below find out for themselves.
        if self.is_recording() && !std::thread::panicking() {
            self.take().ok();
            self.call.end(Status::Ok);
        }
    }
}

/// A call that a future goes on with.
#[derive(Debug)]
pub struct Begun {
    watched: Watched,
    call: Call,
}

/// A call whose future is ready.
#[derive(Debug)]
pub struct Ended<'c> {
    node: DetachedNode,
    call: &'c Call,
}

impl Ended<'_> {
    /// Ends it: it succeeded.
    pub fn ok(self) {
        self.node.ok();
        self.call.end(Status::Ok);
    }

    /// Ends it as `result` went.
    pub fn end_with<T, E: Display + 'static>(self, result: &Result<T, E>) {
        self.node.end_with(result);
        self.call.end_with(result);
    }
}

pin_project! {
    /// The future of a call.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CallFuture<F, J> {
        #[pin]
        future: F,
        begun: Begun,
        judge: Option<J>,
    }
}

/// Runs `future` inside the span that begun; `judge` ends it.
pub fn watch<F, J>(future: F, begun: Begun, judge: J) -> CallFuture<F, J>
where
    F: Future,
    J: FnOnce(Ended<'_>, &F::Output),
{
    CallFuture {
        future,
        begun,
        judge: Some(judge),
    }
}

impl<F, J> Future for CallFuture<F, J>
where
    F: Future,
    J: FnOnce(Ended<'_>, &F::Output),
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Begun { watched, call } = this.begun;
        watched.poll(this.future, cx, |node, output| {
            if let Some(judge) = this.judge.take() {
                judge(Ended { node, call }, output);
            }
        })
    }
}

/// Arguments by name, in the form of a map.
struct Inputs<'a>(&'a [(&'a str, &'a dyn Debug)]);

impl Debug for Inputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {value:?}")?;
        }
        f.write_str("}")
    }
}

/// An argument that may have a `Debug` form: the method of [`ByDebug`] is found first, where its
/// type has one.
#[derive(Debug)]
pub struct Shown<'a, T: ?Sized>(pub &'a T);

/// For what has a `Debug` form.
pub trait ByDebug<'a> {
    /// It.
    fn show(&self) -> &'a dyn Debug;
}

impl<'a, T: Debug> ByDebug<'a> for Shown<'a, T> {
    fn show(&self) -> &'a dyn Debug {
        self.0
    }
}

/// For what has none.
pub trait ByNothing {
    /// `_`, for a value that cannot be shown.
    fn show(&self) -> &'static dyn Debug;
}

impl<T: ?Sized> ByNothing for &Shown<'_, T> {
    fn show(&self) -> &'static dyn Debug {
        const UNKNOWN: std::fmt::Arguments<'static> = format_args!("_");
        &UNKNOWN
    }
}
