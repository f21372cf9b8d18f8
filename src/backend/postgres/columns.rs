//! Rows of the table of traces as parameters of a statement, an array per column.
//!
//! Traces cannot be copied straight into their table, because some may be there already. They do not
//! go over a temporary table either: a transaction that touches one empties all of them at its end, file
//! by file, which takes longer than storing a hundred rows.

use tokio_postgres::types::ToSql;

use super::{
    encode::{seconds, wide},
    exact::{Texts, NAME},
    schema::TRACES,
    value::{Json, Time, Uuid},
};
use crate::{model::Trace, record::id::TraceId};

/// Rows in the order in which they came; the columns are those of [`TRACES`].
#[derive(Debug, Default)]
pub(super) struct Traces {
    trace_id: Vec<Uuid>,
    name: Vec<String>,
    start_time: Vec<Option<Time>>,
    end_time: Vec<Option<Time>>,
    duration: Vec<Option<f64>>,
    status: Vec<&'static str>,
    attributes: Vec<Json>,
    start_ns: Vec<Option<i64>>,
    end_ns: Vec<Option<i64>>,
    exact: Vec<Option<Vec<u8>>>,
    remote_parent: Vec<Option<Uuid>>,
    sampling_rate: Vec<Option<f64>>,
    dropped_attributes: Vec<Option<i64>>,
    instance: Vec<Option<i32>>,
    seen_ns: Vec<i64>,
}

impl Traces {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.trace_id.is_empty()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A trace of which nothing is known but that it is there.
    pub(super) fn stub(&mut self, id: TraceId, seen_ns: i64) {
        self.trace_id.push(id.into());
        self.name.push(String::new());
        self.start_time.push(None);
        self.end_time.push(None);
        self.duration.push(None);
        self.status.push("unset");
        self.attributes.push(Json("{}".to_owned()));
        self.start_ns.push(None);
        self.end_ns.push(None);
        self.exact.push(None);
        self.remote_parent.push(None);
        self.sampling_rate.push(None);
        self.dropped_attributes.push(None);
        self.instance.push(None);
        self.seen_ns.push(seen_ns);
    }

    /// A trace.
    pub(super) fn push(&mut self, texts: &mut Texts, trace: &Trace, instance: i32, seen_ns: i64) {
        texts.begin();
        texts.attributes(trace.attributes.as_slice());
        let name = texts.text(NAME, &trace.name).into_owned();
        let remote_parent = wide(trace.remote_parent, Some(trace.trace_id));
        self.trace_id.push(trace.trace_id.into());
        self.name.push(name);
        self.start_time.push(Some(Time(trace.start_ns)));
        self.end_time.push(trace.end_ns.map(Time));
        self.duration.push(trace.duration_ns().map(seconds));
        self.status.push(trace.status.as_str());
        self.attributes.push(Json(texts.json().to_owned()));
        self.start_ns.push(Some(trace.start_ns));
        self.end_ns.push(trace.end_ns);
        self.exact.push(texts.exact().map(<[u8]>::to_vec));
        self.remote_parent.push(remote_parent.map(Uuid));
        self.sampling_rate.push(Some(trace.sampling_rate));
        self.dropped_attributes
            .push(Some(i64::from(trace.dropped_attributes)));
        self.instance.push(Some(instance));
        self.seen_ns.push(seen_ns);
    }

    /// The columns in their order.
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); TRACES.columns.len()] {
        [
            &self.trace_id,
            &self.name,
            &self.start_time,
            &self.end_time,
            &self.duration,
            &self.status,
            &self.attributes,
            &self.start_ns,
            &self.end_ns,
            &self.exact,
            &self.remote_parent,
            &self.sampling_rate,
            &self.dropped_attributes,
            &self.instance,
            &self.seen_ns,
        ]
    }
}
