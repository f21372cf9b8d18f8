//! What leaves by OTLP says how many it stands for.

use std::time::Duration;

use emberlog::{
    backend::{
        otlp::{Options, Signal},
        Select,
    },
    Config, Manager, TraceId, TraceOptions,
};

use crate::receiver::http::Receiver;

/// The trace states of all spans that arrive.
fn states(rate: f64, select: Option<Select>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let options = Options::new()
        .environment([("NOT", "used")])
        .endpoint(receiver.url())
        .only(&[Signal::Traces]);
    let mut config = Config::new(dir.path().join("log"))
        .sampling_rate(rate)
        .otlp(options);
    if let Some(select) = select {
        let backend = config.backends.pop().unwrap();
        config.backends.push(backend.select(select));
    }
    let manager = Manager::open(config).unwrap();
    // The greatest of all: every rate but 0 keeps it.
    let id = TraceId::from_u128(u128::MAX);
    let run = manager.start_trace_with("run", &TraceOptions::new().id(id));
    run.span("work").ok();
    run.ok();
    manager.export(Duration::from_secs(60)).unwrap();
    let spans = receiver.stored().spans();
    spans.into_iter().map(|span| span.trace_state).collect()
}

#[test]
fn the_threshold_leaves_with_every_span() {
    assert_eq!(states(0.25, None), ["ot=th:c", "ot=th:c"]);
    assert_eq!(states(1.0, None), ["", ""]);
    assert_eq!(states(0.0, None), Vec::<String>::new());
    // The lower of two rates is the whole probability, since the same part of the id decides.
    let tenth = || Some(Select::new().sampled(0.125));
    assert_eq!(states(0.25, tenth()), ["ot=th:e", "ot=th:e"]);
    assert_eq!(states(1.0, tenth()), ["ot=th:e", "ot=th:e"]);
}
