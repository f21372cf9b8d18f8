//! The memory store: restarts are those of its tail, within the process.

use emberlog::backend::{
    memory::{MemoryStore, Options},
    Scan, Sink,
};

use crate::{backend::Backend, conformance, conformance_of_writes};

struct Memory(MemoryStore);

impl Backend for Memory {
    fn sink(&self) -> Box<dyn Sink> {
        Box::new(self.0.sink("memory"))
    }

    fn scan(&self) -> Option<Box<dyn Scan>> {
        Some(Box::new(self.0.clone()))
    }

    fn assert_sound(&self) {
        assert_eq!(self.0.stats().evicted, 0);
    }
}

fn fresh() -> Memory {
    Memory(MemoryStore::new(Options {
        max_rows: usize::MAX,
        max_bytes: usize::MAX,
    }))
}

conformance!(fresh);
