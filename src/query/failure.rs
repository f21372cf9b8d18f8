//! Why a span failed, out of its attributes.

use crate::{
    model::{AttributeMap, SpanError},
    record::{kinds::Status, value::Value},
};

use super::matching::ERROR_TYPE;

fn into_text(value: Value) -> String {
    match value {
        Value::Str(text) => text,
        Value::Null => String::new(),
        other => other.to_json(),
    }
}

/// Moves the details of an error out of the attributes; its type stays readable there.
pub(super) fn take_error(attributes: &mut AttributeMap, status: Status) -> Option<SpanError> {
    // Most spans did not fail.
    let names_it = |(key, _): (&str, &Value)| key.starts_with("exception.");
    if status != Status::Error && !attributes.iter().any(names_it) {
        return None;
    }
    let mut take = |key: &str| attributes.remove(key).map(into_text);
    let error_type = take("exception.type");
    let message = take("exception.message");
    let stack_trace = take("exception.stacktrace");
    let chain = match attributes.remove("exception.chain") {
        Some(Value::Array(items)) => items.into_iter().map(into_text).collect(),
        Some(value) => into_text(value).lines().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let text_of = |keys: &[&str]| {
        let value = attributes.first_of(keys)?;
        (*value != Value::Null).then(|| into_text(value.clone()))
    };
    let plain_type = text_of(ERROR_TYPE);
    let plain_message = text_of(&["error.message", "error"]);
    let recorded = error_type.is_some() || message.is_some() || stack_trace.is_some();
    let described = plain_type.is_some() || plain_message.is_some();
    if !(recorded || !chain.is_empty() || status == Status::Error && described) {
        return None;
    }
    if let (Some(error_type), None) = (&error_type, &plain_type) {
        attributes.set("error.type", error_type.as_str());
    }
    Some(SpanError {
        error_type: error_type.or(plain_type).unwrap_or_default(),
        message: message.or(plain_message).unwrap_or_default(),
        chain,
        stack_trace,
    })
}
