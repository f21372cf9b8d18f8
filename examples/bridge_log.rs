//! A program that uses `log` records with emberlog: only its set-up knows.
//!
//! It prints:
//!
//! ```text
//! INFO started with 2 workers
//! WARN worker 1 is late
//! ```

use emberlog::{bridge::log_0_4::Logger, Config, Filter, Manager};

fn program() {
    log::info!("started with {} workers", 2);
    log::debug!("not recorded: the level is INFO");
    log::warn!(worker = 1; "worker 1 is late");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    Logger::new(&manager).install()?;
    program();

    let mut events = manager.query_events(&Filter::new().event_type("log"))?;
    events.sort_by_key(|event| event.timestamp_ns);
    for event in &events {
        let level = event
            .attributes
            .get("level")
            .and_then(|level| level.as_str());
        println!("{} {}", level.unwrap_or_default(), event.name);
    }
    Ok(())
}
