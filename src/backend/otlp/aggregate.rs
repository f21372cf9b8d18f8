//! Measurements as series: sums, last values and histograms.
//!
//! Always true:
//! - a batch is added up by itself; what it makes of the series it touches is kept only when the
//!   batch was taken
//! - a metric has at most as many series as the options say; what is beyond adds up in one of them
//! - numbers that are none are not added up, but counted

use std::collections::BTreeMap;

use ahash::AHashMap;

use super::{
    distribution::Recorded,
    encode::{fields::pair, Out, Proto},
    exponential::Exponential,
    options::{HistogramForm, Temporality},
    units::ucum,
    values::any_value,
};
use crate::{
    model::Metric,
    record::{
        id::{InstanceId, SpanId, TraceId},
        kinds::Aggregation,
        value::Value,
    },
};

/// Attribute of the series in which everything is added up that is one too many.
const OVERFLOW: &str = "otel.metric.overflow";
/// Bounds that suit seconds, as the conventions advise.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The default bounds of the specification.
const BOUNDS: &[f64] = &[
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0,
    10000.0,
];

/// Instances whose series are kept.
const INSTANCES: usize = 4;

/// A number that stays an integer as long as it can.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

impl Number {
    fn of(value: f64, integer: Option<i128>) -> Self {
        match integer.and_then(|integer| i64::try_from(integer).ok()) {
            Some(integer) => Self::Int(integer),
            None => Self::Double(value),
        }
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    fn add(self, other: Self) -> Self {
        if let (Self::Int(a), Self::Int(b)) = (self, other) {
            if let Some(sum) = a.checked_add(b) {
                return Self::Int(sum);
            }
        }
        Self::Double(self.as_f64() + other.as_f64())
    }
}

/// Counts between fixed bounds, or between those of a scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Buckets {
    /// One more than there are [`bounds`].
    Explicit(Vec<u64>),
    Exponential(Exponential),
}

/// A distribution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) buckets: Buckets,
}

/// What a series says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Last(Number),
    Sum(Number),
    Distribution(Distribution),
}

/// A measurement that belongs to a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) time_ns: i64,
    pub(super) value: Number,
    pub(super) trace: TraceId,
    pub(super) span: Option<SpanId>,
}

/// One combination of attributes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) attributes: Vec<(String, Value)>,
    /// What `data` counts from.
    pub(super) start_ns: i64,
    /// Its newest measurement.
    pub(super) time_ns: i64,
    pub(super) data: Data,
    /// The newest of the batch, and of a distribution the greatest.
    pub(super) exemplars: Vec<Exemplar>,
}

/// What makes a metric one of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetricKey {
    pub(super) name: String,
    /// In UCUM.
    pub(super) unit: String,
    pub(super) aggregation: Aggregation,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metered {
    /// By attributes, as protobuf, sorted by key.
    pub(super) series: AHashMap<Vec<u8>, Series>,
    /// Whether a counter was ever lowered.
    pub(super) lowered: bool,
    /// Series of a batch that were not there before.
    pub(super) fresh: usize,
}

/// The metrics of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instance {
    /// Its first measurement.
    pub(super) start_ns: i64,
    pub(super) metrics: BTreeMap<MetricKey, Metered>,
}

/// All series, or those that a batch touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) instances: BTreeMap<InstanceId, Instance>,
}

/// What a measurement says.
pub(super) struct Measured<'m> {
    pub(super) name: &'m str,
    pub(super) unit: &'m str,
    pub(super) aggregation: Aggregation,
    pub(super) value: f64,
    pub(super) integer: Option<i128>,
    pub(super) time_ns: i64,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    /// Of a histogram, where it is more than one value.
    pub(super) recorded: Option<Recorded>,
}

impl<'m> Measured<'m> {
    pub(super) fn of(metric: &'m Metric) -> Self {
        Self {
            name: &metric.name,
            unit: &metric.unit,
            aggregation: metric.aggregation,
            value: metric.value,
            integer: metric.integer,
            time_ns: metric.timestamp_ns,
            trace: metric.trace_id,
            span: metric.span_id,
            recorded: match metric.aggregation {
                Aggregation::Histogram => Recorded::of_metric(metric),
                _ => None,
            },
        }
    }
}

/// How series are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) histograms: HistogramForm,
    pub(super) temporality: Temporality,
    pub(super) limit: usize,
}

