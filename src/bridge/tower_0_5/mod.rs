//! Layers for services of `tower` 0.5 over requests of `http` 1: what is served and what is called.
//!
//! Always true:
//! - one span per request, of kind [`Server`](crate::SpanKind::Server) or
//!   [`Client`](crate::SpanKind::Client); it lasts until the body of the response has ended
//! - a request that is given up (its future or its response dropped) is cancelled
//! - no answer is changed, and no request but for the headers that pass a context on
//! - nothing of a payload is kept, unless the configuration asks for inputs or outputs
//!
//! ```
//! use emberlog::{bridge::tower_0_5::{ClientLayer, ServerLayer}, Config, Manager};
//! # let dir = tempfile::tempdir()?;
//! let manager = Manager::open(Config::new(dir.path()))?;
//! let app: axum::Router = axum::Router::new()
//!     .route("/orders/{id}", axum::routing::get(|| async { "an order" }))
//!     .layer(ServerLayer::new(&manager).route(|extensions| {
//!         Some(extensions.get::<axum::extract::MatchedPath>()?.as_str())
//!     }));
//! let client = tower::ServiceBuilder::new().layer(ClientLayer::new(&manager));
//! # let _ = (app, client);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Clients that are no such service pass a context on themselves:
//! `manager.current_run().context().inject(request.headers_mut())`.
//!
//! `layers` is what a program uses, `exchange` one request and its answer, `names` what a protocol
//! says of them, `body` watches what goes through, `carrier` reads and writes headers.

mod body;
mod carrier;
mod exchange;
mod layers;
mod names;

pub use body::Body;
pub use layers::{Client, ClientLayer, ResponseFuture, Server, ServerLayer};
