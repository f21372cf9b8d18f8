//! A process that dies at any moment loses nothing that it recorded.
//!
//! The test starts itself as a child that records from several threads and says after each call
//! how far it is; it is killed at a random moment, and the log is opened again. Then every record
//! whose call had returned must be there, once, in order.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use emberlog::{
    log::{verify, Position, Snapshot, Step},
    record::Body,
    Config, Manager, StaticName,
};

const THREADS: u64 = 3;
static NAME: StaticName = StaticName::new("crash.span");
static THREAD: StaticName = StaticName::new("crash.thread");
static NUMBER: StaticName = StaticName::new("crash.number");

fn config(dir: &Path) -> Config {
    Config::new(dir.join("log"))
        .log(|log| log.segment_bytes = 1 << 20)
        .ring(|ring| {
            ring.ring_bytes = 64 << 10;
            ring.overflow = emberlog::Overflow::Block {
                timeout: Duration::from_secs(10),
            };
            ring.dir = Some(dir.join("rings"));
        })
}

/// The child: records for ever.
fn record_for_ever(dir: &Path) -> ! {
    let life: u64 = std::env::var("EMBERLOG_LIFE").unwrap().parse().unwrap();
    let manager = Manager::open(config(dir)).unwrap();
    for thread in 0..THREADS {
        let manager = manager.clone();
        let said = File::options()
            .write(true)
            .open(dir.join(format!("said-{thread}")))
            .unwrap();
        std::thread::spawn(move || {
            for number in 0u64.. {
                let run = manager.start_trace("crash");
                run.span(&NAME)
                    .with(&THREAD, thread + life * 100)
                    .with(&NUMBER, number)
                    .ok();
                said.write_all_at(&(number + 1).to_le_bytes(), 0).unwrap();
                run.ok();
            }
        });
    }
    println!("the child is up");
    std::thread::sleep(Duration::from_secs(60));
    unreachable!("nobody killed the child");
}

fn start_child(dir: &Path, life: u64) -> Child {
    for thread in 0..THREADS {
        fs::write(dir.join(format!("said-{thread}")), 0u64.to_le_bytes()).unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("EMBERLOG_CRASH_DIR", dir)
        .env("EMBERLOG_LIFE", life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first bytes that it prints say that it is up; a kill before that tests nothing.
    let mut up = Vec::new();
    let mut byte = [0];
    let out = child.stdout.as_mut().unwrap();
    while !up.ends_with(b"the child is up") {
        assert_eq!(
            out.read(&mut byte).unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&up)
        );
        up.push(byte[0]);
    }
    child
}

#[test]
#[ignore = "is the child of the tests below"]
fn child() {
    if let Some(dir) = std::env::var_os("EMBERLOG_CRASH_DIR") {
        record_for_ever(Path::new(&dir));
    }
}

/// Numbers that each thread of each life recorded, in the order of the log.
fn numbers(log: &Path) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let snapshot = Snapshot::open(log).unwrap();
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, segment) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            let (_, record) = record.unwrap();
            let Body::Span(span) = record.body else {
                continue;
            };
            if span.status == emberlog::Status::Orphaned as u8 {
                continue;
            }
            assert_eq!(
                segment.names().get(span.header.name.to_native()),
                Some("crash.span")
            );
            let values: Vec<u64> = record
                .attributes
                .iter()
                .map(|a| match a.value.to_value() {
                    emberlog::Value::U64(v) => v,
                    other => panic!("{other:?}"),
                })
                .collect();
            found.entry(values[0]).or_default().push(values[1]);
        }
    }
    found
}

fn cycles() -> u64 {
    if std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1") {
        10_000
    } else {
        200
    }
}

#[test]
fn killed_at_any_moment_everything_recorded_is_there_once_and_in_order() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut recovered = 0;
    let mut dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
    for cycle in 0..cycles() {
        let life = cycle % 20;
        if life == 0 {
            dir = tempfile::tempdir_in("/dev/shm").unwrap();
            fs::create_dir(dir.path().join("rings")).unwrap();
            expected.clear();
        }
        let mut child = start_child(dir.path(), life);
        std::thread::sleep(Duration::from_micros(random(15_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        // A recovery that is killed itself must not matter: half of the time, one is.
        if random(2) == 0 {
            let mut second = start_recovery(dir.path());
            std::thread::sleep(Duration::from_micros(random(8_000)));
            let _ = second.kill();
            second.wait().unwrap();
        }
        let manager = Manager::open(config(dir.path())).unwrap();
        recovered += manager.recovered().unwrap().1.records;
        drop(manager);

        for thread in 0..THREADS {
            let mut said = [0; 8];
            let file = File::open(dir.path().join(format!("said-{thread}"))).unwrap();
            file.read_exact_at(&mut said, 0).unwrap();
            expected.insert(thread + life * 100, u64::from_le_bytes(said));
        }
        let found = numbers(&dir.path().join("log"));
        for (thread, said) in &expected {
            let numbers = found.get(thread).map(Vec::as_slice).unwrap_or_default();
            let count = numbers.len() as u64;
            assert!(
                numbers.iter().copied().eq(0..count),
                "cycle {cycle}, thread {thread}: not once and in order: {:?}",
                numbers.iter().copied().zip(0..).find(|(a, b)| a != b)
            );
            assert!(
                count == *said || count == said + 1,
                "cycle {cycle}, thread {thread}: {said} recorded, {count} found"
            );
        }
        if life == 19 {
            let report = verify(&dir.path().join("log")).unwrap();
            assert!(report.ok, "{report:?}");
        }
    }
    assert!(recovered > 0, "no kill ever left a record in a ring");
    // Past the test harness, which keeps what is printed: `scripts/reliability` reads it.
    let mut out = std::io::stdout();
    let _ = writeln!(
        out,
        "\ngoal 5: {} kills at random, {recovered} records came from rings, 0 lost",
        cycles()
    );
}

/// Opens the log and does nothing else.
fn start_recovery(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["recover_child", "--exact", "--ignored"])
        .env("EMBERLOG_CRASH_DIR", dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "is the child of the test above"]
fn recover_child() {
    if let Some(dir) = std::env::var_os("EMBERLOG_CRASH_DIR") {
        drop(Manager::open(config(Path::new(&dir))));
    }
}

#[test]
fn two_writers_of_one_directory_the_second_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Manager::open(Config::new(dir.path())).unwrap();
    let begin = Instant::now();
    let error = Manager::open(Config::new(dir.path())).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    first.start_trace("still works").ok();
    first.flush().unwrap();
}