/// The bounds for values of a unit.
pub(super) fn bounds(unit: &str) -> &'static [f64] {
    match unit {
        "s" => SECONDS,
        _ => BOUNDS,
    }
}

/// Attributes sorted by key, and what tells them from others.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    list: Vec<(&'a str, &'a Value)>,
    key: Vec<u8>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(list: impl Iterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut list: Vec<_> = list.collect();
        list.sort_by_key(|(key, _)| *key);
        let mut out = Proto::default();
        for (key, value) in &list {
            out.item(pair::KEY, |out| {
                out.some_text(pair::KEY, key);
                out.message(pair::VALUE, |out| any_value(out, value));
            });
        }
        let key = out.into_bytes();
        Self { list, key }
    }

    pub(super) fn into_key(self) -> Vec<u8> {
        self.key
    }

    fn owned(&self) -> Vec<(String, Value)> {
        let owned = self
            .list
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).clone()));
        owned.collect()
    }
}

impl Distribution {
    fn new(form: HistogramForm, unit: &str) -> Self {
        Self {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            buckets: match form {
                HistogramForm::Explicit => Buckets::Explicit(vec![0; bounds(unit).len() + 1]),
                HistogramForm::Exponential => Buckets::Exponential(Exponential::default()),
            },
        }
    }

    fn record(&mut self, value: f64, unit: &str) {
        self.sum += value;
        self.count_in(value, 1, unit);
    }

    /// Adds what was added up before.
    fn add(&mut self, recorded: &Recorded, unit: &str) {
        self.sum += recorded.sum;
        for (value, times) in &recorded.values {
            self.count_in(*value, *times, unit);
        }
        if let Some((least, most)) = recorded.extremes {
            self.min = self.min.min(least);
            self.max = self.max.max(most);
        }
    }

    fn count_in(&mut self, value: f64, times: u64, unit: &str) {
        self.count += times;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        match &mut self.buckets {
            // A bound belongs to the bucket below it.
            Buckets::Explicit(counts) => {
                counts[bounds(unit).partition_point(|bound| *bound < value)] += times;
            }
            Buckets::Exponential(buckets) => buckets.record(value, times),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.buckets, &other.buckets) {
            (Buckets::Explicit(counts), Buckets::Explicit(more)) => {
                counts
                    .iter_mut()
                    .zip(more)
                    .for_each(|(count, more)| *count += more);
            }
            (Buckets::Exponential(buckets), Buckets::Exponential(more)) => buckets.merge(more),
            // The options changed since the last start: what was counted cannot be converted.
            (mine, more) => {
                *mine = more.clone();
                (self.count, self.sum) = (other.count, other.sum);
                (self.min, self.max) = (other.min, other.max);
            }
        }
    }
}

