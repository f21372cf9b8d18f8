//! Units in UCUM, as OpenTelemetry asks for.

/// The UCUM spelling of a unit as people write it; what is not known stays as it is.
pub(super) fn ucum(unit: &str) -> &str {
    const UNITS: &[(&str, &[&str])] = &[
        ("ns", &["nanoseconds", "nanosecond", "nanos"]),
        ("us", &["microseconds", "microsecond", "micros", "µs"]),
        ("ms", &["milliseconds", "millisecond", "millis", "msec"]),
        ("s", &["seconds", "second", "secs", "sec"]),
        ("min", &["minutes", "minute", "mins"]),
        ("h", &["hours", "hour"]),
        ("d", &["days", "day"]),
        ("By", &["bytes", "byte", "b"]),
        ("kBy", &["kilobytes", "kb"]),
        ("MBy", &["megabytes", "mb"]),
        ("GBy", &["gigabytes", "gb"]),
        ("KiBy", &["kib", "kibibytes"]),
        ("MiBy", &["mib", "mebibytes"]),
        ("GiBy", &["gib", "gibibytes"]),
        ("bit", &["bits"]),
        ("1", &["ratio", "fraction", "dimensionless"]),
        ("%", &["percent", "percentage"]),
        ("Hz", &["hertz"]),
        ("Cel", &["celsius", "°c"]),
        // What is counted is an annotation in UCUM.
        ("{count}", &["count", "counts", "number"]),
        ("{token}", &["tokens", "token"]),
        ("{request}", &["requests", "request"]),
        ("{error}", &["errors", "error"]),
        ("{call}", &["calls", "call"]),
        ("{item}", &["items", "item"]),
        ("{operation}", &["operations", "operation", "ops"]),
        ("{message}", &["messages", "message"]),
        ("{USD}", &["usd", "dollars", "dollar", "$"]),
        ("{EUR}", &["eur", "euros", "euro", "€"]),
    ];
    let known = UNITS.iter().find(|(_, names)| {
        // In UCUM `B` is a level, but nobody means that.
        let is = |name: &&str| unit.eq_ignore_ascii_case(name) || unit.to_lowercase() == *name;
        names.iter().any(is)
    });
    known.map_or(unit, |(ucum, _)| ucum)
}

#[cfg(test)]
mod tests {
    use super::ucum;

    #[test]
    fn documented_units_become_ucum() {
        let cases = [
            ("seconds", "s"),
            ("Seconds", "s"),
            ("bytes", "By"),
            ("count", "{count}"),
            ("usd", "{USD}"),
            ("USD", "{USD}"),
            ("ratio", "1"),
            ("s", "s"),
            ("By", "By"),
            ("{token}", "{token}"),
            ("furlongs", "furlongs"),
            ("", ""),
        ];
        for (unit, expected) in cases {
            assert_eq!(ucum(unit), expected, "{unit:?}");
        }
    }
}
