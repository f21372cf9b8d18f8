//! What the redaction hook judges never gets into a ring, whoever records it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    sync::{Arc, Mutex},
};

use emberlog::{
    record::attributes::ValueRef, Config, Filter, Manager, Redaction, Status, TraceOptions, Value,
};

const SECRET: &str = "s3cr3t-of-somebody";

/// Replaces what has the secret in it, removes what is called `password`, and notes every key.
fn config(dir: &Path, seen: &Arc<Mutex<BTreeSet<String>>>) -> Config {
    let seen = Arc::clone(seen);
    Config::new(dir).redact(move |key, value| {
        seen.lock().unwrap().insert(key.to_owned());
        match value {
            _ if key == "password" => Redaction::Remove,
            ValueRef::Str(text) if text.contains(SECRET) => Redaction::Replace("gone".into()),
            ValueRef::Map(_) | ValueRef::Array(_) => {
                let text = format!("{:?}", value.to_value());
                match text.contains(SECRET) {
                    true => Redaction::Replace(Value::Null),
                    false => Redaction::Keep,
                }
            }
            _ => Redaction::Keep,
        }
    })
}

/// Whether a file below `dir` holds the secret.
fn leaks(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return leaks(&path);
        }
        let bytes = fs::read(&path).unwrap();
        let mut windows = bytes.windows(SECRET.len());
        windows.any(|window| window == SECRET.as_bytes())
    })
}

/// Puts the secret wherever attributes can be set.
fn record(manager: &Manager) {
    let options = TraceOptions::new().attribute("began", SECRET);
    let run = manager.start_trace_with("run", &options);
    run.set("ended", SECRET);
    let mut span = run.span("span").with("kept", 7).with("password", "x");
    span.set("text", SECRET);
    span.set("map", Value::Map(vec![("in".into(), SECRET.into())]));
    span.fail(&io::Error::other(format!("cannot open {SECRET}")));
    let mut detached = run.span("detached").with("early", SECRET).detach(&run);
    detached.set("late", SECRET);
    detached.ok();
    run.event("milestone", "event")
        .with("field", SECRET)
        .record();
    run.metric("metric").with("label", SECRET).gauge(1.0);
    manager
        .event("milestone", "outside")
        .with("field", SECRET)
        .record();
    // A key for which there is no room among the interned names.
    let long = "k".repeat(5000);
    run.event("milestone", "long").with(&long, SECRET).record();
    run.fail(&io::Error::other(SECRET));
}

#[test]
fn attributes_fields_and_error_texts_are_judged_before_they_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let seen = Arc::default();
    let manager = Manager::open(config(&log, &seen)).unwrap();
    record(&manager);

    let find = |name: &str| {
        let spans = manager.query_spans(&Filter::new().name(name)).unwrap();
        spans.into_iter().next().unwrap()
    };
    let span = find("span");
    assert_eq!(span.attributes.get("kept"), Some(&7.into()));
    assert_eq!(span.attributes.get("password"), None);
    assert_eq!(span.attributes.get("text"), Some(&"gone".into()));
    assert_eq!(span.attributes.get("map"), Some(&Value::Null));
    assert_eq!(span.error.unwrap().message, "gone");
    assert_eq!(
        find("detached").attributes.get("late"),
        Some(&"gone".into())
    );
    let trace = manager.query_traces(&Filter::new()).unwrap().remove(0);
    assert_eq!(trace.attributes.get("began"), Some(&"gone".into()));
    assert_eq!(trace.attributes.get("ended"), Some(&"gone".into()));
    for event in manager
        .query_events(&Filter::new().event_type("milestone"))
        .unwrap()
    {
        let values: Vec<_> = event.attributes.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [&Value::from("gone")], "{}", event.name);
    }
    let metric = manager
        .query_metrics(&Filter::new().name("metric"))
        .unwrap();
    assert_eq!(metric[0].attributes.get("label"), Some(&"gone".into()));
    let seen = seen.lock().unwrap().clone();
    for key in [
        "exception.message",
        "error.type",
        "field",
        "label",
        "began",
        "ended",
        "late",
    ] {
        assert!(seen.contains(key), "{key}: {seen:?}");
    }
    assert_eq!(manager.stats().dropped_count, 0);
    manager.flush().unwrap();
    drop(manager);
    assert!(!leaks(&log));

    // The same without it, so that the search above can find something.
    let other = dir.path().join("other");
    let manager = Manager::open(Config::new(&other)).unwrap();
    record(&manager);
    drop(manager);
    assert!(leaks(&other));
}

#[test]
fn what_the_hook_panics_on_is_left_out_and_what_it_records_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own: Arc<Mutex<Option<Manager>>> = Arc::default();
    let inside = Arc::clone(&own);
    let config = Config::new(dir.path()).redact(move |key, _| {
        if let Some(manager) = &*inside.lock().unwrap() {
            manager.event("milestone", "from the hook").record();
        }
        assert_ne!(key, "bad", "on purpose");
        Redaction::Keep
    });
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    run.span("span").with("bad", 1).with("good", 2).ok();
    *own.lock().unwrap() = Some(manager.clone());
    run.span("other").with("fine", 3).ok();
    *own.lock().unwrap() = None;
    run.ok();
    let span = &manager.query_spans(&Filter::new().name("span")).unwrap()[0];
    assert_eq!(span.status, Status::Ok);
    assert_eq!(span.attributes.get("bad"), None);
    assert_eq!(span.attributes.get("good"), Some(&2.into()));
    let other = &manager.query_spans(&Filter::new().name("other")).unwrap()[0];
    assert_eq!(other.attributes.get("fine"), Some(&3.into()));
    assert_eq!(manager.stats().dropped_count, 1);
}

/// Nothing of the process itself is recorded unless somebody says so.
#[test]
fn no_arguments_environment_or_user_name_by_default() {
    if let Ok(dir) = std::env::var("EMBERLOG_TEST_PRIVATE") {
        let manager = Manager::open(Config::new(&dir)).unwrap();
        manager
            .in_trace("run", |run| run.in_span("span", |_| Ok::<_, io::Error>(())))
            .unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let done = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "no_arguments_environment_or_user_name_by_default",
            "--skip",
            SECRET,
        ])
        .env("EMBERLOG_TEST_PRIVATE", &log)
        .envs([
            ("SOME_VARIABLE", SECRET),
            ("USER", SECRET),
            ("LOGNAME", SECRET),
        ])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let logged = fs::read_dir(&log).unwrap().count();
    assert!(logged > 0 && !leaks(&log));
}
