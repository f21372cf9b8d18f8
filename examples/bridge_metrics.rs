//! A program that uses `metrics` records with emberlog: only its set-up knows. A thousand
//! measurements are three records.
//!
//! It prints:
//!
//! ```text
//! latency: histogram 249.5
//! load: gauge 0.75
//! requests: counter 500
//! ```

use emberlog::{bridge::metrics_0_24::Recorder, Config, Filter, Manager};

fn program() {
    for i in 0..500_u32 {
        metrics::counter!("requests", "route" => "/orders").increment(1);
        metrics::histogram!("latency").record(f64::from(i));
    }
    metrics::gauge!("load").set(0.75);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    Recorder::new(&manager)
        .install()
        .map_err(|error| error.to_string())?;
    program();

    manager.flush()?;
    let mut metrics = manager.query_metrics(&Filter::new())?;
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    for metric in &metrics {
        println!("{}: {} {}", metric.name, metric.aggregation, metric.value);
    }
    Ok(())
}
