//! Distributions that were added up before they were recorded: one record, many values.

use crate::{model::Metric, record::value::Value};

/// Attribute of such a record.
pub(super) const KEY: &str = "emberlog.distribution";

/// Values and how often each was seen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded {
    pub(super) sum: f64,
    pub(super) extremes: Option<(f64, f64)>,
    pub(super) values: Vec<(f64, u64)>,
}

impl Recorded {
    /// What a record holds; `None` where it holds one value, or what was not written by us.
    pub(super) fn of_metric(metric: &Metric) -> Option<Self> {
        match metric.attributes.get(KEY)? {
            Value::Map(map) => Self::of(map),
            _ => None,
        }
    }

    pub(super) fn of(map: &[(String, Value)]) -> Option<Self> {
        let entry = |name: &str| {
            map.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value)
        };
        let list = |name: &str| match entry(name)? {
            Value::Array(values) => Some(values),
            _ => None,
        };
        let number = |name: &str| entry(name)?.as_f64().filter(|value| value.is_finite());
        let counts = list("counts")?.iter();
        let counts = counts.map(|count| count.as_i64().and_then(|count| u64::try_from(count).ok()));
        let values = list("values")?.iter().map(Value::as_f64).zip(counts);
        let values = values.map(|(value, count)| Some((value?, count?)));
        let values: Vec<_> = values.collect::<Option<_>>()?;
        let finite = values.iter().all(|(value, _)| value.is_finite());
        (finite && !values.is_empty()).then_some(Self {
            sum: number("sum")?,
            extremes: number("min").zip(number("max")),
            values,
        })
    }
}
