//! What PostgreSQL's types cannot hold, in a column of bytes beside them.
//!
//! `jsonb` keeps no order of keys, no NUL and no negative zero, and forgets whether a large number
//! had a point; texts have no NUL, and an index no long texts. The column `exact` has a piece for
//! each thing that the other columns do not say; most rows need none but the order of attributes.
//! A piece is a letter, the length of what follows as four bytes (least significant first), and:
//!
//! | letter | what follows |
//! |---|---|
//! | `o` | a byte per attribute in the order of `jsonb` (shorter keys first, then by bytes): its place |
//! | `t` | types of the attributes in the order of `jsonb`, as `backend/exact.rs` has them |
//! | `a` | all attributes as JSON; `t` then is for these |
//! | `n` | the name |
//! | `s` | the second name: the type of an event, the unit of a metric |
//! | `e` | the error as JSON |

use std::borrow::Cow;

use crate::{
    backend::exact,
    model::{AttributeMap, SpanError},
    record::value::{write_json_str, Value},
};

/// Longest text in a column that may be indexed, in bytes: an index holds 2,700.
const LONGEST: usize = 2000;

pub(super) const NAME: u8 = b'n';
pub(super) const SECOND: u8 = b's';
const ORDER: u8 = b'o';
const TYPES: u8 = b't';
const ALL: u8 = b'a';
const ERROR: u8 = b'e';

/// Makes the columns of a row. The buffers are used again and again.
#[derive(Debug, Default)]
pub(super) struct Texts {
    json: String,
    types: String,
    error: String,
    exact: Vec<u8>,
    sorted: Vec<(String, Value)>,
}

/// The order of `jsonb`.
fn before(a: &str, b: &str) -> std::cmp::Ordering {
    (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes()))
}

