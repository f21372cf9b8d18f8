//! What programs say with `log` is recorded: the real `log` with our logger. One test, since a
//! process has one logger.
#![cfg(feature = "log-0-4")]

use emberlog::{bridge::log_0_4::Logger, Config, Filter, Manager, Value};
use log::{debug, error, info, log_enabled, warn, Level};

#[test]
fn what_is_logged_becomes_events_under_what_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    Logger::new(&manager).install().unwrap();
    assert!(Logger::new(&manager).install().is_err());
    assert!(log_enabled!(Level::Info) && !log_enabled!(Level::Debug));

    info!("outside");
    debug!("too fine");
    let run = manager.start_trace("serve");
    let span = run.span("read");
    let id = span.id();
    warn!(target: "db", rows = 3, ratio = 0.5, fine = true, who:? = Some("me"), text = "t"; "slow: {} ms", 712);
    let long = "y".repeat(5000);
    error!("{long}");
    span.ok();
    info!("in {}", "the run");
    run.ok();

    let all = manager
        .query_events(&Filter::new().event_type("log").all())
        .unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    let event = |name: &str| all.iter().find(|event| event.name == name).unwrap();
    assert_eq!(
        (event("outside").trace_id, event("outside").span_id),
        (None, None)
    );
    let slow = event("slow: 712 ms");
    assert_eq!(slow.span_id, id);
    for (key, value) in [
        ("level", "WARN".into()),
        ("target", "db".into()),
        ("rows", Value::I64(3)),
        ("ratio", Value::F64(0.5)),
        ("fine", Value::Bool(true)),
        ("who", "Some(\"me\")".into()),
        ("text", "t".into()),
    ] {
        assert_eq!(slow.attributes.get(key), Some(&value), "{key}");
    }
    let whole = all
        .iter()
        .find(|event| event.attributes.get("message") == Some(&long.as_str().into()));
    assert!(whole.is_some_and(|event| event.attributes.get("level") == Some(&"ERROR".into())));
    // Logging an error is no verdict on the span.
    let spans = manager.query_spans(&Filter::new()).unwrap();
    assert_eq!(spans[0].status, emberlog::Status::Ok);
    manager.shutdown().unwrap();
    info!("after the end");
}
