//! `tail`: the newest records, and those that follow.

use std::{path::Path, time::Duration};

use emberlog::backend::Row;
use serde::Serialize;

use crate::{
    args::TailArgs,
    failure::{Failure, Verdict},
    output::{
        escape::{cut, escape},
        human,
        rows::{attributes, error_line, short, status, trace_error, value},
        Output, Tone,
    },
    store::Follow,
};

/// How long to wait before looking again. Records reach other processes within 100 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Prints the newest records, and with `-f` all that come.
pub fn run(args: &TailArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let (rows, mut follow) = Follow::start(dir, args.lines)?;
    for row in &rows {
        print(row, out)?;
    }
    if !args.follow {
        return Ok(Verdict::Fine);
    }
    loop {
        out.finish()?;
        std::thread::sleep(PAUSE);
        for row in &follow.more()? {
            print(row, out)?;
        }
    }
}

/// The row's own fields after one that says what it is.
#[derive(Serialize)]
struct Tagged<'a, T> {
    record: &'static str,
    #[serde(flatten)]
    row: &'a T,
}

fn print(row: &Row, out: &mut Output) -> Result<(), Failure> {
    if out.is_json() {
        return match row {
            Row::TraceBegan(row) => out.json(&Tagged {
                record: "trace_start",
                row: &row.trace,
            }),
            Row::TraceEnded(row) => out.json(&Tagged {
                record: "trace_end",
                row: &row.trace,
            }),
            Row::Span(row) => out.json(&Tagged {
                record: "span",
                row,
            }),
            Row::Event(row) => out.json(&Tagged {
                record: "event",
                row,
            }),
            Row::Metric(row) => out.json(&Tagged {
                record: "metric",
                row,
            }),
            Row::Link(row) => out.json(&Tagged {
                record: "link",
                row,
            }),
        };
    }
    let line = text(row, out);
    out.line(&line)
}

/// Time, what, trace, status, length, name, details: fixed columns, since nobody knows what comes.
fn text(row: &Row, out: &Output) -> String {
    let ended = |ns: Option<u64>| ns.map(human::duration).unwrap_or_default();
    let (time, what, trace, state, length, name, detail) = match row {
        Row::TraceBegan(row) => {
            let trace = &row.trace;
            let detail = attributes(&trace.attributes);
            (
                trace.start_ns,
                "begin",
                Some(trace.trace_id),
                None,
                String::new(),
                &trace.name,
                detail,
            )
        }
        Row::TraceEnded(row) => {
            let trace = &row.trace;
            let state = Some(status(trace.status, false));
            let error = trace_error(trace)
                .map(|error| error + " ")
                .unwrap_or_default();
            let detail = error + &attributes(&trace.attributes);
            let length = ended(trace.duration_ns());
            let end = trace.end_ns.unwrap_or(trace.start_ns);
            (
                end,
                "end",
                Some(trace.trace_id),
                state,
                length,
                &trace.name,
                detail,
            )
        }
        Row::Span(span) => {
            let state = Some(status(span.status, span.is_active()));
            let detail = span
                .error
                .as_ref()
                .map_or_else(|| attributes(&span.attributes), error_line);
            let end = span.end_ns().unwrap_or(span.start_ns);
            (
                end,
                "span",
                Some(span.trace_id),
                state,
                ended(span.duration_ns),
                &span.name,
                detail,
            )
        }
        Row::Event(event) => {
            let detail = format!("{} {}", event.event_type, attributes(&event.attributes));
            (
                event.timestamp_ns,
                "event",
                event.trace_id,
                None,
                String::new(),
                &event.name,
                detail,
            )
        }
        Row::Metric(metric) => {
            let detail = format!(
                "= {} {} {}",
                value(metric),
                metric.unit,
                attributes(&metric.attributes)
            );
            (
                metric.timestamp_ns,
                "metric",
                metric.trace_id,
                None,
                String::new(),
                &metric.name,
                detail,
            )
        }
        Row::Link(link) => {
            let detail = format!(
                "to {} {}",
                link.linked_trace_id,
                attributes(&link.attributes)
            );
            (
                link.timestamp_ns,
                "link",
                Some(link.trace_id),
                None,
                String::new(),
                &String::new(),
                detail,
            )
        }
    };
    let trace = trace.map(short).unwrap_or_default();
    let (tone, state) = state.map_or((Tone::Plain, String::new()), |cell| (cell.tone, cell.text));
    let state = out.paint(tone, &format!("{state:<9}"));
    let name = out.paint(Tone::Strong, &escape(name));
    let detail = escape(&detail).into_owned();
    let detail = out.paint(
        if tone == Tone::Bad {
            Tone::Bad
        } else {
            Tone::Faint
        },
        &cut(&detail, 120),
    );
    format!(
        "{}  {what:<6}  {trace:<12}  {state} {length:>8}  {name}  {detail}",
        out.time(time)
    )
}
