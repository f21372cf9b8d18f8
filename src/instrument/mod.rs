//! Automatic instrumentation: what a graph runtime calls so that its runs are recorded.
//!
//! Always true:
//! - one record per execution of a node; events, metrics, success and duration follow from it
//! - nothing is kept on a graph or a node between calls, so runs of one graph at the same time never
//!   meet
//! - whatever is not said (a verdict, a predecessor, an input) is left out, never guessed
//!
//! [`Observer`] describes a graph and begins its runs; [`GraphRun`] is one run; [`ActiveNode`] and
//! [`DetachedNode`] are executions of a node. [`Agent`] is for language models and tools. `docs/instrumentation.md` shows how runtimes are
//! hooked up.

mod agent;
mod capture;
mod future;
mod graph;
mod node;
mod price;
mod run;
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod traced;

pub use agent::{Agent, LlmCall, ToolCall};
pub use future::NodeFuture;
pub use graph::{Node, Observer};
pub use node::{ActiveNode, DetachedNode};
pub use price::{Price, Prices, Tokens};
pub use run::GraphRun;

use crate::record::names::StaticName;

/// Nodes that a span comes after: a text or an array of texts.
static NODE_AFTER: StaticName = StaticName::new("node.after");
/// Whether the condition of an edge held.
static EDGE_RESULT: StaticName = StaticName::new("edge.result");
static ENVIRONMENT: StaticName = StaticName::new("environment");
static STATE_KEY: StaticName = StaticName::new("state.key");
static MESSAGE_FROM: StaticName = StaticName::new("message.from");
static MESSAGE_TO: StaticName = StaticName::new("message.to");
static ATTEMPT: StaticName = StaticName::new("retry.attempt");
/// Nanoseconds in which a future was polled.
static BUSY_NS: StaticName = StaticName::new("busy_ns");
/// Nanoseconds in which a future waited to be polled.
static IDLE_NS: StaticName = StaticName::new("idle_ns");
