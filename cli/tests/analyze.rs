//! `analyze` and `diff`, as scripts and people on call see them.

mod common;

use std::{fs, path::Path, process::Command};

use common::{call, Log};
use emberlog::{Config, Manager};

/// Runs of two versions of a graph; the second one fails every third time.
fn versions(dir: &Path) {
    let config = Config::new(dir).ring(|ring| ring.crash_safe = false);
    let manager = Manager::open(config).expect("the log opens");
    for number in 0..60 {
        let run = manager.start_trace("flow");
        run.set("graph_id", "rag");
        run.set("graph_version", if number < 30 { "1.4" } else { "1.5" });
        run.node("fetch <b>").ok();
        let node = run.node("answer");
        if number >= 30 && number % 3 == 0 {
            node.fail_with("Timeout", "no answer in 30 s");
            run.end(emberlog::Status::Error);
        } else {
            node.ok();
            run.ok();
        }
    }
    manager.shutdown().expect("the log closes");
}

fn placed() -> Log {
    let log = Log::place();
    versions(&log.dir);
    log
}

#[test]
fn findings_are_exit_1_and_name_what_to_look_at() {
    let log = placed();
    let said = log.ask(&["analyze", "--graph", "rag", "--utc"]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for text in [
        "60 runs",
        "83.3% ok",
        "Fix answer - high error rate (16.7%)",
        "Handle Timeout in answer (10 occurrences)",
        "Timeout: no answer in 30 s",
        "versions: 1.4 (30 runs",
    ] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    // An example is a prefix that `trace` takes.
    let line = said.out.lines().find(|line| line.contains("no answer in"));
    let example = line
        .and_then(|line| line.split_whitespace().last())
        .unwrap();
    assert_eq!(log.ask(&["trace", example]).code, Some(0), "{example}");
}

#[test]
fn json_has_the_documented_fields() {
    let log = placed();
    let said = log.ask(&["analyze", "--json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let json: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json["has_issues"], true);
    assert_eq!(json["summary"]["total_executions"], 60);
    assert_eq!(json["summary"]["failures_count"], 1);
    let report = &json["report"];
    assert_eq!(report["graph_version"], "unknown");
    assert_eq!(report["node_metrics"]["answer"]["failures"], 10);
    assert_eq!(report["bottlenecks"][0]["issue_type"], "high_error_rate");
    assert_eq!(report["bottlenecks"][0]["severity"], "high");
    assert_eq!(report["failures"][0]["error_type"], "Timeout");
    assert_eq!(report["critical_path"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_found_is_exit_0_and_too_few_exit_3() {
    let log = placed();
    let fine = log.ask(&["analyze", "--graph-version", "1.4"]);
    assert_eq!(fine.code, Some(0), "{}", fine.out);
    assert!(fine.out.contains("nothing is slow, nothing fails"));
    let few = log.ask(&[
        "analyze",
        "--graph-version",
        "1.4",
        "--min-executions",
        "31",
    ]);
    assert_eq!(few.code, Some(3));
    assert_eq!(few.out, "Insufficient data: 30 executions (minimum: 31)\n");
    let old = log.ask(&["analyze", "--until", "2001-09-09"]);
    assert_eq!(old.code, Some(3));
    let later = log.ask(&["analyze", "--graph", "nobody"]);
    assert_eq!(later.code, Some(3));
    assert!(later.err.contains("no run of this graph"), "{}", later.err);
    let json = log.ask(&["analyze", "--graph", "nobody", "--json"]);
    assert_eq!(json.code, Some(3));
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["report"], serde_json::Value::Null);
    assert_eq!(json["has_issues"], false);
}

#[test]
fn a_worse_version_is_exit_1() {
    let log = placed();
    let worse = log.ask(&["analyze", "--graph", "rag", "--compare", "1.4", "1.5"]);
    assert_eq!(worse.code, Some(1), "{}", worse.out);
    assert!(
        worse.out.starts_with("1.5 is worse than 1.4: ") && worse.out.contains("fails more often"),
        "{}",
        worse.out
    );
    let few = log.ask(&["analyze", "--compare", "1.4", "9"]);
    assert_eq!(few.code, Some(3));
    assert!(few.out.contains("after: Insufficient data: 0 executions"));
    let json = log.ask(&["analyze", "--compare", "1.4", "1.5", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["worse"], true);
    assert!(json["success_rate"]["high"].as_f64().unwrap() < 0.0);
    let same = log.ask(&["analyze", "--compare", "1.4", "1.4"]);
    assert_eq!(same.code, Some(0), "{}", same.out);
}

#[test]
fn other_places_give_the_same() {
    let log = placed();
    let dir = log.dir.to_str().unwrap();
    let named = call(&["analyze", "--from", dir, "--json"]);
    assert_eq!(named.code, Some(1), "{}", named.err);
    call(&["analyze", "--from", "postgresql://h/db?colour=red"]).failed(2, "colour");
    call(&["analyze", "--from", "jsonl:x"]).failed(2, "jsonl:x");
    call(&["analyze", "--from", "sqlite:/nowhere.db"]).failed(2, "/nowhere.db");
    call(&["analyze", "--from", "/nowhere"]).failed(2, "/nowhere");
    log.ask(&["analyze", "--since", "tomorrowish"])
        .failed(2, "--since");
    log.ask(&["analyze", "--objective", "latency"])
        .failed(2, "latency");
}

#[test]
fn the_report_is_one_file_that_needs_nothing_else() {
    let log = placed();
    let path = log.dir.with_extension("html");
    let file = path.to_str().unwrap();
    let said = log.ask(&["analyze", "--report", file]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let page = fs::read_to_string(&path).unwrap();
    balanced(&page);
    for text in ["fetch &lt;b&gt;", "Timeout", "<svg", "no answer in 30 s"] {
        assert!(page.contains(text), "{text}");
    }
    for text in [
        "<script", "http:", "https:", "src=", "url(", "@import", "href=", "<b>;",
    ] {
        assert!(!page.contains(text), "{text}");
    }
    in_a_browser(&path, &page);
    let said = log.ask(&["analyze", "--compare", "1.4", "1.5", "--report", file]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let page = fs::read_to_string(&path).unwrap();
    balanced(&page);
    in_a_browser(&path, &page);
    assert!(page.contains("1.5 is worse than 1.4"));
    // Where there is nothing to report, what was there stays.
    let few = log.ask(&["analyze", "--graph", "nobody", "--report", file]);
    assert_eq!(few.code, Some(3));
    assert!(few.err.contains("no report was written"), "{}", few.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), page);
    log.ask(&["analyze", "--report", "/nowhere/at/all.html"])
        .failed(2, "/nowhere/at/all.html");
}

/// A browser, if one is installed, sees what was written: all plots, and no element that it had to
/// make up or to drop.
fn in_a_browser(path: &Path, page: &str) {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&folders).flat_map(|folder| {
        ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name))
    });
    let Some(browser) = programs.find(|program| program.is_file()) else {
        return;
    };
    let profile = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-background-networking", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", path.display()))
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    for tag in ["svg", "rect", "circle", "line", "table", "td", "section"] {
        let of = |text: &str| {
            let opened = text.split('<').filter(|part| {
                let name = part.split([' ', '>', '/']).next();
                name == Some(tag)
            });
            opened.count()
        };
        assert_eq!(of(&dom), of(page), "{tag}: {dom}");
    }
    assert!(dom.contains("<svg"), "{dom}");
}

/// Every tag is closed where it must be, and no number of a plot is none.
fn balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{page}");
        } else if !tag.ends_with('/') && !name.starts_with('!') && name != "meta" {
            open.push(name);
        }
        assert!(!tag.contains("NaN") && !tag.contains("inf\""), "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn diff_shows_what_ended_differently() {
    let log = Log::sample();
    let rows = log
        .ask(&["query", "traces", "--name", "run", "--json"])
        .json();
    let id = |status: &str| {
        let row = rows.iter().find(|row| row["status"] == status).unwrap();
        row["trace_id"].as_str().unwrap().to_owned()
    };
    let (good, bad) = (id("ok"), id("error"));
    let said = log.ask(&["diff", &good, &bad]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("1 node differs"), "{}", said.out);
    let line = said
        .out
        .lines()
        .find(|line| line.contains("answer"))
        .unwrap();
    assert!(
        line.starts_with('!') && line.contains("ok → error"),
        "{line}"
    );
    let diff = log.ask(&["diff", &good, &bad, "--json"]).object();
    assert_eq!(diff["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(diff["nodes"][0]["node"], "fetcher");
    assert_eq!(diff["nodes"][0]["status"][1], "ok");
    let twin = format!("{:032x}", common::TWINS[0]);
    let said = log.ask(&["diff", &good, &twin]);
    let gone = said.out.lines().filter(|line| line.starts_with('-'));
    assert_eq!(gone.count(), 2, "{}", said.out);
    log.ask(&["diff", &good, "zzz"]).failed(2, "zzz");
}
