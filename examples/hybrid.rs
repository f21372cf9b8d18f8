//! Two backends at once, each with its own place in the log: a SQLite database for analysis, and a
//! monitoring system, here one of our own that shouts about failures. When one of them is away, the
//! other goes on.
//!
//! It prints:
//!
//! ```text
//! ALERT: charge failed: card declined
//! database and monitoring are up to date: true
//! 3 traces in the database
//! ```

use std::time::Duration;

use emberlog::{
    backend::{sqlite::SqliteReader, BatchRange, Row, Scan, Sink, SinkError},
    log::Position,
    BackendConfig, Config, Filter, LogId, Manager, Status,
};

/// Tells about spans that failed.
struct Alerts;

impl Sink for Alerts {
    fn name(&self) -> &str {
        "monitoring"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        // It keeps no place of its own: a file beside the log does.
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        for row in rows {
            if let Row::Span(span) = row {
                if let (Status::Error, Some(error)) = (span.status, &span.error) {
                    println!("ALERT: {} failed: {}", span.name, error.message);
                }
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let database = dir.path().join("rsi_telemetry.db");
    let config = Config::create_sqlite(&database)
        .backend(BackendConfig::new("monitoring", || Ok(Box::new(Alerts))));
    let manager = Manager::open(config)?;
    for order in 0..3 {
        let run = manager.start_trace("order");
        let charge = run.node("charge").with("order", order);
        match order {
            1 => charge.fail_with("PaymentError", "card declined"),
            _ => charge.ok(),
        }
        run.ok();
    }
    manager.export(Duration::from_secs(30))?;
    let stats = manager.stats();
    let up_to_date = stats.backends.iter().all(|b| b.position == stats.logged);
    println!("database and monitoring are up to date: {up_to_date}");
    let reader = SqliteReader::open(&database, Duration::from_secs(5))?;
    println!(
        "{} traces in the database",
        reader.traces(&Filter::new())?.len()
    );
    Ok(())
}
