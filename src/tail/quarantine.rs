//! Rows that a sink blames: kept in `aside/NAME.jsonl`, one line each, with why.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    backend::{BatchRange, Row},
    clock::unix_now,
    model::AttributeMap,
    record::{id::RecordId, value::write_json_str},
    sync::fault::step,
};

/// The file of one sink.
#[derive(Debug)]
pub(super) struct Quarantine {
    path: PathBuf,
}

impl Quarantine {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self {
            path: dir.join("aside").join(format!("{name}.jsonl")),
        }
    }

    /// Appends a row, durably.
    pub(super) fn put(&self, range: BatchRange, row: &Row, error: &str) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(folder)?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        step("quarantine.write")?;
        let mut file = options.open(&self.path)?;
        file.write_all(line(range, row, error).as_bytes())?;
        step("quarantine.sync")?;
        file.sync_data()
    }
}

struct Described<'a> {
    kind: &'static str,
    record: Option<RecordId>,
    trace_id: Option<String>,
    span_id: Option<String>,
    name: &'a str,
    time_ns: i64,
    attributes: &'a AttributeMap,
}

fn describe(row: &Row) -> Described<'_> {
    let trace = |kind, trace: &'_ crate::model::Trace, record| {
        (kind, Some(record), Some(trace.trace_id.to_string()))
    };
    let (kind, record, trace_id) = match row {
        Row::TraceBegan(row) => trace("trace_began", &row.trace, row.record),
        Row::TraceEnded(row) => trace("trace_ended", &row.trace, row.record),
        Row::Span(row) => ("span", row.record, Some(row.trace_id.to_string())),
        Row::Event(row) => ("event", row.record, row.trace_id.map(|id| id.to_string())),
        Row::Metric(row) => ("metric", row.record, row.trace_id.map(|id| id.to_string())),
        Row::Link(row) => ("link", row.record, Some(row.trace_id.to_string())),
    };
    let (name, time_ns, attributes, span_id) = match row {
        Row::TraceBegan(row) => (
            row.trace.name.as_str(),
            row.trace.start_ns,
            &row.trace.attributes,
            None,
        ),
        Row::TraceEnded(row) => (
            row.trace.name.as_str(),
            row.trace.start_ns,
            &row.trace.attributes,
            None,
        ),
        Row::Span(row) => (
            row.name.as_str(),
            row.start_ns,
            &row.attributes,
            Some(row.span_id),
        ),
        Row::Event(row) => (
            row.name.as_str(),
            row.timestamp_ns,
            &row.attributes,
            row.span_id,
        ),
        Row::Metric(row) => (
            row.name.as_str(),
            row.timestamp_ns,
            &row.attributes,
            row.span_id,
        ),
        Row::Link(row) => ("", row.timestamp_ns, &row.attributes, row.span_id),
    };
    Described {
        kind,
        record,
        trace_id,
        span_id: span_id.map(|id| id.to_string()),
        name,
        time_ns,
        attributes,
    }
}

fn line(range: BatchRange, row: &Row, error: &str) -> String {
    let row = describe(row);
    let mut out = String::new();
    let mut text = |key: &str, value: Option<&str>| {
        out.push(if out.is_empty() { '{' } else { ',' });
        write_json_str(&mut out, key);
        out.push(':');
        match value {
            Some(value) => write_json_str(&mut out, value),
            None => out.push_str("null"),
        }
    };
    text("error", Some(error));
    text("log", Some(&range.log.to_string()));
    text("from", Some(&range.from.to_string()));
    text("to", Some(&range.to.to_string()));
    text("kind", Some(row.kind));
    text("trace_id", row.trace_id.as_deref());
    text("span_id", row.span_id.as_deref());
    text("name", Some(row.name));
    let instance = row.record.map(|record| record.instance.to_string());
    text("instance", instance.as_deref());
    // Writing into a `String` cannot fail.
    if let Some(record) = row.record {
        let _ = write!(
            out,
            ",\"ring\":{},\"sequence\":{}",
            record.ring, record.sequence
        );
    }
    let attributes = row.attributes.to_json();
    let now = unix_now();
    let _ = write!(
        out,
        ",\"time_ns\":{},\"set_aside_ns\":{now},\"attributes\":{attributes}}}",
        row.time_ns
    );
    out.push('\n');
    out
}
