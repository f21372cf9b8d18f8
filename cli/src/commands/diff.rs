//! `diff`: two traces, node by node.

use std::path::Path;

use emberlog::{
    analysis::{diff, NodeChange, TraceDiff},
    query::Rings,
};

use crate::{
    args::DiffArgs,
    failure::{Failure, Verdict},
    output::{
        human, rows,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store::Store,
};

/// Compares two traces.
pub fn run(
    args: &DiffArgs,
    dir: &Path,
    rings: Rings,
    out: &mut Output,
) -> Result<Verdict, Failure> {
    let store = Store::open(dir, rings)?;
    let before = store.trace(store.find_trace(&args.before)?)?;
    let after = store.trace(store.find_trace(&args.after)?)?;
    let diff = diff(&before, &after);
    match out.is_json() {
        true => out.json(&diff)?,
        false => text(&diff, out)?,
    }
    Ok(Verdict::Fine)
}

fn text(diff: &TraceDiff, out: &mut Output) -> Result<(), Failure> {
    let [before, after] = [diff.before, diff.after].map(rows::short);
    let differing = diff.nodes.iter().filter(|node| !node.is_same()).count();
    out.line(&match differing {
        0 => "every node ended alike in both".to_owned(),
        1 => "1 node differs in how it ended".to_owned(),
        n => format!("{} nodes differ in how they ended", human::count(n as u64)),
    })?;
    let mut table = Table::new(&[
        Column::text("", 1),
        Column::text("NODE", 48),
        Column::number("BEFORE"),
        Column::number("AFTER"),
        Column::number("DIFFERENCE"),
        Column::text("STATUS", 60),
    ]);
    let whole = vec![
        "".into(),
        Cell::toned(Tone::Strong, &format!("trace {before} → {after}")),
        length(diff.duration_ns[0]).into(),
        length(diff.duration_ns[1]).into(),
        match diff.duration_ns {
            [Some(a), Some(b)] => change(i128::from(b) - i128::from(a)),
            _ => "".into(),
        },
        match diff.status {
            [a, b] if a == b => a.as_str().to_owned(),
            [a, b] => format!("{a} → {b}"),
        }
        .into(),
    ];
    table.row(out, whole)?;
    for node in &diff.nodes {
        table.row(out, row(node))?;
    }
    table.end(out)
}

fn row(node: &NodeChange) -> Vec<Cell> {
    let mark = match node.status {
        [Some(_), None] => Cell::toned(Tone::Odd, "-"),
        [None, Some(_)] => Cell::toned(Tone::Odd, "+"),
        _ if !node.is_same() => Cell::toned(Tone::Bad, "!"),
        _ => "".into(),
    };
    let mut name = format!("{}{}", "  ".repeat(node.depth.min(12)), node.node);
    if node.occurrence > 1 {
        name.push_str(&format!(" #{}", node.occurrence));
    }
    let how = [0, 1].map(|side| {
        let status = node.status[side]?;
        Some(match &node.error_type[side] {
            Some(error) if !error.is_empty() => format!("{status} {error}"),
            _ => status.as_str().to_owned(),
        })
    });
    let how = match how {
        [Some(a), Some(b)] if a == b => a,
        [Some(a), Some(b)] => format!("{a} → {b}"),
        [a, b] => a.or(b).unwrap_or_default(),
    };
    vec![
        mark,
        name.into(),
        length(node.duration_ns[0]).into(),
        length(node.duration_ns[1]).into(),
        match node.difference_ns {
            Some(ns) => change(i128::from(ns)),
            None => "".into(),
        },
        how.into(),
    ]
}

fn length(ns: Option<u64>) -> String {
    ns.map(human::duration).unwrap_or_default()
}

fn change(ns: i128) -> Cell {
    let length = human::duration(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX));
    match ns {
        0 => "".into(),
        ns if ns > 0 => format!("+{length}").into(),
        _ => format!("-{length}").into(),
    }
}
