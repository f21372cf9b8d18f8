//! `export` to receivers and servers: what arrives there, and that no secret is shown by anything.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use common::{ask, emberlog, moving::export, Log, Said};

const CANARY: &str = "canary-0815";

/// Requests by path; the headers of the last one.
#[derive(Default)]
struct Seen {
    requests: BTreeMap<String, u32>,
    headers: Vec<String>,
}

/// Takes everything. Ends with the test.
fn receiver(status: &'static str) -> (String, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), status, &noted);
        }
    });
    (address, seen)
}

fn answer(stream: TcpStream, status: &str, seen: &Mutex<Seen>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        // A connection without a request was only tried.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_ascii_lowercase()),
        }
    }
    let length = head
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    {
        let mut seen = seen.lock().unwrap();
        *seen.requests.entry(path).or_default() += 1;
        seen.headers = head;
    }
    // The answer repeats what it got, as some do.
    let said = seen.lock().unwrap().headers.join(" ");
    let said = if status.starts_with('2') { "" } else { &said };
    let length = said.len();
    write!(
        reader.into_inner(),
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{said}"
    )
    .unwrap();
}

/// Nothing that was said or written below the directory has the canary in it.
fn hidden(said: &Said, dir: &Path) {
    assert!(!said.out.contains(CANARY), "{}", said.out);
    assert!(!said.err.contains(CANARY), "{}", said.err);
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        assert!(!path.to_string_lossy().contains(CANARY), "{path:?}");
        if path.is_dir() {
            left.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            let bytes = fs::read(&path).unwrap();
            let found = bytes
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            assert!(!found, "{path:?}");
        }
    }
}

#[test]
fn every_signal_arrives_and_a_second_export_sends_nothing() {
    let log = Log::sample();
    let (address, seen) = receiver("200 OK");
    let to = format!("otlp+http://{address}");
    let run = || {
        emberlog()
            .args([
                "export",
                "--json",
                "--to",
                &to,
                "--header",
                "x-key=env:KEY",
                "--dir",
            ])
            .arg(&log.dir)
            .env("KEY", CANARY)
            .output()
            .map(Said::from)
            .unwrap()
    };
    let first = run();
    assert!(
        first.object()["records"].as_u64() > Some(0),
        "{}",
        first.out
    );
    hidden(&first, &log.dir);
    let requests = seen.lock().unwrap().requests.clone();
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        assert!(requests.contains_key(path), "{requests:?}");
    }
    let header = format!("x-key: {CANARY}");
    assert!(seen.lock().unwrap().headers.contains(&header));
    assert_eq!(run().object()["records"], 0);
    assert_eq!(seen.lock().unwrap().requests, requests);
}

#[test]
fn files_of_otlp_lines() {
    let log = Log::sample();
    let path = common::moving::beside(&log, "out.jsonl");
    export(&log, &["--to", &common::moving::url("otlp-file", &path)]);
    let spans = common::moving::lines(&common::moving::beside(&log, "out-traces.jsonl"));
    assert!(spans.iter().all(|line| line["resourceSpans"].is_array()));
    assert!(!spans.is_empty());
}

#[test]
fn no_secret_is_said_of_a_target_that_fails() {
    let log = Log::sample();
    let closed = {
        // Nobody listens there any more.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (refusing, _seen) = receiver("401 Unauthorized");
    for to in [
        format!("postgresql://me:{CANARY}@{closed}/db"),
        format!("postgresql://me@{closed}/db?password={CANARY}"),
        format!("postgresql://me:{CANARY}@{closed}/db?sslmode=wrong&foo={CANARY}"),
        format!("postgresql://me:x/{CANARY}@{closed}/db"),
        format!("otlp+http://me:{CANARY}@{closed}"),
        format!("otlp+http://{refusing}/?key={CANARY}"),
        format!("otlp+grpc://{CANARY}@{closed}"),
    ] {
        for args in [&["--to", &to][..], &["--json", "--to", &to]] {
            let args = [&["export", "--retry-for", "100ms"], args].concat();
            let said = ask(&log.dir, &args);
            said.failed(2, "");
            hidden(&said, &log.dir);
        }
    }
    for header in [
        format!("x-key={CANARY}"),
        format!("={CANARY}"),
        CANARY.to_owned(),
    ] {
        let to = format!("otlp+json://{refusing}");
        let args = [
            "export",
            "--retry-for",
            "100ms",
            "--to",
            &to,
            "--header",
            &header,
        ];
        let said = ask(&log.dir, &args);
        said.failed(2, "");
        hidden(&said, &log.dir);
    }
}

#[test]
fn what_cannot_be_moved_from_says_so() {
    let said = common::call(&[
        "migrate",
        "--from",
        &format!("otlp+http://me:{CANARY}@localhost"),
        "--to",
        "jsonl:x",
    ]);
    said.failed(2, "nothing can be moved from otlp+http://, only to it");
    assert!(!said.err.contains(CANARY));
}
