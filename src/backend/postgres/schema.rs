//! The documented tables, and what stands behind their documented columns.
//!
//! | table | documented columns, then ours |
//! |---|---|
//! | `traces`, `spans`, `events`, `metrics` | as documented; exact nanoseconds, what the types cannot hold, identity of the record |
//! | `links` | the spans that a span refers to |
//! | `emberlog_trace_parts` | the records that a trace was put together from |
//! | `emberlog_instances` | who recorded: resource, custom attributes, what may be derived |
//! | `emberlog_cursors` | how far each log is delivered |
//! | `emberlog_schema` | the version of all this |
//!
//! Ids of spans are their 128-bit form, `SpanId::wide`. `exact` is explained in `exact.rs`.

use super::options::Partitions;

/// What `emberlog_schema` says; a greater one is refused.
pub(super) const VERSION: i32 = 1;

/// A column with its type.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

/// A table with its columns in their order.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The first is the key, unless `key` says more.
    pub(super) columns: &'static [Column],
    /// What makes a row the same row.
    pub(super) key: &'static [&'static str],
    /// The column whose day decides about the partition, where there are partitions.
    pub(super) day: Option<&'static str>,
    /// Whether `trace_id` refers to `traces`, where there are no partitions.
    pub(super) of_trace: bool,
    /// Name and what it is on; names get the prefix.
    pub(super) indexes: &'static [(&'static str, &'static str)],
}

macro_rules! columns {
    ($($name:ident: $sql:literal)*) => {
        &[$(Column { name: stringify!($name), sql: $sql }),*]
    };
}

pub(super) const TRACES: Table = Table {
    name: "traces",
    columns: columns! {
        trace_id: "uuid"
        name: "character varying"
        start_time: "timestamp with time zone"
        end_time: "timestamp with time zone"
        duration: "double precision"
        status: "character varying"
        attributes: "jsonb"
        start_ns: "bigint"
        end_ns: "bigint"
        exact: "bytea"
        remote_parent_span_id: "uuid"
        sampling_rate: "double precision"
        dropped_attributes: "bigint"
        instance: "integer"
        seen_ns: "bigint"
    },
    key: &["trace_id"],
    day: None,
    of_trace: false,
    indexes: &[
        ("traces_start_time", "(start_time)"),
        ("traces_status", "(status)"),
        ("traces_attributes", "USING gin (attributes)"),
        ("traces_unknown", "(seen_ns) WHERE start_time IS NULL"),
    ],
};

pub(super) const SPANS: Table = Table {
    name: "spans",
    columns: columns! {
        span_id: "uuid"
        trace_id: "uuid"
        parent_span_id: "uuid"
        name: "character varying"
        kind: "character varying"
        start_time: "timestamp with time zone"
        end_time: "timestamp with time zone"
        duration: "double precision"
        status: "character varying"
        attributes: "jsonb"
        start_ns: "bigint"
        duration_ns: "bigint"
        error: "jsonb"
        exact: "bytea"
        remote_parent: "boolean"
        dropped_attributes: "bigint"
        instance: "integer"
        ring: "integer"
        lease: "integer"
        sequence: "bigint"
    },
    key: &["span_id"],
    day: Some("start_time"),
    of_trace: true,
    indexes: &[
        ("spans_trace_id", "(trace_id)"),
        ("spans_parent_span_id", "(parent_span_id)"),
        ("spans_attributes", "USING gin (attributes)"),
    ],
};

pub(super) const EVENTS: Table = Table {
    name: "events",
    columns: columns! {
        event_id: "uuid"
        trace_id: "uuid"
        span_id: "uuid"
        type: "character varying"
        name: "character varying"
        timestamp: "timestamp with time zone"
        attributes: "jsonb"
        timestamp_ns: "bigint"
        exact: "bytea"
        dropped_attributes: "bigint"
        instance: "integer"
        ring: "integer"
        sequence: "bigint"
        derived: "boolean"
    },
    key: &["event_id"],
    day: Some("timestamp"),
    of_trace: true,
    indexes: &[("events_trace_id", "(trace_id)"), ("events_type", "(type)")],
};

pub(super) const METRICS: Table = Table {
    name: "metrics",
    columns: columns! {
        metric_id: "uuid"
        trace_id: "uuid"
        name: "character varying"
        value: "double precision"
        unit: "character varying"
        aggregation_type: "character varying"
        timestamp: "timestamp with time zone"
        attributes: "jsonb"
        timestamp_ns: "bigint"
        span_id: "uuid"
        integer_value: "numeric"
        exact: "bytea"
        dropped_attributes: "bigint"
        instance: "integer"
        ring: "integer"
        sequence: "bigint"
        derived: "boolean"
    },
    key: &["metric_id"],
    day: Some("timestamp"),
    of_trace: false,
    indexes: &[
        ("metrics_name", "(name)"),
        ("metrics_timestamp", "(\"timestamp\")"),
        ("metrics_trace_id", "(trace_id)"),
    ],
};

