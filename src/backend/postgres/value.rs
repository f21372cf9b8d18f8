//! Ids, times and documents as parameters and in rows.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{accepts, to_sql_checked, FromSql, IsNull, ToSql, Type};

use super::copy;
use crate::record::id::{InstanceId, LogId, SpanId, TraceId};

/// A column of type UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Uuid(pub(super) u128);

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u128(self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'r> FromSql<'r> for Uuid {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }

    accepts!(UUID);
}

impl From<TraceId> for Uuid {
    fn from(id: TraceId) -> Self {
        Self(id.as_u128())
    }
}

impl From<InstanceId> for Uuid {
    fn from(id: InstanceId) -> Self {
        Self(u128::from_be_bytes(id.0))
    }
}

impl From<LogId> for Uuid {
    fn from(id: LogId) -> Self {
        Self(u128::from_be_bytes(id.0))
    }
}

impl Uuid {
    pub(super) fn trace(self) -> TraceId {
        TraceId::from_u128(self.0)
    }

    pub(super) fn instance(self) -> InstanceId {
        InstanceId(self.0.to_be_bytes())
    }

    /// The span that a long form names.
    pub(super) fn span(self) -> Option<SpanId> {
        SpanId::new(self.0 as u64)
    }
}

/// A column of type TIMESTAMPTZ, as Unix nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) i64);

impl ToSql for Time {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(copy::pg_micros(self.0));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'r> FromSql<'r> for Time {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(copy::unix_ns(i64::from_be_bytes(raw.try_into()?))))
    }

    accepts!(TIMESTAMPTZ);
}

/// The text of a document, for a column of type JSONB.
#[derive(Clone, Debug)]
pub(super) struct Json(pub(super) String);

impl ToSql for Json {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        // The version of its form comes first.
        out.put_u8(1);
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSONB);
    to_sql_checked!();
}
