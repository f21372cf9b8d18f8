//! Nothing that a caller or a disk hands in may panic, hang, or cost what was recorded before: it
//! gets a clear error, or a documented truncation that is marked and counted.
//!
//! | what | where it is tested |
//! |---|---|
//! | an unknown directory | `a_directory_of_something_else_keeps_its_files`, `cli/tests/mistakes.rs` |
//! | a damaged directory | `a_damaged_directory_opens_and_keeps_what_checks`, `fuzz_targets/recovery.rs`, `segment.rs` |
//! | a file where a directory should be | `a_file_where_a_directory_should_be_is_named` |
//! | a newer format | `a_newer_format_is_refused_without_a_change`, `tests/golden.rs` |
//! | no permission | `a_directory_without_permission_is_named` |
//! | an id that is no id | `ids_that_are_none_are_refused_or_taken_as_foreign`, `cli/tests/mistakes.rs` (`ids`) |
//! | a negative limit | `cli/tests/mistakes.rs` (`usage`); the API takes `usize` |
//! | options out of range | `options_out_of_range_are_all_named_at_once` |
//!
//! In `tests/bad_records.rs`:
//!
//! | what | test |
//! |---|---|
//! | an attribute of 10 MB | `what_is_too_long_is_cut_marked_and_costs_nothing_else` |
//! | a name of 1 MB, wherever a name goes | `names_that_are_too_long_are_cut_marked_and_counted` |
//! | invalid UTF-8, NUL, NaN | `odd_values_come_back_as_they_went_in`, `names_and_types_may_be_any_text` |
//! | 10,000 attributes | `ten_thousand_attributes_keep_the_first_and_count_the_rest` |
//! | a million distinct names | `tests/many_names.rs` |
//! | a span ended twice | `ends_that_come_twice_or_late_change_nothing` |
//! | a parent that never existed | `a_parent_that_never_existed_is_kept_as_given` |
//! | guards dropped in any order | `guards_dropped_out_of_order_leave_every_span` |
//! | values without end, or that record themselves | `deep_and_wrong_values_do_not_spoil_the_record`, `errors_and_values_may_record_themselves` |

mod opened;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use emberlog::{
    log::{self, verify},
    Config, Filter, Manager, OpenError, SpanId, Status, TraceId,
};
use opened::{one_span, open, shut_and_verify};

/// The log of one run with one span named `kept`.
fn small_log(dir: &Path) {
    let manager = open(dir);
    let run = manager.start_trace("kept run");
    run.span("kept").ok();
    run.ok();
    shut_and_verify(manager, dir);
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_file_where_a_directory_should_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    fs::write(&file, "precious").unwrap();
    let error = Manager::open(Config::new(&file)).map(drop).unwrap_err();
    assert!(
        matches!(error, OpenError::Log(log::OpenError::NotADirectory { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("log is no directory"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    // Below a file nothing can be created either.
    let error = Manager::open(Config::new(file.join("below")))
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("below"), "{error}");
    // What goes on after an error records nothing and works.
    let mut told = None;
    let manager = Manager::open_or_disabled(Config::new(&file), |error| told = Some(error));
    assert!(told.is_some() && !manager.is_recording());
    manager.start_trace("nothing").ok();
}

#[test]
fn a_directory_of_something_else_keeps_its_files() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("notes.txt", "mine"),
        ("seg-x.log", "also mine"),
        ("names", ""),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let before = files(dir.path());
    match Manager::open(Config::new(dir.path())) {
        Ok(manager) => {
            manager.start_trace("here too").ok();
            assert_eq!(manager.query_traces(&Filter::new()).unwrap().len(), 1);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let after = files(dir.path());
    for file in before {
        assert!(after.contains(&file), "{} was changed", file.0);
    }
    // Readers of a directory without a log say so.
    let empty = tempfile::tempdir().unwrap();
    let error = verify(empty.path()).unwrap_err();
    assert!(error.to_string().contains("no log"), "{error}");
}

#[test]
fn a_damaged_directory_opens_and_keeps_what_checks() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path());
    // Every small file becomes rubbish in turn; segments keep the records.
    for (path, bytes) in files(dir.path()) {
        if bytes.windows(4).any(|w| w == b"kept") {
            continue;
        }
        for rubbish in [Vec::new(), vec![0; bytes.len()], vec![0xa5; 7]] {
            fs::write(&path, rubbish).unwrap();
            let manager = Manager::open(Config::new(dir.path()))
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(one_span(&manager, "kept").status, Status::Ok, "{path}");
            manager.shutdown().unwrap();
        }
    }
}

#[test]
fn a_newer_format_is_refused_without_a_change() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path());
    let path = dir.path().join("LOG");
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[..8], b"EMBERLOG");
    bytes[8..10].copy_from_slice(&2u16.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let before = files(dir.path());
    let error = Manager::open(Config::new(dir.path()))
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Log(log::OpenError::NewerFormat {
                found: 2,
                newest: 1,
                ..
            })
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("uses format 2"), "{error}");
    let error = verify(dir.path()).unwrap_err();
    assert!(error.to_string().contains("uses format 2"), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
#[ignore = "is the child of the test below"]
fn child_without_permission() {
    let Some(log) = std::env::var_os("EMBERLOG_LOCKED_LOG") else {
        return;
    };
    let error = Manager::open(Config::new(&log)).map(drop).unwrap_err();
    assert!(error.to_string().contains("locked log"), "{error}");
    let error = verify(Path::new(&log)).unwrap_err();
    assert!(error.to_string().contains("locked log"), "{error}");
}

#[test]
fn a_directory_without_permission_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("locked log");
    small_log(&log);
    // Root may do everything, so somebody else tries, with a program that he may read.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    child
        .args(["--exact", "child_without_permission", "--include-ignored"])
        .env("EMBERLOG_LOCKED_LOG", &log);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        child.uid(65_534).gid(65_534);
    } else {
        fs::set_permissions(&log, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    fs::set_permissions(&log, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(one_span(&open(&log), "kept").status, Status::Ok);
}

#[test]
fn ids_that_are_none_are_refused_or_taken_as_foreign() {
    for text in [
        "",
        "0",
        "xyz",
        "12345678901234567",
        "-1",
        "ä",
        "0000000000000000",
        "\0",
    ] {
        let error = text.parse::<SpanId>().unwrap_err().to_string();
        assert!(
            error.contains("span id") && error.contains("16 hex"),
            "{error}"
        );
        let error = text.parse::<TraceId>().unwrap_err().to_string();
        assert!(
            error.contains("trace id") && error.contains("32 hex"),
            "{error}"
        );
        // A caller's own text is an id of its own, and is kept beside it.
        let (id, foreign) = TraceId::from_text(text);
        assert!(foreign && !id.is_none(), "{text:?}");
    }
    let long = "f"
        .repeat(1 << 20)
        .parse::<TraceId>()
        .unwrap_err()
        .to_string();
    assert!(long.len() < 300, "an error is no place for a megabyte");
    assert_eq!(SpanId::new(0), None);
}

#[test]
fn options_out_of_range_are_all_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let config = Config::new(&log)
        .ring(|ring| ring.ring_bytes = 1000)
        .log(|log| log.segment_bytes = 1);
    let begin = Instant::now();
    let error = Manager::open(config).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("ring_bytes") && error.contains("segment_bytes"),
        "{error}"
    );
    assert!(!log.exists() && begin.elapsed() < Duration::from_secs(5));
}
