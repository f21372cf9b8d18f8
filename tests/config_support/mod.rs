//! What the configuration tests share: options set as a file sets them, and a backend that tells
//! what it gets.
#![allow(dead_code)] // each test file uses its part

use std::{
    path::Path,
    sync::mpsc::{channel, Receiver, Sender},
    time::{Duration, Instant},
};

use emberlog::{
    backend::{BatchRange, Row, Sink, SinkError},
    config::Setting,
    log::Position,
    BackendConfig, Config, LogId, Manager, Value,
};

/// Keys and values as a file has them.
pub fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
    Value::Map(entries.collect())
}

/// Sets options by the names and in the words that files use.
pub fn with(mut config: Config, options: &[(&str, &str)]) -> Config {
    for (name, text) in options {
        let setting = Setting::all().iter().find(|s| s.name == *name);
        let setting = setting.unwrap_or_else(|| panic!("no option {name}"));
        setting.set(&mut config, &Value::from(*text)).unwrap();
    }
    config
}

/// A manager of a log in `dir` with these options.
pub fn open(dir: &Path, options: &[(&str, &str)]) -> Manager {
    Manager::open(with(Config::new(dir), options)).unwrap()
}

/// Waits for what must come; the bound only ends a test that fails.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends on how many rows each batch has; can be slow or fail always.
pub struct Told {
    batches: Sender<usize>,
    delay: Duration,
    fails: bool,
}

impl Sink for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, rows: &[Row]) -> Result<(), SinkError> {
        if self.fails {
            return Err(SinkError::Retry("not now".into()));
        }
        std::thread::sleep(self.delay);
        if !rows.is_empty() {
            // Nobody may be listening any more.
            let _ = self.batches.send(rows.len());
        }
        Ok(())
    }
}

/// A backend, and the sizes of the batches that it gets.
pub fn told(delay: Duration) -> (BackendConfig, Receiver<usize>) {
    let (batches, sizes) = channel();
    let backend = BackendConfig::new("told", move || {
        Ok(Box::new(Told {
            batches: batches.clone(),
            delay,
            fails: false,
        }))
    });
    (backend, sizes)
}

/// A backend that takes nothing.
pub fn refusing() -> BackendConfig {
    BackendConfig::new("told", || {
        Ok(Box::new(Told {
            batches: channel().0,
            delay: Duration::ZERO,
            fails: true,
        }))
    })
}
