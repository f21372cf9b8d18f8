//! However the process, the server and the network fail: everything arrives in PostgreSQL, once.
#![cfg(all(unix, feature = "postgres"))]

#[path = "support/deadly.rs"]
mod deadly;
#[path = "support/postgres_load.rs"]
mod load;
#[path = "support/postgres_proxy.rs"]
mod proxy;
#[path = "support/postgres.rs"]
mod support;

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use emberlog::{
    backend::{
        postgres::{Options, PostgresSink},
        Sink,
    },
    tail::{self, LogSource, Tail, TailState},
    Manager,
};

use deadly::Deadly;
use load::{assert_arrived, deep, end, manager, record, tail, under_load, LONG};
use proxy::{Fault, Proxy};
use support::{until, Server, Wanted};

/// So that what hangs is given up soon.
fn impatient(options: Options) -> Options {
    options.tune(|o| {
        o.connect_timeout = Duration::from_secs(2);
        o.command_timeout = Duration::from_secs(2);
    })
}

/// Everything recorded so far is in the database.
#[track_caller]
fn delivered(manager: &Manager, dir: &Path, tail: &Tail, options: &Options) -> usize {
    manager.flush().unwrap();
    if let Err(error) = tail.export(end(dir), LONG) {
        panic!("{error}: {:?}", tail.stats());
    }
    assert_eq!(tail.stats().quarantined, 0, "{:?}", tail.stats());
    assert_arrived(dir, options)
}

const VICTIM: &str = "EMBERLOG_POSTGRES_VICTIM";
const STAGE: &str = "EMBERLOG_POSTGRES_STAGE";

/// What is killed below; records and delivers until then.
#[test]
fn records_until_it_is_killed() {
    let (Some(root), Ok(stage)) = (std::env::var_os(VICTIM), std::env::var(STAGE)) else {
        return;
    };
    let dir = Path::new(&root);
    let options = Options::from_url(&std::env::var("EMBERLOG_PG_URL").unwrap()).unwrap();
    let manager = manager(dir);
    let source = LogSource::open(dir).unwrap();
    let open = move || {
        let sink = PostgresSink::open("postgres", options.clone())?;
        Ok(Box::new(Deadly::at(&stage, sink)) as Box<dyn Sink>)
    };
    let mut of_tail = tail::Options::new("postgres");
    of_tail.export_interval = Duration::from_millis(1);
    of_tail.poll = Duration::from_millis(1);
    of_tail.buffer_size = 10;
    let tail = Tail::start(dir, source, open, of_tail).unwrap();
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
fn a_process_killed_anywhere_delivers_each_record_once() {
    let temp = tempfile::tempdir().unwrap();
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let options = server.options();
    let rounds = if deep() { 1000 } else { 200 };
    for round in 0..rounds {
        // Rows are with the server, or committed, and the process knows nothing of it; or just
        // before or behind a batch; or anywhere.
        let (fault, stage) = match round % 5 {
            0 => (Fault::HoldCopy, "anywhere".to_owned()),
            1 => (Fault::HoldCommit, "anywhere".to_owned()),
            2 => (Fault::None, format!("before {}", 1 + round % 4)),
            3 => (Fault::None, format!("after {}", 1 + round % 4)),
            _ => (Fault::None, "anywhere".to_owned()),
        };
        let struck = proxy.struck();
        proxy.set(fault);
        let url = format!(
            "postgresql://{}@127.0.0.1:{}/{}",
            support::USER,
            proxy.port(),
            support::DATABASE
        );
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["records_until_it_is_killed", "--exact", "--nocapture"])
            .env(VICTIM, temp.path())
            .env(STAGE, &stage)
            .env("EMBERLOG_PG_URL", &url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if fault != Fault::None {
            until("the process is held up", || proxy.struck() > struck);
        } else if stage == "anywhere" {
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().contains("recorded")));
            std::thread::sleep(Duration::from_micros(round * 997 % 30_000));
        }
        if stage == "anywhere" {
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        assert!(!status.success(), "round {round} ({stage}) was not killed");
        assert_eq!(status.signal(), Some(9), "round {round} ({stage})");
    }
    proxy.set(Fault::None);
    let manager = manager(temp.path());
    let tail = tail(temp.path(), &options, |_| ());
    let rows = delivered(&manager, temp.path(), &tail, &options);
    assert!(rows as u64 > rounds * 30, "{rows}");
    assert_eq!(tail.stats().damaged, 0);
}

#[test]
fn a_server_that_stops_dies_and_sleeps_under_load_has_everything_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let mut server = Server::start();
    let options = impatient(server.options());
    let manager = manager(dir);
    let tail = tail(dir, &options, |o| o.buffer_size = 50);
    for round in 0..20 {
        under_load(&manager, 50, || {
            let errors = tail.stats().errors;
            match round % 5 {
                0 => {
                    server.stop();
                    until("it is noticed", || tail.stats().errors > errors);
                    server.up();
                }
                1 | 3 => {
                    server.kill();
                    until("it is noticed", || tail.stats().errors > errors);
                    server.up();
                }
                2 => {
                    server.pause();
                    until("it is noticed", || tail.stats().errors > errors);
                    server.go_on();
                }
                _ => {
                    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                        WHERE application_name = 'emberlog test'";
                    until("a session is ended", || server.ask(sql) != "0");
                    until("it is noticed", || tail.stats().errors > errors);
                }
            }
        });
        delivered(&manager, dir, &tail, &options);
        assert_eq!(tail.stats().state, TailState::Running);
    }
}

