//! What is recorded arrives in SQLite exactly once, whatever happens on the way. What SQLite answers
//! is in `conformance`.
#![cfg(all(feature = "sqlite", unix))]

#[path = "support/deadly.rs"]
mod deadly;
#[path = "support/tails.rs"]
mod tails;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use emberlog::{
    backend::{
        sqlite::{Options, SqliteReader, SqliteSink},
        BatchRange, Scan, Sink, SinkError,
    },
    log::{Position, Snapshot},
    tail::{self, LogSource, Tail, TailState},
    Config, Filter, InstanceId, LogId, LogReader, Manager, SpanKind, Status,
};

use deadly::Deadly;

const LONG: Duration = Duration::from_secs(60);

fn deep() -> bool {
    std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1")
}

fn options() -> tail::Options {
    let mut options = tail::Options::new("sqlite");
    options.export_interval = Duration::from_millis(2);
    options.poll = Duration::from_millis(2);
    options.retry_max = Duration::from_millis(100);
    options
}

fn sink(db: &Path) -> Result<SqliteSink, SinkError> {
    let mut options = Options::new(db);
    options.busy_timeout = Duration::from_millis(200);
    Ok(SqliteSink::open("sqlite", options)?)
}

fn start_with(dir: &Path, db: &Path, options: tail::Options) -> Tail {
    tails::started(|| {
        let source = LogSource::open(dir).unwrap();
        let db = db.to_owned();
        let open = move || Ok(Box::new(sink(&db)?) as Box<dyn Sink>);
        Tail::start(dir, source, open, options.clone())
    })
}

fn start(dir: &Path, db: &Path) -> Tail {
    start_with(dir, db, options())
}

fn end(dir: &Path) -> Position {
    Snapshot::open(dir).unwrap().end()
}

fn config(dir: &Path) -> Config {
    Config::new(dir).custom("environment", "test")
}

fn record(manager: &Manager, runs: u64) {
    for n in 0..runs {
        let run = manager.start_trace("ingest");
        run.set("n", n);
        for kind in SpanKind::ALL {
            let span = run.span("read").with_kind(*kind).with("n", n);
            match n % 3 {
                0 => span.fail_with("ValueError", "bad"),
                _ => span.ok(),
            }
        }
        run.event("my.event", "happened").record();
        run.metric("cost").counter(0.25);
        if let Some(id) = run.trace_id() {
            run.link(id, None);
        }
        run.end(if n % 4 == 0 {
            Status::Error
        } else {
            Status::Ok
        });
    }
}

/// Every row that is there, derived ones included, as text, sorted.
fn rows(scan: &dyn Scan) -> Vec<String> {
    fn add<T: std::fmt::Debug>(all: &mut Vec<String>, rows: Vec<T>) {
        all.extend(rows.iter().map(|row| format!("{row:?}")));
    }
    let filter = Filter::new().all();
    let mut all = Vec::new();
    add(&mut all, scan.traces(&filter).unwrap());
    add(&mut all, scan.spans(&filter).unwrap());
    add(&mut all, scan.events(&filter).unwrap());
    add(&mut all, scan.metrics(&filter).unwrap());
    add(&mut all, scan.links(&filter).unwrap());
    all.sort();
    all
}

fn in_log(dir: &Path) -> Vec<String> {
    rows(&LogReader::open(dir).unwrap())
}

fn in_sqlite(db: &Path) -> Vec<String> {
    rows(&SqliteReader::open(db, LONG).unwrap())
}

/// Both have the same rows, each once.
#[track_caller]
fn assert_same(mut log: Vec<String>, db: &Path) {
    log.sort();
    let have = in_sqlite(db);
    for (have, wanted) in have.iter().zip(&log) {
        assert_eq!(have, wanted);
    }
    assert_eq!(have.len(), log.len());
    let db = rusqlite::Connection::open(db).unwrap();
    let check = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(check("PRAGMA integrity_check"), ["ok"]);
    assert!(check("PRAGMA foreign_key_check").is_empty());
    // Nothing is stored twice under another key.
    for table in ["event_rows", "metric_rows", "link_rows"] {
        let twice = format!(
            "SELECT CAST(sequence AS TEXT) FROM {table} GROUP BY instance, ring, sequence \
             HAVING count(*) > 1"
        );
        assert!(check(&twice).is_empty(), "{table}");
    }
}

/// Waits until something holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_tail_goes_on_where_it_was_in_batches_of_any_size() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    for size in [1, 7, 1000] {
        let manager = Manager::open(config(&dir).custom("size", size as u64)).unwrap();
        let options = tail::Options {
            buffer_size: size,
            ..options()
        };
        let tail = start_with(&dir, &db, options);
        record(&manager, 20);
        tail.export(manager.flush().unwrap(), LONG).unwrap();
        manager.shutdown().unwrap();
        tail.export(end(&dir), LONG).unwrap();
        let left = tail.shutdown(LONG);
        assert_eq!((left.records, left.ended), (0, true));
        assert_same(in_log(&dir), &db);
    }
}

