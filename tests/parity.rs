//! `docs/spark-parity.md` tells the truth: each requirement stands there once, and each test that it
//! names exists and is run.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

/// The requirements that the table has so far.
const TOLD: &[RangeInclusive<u32>] = &[1..=145, 151..=244, 268..=271, 283..=294, 297..=300];

struct Row {
    state: String,
    tests: Vec<String>,
    remark: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<(u32, Row)> {
    let text = fs::read_to_string(root().join("docs/spark-parity.md")).unwrap();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| R")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, state, tests, remark] = cells[..] else {
            panic!("four cells are expected: {line}");
        };
        let number = number[1..].parse().expect(line);
        let tests = tests.split(',').map(|test| test.trim().trim_matches('`'));
        let row = Row {
            state: state.to_owned(),
            tests: tests.filter(|t| !t.is_empty()).map(str::to_owned).collect(),
            remark: remark.to_owned(),
        };
        rows.push((number, row));
    }
    rows
}

/// Why a test that is named is none that runs.
fn wrong(test: &str) -> Option<String> {
    let Some((file, name)) = test.split_once("::") else {
        return Some(format!("{test} is not FILE::NAME"));
    };
    let Ok(text) = fs::read_to_string(root().join(file)) else {
        return Some(format!("{file} does not exist"));
    };
    let Some(at) = text.find(&format!("fn {name}(")) else {
        return Some(format!("{file} has no {name}"));
    };
    if Path::new(file).starts_with("examples") {
        // `scripts/test examples` runs those that say what they print.
        let told = text.contains("//! ```text");
        return (!told).then(|| format!("{file} does not say what it prints"));
    }
    // Tests in a module of a test file may be `pub`.
    let line = text[..at].rfind('\n').unwrap_or(0);
    let above: Vec<_> = text[..line].trim_end().lines().rev().take(4).collect();
    let attributes = above
        .iter()
        .take_while(|line| line.trim_start().starts_with('#'));
    let attributes: Vec<_> = attributes.map(|line| line.trim()).collect();
    if !attributes.contains(&"#[test]") || attributes.iter().any(|a| a.starts_with("#[ignore")) {
        return Some(format!("{test} is no test that runs"));
    }
    None
}

#[test]
fn every_requirement_stands_there_once_with_tests_that_exist() {
    let mut problems = Vec::new();
    let mut seen = BTreeMap::<u32, u32>::new();
    for (number, row) in rows() {
        *seen.entry(number).or_default() += 1;
        let number = format!("R{number:03}");
        problems.extend(
            row.tests
                .iter()
                .filter_map(|t| Some(format!("{number}: {}", wrong(t)?))),
        );
        match row.state.as_str() {
            "done" if row.tests.is_empty() => problems.push(format!("{number} names no test")),
            "differs" | "open" if row.remark.is_empty() => {
                problems.push(format!("{number} does not say why"));
            }
            "done" | "differs" | "open" => {}
            other => problems.push(format!("{number}: {other:?} is no state")),
        }
    }
    for number in TOLD.iter().flat_map(Clone::clone) {
        match seen.remove(&number) {
            Some(1) => {}
            Some(_) => problems.push(format!("R{number:03} stands there twice")),
            None => problems.push(format!("R{number:03} is missing")),
        }
    }
    let others = seen
        .keys()
        .map(|number| format!("R{number:03} is not in `TOLD`"));
    problems.extend(others);
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The check itself sees what is wrong.
#[test]
fn what_does_not_exist_is_seen() {
    assert_eq!(wrong("tests/parity.rs::what_does_not_exist_is_seen"), None);
    assert_eq!(wrong("examples/unit_test.rs::main"), None);
    for (test, expected) in [
        ("tests/parity.rs", "is not FILE::NAME"),
        ("tests/none.rs::x", "does not exist"),
        ("tests/parity.rs::no_such_test", "has no no_such_test"),
        ("tests/parity.rs::wrong", "is no test that runs"),
        ("tests/config.rs::a_child", "is no test that runs"),
    ] {
        let why = wrong(test).unwrap_or_default();
        assert!(why.contains(expected), "{test}: {why:?}");
    }
}
