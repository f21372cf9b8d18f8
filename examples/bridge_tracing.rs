//! A program that uses `tracing` records with emberlog: only its set-up knows.
//!
//! It prints:
//!
//! ```text
//! trace serve: error
//! span read: ok, rows 3
//! span write: error, disk full
//! event WARN: slow disk
//! ```

use emberlog::{bridge::tracing_subscriber_0_3::Layer, Config, Filter, Manager};
use tracing_subscriber::layer::SubscriberExt;

/// The program: nothing of emberlog in it.
mod program {
    use tracing::{error, field, info_span, instrument, warn, Span};

    #[instrument(fields(rows = field::Empty))]
    fn read() -> Vec<u32> {
        let rows = vec![1, 2, 3];
        Span::current().record("rows", rows.len());
        rows
    }

    #[instrument(skip(rows), err)]
    fn write(rows: &[u32]) -> Result<(), String> {
        warn!(rows = rows.len(), "slow disk");
        Err("disk full".to_owned())
    }

    pub fn run() {
        let _serve = info_span!("serve").entered();
        let rows = read();
        if write(&rows).is_err() {
            error!("gave up");
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = Manager::open(Config::create_memory())?;
    let subscriber = tracing_subscriber::registry().with(Layer::new(&manager));
    tracing::subscriber::with_default(subscriber, program::run);

    let trace = &manager.query_traces(&Filter::new())?[0];
    println!("trace {}: {}", trace.name, trace.status);
    let mut spans = manager.query_spans(&Filter::new())?;
    spans.sort_by_key(|span| span.start_ns);
    for span in &spans {
        let rows = span.attributes.get("rows");
        let rows = rows.map(|rows| format!("rows {}", rows.to_json()));
        let error = span.error.as_ref().map(|error| error.message.clone());
        let more = rows.or(error).unwrap_or_default();
        println!("span {}: {}, {more}", span.name, span.status);
    }
    for event in manager.query_events(&Filter::new().name("slow disk"))? {
        let level = event
            .attributes
            .get("level")
            .and_then(|level| level.as_str());
        println!("event {}: {}", level.unwrap_or_default(), event.name);
    }
    Ok(())
}
