//! Whether one version of a graph is worse than another, and how sure that is.

use super::{
    analyzer::Analysis,
    build::{label, node_text},
    objectives::score,
    student::{quantile, NORMAL_975},
    tally::{CostSums, Tallies, Tally},
};

/// Probability that an interval holds the true difference.
const CONFIDENCE: f64 = 0.95;

/// Two versions of a graph, the second seen from the first.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Comparison {
    /// The first version.
    pub before: Analysis,
    /// The second version.
    pub after: Analysis,
    /// Why they cannot be compared: one of them ran too rarely.
    pub reason: Option<String>,
    /// Whether the second one is worse: slower, fails more often or costs more, and the interval
    /// of that difference does not hold zero.
    pub worse: bool,
    /// Whether it is better in one of these, and worse in none.
    pub better: bool,
    /// Mean duration of a trace, seconds; worse if greater.
    pub duration: Option<Difference>,
    /// Share of the traces that end with the status ok; worse if smaller.
    pub success_rate: Option<Difference>,
    /// Mean cost of a trace, 0 where none was measured; worse if greater. `None` if neither
    /// version has any.
    pub cost: Option<Difference>,
    /// Mean duration of each node that both have, the worst first. The intervals are as much wider
    /// as there are nodes, so that all of them together hold with 95 %.
    pub nodes: Vec<NodeDifference>,
    /// Nodes that only the first version has.
    pub nodes_gone: Vec<String>,
    /// Nodes that only the second version has.
    pub nodes_new: Vec<String>,
    /// The weighted mean of the objectives' relative improvements, positive if the second version
    /// is better; `None` without objectives that have a value in both.
    pub score: Option<f64>,
}

/// How far two numbers differ.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Difference {
    /// Of the first version.
    pub before: f64,
    /// Of the second version.
    pub after: f64,
    /// The second minus the first.
    pub difference: f64,
    /// Lower end of the 95 % confidence interval of the difference.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// Means: Hedges' g. Shares: Cohen's h. About 0.2 is small, 0.5 medium, 0.8 large; `None`
    /// where nothing varies.
    pub effect_size: Option<f64>,
    /// Whether the second is worse and the interval does not hold zero.
    pub worse: bool,
    /// Whether the second is better and the interval does not hold zero.
    pub better: bool,
}

/// How far the mean durations of a node differ.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct NodeDifference {
    /// The node.
    pub node_id: String,
    /// Its name in the second version.
    pub node_name: String,
    /// Mean duration, seconds.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub duration: Difference,
}

/// A mean with what its interval needs.
#[derive(Clone, Copy, Debug)]
struct Mean {
    mean: f64,
    variance: f64,
    /// Independent values.
    n: f64,
}

pub(super) fn compare(before: Analysis, after: Analysis, tallies: &Tallies) -> Comparison {
    let mut comparison = Comparison {
        reason: before.reason.clone().or_else(|| after.reason.clone()),
        worse: false,
        better: false,
        duration: None,
        success_rate: None,
        cost: None,
        nodes: Vec::new(),
        nodes_gone: Vec::new(),
        nodes_new: Vec::new(),
        score: None,
        before,
        after,
    };
    let (Some(old), Some(new)) = (&comparison.before.report, &comparison.after.report) else {
        return comparison;
    };
    let [first, second] = [&tallies.groups[0], &tallies.groups[1]];
    comparison.score = score(&old.objectives, &new.objectives);
    comparison.duration = welch(duration(first), duration(second), CONFIDENCE);
    comparison.success_rate = Some(newcombe(
        (old.success_rate, first.traces.independent()),
        (new.success_rate, second.traces.independent()),
    ));
    if old.total_cost.is_some() || new.total_cost.is_some() {
        comparison.cost = welch(cost(first), cost(second), CONFIDENCE);
    }
    let only = |one: &super::Report, other: &super::Report| -> Vec<String> {
        let nodes = one.node_metrics.iter().map(|node| &node.node_id);
        nodes
            .filter(|id| other.node(id).is_none())
            .cloned()
            .collect()
    };
    comparison.nodes_gone = only(old, new);
    comparison.nodes_new = only(new, old);
    comparison.nodes = nodes(first, second, tallies);
    let differences = [
        &comparison.duration,
        &comparison.success_rate,
        &comparison.cost,
    ];
    comparison.worse = differences
        .iter()
        .any(|d| d.as_ref().is_some_and(|d| d.worse));
    comparison.better = !comparison.worse
        && differences
            .iter()
            .any(|d| d.as_ref().is_some_and(|d| d.better));
    comparison
}

fn nodes(first: &Tally, second: &Tally, tallies: &Tallies) -> Vec<NodeDifference> {
    let both = first.nodes.iter().zip(&second.nodes).enumerate();
    let both: Vec<_> = both
        .filter(|(_, (a, b))| a.strata.count() > 0 && b.strata.count() > 0)
        .collect();
    // Bonferroni: an error in any of them is as likely as in one.
    let confidence = 1.0 - (1.0 - CONFIDENCE) / both.len().max(1) as f64;
    let mut list: Vec<NodeDifference> = both
        .into_iter()
        .filter_map(|(node, (a, b))| {
            let means = [a, b].map(|node| mean_of(&node.strata.durations()));
            let node_id = node_text(&tallies.names, node as u32);
            Some(NodeDifference {
                node_name: label(&tallies.names, b.name, &node_id),
                node_id,
                duration: welch(means[0], means[1], confidence)?,
            })
        })
        .collect();
    list.sort_by(|a, b| b.duration.difference.total_cmp(&a.duration.difference));
    list
}

