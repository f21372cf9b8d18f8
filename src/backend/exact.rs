//! Attributes as JSON that people can query, and back without loss.
//!
//! JSON has one kind of integer, no NaN and no bytes. A store keeps, beside the JSON, a short text
//! with one letter per value in the order of the document, `.` where the JSON says it all, cut
//! after the last other letter; most rows have none.
//!
//! | letter | the value was |
//! |---|---|
//! | `.` | what it looks like |
//! | `u` | an unsigned integer, though it would fit a signed one |
//! | `f` | a float that JSON lacks, written as text |
//! | `b` | bytes, written as `{"bytes": "<hex>"}` |

use crate::{
    model::AttributeMap,
    record::value::{write_json_str, Value},
};

/// Deepest nesting that is read; records nest at most 32 deep.
const DEPTH: usize = 64;

/// Appends attributes as a JSON object.
pub(crate) fn write_json(out: &mut String, attributes: &[(String, Value)]) {
    out.push('{');
    for (i, (key, value)) in attributes.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_json_str(out, key);
        out.push(':');
        value.write_json(out);
    }
    out.push('}');
}

/// Appends what the JSON does not say; nothing if it says all.
pub(crate) fn write_types(out: &mut String, attributes: &[(String, Value)]) {
    let before = out.len();
    for (_, value) in attributes {
        types_of(out, value);
    }
    let said = out.trim_end_matches('.').len();
    out.truncate(said.max(before));
}

fn types_of(out: &mut String, value: &Value) {
    let letter = match value {
        Value::U64(v) if i64::try_from(*v).is_ok() => 'u',
        Value::F64(v) if !v.is_finite() => 'f',
        Value::Bytes(_) => 'b',
        _ => '.',
    };
    out.push(letter);
    match value {
        Value::Array(items) => items.iter().for_each(|item| types_of(out, item)),
        Value::Map(items) => items.iter().for_each(|(_, item)| types_of(out, item)),
        _ => {}
    }
}

/// Reads an object back; `None` if the text is not what [`write_json`] writes.
pub(crate) fn read(json: &str, types: &str) -> Option<AttributeMap> {
    let mut reader = Reader {
        text: json.as_bytes(),
        at: 0,
        types: types.as_bytes(),
    };
    reader.space();
    let items = reader.object(0)?;
    reader.space();
    let done = reader.at == reader.text.len();
    // Keys are unique, as the map that was written had them.
    done.then(|| items.into_iter().collect())
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    types: &'a [u8],
}

impl Reader<'_> {
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Goes past a byte, if it is the next one.
    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        found.then_some(())
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(String, Value)>> {
        let mut items = Vec::new();
        if !self.eat(b'{') {
            return None;
        }
        if self.eat(b'}') {
            return Some(items);
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.eat(b':') {
                return None;
            }
            items.push((key, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Some(items);
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        if !self.eat(b'[') {
            return None;
        }
        if self.eat(b']') {
            return Some(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat(b']') {
                return Some(items);
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let letter = match self.types.split_first() {
            Some((letter, rest)) => {
                self.types = rest;
                *letter
            }
            None => b'.',
        };
        self.space();
        Some(match (self.peek()?, letter) {
            (b'{', b'b') => {
                let rest = std::mem::take(&mut self.types);
                let object = self.object(depth)?;
                self.types = rest;
                let hex = object.first().and_then(|(_, value)| value.as_str())?;
                Value::Bytes(from_hex(hex)?)
            }
            (b'{', _) => Value::Map(self.object(depth)?),
            (b'[', _) => Value::Array(self.array(depth)?),
            (b'"', b'f') => Value::F64(match self.string()?.as_str() {
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => f64::NAN,
            }),
            (b'"', _) => Value::Str(self.string()?),
            (b't', _) => self.word("true").map(|()| Value::Bool(true))?,
            (b'f', _) => self.word("false").map(|()| Value::Bool(false))?,
            (b'n', _) => self.word("null").map(|()| Value::Null)?,
            _ => self.number(letter == b'u')?,
        })
    }

    fn number(&mut self, unsigned: bool) -> Option<Value> {
        let from = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        ) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.text[from..self.at]).ok()?;
        if text.contains(['.', 'e', 'E']) {
            return text.parse().ok().map(Value::F64);
        }
        match text.parse() {
            Ok(number) if !unsigned => Some(Value::I64(number)),
            _ => text.parse().ok().map(Value::U64),
        }
    }

    fn string(&mut self) -> Option<String> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.peek()?, b'"' | b'\\') {
                self.at += 1;
            }
            // Cut at ASCII characters, so the piece is whole.
            out.push_str(std::str::from_utf8(&self.text[from..self.at]).ok()?);
            self.at += 1;
            if self.text[self.at - 1] == b'"' {
                return Some(out);
            }
            let escape = self.peek()?;
            self.at += 1;
            out.push(match escape {
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => self.unicode()?,
                b'"' | b'\\' | b'/' => char::from(escape),
                _ => return None,
            });
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.word("\\u")?;
        let second = self.hex4()?.checked_sub(0xdc00)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 != 0 || !text.is_ascii() {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::I64),
            any::<u64>().prop_map(Value::U64),
            (0u64..100).prop_map(Value::U64),
            any::<f64>().prop_map(Value::F64),
            Just(Value::F64(f64::INFINITY)),
            Just(Value::F64(-0.0)),
            ".*".prop_map(Value::Str),
            "[\\x00-\\x20\"\\\\]*".prop_map(Value::Str),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((".*", inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(items in proptest::collection::vec((".*", value()), 0..6)) {
            let map: AttributeMap = items.into_iter().collect();
            let (mut json, mut types) = (String::new(), String::new());
            write_json(&mut json, map.as_slice());
            write_types(&mut types, map.as_slice());
            prop_assert_eq!(&json, &map.to_json());
            let back = read(&json, &types).expect("reads");
            // NaN differs from itself; its text does not.
            prop_assert_eq!(format!("{:?}", back), format!("{:?}", map));
        }

        #[test]
        fn never_panics(json in ".*", types in "[.ufb]*") {
            let _ = read(&json, &types);
        }
    }

    #[test]
    fn most_rows_need_no_types() {
        let map: AttributeMap = [
            ("a", Value::from("x")),
            ("b", 3i64.into()),
            ("c", 0.5.into()),
        ]
        .into_iter()
        .collect();
        let mut types = String::new();
        write_types(&mut types, map.as_slice());
        assert_eq!(types, "");
        let map: AttributeMap = [
            ("a", Value::from("x")),
            ("n", 3usize.into()),
            ("c", 0.5.into()),
        ]
        .into_iter()
        .collect();
        write_types(&mut types, map.as_slice());
        assert_eq!(types, ".u");
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":\"\\ud800\"}",
            "{}x",
            "{\"a\":tru",
        ] {
            assert_eq!(read(text, ""), None, "{text}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep, ""), None);
    }
}
