//! How values are spelled in files and in the environment: a value of its own type, or a text.

use std::{path::PathBuf, time::Duration};

use crate::{
    backend::Begin,
    log::{OnFull, SyncPolicy},
    model::AttributeMap,
    record::value::Value,
    ring::Overflow,
    sampling::GraphRates,
};

/// A type of options.
pub(super) trait Spelled: Sized {
    /// What users may write.
    const TAKES: &'static str;

    /// Reads a value.
    ///
    /// # Errors
    /// What is expected instead: "true or false".
    fn read(value: &Value) -> Result<Self, String>;

    /// Writes it so that [`Spelled::read`] gives the same again.
    fn write(&self) -> Value;
}

impl Spelled for bool {
    const TAKES: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Bool(value) => return Ok(*value),
            Value::Str(text) => text.trim().to_ascii_lowercase(),
            _ => return Err(Self::TAKES.to_owned()),
        };
        match text.as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(Self::TAKES.to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Bool(*self)
    }
}

/// A text that is a whole number, perhaps of KiB, MiB or GiB.
fn integer(text: &str) -> Option<i128> {
    let text = text.trim();
    let unit = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let number: i64 = digits.trim().parse().ok()?;
    i128::from(number).checked_mul(1 << shift)
}

/// A type that is one of some words, without regard to case; the first that means a value is the
/// one that is written.
#[cfg(any(feature = "otlp", feature = "postgres"))]
macro_rules! words {
    ($ty:ty, $takes:literal, $words:expr) => {
        impl $crate::config::spelling::Spelled for $ty {
            const TAKES: &'static str = $takes;

            fn read(value: &$crate::record::value::Value) -> Result<Self, String> {
                let words: &[(&str, Self)] = $words;
                let text = value.as_str().unwrap_or_default().trim();
                let found = words
                    .iter()
                    .find(|(word, _)| text.eq_ignore_ascii_case(word));
                found
                    .map(|(_, meaning)| *meaning)
                    .ok_or_else(|| Self::TAKES.to_owned())
            }

            fn write(&self) -> $crate::record::value::Value {
                let words: &[(&str, Self)] = $words;
                let found = words.iter().find(|(_, meaning)| meaning == self);
                found.map_or("", |(word, _)| word).into()
            }
        }
    };
}
#[cfg(any(feature = "otlp", feature = "postgres"))]
pub(super) use words;

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Spelled for $ty {
            const TAKES: &'static str = "a whole number, or a text such as \"64 MiB\"";

            fn read(value: &Value) -> Result<Self, String> {
                let number = match value {
                    Value::I64(number) => Some(i128::from(*number)),
                    Value::U64(number) => Some(i128::from(*number)),
                    Value::Str(text) => integer(text),
                    _ => None,
                };
                let number = number.ok_or_else(|| Self::TAKES.to_owned())?;
                Self::try_from(number).map_err(|_| match number {
                    ..0 => "at least 0".to_owned(),
                    _ => format!("at most {}", Self::MAX),
                })
            }

            fn write(&self) -> Value {
                match i64::try_from(*self) {
                    Ok(number) => Value::I64(number),
                    Err(_) => Value::U64(*self as u64),
                }
            }
        }
    )*};
}

integers!(u8, u32, u64, usize);

/// A text that is a length of time, without rounding.
fn time(text: &str) -> Result<Duration, String> {
    let expected = || Duration::TAKES.to_owned();
    let text = text.trim();
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = (text[..at].trim(), &text[at..]);
    // In nanoseconds.
    let unit: u64 = match unit {
        "ms" => 1_000_000,
        "s" | "" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return Err(expected()),
    };
    if number.starts_with('-') {
        return Err("at least 0".to_owned());
    }
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) {
        return Err(expected());
    }
    let part = format!("{:0<18}", &part[..part.len().min(18)]);
    let long = || format!("at most {} s", u64::MAX);
    let whole: u64 = whole.parse().map_err(|_| long())?;
    let part: u64 = part.parse().map_err(|_| expected())?;
    let unit = u128::from(unit);
    let nanos = u128::from(whole) * unit + u128::from(part) * unit / 10u128.pow(18);
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| long())?;
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