#[test]
fn another_database_gets_everything_by_replay() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    record(&manager, 10);
    manager.flush().unwrap();
    let tail = start(&dir, &db);
    tail.export(end(&dir), LONG).unwrap();
    drop(tail);
    for name in ["t.db", "t.db-wal", "t.db-shm"] {
        let _ = fs::remove_file(temp.path().join(name));
    }
    // The cursor file says that all is delivered; the store's word counts, and is waited for.
    let tail = start(&dir, &db);
    tail.export(end(&dir), LONG).unwrap();
    assert_same(in_log(&dir), &db);
}

#[test]
fn two_logs_share_a_database() {
    let temp = tempfile::tempdir().unwrap();
    let db = temp.path().join("t.db");
    let threads: Vec<_> = (0..2)
        .map(|n| {
            let (dir, db) = (temp.path().join(format!("log{n}")), db.clone());
            std::thread::spawn(move || {
                let manager = Manager::open(config(&dir)).unwrap();
                let tail = start(&dir, &db);
                for _ in 0..10 {
                    record(&manager, 2);
                    manager.flush().unwrap();
                    tail.nudge();
                }
                tail.export(end(&dir), LONG).unwrap();
                in_log(&dir)
            })
        })
        .collect();
    let both = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    assert_same(both.collect(), &db);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

#[test]
fn a_copied_directory_repeats_and_skips_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (first, second) = (temp.path().join("first"), temp.path().join("second"));
    let (shared, own) = (temp.path().join("shared.db"), temp.path().join("own.db"));
    let go_on = |dir: &Path, db: &Path, runs: u64| {
        let manager = Manager::open(config(dir)).unwrap();
        record(&manager, runs);
        let tail = start(dir, db);
        tail.export(manager.flush().unwrap(), LONG).unwrap();
        manager.shutdown().unwrap();
        tail.export(end(dir), LONG).unwrap();
    };
    go_on(&first, &shared, 5);
    // With its cursor. From here on both write other records under the same positions.
    copy(&first, &second);
    for round in 0..3 {
        go_on(&first, &shared, 5 + round);
        go_on(&second, &shared, 9 - round);
    }
    let mut both = in_log(&first);
    both.extend(in_log(&second));
    both.sort();
    let all = both.len();
    both.dedup();
    assert!(both.len() < all, "they have nothing in common");
    assert_same(both, &shared);
    // One that goes to a database of its own gets all that is its own.
    go_on(&second, &own, 1);
    assert_same(in_log(&second), &own);
}

/// Env variables of the child processes below.
const VICTIM: &str = "EMBERLOG_TAIL_VICTIM";
const STAGE: &str = "EMBERLOG_TAIL_STAGE";

fn child(test: &str, dir: &Path, stage: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(VICTIM, dir)
        .env(STAGE, stage)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn records_until_it_is_killed() {
    let (Some(root), Ok(stage)) = (std::env::var_os(VICTIM), std::env::var(STAGE)) else {
        return;
    };
    let (dir, db) = (Path::new(&root).join("log"), Path::new(&root).join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    let source = LogSource::open(&dir).unwrap();
    let open = move || Ok(Box::new(Deadly::at(&stage, sink(&db)?)) as Box<dyn Sink>);
    let mut options = options();
    options.buffer_size = 5;
    let tail = Tail::start(&dir, source, open, options).unwrap();
    for _ in 0..8 {
        record(&manager, 1);
        manager.flush().unwrap();
        tail.nudge();
    }
    println!("recorded");
    loop {
        std::thread::park();
    }
}

#[test]
fn killed_between_send_commit_and_cursor_each_row_arrives_once() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    let rounds = if deep() { 1000 } else { 200 };
    for round in 0..rounds {
        let write = 1 + round % 5;
        let stage = match round % 3 {
            0 => format!("before {write}"),
            1 => format!("after {write}"),
            _ => "anywhere".to_owned(),
        };
        let mut child = child("records_until_it_is_killed", temp.path(), &stage);
        if round % 3 == 2 {
            // Somewhere in the middle of a commit, as it happens.
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("recorded")));
            std::thread::sleep(Duration::from_micros(round * 37 % 3000));
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(!status.success(), "round {round} was not killed");
    }
    let manager = Manager::open(config(&dir)).unwrap();
    let tail = start(&dir, &db);
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    assert_eq!(tail.stats().damaged, 0);
    let log = in_log(&dir);
    assert!(log.len() as u64 > rounds * 30, "{}", log.len());
    assert_same(log, &db);
}

#[test]
fn holds_a_lock_until_it_is_told() {
    let (Some(root), Ok(stage)) = (std::env::var_os(VICTIM), std::env::var(STAGE)) else {
        return;
    };
    let db = rusqlite::Connection::open(Path::new(&root).join("t.db")).unwrap();
    db.execute_batch(&stage).unwrap();
    println!("locked");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}

