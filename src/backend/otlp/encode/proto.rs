//! Protobuf: <https://protobuf.dev/programming-guides/encoding/>.

use super::{Field, Out};

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// Protobuf bytes.
#[derive(Debug, Default)]
pub(in crate::backend::otlp) struct Proto {
    bytes: Vec<u8>,
}

/// Appends a base-128 number.
#[inline]
pub(in crate::backend::otlp) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`varint`] appends.
#[inline]
fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

impl Proto {
    #[inline]
    fn key(&mut self, field: Field, wire: u8) {
        varint(&mut self.bytes, u64::from(field.0) << 3 | u64::from(wire));
    }

    #[inline]
    fn slice(&mut self, field: Field, value: &[u8]) {
        self.key(field, LEN);
        varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// What `write` appends, its length before it. Most messages are shorter than 128 bytes and
    /// their length needs the one byte that is kept for it; longer ones move.
    #[inline]
    fn prefixed(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        self.key(field, LEN);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let len = self.bytes.len() - at - 1;
        if len < 0x80 {
            self.bytes[at] = len as u8;
            return;
        }
        let more = varint_len(len as u64) - 1;
        self.bytes.resize(self.bytes.len() + more, 0);
        self.bytes.copy_within(at + 1..at + 1 + len, at + 1 + more);
        let mut rest = len;
        for byte in &mut self.bytes[at..=at + more] {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        self.bytes[at + more] &= 0x7f;
    }
}

impl Out for Proto {
    #[inline]
    fn message(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        self.prefixed(field, write);
    }

    #[inline]
    fn list(&mut self, _field: Field, fill: impl FnOnce(&mut Self)) {
        fill(self);
    }

    #[inline]
    fn item(&mut self, field: Field, write: impl FnOnce(&mut Self)) {
        self.prefixed(field, write);
    }

    #[inline]
    fn some_text(&mut self, field: Field, value: &str) {
        self.slice(field, value.as_bytes());
    }

    fn bytes(&mut self, field: Field, value: &[u8]) {
        self.slice(field, value);
    }

    #[inline]
    fn id(&mut self, field: Field, value: &[u8]) {
        self.slice(field, value);
    }

    fn some_bool(&mut self, field: Field, value: bool) {
        self.key(field, VARINT);
        self.bytes.push(u8::from(value));
    }

    #[inline]
    fn some_int64(&mut self, field: Field, value: i64) {
        self.key(field, VARINT);
        varint(&mut self.bytes, value as u64);
    }

    fn some_sfixed64(&mut self, field: Field, value: i64) {
        self.key(field, FIXED64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn some_double(&mut self, field: Field, value: f64) {
        self.key(field, FIXED64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn uint32(&mut self, field: Field, value: u32) {
        if value != 0 {
            self.key(field, VARINT);
            varint(&mut self.bytes, value.into());
        }
    }

    fn sint32(&mut self, field: Field, value: i32) {
        if value != 0 {
            self.key(field, VARINT);
            let zigzag = (value << 1) ^ (value >> 31);
            varint(&mut self.bytes, (zigzag as u32).into());
        }
    }

    #[inline]
    fn fixed32(&mut self, field: Field, value: u32) {
        if value != 0 {
            self.key(field, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    #[inline]
    fn fixed64(&mut self, field: Field, value: u64) {
        if value != 0 {
            self.key(field, FIXED64);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn fixed64s(&mut self, field: Field, values: &[u64]) {
        if !values.is_empty() {
            self.key(field, LEN);
            varint(&mut self.bytes, values.len() as u64 * 8);
            for value in values {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn uint64s(&mut self, field: Field, values: &[u64]) {
        if !values.is_empty() {
            self.prefixed(field, |out| {
                for value in values {
                    varint(&mut out.bytes, *value);
                }
            });
        }
    }

    fn doubles(&mut self, field: Field, values: &[f64]) {
        if !values.is_empty() {
            self.key(field, LEN);
            varint(&mut self.bytes, values.len() as u64 * 8);
            for value in values {
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn in_memory_of(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }
}
