//! The process's instance in a forked child: its parent's records nothing there, and another one
//! can be opened.
#![cfg(unix)]
#![allow(
    unsafe_code,
    reason = "there is no safe form of `fork`, which is what this test is about"
)]

use std::process::Command;

use emberlog::{Config, EngineState, Filter, Manager};
use rustix::process::{waitpid, Pid, WaitOptions};

extern "C" {
    fn fork() -> std::ffi::c_int;
}

/// Forks; the child runs `work` and ends as any process does. Returns its exit code.
fn forked(work: impl FnOnce()) -> Option<i32> {
    // SAFETY: the process has this thread and emberlog's only. The child calls nothing but the C
    // library, whose locks are in order after `fork`, and the code under test, which promises the
    // same of its own.
    match unsafe { fork() } {
        0 => {
            let work = std::panic::AssertUnwindSafe(work);
            let failed = std::panic::catch_unwind(work).is_err();
            std::process::exit(i32::from(failed));
        }
        pid => {
            let pid = Pid::from_raw(pid).expect("fork");
            let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            status.exit_status()
        }
    }
}

fn traces(manager: &Manager) -> Vec<String> {
    let all = manager.query_traces(&Filter::new().all()).unwrap();
    all.into_iter().map(|trace| trace.name).collect()
}

#[test]
fn a_forked_child_is_off_until_it_starts_its_own_and_harms_nothing_of_its_parents() {
    let dir = tempfile::tempdir().unwrap();
    // In a process of its own, since the harness has threads.
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "scenario",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("EMBERLOG_FORK_DIR", dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let child = Manager::open(Config::new(dir.path().join("child"))).unwrap();
    assert_eq!(traces(&child), ["child's own"]);
}

#[test]
#[ignore = "is the process of the test above"]
fn scenario() {
    let Some(dir) = std::env::var_os("EMBERLOG_FORK_DIR") else {
        return;
    };
    let dir = std::path::PathBuf::from(dir);
    emberlog::init(Config::create_memory()).unwrap();
    let log = emberlog::global().dir().unwrap().to_owned();
    emberlog::global().start_trace("before").ok();
    let code = forked(|| {
        let inherited = emberlog::global();
        assert_eq!(inherited.stats().state, EngineState::Closed);
        inherited.start_trace("lost").ok();
        assert!(inherited.stats().lost["fork"] > 0);
        emberlog::init(Config::new(dir.join("child"))).unwrap();
        emberlog::global().start_trace("child's own").ok();
        assert_eq!(traces(&emberlog::global()), ["child's own"]);
    });
    assert_eq!(code, Some(0));
    assert_eq!(forked(|| drop(emberlog::reset())), Some(0));
    // The parent goes on: the children's ends removed nothing of it.
    assert!(log.exists());
    emberlog::global().start_trace("after").ok();
    assert_eq!(traces(&emberlog::global()), ["after", "before"]);
}
