//! The statements of a batch, made once per connection: nothing in them comes from data.

use super::schema::{
    all, list, quoted, Names, Table, CURSORS, EVENTS, INSTANCES, LINKS, METRICS, PARTS, SPANS,
    TRACES,
};

/// A table with the temporary one that rows are copied into first.
#[derive(Debug)]
pub(super) struct Staged {
    /// Creates the temporary table, which is empty again after each transaction.
    pub(super) create: String,
    /// `COPY` into the temporary table.
    pub(super) copy: String,
    /// From there to where they belong.
    pub(super) insert: String,
    /// `COPY` to where they belong at once; fails if a row is there already.
    pub(super) direct: String,
}

/// All statements of batches.
#[derive(Debug)]
pub(super) struct Statements {
    /// Inserts traces that are not there; says which.
    pub(super) traces: String,
    /// What became of traces that were there.
    pub(super) merged: String,
    pub(super) parts: Staged,
    pub(super) spans: Staged,
    /// Spans that were not stored because one of another trace has their id.
    pub(super) taken: String,
    /// Empties the temporary table of spans.
    pub(super) clear_spans: String,
    pub(super) events: Staged,
    pub(super) metrics: Staged,
    pub(super) links: Staged,
    /// Holds traces until the end of the transaction.
    pub(super) lock: String,
    /// The records of traces.
    pub(super) parts_of: String,
    pub(super) instance: String,
    pub(super) position: String,
    pub(super) cursor: String,
    /// Deletes the oldest events of spans that have too many.
    pub(super) trim: String,
}

/// The temporary table for the rows of another.
fn stage(name: &str) -> String {
    format!("pg_temp.{}", quoted(&format!("emberlog_{name}")))
}

/// Columns that an insert sets; those with an identity set themselves.
fn staged(names: &Names, table: &Table, then: &str) -> Staged {
    let (columns, from) = (all(table), stage(table.name));
    Staged {
        create: format!(
            "CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {} WITH NO DATA",
            quoted(&format!("emberlog_{}", table.name)),
            names.table(table)
        ),
        copy: format!("COPY {from} ({columns}) FROM STDIN BINARY"),
        direct: format!("COPY {} ({columns}) FROM STDIN BINARY", names.table(table)),
        insert: format!(
            "INSERT INTO {} AS t ({columns}) SELECT {columns} FROM {from} {then}",
            names.table(table)
        ),
    }
}

/// Rows of a table out of parameters, an array per column.
fn given(table: &Table) -> String {
    let arrays = table.columns.iter().enumerate();
    let arrays: Vec<_> = arrays
        .map(|(at, column)| format!("${}::{}[]", at + 1, column.sql))
        .collect();
    format!("unnest({}) AS m ({})", arrays.join(", "), all(table))
}

/// `a = excluded.a, …` for all columns but the key.
fn set_all(names: &Names, table: &Table, from: &str) -> String {
    let key = names.key(table);
    let others = table.columns.iter().filter(|c| !key.contains(&c.name));
    let sets = others.map(|c| format!("{0} = {from}.{0}", quoted(c.name)));
    sets.collect::<Vec<_>>().join(", ")
}

