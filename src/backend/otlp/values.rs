//! Attributes and what they are attached to: `KeyValue`, `AnyValue`, `Resource`, scope.

use super::encode::{
    fields::{any, pair, resource},
    Field, Out,
};
use crate::{
    model::{AttributeMap, Origin},
    record::value::Value,
};

/// Name of our instrumentation scope, and of our SDK in the resource.
const SCOPE: &str = "emberlog";

/// Writes pairs into one repeated field.
pub(super) struct Pairs<'o, O> {
    out: &'o mut O,
    field: Field,
}

impl<O: Out> Pairs<'_, O> {
    /// Any value.
    #[inline]
    pub(super) fn value(&mut self, key: &str, value: &Value) {
        self.out.item(self.field, |out| {
            out.key_text(pair::KEY, key);
            out.message(pair::VALUE, |out| any_value(out, value));
        });
    }

    /// A text.
    #[inline]
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.out.item(self.field, |out| {
            out.key_text(pair::KEY, key);
            out.message(pair::VALUE, |out| out.some_text(any::STRING, text));
        });
    }

    /// An integer.
    pub(super) fn int(&mut self, key: &str, value: i64) {
        self.value(key, &Value::I64(value));
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        self.out.item(self.field, |out| {
            out.key_text(pair::KEY, key);
            out.message(pair::VALUE, |out| {
                out.message(any::ARRAY, |out| {
                    out.list(any::VALUES, |out| {
                        for text in texts {
                            out.item(any::VALUES, |out| out.some_text(any::STRING, text));
                        }
                    });
                });
            });
        });
    }

    /// All of a map.
    #[inline]
    pub(super) fn all(&mut self, attributes: &AttributeMap) {
        for (key, value) in attributes.iter() {
            self.value(key, value);
        }
    }
}

/// Writes a repeated field of pairs.
#[inline]
pub(super) fn pairs<O: Out>(out: &mut O, field: Field, fill: impl FnOnce(&mut Pairs<'_, O>)) {
    out.list(field, |out| fill(&mut Pairs { out, field }));
}

/// Writes an `AnyValue`. What does not fit its signed integer becomes text, as the specification
/// says; null is a value without content.
#[inline]
pub(super) fn any_value<O: Out>(out: &mut O, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(v) => out.some_bool(any::BOOL, *v),
        Value::I64(v) => out.some_int64(any::INT, *v),
        Value::U64(v) => match i64::try_from(*v) {
            Ok(v) => out.some_int64(any::INT, v),
            Err(_) => out.some_text(any::STRING, &v.to_string()),
        },
        Value::F64(v) => out.some_double(any::DOUBLE, *v),
        Value::Str(v) => out.some_text(any::STRING, v),
        Value::Bytes(v) => out.bytes(any::BYTES, v),
        Value::Array(items) => out.message(any::ARRAY, |out| {
            out.some_list(any::VALUES, |out| {
                for item in items {
                    out.item(any::VALUES, |out| any_value(out, item));
                }
            });
        }),
        Value::Map(items) => out.message(any::KVLIST, |out| {
            out.some_list(any::VALUES, |out| {
                let field = any::VALUES;
                let mut pairs = Pairs { out, field };
                for (key, item) in items {
                    pairs.value(key, item);
                }
            });
        }),
    }
}

/// Writes the fields of a `Resource`: what was recorded, then what `defaults` adds, then what every
/// resource must have.
pub(super) fn resource_fields<O: Out>(out: &mut O, origin: &Origin, fixed: &Resource) {
    let mut attributes = fixed.overriding.clone();
    attributes.fill_from(origin.resource.as_slice());
    attributes.fill_from(fixed.defaults.as_slice());
    let instance = origin.instance.to_string();
    let own = [
        // What the specification prescribes where nobody says it.
        ("service.name", "unknown_service"),
        ("service.instance.id", instance.as_str()),
        ("telemetry.sdk.name", SCOPE),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), Value::from(value)));
    attributes.fill_from(&own);
    pairs(out, resource::ATTRIBUTES, |pairs| pairs.all(&attributes));
}

/// Writes the fields of our `InstrumentationScope`.
pub(super) fn scope_fields<O: Out>(out: &mut O) {
    out.text(resource::SCOPE_NAME, SCOPE);
    out.text(resource::SCOPE_VERSION, env!("CARGO_PKG_VERSION"));
}

/// Attributes of resources that the options and the environment add.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resource {
    /// Set in code for this backend: they beat what was recorded.
    pub(super) overriding: AttributeMap,
    /// From the environment: what was recorded beats them.
    pub(super) defaults: AttributeMap,
}

/// Unix nanoseconds as OTLP has them; what is before 1970 has no number there.
pub(super) fn unix(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or(0)
}
