//! Owned attribute values, as queries return them.

/// Value of an attribute: JSON's types, with integers kept exact, and bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating-point number; NaN and infinities are kept.
    F64(f64),
    /// Text.
    Str(String),
    /// Bytes; JSON shows them as an object `{"bytes": "<hex>"}`.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Keys and values in the order in which they were given.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number as a float, if it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::I64(v) => Some(v as f64),
            Self::U64(v) => Some(v as f64),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The number as a signed integer, if it is an integer in range.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I64(v) => Some(v),
            Self::U64(v) => i64::try_from(v).ok(),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// Whether `text`, as a person types it, means this value: `--attr retries=3`.
    pub fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Null => text == "null",
            Self::Bool(v) => text.eq_ignore_ascii_case(if *v { "true" } else { "false" }),
            Self::I64(v) => text.parse() == Ok(*v) || text.parse() == Ok(*v as f64),
            Self::U64(v) => text.parse() == Ok(*v),
            Self::F64(v) => text
                .parse::<f64>()
                .is_ok_and(|t| t == *v || (t.is_nan() && v.is_nan())),
            Self::Str(v) => v == text,
            Self::Bytes(_) | Self::Array(_) | Self::Map(_) => self.to_json() == text,
        }
    }

    /// The value as JSON text. NaN and infinities, which JSON lacks, become the strings `"NaN"`,
    /// `"Infinity"` and `"-Infinity"`.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Appends the value as JSON text.
    pub fn write_json(&self, out: &mut String) {
        use std::fmt::Write;
        // Writing into a `String` cannot fail.
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Self::I64(v) => drop(write!(out, "{v}")),
            Self::U64(v) => drop(write!(out, "{v}")),
            Self::F64(v) => write_json_f64(out, *v),
            Self::Str(v) => write_json_str(out, v),
            Self::Bytes(v) => {
                out.push_str("{\"bytes\":\"");
                for byte in v {
                    let _ = write!(out, "{byte:02x}");
                }
                out.push_str("\"}");
            }
            Self::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Map(items) => {
                out.push('{');
                for (i, (key, item)) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_json_str(out, key);
                    out.push(':');
                    item.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a float as JSON; what JSON lacks becomes a string.
pub(crate) fn write_json_f64(out: &mut String, value: f64) {
    use std::fmt::Write;
    if value.is_nan() {
        out.push_str("\"NaN\"");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
    } else {
        let _ = write!(out, "{value:?}");
    }
}

/// Appends text as a JSON string.
pub(crate) fn write_json_str(out: &mut String, text: &str) {
    use std::fmt::Write;
    out.push('"');
    let mut rest = text;
    // Most texts have nothing to escape and are copied whole. What is escaped is ASCII, so the
    // pieces are cut between characters.
    while let Some(at) = rest
        .bytes()
        .position(|b| b < 0x20 || b == b'"' || b == b'\\')
    {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

macro_rules! from {
    ($($ty:ty => $variant:ident as $as:ty,)*) => {$(
        impl From<$ty> for Value {
            fn from(value: $ty) -> Self {
                Self::$variant(<$as>::from(value))
            }
        }
    )*};
}

from! {
    bool => Bool as bool,
    i8 => I64 as i64, i16 => I64 as i64, i32 => I64 as i64, i64 => I64 as i64,
    u8 => I64 as i64, u16 => I64 as i64, u32 => I64 as i64, u64 => U64 as u64,
    f32 => F64 as f64, f64 => F64 as f64,
    &str => Str as String, String => Str as String,
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::U64(value as u64)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::Array(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(v) => serializer.serialize_bool(*v),
            Self::I64(v) => serializer.serialize_i64(*v),
            Self::U64(v) => serializer.serialize_u64(*v),
            Self::F64(v) => serialize_f64(v, serializer),
            Self::Str(v) => serializer.serialize_str(v),
            Self::Bytes(v) => {
                let hex: String = v.iter().map(|byte| format!("{byte:02x}")).collect();
                serializer.collect_map([("bytes", hex)])
            }
            Self::Array(items) => serializer.collect_seq(items),
            Self::Map(items) => serializer.collect_map(items.iter().map(|(k, v)| (k, v))),
        }
    }
}

/// Floats as numbers, NaN and infinities as strings.
#[cfg(feature = "serde")]
pub(crate) fn serialize_f64<S: serde::Serializer>(
    value: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value.is_infinite() {
        serializer.serialize_str(if *value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
    } else {
        serializer.serialize_f64(*value)
    }
}
