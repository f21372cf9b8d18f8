//! Layers and services, as a program puts them together.

use std::{
    fmt::{self, Display},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::Body,
    exchange::{Exchange, Route},
};
use crate::Manager;

/// Records each request that a service answers, as a trace with one span, which goes on from where
/// the headers of the request say.
///
/// The service inside gets its requests with a [`Body`] around the body that came.
#[derive(Clone)]
pub struct ServerLayer {
    manager: Manager,
    route: Option<Route>,
}

impl ServerLayer {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
            route: None,
        }
    }

    /// Says how to find the route of a request (`/orders/{id}`) in what the router left there. It
    /// becomes `http.route` and part of the name; without it the name is the method alone, as any
    /// number of paths may come.
    #[must_use]
    pub fn route<F>(mut self, find: F) -> Self
    where
        F: Fn(&Extensions) -> Option<&str> + Send + Sync + 'static,
    {
        self.route = Some(Arc::new(find));
        self
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Server<S>;

    fn layer(&self, inner: S) -> Server<S> {
        Server {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose requests are recorded; made by [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S, B, R> Service<Request<B>> for Server<S>
where
    S: Service<Request<Body<B>>, Response = Response<R>>,
    S::Error: Display + 'static,
    R: HttpBody,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let exchange = Exchange::serve(&self.layer.manager, &parts, self.layer.route.as_ref());
        let request = Request::from_parts(parts, Body::request(body, exchange.request()));
        let future = {
            let _scope = exchange.enter();
            self.inner.call(request)
        };
        ResponseFuture::new(future, exchange)
    }
}

/// Records each request that is made, as a span below what is open on the thread where it is made
/// (else as a trace), and passes the context on in its headers.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    manager: Manager,
}

impl ClientLayer {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
        }
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client {
            inner,
            manager: self.manager.clone(),
        }
    }
}

/// A client whose requests are recorded; made by [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
    manager: Manager,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display + 'static,
    R: HttpBody,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let exchange = Exchange::call(&self.manager, &mut parts);
        let future = {
            let _scope = exchange.enter();
            self.inner.call(Request::from_parts(parts, body))
        };
        ResponseFuture::new(future, exchange)
    }
}

pin_project! {
    /// The answer to a request that is recorded.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // Dropped first: what ends with it ends inside the request.
        #[pin]
        future: F,
        exchange: Option<Box<Exchange>>,
    }
}

impl<F> ResponseFuture<F> {
    fn new(future: F, exchange: Exchange) -> Self {
        let exchange = Some(Box::new(exchange));
        Self { future, exchange }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Display + 'static,
    R: HttpBody,
{
    type Output = Result<Response<Body<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = {
            let _scope = this.exchange.as_ref().map(|exchange| exchange.enter());
            this.future.poll(cx)
        };
        let Poll::Ready(result) = polled else {
            if let Some(exchange) = this.exchange {
                exchange.suspended();
            }
            return Poll::Pending;
        };
        let Some(mut exchange) = this.exchange.take() else {
            return Poll::Ready(result.map(|response| response.map(Body::plain)));
        };
        Poll::Ready(match result {
            Err(error) => {
                exchange.fail(&error);
                Err(error)
            }
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let follows = exchange.answered(&parts);
                let body = if follows && !body.is_end_stream() {
                    Body::response(body, exchange)
                } else {
                    exchange.finish();
                    Body::plain(body)
                };
                Ok(Response::from_parts(parts, body))
            }
        })
    }
}
