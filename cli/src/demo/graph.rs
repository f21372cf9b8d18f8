//! A small graph runtime: nodes with work functions, edges that are followed, a state that travels.
//!
//! ```text
//!            ┌─ empty ─▶ (end)      ┌─ empty ─▶ (end)
//!   read ────┴─▶ decode ─▶ tokenise ┴─▶ count ─▶ index ─▶ (end)
//! ```

use super::{
    index::Index,
    nodes::{self, NodeError},
    recorder::{Recorder, Steps},
};

/// What travels through the graph in one run.
#[derive(Default)]
pub struct State {
    /// Number of the file.
    pub document: u32,
    /// Path of the file.
    pub path: std::path::PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its text.
    pub text: String,
    /// Where its words lie in the text: start and end.
    pub words: Vec<(u32, u32)>,
    /// How often each different word occurs: start and end of one of them, number.
    pub counts: Vec<(u32, u32, u32)>,
}

/// Which way a run goes after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// There is something to go on with.
    Next,
    /// Nothing is left to do.
    Empty,
}

/// What a node did.
pub struct Done {
    /// Where to go.
    pub edge: Edge,
    /// How many of the things that the node counts.
    pub count: u64,
}

/// A node: a name, its work, and where its edges lead (nowhere: the end).
pub struct Node {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub counts: &'static str,
    work: fn(&mut State, &Index) -> Result<Done, NodeError>,
    edges: &'static [(Edge, usize)],
}

/// The graph of the demo. A run begins at the first node.
pub const NODES: [Node; 5] = [
    Node {
        name: "read",
        counts: "bytes",
        work: nodes::read,
        edges: &[(Edge::Next, 1)],
    },
    Node {
        name: "decode",
        counts: "chars",
        work: nodes::decode,
        edges: &[(Edge::Next, 2)],
    },
    Node {
        name: "tokenise",
        counts: "words",
        work: nodes::tokenise,
        edges: &[(Edge::Next, 3)],
    },
    Node {
        name: "count",
        counts: "distinct_words",
        work: nodes::count,
        edges: &[(Edge::Next, 4)],
    },
    Node {
        name: "index",
        counts: "new_words",
        work: nodes::index,
        edges: &[],
    },
];

/// What became of a run.
pub struct Outcome {
    /// Nodes that ran.
    pub nodes: u64,
    /// Why the last of them failed.
    pub error: Option<NodeError>,
}

/// Runs the graph on the file in `state`. A node that fails ends the run.
pub fn run<R: Recorder>(recorder: &R, name: &str, state: &mut State, index: &Index) -> Outcome {
    let mut nodes = 0;
    let error = recorder.run(name, |steps| {
        let mut at = Some(0);
        while let Some((place, node)) = at.and_then(|place| Some((place, NODES.get(place)?))) {
            nodes += 1;
            steps.enter(place);
            match (node.work)(state, index) {
                Ok(done) => {
                    steps.counted(place, done.count);
                    let edge = node.edges.iter().find(|(edge, _)| *edge == done.edge);
                    at = edge.map(|(_, target)| *target);
                }
                Err(error) => {
                    steps.failed(&error);
                    return Some(error);
                }
            }
        }
        None
    });
    Outcome { nodes, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Writes down what it is told.
    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);
    struct Story(Notes);

    impl Notes {
        fn add(&self, line: String) {
            self.0.lock().unwrap().push(line);
        }
    }

    impl Recorder for Notes {
        type Steps = Story;
        fn run(
            &self,
            file: &str,
            graph: impl FnOnce(&mut Story) -> Option<NodeError>,
        ) -> Option<NodeError> {
            self.add(format!("begin {file}"));
            let error = graph(&mut Story(self.clone()));
            self.add("end".to_owned());
            error
        }
    }

    impl Steps for Story {
        fn enter(&mut self, node: usize) {
            self.0.add(NODES[node].name.to_owned());
        }
        fn counted(&mut self, node: usize, number: u64) {
            self.0.add(format!("{}={number}", NODES[node].counts));
        }
        fn failed(&mut self, error: &NodeError) {
            self.0.add(format!("failed: {error}"));
        }
    }

    fn story(content: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        let mut state = State {
            path,
            ..State::default()
        };
        let notes = Notes::default();
        run(&notes, "f", &mut state, &Index::new());
        let lines = notes.0.lock().unwrap();
        lines.join(" ")
    }

    #[test]
    fn runs_follow_the_edges() {
        assert_eq!(
            story("let größe = let_it(größe);".as_bytes()),
            "begin f read bytes=30 decode chars=26 tokenise words=4 count distinct_words=3 index new_words=3 end"
        );
        assert_eq!(story(b""), "begin f read bytes=0 end");
        assert_eq!(
            story(b"1 + 2"),
            "begin f read bytes=5 decode chars=5 tokenise words=0 end"
        );
        assert_eq!(
            story(b"ab\xff"),
            "begin f read bytes=3 decode failed: invalid utf-8 sequence of 1 bytes from index 2 end"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_fails_its_node() {
        let mut state = State {
            path: "/nonexistent/file".into(),
            ..State::default()
        };
        let outcome = run(&super::super::recorder::Off, "f", &mut state, &Index::new());
        assert_eq!(outcome.nodes, 1);
        assert!(matches!(outcome.error, Some(NodeError::Read(_))));
    }
}