/// Another process holds a lock for as long as a careless person's query runs.
fn locked_by(statement: &str, stops_writing: bool) {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    let tail = start(&dir, &db);
    record(&manager, 1);
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    let mut child = child("holds_a_lock_until_it_is_told", temp.path(), statement);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("locked")));
    let hold = Duration::from_secs(if deep() { 30 } else { 3 });
    let begun = Instant::now();
    while begun.elapsed() < hold {
        record(&manager, 2);
        manager.flush().unwrap();
        tail.nudge();
        std::thread::sleep(Duration::from_millis(20));
    }
    if stops_writing {
        let stats = tail.stats();
        assert!(stats.errors > 0 && stats.lag_records > 0, "{stats:?}");
        assert_ne!(stats.state, TailState::Paused, "{stats:?}");
        assert!(stats.last_error.unwrap().contains("locked"));
    } else {
        tail.export(manager.flush().unwrap(), LONG).unwrap();
        assert_eq!(tail.stats().errors, 0);
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    assert_eq!(tail.stats().state, TailState::Running);
    assert_eq!(manager.stats().dropped_count, 0);
    assert_same(in_log(&dir), &db);
}

#[test]
fn a_lock_of_another_process_delays_and_loses_nothing() {
    locked_by("BEGIN EXCLUSIVE; SELECT count(*) FROM spans;", true);
}

#[test]
fn a_reader_of_another_process_is_in_nobodys_way() {
    locked_by("BEGIN; SELECT * FROM traces;", false);
}

/// A small file system in memory, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(mib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        if !disk.run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"],
        ) {
            println!("skipped: mounting a tmpfs needs root, and is refused here");
            return None;
        }
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn run(&self, command: &str, arguments: &[&str]) -> bool {
        let output = Command::new(command)
            .args(arguments)
            .arg(self.0.path())
            .output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails where nothing was mounted.
        self.run("umount", &["-l"]);
    }
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let Some(disk) = Disk::mount(2) else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), disk.path().join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    let tail = start(&dir, &db);
    record(&manager, 1000);
    manager.flush().unwrap();
    tail.nudge();
    eventually("the disk is full", || {
        let stats = tail.stats();
        let text = stats.last_error.unwrap_or_default();
        // Tried again, never given up: what is full may have room later.
        let tries = matches!(stats.state, TailState::Retrying | TailState::Down);
        tries && stats.errors > 2 && text.contains("full")
    });
    // What was committed before is whole.
    let before = in_sqlite(&db).len();
    assert!(disk.run("mount", &["-o", "remount,size=256m"]));
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    assert!(in_sqlite(&db).len() > before);
    assert_same(in_log(&dir), &db);
}

#[test]
fn what_is_not_ours_pauses_the_backend_and_stays_as_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    record(&manager, 3);
    manager.flush().unwrap();
    let foreign = {
        let file = temp.path().join("foreign.db");
        let other = rusqlite::Connection::open(&file).unwrap();
        other
            .execute_batch("CREATE TABLE traces (trace_id TEXT)")
            .unwrap();
        drop(other);
        fs::read(file).unwrap()
    };
    let mut damaged = foreign.clone();
    damaged[100..].fill(0xa5);
    let wrong: [(&[u8], &str); 3] = [
        (b"notes of somebody", "is no SQLite database"),
        (&foreign, "is a database of another program"),
        (&damaged, "t.db"),
    ];
    for (bytes, why) in wrong {
        fs::write(&db, bytes).unwrap();
        let tail = start(&dir, &db);
        eventually("it pauses", || tail.stats().state == TailState::Paused);
        let text = tail.stats().last_error.unwrap();
        assert!(text.contains(why), "{text}");
        drop(tail);
        assert!(fs::read(&db).unwrap() == bytes, "{why}");
    }
    // When the file is out of the way, everything arrives.
    fs::remove_file(&db).unwrap();
    let tail = start(&dir, &db);
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    assert_same(in_log(&dir), &db);
}

#[test]
fn retention_gives_pages_back_while_batches_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, db) = (temp.path().join("log"), temp.path().join("t.db"));
    let manager = Manager::open(config(&dir)).unwrap();
    let tail = start(&dir, &db);
    record(&manager, 2000);
    tail.export(manager.flush().unwrap(), LONG).unwrap();
    drop(tail);
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    let mut sink = sink(&db).unwrap();
    let before = fs::metadata(&db).unwrap().len();
    let mut deleted = 0;
    // As often as it says that there was something.
    loop {
        let rows = sink.retain(now).unwrap();
        deleted += rows;
        if rows == 0 {
            break;
        }
        // Between two parts of it a batch finds its turn.
        let instance = InstanceId([1; 16]);
        let log = LogId([7; 16]);
        let (from, to) = (
            Position::START,
            Position {
                epoch: 1,
                offset: deleted,
            },
        );
        sink.write(
            BatchRange {
                log,
                instance,
                from,
                to,
            },
            &[],
        )
        .unwrap();
    }
    assert!(deleted > 2000 * 12, "{deleted}");
    drop(sink);
    let db_file = rusqlite::Connection::open(&db).unwrap();
    db_file
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let after = fs::metadata(&db).unwrap().len();
    assert!(after < before / 4, "{before} bytes before, {after} after");
}
