//! Times and durations as people type them.
//!
//! A time is RFC 3339, a date, epoch seconds, `now`, `today`, `yesterday`, or an age such as `90m`.
//! A day is a range: `--since` takes its beginning, `--until` its end.

use std::time::Duration;

use jiff::{
    civil::{Date, DateTime},
    tz::TimeZone,
    Timestamp, ToSpan,
};

/// What can be typed as a time, for messages and help.
pub const TIME_FORMS: &str =
    "RFC 3339 (2026-11-21T08:30:00+01:00), a date, epoch seconds, 90m, 2h, 7d, now, today or yesterday";

/// First and last nanosecond that a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first, Unix nanoseconds.
    pub from_ns: i64,
    /// The last, Unix nanoseconds; the same as the first unless a whole day is meant.
    pub to_ns: i64,
}

impl TimeRange {
    fn instant(ns: i128) -> Option<Self> {
        let ns = i64::try_from(ns).ok()?;
        Some(Self {
            from_ns: ns,
            to_ns: ns,
        })
    }

    fn day(date: Date, zone: &TimeZone) -> Option<Self> {
        let start = |date: Date| {
            Some(
                date.to_zoned(zone.clone())
                    .ok()?
                    .timestamp()
                    .as_nanosecond(),
            )
        };
        Some(Self {
            from_ns: i64::try_from(start(date)?).ok()?,
            to_ns: i64::try_from(start(date.tomorrow().ok()?)? - 1).ok()?,
        })
    }
}

/// The time that `text` names, seen from `now` in `zone`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<TimeRange, String> {
    let unknown = || format!("{text:?} is no time: expected {TIME_FORMS}");
    let far = || format!("{text:?} is out of range: times lie between the years 1678 and 2262");
    let trimmed = text.trim();
    let today = now.to_zoned(zone.clone()).date();
    match trimmed.to_ascii_lowercase().as_str() {
        "now" => return TimeRange::instant(now.as_nanosecond()).ok_or_else(far),
        "today" => return TimeRange::day(today, zone).ok_or_else(far),
        "yesterday" => {
            let date = today.checked_sub(1.day()).map_err(|_| far())?;
            return TimeRange::day(date, zone).ok_or_else(far);
        }
        _ => {}
    }
    if let Some(ns) = epoch(trimmed) {
        return ns
            .and_then(TimeRange::instant)
            .ok_or_else(|| format!("{text:?} is out of range: epoch times are given in seconds"));
    }
    let age = trimmed.strip_suffix("ago").map_or(trimmed, str::trim_end);
    if let Ok(age) = parse_duration(age) {
        let ns = i128::try_from(age.as_nanos()).map_err(|_| far())?;
        return TimeRange::instant(now.as_nanosecond() - ns).ok_or_else(far);
    }
    if trimmed.len() == 10 {
        if let Ok(date) = trimmed.parse::<Date>() {
            return TimeRange::day(date, zone).ok_or_else(far);
        }
    }
    if let Ok(time) = trimmed.parse::<Timestamp>() {
        return TimeRange::instant(time.as_nanosecond()).ok_or_else(far);
    }
    let local = trimmed.parse::<DateTime>().map_err(|_| unknown())?;
    let time = local.to_zoned(zone.clone()).map_err(|_| far())?;
    TimeRange::instant(time.timestamp().as_nanosecond()).ok_or_else(far)
}

/// Epoch seconds, exact to the nanosecond. `None`: it is none; `Some(None)`: too large.
fn epoch(text: &str) -> Option<Option<i128>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i128>().ok()?;
    Some(
        whole
            .parse::<i64>()
            .ok()
            .map(|s| i128::from(s) * 1_000_000_000 + nanos),
    )
}

