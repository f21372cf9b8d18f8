//! Measurements that are added up in memory: one record per series and interval.
//!
//! Always true:
//! - a series is a name, a unit, an aggregation and attributes; who asks twice gets the same one
//! - a measurement is in exactly one record: in that of the interval in which it was made, at the
//!   latest in that of the shutdown
//! - a series to which nothing happened writes nothing
//! - there are at most [`MOST`] series; what is beyond adds up in one for each name

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
    },
    time::Duration,
};

use super::{
    engine::Engine,
    event::{MetricBuilder, Place},
};
use crate::record::{
    attributes::AttributeBuffer, kinds::Aggregation, names::StaticName, value::Value,
};

/// Most series of one log.
pub(crate) const MOST: usize = 10_000;
/// Attribute that says that a series holds what was one too many.
const OVERFLOW: &str = "otel.metric.overflow";
/// Attribute with the distribution of a histogram's values.
static DISTRIBUTION: StaticName = StaticName::new("emberlog.distribution");
/// Parts into which a distribution divides a power of two: values are kept within 4.5 %.
const PARTS: f64 = 8.0;

/// What makes a series one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) aggregation: Aggregation,
    /// Encoded attributes, in the order in which they were given.
    pub(super) attributes: Vec<u64>,
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    key: Key,
    attributes: AttributeBuffer,
    /// Of a counter what was added since its last record, of a gauge the bits of its value.
    number: AtomicU64,
    /// Whether a gauge was set since its last record.
    touched: AtomicBool,
    values: Mutex<Distribution>,
}

/// Values by size.
#[derive(Debug, Default)]
struct Distribution {
    count: u64,
    sum: f64,
    least: f64,
    most: f64,
    zeros: u64,
    /// By sign and logarithm.
    buckets: BTreeMap<(bool, i32), u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    pub(super) fn add(&self, amount: u64) {
        // Relaxed: a sum that nothing else depends on; it wraps where 64 bits do.
        self.number.fetch_add(amount, Ordering::Relaxed);
    }

    /// Changes a gauge.
    pub(super) fn change(&self, change: impl Fn(f64) -> f64) {
        // Relaxed: only the value itself counts; `touched` is the last to be said and the first
        // to be asked.
        let next = |bits| Some(change(f64::from_bits(bits)).to_bits());
        let _ = self
            .number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        // Release: meets the Acquire in `write`, which finds this value or a newer one.
        self.touched.store(true, Ordering::Release);
    }

    /// Counts a value of a distribution; what is no number is left out.
    pub(super) fn record(&self, value: f64, times: u64) {
        if value.is_finite() && times > 0 {
            lock(&self.values).record(value, times);
        }
    }

    /// Writes what happened since the last time.
    fn write(&self, engine: &Arc<Engine>, unit: &str) {
        let metric = || {
            let place = Some(Place::outside(engine));
            let metric = MetricBuilder::new(place, &self.key.name);
            let metric = metric.with_all(&self.attributes);
            match unit.is_empty() {
                true => metric,
                false => metric.unit(unit),
            }
        };
        match self.key.aggregation {
            Aggregation::Counter => {
                // Relaxed: see `add`; who adds now is in the next record.
                let amount = self.number.swap(0, Ordering::Relaxed);
                if amount > 0 {
                    metric().counter(amount);
                }
            }
            Aggregation::Histogram => {
                let values = std::mem::take(&mut *lock(&self.values));
                if values.count > 0 {
                    let mean = values.sum / values.count as f64;
                    metric().with(&DISTRIBUTION, values.told()).histogram(mean);
                }
            }
            _ => {
                // Acquire: meets the Release in `change`.
                if self.touched.swap(false, Ordering::Acquire) {
                    metric().gauge(f64::from_bits(self.number.load(Ordering::Relaxed)));
                }
            }
        }
    }
}

impl Distribution {
    fn record(&mut self, value: f64, times: u64) {
        if self.count == 0 {
            (self.least, self.most) = (value, value);
        }
        self.count += times;
        self.sum += value * times as f64;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        if value == 0.0 {
            self.zeros += times;
        } else {
            let size = (value.abs().log2() * PARTS).floor() as i32;
            *self.buckets.entry((value > 0.0, size)).or_default() += times;
        }
    }

