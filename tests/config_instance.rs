//! One instance for the process, found from anywhere; and instances of one's own beside it.

mod config_support;

use std::{
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use config_support::told;
use emberlog::{Config, EngineState, Filter, InitError, Manager};

/// There is one instance per process, so these tests take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The test before this one may have removed the log of its instance.
    let _ = emberlog::reset();
    turn
}

fn traces(manager: &Manager) -> Vec<String> {
    let all = manager.query_traces(&Filter::new().all()).unwrap();
    all.into_iter().map(|trace| trace.name).collect()
}

#[test]
fn what_asks_before_the_start_records_nothing_and_what_asks_after_it_records() {
    let _turn = alone();
    let early = emberlog::global();
    early.start_trace("early").ok();
    assert_eq!(early.stats().state, EngineState::Disabled);
    let dir = tempfile::tempdir().unwrap();
    let opened = emberlog::init(Config::new(dir.path())).unwrap();
    let found = std::thread::spawn(|| {
        emberlog::global().start_trace("elsewhere").ok();
        emberlog::global()
    });
    let found = found.join().unwrap();
    assert_eq!(found.identity(), opened.identity());
    // Whoever asks sees what others recorded.
    assert_eq!(traces(&emberlog::global()), ["elsewhere"]);
}

#[test]
fn a_second_start_gives_the_same_instance_or_says_why_not() {
    let _turn = alone();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = Config::new(dir.path()).buffer_size(10);
    let first = emberlog::init(config.clone()).unwrap();
    // Two graphs may share one configuration.
    let again = emberlog::init(config.clone()).unwrap();
    assert_eq!(again.identity(), first.identity());
    for second in [Config::new(other.path()), config.clone().buffer_size(11)] {
        let error = emberlog::init(second).unwrap_err();
        assert!(matches!(&error, InitError::Other { dir: named } if named == dir.path()));
        assert!(
            error.to_string().contains(dir.path().to_str().unwrap()),
            "{error}"
        );
    }
    assert!(!other.path().join("LOG").exists());
    assert_eq!(emberlog::global().identity(), first.identity());
    assert!(first.is_recording());
}

#[test]
fn one_that_cannot_be_opened_changes_nothing() {
    let _turn = alone();
    let error = emberlog::init(Config::new("").buffer_size(0)).unwrap_err();
    assert!(matches!(error, InitError::Open(_)), "{error}");
    assert!(!emberlog::global().is_recording());
    let dir = tempfile::tempdir().unwrap();
    emberlog::init(Config::new(dir.path())).unwrap();
    assert!(emberlog::global().is_recording());
}

#[test]
fn many_threads_that_start_at_once_start_one() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path());
    let identities = std::thread::scope(|scope| {
        let start = || emberlog::init(config.clone()).unwrap().identity();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap());
        ends.collect::<Vec<_>>()
    });
    assert!(identities[0].is_some());
    assert!(identities.iter().all(|identity| *identity == identities[0]));
}

#[test]
fn a_reset_delivers_what_was_recorded_and_the_next_start_is_a_new_one() {
    let _turn = alone();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (backend, batches) = told(Duration::ZERO);
    let config = Config::new(dir.path())
        .export_interval(Duration::ZERO)
        .backend(backend);
    let first = emberlog::init(config).unwrap();
    let run = emberlog::global().start_trace("first");
    emberlog::global().event("milestone", "kept").record();
    let ended = emberlog::reset().unwrap().unwrap();
    assert_eq!(ended.backends[0].records, 0);
    assert!(batches.try_iter().sum::<usize>() >= 2);
    assert!(!emberlog::global().is_recording() && emberlog::reset().unwrap().is_none());

    let second = emberlog::init(Config::new(other.path())).unwrap();
    // A handle of the first neither records into the second nor fails; it counts.
    run.span("late").ok();
    run.ok();
    first.start_trace("late").ok();
    emberlog::global().start_trace("second").ok();
    assert_eq!(traces(&second), ["second"]);
    assert_eq!(first.stats().lost["shutdown"], 3);
}

