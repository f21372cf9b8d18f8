//! Traces that go on in another process: W3C Trace Context and W3C Baggage over any carrier.
//!
//! Always true:
//! - a malformed `traceparent` counts as none, and `tracestate` is not even read then; a malformed
//!   `tracestate` is left out alone ([Trace Context, 2.3 and 3.3](https://www.w3.org/TR/trace-context-1/))
//! - a member of `baggage` that is malformed is left out, the others stay
//!   ([Baggage, 3.3](https://www.w3.org/TR/baggage/))
//! - what was received and is not ours is passed on as it came
//! - with [`Config::propagate_context`](crate::Config) off nothing is sent, and what comes is ignored
//!
//! The caller:
//!
//! ```
//! # use emberlog::{Config, Manager};
//! # let dir = tempfile::tempdir()?;
//! # let manager = Manager::open(Config::new(dir.path()))?;
//! let run = manager.start_trace("checkout");
//! let mut headers = Vec::<(String, String)>::new();
//! run.context().inject(&mut headers);
//! // ... and the called, in another process:
//! use emberlog::propagation::TraceContext;
//! let caller = TraceContext::extract(&headers);
//! let served = manager.start_trace_with("charge", &caller.options());
//! assert_eq!(served.trace_id(), run.trace_id());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! `context` is what is carried, `carrier` what carries it, one file each knows a header.

mod baggage;
mod carrier;
mod context;
mod traceparent;
mod tracestate;

#[cfg(feature = "tower-0-5")]
pub(super) use baggage::percent_decoded;
pub use baggage::{Baggage, BaggageMember};
pub use carrier::{Environment, Extract, Inject};
pub use context::TraceContext;
