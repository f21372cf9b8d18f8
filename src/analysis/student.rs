//! Quantiles that confidence intervals need.

/// The 97.5 % quantile of the normal distribution.
pub(super) const NORMAL_975: f64 = 1.959_963_984_540_054;

/// The quantile of Student's t distribution for a probability above one half, found by bisection.
/// `freedom` is above 0.
pub(super) fn quantile(probability: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while cumulative(high, freedom) < probability && high < 1e12 {
        high *= 2.0;
    }
    // Until nothing lies between them.
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if cumulative(middle, freedom) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// Probability of a value up to `t`, which is not negative.
fn cumulative(t: f64, freedom: f64) -> f64 {
    let x = freedom / (freedom + t * t);
    1.0 - beta(x, freedom / 2.0, 0.5) / 2.0
}

/// The regularised incomplete beta function.
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    let front = front.exp();
    // The fraction converges fast on this side; the other one is its mirror image.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = result;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            result *= d * c;
        }
        if (result / before - 1.0).abs() < 1e-16 {
            break;
        }
    }
    result
}

/// Logarithm of the gamma function for arguments above 0: recurrence up to where Stirling's series
/// has all digits.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / square) / square) / square) / x;
    shift + (x - 0.5) * x.ln() - x + (2.0 * std::f64::consts::PI).ln() / 2.0 + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_as_in_the_tables() {
        for (probability, freedom, expected) in [
            (0.975, 1.0, 12.706_204_736_432_1),
            (0.975, 2.0, 4.302_652_729_911_28),
            (0.975, 5.0, 2.570_581_835_636_31),
            (0.975, 10.0, 2.228_138_851_986_27),
            (0.975, 30.0, 2.042_272_456_301_24),
            (0.975, 1000.0, 1.962_339_080_826_41),
            (0.995, 9.0, 3.249_835_541_592_14),
            (0.975, 17.3, 2.107_032_003_753),
        ] {
            let found = quantile(probability, freedom);
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "t({probability}, {freedom}) = {found}, expected {expected}"
            );
        }
        assert!((quantile(0.975, 1e9) - NORMAL_975).abs() < 1e-6);
    }
}