/// Whether `jsonb` gives a value back as it was, but for its type.
fn survives(value: &Value) -> bool {
    match value {
        // From here on a float is written like an integer.
        Value::F64(v) if v.is_finite() => v.abs() < 1e16 && !(*v == 0.0 && v.is_sign_negative()),
        Value::Str(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(survives),
        Value::Map(items) => {
            let ordered = |pair: &[(String, Value)]| before(&pair[0].0, &pair[1].0).is_lt();
            items.windows(2).all(ordered)
                && items
                    .iter()
                    .all(|(key, value)| !key.contains('\0') && survives(value))
        }
        _ => true,
    }
}

/// The value with another character where `jsonb` refuses the one there is.
fn readable(value: &Value) -> Value {
    match value {
        Value::Str(text) => Value::Str(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => Value::Array(items.iter().map(readable).collect()),
        Value::Map(items) => Value::Map(readable_items(items)),
        other => other.clone(),
    }
}

fn readable_items(items: &[(String, Value)]) -> Vec<(String, Value)> {
    let item = |(key, value): &(String, Value)| (key.replace('\0', "\u{fffd}"), readable(value));
    items.iter().map(item).collect()
}

impl Texts {
    /// Forgets the row before.
    pub(super) fn begin(&mut self) {
        self.exact.clear();
        self.json.clear();
        self.error.clear();
    }

    fn piece(&mut self, letter: u8, bytes: &[u8]) {
        self.exact.push(letter);
        self.exact
            .extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.exact.extend_from_slice(bytes);
    }

    /// What a column of texts gets for this one.
    pub(super) fn text<'t>(&mut self, letter: u8, text: &'t str) -> Cow<'t, str> {
        if text.len() <= LONGEST && !text.contains('\0') {
            return Cow::Borrowed(text);
        }
        self.piece(letter, text.as_bytes());
        Cow::Owned(readable_text(text))
    }

    /// Takes attributes.
    pub(super) fn attributes(&mut self, attributes: &[(String, Value)]) {
        self.types.clear();
        let whole = attributes.len() > usize::from(u8::MAX)
            || !attributes
                .iter()
                .all(|(key, value)| !key.contains('\0') && survives(value));
        if whole {
            let mut json = String::new();
            exact::write_json(&mut json, attributes);
            exact::write_types(&mut self.types, attributes);
            self.piece(ALL, json.as_bytes());
            exact::write_json(&mut self.json, &readable_items(attributes));
        } else {
            let mut order: [u8; 255] = [0; 255];
            let order = &mut order[..attributes.len()];
            for (at, place) in order.iter_mut().enumerate() {
                *place = at as u8;
            }
            let key = |at: u8| attributes[usize::from(at)].0.as_str();
            order.sort_by(|a, b| before(key(*a), key(*b)));
            if order.windows(2).all(|pair| pair[0] < pair[1]) {
                exact::write_json(&mut self.json, attributes);
                exact::write_types(&mut self.types, attributes);
            } else {
                self.piece(ORDER, order);
                exact::write_json(&mut self.json, attributes);
                let mut sorted = std::mem::take(&mut self.sorted);
                if attributes.iter().any(|(_, value)| has_type(value)) {
                    sorted.extend(order.iter().map(|at| attributes[usize::from(*at)].clone()));
                    exact::write_types(&mut self.types, &sorted);
                    sorted.clear();
                }
                self.sorted = sorted;
            }
        }
        if !self.types.is_empty() {
            let types = std::mem::take(&mut self.types);
            self.piece(TYPES, types.as_bytes());
            self.types = types;
        }
    }

    /// Takes an error.
    pub(super) fn error(&mut self, error: Option<&SpanError>) {
        let Some(error) = error else {
            return;
        };
        write_error(&mut self.error, error);
        let texts = [
            Some(&error.error_type),
            Some(&error.message),
            error.stack_trace.as_ref(),
        ];
        let mut texts = texts.into_iter().flatten().chain(&error.chain);
        if texts.any(|text| text.contains('\0')) {
            let whole = std::mem::take(&mut self.error);
            self.piece(ERROR, whole.as_bytes());
            let clean = |text: &String| text.replace('\0', "\u{fffd}");
            let error = SpanError {
                error_type: clean(&error.error_type),
                message: clean(&error.message),
                chain: error.chain.iter().map(clean).collect(),
                stack_trace: error.stack_trace.as_ref().map(clean),
            };
            write_error(&mut self.error, &error);
        }
    }

    /// Attributes for the column of type `jsonb`.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// The error for its column.
    pub(super) fn error_json(&self) -> Option<&str> {
        (!self.error.is_empty()).then_some(self.error.as_str())
    }

    /// What the other columns do not say; `None` if they say all.
    pub(super) fn exact(&self) -> Option<&[u8]> {
        (!self.exact.is_empty()).then_some(self.exact.as_slice())
    }
}

/// What a column of texts has in the place of one that it cannot hold. Filters look for this.
pub(super) fn readable_text(text: &str) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
    }
    text
}

fn has_type(value: &Value) -> bool {
    match value {
        Value::U64(v) => i64::try_from(*v).is_ok(),
        Value::F64(v) => !v.is_finite(),
        Value::Bytes(_) | Value::Array(_) | Value::Map(_) => true,
        _ => false,
    }
}

fn write_error(out: &mut String, error: &SpanError) {
    out.push_str("{\"type\":");
    write_json_str(out, &error.error_type);
    out.push_str(",\"message\":");
    write_json_str(out, &error.message);
    for (i, text) in error.chain.iter().enumerate() {
        out.push_str(if i == 0 { ",\"chain\":[" } else { "," });
        write_json_str(out, text);
    }
    if !error.chain.is_empty() {
        out.push(']');
    }
    if let Some(trace) = &error.stack_trace {
        out.push_str(",\"stack_trace\":");
        write_json_str(out, trace);
    }
    out.push('}');
}

/// The column `exact` of a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exact<'e>(pub(super) &'e [u8]);

