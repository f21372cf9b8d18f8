//! Files of any format that serde knows.

use std::fmt;

use serde::{
    de::{self, Deserializer, MapAccess, SeqAccess, Visitor},
    Deserialize, Serialize, Serializer,
};

use super::Config;
use crate::record::value::Value;

impl Serialize for Config {
    /// As [`Config::to_value`]: without secrets.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Config {
    /// As [`Config::from_value`]: all problems at once.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Any(value) = Any::deserialize(deserializer)?;
        Self::from_value(&value).map_err(de::Error::custom)
    }
}

/// Whatever stands there.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyVisitor;

        impl<'de> Visitor<'de> for AnyVisitor {
            type Value = Any;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
                Ok(Any(Value::Bool(value)))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
                Ok(Any(Value::I64(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Any, E> {
                Ok(Any(
                    i64::try_from(value).map_or(Value::U64(value), Value::I64)
                ))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
                Ok(Any(Value::F64(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Any, E> {
                Ok(Any(Value::Str(value.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Any, E> {
                Ok(Any(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Any, D::Error> {
                Any::deserialize(inner)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
                let mut items = Vec::new();
                while let Some(Any(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Any(Value::Array(items)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, Any(value))) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Any(Value::Map(entries)))
            }
        }

        deserializer.deserialize_any(AnyVisitor)
    }
}
