//! The attributes that mean something to the analysis, under every spelling that is in use.
//!
//! Records and rows come through here alike, so that both say the same.

use std::{borrow::Cow, ops::Range};

use smallvec::SmallVec;

use crate::record::{
    attributes::{Attribute, AttributeKey, Attributes, ValueRef},
    names::NameMap,
    value::Value,
};

/// Keys that are one thing, the preferred spelling first.
pub(super) type Group = Range<u8>;

macro_rules! groups {
    ($($name:ident = $($text:literal)+,)*) => {
        /// Every key; its number is its place.
        const KEYS: &[&str] = &[$($($text,)+)*];
        groups!(@ranges 0, $($name = $($text)+,)*);
    };
    (@ranges $from:expr, $name:ident = $($text:literal)+, $($rest:tt)*) => {
        pub(super) const $name: Group = $from..$from + [$($text),+].len() as u8;
        groups!(@ranges $name.end, $($rest)*);
    };
    (@ranges $from:expr,) => {};
}

groups! {
    NODE_ID = "node.id" "node_id",
    NODE_NAME = "node.name" "node_name",
    GRAPH_ID = "graph_id" "graph.id",
    GRAPH_VERSION = "graph_version" "graph.version",
    ERROR_TYPE = "exception.type" "error.type" "error_type",
    ERROR_MESSAGE = "exception.message" "error.message" "error",
    RETRY_COUNT = "retry_count" "retry.count",
    SAMPLING_RATE = "sampling.rate" "sampling_rate",
    MODEL = "gen_ai.response.model" "gen_ai.request.model" "llm.model" "model" "model_name",
    INPUT_TOKENS = "gen_ai.usage.input_tokens" "gen_ai.usage.prompt_tokens" "input_tokens" "prompt_tokens",
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens" "gen_ai.usage.completion_tokens" "output_tokens" "completion_tokens",
    EDGE_FROM = "edge.from" "from_node" "source",
    EDGE_TO = "edge.to" "to_node" "target",
    NODE_AFTER = "node.after" "node_after",
    TRACE_ID = "trace_id",
}

/// The number of a key that means something.
pub(super) fn key_of(text: &str) -> Option<u8> {
    let at = KEYS.iter().position(|key| *key == text)?;
    Some(at as u8)
}

/// A value, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    I64(i64),
    U64(u64),
    F64(f64),
    Bool(bool),
    /// An array of a record.
    List(Attributes<'a>),
    /// An array of a row.
    Values(&'a [Value]),
    Other,
}

impl<'a> From<ValueRef<'a>> for Scalar<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Str(text) => Self::Text(text),
            ValueRef::I64(v) => Self::I64(v),
            ValueRef::U64(v) => Self::U64(v),
            ValueRef::F64(v) => Self::F64(v),
            ValueRef::Bool(v) => Self::Bool(v),
            ValueRef::Array(list) => Self::List(list),
            ValueRef::Null | ValueRef::Bytes(_) | ValueRef::Map(_) => Self::Other,
        }
    }
}

impl<'a> From<&'a Value> for Scalar<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Str(text) => Self::Text(text),
            Value::I64(v) => Self::I64(*v),
            Value::U64(v) => Self::U64(*v),
            Value::F64(v) => Self::F64(*v),
            Value::Bool(v) => Self::Bool(*v),
            Value::Array(values) => Self::Values(values),
            Value::Null | Value::Bytes(_) | Value::Map(_) => Self::Other,
        }
    }
}

impl<'a> Scalar<'a> {
    /// As a name; numbers are spelled out.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::I64(v) => Some(Cow::Owned(v.to_string())),
            Self::U64(v) => Some(Cow::Owned(v.to_string())),
            Self::F64(v) => Some(Cow::Owned(v.to_string())),
            Self::Bool(v) => Some(Cow::Owned(v.to_string())),
            Self::List(_) | Self::Values(_) | Self::Other => None,
        }
    }

    /// As names: each of an array, or the one that it is. Empty ones are none.
    fn texts(self, mut each: impl FnMut(&str)) {
        let mut one = |scalar: Scalar<'_>| {
            if let Some(text) = scalar.text().filter(|text| !text.is_empty()) {
                each(&text);
            }
        };
        match self {
            Self::List(list) => list.iter().for_each(|item| one(item.value.into())),
            Self::Values(values) => values.iter().for_each(|value| one(value.into())),
            other => one(other),
        }
    }

    /// As a number.
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::I64(v) => Some(v as f64),
            Self::U64(v) => Some(v as f64),
            Self::F64(v) => Some(v),
            Self::Text(_) | Self::Bool(_) | Self::List(_) | Self::Values(_) | Self::Other => None,
        }
    }

    /// As a number of things; what is negative or no number is none.
    pub(super) fn count(self) -> Option<u64> {
        match self {
            Self::I64(v) => u64::try_from(v).ok(),
            Self::U64(v) => Some(v),
            Self::F64(v) if v >= 0.0 && v.is_finite() => Some(v as u64),
            _ => None,
        }
    }

    /// Whether `wanted`, as a person types it, means this value: as filters have it.
    pub(super) fn matches(self, wanted: &str) -> bool {
        let value = match self {
            Self::Text(text) => return text == wanted,
            Self::I64(v) => Value::I64(v),
            Self::U64(v) => Value::U64(v),
            Self::F64(v) => Value::F64(v),
            Self::Bool(v) => Value::Bool(v),
            Self::List(_) | Self::Values(_) | Self::Other => return false,
        };
        value.matches_text(wanted)
    }
}