impl<'e> Exact<'e> {
    fn piece(self, letter: u8) -> Option<&'e [u8]> {
        let mut rest = self.0;
        while let Some((head, body)) = rest.split_at_checked(5) {
            let bytes = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let (piece, after) = body.split_at_checked(bytes)?;
            if head[0] == letter {
                return Some(piece);
            }
            rest = after;
        }
        None
    }

    fn str_piece(self, letter: u8) -> Option<&'e str> {
        std::str::from_utf8(self.piece(letter)?).ok()
    }

    /// The text that a column stands for.
    pub(super) fn text(self, letter: u8, column: &str) -> String {
        self.str_piece(letter).unwrap_or(column).to_owned()
    }

    /// The attributes that a column stands for; `None` if it is none of ours.
    pub(super) fn attributes(self, json: &str) -> Option<AttributeMap> {
        let types = self.str_piece(TYPES).unwrap_or_default();
        if let Some(all) = self.str_piece(ALL) {
            return exact::read(all, types);
        }
        let map = exact::read(json, types)?;
        let Some(order) = self.piece(ORDER).filter(|order| order.len() == map.len()) else {
            return Some(map);
        };
        let mut items: Vec<_> = order.iter().zip(map.iter()).collect();
        items.sort_by_key(|(place, _)| **place);
        let items = items
            .into_iter()
            .map(|(_, (key, value))| (key, value.clone()));
        Some(items.collect())
    }

    /// The error that a column stands for.
    pub(super) fn error(self, json: &str) -> Option<SpanError> {
        let map = exact::read(self.str_piece(ERROR).unwrap_or(json), "")?;
        let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let chain = match map.get("chain") {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        Some(SpanError {
            error_type: text("type").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            chain,
            stack_trace: text("stack_trace"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the column gives back: keys in its own order, spaces after commas and colons.
    fn jsonb(json: &str) -> String {
        fn write(out: &mut String, value: &Value) {
            match value {
                Value::Map(items) => {
                    let mut items: Vec<_> = items.iter().collect();
                    items.sort_by(|a, b| before(&a.0, &b.0));
                    out.push('{');
                    for (i, (key, value)) in items.into_iter().enumerate() {
                        out.push_str(if i > 0 { ", " } else { "" });
                        write_json_str(out, key);
                        out.push_str(": ");
                        write(out, value);
                    }
                    out.push('}');
                }
                Value::Array(items) => {
                    out.push('[');
                    for (i, value) in items.iter().enumerate() {
                        out.push_str(if i > 0 { ", " } else { "" });
                        write(out, value);
                    }
                    out.push(']');
                }
                other => other.write_json(out),
            }
        }
        let map = exact::read(json, "").expect("JSON");
        let mut out = String::new();
        write(&mut out, &Value::Map(map.as_slice().to_vec()));
        out
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            (0u64..100).prop_map(Value::U64),
            any::<f64>().prop_map(Value::F64),
            Just(Value::F64(f64::NAN)),
            Just(Value::F64(-0.0)),
            "[a\\x00-\\x20\"\\\\]*".prop_map(Value::Str),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec(("[abc]{0,2}", inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn attributes_come_back_in_their_order(
            items in proptest::collection::vec(("[a-c\\x00]{0,3}", value()), 0..7)
        ) {
            let map: AttributeMap = items.into_iter().collect();
            let mut texts = Texts::default();
            texts.begin();
            texts.attributes(map.as_slice());
            prop_assert!(!texts.json().contains("\\u0000") || texts.json().contains("\\\\u0000"));
            let exact = Exact(texts.exact().unwrap_or_default());
            let back = exact.attributes(&jsonb(texts.json())).expect("reads");
            prop_assert_eq!(format!("{:?}", back), format!("{:?}", map));
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let exact = Exact(&bytes);
            let _ = (exact.attributes("{\"a\": 1, \"b\": 2}"), exact.text(NAME, "x"));
            let _ = exact.error("{}");
        }
    }

    #[test]
    fn ordinary_rows_need_little() {
        let mut texts = Texts::default();
        let map: AttributeMap = [("node.id", Value::from("n")), ("cost", 0.5.into())]
            .into_iter()
            .collect();
        texts.attributes(map.as_slice());
        assert_eq!(texts.exact(), Some(&[b'o', 2, 0, 0, 0, 1, 0][..]));
        assert_eq!(texts.text(NAME, "x"), "x");
        let long = format!("{}é", "x".repeat(LONGEST - 1));
        assert_eq!(texts.text(NAME, &long), "x".repeat(LONGEST - 1));
        let exact = texts.exact().unwrap().to_vec();
        assert_eq!(Exact(&exact).text(NAME, "x"), long);
        assert_eq!(Exact(&exact).text(SECOND, "x"), "x");
    }
}
