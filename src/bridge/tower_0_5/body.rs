//! Bodies that are watched on their way.

use std::{
    fmt::Display,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
};

use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::{Exchange, Seen};

pin_project! {
    /// A body as it came, watched: that of a request which a [`Server`](super::Server) hands in, or
    /// that of a response.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        watch: Watch,
    }
}

#[derive(Debug)]
enum Watch {
    Nothing,
    Request(Seen),
    Response(Answer),
}

impl<B> Body<B> {
    /// Of a request.
    pub(super) fn request(inner: B, seen: Option<Seen>) -> Self {
        let watch = seen.map_or(Watch::Nothing, Watch::Request);
        Self { inner, watch }
    }

    /// Of a response that nobody watches any more.
    pub(super) fn plain(inner: B) -> Self {
        let watch = Watch::Nothing;
        Self { inner, watch }
    }
}

impl<B: HttpBody> Body<B> {
    /// Of a response.
    pub(super) fn response(inner: B, exchange: Box<Exchange>) -> Self {
        let answer = Answer {
            exchange: Some(exchange),
            left: inner.size_hint().exact(),
        };
        let watch = Watch::Response(answer);
        Self { inner, watch }
    }
}

/// An answer on its way out.
#[derive(Debug)]
struct Answer {
    exchange: Option<Box<Exchange>>,
    /// Bytes that are still to come, if that was said.
    left: Option<u64>,
}

impl Answer {
    fn finish(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Who knows the length does not ask for more than that.
        if self.left == Some(0) {
            self.finish();
        }
    }
}

impl<B> HttpBody for Body<B>
where
    B: HttpBody,
    B::Error: Display + 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let answer = match this.watch {
            Watch::Nothing => return this.inner.poll_frame(cx),
            Watch::Request(seen) => {
                let polled = this.inner.poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    if let Some(data) = frame.data_ref() {
                        seen.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .see(data);
                    }
                }
                return polled;
            }
            Watch::Response(answer) => answer,
        };
        let polled = {
            let _scope = answer.exchange.as_ref().map(|exchange| exchange.enter());
            this.inner.as_mut().poll_frame(cx)
        };
        match &polled {
            Poll::Pending => {
                if let Some(exchange) = &mut answer.exchange {
                    exchange.suspended();
                }
            }
            Poll::Ready(None) => answer.finish(),
            Poll::Ready(Some(Err(error))) => {
                if let Some(exchange) = answer.exchange.take() {
                    exchange.fail(error);
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                answer.saw(frame);
                if this.inner.is_end_stream() {
                    answer.finish();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Answer {
    fn saw<D: bytes::Buf>(&mut self, frame: &Frame<D>) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        if let Some(data) = frame.data_ref() {
            let length = data.remaining() as u64;
            self.left = self.left.map(|left| left.saturating_sub(length));
            if let Some(payload) = &mut exchange.response {
                payload.see(data);
            }
        }
        if let Some(trailers) = frame.trailers_ref() {
            exchange.ended_with(trailers);
        }
    }
}