/// A length of time with its unit: `250us`, `1.5s`, `1h30m`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let unknown = || {
        format!("{text:?} is no duration: expected a number with a unit (ns, us, ms, s, m, h, d, w), such as 250us, 1.5s or 1h30m")
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(unknown());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(unknown)?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == ' ')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit_ns: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" | "sec" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return Err(unknown()),
        };
        let part = scale(number, unit_ns).ok_or_else(unknown)?;
        total = total
            .checked_add(part)
            .ok_or_else(|| format!("{text:?} is too long"))?;
        rest = tail.trim_start();
    }
    Ok(total)
}

/// `number` times `unit_ns`, exact for whole numbers and for decimals that the unit can express.
fn scale(number: &str, unit_ns: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let nanos = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    let part = match fraction {
        "" => 0,
        _ => {
            u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit_ns)
                / 10u128.pow(fraction.len() as u32)
        }
    };
    Some(Duration::from_nanos(nanos.checked_add(part as u64)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T08:30:00.5Z";

    fn time(text: &str) -> Result<TimeRange, String> {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        parse_time(text, NOW.parse().unwrap(), &zone)
    }

    fn instant(text: &str) -> String {
        let range = time(text).unwrap();
        assert_eq!(range.from_ns, range.to_ns, "{text}");
        Timestamp::from_nanosecond(range.from_ns.into())
            .unwrap()
            .to_string()
    }

    #[test]
    fn instants() {
        assert_eq!(instant("now"), NOW);
        assert_eq!(instant("2026-11-21T09:30:00+01:00"), "2026-11-21T08:30:00Z");
        assert_eq!(instant("2026-11-21T08:30:00Z"), "2026-11-21T08:30:00Z");
        assert_eq!(instant("2026-11-21 09:30"), "2026-11-21T08:30:00Z"); // local time
        assert_eq!(instant("90m"), "2026-11-21T07:00:00.5Z");
        assert_eq!(instant("2h ago"), "2026-11-21T06:30:00.5Z");
        assert_eq!(instant("7d"), "2026-11-14T08:30:00.5Z");
        assert_eq!(instant("1795249800"), "2026-11-21T08:30:00Z");
        assert_eq!(
            instant("1795249800.000000001"),
            "2026-11-21T08:30:00.000000001Z"
        );
        assert_eq!(instant("0"), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn days_are_ranges_in_the_zone() {
        let day = TimeRange {
            from_ns: 1_795_129_200_000_000_000,
            to_ns: 1_795_215_599_999_999_999,
        };
        assert_eq!(time("2026-11-20"), Ok(day));
        assert_eq!(time("yesterday"), Ok(day));
        assert_eq!(time("Today").unwrap().from_ns, day.to_ns + 1);
    }

    #[test]
    fn nonsense_is_refused_with_what_was_expected() {
        for text in [
            "",
            "tomorrowish",
            "-5",
            "-5m",
            "2026-13-01",
            "12:00",
            "5 parsecs",
            "2026-11-21T25:00:00Z",
        ] {
            assert!(time(text).unwrap_err().contains("is no time"), "{text}");
        }
        for text in [
            "1795249800000000",
            "99999999999999999999999",
            "9999-01-01",
            "9000000w",
        ] {
            assert!(
                time(text).is_err_and(|e| e.contains("out of range") || e.contains("is no time")),
                "{text}"
            );
        }
    }

    #[test]
    fn durations_need_a_unit() {
        let ns = |text| parse_duration(text).map(|d| d.as_nanos());
        assert_eq!(ns("250us"), Ok(250_000));
        assert_eq!(ns("1.5s"), Ok(1_500_000_000));
        assert_eq!(ns("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(ns("1h 30m"), Ok(5_400_000_000_000));
        assert_eq!(ns("0.001µs"), Ok(1));
        assert_eq!(ns("2w"), Ok(1_209_600_000_000_000));
        assert_eq!(ns("0ms"), Ok(0));
        for text in [
            "",
            "5",
            "ms",
            "-5ms",
            "5 ms",
            "1..5s",
            ".",
            "5y",
            "1.5.2s",
            "99999999999999999999s",
            "5e3s",
        ] {
            assert!(ns(text).is_err(), "{text}");
        }
    }
}
