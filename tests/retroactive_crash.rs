//! A process that dies at any moment leaves every trace that it was to keep whole, once, and nothing
//! of the others.
//!
//! The test starts itself as a child that records traces which are all sampled out, every third of
//! which fails, and says after each how far it is. It is killed at a random moment, often the next
//! open too.
#![cfg(target_os = "linux")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use emberlog::{
    log::{verify, Position, Snapshot, Step},
    record::Body,
    Config, Filter, LossCause, Manager, Status, TraceId, TraceOptions,
};

const THREADS: u64 = 2;
const LIVES: u64 = 10;
/// Records of a trace: its start, four spans, an event, its end.
const RECORDS: u64 = 7;
/// First number of rings that hold traces.
const HELD: u32 = 1 << 31;

fn config(dir: &Path) -> Config {
    Config::new(dir.join("log"))
        .sampling_rate(0.0)
        .force_sample_on_error(true)
        .log(|log| log.segment_bytes = 1 << 20)
        .ring(|ring| ring.dir = Some(dir.join("rings")))
}

fn id(life: u64, thread: u64, number: u64) -> TraceId {
    TraceId::from_u128(u128::from(life << 8 | thread) << 64 | u128::from(number + 1))
}

/// The child: records for ever.
fn record_for_ever(dir: &Path) -> ! {
    let life: u64 = std::env::var("EMBERLOG_LIFE").unwrap().parse().unwrap();
    let manager = Manager::open(config(dir)).unwrap();
    for thread in 0..THREADS {
        let manager = manager.clone();
        let path = dir.join(format!("said-{thread}"));
        let said = File::options().write(true).open(path).unwrap();
        std::thread::spawn(move || {
            for number in 0u64.. {
                let options = TraceOptions::new().id(id(life, thread, number));
                let run = manager.start_trace_with("crash", &options);
                for name in ["a", "b", "c", "d"] {
                    run.span(name).ok();
                }
                run.event("milestone", "last").record();
                match number % 3 {
                    0 => run.end(Status::Error),
                    _ => run.ok(),
                }
                said.write_all_at(&(number + 1).to_le_bytes(), 0).unwrap();
                if number % 64 == 63 {
                    // No more than the window holds, however slow the flusher is.
                    manager.flush().unwrap();
                }
            }
        });
    }
    println!("the child is up");
    std::thread::sleep(Duration::from_secs(60));
    unreachable!("nobody killed the child");
}

fn again(name: &str, dir: &Path, life: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env("EMBERLOG_CRASH_DIR", dir)
        .env("EMBERLOG_LIFE", life.to_string())
        .stdout(Stdio::piped());
    command
}

fn start_child(dir: &Path, life: u64) -> Child {
    for thread in 0..THREADS {
        fs::write(dir.join(format!("said-{thread}")), 0u64.to_le_bytes()).unwrap();
    }
    let mut child = again("child", dir, life).spawn().unwrap();
    // A kill before it is up tests nothing.
    let (mut up, mut byte) = (Vec::new(), [0]);
    let out = child.stdout.as_mut().unwrap();
    while !up.ends_with(b"the child is up") {
        let read = out.read(&mut byte).unwrap();
        assert_eq!(read, 1, "{}", String::from_utf8_lossy(&up));
        up.push(byte[0]);
    }
    child
}

#[test]
#[ignore = "is the child of the test below"]
fn child() {
    if let Some(dir) = std::env::var_os("EMBERLOG_CRASH_DIR") {
        record_for_ever(Path::new(&dir));
    }
}

#[test]
#[ignore = "is the child of the test below"]
fn recover_child() {
    if let Some(dir) = std::env::var_os("EMBERLOG_CRASH_DIR") {
        drop(Manager::open(config(Path::new(&dir))));
    }
}

/// What the log has.
#[derive(Default)]
struct Found {
    /// Of each trace the kinds of its records, and the status at its end.
    traces: BTreeMap<TraceId, (Vec<&'static str>, Vec<u8>)>,
    /// Records that came out of held rings.
    copied: u64,
    sampled_out: u64,
}

fn found(log: &Path) -> Found {
    let mut found = Found::default();
    let mut identities = BTreeSet::new();
    let mut totals = BTreeMap::new();
    let snapshot = Snapshot::open(log).unwrap();
    for segment in snapshot.segments() {
        for loss in segment.losses() {
            assert_eq!(loss.cause, Some(LossCause::SampledOut), "{loss:?}");
            let key = (segment.header().instance, loss.ring);
            let total: &mut u64 = totals.entry(key).or_default();
            *total = loss.total.max(*total);
        }
    }
    found.sampled_out = totals.values().sum();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            let (id, record) = record.unwrap();
            let (kind, trace, ended) = match record.body {
                Body::TraceStart(r) => ("start", r.trace_id, None),
                Body::TraceEnd(r) => ("end", r.trace_id, Some(r.status)),
                Body::Span(r) => ("span", r.trace_id, None),
                Body::Event(r) => ("event", r.trace_id, None),
                Body::SpanStart(_) | Body::Metric(_) | Body::Link(_) => panic!("{record:?}"),
                _ => continue,
            };
            assert!(identities.insert(id), "{id:?} is there twice");
            found.copied += u64::from((HELD..u32::MAX - 1).contains(&id.ring));
            let of_trace = found.traces.entry(TraceId(trace)).or_default();
            of_trace.0.push(kind);
            of_trace.1.extend(ended);
        }
    }
    found
}

