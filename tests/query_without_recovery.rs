//! A log can be queried by another process while it is written, and after its writer died, without
//! write access and without a recovery first: also what only its rings hold.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use emberlog::{
    query::{LogReader, Rings},
    Config, Filter, Manager, Span, Status,
};

fn config(dir: &Path) -> Config {
    Config::new(dir.join("log")).ring(|ring| ring.dir = Some(dir.join("rings")))
}

fn reader(dir: &Path) -> LogReader {
    LogReader::open_with(dir.join("log"), Rings::Folder(dir.join("rings"))).unwrap()
}

#[test]
#[ignore = "is the child of the tests below"]
fn child() {
    let Some(dir) = std::env::var_os("EMBERLOG_QUERY_DIR") else {
        return;
    };
    let manager = Manager::open(config(Path::new(&dir))).unwrap();
    if std::env::var_os("EMBERLOG_QUERY_BUSY").is_some() {
        record_for_ever(&manager);
    }
    manager.start_trace("finished").ok();
    let run = manager.start_trace("endless");
    run.node("first").ok();
    let span = run.node("second");
    let _inner = span.child("inner");
    // Whatever is recorded in a row now is mostly not in the log when the process is killed.
    run.event("milestone", "halfway").record();
    println!("all recorded");
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Numbered events, about fifty thousand a second.
fn record_for_ever(manager: &Manager) -> ! {
    println!("all recorded");
    for number in 0u64.. {
        manager.event("milestone", "n").with("n", number).record();
        if number % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    unreachable!()
}

fn start_child(dir: &Path, busy: bool) -> Child {
    fs::create_dir(dir.join("rings")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    if busy {
        command.env("EMBERLOG_QUERY_BUSY", "1");
    }
    let mut child = command
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("EMBERLOG_QUERY_DIR", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let out = child.stdout.as_mut().unwrap();
    while !said.ends_with(b"all recorded") {
        let mut byte = [0];
        assert_eq!(
            out.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&said)
        );
        said.push(byte[0]);
    }
    child
}

/// Every file below `dir` with its content, so that a change shows.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                found.push((path.display().to_string(), content));
            }
        }
    }
    found.sort();
    found
}

fn names(spans: &[Span]) -> Vec<&str> {
    let mut names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_living_process_is_seen_from_outside_and_a_dead_one_without_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_child(dir.path(), false);
    let log = reader(dir.path());

    // At once: what the child recorded is in a ring if it is not logged yet.
    assert_eq!(
        names(&log.spans(&Filter::new()).unwrap()),
        ["first", "inner", "second"]
    );
    let active = log.spans(&Filter::new().active()).unwrap();
    assert_eq!(names(&active), ["inner", "second"]);
    let second = active.iter().find(|s| s.name == "second").unwrap();
    let inner = active.iter().find(|s| s.name == "inner").unwrap();
    assert_eq!(inner.parent_span_id, Some(second.span_id));
    assert_eq!(inner.status, Status::Unset);
    let traces = log.traces(&Filter::new()).unwrap();
    let traces: Vec<_> = traces
        .iter()
        .map(|t| (&*t.name, t.status, t.is_active()))
        .collect();
    assert_eq!(
        traces,
        [
            ("endless", Status::Unset, true),
            ("finished", Status::Ok, false)
        ]
    );
    let milestones = log.events(&Filter::new().event_type("milestone")).unwrap();
    assert_eq!(milestones.len(), 1);

    child.kill().unwrap();
    child.wait().unwrap();
    let before = files(dir.path());
    for log in [log, reader(dir.path())] {
        assert!(log.spans(&Filter::new().active()).unwrap().is_empty());
        assert!(log.traces(&Filter::new().active()).unwrap().is_empty());
        let orphaned = log.spans(&Filter::new().status(Status::Orphaned)).unwrap();
        assert_eq!(names(&orphaned), ["inner", "second"]);
        for span in &orphaned {
            assert!(span.end_ns().unwrap() >= span.start_ns);
        }
        let traces = log.traces(&Filter::new()).unwrap();
        assert_eq!(
            (&*traces[0].name, traces[0].status),
            ("endless", Status::Orphaned)
        );
        assert!(traces[0].end_ns.unwrap() >= traces[0].start_ns);
        let tree = log.trace(traces[0].trace_id).unwrap().unwrap();
        let shape: Vec<_> = tree
            .nodes
            .iter()
            .map(|n| (&*n.span.name, n.depth))
            .collect();
        assert_eq!(shape, [("first", 0), ("second", 0), ("inner", 1)]);
        assert_eq!(
            log.events(&Filter::new().event_type("milestone"))
                .unwrap()
                .len(),
            1
        );
    }
    assert_eq!(before, files(dir.path()), "reading changed something");

    // Recovery says the same.
    drop(Manager::open(config(dir.path())).unwrap());
    let log = reader(dir.path());
    let orphaned = log.spans(&Filter::new().status(Status::Orphaned)).unwrap();
    assert_eq!(names(&orphaned), ["inner", "second"]);
    assert_eq!(
        names(&log.spans(&Filter::new()).unwrap()),
        ["first", "inner", "second"]
    );
}

#[test]
fn nothing_is_missed_or_seen_twice_between_rings_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = start_child(dir.path(), true);
    let log = reader(dir.path());
    let newest = Filter::new().limit(500);
    let mut last = 0;
    for round in 0..300 {
        if round == 250 {
            // From here on a dead process's.
            child.kill().unwrap();
        }
        let events = log.events(&newest).unwrap();
        let number = |e: &emberlog::Event| e.attributes.get("n").unwrap().as_i64().unwrap();
        let numbers: Vec<_> = events.iter().map(number).collect();
        let first = numbers.first().copied().unwrap_or(-1);
        assert!(first >= last - 1, "round {round}: {first} after {last}");
        let expected = (0..=first).rev().take(500);
        assert!(
            numbers.iter().copied().eq(expected),
            "round {round}: {numbers:?}"
        );
        last = first;
    }
    child.wait().unwrap();
    assert!(last > 500, "{last}");
}

#[test]
fn the_recording_process_reads_its_own_writes() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(config(dir.path())).unwrap();
    for n in 1..=200 {
        let run = manager.start_trace("run");
        run.node("node").ok();
        run.ok();
        let found = manager.query_traces(&Filter::new().all()).unwrap();
        assert_eq!(found.len(), n);
        let found = manager.query_spans(&Filter::new().all()).unwrap();
        assert_eq!(found.len(), n);
    }
    let run = manager.start_trace("open");
    let active = manager.query_traces(&Filter::new().active()).unwrap();
    assert_eq!(active.len(), 1);
    run.ok();
    assert!(manager
        .query_traces(&Filter::new().active())
        .unwrap()
        .is_empty());
}