fn mean_of(durations: &super::durations::Weighted<'_>) -> Option<Mean> {
    let (variance, n) = durations.variance()?;
    Some(Mean {
        mean: durations.mean_ns()? / 1e9,
        variance: variance / 1e18,
        n,
    })
}

fn duration(tally: &Tally) -> Option<Mean> {
    mean_of(&tally.traces.durations())
}

fn cost(tally: &Tally) -> Option<Mean> {
    let CostSums {
        weighted,
        weighted_squares,
        ..
    } = tally.costs;
    let (weight, n) = (tally.traces.estimated(), tally.traces.independent());
    let mean = weighted / weight;
    let spread = (weighted_squares / weight - mean * mean).max(0.0);
    (n > 1.0).then(|| Mean {
        mean,
        variance: spread * n / (n - 1.0),
        n,
    })
}

/// The difference of two means, by Welch's t; more is worse. `None` if one of them has too few
/// values to vary.
fn welch(before: Option<Mean>, after: Option<Mean>, confidence: f64) -> Option<Difference> {
    let (a, b) = (before?, after?);
    let difference = b.mean - a.mean;
    let (of_a, of_b) = (a.variance / a.n, b.variance / b.n);
    let error = (of_a + of_b).sqrt();
    let mut half = 0.0;
    if error > 0.0 {
        let freedom =
            (of_a + of_b).powi(2) / (of_a.powi(2) / (a.n - 1.0) + of_b.powi(2) / (b.n - 1.0));
        half = quantile((1.0 + confidence) / 2.0, freedom) * error;
    }
    let free = a.n + b.n - 2.0;
    let pooled = ((a.variance * (a.n - 1.0) + b.variance * (b.n - 1.0)) / free).sqrt();
    // Small samples show too large an effect; this takes that back.
    let correction = 1.0 - 3.0 / (4.0 * (a.n + b.n) - 9.0);
    let (low, high) = (difference - half, difference + half);
    Some(Difference {
        before: a.mean,
        after: b.mean,
        difference,
        low,
        high,
        effect_size: (pooled > 0.0).then(|| difference / pooled * correction),
        worse: low > 0.0,
        better: high < 0.0,
    })
}

/// The difference of two shares with their numbers, by Newcombe's hybrid score; less is worse.
fn newcombe((p1, n1): (f64, f64), (p2, n2): (f64, f64)) -> Difference {
    let (low1, high1) = wilson(p1, n1);
    let (low2, high2) = wilson(p2, n2);
    let difference = p2 - p1;
    let low = difference - ((p2 - low2).powi(2) + (high1 - p1).powi(2)).sqrt();
    let high = difference + ((high2 - p2).powi(2) + (p1 - low1).powi(2)).sqrt();
    let angle = |p: f64| 2.0 * p.clamp(0.0, 1.0).sqrt().asin();
    Difference {
        before: p1,
        after: p2,
        difference,
        low,
        high,
        effect_size: Some(angle(p2) - angle(p1)),
        worse: high < 0.0,
        better: low > 0.0,
    }
}

/// Wilson's 95 % interval of a share of `n`.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    let z2 = NORMAL_975 * NORMAL_975;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let spread = p * (1.0 - p) / n + z2 / (4.0 * n * n);
    let half = NORMAL_975 * spread.max(0.0).sqrt() / (1.0 + z2 / n);
    (middle - half, middle + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }

    #[test]
    fn welch_as_in_the_books() {
        // Two samples of 15 (variance 7.9) and 15 (3.8), as in the usual example of the test.
        let a = [
            27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7,
            21.4,
        ];
        let b = [
            27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5,
            24.4,
        ];
        let mean = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let spread: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
            Some(Mean {
                mean,
                variance: spread / (n - 1.0),
                n,
            })
        };
        let d = welch(mean(&a), mean(&b), 0.95).unwrap();
        // t = 2.4554 with 24.99 degrees of freedom.
        close(d.difference, 2.166_666);
        close(d.low, 0.349_237);
        close(d.high, 3.984_096);
        assert!(d.worse && !d.better);
        let same = welch(mean(&a), mean(&a), 0.95).unwrap();
        assert!(!same.worse && !same.better && same.low < 0.0 && same.high > 0.0);
        let turned = welch(mean(&b), mean(&a), 0.95).unwrap();
        assert!(turned.better && !turned.worse);
        close(turned.high, -d.low);
    }

    #[test]
    fn newcombe_as_in_the_books() {
        // 56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, method 10).
        let d = newcombe((48.0 / 80.0, 80.0), (56.0 / 70.0, 70.0));
        close(d.low, 0.0524);
        close(d.high, 0.3339);
        assert!(d.better && !d.worse);
        let d = newcombe((1.0, 10.0), (0.0, 10.0));
        assert!(d.worse && d.low >= -1.0 - 1e-12);
        assert!(!newcombe((1.0, 10.0), (0.9, 10.0)).worse);
    }

    #[test]
    fn what_does_not_vary_has_an_interval_without_width() {
        let of = |mean| {
            Some(Mean {
                mean,
                variance: 0.0,
                n: 10.0,
            })
        };
        let d = welch(of(1.0), of(2.0), 0.95).unwrap();
        assert_eq!((d.low, d.high, d.effect_size), (1.0, 1.0, None));
        assert!(d.worse);
        assert!(!welch(of(1.0), of(1.0), 0.95).unwrap().worse);
    }
}