/// The attributes of one record or row that mean something.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    list: SmallVec<[(u8, Scalar<'a>); 8]>,
}

impl<'a> Fields<'a> {
    /// Notes an attribute; a later one under the same key replaces an earlier one.
    #[inline]
    pub(super) fn set(&mut self, key: u8, value: Scalar<'a>) {
        self.list.push((key, value));
    }

    /// Of a row.
    pub(super) fn of_rows(attributes: impl Iterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut this = Self::default();
        for (key, value) in attributes {
            if let Some(key) = key_of(key) {
                this.set(key, value.into());
            }
        }
        this
    }

    /// The value under one key.
    #[inline]
    pub(super) fn get(&self, key: u8) -> Option<Scalar<'a>> {
        let mut newest_first = self.list.iter().rev();
        newest_first.find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    /// The value under the first spelling that is there.
    #[inline]
    pub(super) fn first(&self, group: Group) -> Option<Scalar<'a>> {
        if self.list.is_empty() {
            return None;
        }
        group.into_iter().find_map(|key| self.get(key))
    }

    /// The first text that is not empty.
    pub(super) fn text(&self, group: Group) -> Option<Cow<'a, str>> {
        let mut values = group.into_iter().filter_map(|key| self.get(key)?.text());
        values.find(|text| !text.is_empty())
    }

    /// The names under the first spelling that is there.
    pub(super) fn texts(&self, group: Group, each: impl FnMut(&str)) {
        if let Some(value) = self.first(group) {
            value.texts(each);
        }
    }

    /// The first value that is a number of things.
    pub(super) fn count(&self, group: Group) -> Option<u64> {
        let mut values = group.into_iter().filter_map(|key| self.get(key)?.count());
        values.next()
    }

    /// Fills in what `others` have and this one lacks.
    pub(super) fn fill_from(&mut self, others: &'a [(u8, Value)]) {
        for (key, value) in others {
            if self.get(*key).is_none() {
                self.set(*key, value.into());
            }
        }
    }
}

/// What the key ids of an instance mean, learned as they come.
#[derive(Debug, Default)]
pub(super) struct KeyIds {
    /// By id: 0 not looked up, 1 means nothing, else the key plus 2.
    known: Vec<u8>,
}

impl KeyIds {
    /// The key of an attribute.
    #[inline]
    pub(super) fn key(&mut self, names: &NameMap, attribute: &Attribute<'_>) -> Option<u8> {
        let id = match attribute.key {
            AttributeKey::Text(text) => return key_of(text),
            AttributeKey::Id(id) => id as usize,
        };
        match self.known.get(id) {
            Some(0) | None => self.learn(names, id),
            Some(code) => code.checked_sub(2),
        }
    }

    #[cold]
    fn learn(&mut self, names: &NameMap, id: usize) -> Option<u8> {
        let text = names.get(id as u32)?;
        let key = key_of(text);
        if id >= self.known.len() {
            self.known.resize(id + 1, 0);
        }
        self.known[id] = key.map_or(1, |key| key + 2);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_one_group() {
        assert_eq!(usize::from(TRACE_ID.end), KEYS.len());
        for (at, key) in KEYS.iter().enumerate() {
            assert_eq!(key_of(key), Some(at as u8));
        }
        assert_eq!(KEYS[usize::from(MODEL.start)], "gen_ai.response.model");
        assert_eq!(key_of("node"), None);
    }

    #[test]
    fn the_last_value_counts_and_the_preferred_spelling_comes_first() {
        let rows = [
            ("node_id", Value::from("plain")),
            ("node.id", Value::from("old")),
            ("node.id", Value::from("new")),
            ("retry_count", Value::from(3)),
        ];
        let fields = Fields::of_rows(rows.iter().map(|(k, v)| (*k, v)));
        assert_eq!(fields.text(NODE_ID).as_deref(), Some("new"));
        assert_eq!(fields.count(RETRY_COUNT), Some(3));
        assert!(fields.first(EDGE_TO).is_none());
    }
}
