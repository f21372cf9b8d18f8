//! A logger for [`log`]: what it is given becomes events.
//!
//! Always true:
//! - an event is under the span that is open on its thread, if one is
//! - its name is the message, its type `log`; level, target and keys are attributes

use std::{fmt, sync::Arc};

use log::{
    kv::{Error, Key, Value, VisitSource, VisitValue},
    LevelFilter, Log, Metadata, Record, SetLoggerError,
};

use super::printed::printed;
use crate::{
    api::{
        driven::{self, on_own_thread, Above},
        engine::Engine,
        local,
    },
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        names::{Name, StaticName, MAX_NAME},
    },
    Manager,
};

static LOG: StaticName = StaticName::new("log");
static LEVEL: StaticName = StaticName::new("level");
static TARGET: StaticName = StaticName::new("target");
static MESSAGE: StaticName = StaticName::new("message");

/// Records what is logged with a [`Manager`].
///
/// ```
/// use emberlog::{bridge::log_0_4::Logger, Config, Filter, Manager};
///
/// # let dir = tempfile::tempdir()?;
/// let manager = Manager::open(Config::new(dir.path()))?;
/// Logger::new(&manager).install()?;
/// log::warn!(path = "/orders"; "slow: {} ms", 712);
/// let event = &manager.query_events(&Filter::new().event_type("log"))?[0];
/// assert_eq!(event.name, "slow: 712 ms");
/// assert_eq!(event.attributes.get("path"), Some(&"/orders".into()));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Logger {
    engine: Option<Arc<Engine>>,
    level: LevelFilter,
}

impl Logger {
    /// Records what is of level INFO or above.
    pub fn new(manager: &Manager) -> Self {
        Self {
            engine: manager.engine().cloned(),
            level: LevelFilter::Info,
        }
    }

    /// Records what is of this level or above.
    #[must_use]
    pub fn with_level(mut self, level: LevelFilter) -> Self {
        self.level = level;
        self
    }

    /// Makes it the logger of the process, and its level the highest that is looked at.
    ///
    /// # Errors
    /// If there is one already.
    pub fn install(self) -> Result<(), SetLoggerError> {
        let level = self.level;
        log::set_boxed_logger(Box::new(self))?;
        log::set_max_level(level);
        Ok(())
    }

    fn records(&self, metadata: &Metadata<'_>) -> Option<&Arc<Engine>> {
        let engine = self.engine.as_ref()?;
        // What our own threads say would never come to an end.
        let wanted = metadata.level() <= self.level && engine.switches.events;
        (wanted && !on_own_thread()).then_some(engine)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.records(metadata).is_some()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(engine) = self.records(record.metadata()) else {
            return;
        };
        let mut attributes = local::buffer(engine);
        attributes.push_named((&LEVEL).into(), record.level().as_str());
        attributes.push_named((&TARGET).into(), record.target());
        // A source that stops halfway has said what it could.
        let _ = record.key_values().visit(&mut Keys(&mut attributes));
        let write = |name: Name<'_>, attributes| {
            driven::event(engine, (&LOG).into(), name, Some(attributes), Above::Thread);
        };
        match record.args().as_str() {
            // The same text each time that this line of the program runs.
            Some(text) => write(Name::from(text), attributes),
            None => printed(*record.args(), |text| {
                if text.len() > MAX_NAME {
                    // A name is cut where an attribute is not.
                    attributes.push_named((&MESSAGE).into(), text);
                }
                write(Name::spelled(text), attributes);
            }),
        }
    }

    /// Nothing waits here: records are with the manager when `log` returns.
    fn flush(&self) {}
}

/// Writes keys and values as attributes.
struct Keys<'a>(&'a mut AttributeBuffer);

impl<'kvs> VisitSource<'kvs> for Keys<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        value.visit(Pair {
            buffer: self.0,
            key: key.as_str(),
        })
    }
}

struct Pair<'a, 'k> {
    buffer: &'a mut AttributeBuffer,
    key: &'k str,
}

impl Pair<'_, '_> {
    fn push(&mut self, value: impl AttributeValue) -> Result<(), Error> {
        self.buffer.push_named(Name::from(self.key), &value);
        Ok(())
    }

    fn print(&mut self, value: fmt::Arguments<'_>) -> Result<(), Error> {
        printed(value, |text| self.push(text))
    }
}

impl<'v> VisitValue<'v> for Pair<'_, '_> {
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        self.print(format_args!("{value}"))
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        self.push(None::<bool>)
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.push(value)
    }

    fn visit_i64(&mut self, value: i64) -> Result<(), Error> {
        self.push(value)
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), Error> {
        self.push(value)
    }

    fn visit_bool(&mut self, value: bool) -> Result<(), Error> {
        self.push(value)
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.push(value)
    }
}
