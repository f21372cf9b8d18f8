//! Handles of counters, gauges and histograms that add up in memory.

use std::{fmt, sync::Arc};

use super::{
    engine::Engine,
    held::Held,
    series::{self, AllSeries, Series},
};
use crate::record::{
    attributes::{AttributeBuffer, AttributeValue},
    kinds::Aggregation,
    names::Name,
};

/// A series that is being put together; made by `Manager::meter`.
#[must_use = "it is a series once `counter`, `gauge` or `histogram` is called"]
pub struct Meter {
    engine: Held<Arc<Engine>>,
    name: String,
    unit: String,
    attributes: AttributeBuffer,
}

impl Meter {
    pub(crate) fn new(engine: Option<&Arc<Engine>>, name: &str) -> Self {
        Self {
            engine: Held::new(engine.cloned()),
            name: name.to_owned(),
            unit: String::new(),
            attributes: AttributeBuffer::default(),
        }
    }

    /// Sets the unit.
    pub fn unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// Sets an attribute: each combination of them is a series of its own.
    pub fn with<'n>(mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) -> Self {
        self.attributes.push(key, value);
        self
    }

    /// Something that adds up.
    pub fn counter(self) -> Counter {
        Counter(self.series(Aggregation::Counter))
    }

    /// Something of which the last value counts.
    pub fn gauge(self) -> Gauge {
        Gauge(self.series(Aggregation::Gauge))
    }

    /// Something whose values form a distribution.
    pub fn histogram(self) -> Histogram {
        Histogram(self.series(Aggregation::Histogram))
    }

    fn series(mut self, aggregation: Aggregation) -> Held<Arc<Series>> {
        let engine = self.engine.take();
        Held::new(engine.and_then(|engine| {
            let key = series::key(&self.name, &self.unit, aggregation, &self.attributes);
            AllSeries::get(&engine, key, self.attributes)
        }))
    }
}

/// Adds up; one record per interval holds what was added in it.
#[derive(Clone)]
pub struct Counter(Held<Arc<Series>>);

impl Counter {
    /// Adds an amount.
    #[inline]
    pub fn add(&self, amount: u64) {
        if let Some(series) = self.0.get() {
            series.add(amount);
        }
    }
}

/// Holds a value; one record per interval in which it was set holds the last one.
#[derive(Clone)]
pub struct Gauge(Held<Arc<Series>>);

impl Gauge {
    /// Sets the value.
    #[inline]
    pub fn set(&self, value: f64) {
        self.change(|_| value);
    }

    /// Adds to the value, which is 0 at first.
    #[inline]
    pub fn add(&self, amount: f64) {
        self.change(|value| value + amount);
    }

    fn change(&self, change: impl Fn(f64) -> f64) {
        if let Some(series) = self.0.get() {
            series.change(change);
        }
    }
}

/// Collects values; one record per interval holds their number, sum, extremes and distribution.
#[derive(Clone)]
pub struct Histogram(Held<Arc<Series>>);

impl Histogram {
    /// Records a value; what is no finite number is ignored.
    #[inline]
    pub fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    /// Records a value that was seen several times.
    #[inline]
    pub fn record_many(&self, value: f64, times: u64) {
        if let Some(series) = self.0.get() {
            series.record(value, times);
        }
    }
}

macro_rules! opaque_debug {
    ($($ty:ident)*) => {$(
        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($ty)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque_debug! { Meter Counter Gauge Histogram }
