//! A recorder for [`metrics`]: what is measured adds up in memory, and is recorded once per interval.
//!
//! Always true:
//! - a key with its labels is a series; its labels are attributes
//! - one record per series and [`metric_interval`](crate::Config::metric_interval), what is left at
//!   the shutdown; a series to which nothing happened writes none

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, PoisonError, RwLock,
    },
};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};

use crate::{
    api::{Counter, Gauge, Histogram, Meter},
    record::names::Name,
    Manager,
};

/// Records what is measured with `metrics`.
///
/// ```
/// use emberlog::{bridge::metrics_0_24::Recorder, Config, Filter, Manager};
///
/// # let dir = tempfile::tempdir()?;
/// let manager = Manager::open(Config::new(dir.path()))?;
/// Recorder::new(&manager).install()?;
/// for _ in 0..1000 {
///     metrics::counter!("requests", "route" => "/orders").increment(1);
/// }
/// manager.flush()?;
/// let rows = manager.query_metrics(&Filter::new().name("requests"))?;
/// assert_eq!((rows.len(), rows[0].value), (1, 1000.0));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recorder {
    manager: Manager,
    counters: Known<metrics::Counter>,
    gauges: Known<metrics::Gauge>,
    histograms: Known<metrics::Histogram>,
}

/// Handles by key: macros ask for theirs each time.
#[derive(Debug)]
struct Known<T>(RwLock<HashMap<Key, T, ahash::RandomState>>);

impl<T: Clone> Known<T> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    fn get(&self, key: &Key, make: impl FnOnce() -> T) -> T {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.get(key) {
            return handle.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Labels without end add up in one series, whose keys are not worth remembering.
        if known.len() >= crate::api::MOST_SERIES {
            return make();
        }
        known.entry(key.clone()).or_insert_with(make).clone()
    }
}

impl Recorder {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
            counters: Known::new(),
            gauges: Known::new(),
            histograms: Known::new(),
        }
    }

    /// Makes it the recorder of the process.
    ///
    /// # Errors
    /// If there is one already.
    pub fn install(self) -> Result<(), metrics::SetRecorderError<Box<Self>>> {
        metrics::set_global_recorder(Box::new(self))
    }

    fn meter(&self, key: &Key) -> Meter {
        let meter = self.manager.meter(key.name());
        key.labels().fold(meter, |meter, label| {
            meter.with(Name::from(label.key()), label.value())
        })
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        if let (Some(engine), Some(unit)) = (self.manager.engine(), unit) {
            engine.series.describe(name.as_str(), unit.as_str());
        }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        self.counters.get(key, || {
            metrics::Counter::from_arc(Arc::new(CounterHandle {
                counter: self.meter(key).counter(),
                reached: AtomicU64::new(0),
            }))
        })
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        self.gauges.get(key, || {
            metrics::Gauge::from_arc(Arc::new(GaugeHandle(self.meter(key).gauge())))
        })
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        self.histograms.get(key, || {
            metrics::Histogram::from_arc(Arc::new(HistogramHandle(self.meter(key).histogram())))
        })
    }
}

struct CounterHandle {
    counter: Counter,
    /// The greatest total that was told.
    reached: AtomicU64,
}

impl CounterFn for CounterHandle {
    fn increment(&self, value: u64) {
        self.counter.add(value);
    }

    fn absolute(&self, value: u64) {
        // Relaxed: only the difference counts, and each part of it goes to one caller.
        let before = self.reached.fetch_max(value, Ordering::Relaxed);
        self.counter.add(value.saturating_sub(before));
    }
}

struct GaugeHandle(Gauge);

impl GaugeFn for GaugeHandle {
    fn increment(&self, value: f64) {
        self.0.add(value);
    }

    fn decrement(&self, value: f64) {
        self.0.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

struct HistogramHandle(Histogram);

impl HistogramFn for HistogramHandle {
    fn record(&self, value: f64) {
        self.0.record(value);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.0.record_many(value, count as u64);
    }
}