fn cycles() -> u64 {
    let deep = std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1");
    if deep {
        2_000
    } else {
        60
    }
}

#[test]
fn killed_at_any_moment_what_failed_is_there_once_and_whole_and_nothing_else() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    const WHOLE: [&str; 7] = ["start", "span", "span", "span", "span", "event", "end"];
    let (mut recovered, mut orphaned, mut kept) = (0, 0, 0);
    let mut dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut said: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    // As long as it takes until a kill came at every kind of moment.
    for cycle in 0..20 * cycles() {
        let life = cycle % LIVES;
        if life == 0 {
            if cycle >= cycles() && recovered > 0 && orphaned > 0 && kept > 0 {
                break;
            }
            dir = tempfile::tempdir_in("/dev/shm").unwrap();
            fs::create_dir(dir.path().join("rings")).unwrap();
            said.clear();
        }
        let mut child = start_child(dir.path(), life);
        std::thread::sleep(Duration::from_micros(random(20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        for thread in 0..THREADS {
            let mut number = [0; 8];
            let file = File::open(dir.path().join(format!("said-{thread}"))).unwrap();
            file.read_exact_at(&mut number, 0).unwrap();
            said.insert((life, thread), u64::from_le_bytes(number));
        }
        // A recovery that is killed itself must not matter: half of the time, one is.
        if random(2) == 0 {
            let mut second = again("recover_child", dir.path(), life).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random(8_000)));
            let _ = second.kill();
            second.wait().unwrap();
        }
        let manager = Manager::open(config(dir.path())).unwrap();
        let report = manager.recovered().unwrap().1.clone();
        recovered += report.records;
        orphaned += report.orphaned_traces;
        manager.shutdown().unwrap();
        drop(manager);

        let mut log = found(&dir.path().join("log"));
        for ((life, thread), said) in &said {
            for number in 0..*said {
                let trace = log.traces.remove(&id(*life, *thread, number));
                let place = format!("cycle {cycle}: life {life}, {thread}, {number}");
                match trace {
                    None => assert!(number % 3 != 0, "{place} is missing"),
                    Some((kinds, ends)) => {
                        assert!(number % 3 == 0, "{place} was to go: {kinds:?}");
                        assert_eq!(kinds, WHOLE, "{place}");
                        assert_eq!(ends, [Status::Error as u8], "{place}");
                        kept += 1;
                    }
                }
            }
            // The one that it was at.
            if let Some((kinds, ends)) = log.traces.remove(&id(*life, *thread, *said)) {
                let place = format!("cycle {cycle}: life {life}, {thread}, {said}: {kinds:?}");
                assert_eq!((kinds[0], ends.len()), ("start", 1), "{place}");
                let end = ends[0];
                let failed = *said % 3 == 0 && end == Status::Error as u8;
                assert!(failed || end == Status::Orphaned as u8, "{place}: {end}");
            }
        }
        assert!(log.traces.is_empty(), "{:?}", log.traces);
        // Every record of the traces that were over, and maybe of those that were not.
        let over: u64 = said.values().sum::<u64>() * RECORDS;
        let most = over + said.len() as u64 * RECORDS;
        let counted = log.copied + log.sampled_out;
        assert!(
            (over..=most).contains(&counted),
            "cycle {cycle}: {over} to {most} were recorded, {} are logged, {} sampled out",
            log.copied,
            log.sampled_out
        );
        if life == LIVES - 1 {
            let report = verify(&dir.path().join("log")).unwrap();
            assert!(report.ok, "{report:?}");
        }
    }
    assert!(
        recovered > 0,
        "no kill ever left a record to keep in a ring"
    );
    assert!(orphaned > 0, "no kill ever met an open trace");
    assert!(kept > 0);
}

#[test]
fn what_is_held_is_hidden_from_a_query_of_a_dead_process() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(dir.path().join("rings")).unwrap();
    let mut child = start_child(dir.path(), 0);
    // It is far enough when it said so.
    let file = File::open(dir.path().join("said-0")).unwrap();
    let mut number = [0; 8];
    while u64::from_le_bytes(number) < 10 {
        file.read_exact_at(&mut number, 0).unwrap();
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rings = emberlog::query::Rings::Folder(dir.path().join("rings"));
    let reader = emberlog::LogReader::open_with(dir.path().join("log"), rings).unwrap();
    let traces = reader.traces(&Filter::new().all()).unwrap();
    assert!(
        traces.iter().all(|trace| trace.status == Status::Error),
        "{traces:?}"
    );
    let spans = reader.spans(&Filter::new().all()).unwrap();
    let known: BTreeSet<_> = traces.iter().map(|trace| trace.trace_id).collect();
    assert!(spans.iter().all(|span| known.contains(&span.trace_id)));
}
