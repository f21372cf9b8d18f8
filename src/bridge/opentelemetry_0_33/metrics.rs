//! Metrics of OpenTelemetry.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    metrics::{
        data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics},
        exporter::PushMetricExporter,
        Temporality,
    },
};

use super::values::{self, Source};
use crate::{
    api::{told::Teller, MetricValue},
    record::{
        attributes::AttributeBuffer,
        kinds::Aggregation,
        names::{Name, StaticName},
        value::Value,
    },
    Manager,
};

static DISTRIBUTION: StaticName = StaticName::new("emberlog.distribution");

/// Records the points that the SDK hands on: one record for each.
///
/// Sums that only grow arrive as what was added; other sums and gauges as their last value;
/// histograms as their mean, with number, sum, extremes and distribution in the attribute
/// `emberlog.distribution`.
#[derive(Debug)]
pub struct MetricExporter {
    manager: Manager,
}

/// A number of an instrument.
trait Number: MetricValue + Copy {
    fn as_f64(self) -> f64;
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Number for $ty {
            fn as_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
numbers! { f64 i64 u64 }

/// What the points of a metric share.
struct Points<'p> {
    teller: &'p Teller<'p>,
    source: &'p Source,
    scope: &'p InstrumentationScope,
    metric: &'p Metric,
}

impl MetricExporter {
    /// Records with this manager.
    pub fn new(manager: &Manager) -> Self {
        Self {
            manager: manager.clone(),
        }
    }

    fn write(&self, all: &ResourceMetrics) -> OTelSdkResult {
        let Some(engine) = self.manager.engine() else {
            return Ok(());
        };
        let teller = Teller::new(engine).ok_or(OTelSdkError::AlreadyShutdown)?;
        let source = Source::of(all.resource(), &self.manager);
        for scoped in all.scope_metrics() {
            for metric in scoped.metrics() {
                let points = Points {
                    teller: &teller,
                    source: &source,
                    scope: scoped.scope(),
                    metric,
                };
                match metric.data() {
                    AggregatedMetrics::F64(data) => points.write(data),
                    AggregatedMetrics::U64(data) => points.write(data),
                    AggregatedMetrics::I64(data) => points.write(data),
                }
            }
        }
        Ok(())
    }
}

impl Points<'_> {
    fn write<T: Number>(&self, data: &MetricData<T>) {
        match data {
            MetricData::Gauge(gauge) => {
                for point in gauge.data_points() {
                    let list = self.list(point.attributes());
                    self.one(Aggregation::Gauge, point.value(), gauge.time(), list);
                }
            }
            MetricData::Sum(sum) => {
                let grows = sum.temporality() != Temporality::Cumulative;
                let aggregation = match grows {
                    true => Aggregation::Counter,
                    false => Aggregation::Gauge,
                };
                for point in sum.data_points() {
                    let list = self.list(point.attributes());
                    self.one(aggregation, point.value(), sum.time(), list);
                }
            }
            MetricData::Histogram(histogram) => {
                for point in histogram.data_points() {
                    let bounds: Vec<_> = point.bounds().collect();
                    let middles = middles(&bounds).zip(point.bucket_counts());
                    let extremes = (point.min(), point.max());
                    let told = told(point.count(), point.sum().as_f64(), extremes, middles);
                    self.distribution(point.attributes(), told, histogram.time());
                }
            }
            MetricData::ExponentialHistogram(histogram) => {
                for point in histogram.data_points() {
                    let base = f64::from(-i32::from(point.scale())).exp2();
                    let side = |offset: i32, sign: f64| {
                        move |(at, count): (usize, u64)| {
                            let middle = (f64::from(offset) + at as f64 + 0.5) * base;
                            (sign * middle.exp2(), count)
                        }
                    };
                    let (below, above) = (point.negative_bucket(), point.positive_bucket());
                    let below = below.counts().enumerate().map(side(below.offset(), -1.0));
                    let above = above.counts().enumerate().map(side(above.offset(), 1.0));
                    let all = below.chain([(0.0, point.zero_count())]).chain(above);
                    let extremes = (point.min(), point.max());
                    let count = point.count() as u64;
                    let told = told(count, point.sum().as_f64(), extremes, all);
                    self.distribution(point.attributes(), told, histogram.time());
                }
            }
        }
    }

    fn list<'k>(&self, own: impl Iterator<Item = &'k KeyValue>) -> Box<AttributeBuffer> {
        let mut list = self.teller.list();
        values::push(&mut list, own);
        values::push_scope(&mut list, self.scope);
        self.source.push_short(&mut list);
        list
    }

    fn one(
        &self,
        aggregation: Aggregation,
        value: impl MetricValue,
        time: SystemTime,
        list: Box<AttributeBuffer>,
    ) {
        let unit = Some(self.metric.unit()).filter(|unit| !unit.is_empty());
        let named = (Name::from(self.metric.name()), unit.map(Name::from));
        self.teller
            .metric(named, aggregation, value, values::unix_ns(time), list);
    }

    fn distribution<'k>(
        &self,
        own: impl Iterator<Item = &'k KeyValue>,
        told: Option<(f64, Value)>,
        time: SystemTime,
    ) {
        let Some((mean, told)) = told else { return };
        let mut list = self.list(own);
        list.push_named((&DISTRIBUTION).into(), &told);
        self.one(Aggregation::Histogram, mean, time, list);
    }
}

/// A value for each bucket of explicit bounds.
fn middles(bounds: &[f64]) -> impl Iterator<Item = f64> + '_ {
    let first = bounds.first().copied().unwrap_or_default();
    let last = bounds.last().copied().unwrap_or_default();
    let between = bounds.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    // The outermost have no end: `told` keeps them within the extremes.
    let above = last + last.abs().max(1.0);
    std::iter::once(first).chain(between).chain([above])
}

/// Mean and distribution; `None` for nothing.
fn told<T: Number>(
    count: u64,
    sum: f64,
    (least, most): (Option<T>, Option<T>),
    buckets: impl Iterator<Item = (f64, u64)>,
) -> Option<(f64, Value)> {
    if count == 0 {
        return None;
    }
    let least = least.map_or(f64::NEG_INFINITY, T::as_f64);
    let most = most.map_or(f64::INFINITY, T::as_f64);
    let filled = buckets.filter(|(_, count)| *count > 0);
    let all: Vec<_> = filled
        .map(|(value, count)| (value.max(least).min(most), count))
        .collect();
    let entry = |key: &str, value| (key.to_owned(), value);
    let mut map = vec![
        entry("count", Value::U64(count)),
        entry("sum", Value::F64(sum)),
    ];
    if least.is_finite() && most.is_finite() {
        map.push(entry("min", Value::F64(least)));
        map.push(entry("max", Value::F64(most)));
    }
    let values = all.iter().map(|(value, _)| Value::F64(*value)).collect();
    let counts = all.iter().map(|(_, count)| Value::U64(*count)).collect();
    map.push(entry("values", Value::Array(values)));
    map.push(entry("counts", Value::Array(counts)));
    Some((sum / count as f64, Value::Map(map)))
}

impl PushMetricExporter for MetricExporter {
    fn export(&self, metrics: &ResourceMetrics) -> impl Future<Output = OTelSdkResult> + Send {
        std::future::ready(self.write(metrics))
    }

    fn force_flush(&self) -> OTelSdkResult {
        values::flush(&self.manager, Duration::from_secs(10))
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        values::flush(&self.manager, timeout)
    }

    /// What was added, since records add up.
    fn temporality(&self) -> Temporality {
        Temporality::Delta
    }
}
