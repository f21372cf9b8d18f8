//! Rows in the binary form of COPY, written straight into one buffer.

use bytes::{BufMut, Bytes, BytesMut};

/// Microseconds from 1970 to 2000, where PostgreSQL's times begin.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Longest field: its length is a signed 32-bit number.
const LONGEST: usize = i32::MAX as usize;

/// Microseconds since 2000.
pub(super) fn pg_micros(unix_ns: i64) -> i64 {
    unix_ns.div_euclid(1000) - EPOCH_US
}

/// Unix nanoseconds of a time of PostgreSQL, saturating.
pub(super) fn unix_ns(pg_micros: i64) -> i64 {
    pg_micros.saturating_add(EPOCH_US).saturating_mul(1000)
}

/// Rows of one table.
#[derive(Debug)]
pub(super) struct Rows {
    buffer: BytesMut,
    columns: i16,
    rows: u64,
}

impl Rows {
    /// Of a table with so many columns.
    pub(super) fn new(columns: usize) -> Self {
        let mut rows = Self {
            buffer: BytesMut::new(),
            columns: columns as i16,
            rows: 0,
        };
        rows.head();
        rows
    }

    fn head(&mut self) {
        self.buffer.put_slice(b"PGCOPY\n\xff\r\n\0");
        // No flags, nothing more in the head.
        self.buffer.put_u64(0);
        self.rows = 0;
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.rows
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.head();
    }

    /// Takes them out, complete.
    pub(super) fn take(&mut self) -> Bytes {
        self.buffer.put_i16(-1);
        let bytes = self.buffer.split().freeze();
        self.head();
        bytes
    }

    /// Begins a row; as many fields as there are columns must follow.
    pub(super) fn row(&mut self) {
        self.buffer.put_i16(self.columns);
        self.rows += 1;
    }

    fn null(&mut self) {
        self.buffer.put_i32(-1);
    }

    fn field(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= LONGEST);
        self.buffer.put_i32(bytes.len() as i32);
        self.buffer.put_slice(bytes);
    }

    pub(super) fn uuid(&mut self, id: impl Into<Option<u128>>) {
        match id.into() {
            Some(id) => self.field(&id.to_be_bytes()),
            None => self.null(),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.field(bytes),
            None => self.null(),
        }
    }

    /// A document; the version of its form comes first.
    pub(super) fn json<'t>(&mut self, text: impl Into<Option<&'t str>>) {
        match text.into() {
            Some(text) => {
                self.buffer.put_i32(text.len() as i32 + 1);
                self.buffer.put_u8(1);
                self.buffer.put_slice(text.as_bytes());
            }
            None => self.null(),
        }
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.field(&[u8::from(value)]);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.field(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: impl Into<Option<i64>>) {
        match value.into() {
            Some(value) => self.field(&value.to_be_bytes()),
            None => self.null(),
        }
    }

    pub(super) fn f64(&mut self, value: impl Into<Option<f64>>) {
        match value.into() {
            Some(value) => self.field(&value.to_be_bytes()),
            None => self.null(),
        }
    }

    /// A time, to the microsecond before it.
    pub(super) fn time(&mut self, unix_ns: impl Into<Option<i64>>) {
        self.i64(unix_ns.into().map(pg_micros));
    }

    /// An integer of any size: digits to the base of ten thousand.
    pub(super) fn numeric(&mut self, value: Option<i128>) {
        let Some(value) = value else {
            return self.null();
        };
        let (mut digits, mut count) = ([0u16; 10], 0);
        let mut rest = value.unsigned_abs();
        while rest > 0 {
            digits[9 - count] = (rest % 10_000) as u16;
            rest /= 10_000;
            count += 1;
        }
        self.buffer.put_i32(8 + 2 * count as i32);
        self.buffer.put_i16(count as i16);
        // The weight of the first digit, the sign, no digits behind the point.
        self.buffer.put_i16((count as i16 - 1).max(0));
        self.buffer.put_u16(if value < 0 { 0x4000 } else { 0 });
        self.buffer.put_i16(0);
        for digit in &digits[10 - count..] {
            self.buffer.put_u16(*digit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_to_the_microsecond_before() {
        assert_eq!(pg_micros(946_684_800_000_000_000), 0);
        assert_eq!(pg_micros(946_684_799_999_999_999), -1);
        assert_eq!(unix_ns(pg_micros(-1)), -1000);
        assert_eq!(unix_ns(i64::MAX), i64::MAX);
        for ns in [i64::MIN, i64::MAX, 0, -1, 1_767_225_600_123_456_789] {
            assert!(
                (ns.saturating_sub(unix_ns(pg_micros(ns)))).unsigned_abs() < 2000,
                "{ns}"
            );
        }
    }
}
