//! Makes the steps of durable changes fail, late or one at a time, on whatever thread they are done.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// The disk is full.
pub(super) const ENOSPC: i32 = 28;
/// The disk failed.
pub(super) const EIO: i32 = 5;

thread_local! {
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static DEAD: Cell<bool> = const { Cell::new(false) };
    static DIR: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Steps {
    rules: Vec<Rule>,
    done: Vec<&'static str>,
}

struct Rule {
    prefix: &'static str,
    skip: u64,
    times: u64,
    errno: Option<i32>,
    delay: Duration,
}

static PLANS: Mutex<Option<HashMap<PathBuf, Steps>>> = Mutex::new(None);

fn plans() -> MutexGuard<'static, Option<HashMap<PathBuf, Steps>>> {
    PLANS.lock().unwrap_or_else(|e| e.into_inner())
}

/// Says for which log this thread works from now on.
pub(in crate::log) fn work_for(dir: &Path) {
    DIR.set(Some(dir.into()));
}

/// What is to happen to the log in a directory, on all threads that work for it.
pub(super) struct Plan(PathBuf);

impl Plan {
    pub(super) fn new(dir: &Path) -> Self {
        work_for(dir);
        let mut plans = plans();
        let plans = plans.get_or_insert_default();
        plans.insert(dir.into(), Steps::default());
        Self(dir.into())
    }

    fn rule(&self, rule: Rule) {
        if let Some(steps) = plans().as_mut().and_then(|p| p.get_mut(&self.0)) {
            steps.rules.push(rule);
        }
    }

    /// Steps whose names begin so fail, from the `skip`-th on, `times` times.
    pub(super) fn fail(&self, prefix: &'static str, errno: i32, skip: u64, times: u64) {
        self.rule(Rule {
            prefix,
            skip,
            times,
            errno: Some(errno),
            delay: Duration::ZERO,
        });
    }

    /// Steps whose names contain this take longer.
    pub(super) fn delay(&self, part: &'static str, delay: Duration) {
        self.rule(Rule {
            prefix: part,
            skip: 0,
            times: u64::MAX,
            errno: None,
            delay,
        });
    }

    /// Nothing fails any more.
    pub(super) fn heal(&self) {
        if let Some(steps) = plans().as_mut().and_then(|p| p.get_mut(&self.0)) {
            steps.rules.clear();
        }
    }

    /// The steps so far.
    pub(super) fn done(&self) -> Vec<&'static str> {
        let plans = plans();
        let steps = plans.as_ref().and_then(|p| p.get(&self.0));
        steps.map(|s| s.done.clone()).unwrap_or_default()
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        if let Some(plans) = plans().as_mut() {
            plans.remove(&self.0);
        }
    }
}

fn planned(name: &'static str) -> io::Result<()> {
    let Some(dir) = DIR.with_borrow(Clone::clone) else {
        return Ok(());
    };
    let mut delay = Duration::ZERO;
    let mut errno = None;
    if let Some(steps) = plans().as_mut().and_then(|p| p.get_mut(&dir)) {
        steps.done.push(name);
        for rule in &mut steps.rules {
            let hit = match rule.errno {
                Some(_) => name.starts_with(rule.prefix),
                None => name.contains(rule.prefix),
            };
            if !hit {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                delay += rule.delay;
                errno = errno.or(rule.errno);
            }
        }
    }
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
    match errno {
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Ok(()),
    }
}

/// Counts a step; fails it if it is the one, and everything after it: the process is dead.
pub(in crate::log) fn step(name: &'static str) -> io::Result<()> {
    let fail = || Err(io::Error::other(format!("planted failure at {name}")));
    if DEAD.get() {
        return fail();
    }
    match LEFT.get() {
        None => planned(name),
        Some(0) => {
            DEAD.set(true);
            fail()
        }
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// Runs `run` and kills it after `steps` steps; says whether it got that far.
pub(super) fn kill_after<R>(steps: u64, run: impl FnOnce() -> R) -> (R, bool) {
    LEFT.set(Some(steps));
    DEAD.set(false);
    let result = run();
    let killed = DEAD.get();
    LEFT.set(None);
    DEAD.set(false);
    (result, killed)
}