#[test]
fn after_a_shutdown_another_can_be_started() {
    let _turn = alone();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    emberlog::init(Config::new(dir.path()))
        .unwrap()
        .shutdown()
        .unwrap();
    // It is still the one, and closed: what it is asked to record is counted.
    emberlog::global().start_trace("late").ok();
    assert_eq!(emberlog::global().stats().state, EngineState::Closed);
    let next = emberlog::init(Config::new(other.path())).unwrap();
    assert_eq!(emberlog::global().identity(), next.identity());
    assert!(emberlog::global().is_recording());
}

#[test]
fn managers_of_ones_own_stay_apart() {
    let _turn = alone();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [global, one, two] = dirs.each_ref().map(|dir| Config::new(dir.path()));
    emberlog::init(global).unwrap();
    let (backend, batches) = told(Duration::ZERO);
    let one = Manager::open(one.enable_events(false)).unwrap();
    let two = Manager::open(two.custom("team", "two").backend(backend)).unwrap();
    let of = |manager: &Manager, name: &str| {
        let run = manager.start_trace(name.to_owned().as_str());
        run.node("work").ok();
        run.event("milestone", "half").record();
        run.ok();
    };
    // In turns on one thread, so that nothing but the handle tells them apart.
    for _ in 0..3 {
        of(&one, "one");
        of(&emberlog::global(), "global");
        of(&two, "two");
    }
    for (manager, name) in [
        (&one, "one"),
        (&emberlog::global(), "global"),
        (&two, "two"),
    ] {
        assert_eq!(traces(manager), [name; 3]);
        let spans = manager.query_spans(&Filter::new()).unwrap();
        assert_eq!(spans.len(), 3);
        let tagged = spans
            .iter()
            .filter(|span| span.attributes.get("team").is_some());
        assert_eq!(tagged.count(), if name == "two" { 3 } else { 0 });
        let events = manager.query_events(&Filter::new()).unwrap();
        assert_eq!(events.is_empty(), name == "one");
    }
    two.export(Duration::from_secs(60)).unwrap();
    assert!(batches.try_iter().sum::<usize>() >= 9);
    emberlog::reset().unwrap();
    assert!(one.is_recording() && two.is_recording());
}

#[test]
fn a_disabled_instance_can_be_replaced() {
    let _turn = alone();
    let dir = tempfile::tempdir().unwrap();
    assert!(!emberlog::init(Config::create_noop())
        .unwrap()
        .is_recording());
    assert!(emberlog::init(Config::new(dir.path()))
        .unwrap()
        .is_recording());
}

#[test]
fn an_instance_that_is_never_dropped_is_logged_and_one_in_memory_removed() {
    let dir = tempfile::tempdir().unwrap();
    for scenario in ["log", "memory"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["a_child", "--exact", "--ignored", "--test-threads=1"])
            .env("EMBERLOG_INSTANCE", scenario)
            .env("EMBERLOG_INSTANCE_DIR", dir.path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(7), "{scenario}");
    }
    let kept = Manager::open(Config::new(dir.path().join("log"))).unwrap();
    assert_eq!(traces(&kept), ["at exit"]);
    let place = std::fs::read_to_string(dir.path().join("memory")).unwrap();
    assert!(!Path::new(&place).exists(), "{place}");
}

#[test]
#[ignore = "is the child of the test above"]
fn a_child() {
    let Some(dir) = std::env::var_os("EMBERLOG_INSTANCE_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let in_memory = std::env::var("EMBERLOG_INSTANCE").unwrap() == "memory";
    emberlog::init(match in_memory {
        true => Config::create_memory(),
        false => Config::new(dir.join("log")),
    })
    .unwrap();
    emberlog::global().start_trace("at exit").ok();
    let place = emberlog::global().dir().unwrap().to_owned();
    assert!(place.exists());
    if in_memory {
        std::fs::write(dir.join("memory"), place.to_str().unwrap()).unwrap();
    }
    std::process::exit(7);
}
