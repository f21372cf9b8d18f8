//! Writing OTLP messages field by field, as protobuf or as JSON, without structs in between.
//!
//! Always true:
//! - one description of the messages (`fields`), one mapping of our rows to them, two forms
//! - what protobuf leaves out because it is a default, JSON leaves out too
//! - lengths in protobuf are as short as they can be

pub(super) mod fields;
mod json;
mod proto;

pub(super) use fields::Field;
pub(super) use json::Json;
pub(super) use proto::{varint, Proto};

/// Takes the fields of a message in order.
///
/// Methods that take a plain value leave out the default, as protobuf does for fields without
/// presence; those on `some_*` always write, as a `oneof` and an `optional` field need.
pub(super) trait Out: Default {
    /// A message in a field of its own.
    fn message(&mut self, field: Field, write: impl FnOnce(&mut Self));
    /// A repeated field; `fill` calls [`Out::item`] with the same field.
    fn list(&mut self, field: Field, fill: impl FnOnce(&mut Self));
    /// A repeated field that JSON shows also where it is empty, as the only field of its message.
    fn some_list(&mut self, field: Field, fill: impl FnOnce(&mut Self)) {
        self.list(field, fill);
    }
    /// A message in a repeated field.
    fn item(&mut self, field: Field, write: impl FnOnce(&mut Self));
    /// A string.
    fn text(&mut self, field: Field, value: &str) {
        if !value.is_empty() {
            self.some_text(field, value);
        }
    }
    /// A string that JSON shows also where it is empty: the key of a pair, which readers want.
    fn key_text(&mut self, field: Field, value: &str) {
        self.text(field, value);
    }
    /// A string, empty ones included.
    fn some_text(&mut self, field: Field, value: &str);
    /// Bytes, empty ones included.
    fn bytes(&mut self, field: Field, value: &[u8]);
    /// The id of a trace or span, which JSON shows as hex.
    fn id(&mut self, field: Field, value: &[u8]);
    /// A truth value, `false` included.
    fn some_bool(&mut self, field: Field, value: bool);
    /// A truth value.
    fn bool(&mut self, field: Field, value: bool) {
        if value {
            self.some_bool(field, value);
        }
    }
    /// An `int64`, 0 included.
    fn some_int64(&mut self, field: Field, value: i64);
    /// An `sfixed64`, 0 included.
    fn some_sfixed64(&mut self, field: Field, value: i64);
    /// A `double`, 0 included.
    fn some_double(&mut self, field: Field, value: f64);
    /// A `uint32` or an enumeration.
    fn uint32(&mut self, field: Field, value: u32);
    /// An `sint32`.
    fn sint32(&mut self, field: Field, value: i32);
    /// A `fixed32`.
    fn fixed32(&mut self, field: Field, value: u32);
    /// A `fixed64`.
    fn fixed64(&mut self, field: Field, value: u64);
    /// Packed `fixed64`.
    fn fixed64s(&mut self, field: Field, values: &[u64]);
    /// Packed `uint64`.
    fn uint64s(&mut self, field: Field, values: &[u64]);
    /// Packed `double`.
    fn doubles(&mut self, field: Field, values: &[f64]);
    /// Nothing yet, in memory that something else had.
    fn in_memory_of(bytes: Vec<u8>) -> Self;
    /// What was written.
    fn into_bytes(self) -> Vec<u8>;
    /// How many bytes that is so far.
    fn len(&self) -> usize;
}
