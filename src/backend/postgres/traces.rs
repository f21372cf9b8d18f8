//! A trace out of its records: a start, an end, and more of both where processes share it.
//!
//! Each record is kept as it came (`emberlog_trace_parts`), because merging must give the same
//! whatever the order and however often a record comes; `traces` has the result.

use std::sync::Arc;

use tokio_postgres::Row;

use super::{error::PostgresError, exact::NAME, read, value::Uuid, Origins};
use crate::{
    model::{AttributeMap, Trace},
    query::rows::merge_trace,
};

/// The trace out of all of its records.
pub(super) fn merge(parts: Vec<Trace>, origins: &Origins) -> Option<Trace> {
    let started = parts.iter().any(|part| part.end_ns.is_none());
    let instances: Vec<_> = parts.iter().map(|part| part.instance).collect();
    let mut merged = merge_trace(parts)?;
    if !started {
        // Those came with the start, which nobody has.
        for origin in instances.iter().filter_map(|id| origins.get(id)) {
            merged.attributes.fill_from(&origin.custom);
        }
    }
    Some(merged)
}

/// A row of `statements::parts_of`: a record as it came, without its resource.
pub(super) fn part(row: &Row) -> Result<Trace, PostgresError> {
    let exact = read::exact(row, 6);
    Ok(Trace {
        trace_id: row.get::<_, Uuid>(0).trace(),
        name: exact.text(NAME, row.get(1)),
        start_ns: row.get(2),
        end_ns: row.get(3),
        status: read::text(row, 4).parse().unwrap_or_default(),
        attributes: read::attributes(exact, row.get(5))?,
        resource: Arc::new(AttributeMap::new()),
        remote_parent: row.get::<_, Option<Uuid>>(7).and_then(Uuid::span),
        sampling_rate: row.get(8),
        dropped_attributes: row.get::<_, i64>(9) as u32,
        instance: row.get::<_, Uuid>(13).instance(),
    })
}