    /// As an attribute: count, sum, least and most exactly, values by their middle and number.
    fn told(&self) -> Value {
        let middle = |positive: bool, size: i32| {
            let size = ((f64::from(size) + 0.5) / PARTS).exp2();
            let value = if positive { size } else { -size };
            value.clamp(self.least, self.most)
        };
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros));
        let others = self.buckets.iter();
        let others = others.map(|((positive, size), count)| (middle(*positive, *size), *count));
        let all: Vec<_> = zeros.into_iter().chain(others).collect();
        let entry = |key: &str, value| (key.to_owned(), value);
        Value::Map(vec![
            entry("count", Value::U64(self.count)),
            entry("sum", Value::F64(self.sum)),
            entry("min", Value::F64(self.least)),
            entry("max", Value::F64(self.most)),
            entry(
                "values",
                Value::Array(all.iter().map(|(value, _)| Value::F64(*value)).collect()),
            ),
            entry(
                "counts",
                Value::Array(all.iter().map(|(_, count)| Value::U64(*count)).collect()),
            ),
        ])
    }
}

/// The series of one log.
#[derive(Debug, Default)]
pub(crate) struct AllSeries {
    known: Mutex<Known>,
    /// Held while records are written, so that a shutdown does not overtake them.
    writing: Mutex<()>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Known {
    series: HashMap<Key, Arc<Series>, ahash::RandomState>,
    /// Units by name, where they were told apart from the series.
    units: HashMap<String, String, ahash::RandomState>,
    has_thread: bool,
}

#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl AllSeries {
    /// The series of a key; `None` where nothing is recorded. The first one starts the thread that
    /// writes the records.
    pub(super) fn get(
        engine: &Arc<Engine>,
        mut key: Key,
        mut list: AttributeBuffer,
    ) -> Option<Arc<Series>> {
        if !engine.switches.metrics || !engine.gate.is_open() {
            return None;
        }
        let mut known = lock(&engine.series.known);
        if !known.series.contains_key(&key) && known.series.len() >= MOST {
            list.clear();
            list.push(OVERFLOW, true);
            key.attributes = list.words().to_vec();
        }
        if !known.has_thread {
            known.has_thread = start(engine);
        }
        let series = known.series.entry(key.clone()).or_insert_with(|| {
            Arc::new(Series {
                key,
                attributes: list,
                number: AtomicU64::new(0),
                touched: AtomicBool::new(false),
                values: Mutex::default(),
            })
        });
        Some(Arc::clone(series))
    }

    /// Says in which unit the series of a name are, where they do not say it themselves.
    #[cfg_attr(not(feature = "metrics-0-24"), allow(dead_code))]
    pub(crate) fn describe(&self, name: &str, unit: &str) {
        let mut known = lock(&self.known);
        if known.units.len() < MOST {
            known.units.insert(name.to_owned(), unit.to_owned());
        }
    }

    /// Writes what happened since the last time.
    pub(crate) fn write(&self, engine: &Arc<Engine>) {
        // A forked child must not wait for a lock that nobody there lets go.
        if !engine.gate.is_open() {
            return;
        }
        let _writing = lock(&self.writing);
        let all: Vec<_> = {
            let known = lock(&self.known);
            let unit = |series: &Series| match series.key.unit.as_str() {
                "" => known
                    .units
                    .get(&series.key.name)
                    .cloned()
                    .unwrap_or_default(),
                unit => unit.to_owned(),
            };
            known
                .series
                .values()
                .map(|series| (Arc::clone(series), unit(series)))
                .collect()
        };
        for (series, unit) in all {
            series.write(engine, &unit);
        }
    }

    /// Writes what is left, for the last time.
    pub(crate) fn stop(&self, engine: &Arc<Engine>) {
        if !engine.gate.is_home() {
            return;
        }
        self.write(engine);
        *lock(&self.stop.stopped) = true;
        self.stop.changed.notify_all();
    }
}

/// Starts the thread that writes; it ends with the engine. Whether it runs.
fn start(engine: &Arc<Engine>) -> bool {
    let interval = engine.switches.metric_interval;
    if interval.is_zero() {
        return true;
    }
    let (weak, stop) = (Arc::downgrade(engine), Arc::clone(&engine.series.stop));
    let thread = std::thread::Builder::new().name("emberlog-metrics".to_owned());
    thread.spawn(move || run(&weak, &stop, interval)).is_ok()
}

fn run(engine: &Weak<Engine>, stop: &Stop, interval: Duration) {
    let mut stopped = lock(&stop.stopped);
    loop {
        let waited = stop.changed.wait_timeout(stopped, interval);
        stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        let Some(engine) = engine.upgrade().filter(|_| !*stopped) else {
            return;
        };
        drop(stopped);
        engine.series.write(&engine);
        stopped = lock(&stop.stopped);
    }
}

/// What a series is asked for by.
pub(super) fn key(name: &str, unit: &str, aggregation: Aggregation, list: &AttributeBuffer) -> Key {
    Key {
        name: name.to_owned(),
        unit: unit.to_owned(),
        aggregation,
        attributes: list.words().to_vec(),
    }
}
