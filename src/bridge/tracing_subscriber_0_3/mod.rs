//! A layer for [`tracing_subscriber`]: spans and events of [`tracing`] are recorded here.
//!
//! Always true:
//! - a span without a parent is a trace, any other a span; native spans and those of `tracing` nest
//!   in each other, in both directions, on any thread and in futures
//! - a span that closes is [`Ok`](crate::Status::Ok), unless an event of level ERROR was in it, a
//!   field `error` or `otel.status_code` says otherwise, or its thread panics
//! - names and keys are looked up once per call site and thread, and values written where they stay
//!
//! `layer` is what `tracing` calls, `fields` turns fields into attributes, `site` is what is known
//! of a call site, `span` what the program may ask.

mod fields;
mod layer;
mod site;
mod span;

pub use layer::Layer;
pub use span::SpanExt;
