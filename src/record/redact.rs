//! What may not be recorded: a function of the user's that sees each attribute before it is in a ring.

use std::{
    fmt,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::Arc,
};

use super::{
    attributes::{AttributeBuffer, AttributeKey, ValueRef},
    names,
    value::Value,
};

/// What becomes of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Redaction {
    /// It stays as it is.
    Keep,
    /// It is left out.
    Remove,
    /// It gets this value.
    Replace(Value),
}

type Judge = dyn Fn(&str, ValueRef<'_>) -> Redaction + Send + Sync;

/// Judges every attribute before it is recorded; see [`Config::redact`](crate::Config::redact).
#[derive(Clone)]
pub struct Redactor(Arc<Judge>);

impl Redactor {
    /// Lets `judge` decide, by key and value.
    pub fn new(judge: impl Fn(&str, ValueRef<'_>) -> Redaction + Send + Sync + 'static) -> Self {
        Self(Arc::new(judge))
    }

    /// Applies it to a list. What it panics on is left out.
    #[cold]
    pub(crate) fn apply(&self, list: &mut AttributeBuffer) {
        list.redact(|key, value| {
            let key = match key {
                AttributeKey::Text(text) => text,
                AttributeKey::Id(id) => names::text_of(id).unwrap_or_default(),
            };
            let judged = catch_unwind(AssertUnwindSafe(|| (self.0)(key, value)));
            judged.unwrap_or(Redaction::Remove)
        });
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Of the same function.
impl PartialEq for Redactor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
