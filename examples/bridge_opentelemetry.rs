//! A program that uses OpenTelemetry records with emberlog: only its set-up knows.
//!
//! It prints:
//!
//! ```text
//! trace serve: ok
//! span query (client): error, no route
//! span serve (internal): ok
//! ```

use emberlog::{bridge::opentelemetry_0_33::SpanExporter, Config, Filter, Manager};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The program: nothing of emberlog in it.
mod program {
    use opentelemetry::trace::{Span, SpanKind, Status, Tracer};

    pub fn run(tracer: &impl Tracer<Span: Send + Sync + 'static>) {
        tracer.in_span("serve", |_| {
            let query = tracer.span_builder("query").with_kind(SpanKind::Client);
            let mut query = tracer.build(query);
            query.set_status(Status::error("no route"));
            query.end();
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(SpanExporter::new(&manager))
        .build();
    program::run(&provider.tracer("shop"));
    provider.shutdown()?;

    let trace = &manager.query_traces(&Filter::new())?[0];
    println!("trace {}: {}", trace.name, trace.status);
    let mut spans = manager.query_spans(&Filter::new())?;
    spans.sort_by(|a, b| a.name.cmp(&b.name));
    for span in &spans {
        let error = span.error.as_ref();
        let error = error.map(|error| format!(", {}", error.message));
        let error = error.unwrap_or_default();
        println!("span {} ({}): {}{error}", span.name, span.kind, span.status);
    }
    Ok(())
}
