//! Without a directory: everything can be queried, nothing stays.
#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use emberlog::{
    backend::memory::{MemoryStore, Options},
    backend::Scan,
    BackendConfig, Config, Filter, Manager, OpenError, Status,
};

fn config(shm: &Path, mib: u64) -> Config {
    let mut config = Config::in_memory(mib << 20);
    config.ring.dir = Some(shm.to_owned());
    config
}

/// Folders of logs in memory.
fn folders(shm: &Path) -> Vec<PathBuf> {
    let user = format!("emberlog-{}", rustix::process::geteuid().as_raw());
    let entries = std::fs::read_dir(shm.join(user))
        .into_iter()
        .flatten()
        .flatten();
    let paths = entries.map(|entry| entry.path());
    let ours = |path: &PathBuf| path.to_string_lossy().contains("memory-");
    paths.filter(ours).collect()
}

#[test]
fn queries_see_everything_without_a_flush_and_nothing_stays() {
    let shm = tempfile::tempdir().unwrap();
    let manager = Manager::open(config(shm.path(), 8)).unwrap();
    let run = manager.start_trace("graph_run");
    run.node("a").ok();
    run.ok();
    let traces = manager.query_traces(&Filter::new().limit(1)).unwrap();
    assert_eq!((traces.len(), traces[0].status), (1, Status::Ok));
    assert_eq!(manager.query_events(&Filter::new()).unwrap().len(), 4);
    assert_eq!(folders(shm.path()).len(), 1);
    // Also after the end, as long as there is a handle.
    manager.shutdown().unwrap();
    assert_eq!(manager.query_spans(&Filter::new()).unwrap().len(), 1);
    drop(manager);
    assert_eq!(folders(shm.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_oldest_goes_when_the_allowance_is_used_up() {
    let shm = tempfile::tempdir().unwrap();
    let manager = Manager::open(config(shm.path(), 8)).unwrap();
    let text = "x".repeat(1000);
    for n in 0..40_000u64 {
        manager
            .event("custom", "e")
            .with("n", n)
            .with("text", text.as_str())
            .record();
        if n % 500 == 0 {
            manager.flush().unwrap();
        }
    }
    manager.flush().unwrap();
    let events = manager.query_events(&Filter::new().all()).unwrap();
    let newest = events[0].attributes.get("n").and_then(|n| n.as_i64());
    assert_eq!(newest, Some(39_999));
    // 40 MB were recorded; segments and what is prepared of them fit into 8 MiB.
    assert!((1_000..8_000).contains(&events.len()), "{}", events.len());
    let stats = manager.stats();
    assert_eq!(stats.dropped_count, 0, "{stats:?}");
}

#[test]
fn a_directory_and_memory_exclude_each_other() {
    let mut config = Config::in_memory(1 << 20);
    config.dir = "somewhere".into();
    let error = Manager::open(config).unwrap_err();
    assert!(matches!(error, OpenError::Config(_)), "{error}");
    let error = Manager::open(Config::in_memory(1 << 20)).unwrap_err();
    assert!(error.to_string().contains("at least 8 MiB"), "{error}");
}

#[test]
fn two_in_one_process_and_a_backend_stay_apart() {
    let shm = tempfile::tempdir().unwrap();
    let stores = [MemoryStore::default(), MemoryStore::new(Options::default())];
    let open = |store: &MemoryStore| {
        let config = config(shm.path(), 8).backend(BackendConfig::memory(store));
        Manager::open(config).unwrap()
    };
    let managers = [open(&stores[0]), open(&stores[1])];
    managers[0].start_trace("left").ok();
    managers[1].start_trace("right").ok();
    for (manager, (store, name)) in managers.iter().zip(stores.iter().zip(["left", "right"])) {
        manager.export(Duration::from_secs(20)).unwrap();
        let names = |traces: Vec<emberlog::Trace>| -> Vec<String> {
            traces.into_iter().map(|trace| trace.name).collect()
        };
        assert_eq!(names(store.traces(&Filter::new()).unwrap()), [name]);
        assert_eq!(names(manager.query_traces(&Filter::new()).unwrap()), [name]);
    }
}

/// Env variable that makes [`ends_as_it_is_told`] work, with the folder.
const VICTIM: &str = "EMBERLOG_MEMORY_VICTIM";
const END: &str = "EMBERLOG_MEMORY_END";

#[test]
fn ends_as_it_is_told() {
    let Some(shm) = std::env::var_os(VICTIM) else {
        return;
    };
    let manager = Manager::open(config(Path::new(&shm), 8)).unwrap();
    manager.start_trace("run").ok();
    manager.flush().unwrap();
    let kept: &'static Manager = Box::leak(Box::new(manager));
    assert!(kept.is_recording());
    match std::env::var(END).as_deref() {
        // No handle is ever dropped.
        Ok("exit") => std::process::exit(0),
        _ => {
            println!("ready");
            loop {
                std::thread::park();
            }
        }
    }
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next() {
    use std::io::BufRead;
    let shm = tempfile::tempdir().unwrap();
    let spawn = |end: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["ends_as_it_is_told", "--exact", "--nocapture"])
            .env(VICTIM, shm.path())
            .env(END, end)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    assert!(spawn("exit").wait().unwrap().success());
    assert_eq!(folders(shm.path()).len(), 0, "after a normal exit");
    let mut child = spawn("kill");
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    // One that lives is left alone.
    drop(Manager::open(config(shm.path(), 8)).unwrap());
    assert_eq!(folders(shm.path()).len(), 1, "while it lives");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(folders(shm.path()).len(), 1, "after it was killed");
    let manager = Manager::open(config(shm.path(), 8)).unwrap();
    assert_eq!(folders(shm.path()).len(), 1, "only its own");
    drop(manager);
    assert_eq!(folders(shm.path()).len(), 0);
}
