//! All that a configuration says about sampling.

use super::{GraphRates, Outcome, Threshold};
use crate::record::{id::TraceId, names::Name};

/// How the traces of one manager are sampled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    general: Threshold,
    /// Rates of single graphs.
    graphs: GraphRates,
    /// Whether what a caller in another process decided counts before all of it.
    parent_based: bool,
    /// What is kept although it is not sampled.
    outcome: Outcome,
}

/// What is known of a trace when it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) trace: TraceId,
    /// What graphs are told apart by, where it is not the name.
    pub(crate) graph: Option<&'a str>,
    pub(crate) name: Name<'a>,
    /// Whether a caller in another process sampled it, and its threshold.
    pub(crate) caller: Option<(bool, Option<Threshold>)>,
}

impl Rules {
    pub(crate) fn new(rate: f64, graphs: GraphRates, parent_based: bool, outcome: Outcome) -> Self {
        Self {
            general: Threshold::of_rate(rate),
            graphs,
            parent_based,
            outcome,
        }
    }

    /// What is kept although it is not sampled.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.is_any().then_some(&self.outcome)
    }

    /// Whether a trace is sampled, and the threshold that it stands under.
    #[inline]
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> (bool, Threshold) {
        match asked.caller {
            // A caller that does not say how many it left out stands for itself alone.
            Some((true, theirs)) if self.parent_based => (true, theirs.unwrap_or_default()),
            Some((false, _)) if self.parent_based => (false, Threshold::NEVER),
            _ => {
                let threshold = self.threshold(asked);
                (threshold.keeps(asked.trace), threshold)
            }
        }
    }

    #[inline]
    fn threshold(&self, asked: &Asked<'_>) -> Threshold {
        if self.graphs.is_empty() {
            return self.general;
        }
        let graph = asked.graph.unwrap_or_else(|| asked.name.text());
        let rate = self.graphs.rate_of(graph);
        rate.map_or(self.general, Threshold::of_rate)
    }

    /// Whether what names nothing but its trace is recorded.
    #[inline]
    pub(crate) fn keeps(&self, trace: TraceId) -> bool {
        self.general.keeps(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_counts_before_rates_if_it_is_to() {
        let graphs = [("billing", 1.0)].into_iter().collect();
        let mut rules = Rules::new(0.0, graphs, true, Outcome::default());
        let trace = TraceId::from_u128(u128::MAX);
        let quarter = Threshold::of_rate(0.25);
        let asked = |graph, caller| Asked {
            trace,
            graph: Some(graph),
            name: Name::from(""),
            caller,
        };
        let (no, yes) = (Threshold::NEVER, Threshold::ALWAYS);
        let caller = Some((true, Some(quarter)));
        assert_eq!(rules.decide(&asked("x", None)), (false, no));
        assert_eq!(rules.decide(&asked("billing", None)), (true, yes));
        assert_eq!(rules.decide(&asked("x", caller)), (true, quarter));
        assert_eq!(rules.decide(&asked("x", Some((true, None)))), (true, yes));
        let refused = Some((false, None));
        assert_eq!(rules.decide(&asked("billing", refused)), (false, no));
        rules.parent_based = false;
        assert_eq!(rules.decide(&asked("x", caller)), (false, no));
        assert_eq!(rules.decide(&asked("billing", refused)), (true, yes));
    }
}
