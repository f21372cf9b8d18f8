//! A test that looks at what its graph did: a log that is gone afterwards, nothing to set up, and
//! queries that see everything without a flush.
//!
//! It prints:
//!
//! ```text
//! 1 trace, status ok
//! spans: answer, retrieve
//! the log is gone: true
//! ```

use emberlog::{Config, Filter, Manager, Run, Status};

fn my_graph(run: &Run) -> Result<(), std::io::Error> {
    run.in_node("retrieve", |_| Ok::<_, std::io::Error>(()))?;
    run.in_node("answer", |_| Ok::<_, std::io::Error>(()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    manager.in_trace("my_graph", my_graph)?;

    let traces = manager.query_traces(&Filter::new().limit(1))?;
    assert_eq!(traces.len(), 1);
    assert_eq!(traces[0].status, Status::Ok);
    println!("{} trace, status {}", traces.len(), traces[0].status);
    let mut spans: Vec<_> = manager.query_spans(&Filter::new())?;
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    println!("spans: {}", names.join(", "));

    let log = manager.dir().expect("it records").to_owned();
    drop(manager);
    println!("the log is gone: {}", !log.exists());
    Ok(())
}
