//! Futures that carry their span.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::detached::DetachedSpan;

/// Carries a span through a future.
///
/// ```
/// # use emberlog::{Config, Manager, InSpan};
/// # let dir = tempfile::tempdir()?;
/// # let manager = Manager::open(Config::new(dir.path()))?;
/// let run = manager.start_trace("fetch");
/// let span = run.node("download").detach(&run);
/// let download = async { Ok::<_, std::io::Error>(17) }.in_span(span);
/// # fn block_on<F: std::future::Future>(f: F) -> F::Output {
/// #     let mut f = Box::pin(f);
/// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop { if let std::task::Poll::Ready(v) = f.as_mut().poll(&mut cx) { return v } }
/// # }
/// assert_eq!(block_on(download)?, 17);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait InSpan: Future + Sized {
    /// Runs the future inside `span`: while it is polled, spans that begin on that thread are the
    /// span's children. Its `Err` becomes the span's error; dropped before it is ready, the span is
    /// cancelled.
    fn in_span<T, E>(self, span: DetachedSpan) -> Spanned<Self>
    where
        Self: Future<Output = Result<T, E>>,
        E: fmt::Display + 'static,
    {
        Spanned {
            future: self,
            span: Some(span),
        }
    }
}

impl<F: Future> InSpan for F {}

pin_project! {
    /// A future with its span; made by [`InSpan::in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Spanned<F> {
        #[pin]
        future: F,
        span: Option<DetachedSpan>,
    }
}

impl<F, T, E> Future for Spanned<F>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display + 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let _scope = this.span.as_ref().map(DetachedSpan::enter);
            this.future.poll(cx)
        };
        match &polled {
            Poll::Ready(result) => {
                if let Some(span) = this.span.take() {
                    span.end_with(result);
                }
            }
            Poll::Pending => {
                if let Some(span) = this.span {
                    span.mark_suspended();
                }
            }
        }
        polled
    }
}
