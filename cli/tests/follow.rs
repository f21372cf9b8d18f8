//! `export --follow` in another process, and rings in a folder of their own: live writers, real kills.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use common::{
    ask, emberlog,
    moving::{beside, lines, once_and_all, url},
    Log,
};
use emberlog::{Config, Manager};
use serde_json::Value;

/// Records traces in a directory of its own until it is killed, and says how many ended.
const WRITER: &str = "EMBERLOG_TEST_WRITER";

/// Where it has its rings, if not in the usual folder.
const RINGS: &str = "EMBERLOG_TEST_RINGS";

/// Not a test: what the tests start to have a live writer in another process.
#[test]
fn writer() {
    let Some(dir) = std::env::var_os(WRITER) else {
        return;
    };
    let config = Config::new(dir);
    let config = match std::env::var_os(RINGS) {
        Some(rings) => config.ring(|ring| ring.dir = Some(rings.into())),
        None => config,
    };
    let manager = Manager::open(config).unwrap();
    for number in 0u64.. {
        let run = manager.start_trace("run");
        run.set("number", number);
        let node = run.node("fetch");
        node.ok();
        run.ok();
        println!("ended {number}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A live writer; it is killed when dropped.
struct Writer {
    child: Child,
}

impl Writer {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, None)
    }

    fn start_with(dir: &Path, rings: Option<&Path>) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
            .env(WRITER, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(rings) = rings {
            command.env(RINGS, rings);
        }
        Self {
            child: command.spawn().unwrap(),
        }
    }

    /// Waits until that many traces ended.
    fn wait(&mut self, traces: u64) {
        let out = self.child.stdout.take().unwrap();
        let mut out = BufReader::new(out);
        let mut line = String::new();
        loop {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the writer ended");
            let number = line
                .trim()
                .strip_prefix("ended ")
                .and_then(|n| n.parse::<u64>().ok());
            if number.is_some_and(|number| number + 1 >= traces) {
                break;
            }
        }
        // Whoever stops reading would block it.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `what` holds; a test that waits in vain fails.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn another_process_follows_every_log_of_a_root() {
    let place = Log::place();
    fs::create_dir(&place.dir).unwrap();
    let jsonl = beside(&place, "rows.jsonl");
    let mut follower = emberlog();
    follower
        .args([
            "export",
            "--follow",
            "--json",
            "--to",
            &url("jsonl", &jsonl),
            "--dir",
        ])
        .arg(&place.dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Nothing is there yet.
    let follower = follower.spawn().unwrap();
    let mut first = Writer::start(&place.dir.join("one"));
    first.wait(100);
    let mut second = Writer::start(&place.dir.join("two"));
    second.wait(100);
    let rows = || fs::read_to_string(&jsonl).map_or(0, |text| text.lines().count());
    until("rows of both", || rows() > 600);
    first.kill();
    let mut third = Writer::start(&place.dir.join("three"));
    third.wait(50);
    let before = rows();
    until("more rows", || rows() > before + 200);
    second.kill();
    third.kill();
    signal(&follower, rustix::process::Signal::TERM);
    let said = common::Said::from(follower.wait_with_output().unwrap());
    let report = said.object();
    assert!(said.err.is_empty(), "{}", said.err);
    let found = lines(&jsonl);
    assert_eq!(report["records"], found.len());

    // What the killed writers' rings held comes when they are recovered.
    ask(&place.dir, &["recover"]);
    let said = ask(
        &place.dir,
        &["export", "--json", "--to", &url("jsonl", &jsonl)],
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    once_and_all(&place.dir, &jsonl);
}

#[test]
fn rings_in_a_folder_of_their_own() {
    let log = Log::place();
    let rings = beside(&log, "rings");
    fs::create_dir(&rings).unwrap();
    let mut writer = Writer::start_with(&log.dir, Some(&rings));
    writer.wait(20);
    writer.kill();
    let traces = |args: &[&str]| {
        let all = &["query", "traces", "--limit", "all", "--json"];
        log.ask(&[&all[..], args].concat()).json().len()
    };
    let folder = ["--ring-dir", rings.to_str().unwrap()];
    // The newest are in the rings only, if they can be seen at all.
    assert!(traces(&folder) >= 20);
    let recovered = log.ask(&["recover", "--json", "--ring-dir", rings.to_str().unwrap()]);
    let recovered: Value = serde_json::from_str(recovered.out.trim()).unwrap();
    assert!(
        recovered["rings_drained"].as_u64() >= Some(1),
        "{recovered}"
    );
    assert!(traces(&[]) >= 20);
}