impl Series {
    fn record(&mut self, measured: &Measured<'_>, unit: &str) {
        let value = Number::of(measured.value, measured.integer);
        let newest = measured.time_ns >= self.time_ns;
        self.time_ns = self.time_ns.max(measured.time_ns);
        match &mut self.data {
            Data::Last(last) if newest => *last = value,
            Data::Last(_) => {}
            Data::Sum(sum) => *sum = sum.add(value),
            Data::Distribution(all) => match &measured.recorded {
                Some(recorded) => all.add(recorded, unit),
                None => all.record(measured.value, unit),
            },
        }
        let Some(trace) = measured.trace else { return };
        let exemplar = Exemplar {
            time_ns: measured.time_ns,
            value,
            trace,
            span: measured.span,
        };
        match self.exemplars.as_mut_slice() {
            [] => self.exemplars.push(exemplar),
            [last, rest @ ..] => {
                let old = std::mem::replace(last, exemplar);
                if let Data::Distribution(_) = self.data {
                    match rest {
                        [] => self.exemplars.push(old),
                        [greatest, ..] if old.value.as_f64() > greatest.value.as_f64() => {
                            *greatest = old;
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Adds what a batch says to what was before.
    fn follow(&mut self, before: &Self) {
        self.start_ns = before.start_ns;
        let earlier = self.time_ns < before.time_ns;
        self.time_ns = self.time_ns.max(before.time_ns);
        match (&mut self.data, &before.data) {
            (Data::Last(last), Data::Last(old)) if earlier => *last = *old,
            (Data::Sum(sum), Data::Sum(old)) => *sum = old.add(*sum),
            (Data::Distribution(all), Data::Distribution(old)) => {
                let batch = std::mem::replace(all, old.clone());
                all.merge(&batch);
            }
            _ => {}
        }
    }
}

impl State {
    /// Adds a measurement to a batch; `before` is what was there before the batch. Whether it is
    /// a number that can be added up.
    pub(super) fn record(
        &mut self,
        before: &Self,
        instance: InstanceId,
        measured: &Measured<'_>,
        attributes: &Attributes<'_>,
        rules: &Rules,
    ) -> bool {
        let gauge = measured.aggregation == Aggregation::Gauge;
        if !gauge && !measured.value.is_finite() {
            return false;
        }
        let known = before.instances.get(&instance);
        let here = self.instances.entry(instance).or_insert_with(|| Instance {
            start_ns: known.map_or(i64::MAX, |known| known.start_ns),
            metrics: BTreeMap::new(),
        });
        if known.is_none() {
            // What is counted was counted between two moments that differ.
            here.start_ns = here.start_ns.min(measured.time_ns.saturating_sub(1));
        }
        let unit = ucum(measured.unit);
        let key = MetricKey {
            name: measured.name.to_owned(),
            unit: unit.to_owned(),
            aggregation: measured.aggregation,
        };
        let known = known.and_then(|known| known.metrics.get(&key));
        let metric = here.metrics.entry(key).or_insert_with(|| Metered {
            lowered: known.is_some_and(|known| known.lowered),
            ..Metered::default()
        });
        if measured.aggregation == Aggregation::Counter && measured.value < 0.0 {
            metric.lowered = true;
        }
        let is_known = |key: &[u8]| known.is_some_and(|known| known.series.contains_key(key));
        if let Some(series) = metric.series.get_mut(&attributes.key) {
            series.record(measured, unit);
            return true;
        }
        let all = known.map_or(0, |known| known.series.len()) + metric.fresh;
        let truth = Value::Bool(true);
        let overflow;
        let attributes = match is_known(&attributes.key) || all + 1 < rules.limit {
            true => attributes,
            false => {
                overflow = Attributes::new([(OVERFLOW, &truth)].into_iter());
                &overflow
            }
        };
        if !metric.series.contains_key(&attributes.key) && !is_known(&attributes.key) {
            metric.fresh += 1;
        }
        let series = metric.series.entry(attributes.key.clone());
        let series = series.or_insert_with(|| Series {
            attributes: attributes.owned(),
            start_ns: here.start_ns,
            time_ns: i64::MIN,
            data: match measured.aggregation {
                Aggregation::Counter => Data::Sum(Number::Int(0)),
                Aggregation::Histogram => {
                    Data::Distribution(Distribution::new(rules.histograms, unit))
                }
                _ => Data::Last(Number::Int(0)),
            },
            exemplars: Vec::new(),
        });
        series.record(measured, unit);
        true
    }

    /// Makes points of a batch: with what was before, or from where that ended.
    pub(super) fn follow(&mut self, before: &Self, rules: &Rules) {
        for (id, instance) in &mut self.instances {
            for (key, metric) in &mut instance.metrics {
                let before = before.instances.get(id);
                let before = before.and_then(|before| before.metrics.get(key));
                for (attributes, series) in &mut metric.series {
                    series.start_ns = instance.start_ns;
                    match before.and_then(|before| before.series.get(attributes)) {
                        None => {}
                        Some(before) if rules.temporality == Temporality::Cumulative => {
                            series.follow(before);
                        }
                        Some(before) => {
                            // Late measurements belong to this point nevertheless.
                            series.start_ns = before.time_ns;
                            series.time_ns = series.time_ns.max(before.time_ns.saturating_add(1));
                        }
                    }
                }
            }
        }
    }

    /// Takes over the series that a batch touched.
    pub(super) fn absorb(&mut self, batch: Self) {
        for (id, instance) in batch.instances {
            let here = self.instances.entry(id).or_insert_with(|| Instance {
                start_ns: instance.start_ns,
                metrics: BTreeMap::new(),
            });
            for (key, metric) in instance.metrics {
                let known = here.metrics.entry(key).or_default();
                known.lowered |= metric.lowered;
                for (attributes, mut series) in metric.series {
                    series.exemplars.clear();
                    known.series.insert(attributes, series);
                }
            }
        }
        // Earlier instances are over; a few stay for what recovery finds of them.
        while self.instances.len() > INSTANCES {
            let oldest = self
                .instances
                .iter()
                .min_by_key(|(_, instance)| instance.start_ns);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.instances.remove(&oldest);
        }
    }
}
