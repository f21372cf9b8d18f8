//! What is added up for one node.

use smallvec::SmallVec;

use crate::record::{id::TraceId, kinds::Status};

use super::{
    durations::{Durations, Weighted},
    facts::{SpanFacts, TraceFacts},
    newest::{Moment, Top},
    series::Series,
    texts::NONE,
};

/// Traces that stand as examples for all.
pub(super) const EXAMPLES: usize = 3;

/// What has one weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Stratum {
    pub(super) weight: f64,
    pub(super) durations: Durations,
    pub(super) successes: u64,
    pub(super) self_ns: u128,
    pub(super) critical_ns: u128,
}

/// Strata by weight; nearly always one.
#[derive(Clone, Debug, Default)]
pub(super) struct Strata {
    list: SmallVec<[Box<Stratum>; 1]>,
}

impl Strata {
    #[inline]
    pub(super) fn of(&mut self, weight: f64) -> &mut Stratum {
        let found = self.list.iter().position(|s| s.weight == weight);
        let at = found.unwrap_or_else(|| {
            let at = self.list.partition_point(|s| s.weight < weight);
            let new = Stratum {
                weight,
                ..Stratum::default()
            };
            self.list.insert(at, Box::new(new));
            at
        });
        &mut self.list[at]
    }

    pub(super) fn sort(&mut self) {
        for stratum in &mut self.list {
            stratum.durations.sort();
        }
    }

    pub(super) fn durations(&self) -> Weighted<'_> {
        Weighted::new(self.list.iter().map(|s| (s.weight, &s.durations)))
    }

    /// How many there are, each counted once.
    pub(super) fn count(&self) -> u64 {
        self.list.iter().map(|s| s.durations.len() as u64).sum()
    }

    /// How many of them went well, each counted once.
    pub(super) fn successes(&self) -> u64 {
        self.list.iter().map(|s| s.successes).sum()
    }

    /// How many they stand for.
    pub(super) fn estimated(&self) -> f64 {
        let each = self.list.iter();
        each.map(|s| s.weight * s.durations.len() as f64).sum()
    }

    /// Share of those that went well, weighted; 0 if there are none.
    pub(super) fn success_rate(&self) -> f64 {
        match &self.list[..] {
            [] => 0.0,
            [only] => only.successes as f64 / only.durations.len() as f64,
            several => {
                let well = several.iter().map(|s| s.weight * s.successes as f64);
                well.sum::<f64>() / self.estimated()
            }
        }
    }

    /// Share of the others.
    pub(super) fn failure_rate(&self) -> f64 {
        match &self.list[..] {
            [] => 0.0,
            [only] => {
                let n = only.durations.len() as u64;
                (n - only.successes) as f64 / n as f64
            }
            several => {
                let others = several
                    .iter()
                    .map(|s| s.weight * (s.durations.len() as u64 - s.successes) as f64);
                others.sum::<f64>() / self.estimated()
            }
        }
    }

    /// Weighted sum of what `of` gives.
    pub(super) fn sum(&self, of: impl Fn(&Stratum) -> f64) -> f64 {
        self.list.iter().map(|s| s.weight * of(s)).sum()
    }

    /// Number of independent values that the weights leave.
    pub(super) fn independent(&self) -> f64 {
        let squares: f64 = self
            .list
            .iter()
            .map(|s| s.weight * s.weight * s.durations.len() as f64)
            .sum();
        let weights = self.estimated();
        if squares > 0.0 {
            weights * weights / squares
        } else {
            0.0
        }
    }
}

/// See the top.
#[derive(Clone, Debug)]
pub(super) struct NodeTally {
    pub(super) strata: Strata,
    /// Of the first span that is seen, newest first.
    first: Moment,
    pub(super) name: u32,
    pub(super) series: Series,
    pub(super) slowest: Top<(u64, Moment), TraceId, EXAMPLES>,
    pub(super) failing: Top<Moment, TraceId, EXAMPLES>,
    pub(super) retries: u64,
    pub(super) cost: Option<f64>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) other_tokens: f64,
    pub(super) critical_traces: u64,
    /// The trace that last counted there.
    last_critical: u64,
}

impl Default for NodeTally {
    fn default() -> Self {
        Self {
            strata: Strata::default(),
            first: Moment::FIRST,
            name: NONE,
            series: Series::default(),
            slowest: Top::default(),
            failing: Top::default(),
            retries: 0,
            cost: None,
            input_tokens: 0,
            output_tokens: 0,
            other_tokens: 0.0,
            critical_traces: 0,
            last_critical: 0,
        }
    }
}

impl NodeTally {
    /// When it is first met, newest first.
    pub(super) fn first(&self) -> Moment {
        self.first
    }

    /// Adds one execution. `number` tells the traces apart.
    pub(super) fn add(
        &mut self,
        number: u64,
        trace: &TraceFacts,
        span: &SpanFacts,
        (self_ns, critical_ns): (u64, u64),
    ) {
        let moment = Moment {
            trace_ns: trace.start_ns,
            trace: trace.id.as_u128(),
            at_ns: span.start_ns,
            span: span.id,
        };
        if moment > self.first {
            self.first = moment;
            self.name = span.node_name;
        }
        let stratum = self.strata.of(trace.weight);
        stratum.durations.push(span.duration_ns);
        stratum.successes += u64::from(span.status == Status::Ok);
        stratum.self_ns += u128::from(self_ns);
        if critical_ns > 0 {
            stratum.critical_ns += u128::from(critical_ns);
            if self.last_critical != number {
                self.last_critical = number;
                self.critical_traces += 1;
            }
        }
        let bad = span.status != Status::Ok;
        self.series.add(span.start_ns, span.duration_ns, bad);
        self.slowest.add_once((span.duration_ns, moment), trace.id);
        if bad {
            self.failing.add_once(moment, trace.id);
        }
    }
}
