//! From no database to one: only the configuration changes, and what was recorded before comes too,
//! because a backend begins at the beginning of the log.
//!
//! It prints:
//!
//! ```text
//! before: 5 traces in the log
//! after: 6 traces in the database
//! in the same order: true
//! ```

use std::time::Duration;

use emberlog::{
    backend::{sqlite::SqliteReader, Scan},
    Config, Filter, Manager,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let old = Config::new(dir.path().join("log"));
    let manager = Manager::open(old.clone())?;
    for n in 0..5 {
        manager.start_trace(&format!("run {n}")).ok();
    }
    println!(
        "before: {} traces in the log",
        manager.query_traces(&Filter::new())?.len()
    );
    drop(manager);

    let database = dir.path().join("telemetry.db");
    let manager = Manager::open(old.sqlite(&database))?;
    manager.start_trace("run 5").ok();
    manager.export(Duration::from_secs(30))?;
    let reader = SqliteReader::open(&database, Duration::from_secs(5))?;
    let moved = reader.traces(&Filter::new())?;
    println!("after: {} traces in the database", moved.len());
    let ids = |traces: Vec<emberlog::Trace>| -> Vec<_> {
        traces.into_iter().map(|trace| trace.trace_id).collect()
    };
    let same = ids(moved) == ids(manager.query_traces(&Filter::new())?);
    println!("in the same order: {same}");
    Ok(())
}