#[test]
fn a_server_that_became_read_only_gets_everything_when_it_is_not() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let server = Server::start();
    let options = server.options();
    let manager = manager(dir);
    let tail = tail(dir, &options, |_| ());
    record(&manager, 5);
    delivered(&manager, dir, &tail, &options);
    server.sql(
        "postgres",
        "ALTER SYSTEM SET default_transaction_read_only = on",
    );
    server.sql("postgres", "SELECT pg_reload_conf()");
    under_load(&manager, 20, || {
        until("it is noticed", || {
            let stats = tail.stats();
            let said = stats.last_error.unwrap_or_default();
            stats.state != TailState::Running && said.contains("read-only")
        });
    });
    let spans = server.count("spans");
    // Whoever asks for a server that can be written to is told.
    let wanted = options.clone().tune(|o| {
        o.target = emberlog::backend::postgres::Target::ReadWrite;
    });
    let refused = emberlog::backend::postgres::PostgresReader::open(wanted).unwrap_err();
    assert!(
        refused.to_string().contains("transaction_read_only"),
        "{refused}"
    );
    assert_eq!(server.count("spans"), spans);
    server.sql(
        "postgres",
        "ALTER SYSTEM RESET default_transaction_read_only",
    );
    server.sql("postgres", "SELECT pg_reload_conf()");
    delivered(&manager, dir, &tail, &options);
    assert!(server.count("spans") > spans);
}

#[test]
fn a_network_that_fails_delays_and_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let options = impatient(server.options_at(proxy.port()));
    let direct = server.options();
    let manager = manager(dir);
    let tail = tail(dir, &options, |o| o.buffer_size = 50);
    let rounds = if deep() { 8 } else { 1 };
    for round in 0..rounds {
        // Cut in the middle of a batch, wherever that is.
        for bytes in [100, 1_000, 5_000, 20_000, 60_000].map(|n| n + 777 * round) {
            under_load(&manager, 40, || {
                let struck = proxy.struck();
                proxy.set(Fault::CutAfter(bytes));
                until("a connection is cut", || proxy.struck() > struck);
                proxy.set(Fault::None);
            });
            delivered(&manager, dir, &tail, &direct);
        }
        under_load(&manager, 40, || {
            let errors = tail.stats().errors;
            proxy.set(Fault::Blackhole);
            until("it is noticed", || tail.stats().errors > errors);
            proxy.set(Fault::None);
        });
        delivered(&manager, dir, &tail, &direct);
        under_load(&manager, 40, || {
            proxy.set(Fault::Slow(Duration::from_millis(30)));
            let batches = tail.stats().batches;
            until("it goes on", || tail.stats().batches > batches + 2);
            proxy.set(Fault::None);
        });
        delivered(&manager, dir, &tail, &direct);
        under_load(&manager, 40, || {
            let errors = tail.stats().errors;
            proxy.set(Fault::Refuse);
            proxy.reset();
            until("it is noticed", || tail.stats().errors > errors + 2);
            proxy.set(Fault::None);
        });
        delivered(&manager, dir, &tail, &direct);
    }
}

#[test]
fn a_commit_of_which_nobody_heard_counts_once() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let options = impatient(server.options_at(proxy.port()));
    let manager = manager(dir);
    let tail = tail(dir, &options, |o| o.buffer_size = 20);
    for round in 0..10 {
        let (struck, delivered_before) = (proxy.struck(), tail.stats().delivered);
        proxy.set(Fault::LoseCommit);
        record(&manager, 3);
        until("a commit is lost", || {
            manager.flush().unwrap();
            proxy.struck() > struck
        });
        delivered(&manager, dir, &tail, &server.options());
        let stats = tail.stats();
        assert!(stats.errors > round, "{stats:?}");
        assert!(stats.delivered > delivered_before, "{stats:?}");
    }
    // Each row was counted once as delivered, too.
    let log = emberlog::LogReader::open(dir).unwrap();
    let all = emberlog::Filter::new().all();
    let mut recorded = all.clone();
    recorded.recorded_only = true;
    let points = log.events(&recorded).unwrap().len() + log.metrics(&recorded).unwrap().len();
    let traces = 2 * log.traces(&all).unwrap().len();
    let rows = points + traces + log.spans(&all).unwrap().len() + log.links(&all).unwrap().len();
    assert_eq!(tail.stats().delivered, rows as u64);
}

/// A small file system in memory, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(mib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(disk.0.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            println!("skipped: mounting a tmpfs needs root, and is refused here");
        }
        mounted.then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_of_the_server_delays_and_loses_nothing() {
    let Some(disk) = Disk::mount(400) else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let server = Server::with(&Wanted {
        root: Some(disk.0.path().to_owned()),
        settings: vec![
            "max_wal_size = 64MB".to_owned(),
            "wal_recycle = off".to_owned(),
        ],
        ..Wanted::default()
    });
    let options = server.options();
    let manager = manager(dir);
    let tail = tail(dir, &options, |o| o.buffer_size = 1000);
    record(&manager, 10);
    delivered(&manager, dir, &tail, &options);
    // All of the tables' room is taken; the write-ahead log keeps what it has.
    let ballast = disk.0.path().join("ballast");
    let fill = || {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&ballast)
            .unwrap();
        while std::io::Write::write_all(&mut file, &[1; 64 << 10]).is_ok() {}
    };
    under_load(&manager, 200, || {
        until("the disk is full", || {
            fill();
            let said = tail.stats().last_error.unwrap_or_default();
            said.contains("53100") || said.contains("No space left")
        });
    });
    std::fs::remove_file(&ballast).unwrap();
    let mut server = server;
    // A server whose write-ahead log found no room ends itself and is started by its keeper.
    server.up_again();
    delivered(&manager, dir, &tail, &options);
    drop(tail);
    drop(server);
}
