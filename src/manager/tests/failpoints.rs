//! A process that fails, panics or dies at any named point (`sync/fault.rs`) loses nothing.
//!
//! The test starts itself as a child for each point and each of the three, opens what it left as
//! the next process would, and checks that every span is there once and in order, or counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::scenes::{check, damage, left_an_empty_segment, live, prune, SPANS};
use crate::sync::fault::{reached, told, FIRED, POINTS};

const DIR: &str = "EMBERLOG_FAILPOINT_DIR";
const SCENE: &str = "EMBERLOG_FAILPOINT_SCENE";

/// What a child does, the state that it begins with, and what goes wrong before.
struct Scene {
    name: &'static str,
    begins_with: &'static str,
    before: &'static str,
}

const SCENES: &[Scene] = &[
    scene("live", "nothing", ""),
    scene("left", "left", ""),
    scene("prune", "closed", ""),
    scene("pruned", "pruned", ""),
    scene("rewrite", "nothing", "sync.sealed=error@0"),
];

const fn scene(name: &'static str, begins_with: &'static str, before: &'static str) -> Scene {
    Scene {
        name,
        begins_with,
        before,
    }
}

#[test]
#[ignore = "is the child of the test below"]
fn failpoint_child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let scene = std::env::var(SCENE).unwrap();
    match scene.as_str() {
        "prune" => prune(&dir),
        "left" | "pruned" => live(&dir, 20),
        _ => live(&dir, SPANS),
    }
    let reached: Vec<String> = reached()
        .into_iter()
        .map(|(name, times)| format!("{name} {times}\n"))
        .collect();
    fs::write(dir.join("reached"), reached.concat()).unwrap();
}

/// How a child ended.
struct Ended {
    fired: bool,
    killed: bool,
    reached: BTreeMap<String, u64>,
}

fn run(scene: &str, dir: &Path, points: &str) -> Ended {
    let fired = dir.join("fired");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["manager::tests::failpoints::failpoint_child", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(SCENE, scene)
        .env(POINTS, points)
        .env(FIRED, &fired)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let reached = fs::read_to_string(dir.join("reached")).unwrap_or_default();
    Ended {
        fired: fired.exists(),
        killed: status.signal() == Some(9),
        reached: reached
            .lines()
            .filter_map(|line| {
                let (name, times) = line.split_once(' ')?;
                Some((name.to_owned(), times.parse().ok()?))
            })
            .collect(),
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => {
                copy(&path, &target);
                let mode = fs::metadata(&path).unwrap().permissions();
                fs::set_permissions(&target, mode).unwrap();
            }
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// The states that scenes begin with.
struct States(tempfile::TempDir);

impl States {
    fn make() -> Self {
        let states = Self(folder());
        let at = |name: &str| states.0.path().join(name);
        fs::create_dir(at("nothing")).unwrap();
        fs::create_dir(at("closed")).unwrap();
        assert!(!run("live", &at("closed"), "").reached.is_empty());
        // Whether the next segment is ready when the process dies is a matter of time.
        let killed = || {
            let _ = fs::remove_dir_all(at("left"));
            fs::create_dir(at("left")).unwrap();
            assert!(run("live", &at("left"), "flusher.full=kill@1").killed);
            left_an_empty_segment(&at("left"))
        };
        assert!((0..100).any(|_| killed()), "no empty segment was ever left");
        damage(&at("left"));
        copy(&at("closed"), &at("pruned"));
        assert!(run("prune", &at("pruned"), "retention.segment=kill@0").killed);
        for name in ["closed", "left", "pruned", "nothing"] {
            for word in ["fired", "reached"] {
                let _ = fs::remove_file(at(name).join(word));
            }
            // Rings belong to a log at one place, or at none any more.
            fs::rename(at(name), at(&format!("{name}.made"))).unwrap();
        }
        states
    }

    fn of(&self, scene: &Scene) -> tempfile::TempDir {
        let dir = folder();
        let made = format!("{}.made", scene.begins_with);
        copy(&self.0.path().join(made), dir.path());
        dir
    }
}

/// Every name that stands in the source.
fn in_source(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_source(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        if path.ends_with("sync/fault.rs") || path.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        for call in ["step(\"", "step_of(\"", "moment(\""] {
            for (at, _) in text.match_indices(call) {
                let rest = &text[at + call.len()..];
                let name = &rest[..rest.find('"').unwrap()];
                if name.contains('.') {
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

fn deep() -> bool {
    std::env::var("EMBERLOG_DEEP").is_ok_and(|deep| deep == "1")
}

#[test]
fn at_every_point_errors_panics_and_kills_lose_nothing() {
    let states = States::make();
    // Where each point is met, and how often.
    let mut points: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for (index, scene) in SCENES.iter().enumerate() {
        let dir = states.of(scene);
        let ended = run(scene.name, dir.path(), scene.before);
        assert!(!ended.reached.is_empty(), "{} did not end", scene.name);
        check(dir.path(), false, scene.name);
        for (name, times) in ended.reached {
            points.entry(name).or_insert((index, times));
        }
    }
    let mut named = BTreeSet::new();
    in_source(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut named,
    );
    let visited: BTreeSet<&str> = points
        .keys()
        .map(|name| name.split('/').next().unwrap())
        .collect();
    let missed: Vec<_> = named
        .iter()
        .filter(|n| !visited.contains(n.as_str()))
        .collect();
    assert!(missed.is_empty(), "no scene comes to {missed:?}");
    assert!(points.len() >= 64, "only {} points", points.len());

    let mut jobs = Vec::new();
    for (name, (index, times)) in &points {
        for action in ["error", "panic", "kill"] {
            let turns = if deep() { 20 } else { 1 };
            for turn in 0..turns {
                // The first time, then later ones.
                let skip = turn * (*times / 2).max(1) / turns.max(1);
                jobs.push((name, &SCENES[*index], action, skip));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let (fired, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, scene, action, skip)) =
                    jobs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let dir = states.of(scene);
                    let rule = format!("{name}={action}@{skip}");
                    let rules = match scene.before {
                        "" => rule.clone(),
                        before => format!("{before},{rule}"),
                    };
                    let ended = run(scene.name, dir.path(), &rules);
                    let what = format!("{}: {rule}", scene.name);
                    fired.fetch_add(usize::from(ended.fired), Ordering::Relaxed);
                    killed.fetch_add(usize::from(ended.killed), Ordering::Relaxed);
                    assert!(*skip > 0 || ended.fired, "{what}: not met");
                    assert!(*skip > 0 || ended.killed == (*action == "kill"), "{what}");
                    check(dir.path(), ended.killed, &what);
                }
            });
        }
    });
    told(format_args!(
        "goal 6: {} failpoints, {} times an error, a panic or a kill, 0 lost",
        points.len(),
        fired.into_inner()
    ));
    let killed = killed.into_inner();
    told(format_args!("goal 5: {killed} kills at failpoints, 0 lost"));
}