impl Spelled for Duration {
    const TAKES: &'static str = "seconds, or a text such as \"100ms\", \"10s\", \"5m\", \"30d\"";

    fn read(value: &Value) -> Result<Self, String> {
        if let Value::Str(text) = value {
            return time(text);
        }
        let seconds = value.as_f64().ok_or_else(|| Self::TAKES.to_owned())?;
        Self::try_from_secs_f64(seconds).map_err(|_| {
            if seconds < 0.0 {
                "at least 0".to_owned()
            } else {
                Self::TAKES.to_owned()
            }
        })
    }

    fn write(&self) -> Value {
        let seconds = self.as_secs_f64();
        if Self::try_from_secs_f64(seconds) == Ok(*self) {
            return Value::F64(seconds);
        }
        Value::Str(format!("{}.{:09}s", self.as_secs(), self.subsec_nanos()))
    }
}

/// "none" and null are no value.
impl<T: Spelled> Spelled for Option<T> {
    const TAKES: &'static str = T::TAKES;

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            Value::Str(text) if text.trim() == "none" => Ok(None),
            value => T::read(value).map(Some),
        }
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::write)
    }
}

impl Spelled for f64 {
    const TAKES: &'static str = "a number";

    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Str(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        number.ok_or_else(|| Self::TAKES.to_owned())
    }

    fn write(&self) -> Value {
        Value::F64(*self)
    }
}

/// As attributes are spelled, with numbers for values.
impl Spelled for GraphRates {
    const TAKES: &'static str = "patterns and rates, or a text such as \"billing*=1,crawler=0.01\"";

    fn read(value: &Value) -> Result<Self, String> {
        let map = AttributeMap::read(value).map_err(|_| Self::TAKES.to_owned())?;
        let rates = map.iter().map(|(graph, rate)| {
            let rate = f64::read(rate).map_err(|_| Self::TAKES.to_owned())?;
            Ok((graph.to_owned(), rate))
        });
        rates.collect()
    }

    fn write(&self) -> Value {
        let entries = self.iter();
        Value::Map(
            entries
                .map(|(graph, rate)| (graph.to_owned(), rate.into()))
                .collect(),
        )
    }
}

impl Spelled for String {
    const TAKES: &'static str = "text";

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| Self::TAKES.to_owned())?;
        Ok(text.to_owned())
    }

    fn write(&self) -> Value {
        Value::Str(self.clone())
    }
}

impl Spelled for PathBuf {
    const TAKES: &'static str = "a path";

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| Self::TAKES.to_owned())?;
        Ok(text.into())
    }

    fn write(&self) -> Value {
        Value::Str(self.to_string_lossy().into_owned())
    }
}

impl Spelled for Vec<String> {
    const TAKES: &'static str = "names, or a text such as \"a,b\"";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(items) => {
                let items = items.iter().map(|item| item.as_str().map(str::to_owned));
                items.collect::<Option<_>>()
            }
            Value::Str(text) => {
                let names = text.split(',').map(str::trim);
                Some(names.filter(|n| !n.is_empty()).map(str::to_owned).collect())
            }
            _ => None,
        }
        .ok_or_else(|| Self::TAKES.to_owned())
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(|name| Value::from(name.as_str())).collect())
    }
}

/// As `OTEL_RESOURCE_ATTRIBUTES` has them: `key=value,key=value`, percent-encoded.
impl Spelled for AttributeMap {
    const TAKES: &'static str = "keys and values, or a text such as \"a=1,b=x\"";

    fn read(value: &Value) -> Result<Self, String> {
        let text = match value {
            Value::Map(entries) => return Ok(entries.iter().cloned().collect()),
            Value::Str(text) => text,
            _ => return Err(Self::TAKES.to_owned()),
        };
        let mut map = Self::new();
        for entry in text.split(',').filter(|entry| !entry.trim().is_empty()) {
            let (key, value) = entry
                .split_once('=')
                .ok_or_else(|| Self::TAKES.to_owned())?;
            map.set(decoded(key.trim()), decoded(value.trim()));
        }
        Ok(map)
    }

    fn write(&self) -> Value {
        Value::Map(self.as_slice().to_vec())
    }
}

