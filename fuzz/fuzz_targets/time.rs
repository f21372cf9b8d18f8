//! Any text as a time or a duration of the command line: an error that is one line, or a range
//! whose ends are in order and that reads the same from its own numbers.
#![no_main]

#[path = "../../cli/src/time.rs"]
#[allow(dead_code)]
mod time;

use jiff::{tz::TimeZone, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let now = Timestamp::from_second(1_700_000_000).expect("a time");
    for zone in [TimeZone::UTC, TimeZone::fixed(jiff::tz::offset(-11))] {
        match time::parse_time(text, now, &zone) {
            Ok(range) => {
                assert!(range.from_ns <= range.to_ns, "{text:?}: {range:?}");
                if range.from_ns >= 0 {
                    let ns = range.from_ns;
                    let epoch = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
                    let again = time::parse_time(&epoch, now, &zone).expect("epoch seconds");
                    assert_eq!(again.from_ns, ns, "{text:?} as {epoch}");
                }
            }
            Err(error) => assert!(!error.is_empty() && !error.contains('\n'), "{error:?}"),
        }
    }
    match time::parse_duration(text) {
        Ok(duration) => {
            if let Ok(ns) = u64::try_from(duration.as_nanos()) {
                assert_eq!(
                    time::parse_duration(&format!("{ns}ns")),
                    Ok(duration),
                    "{text:?}"
                );
            }
        }
        Err(error) => assert!(!error.is_empty() && !error.contains('\n'), "{error:?}"),
    }
});