impl Statements {
    pub(super) fn new(names: &Names) -> Self {
        let nothing = |table| format!("ON CONFLICT ({}) DO NOTHING", list(names.key(table)));
        let plain = |table| staged(names, table, &nothing(table));
        // Says what is new, and whether it was recorded.
        let points = |table| {
            let then = format!("{} RETURNING derived IS TRUE", nothing(table));
            staged(names, table, &then)
        };
        let spans = format!(
            "ON CONFLICT ({}) DO UPDATE SET {} WHERE t.duration_ns IS NULL AND t.duration IS NULL \
             AND excluded.duration_ns IS NOT NULL AND t.trace_id = excluded.trace_id \
             RETURNING t.span_id",
            list(names.key(&SPANS)),
            set_all(names, &SPANS, "excluded"),
        );
        let (instances, cursors) = (names.table(&INSTANCES), names.table(&CURSORS));
        let (traces, rows) = (names.table(&TRACES), given(&TRACES));
        Self {
            // Everybody creates traces in one order, so that nobody waits in a circle.
            traces: format!(
                "INSERT INTO {traces} AS t ({0}) SELECT {0} FROM {rows} ORDER BY trace_id {1} \
                 RETURNING trace_id",
                all(&TRACES),
                nothing(&TRACES)
            ),
            merged: format!(
                "UPDATE {traces} t SET {} FROM {rows} WHERE t.trace_id = m.trace_id",
                set_all(names, &TRACES, "m"),
            ),
            parts: plain(&PARTS),
            spans: staged(names, &SPANS, &spans),
            taken: format!(
                "SELECT s.trace_id, s.span_id FROM {} s JOIN {} t USING ({}) \
                 WHERE t.trace_id <> s.trace_id",
                stage("spans"),
                names.table(&SPANS),
                list(names.key(&SPANS)),
            ),
            clear_spans: format!("DELETE FROM {}", stage("spans")),
            events: points(&EVENTS),
            metrics: points(&METRICS),
            links: plain(&LINKS),
            lock: format!(
                "SELECT trace_id, seen_ns FROM {} WHERE trace_id = ANY($1) ORDER BY trace_id \
                 FOR NO KEY UPDATE",
                names.table(&TRACES)
            ),
            parts_of: format!("{} WHERE p.trace_id = ANY($1)", parts_of(names)),
            instance: format!(
                "INSERT INTO {instances} AS i (instance, resource, resource_exact, custom, \
                 custom_exact, derive_events, derive_metrics, max_events_per_span) \
                 VALUES ($1, $2::text::jsonb, $3, $4::text::jsonb, $5, $6, $7, $8) \
                 ON CONFLICT (instance) DO UPDATE SET \
                 resource = coalesce(excluded.resource, i.resource), \
                 resource_exact = CASE WHEN excluded.resource IS NULL THEN i.resource_exact \
                    ELSE excluded.resource_exact END, \
                 custom = coalesce(excluded.custom, i.custom), \
                 custom_exact = CASE WHEN excluded.custom IS NULL THEN i.custom_exact \
                    ELSE excluded.custom_exact END, \
                 derive_events = i.derive_events OR excluded.derive_events, \
                 derive_metrics = i.derive_metrics OR excluded.derive_metrics, \
                 max_events_per_span = \
                    coalesce(excluded.max_events_per_span, i.max_events_per_span) \
                 RETURNING id"
            ),
            position: format!("SELECT epoch, position, instance FROM {cursors} WHERE log_id = $1"),
            cursor: format!(
                "INSERT INTO {cursors} AS c (log_id, epoch, position, instance, updated) \
                 VALUES ($1, $2, $3, $4, now()) ON CONFLICT (log_id) DO UPDATE SET \
                 epoch = excluded.epoch, position = excluded.position, \
                 instance = excluded.instance, updated = excluded.updated \
                 WHERE (excluded.epoch, excluded.position) > (c.epoch, c.position)"
            ),
            trim: format!(
                "DELETE FROM {0} e USING (SELECT event_id, \"timestamp\", row_number() OVER \
                 (PARTITION BY trace_id, span_id ORDER BY timestamp_ns DESC, sequence DESC, event_id) \
                 AS place FROM {0} WHERE trace_id = ANY($1) AND span_id = ANY($2) \
                 AND derived IS NOT TRUE) old WHERE old.place > $3 AND e.event_id = old.event_id \
                 AND e.\"timestamp\" = old.\"timestamp\"",
                names.table(&EVENTS)
            ),
        }
    }
}

/// All records of all traces.
pub(super) fn parts_of(names: &Names) -> String {
    format!(
        "SELECT p.trace_id, p.name, p.start_ns, p.end_ns, p.status, p.attributes::text, p.exact, \
         p.remote_parent_span_id, p.sampling_rate, p.dropped_attributes, p.instance, p.ring, \
         p.sequence, i.instance FROM {} p JOIN {} i ON i.id = p.instance",
        names.table(&PARTS),
        names.table(&INSTANCES)
    )
}
