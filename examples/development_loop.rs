//! Local development: ten processes one after the other, one database that keeps all of it.
//!
//! It prints:
//!
//! ```text
//! 10 traces in the database, 30 spans
//! 10 traces in the log
//! ```

use std::time::Duration;

use emberlog::{
    backend::{sqlite::SqliteReader, Scan},
    Config, Filter, LogReader, Manager, Preset,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let database = dir.path().join("dev_telemetry.db");
    for _ in 0..10 {
        let config = Config::create_sqlite(&database).preset(Preset::Development);
        let manager = Manager::open(config)?;
        let run = manager.start_trace("my_graph");
        for node in ["load", "transform", "store"] {
            run.node(node).ok();
        }
        run.ok();
        // Dropping the manager would deliver too; this says so if it could not.
        manager.export(Duration::from_secs(30))?;
    }
    let reader = SqliteReader::open(&database, Duration::from_secs(5))?;
    let all = Filter::new().all();
    let (traces, spans) = (reader.traces(&all)?.len(), reader.spans(&all)?.len());
    println!("{traces} traces in the database, {spans} spans");
    // The log lies beside the database and answers on its own.
    let log = LogReader::open(dir.path().join("dev_telemetry.db.emberlog"))?;
    println!("{} traces in the log", log.traces(&all)?.len());
    Ok(())
}
