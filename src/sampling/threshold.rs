//! OpenTelemetry's rule for consistent sampling.

use std::fmt;

use crate::record::id::TraceId;

/// One more than the greatest random number: 56 bits.
const ALL: u64 = 1 << 56;

/// What the last 56 bits of a trace id must reach for the trace to be kept: OpenTelemetry's
/// rejection threshold `th`. The greater, the fewer traces.
///
/// ```
/// use emberlog::{sampling::Threshold, TraceId};
/// let quarter = Threshold::of_rate(0.25);
/// assert_eq!(quarter.tracestate().as_deref(), Some("ot=th:c"));
/// assert!(quarter.keeps(TraceId::from_u128(0xc0_0000_0000_0000)));
/// assert!(!quarter.keeps(TraceId::from_u128(0xbf_ffff_ffff_ffff)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Threshold(u64);

impl Threshold {
    /// Keeps every trace.
    pub const ALWAYS: Self = Self(0);
    /// Keeps none.
    pub const NEVER: Self = Self(ALL);

    /// The threshold that keeps this part of all traces: 0 is none, 1 all. What is outside of that
    /// counts as the nearer end, NaN as 0, and a part below 2⁻⁵⁶ as none.
    pub fn of_rate(rate: f64) -> Self {
        // A power of two: nothing is rounded but what is below one 2⁵⁶th.
        Self(ALL - (rate.clamp(0.0, 1.0) * ALL as f64) as u64)
    }

    /// The probability that a trace is kept, 0 to 1.
    pub fn rate(self) -> f64 {
        (ALL - self.0) as f64 / ALL as f64
    }

    /// Whether a trace is kept.
    #[inline]
    pub const fn keeps(self, trace: TraceId) -> bool {
        trace.as_u128() as u64 & (ALL - 1) >= self.0
    }

    /// The threshold as a number, 0 to 2⁵⁶.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The threshold with this number; what is greater than 2⁵⁶ keeps nothing either.
    pub const fn from_bits(bits: u64) -> Self {
        if bits < ALL {
            Self(bits)
        } else {
            Self::NEVER
        }
    }

    /// What a `tracestate` header says of it, such as `ot=th:c`; `None` if nothing is kept, which
    /// such a header cannot say.
    pub fn tracestate(self) -> Option<String> {
        (self != Self::NEVER).then(|| format!("ot=th:{self}"))
    }

    /// The threshold that a `tracestate` header gives: `th` in the entry of the vendor `ot`.
    /// `None` if there is none, or none that can be read.
    ///
    /// ```
    /// use emberlog::sampling::Threshold;
    /// let header = "vendor=x, ot=rv:6e6d1a75832a2f;th:8";
    /// assert_eq!(Threshold::from_tracestate(header), Some(Threshold::of_rate(0.5)));
    /// ```
    pub fn from_tracestate(header: &str) -> Option<Self> {
        let mut entries = header.split(',').map(str::trim);
        let ours = entries.find_map(|entry| entry.strip_prefix("ot="))?;
        let digits = ours.split(';').find_map(|part| part.strip_prefix("th:"))?;
        let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !(1..=14).contains(&digits.len()) || !are_digits {
            return None;
        }
        let bits = u64::from_str_radix(digits, 16).ok()?;
        Some(Self(bits << (4 * (14 - digits.len()))))
    }
}

impl fmt::Display for Threshold {
    /// As OpenTelemetry writes it: 56 bits in hexadecimal, zeros at the end left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        let digits = digits.trim_end_matches('0');
        f.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64) -> TraceId {
        TraceId::from_u128(u128::from(low) | 7 << 64)
    }

    #[test]
    fn the_last_56_bits_decide_and_nothing_else() {
        // OpenTelemetry's example: th:8 keeps ids whose last 56 bits are 0x80000000000000 and more.
        let half = Threshold::of_rate(0.5);
        for high in [0, 0xff << 56] {
            assert!(half.keeps(id(high | 0x80_0000_0000_0000)));
            assert!(!half.keeps(id(high | 0x7f_ffff_ffff_ffff)));
        }
        for (rate, keeps) in [(0.0, false), (f64::NAN, false), (-1.0, false), (1.0, true)] {
            let threshold = Threshold::of_rate(rate);
            for low in [0, 1, ALL - 1, u64::MAX] {
                assert_eq!(threshold.keeps(id(low)), keeps, "{rate} {low}");
            }
        }
        assert!(Threshold::of_rate(2.0).keeps(id(0)));
    }

    #[test]
    fn a_rate_comes_back_as_it_was() {
        for rate in [0.0, 1.0, 0.5, 0.1, 0.01, 1e-6, 2f64.powi(-56), 0.999_999] {
            let threshold = Threshold::of_rate(rate);
            assert!((threshold.rate() - rate).abs() <= 2f64.powi(-56), "{rate}");
            assert_eq!(Threshold::of_rate(threshold.rate()), threshold);
        }
        assert_eq!(Threshold::of_rate(2f64.powi(-57)), Threshold::NEVER);
    }

    #[test]
    fn trace_states_are_written_and_read_as_opentelemetry_has_them() {
        for (rate, text) in [(1.0, "0"), (0.5, "8"), (0.25, "c"), (0.75, "4")] {
            let threshold = Threshold::of_rate(rate);
            let header = format!("ot=th:{text}");
            assert_eq!(threshold.tracestate().as_deref(), Some(header.as_str()));
            assert_eq!(Threshold::from_tracestate(&header), Some(threshold));
        }
        let tenth = Threshold::of_rate(0.1);
        let header = tenth.tracestate().unwrap();
        assert_eq!(header, "ot=th:e6666666666666");
        assert_eq!(Threshold::from_tracestate(&header), Some(tenth));
        assert_eq!(Threshold::NEVER.tracestate(), None);
        for nothing in ["", "ot=", "ot=rv:8", "other=th:8", "ot=th:", "ot=th:g"] {
            assert_eq!(Threshold::from_tracestate(nothing), None, "{nothing}");
        }
        for unreadable in ["ot=th:+8", "ot=th:123456789abcdef"] {
            assert_eq!(Threshold::from_tracestate(unreadable), None, "{unreadable}");
        }
    }
}
