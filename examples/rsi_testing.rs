//! What an optimiser needs: a hundred runs of one graph in a database, with durations, failures and
//! the version of the graph, and nothing of other graphs.
//!
//! It prints:
//!
//! ```text
//! production_workflow 1.0.0: 100 executions, 90 ok
//! fetch: 100 executions, 0 failures, durations: 100
//! answer: 100 executions, 10 failures, durations: 100
//! 10 x node.failed, the error "no such document"
//! ```

use std::time::Duration;

use emberlog::{
    backend::{sqlite::SqliteReader, Scan},
    Config, Filter, Manager, Status, TraceOptions,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let database = dir.path().join("rsi_telemetry.db");
    let manager = Manager::open(Config::create_sqlite(&database))?;
    for n in 0..100 {
        let run = manager.start_trace_with("production_workflow", &TraceOptions::new());
        run.set("graph_id", "production_workflow");
        run.set("graph_version", "1.0.0");
        run.node("fetch").with("node.id", "fetch").ok();
        let answer = run.node("answer").with("node.id", "answer");
        if n % 10 == 0 {
            answer.fail_with("NotFound", "no such document");
            run.end(Status::Error);
        } else {
            answer.ok();
            run.ok();
        }
    }
    manager.start_trace("another_graph").ok();
    manager.export(Duration::from_secs(30))?;

    let reader = SqliteReader::open(&database, Duration::from_secs(5))?;
    let graph = || {
        let filter = Filter::new().graph("production_workflow");
        filter.graph_version("1.0.0").all()
    };
    let traces = reader.traces(&graph())?;
    let ok = traces.iter().filter(|trace| trace.status == Status::Ok);
    println!(
        "production_workflow 1.0.0: {} executions, {} ok",
        traces.len(),
        ok.count()
    );
    for node in ["fetch", "answer"] {
        let spans = reader.spans(&Filter::new().name(node).all())?;
        let failed = spans.iter().filter(|span| span.status == Status::Error);
        let durations = reader.metrics(&Filter::new().name("node.duration").node(node).all())?;
        println!(
            "{node}: {} executions, {} failures, durations: {}",
            spans.len(),
            failed.count(),
            durations.len()
        );
    }
    let failures = reader.events(&Filter::new().event_type("node_failed").all())?;
    let error = failures[0].attributes.first_of(&["error.message", "error"]);
    println!(
        "{} x node.failed, the error {}",
        failures.len(),
        error.map_or_else(String::new, emberlog::Value::to_json)
    );
    Ok(())
}
