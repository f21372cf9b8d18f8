//! The process's own instance: opened once, found from anywhere.
//!
//! Always true:
//! - there is at most one that records; a second configuration is refused, never ignored
//! - [`global`] never waits and never opens anything: before [`init`] it gives a manager that
//!   records nothing, and the next call after `init` gives the one that does
//! - own instances ([`Manager::open`]) have nothing to do with it

use std::sync::{
    atomic::{AtomicBool, Ordering},
    Mutex, PoisonError, RwLock,
};

use super::{FlushError, Manager, OpenError, Shutdown};
use crate::config::Config;

/// Why the process's instance could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Another one records already, with another configuration.
    #[error(
        "this process records into {} already, with another configuration: \
         shut that down first, or open an instance of your own with Manager::open", .dir.display()
    )]
    Other {
        /// Its log.
        dir: std::path::PathBuf,
    },
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

struct Global {
    manager: Manager,
    /// As it was given.
    config: Config,
    /// The process that opened it.
    pid: u32,
}

/// Written only for a moment, by `init` and `reset`.
static GLOBAL: RwLock<Option<Global>> = RwLock::new(None);
/// Held by whoever opens or shuts down, which may take long.
static CHANGING: Mutex<()> = Mutex::new(());

/// Whether [`GLOBAL`] records, so that code which is instrumented in vain finds out in one load.
static RECORDS: AtomicBool = AtomicBool::new(false);

/// Whether [`global`] may record.
#[cfg(feature = "macros")]
#[inline(always)]
pub(crate) fn global_records() -> bool {
    // Relaxed: whoever looks too early or too late records as if it had called then.
    RECORDS.load(Ordering::Relaxed)
}

fn set(global: Option<Global>) -> Option<Global> {
    let records = global.as_ref().is_some_and(|g| g.manager.is_recording());
    // Relaxed: see `global_records`.
    RECORDS.store(records, Ordering::Relaxed);
    let mut place = GLOBAL.write().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut place, global)
}

/// Opens the process's instance, which [`global`] gives from then on; it is shut down when the
/// process ends. The same configuration again gives the same instance. After a shutdown, and in a
/// forked child, where its parent's instance records nothing, another one can be opened.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use emberlog::Config;
/// emberlog::init(Config::new(dir.path()))?;
/// // Anywhere else:
/// emberlog::global().start_trace("index").ok();
/// # emberlog::reset()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A process that forks while another of its threads is in here cannot call it in the child.
///
/// # Errors
/// [`InitError`]; what recorded before goes on.
#[doc(alias = "get_instance")]
pub fn init(config: Config) -> Result<Manager, InitError> {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(global) = &*GLOBAL.read().unwrap_or_else(PoisonError::into_inner) {
        if global.manager.is_recording() {
            if global.config == config {
                return Ok(global.manager.clone());
            }
            let dir = global.manager.dir().unwrap_or(&global.config.dir);
            return Err(InitError::Other { dir: dir.into() });
        }
    }
    let manager = Manager::open(config.clone())?;
    let pid = std::process::id();
    let before = set(Some(Global {
        manager: manager.clone(),
        config,
        pid,
    }));
    if before.as_ref().is_some_and(|before| before.pid != pid) {
        // The parent's: its threads are not here, and its files are not ours to close.
        std::mem::forget(before);
    }
    Ok(manager)
}

/// The process's instance; one that records nothing before [`init`] and after [`reset`]. Ask for it
/// where you need it rather than keeping it from before `init`.
#[doc(alias = "get_instance")]
pub fn global() -> Manager {
    // Waiting could be for ever in a child that was forked while another thread wrote; whoever
    // writes has not returned from `init` or `reset` yet, so that nothing recorded is right too.
    let global = match GLOBAL.try_read() {
        Ok(global) => global,
        Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(std::sync::TryLockError::WouldBlock) => return Manager::disabled(),
    };
    let manager = global.as_ref().map(|global| global.manager.clone());
    manager.unwrap_or_else(Manager::disabled)
}

/// Shuts the process's instance down and forgets it, so that [`init`] can open another one: for
/// tests. Handles that are still around count what they try as lost.
///
/// # Errors
/// As [`Manager::shutdown`]; it is forgotten all the same.
#[doc(alias = "reset_instance")]
pub fn reset() -> Result<Option<Shutdown>, FlushError> {
    let _changing = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let global = set(None);
    let pid = std::process::id();
    if global.as_ref().is_some_and(|global| global.pid != pid) {
        // See `init`.
        std::mem::forget(global);
        return Ok(None);
    }
    global.map(|global| global.manager.shutdown()).transpose()
}

impl Manager {
    /// The configuration in force, with what follows from others filled in; `None` when nothing is
    /// recorded.
    pub fn config(&self) -> Option<&Config> {
        self.inner().map(|inner| &inner.config)
    }
}
