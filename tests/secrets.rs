//! Secrets appear nowhere: not in what is printed of a configuration, an error or a report, and in
//! no file that we write.
//!
//! A backend adds itself to [`backends`]: configured with the canary wherever it takes a secret, and
//! so that it fails.

use std::{fs, path::Path, time::Duration};

use emberlog::{
    backend::{BatchRange, Row, Sink, SinkError},
    log::Position,
    BackendConfig, Config, LogId, Manager,
};

/// What must not be seen, and how it looks in a URL.
const CANARY: &str = "hunter2/canary@7";
const ENCODED: &str = "hunter2%2Fcanary%407";

/// Fails with more words than it should.
struct Leaky {
    fails: fn(String) -> SinkError,
    panics: bool,
}

impl Sink for Leaky {
    fn name(&self) -> &str {
        "leaky"
    }

    fn position(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    fn write(&mut self, _range: BatchRange, _rows: &[Row]) -> Result<(), SinkError> {
        let text = format!(
            "cannot reach https://me:{ENCODED}@host/x?key={ENCODED} with authorization {CANARY}"
        );
        assert!(!self.panics, "{text}");
        Err((self.fails)(text))
    }
}

fn leaky(name: &str, fails: fn(String) -> SinkError, panics: bool) -> BackendConfig {
    let make = move || Ok(Box::new(Leaky { fails, panics }) as Box<dyn Sink>);
    BackendConfig::new(name, make).secret(CANARY)
}

/// Every backend that could say too much.
fn backends() -> Vec<BackendConfig> {
    let cannot_open = BackendConfig::new("closed", || {
        Err(SinkError::Refused(
            format!("password {CANARY} was refused").into(),
        ))
    });
    vec![
        leaky("retries", |text| SinkError::Retry(text.into()), false),
        leaky("refuses", |text| SinkError::Refused(text.into()), false),
        leaky("blames", |text| SinkError::Content(text.into()), false),
        leaky("panics", |text| SinkError::Retry(text.into()), true),
        cannot_open.secret(CANARY),
    ]
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    for secret in [CANARY, ENCODED, "hunter2"] {
        assert!(!text.contains(secret), "{what} says {secret}: {text}");
    }
}

fn assert_silent_files(dir: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_silent_files(&path);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert_silent(&path.display().to_string(), &text);
            files += 1;
        }
    }
    files
}

#[test]
fn no_output_shows_a_secret() {
    // Panics are printed by the process's own hook, which is not ours.
    std::panic::set_hook(Box::new(|_| ()));
    let temp = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for backend in backends() {
        let name = backend.name().to_owned();
        let dir = temp.path().join(&name);
        assert_silent("a backend's Debug", &format!("{backend:?} {backend:#?}"));
        let mut config = Config::new(&dir).backend(backend);
        config.shutdown_timeout = Duration::from_millis(200);
        assert_silent(
            "the configuration's Debug",
            &format!("{config:?} {config:#?}"),
        );
        let manager = Manager::open(config).unwrap();
        manager.start_trace("run").ok();
        let until = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let stats = manager.stats();
            assert_silent("stats", &format!("{stats:?}"));
            if let Some(error) = &stats.backends[0].last_error {
                said.push(error.clone());
                break;
            }
            assert!(std::time::Instant::now() < until, "{name} never failed");
            let _ = manager.export(Duration::from_millis(50));
        }
        if let Err(error) = manager.export(Duration::from_millis(50)) {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert_silent("an export", &format!("{error} {error:?} {source:?}"));
        }
        let ended = manager.shutdown().unwrap();
        assert_silent("a shutdown", &format!("{ended:?}"));
    }
    // They did say something, with the secret taken out.
    let hidden = said.iter().filter(|text| text.contains("***")).count();
    assert!(hidden >= 4, "{said:?}");
    assert!(assert_silent_files(temp.path()) > 20);
}
