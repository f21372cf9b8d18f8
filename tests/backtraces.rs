//! Where an error happened is kept only if the environment asks for it: looking up symbols takes
//! longer than anything else that recording does.

use std::process::Command;

use emberlog::{Config, Filter, LogReader, Manager};

#[test]
#[ignore = "is the child of the test below"]
fn child() {
    let Some(dir) = std::env::var_os("EMBERLOG_BACKTRACE_DIR") else {
        return;
    };
    let errors = std::env::var_os("EMBERLOG_NO_ERRORS").is_none();
    let mut config = Config::new(dir);
    config.capture_errors = errors;
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    run.span("failed").fail(&std::io::Error::other("no"));
    run.ok();
}

#[test]
fn a_backtrace_is_kept_only_where_the_environment_asks() {
    let cases: [(&[(&str, &str)], bool); 6] = [
        (&[], false),
        (&[("RUST_BACKTRACE", "0")], false),
        (&[("RUST_BACKTRACE", "1")], true),
        (
            &[("RUST_BACKTRACE", "1"), ("RUST_LIB_BACKTRACE", "0")],
            false,
        ),
        (&[("RUST_LIB_BACKTRACE", "1")], true),
        (
            &[("RUST_BACKTRACE", "1"), ("EMBERLOG_NO_ERRORS", "1")],
            false,
        ),
    ];
    for (environment, asked) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "child", "--include-ignored"])
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUST_LIB_BACKTRACE")
            .env("EMBERLOG_BACKTRACE_DIR", dir.path())
            .envs(environment.iter().copied());
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let reader = LogReader::open(dir.path()).unwrap();
        let spans = reader.spans(&Filter::new().name("failed")).unwrap();
        let error = spans[0].error.as_ref();
        let trace = error.and_then(|error| error.stack_trace.as_deref());
        assert_eq!(trace.is_some(), asked, "{environment:?}: {spans:?}");
        // The function that failed is in it.
        assert!(trace.is_none_or(|text| text.contains("child")), "{trace:?}");
    }
}
