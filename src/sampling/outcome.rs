//! What a trace that is not sampled is kept for after all.

use std::time::Duration;

use super::Threshold;
use crate::record::kinds::Status;

/// Which traces are kept for how they went, whatever was decided when they began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Those that failed: the part of them that is kept.
    pub(crate) errors: Option<f64>,
    /// Those that took at least so long.
    pub(crate) slow: Option<Duration>,
    /// Of the others, so many as they come near to this length: half of those that took half of it.
    pub(crate) adaptive: Option<Duration>,
}

impl Outcome {
    /// Whether anything of it can keep a trace.
    pub(crate) fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// The threshold under which a trace stands that went like this.
    pub(crate) fn threshold(&self, status: Status, length: Duration) -> Threshold {
        let failed = matches!(status, Status::Error | Status::Orphaned);
        let errors = self.errors.filter(|_| failed).unwrap_or(0.0);
        let slow = self.slow.is_some_and(|slow| length >= slow);
        let adaptive = self.adaptive.map_or(0.0, |slow| {
            // Zero: everything is slow.
            let part = length.as_secs_f64() / slow.as_secs_f64();
            if part.is_nan() {
                1.0
            } else {
                part
            }
        });
        let rate = if slow { 1.0 } else { errors.max(adaptive) };
        Threshold::of_rate(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_or_was_slow_stands_under_a_lower_threshold() {
        let second = Duration::from_secs(1);
        let rate = |outcome: Outcome, status, length: f64| {
            let length = Duration::from_secs_f64(length);
            outcome.threshold(status, length).rate()
        };
        let nothing = Outcome::default();
        assert!(!nothing.is_any());
        assert_eq!(rate(nothing, Status::Error, 100.0), 0.0);
        let errors = Outcome {
            errors: Some(0.5),
            ..nothing
        };
        assert!(errors.is_any());
        for (status, expected) in [
            (Status::Ok, 0.0),
            (Status::Unset, 0.0),
            (Status::Cancelled, 0.0),
            (Status::Error, 0.5),
            (Status::Orphaned, 0.5),
        ] {
            assert_eq!(rate(errors, status, 100.0), expected, "{status:?}");
        }
        let slow = Outcome {
            slow: Some(second),
            ..nothing
        };
        assert_eq!(rate(slow, Status::Ok, 0.999), 0.0);
        assert_eq!(rate(slow, Status::Ok, 1.0), 1.0);
        let adaptive = Outcome {
            adaptive: Some(second),
            ..nothing
        };
        for (length, expected) in [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (1.0, 1.0), (9.0, 1.0)] {
            assert_eq!(rate(adaptive, Status::Ok, length), expected, "{length}");
        }
        let zero = Outcome {
            adaptive: Some(Duration::ZERO),
            ..nothing
        };
        assert_eq!(rate(zero, Status::Ok, 0.0), 1.0);
        let both = Outcome {
            errors: Some(0.5),
            ..adaptive
        };
        assert_eq!(rate(both, Status::Error, 0.25), 0.5);
        assert_eq!(rate(both, Status::Error, 0.75), 0.75);
    }
}
