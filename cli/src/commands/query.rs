//! `query`: traces, spans, events or metrics that fit.

use std::path::Path;

use emberlog::{
    query::{filter, Rings},
    Filter,
};
use serde::Serialize;

use super::filters;
use crate::{
    args::{Limit, QueryArgs, Target},
    failure::{Failure, Verdict},
    output::{
        rows,
        table::{Cell, Column, Table},
        Output,
    },
    store::{Rows, Store},
};

/// Prints the rows that fit.
pub fn run(
    args: &QueryArgs,
    dir: &Path,
    rings: Rings,
    out: &mut Output,
) -> Result<Verdict, Failure> {
    applies(args)?;
    let mut filter = filter(args, out)?;
    let store = Store::open(dir, rings)?;
    if let Some(id) = &args.filters.trace_id {
        filter.trace_id = Some(store.find_trace(id)?);
    }
    let limit = filter.limit.unwrap_or(usize::MAX);
    // One more than is shown, to know whether there is more.
    filter.limit = Some(limit.saturating_add(1));
    match args.target {
        Target::Traces => print(
            store.traces(&filter)?,
            limit,
            rows::TRACES,
            rows::trace,
            out,
        )?,
        Target::Spans => print(store.spans(&filter)?, limit, rows::SPANS, rows::span, out)?,
        Target::Events => print(
            store.events(&filter)?,
            limit,
            rows::EVENTS,
            rows::event,
            out,
        )?,
        Target::Metrics => print(
            store.metrics(&filter)?,
            limit,
            rows::METRICS,
            rows::metric,
            out,
        )?,
    }
    Ok(Verdict::Fine)
}

/// Refuses a filter that could only be ignored: rows that were not asked for mislead.
fn applies(args: &QueryArgs) -> Result<(), Failure> {
    use Target::{Events, Metrics, Spans, Traces};
    let flags = [
        (
            args.filters.status.is_some(),
            "--status",
            &[Traces, Spans][..],
        ),
        (
            args.filters.min_duration.is_some(),
            "--min-duration",
            &[Traces, Spans],
        ),
        (args.filters.kind.is_some(), "--kind", &[Spans]),
        (args.filters.r#type.is_some(), "--type", &[Events]),
        (
            args.filters.span_id.is_some(),
            "--span-id",
            &[Spans, Events, Metrics],
        ),
    ];
    for (given, flag, targets) in flags {
        if given && !targets.contains(&args.target) {
            let names: Vec<&str> = targets.iter().map(|t| noun(*t)).collect();
            let message = format!(
                "{flag} filters {}, not {}",
                names.join(" and "),
                noun(args.target)
            );
            return Err(Failure::new(message));
        }
    }
    Ok(())
}

fn noun(target: Target) -> &'static str {
    match target {
        Target::Traces => "traces",
        Target::Spans => "spans",
        Target::Events => "events",
        Target::Metrics => "metrics",
    }
}

fn filter(args: &QueryArgs, out: &Output) -> Result<Filter, Failure> {
    let mut filter = filters::filter(&args.filters, out)?
        .order(args.order.into())
        .offset(args.offset);
    filter.limit = match args.limit {
        Some(Limit::All) => None,
        Some(Limit::Rows(rows)) => Some(rows),
        None if args.target == Target::Traces => Some(filter::DEFAULT_TRACE_LIMIT),
        None => Some(filter::DEFAULT_LIMIT),
    };
    Ok(filter)
}

fn print<T: Serialize>(
    mut found: Rows<T>,
    limit: usize,
    columns: &[Column],
    cells: impl Fn(&Output, &T) -> Vec<Cell>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut table = Table::new(columns);
    let mut more = false;
    let mut shown = 0usize;
    for row in &mut found {
        let row = row?;
        if shown == limit {
            more = true;
            break;
        }
        shown += 1;
        if out.is_json() {
            out.json(&row)?;
        } else {
            let cells = cells(out, &row);
            table.row(out, cells)?;
        }
    }
    table.end(out)?;
    if found.damaged_frames() > 0 {
        out.note(&format!(
            "{} frames are damaged, what they hold is missing here: see verify",
            found.damaged_frames()
        ));
    }
    if more {
        out.note(&format!(
            "only the first {shown} rows: there are more, use --limit N, --limit all or --offset"
        ));
    } else if shown == 0 && !out.is_json() {
        out.note("nothing fits");
    }
    Ok(())
}
