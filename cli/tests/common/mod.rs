//! Logs to ask about, and the program to ask.
#![allow(dead_code)] // not every test file uses all of it

pub mod moving;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use emberlog::{Config, Manager, TraceId, TraceOptions};
use serde_json::Value;

/// The program, without what the environment would tell it.
pub fn emberlog() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emberlog"));
    command
        .env_remove("EMBERLOG_DIR")
        .env_remove("RUST_BACKTRACE")
        .env("NO_COLOR", "1");
    command
}

/// What became of a call.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }
}

impl Said {
    /// Every line as JSON; panics where one is not.
    pub fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// The only object.
    pub fn object(&self) -> Value {
        let mut lines = self.json();
        assert_eq!(lines.len(), 1, "{}", self.out);
        lines.remove(0)
    }

    /// It failed with this code, one line, and nothing on standard output.
    pub fn failed(&self, code: i32, about: &str) {
        assert_eq!(self.code, Some(code), "out: {} err: {}", self.out, self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.err.starts_with("emberlog: "), "{}", self.err);
        assert!(
            self.err.contains(about),
            "{} does not speak of {about:?}",
            self.err
        );
    }
}

/// Calls the program on a log.
pub fn ask(dir: &Path, args: &[&str]) -> Said {
    emberlog()
        .args(args)
        .arg("--dir")
        .arg(dir)
        .output()
        .expect("the program starts")
        .into()
}

/// Calls the program with nothing but arguments.
pub fn call(args: &[&str]) -> Said {
    emberlog()
        .args(args)
        .output()
        .expect("the program starts")
        .into()
}

/// A directory with a log.
pub struct Log {
    _temp: tempfile::TempDir,
    pub dir: PathBuf,
}

/// Ids of the two traces that share their first digits.
pub const TWINS: [u128; 2] = [
    0xabcd_ef00_0000_0000_0000_0000_0000_0001,
    0xabcd_ef00_0000_0000_0000_0000_0000_0002,
];

#[derive(Debug)]
struct Timeout;

impl std::fmt::Display for Timeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no answer in 30 s")
    }
}

impl std::error::Error for Timeout {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        None
    }
}

impl Log {
    /// An empty place for one.
    pub fn place() -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("log");
        Self { _temp: temp, dir }
    }

    /// A place with a manager that records there.
    pub fn open() -> (Self, Manager) {
        let log = Self::place();
        let config = Config::new(&log.dir)
            .resource("service.name", "test")
            .ring(|ring| ring.crash_safe = false);
        let manager = Manager::open(config).expect("the log opens");
        (log, manager)
    }

    /// Ten traces `run` with two nodes each; every third fails; two traces with ids that begin
    /// alike; one with a foreign id and a name that would confuse a terminal.
    pub fn sample() -> Self {
        let (log, manager) = Self::open();
        for number in 0..10 {
            let run = manager.start_trace("run");
            run.set("number", number);
            run.set("graph_id", if number < 5 { "old" } else { "new" });
            let mut node = run.node("fetch");
            node.set("node.id", "fetcher");
            node.ok();
            let node = run.node("answer");
            if number % 3 == 0 {
                node.fail(&Timeout);
                run.fail(&Timeout);
            } else {
                node.ok();
                run.ok();
            }
        }
        for id in TWINS {
            let options = TraceOptions::new().id(TraceId::from_u128(id));
            let run = manager.start_trace_with("twin", &options);
            run.event("custom", "hello").record();
            run.metric("answer_cost").unit("usd").counter(0.25);
            run.ok();
        }
        let run = manager.start_trace_with(
            "evil\x1b[2J\nname",
            &TraceOptions::new().id_text("order-4711"),
        );
        run.ok();
        manager.shutdown().expect("the log closes");
        log
    }

    /// Calls the program on this log.
    pub fn ask(&self, args: &[&str]) -> Said {
        ask(&self.dir, args)
    }

    /// The only segment with records.
    pub fn segment(&self) -> PathBuf {
        let entries = fs::read_dir(&self.dir)
            .expect("the log is there")
            .flatten()
            .map(|e| e.path());
        let mut segments: Vec<PathBuf> = entries
            .filter(|p| p.extension().is_some_and(|e| e == "seg"))
            .collect();
        segments.sort();
        segments.remove(0)
    }

    /// Changes one byte of a file.
    pub fn flip(&self, path: &Path, at: usize) {
        let mut bytes = fs::read(path).expect("the file is there");
        bytes[at] ^= 0x10;
        let mut file = fs::File::create(path).expect("the file can be written");
        file.write_all(&bytes).expect("the file can be written");
    }
}

/// Calls the program and hangs up after `bytes` of its output; returns its exit code.
pub fn hang_up(args: &[&str], dir: &Path, bytes: u64) -> (Option<i32>, String) {
    let mut command = emberlog();
    command
        .args(args)
        .arg("--dir")
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut read = Vec::new();
    let stdout = child.stdout.take().expect("standard output is piped");
    let mut some = io::Read::take(stdout, bytes);
    io::Read::read_to_end(&mut some, &mut read).expect("something to read");
    drop(some);
    let output = child.wait_with_output().expect("the program ends");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
