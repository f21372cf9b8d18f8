//! What the runtime tells whoever records it.
//!
//! The graph is generic over these two traits, so that recording off is the same machine code
//! without the calls, and both can be measured in one process.

use super::nodes::NodeError;

/// Records runs.
pub trait Recorder: Sync {
    /// Records the nodes of one run.
    type Steps: Steps;

    /// Records one run over `file`: `graph` does it and says why it failed, if it did.
    fn run(
        &self,
        file: &str,
        graph: impl FnOnce(&mut Self::Steps) -> Option<NodeError>,
    ) -> Option<NodeError>;
}

/// Records the nodes of one run. Nodes are told by their places in the graph.
pub trait Steps {
    /// The node before ends, this one begins.
    fn enter(&mut self, node: usize);
    /// The node counted so many of what it counts.
    fn counted(&mut self, node: usize, number: u64);
    /// The node that runs failed.
    fn failed(&mut self, error: &NodeError);
}

/// Recording off.
pub struct Off;

impl Recorder for Off {
    type Steps = Self;

    #[inline]
    fn run(
        &self,
        _file: &str,
        graph: impl FnOnce(&mut Self) -> Option<NodeError>,
    ) -> Option<NodeError> {
        graph(&mut Self)
    }
}

impl Steps for Off {
    #[inline]
    fn enter(&mut self, _node: usize) {}
    #[inline]
    fn counted(&mut self, _node: usize, _number: u64) {}
    #[inline]
    fn failed(&mut self, _error: &NodeError) {}
}
