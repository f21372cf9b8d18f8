//! Clocks and medians.

use std::time::Duration;

/// CPU time that the whole process has used, all threads together. `None` where the system does
/// not tell.
pub fn process_cpu() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Some(Duration::new(
            u64::try_from(time.tv_sec).ok()?,
            u32::try_from(time.tv_nsec).ok()?,
        ))
    }
    #[cfg(not(unix))]
    None
}

/// The middle of several measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// A quarter lies below.
    pub low: f64,
    /// A quarter lies above.
    pub high: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these measurements; `None` if there is none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (values.len() - 1) as f64;
            let (below, above) = (
                values[place.floor() as usize],
                values[place.ceil() as usize],
            );
            below + (above - below) * place.fract()
        };
        if values.is_empty() {
            return None;
        }
        Some(Self {
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
            min: at(0.0),
            max: at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Spread::of(vec![]), None);
        let one = Spread::of(vec![3.0]).unwrap();
        assert_eq!(
            (one.min, one.low, one.median, one.high, one.max),
            (3.0, 3.0, 3.0, 3.0, 3.0)
        );
        let four = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            (four.min, four.low, four.median, four.high, four.max),
            (1.0, 1.75, 2.5, 3.25, 4.0)
        );
    }

    #[test]
    #[cfg(unix)]
    fn cpu_time_grows() {
        let before = process_cpu().unwrap();
        let mut x = 1u64;
        while process_cpu().unwrap() == before {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(process_cpu().unwrap() > before);
    }
}
