//! How many instructions a call costs the thread that makes it. `scripts/instructions` runs this
//! under callgrind, once per call, and guards the figures in `benches/instructions.txt`.
//!
//! ```text
//! instructions --list    the calls
//! instructions CALL      makes it often, inside a function named `counted`
//! ```

use emberlog::{Config, Manager};

mod common;
use common::operations::{operations, run, Operation};

/// Calls that are counted. They fit into a ring, so that nothing waits or is lost.
const CALLS: usize = 4096;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manager = Manager::open(Config::new(dir.path())).expect("a fresh log");
    let run = run(&manager);
    let mut operations = operations(&manager, &run);
    match args.first().map(String::as_str) {
        // `cargo bench` without a name runs every bench with this.
        None | Some("--bench") | Some("--list") => {
            for operation in &operations {
                println!("{}", operation.name);
            }
        }
        Some(name) => {
            let Some(at) = operations.iter().position(|o| o.name == name) else {
                eprintln!("no call is named {name:?}; --list shows them");
                std::process::exit(2);
            };
            let mut operation = operations.swap_remove(at);
            // The first calls make the thread's ring and buffers.
            (operation.work)(CALLS);
            manager.flush().expect("flushed");
            counted(&mut operation);
            println!("{}", CALLS / operation.size);
        }
    }
    assert_eq!(manager.stats().dropped_count, 0);
    run.ok();
}

/// What callgrind counts.
#[inline(never)]
fn counted(operation: &mut Operation) {
    (operation.work)(CALLS);
}