pub(super) const LINKS: Table = Table {
    name: "links",
    columns: columns! {
        link_id: "uuid"
        trace_id: "uuid"
        span_id: "uuid"
        linked_trace_id: "uuid"
        linked_span_id: "uuid"
        timestamp: "timestamp with time zone"
        attributes: "jsonb"
        timestamp_ns: "bigint"
        exact: "bytea"
        instance: "integer"
        ring: "integer"
        sequence: "bigint"
    },
    key: &["link_id"],
    day: Some("timestamp"),
    of_trace: true,
    indexes: &[("links_trace_id", "(trace_id)")],
};

pub(super) const PARTS: Table = Table {
    name: "emberlog_trace_parts",
    columns: columns! {
        trace_id: "uuid"
        instance: "integer"
        ring: "integer"
        sequence: "bigint"
        name: "character varying"
        start_ns: "bigint"
        end_ns: "bigint"
        status: "character varying"
        attributes: "jsonb"
        exact: "bytea"
        remote_parent_span_id: "uuid"
        sampling_rate: "double precision"
        dropped_attributes: "bigint"
    },
    key: &["trace_id", "instance", "ring", "sequence"],
    day: None,
    of_trace: false,
    indexes: &[],
};

pub(super) const INSTANCES: Table = Table {
    name: "emberlog_instances",
    columns: columns! {
        instance: "uuid"
        id: "integer GENERATED BY DEFAULT AS IDENTITY"
        resource: "jsonb"
        resource_exact: "bytea"
        custom: "jsonb"
        custom_exact: "bytea"
        derive_events: "boolean"
        derive_metrics: "boolean"
        max_events_per_span: "bigint"
    },
    key: &["instance"],
    day: None,
    of_trace: false,
    indexes: &[("emberlog_instances_id", "(id)")],
};

pub(super) const CURSORS: Table = Table {
    name: "emberlog_cursors",
    columns: columns! {
        log_id: "uuid"
        epoch: "bigint"
        position: "bigint"
        instance: "uuid"
        updated: "timestamp with time zone"
    },
    key: &["log_id"],
    day: None,
    of_trace: false,
    indexes: &[],
};

pub(super) const SCHEMA: Table = Table {
    name: "emberlog_schema",
    columns: columns! { version: "integer" },
    key: &["version"],
    day: None,
    of_trace: false,
    indexes: &[],
};

/// All tables, those first that others refer to.
pub(super) const TABLES: &[&Table] = &[
    &TRACES, &SPANS, &EVENTS, &METRICS, &LINKS, &PARTS, &INSTANCES, &CURSORS, &SCHEMA,
];

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the tables of one database are called, and how they are laid out.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) schema: String,
    pub(super) prefix: String,
    /// As they are, not as options want them.
    pub(super) partitions: Partitions,
}

impl Names {
    /// A table's name without its schema.
    pub(super) fn bare(&self, table: &Table) -> String {
        format!("{}{}", self.prefix, table.name)
    }

    /// A table as statements name it.
    pub(super) fn table(&self, table: &Table) -> String {
        self.named(&self.bare(table))
    }

    /// A name in the schema.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(name))
    }

    /// The name of an index, without its schema.
    pub(super) fn index(&self, name: &str) -> String {
        format!("idx_{}{name}", self.prefix)
    }

    /// Whether a table has a partition for each day.
    pub(super) fn is_partitioned(&self, table: &Table) -> bool {
        self.partitions == Partitions::Daily && table.day.is_some()
    }

    /// The columns that make a row the same row.
    pub(super) fn key(&self, table: &Table) -> Vec<&'static str> {
        let mut key = table.key.to_vec();
        key.extend(table.day.filter(|_| self.is_partitioned(table)));
        key
    }

    /// Creates a table with nothing in it.
    pub(super) fn create(&self, table: &Table) -> String {
        let key = self.key(table);
        let columns = table.columns.iter().map(|column| {
            let (name, sql) = (quoted(column.name), column.sql);
            let refers = table.of_trace && column.name == "trace_id";
            match refers && !self.is_partitioned(table) {
                true => format!("{name} {sql} REFERENCES {}", self.table(&TRACES)),
                false => format!("{name} {sql}"),
            }
        });
        let columns: Vec<_> = columns.collect();
        let mut sql = format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            self.table(table),
            columns.join(", "),
            list(key)
        );
        if let (true, Some(day)) = (self.is_partitioned(table), table.day) {
            let rest = self.named(&format!("{}_default", self.bare(table)));
            sql.push_str(&format!(
                " PARTITION BY RANGE ({}); CREATE TABLE {rest} PARTITION OF {} DEFAULT",
                quoted(day),
                self.table(table)
            ));
        }
        sql
    }
}

/// Names of columns, quoted, with commas.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(quoted).collect();
    names.join(", ")
}

/// All columns of a table.
pub(super) fn all(table: &Table) -> String {
    list(table.columns.iter().map(|column| column.name))
}
