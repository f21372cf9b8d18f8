//! OTLP's JSON: protobuf's, with ids in hex and enumerations as numbers.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::fmt::Write as _;

use base64::{prelude::BASE64_STANDARD, Engine as _};

use super::{Field, Out};
use crate::record::value::{write_json_f64, write_json_str};

/// JSON text: the fields of one message, without the braces around it.
#[derive(Debug, Default)]
pub(in crate::backend::otlp) struct Json {
    text: String,
}

impl Json {
    /// A comma, unless this is the first thing behind an opening.
    fn next(&mut self) {
        // No value ends with a bracket that opens: texts end with a quote.
        if !self.text.is_empty() && !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    fn key(&mut self, field: Field) {
        self.next();
        self.text.push('"');
        self.text.push_str(field.1);
        self.text.push_str("\":");
    }

    fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.text.push('{');
        write(self);
        self.text.push('}');
    }

    fn number(&mut self, field: Field, value: impl std::fmt::Display) {
        self.key(field);
        // Writing into a `String` cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// 64-bit integers are strings: JavaScript's numbers are too short for them.
    fn long(&mut self, field: Field, value: impl std::fmt::Display) {
        self.key(field);
        let _ = write!(self.text, "\"{value}\"");
    }

    fn array<T: Copy>(&mut self, field: Field, values: &[T], write: impl Fn(&mut String, T)) {
        if values.is_empty() {
            return;
        }
        self.key(field);
        self.text.push('[');
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                self.text.push(',');
            }
            write(&mut self.text, *value);
        }
        self.text.push(']');
    }
}

impl Out for Json {
    fn message(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        self.key(field);
        self.object(write);
    }

    fn list(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        let before = self.text.len();
        self.some_list(field, fill);
        if self.text.ends_with("[]") {
            self.text.truncate(before);
        }
    }

    fn some_list(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        self.key(field);
        self.text.push('[');
        fill(self);
        self.text.push(']');
    }

    fn item(&mut self, _field: Field, write: impl FnOnce(&mut Self)) {
        self.next();
        self.object(write);
    }

    fn key_text(&mut self, field: Field, value: &str) {
        self.some_text(field, value);
    }

    fn some_text(&mut self, field: Field, value: &str) {
        self.key(field);
        write_json_str(&mut self.text, value);
    }

    fn bytes(&mut self, field: Field, value: &[u8]) {
        self.key(field);
        self.text.push('"');
        BASE64_STANDARD.encode_string(value, &mut self.text);
        self.text.push('"');
    }

    fn id(&mut self, field: Field, value: &[u8]) {
        self.key(field);
        self.text.push('"');
        for byte in value {
            let _ = write!(self.text, "{byte:02x}");
        }
        self.text.push('"');
    }

    fn some_bool(&mut self, field: Field, value: bool) {
        self.number(field, value);
    }

    fn some_int64(&mut self, field: Field, value: i64) {
        self.long(field, value);
    }

    fn some_sfixed64(&mut self, field: Field, value: i64) {
        self.long(field, value);
    }

    fn some_double(&mut self, field: Field, value: f64) {
        self.key(field);
        write_json_f64(&mut self.text, value);
    }

    fn uint32(&mut self, field: Field, value: u32) {
        if value != 0 {
            self.number(field, value);
        }
    }

    fn sint32(&mut self, field: Field, value: i32) {
        if value != 0 {
            self.number(field, value);
        }
    }

    fn fixed32(&mut self, field: Field, value: u32) {
        self.uint32(field, value);
    }

    fn fixed64(&mut self, field: Field, value: u64) {
        if value != 0 {
            self.long(field, value);
        }
    }

    fn fixed64s(&mut self, field: Field, values: &[u64]) {
        self.array(field, values, |text, value| {
            let _ = write!(text, "\"{value}\"");
        });
    }

    fn uint64s(&mut self, field: Field, values: &[u64]) {
        self.fixed64s(field, values);
    }

    fn doubles(&mut self, field: Field, values: &[f64]) {
        self.array(field, values, write_json_f64);
    }

    fn in_memory_of(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        // Nothing is a text in any case.
        let text = String::from_utf8(bytes).unwrap_or_default();
        Self { text }
    }

    fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}
