//! The documents' complete example: configure, run a graph, ask for what it did.
//!
//! It prints:
//!
//! ```text
//! Trace: document_pipeline, Duration: N.Ns
//!   Span: SummaryNode, Duration: N.Ns
//!   Span: FetchNode, Duration: N.Ns
//! checkpoint_reached, cache_hits = 42 count
//! collected 1 traces, dropped 0
//! ```

use emberlog::{Config, Filter, SpanKind};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let config = Config::create_sqlite(dir.path().join("telemetry.db"))
        .enable_metrics(true)
        .enable_events(true)
        .metadata("environment", "production")
        .metadata("version", "1.0.0");
    emberlog::init(config)?;

    // From here on the configuration is nobody's business any more.
    graph();

    let manager = emberlog::global();
    manager.flush()?;
    for trace in manager.query_traces(&Filter::new().limit(10))? {
        let seconds = trace.duration().unwrap_or_default().as_secs_f64();
        println!("Trace: {}, Duration: {seconds:.3}s", trace.name);
        let of_trace = Filter::new().trace_id(trace.trace_id);
        for span in manager.query_spans(&of_trace.clone().kind(SpanKind::NodeExecution))? {
            let seconds = span.duration().unwrap_or_default().as_secs_f64();
            println!("  Span: {}, Duration: {seconds:.3}s", span.name);
        }
        let events = manager.query_events(&of_trace.clone().event_type("milestone"))?;
        let metrics = manager.query_metrics(&of_trace.name("cache_hits"))?;
        let metric = &metrics[0];
        println!(
            "{}, {} = {} {}",
            events[0].name, metric.name, metric.value, metric.unit
        );
    }
    let stats = manager.stats();
    println!(
        "collected {} traces, dropped {}",
        stats.traces_count, stats.dropped_count
    );
    emberlog::reset()?;
    Ok(())
}

fn graph() {
    let run = emberlog::global().start_trace("document_pipeline");
    run.set("user", "alice");
    let mut fetch = run.node("FetchNode");
    fetch.set("complexity", "high");
    fetch.ok();
    run.event("milestone", "checkpoint_reached")
        .with("checkpoint", "data_loaded")
        .record();
    run.metric("cache_hits").unit("count").counter(42);
    run.node("SummaryNode").ok();
    run.ok();
}
