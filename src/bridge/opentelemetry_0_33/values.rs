//! Values, scopes and resources of OpenTelemetry as attributes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{logs::AnyValue, Array, InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    Resource,
};

use crate::{
    record::{
        attributes::{AttributeBuffer, AttributeValue, ValueWriter},
        names::Name,
        value,
    },
    Manager,
};

/// Attributes of every resource that say which library made it.
const SDK: &str = "telemetry.sdk.";

struct Theirs<'v>(&'v Value);

impl AttributeValue for Theirs<'_> {
    fn write(&self, writer: &mut ValueWriter<'_>) {
        match self.0 {
            Value::Bool(value) => writer.bool(*value),
            Value::I64(value) => writer.i64(*value),
            Value::F64(value) => writer.f64(*value),
            Value::String(value) => writer.str(value.as_str()),
            Value::Array(Array::Bool(values)) => writer.array(values),
            Value::Array(Array::I64(values)) => writer.array(values),
            Value::Array(Array::F64(values)) => writer.array(values),
            Value::Array(Array::String(values)) => {
                let texts: Vec<_> = values.iter().map(|value| value.as_str()).collect();
                writer.array(&texts);
            }
            other => writer.str(&other.as_str()),
        }
    }
}

/// Writes attributes.
pub(super) fn push<'k>(
    list: &mut AttributeBuffer,
    attributes: impl IntoIterator<Item = &'k KeyValue>,
) {
    for attribute in attributes {
        let key = Name::from(attribute.key.as_str());
        list.push_named(key, &Theirs(&attribute.value));
    }
}

/// Writes how many were left out before they came here.
pub(super) fn push_dropped(list: &mut AttributeBuffer, dropped: u32) {
    if dropped > 0 {
        let key = Name::from("otel.dropped_attributes_count");
        list.push_named(key, &dropped);
    }
}

/// Writes which library said it.
pub(super) fn push_scope(list: &mut AttributeBuffer, scope: &InstrumentationScope) {
    if !scope.name().is_empty() {
        list.push_named(Name::from("otel.scope.name"), scope.name());
    }
    if let Some(version) = scope.version() {
        list.push_named(Name::from("otel.scope.version"), version);
    }
    for attribute in scope.attributes() {
        let key = format!("otel.scope.{}", attribute.key);
        list.push_named(Name::from(&key), &Theirs(&attribute.value));
    }
}

/// What a resource has besides that of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Source(Vec<(String, Value)>);

impl Source {
    pub(super) fn of(resource: &Resource, manager: &Manager) -> Self {
        let own = manager.config().map(|config| &config.resource_attributes);
        let known = |key: &str, value: &Value| {
            let own = own.and_then(|own| own.get(key)?.as_str());
            own.is_some_and(|own| own == value.as_str())
        };
        let theirs = resource.iter();
        let theirs = theirs.filter(|(key, value)| !known(key.as_str(), value));
        Self(
            theirs
                .map(|(key, value)| (format!("resource.{key}"), value.clone()))
                .collect(),
        )
    }

    /// Writes all of it.
    pub(super) fn push(&self, list: &mut AttributeBuffer) {
        for (key, value) in &self.0 {
            list.push_named(Name::from(key), &Theirs(value));
        }
    }

    /// Writes it but for what is the same of each program that uses the SDK.
    pub(super) fn push_short(&self, list: &mut AttributeBuffer) {
        for (key, value) in &self.0 {
            if !key["resource.".len()..].starts_with(SDK) {
                list.push_named(Name::from(key), &Theirs(value));
            }
        }
    }
}

/// A value of a log record.
pub(super) fn any(value: &AnyValue) -> value::Value {
    match value {
        AnyValue::Int(value) => value::Value::I64(*value),
        AnyValue::Double(value) => value::Value::F64(*value),
        AnyValue::String(value) => value::Value::Str(value.as_str().into()),
        AnyValue::Boolean(value) => value::Value::Bool(*value),
        AnyValue::Bytes(value) => value::Value::Bytes(value.to_vec()),
        AnyValue::ListAny(values) => value::Value::Array(values.iter().map(any).collect()),
        AnyValue::Map(values) => {
            let mut pairs: Vec<_> = values
                .iter()
                .map(|(key, value)| (key.as_str().to_owned(), any(value)))
                .collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            value::Value::Map(pairs)
        }
        other => value::Value::Str(format!("{other:?}")),
    }
}

/// Unix nanoseconds, saturating.
pub(super) fn unix_ns(time: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(before) => -whole(before.duration()),
    }
}

/// Waits until everything is logged.
pub(super) fn flush(manager: &Manager, timeout: Duration) -> OTelSdkResult {
    if !manager.is_recording() {
        return Ok(());
    }
    let flushed = manager.flush_within(timeout);
    flushed
        .map(|_| ())
        .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
}
