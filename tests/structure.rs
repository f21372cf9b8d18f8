//! The source keeps the shape that `docs/design.md` draws: arrows in one direction, unsafe code in
//! the files that it lists, files that fit in one's head.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom: every arrow, as `docs/design.md` says ("The way of the data"). `log` says
/// nothing of `ring`, `ring` nothing of `log`: the flusher brings them together. `sync` is open to
/// all: what is `std`'s in a normal build is loom's or ThreadSanitizer's in others.
const ARROWS: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("clock", &[]),
    ("exit", &[]),
    ("record", &[]),
    ("model", &["record"]),
    ("sampling", &["record"]),
    // `Stats` shows a `log::Position`.
    ("stats", &["log", "record", "ring", "tail"]),
    (
        "config",
        &[
            "backend", "log", "model", "record", "ring", "sampling", "tail",
        ],
    ),
    ("ring", &["clock", "record"]),
    ("api", &["clock", "record", "ring", "sampling"]),
    // The engine is what the recording handles and the flusher share.
    (
        "flusher",
        &["api", "clock", "log", "record", "ring", "sampling", "stats"],
    ),
    ("log", &["clock", "record"]),
    (
        "tail",
        &["backend", "clock", "log", "model", "query", "record"],
    ),
    // A backend answers the same filters, and gives the same rows, as a query of the log.
    (
        "backend",
        &["clock", "log", "model", "query", "record", "sampling"],
    ),
    // The log is one of the places that can be asked; rings hold what is not logged yet.
    (
        "query",
        &[
            "backend", "clock", "log", "model", "record", "ring", "sampling",
        ],
    ),
    // Any store that answers queries can be analysed; the log is read record by record.
    ("analysis", &["backend", "model", "query", "record"]),
    (
        "export",
        &["backend", "log", "model", "query", "record", "tail"],
    ),
    // Whoever instruments with another library gets what a user of `api` has.
    ("bridge", &["api", "manager", "record", "sampling"]),
    (
        "manager",
        &[
            "api", "backend", "clock", "config", "exit", "flusher", "log", "model", "query",
            "record", "ring", "stats", "tail",
        ],
    ),
    // A user of the public handles; an async node reads the clock for itself. It asks the manager
    // for its configuration.
    (
        "instrument",
        &["api", "clock", "config", "manager", "record"],
    ),
];

/// The files that may hold unsafe code.
const UNSAFE: &[&str] = &[
    "exit.rs",
    "log/map.rs",
    "record/view.rs",
    "ring/storage.rs",
    "ring/storage_loom.rs",
    "ring/wiped.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Not what packages below have compiled.
            if !path.ends_with("target") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file: its path below `src`, with `/`, and its text.
fn sources() -> Vec<(String, String)> {
    let files = below(&root());
    assert!(files.len() > 100, "only {} source files", files.len());
    files
}

/// The same of the files below `root`.
fn below(root: &Path) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let files: Vec<_> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            (name.replace('\\', "/"), fs::read_to_string(path).unwrap())
        })
        .collect();
    files
}

fn is_test(file: &str) -> bool {
    file.contains("/tests/") || file.ends_with("/tests.rs")
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first segments of the paths that begin at the crate: `crate::a::b`, `crate::{a, b::{c}}`.
fn roots_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let word = |text: &str| -> String {
            let text = text.trim_start();
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            used.insert(word(rest));
            continue;
        };
        let (mut depth, mut top) = (1, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                c if depth == 1 => top.push(c),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        used.extend(top.split(',').map(word).filter(|w| !w.is_empty()));
    }
    used
}

/// Which module a name that `lib.rs` re-exports comes from: a shortcut is an arrow too.
fn reexports() -> BTreeMap<String, String> {
    let lib = code(&fs::read_to_string(root().join("lib.rs")).unwrap());
    let mut map = BTreeMap::new();
    for part in lib.split("pub use ").skip(1) {
        let part = part.split(';').next().unwrap();
        let module = part.split("::").next().unwrap().trim().to_owned();
        for word in part.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if word.starts_with(char::is_uppercase) {
                map.insert(word.to_owned(), module.clone());
            }
        }
    }
    map
}

#[test]
fn data_moves_one_way() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let reexports = reexports();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (file, text) in sources() {
        let module = file.split(['/', '.']).next().unwrap().to_owned();
        if module == "lib" || is_test(&file) {
            continue;
        }
        let Some(may) = allowed.get(module.as_str()) else {
            wrong.push(format!("{file}: `{module}` is not in the table of arrows"));
            continue;
        };
        for used in roots_used(&code(&text)) {
            let used = reexports.get(&used).cloned().unwrap_or(used);
            if used == module || used == "sync" {
                continue;
            }
            if !may.contains(&used.as_str()) {
                wrong.push(format!("{file}: {module} -> {used}"));
            }
            seen.insert((module.clone(), used));
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows against the direction:\n{}",
        wrong.join("\n")
    );
    for (module, may) in ARROWS {
        for used in *may {
            assert!(
                seen.contains(&((*module).to_owned(), (*used).to_owned())),
                "{module} -> {used} is allowed but not used: take it out of the table"
            );
        }
    }
}

/// The reader of `use` lines itself works.
#[test]
fn arrows_are_read_from_every_form_of_path() {
    let code = "use crate::ring;\nuse crate::{api::{a, b}, log::Position,\n  stats};\nlet x = crate::query::f();";
    let used: Vec<_> = roots_used(code).into_iter().collect();
    assert_eq!(used, ["api", "log", "query", "ring", "stats"]);
    assert_eq!(reexports()["Filter"], "query");
}

#[test]
fn the_table_and_the_design_document_name_the_same_arrows() {
    let design = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let design = fs::read_to_string(design).unwrap();
    for (module, may) in ARROWS {
        let used = match may {
            [] => "nothing".to_owned(),
            _ => may
                .iter()
                .map(|m| format!("`{m}`"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let row = format!("| `{module}` | {used} |");
        assert!(design.contains(&row), "docs/design.md lacks the row\n{row}");
    }
}

#[test]
fn unsafe_code_stays_where_the_design_document_lists_it() {
    let design = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let design = fs::read_to_string(design).unwrap();
    for file in UNSAFE {
        assert!(
            design.contains(&format!("`{file}`")),
            "docs/design.md does not list {file}"
        );
    }
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| {
            let code = code(text);
            code.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe")
                || code.contains("(unsafe_code")
        })
        .map(|(file, _)| file)
        .collect();
    assert_eq!(found, UNSAFE);
}

#[test]
fn files_are_short_and_finished() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let parts = [
        "src",
        "tests",
        "cli",
        "examples",
        "benches",
        "macros",
        "loom-tests",
    ];
    let files = parts.map(|part| {
        let files = below(&package.join(part)).into_iter();
        files.map(move |(file, text)| (format!("{part}/{file}"), text))
    });
    for (file, text) in files.into_iter().flatten() {
        let lines = text.lines().count();
        assert!(
            lines < 600,
            "{file} has {lines} lines, allowed are fewer than 600"
        );
        let code = code(&text);
        // In two pieces, so that this file does not contain them.
        for unfinished in [concat!("to", "do!"), concat!("unimpl", "emented!")] {
            assert!(!code.contains(unfinished), "{file} contains {unfinished}");
        }
    }
}
