//! Named points of durable changes, at which tests make them fail, panic or die.
//!
//! Always true:
//! - a build that is not one of this crate's own tests has nothing of it: every function is empty
//! - a point stands before what it names, so that a process which dies there has not done it
//!
//! `manager/tests/failpoints.rs` visits every point; the rules of [`Plan`] are for tests of the log.

#[cfg(not(test))]
mod none {
    use std::{io::Result, path::Path};

    /// A step of a durable change.
    #[inline(always)]
    pub(crate) fn step(_: &'static str) -> Result<()> {
        Ok(())
    }

    /// A step that is done to files of several kinds: which, its path or a magic number tells.
    #[inline(always)]
    pub(crate) fn step_of(_: &'static str, _: &[u8]) -> Result<()> {
        Ok(())
    }

    /// A moment between two steps, where nothing can fail.
    #[inline(always)]
    pub(crate) fn moment(_: &'static str) {}

    /// Says for which log this thread works from now on.
    #[inline(always)]
    pub(crate) fn work_for(_: &Path) {}
}

#[cfg(not(test))]
pub(crate) use none::{moment, step, step_of, work_for};

#[cfg(test)]
pub(crate) use planted::*;

#[cfg(test)]
mod planted {
    use std::{
        cell::{Cell, RefCell},
        collections::HashMap,
        io,
        path::{Path, PathBuf},
        sync::{Mutex, MutexGuard},
        time::Duration,
    };

    /// The disk is full.
    pub(crate) const ENOSPC: i32 = 28;
    /// The disk failed.
    pub(crate) const EIO: i32 = 5;

    thread_local! {
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
        static DIR: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
    }

    #[derive(Default)]
    struct Steps {
        rules: Vec<Rule>,
        done: Vec<String>,
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
    pub(crate) fn work_for(dir: &Path) {
        DIR.set(Some(dir.into()));
    }

    /// What is to happen to the log in a directory, on all threads that work for it.
    pub(crate) struct Plan(PathBuf);

    impl Plan {
        pub(crate) fn new(dir: &Path) -> Self {
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
        pub(crate) fn fail(&self, prefix: &'static str, errno: i32, skip: u64, times: u64) {
            self.rule(Rule {
                prefix,
                skip,
                times,
                errno: Some(errno),
                delay: Duration::ZERO,
            });
        }

        /// Steps whose names contain this take longer.
        pub(crate) fn delay(&self, part: &'static str, delay: Duration) {
            self.rule(Rule {
                prefix: part,
                skip: 0,
                times: u64::MAX,
                errno: None,
                delay,
            });
        }

        /// Nothing fails any more.
        pub(crate) fn heal(&self) {
            if let Some(steps) = plans().as_mut().and_then(|p| p.get_mut(&self.0)) {
                steps.rules.clear();
            }
        }

        /// The steps so far.
        pub(crate) fn done(&self) -> Vec<String> {
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

    fn planned(name: &str) -> io::Result<()> {
        let Some(dir) = DIR.with_borrow(Clone::clone) else {
            return Ok(());
        };
        let mut delay = Duration::ZERO;
        let mut errno = None;
        if let Some(steps) = plans().as_mut().and_then(|p| p.get_mut(&dir)) {
            steps.done.push(name.to_owned());
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
    pub(crate) fn step(name: &'static str) -> io::Result<()> {
        reach(name)
    }

    /// A step that is done to files of several kinds: `whole.sync/idx`.
    pub(crate) fn step_of(name: &'static str, of: &[u8]) -> io::Result<()> {
        reach(&format!("{name}/{}", kind(of)))
    }

    /// A moment between two steps, where nothing can fail.
    pub(crate) fn moment(name: &'static str) {
        // An error there has nobody to go to.
        let _ = children::reach(name);
    }

    /// The extension of a path, else its last part without digits.
    fn kind(of: &[u8]) -> String {
        let of = String::from_utf8_lossy(of);
        let last = of.rsplit('/').next().unwrap_or(&of);
        let part = last.rsplit('.').next().unwrap_or(last);
        let letters = part.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
        letters.to_owned()
    }

    fn reach(name: &str) -> io::Result<()> {
        children::reach(name)?;
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
    pub(crate) fn kill_after<R>(steps: u64, run: impl FnOnce() -> R) -> (R, bool) {
        LEFT.set(Some(steps));
        DEAD.set(false);
        let result = run();
        let killed = DEAD.get();
        LEFT.set(None);
        DEAD.set(false);
        (result, killed)
    }

    /// What a child of a test was told by its environment.
    mod children {
        use std::{
            collections::BTreeMap,
            io,
            path::PathBuf,
            sync::{Mutex, OnceLock, PoisonError},
        };

        /// Points and what happens at them: `NAME=ACTION@SKIP`, separated by commas.
        pub(crate) const POINTS: &str = "EMBERLOG_FAILPOINTS";
        /// File that gets the name of a point when it is met for the last time that matters.
        pub(crate) const FIRED: &str = "EMBERLOG_FAILPOINTS_FIRED";

        struct Rule {
            name: String,
            action: String,
            skip: u64,
        }

        struct State {
            rules: Vec<Rule>,
            fired: Option<PathBuf>,
            reached: BTreeMap<String, u64>,
        }

        fn state() -> Option<&'static Mutex<State>> {
            static STATE: OnceLock<Option<Mutex<State>>> = OnceLock::new();
            let state = STATE.get_or_init(|| {
                let text = std::env::var(POINTS).ok()?;
                let rules = text.split(',').filter_map(|rule| {
                    let (name, rest) = rule.split_once('=')?;
                    let (action, skip) = rest.split_once('@')?;
                    Some(Rule {
                        name: name.into(),
                        action: action.into(),
                        skip: skip.parse().ok()?,
                    })
                });
                Some(Mutex::new(State {
                    rules: rules.collect(),
                    fired: std::env::var_os(FIRED).map(PathBuf::from),
                    reached: BTreeMap::new(),
                }))
            });
            state.as_ref()
        }

        /// How often this process met each point.
        #[allow(dead_code)] // whoever asks needs all the backends that have points
        pub(crate) fn reached() -> BTreeMap<String, u64> {
            let state = state().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner));
            state.map(|s| s.reached.clone()).unwrap_or_default()
        }

        pub(super) fn reach(name: &str) -> io::Result<()> {
            let Some(state) = state() else {
                return Ok(());
            };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            *state.reached.entry(name.to_owned()).or_default() += 1;
            let Some(rule) = state.rules.iter_mut().find(|rule| rule.name == name) else {
                return Ok(());
            };
            if rule.skip > 0 {
                rule.skip -= 1;
                return Ok(());
            }
            // Once.
            rule.skip = u64::MAX;
            let action = rule.action.clone();
            if let Some(fired) = &state.fired {
                std::fs::write(fired, name)?;
            }
            drop(state);
            match action.as_str() {
                "error" => Err(io::Error::other(format!("planted failure at {name}"))),
                "panic" => panic!("planted panic at {name}"),
                "kill" => {
                    let me = rustix::process::getpid();
                    let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
                    unreachable!("a killed process goes on")
                }
                _ => Ok(()),
            }
        }
    }
    #[allow(unused_imports)] // as above
    pub(crate) use children::{reached, FIRED, POINTS};

    /// Tells a figure to `scripts/reliability`, past the test harness, which keeps what is printed.
    pub(crate) fn told(figure: std::fmt::Arguments<'_>) {
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), "\n{figure}");
    }
}
