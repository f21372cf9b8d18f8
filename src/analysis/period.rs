//! The time that a report is about.

/// From one moment to another, both included.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Period {
    /// Beginning as ISO 8601 in UTC.
    pub start: String,
    /// End as ISO 8601 in UTC.
    pub end: String,
    /// Beginning, Unix seconds.
    pub start_time: f64,
    /// End, Unix seconds.
    pub end_time: f64,
    /// Beginning, Unix nanoseconds.
    pub start_ns: i64,
    /// End, Unix nanoseconds.
    pub end_ns: i64,
}

impl Period {
    pub(super) fn new(start_ns: i64, end_ns: i64) -> Self {
        Self {
            start: iso(start_ns),
            end: iso(end_ns),
            start_time: start_ns as f64 / 1e9,
            end_time: end_ns as f64 / 1e9,
            start_ns,
            end_ns,
        }
    }
}

/// A Unix nanosecond as `2026-11-21T08:30:00.123456Z`.
pub(super) fn iso(unix_ns: i64) -> String {
    let micros = unix_ns.div_euclid(1000);
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The proleptic Gregorian calendar repeats every 400 years, which have 146,097 days; counted
    // from the first of March 0000, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn dates() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_800_000_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_795_249_800_123_456_789, "2026-11-21T08:30:00.123456Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224Z"),
        ] {
            assert_eq!(iso(ns), text);
        }
    }
}
