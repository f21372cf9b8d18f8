//! A log that an earlier build wrote reads the same for ever.
//!
//! `tests/golden/v1` is a complete log of format version 1, `tests/golden/v1.txt` what it says. A
//! build that cannot read it any more needs a new major version, not a new golden directory.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use emberlog::{
    log::verify, Config, Filter, LogReader, Manager, SpanId, TraceId, TraceOptions, Value,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Everything in a log that does not depend on the moment of reading, a row per line.
fn describe(dir: &Path) -> String {
    let reader = LogReader::open(dir).unwrap();
    let report = verify(dir).unwrap();
    assert!(report.ok, "{report:?}");
    let mut out = format!(
        "records {} spans {} lost {}\n",
        report.records, report.spans, report.recorded_losses
    );
    let all = Filter::new().all();
    for t in reader.traces(&all).unwrap() {
        writeln!(
            out,
            "trace {} {:?} {:?} {} {:?} {}",
            t.trace_id,
            t.name,
            t.status,
            t.start_ns,
            t.end_ns,
            t.attributes.to_json()
        )
        .unwrap();
    }
    for s in reader.spans(&all).unwrap() {
        writeln!(
            out,
            "span {} {} {:?} {:?} {:?} {:?} {} {:?} {} {:?}",
            s.trace_id,
            s.span_id,
            s.parent_span_id,
            s.name,
            s.kind,
            s.status,
            s.start_ns,
            s.duration_ns,
            s.attributes.to_json(),
            s.error
        )
        .unwrap();
    }
    for e in reader.events(&all).unwrap() {
        writeln!(
            out,
            "event {:032x} {:?} {:?} {} {:?} {:?} {}",
            e.event_id,
            e.event_type,
            e.name,
            e.timestamp_ns,
            e.trace_id,
            e.span_id,
            e.attributes.to_json()
        )
        .unwrap();
    }
    for m in reader.metrics(&all).unwrap() {
        writeln!(
            out,
            "metric {:032x} {:?} {:?} {:?} {:?} {:?} {}",
            m.metric_id,
            m.name,
            m.value,
            m.integer,
            m.unit,
            m.aggregation,
            m.attributes.to_json()
        )
        .unwrap();
    }
    for l in reader.links(&all).unwrap() {
        writeln!(
            out,
            "link {} {:?} -> {} {:?} {}",
            l.trace_id, l.span_id, l.linked_trace_id, l.linked_span_id, l.timestamp_ns
        )
        .unwrap();
    }
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
#[ignore = "writes tests/golden anew: only for a new format version"]
fn generate() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path())
        .resource("service.name", "golden")
        .ring(|ring| (ring.ring_bytes, ring.total_bytes) = (16 << 10, (2 << 20) + (32 << 10)));
    let manager = Manager::open(config).unwrap();
    for i in 0..3i64 {
        let options = TraceOptions::new().id(TraceId::from_text(&format!("golden {i}")).0);
        let run = manager.start_trace_with("golden run", &options);
        run.set("graph_id", "g");
        let nested = Value::Map(vec![(
            "k".into(),
            Value::Array(vec![Value::Null, Value::Bool(true)]),
        )]);
        run.node("all types")
            .with("bool", true)
            .with("i64", i64::MIN + i)
            .with("u64", u64::MAX)
            .with("f64", f64::NAN)
            .with("text", "ü\0")
            .with("bytes", &[0u8, 255][..])
            .with("array", vec![1i64, 2])
            .with("nested", &nested)
            .with("none", None::<bool>)
            .ok();
        run.node("fails")
            .fail(&std::io::Error::other("disk on fire"));
        run.event("custom", "an event").with("i", i).record();
        run.metric("a metric").unit("ms").gauge(1.5);
        run.metric("a counter").counter(u64::MAX);
        run.link(TraceId::from_text("golden 0").0, SpanId::new(7));
        run.ok();
    }
    // There is room for a few rings only: what more threads record is a loss.
    const THREADS: usize = 64;
    let barrier = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                manager.metric("crowded").gauge(1.0);
                barrier.wait();
            });
        }
    });
    manager.flush().unwrap();
    manager.shutdown().unwrap();
    drop(manager);
    copy(dir.path(), &golden().join("v1"));
    fs::write(golden().join("v1.txt"), describe(&golden().join("v1"))).unwrap();
}

#[test]
fn a_log_of_version_1_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("v1"), dir.path());
    let expected = fs::read_to_string(golden().join("v1.txt")).unwrap();
    assert!(expected.lines().count() > 15);
    assert_eq!(describe(dir.path()), expected);
    // Opening it to write changes nothing of that.
    Manager::open(Config::new(dir.path()))
        .unwrap()
        .shutdown()
        .unwrap();
    let lines = expected
        .lines()
        .filter(|l| l.starts_with("span") || l.starts_with("link"));
    let now = describe(dir.path());
    lines.for_each(|line| assert!(now.contains(line), "{line}"));
}

#[test]
fn a_log_that_claims_version_2_is_refused_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("v1"), dir.path());
    let mut bytes = fs::read(dir.path().join("LOG")).unwrap();
    bytes[8..10].copy_from_slice(&2u16.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(dir.path().join("LOG"), &bytes).unwrap();
    let files = || {
        let mut files: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap_or_default(), path))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let error = Manager::open(Config::new(dir.path()))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("uses format 2"), "{error}");
    assert!(LogReader::open(dir.path()).is_err());
    assert_eq!(files(), before);
}
