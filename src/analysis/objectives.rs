//! What an optimisation wants: less time, less cost, more of something that was measured.

use std::str::FromStr;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Direction {
    /// Less is better.
    Minimize,
    /// More is better.
    Maximize,
}

/// One of several objectives, the documents' `optimization_objectives`.
///
/// | name | value |
/// |---|---|
/// | `latency`, `avg_duration` | mean duration of the traces, seconds |
/// | `p50_duration`, `p95_duration`, `p99_duration` | quantile of it, seconds |
/// | `cost` | mean cost of a trace |
/// | `success_rate`, `error_rate` | share of the traces, 0 to 1 |
/// | anything else | mean of the metric with this name, over its measurements |
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Objective {
    /// What is measured.
    pub name: String,
    /// How much it counts beside the others; above 0.
    pub weight: f64,
    /// Which way is better.
    pub direction: Direction,
}

/// The value of an objective in a report.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ObjectiveValue {
    /// The objective.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub objective: Objective,
    /// Its value; `None` if nothing was measured.
    pub value: Option<f64>,
}

/// A text that is no objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no objective: expected NAME:minimize or NAME:maximize, then :WEIGHT above 0 if it is not 1")]
pub struct ParseObjectiveError {
    text: String,
}

impl FromStr for Objective {
    type Err = ParseObjectiveError;

    /// `latency:minimize`, `quality:maximize:0.2`; `min` and `max` will do.
    fn from_str(text: &str) -> Result<Self, ParseObjectiveError> {
        let bad = || ParseObjectiveError {
            text: text.to_owned(),
        };
        let mut parts = text.split(':');
        let name = parts.next().filter(|name| !name.is_empty());
        let direction = match parts.next() {
            Some("min" | "minimize") => Direction::Minimize,
            Some("max" | "maximize") => Direction::Maximize,
            _ => return Err(bad()),
        };
        let weight = parts.next().map_or(Ok(1.0), str::parse);
        let weight = weight.ok().filter(|w: &f64| *w > 0.0 && w.is_finite());
        match (name, weight, parts.next()) {
            (Some(name), Some(weight), None) => Ok(Self {
                name: name.to_owned(),
                weight,
                direction,
            }),
            _ => Err(bad()),
        }
    }
}

/// How much better the values are than those before: the weighted mean of the objectives' relative
/// improvements, positive if better. An objective without a value on one side, or with 0 before,
/// is left out; `None` if all are.
pub(super) fn score(before: &[ObjectiveValue], after: &[ObjectiveValue]) -> Option<f64> {
    let (mut weights, mut sum) = (0.0, 0.0);
    for (before, after) in before.iter().zip(after) {
        let (Some(old), Some(new)) = (before.value, after.value) else {
            continue;
        };
        if old == 0.0 {
            continue;
        }
        let change = (new - old) / old.abs();
        let objective = &before.objective;
        weights += objective.weight;
        sum += objective.weight
            * match objective.direction {
                Direction::Minimize => -change,
                Direction::Maximize => change,
            };
    }
    (weights > 0.0).then(|| sum / weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, value: Option<f64>) -> ObjectiveValue {
        ObjectiveValue {
            objective: text.parse().unwrap(),
            value,
        }
    }

    #[test]
    fn texts() {
        let quality: Objective = "quality:max:0.2".parse().unwrap();
        assert_eq!(quality.name, "quality");
        assert_eq!(quality.direction, Direction::Maximize);
        assert_eq!(quality.weight, 0.2);
        for bad in [
            "latency",
            "latency:down",
            ":min",
            "a:min:0",
            "a:min:x",
            "a:min:1:2",
            "a:min:inf",
        ] {
            let error = bad.parse::<Objective>().unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn scores_are_weighted_relative_improvements() {
        let before = [value("a:min:3", Some(2.0)), value("b:max", Some(-4.0))];
        let after = [value("a:min:3", Some(1.0)), value("b:max", Some(-5.0))];
        // a: 50 % better, b: 25 % worse.
        assert_eq!(score(&before, &after), Some((3.0 * 0.5 - 0.25) / 4.0));
        let unknown = [value("a:min:3", None), value("b:max", Some(-4.0))];
        assert_eq!(score(&unknown, &after), Some(-0.25));
        assert_eq!(score(&[], &[]), None);
    }
}