/// `%2C` is a comma.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = match after {
            [a, b, ..] if first == b'%' => std::str::from_utf8(&[*a, *b])
                .ok()
                .and_then(|code| u8::from_str_radix(code, 16).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Spelled for Overflow {
    const TAKES: &'static str = "drop_newest, block:TIME or spill:BYTES";

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().unwrap_or_default();
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let rest = &Value::from(rest);
        match word.trim() {
            "drop_newest" => Ok(Self::DropNewest),
            "block" => Ok(Self::Block {
                timeout: Spelled::read(rest).map_err(|_| Self::TAKES.to_owned())?,
            }),
            "spill" => Ok(Self::Spill {
                max_bytes: Spelled::read(rest).map_err(|_| Self::TAKES.to_owned())?,
            }),
            _ => Err(Self::TAKES.to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Str(match self {
            Self::DropNewest => "drop_newest".to_owned(),
            Self::Block { timeout } => format!("block:{}", time_text(*timeout)),
            Self::Spill { max_bytes } => format!("spill:{max_bytes}"),
        })
    }
}

impl Spelled for SyncPolicy {
    const TAKES: &'static str = "on_roll, every:TIME or every_batch";

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().unwrap_or_default();
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        match word.trim() {
            "on_roll" => Ok(Self::OnRoll),
            "every_batch" => Ok(Self::EveryBatch),
            "every" => time(rest)
                .map(Self::Every)
                .map_err(|_| Self::TAKES.to_owned()),
            _ => Err(Self::TAKES.to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Str(match self {
            Self::OnRoll => "on_roll".to_owned(),
            Self::Every(interval) => format!("every:{}", time_text(*interval)),
            Self::EveryBatch => "every_batch".to_owned(),
        })
    }
}

/// As short as it can be without rounding.
fn time_text(time: Duration) -> String {
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Spelled for OnFull {
    const TAKES: &'static str = "stop_and_count or delete_oldest";

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str().unwrap_or_default().trim() {
            "stop_and_count" => Ok(Self::StopAndCount),
            "delete_oldest" => Ok(Self::DeleteOldest),
            _ => Err(Self::TAKES.to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Str(match self {
            Self::StopAndCount => "stop_and_count".to_owned(),
            Self::DeleteOldest => "delete_oldest".to_owned(),
        })
    }
}

impl Spelled for Begin {
    const TAKES: &'static str = "start or end";

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str().unwrap_or_default().trim() {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => Err(Self::TAKES.to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::from(match self {
            Self::Start => "start",
            Self::End => "end",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same<T: Spelled + PartialEq + std::fmt::Debug>(value: T) {
        assert_eq!(T::read(&value.write()).as_ref(), Ok(&value));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(seconds: u64, nanos in 0u32..1_000_000_000, n: u64) {
            let time = Duration::new(seconds, nanos);
            same(time);
            same(Some(time));
            same(Overflow::Block { timeout: time });
            same(SyncPolicy::Every(time));
            same(n);
            same(Overflow::Spill { max_bytes: (n >> 1) as usize });
        }

        #[test]
        fn no_text_panics(text: String) {
            let value = Value::from(text.as_str());
            let _ = (Duration::read(&value), u64::read(&value), bool::read(&value));
            let _ = (AttributeMap::read(&value), Overflow::read(&value), SyncPolicy::read(&value));
        }
    }

    #[test]
    fn texts_mean_what_they_say() {
        let read = |text: &str| Duration::read(&Value::from(text));
        assert_eq!(read("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(read("1.5 m"), Ok(Duration::from_secs(90)));
        assert_eq!(read("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(read("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(read("-1"), Err("at least 0".to_owned()));
        assert!(read("soon").is_err() && read("").is_err() && read(".").is_err());
        assert_eq!(u32::read(&Value::from("64 KiB")), Ok(65_536));
        assert_eq!(u8::read(&Value::from(300)), Err("at most 255".to_owned()));
        let map = AttributeMap::read(&Value::from("a=1, b = x%2Cy%,c=")).unwrap();
        assert_eq!(map.to_json(), r#"{"a":"1","b":"x,y%","c":""}"#);
    }
}
