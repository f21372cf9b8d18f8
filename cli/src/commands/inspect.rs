//! `inspect`: segments, and the frames of one, for people who debug the format.

use std::path::Path;

use crate::{
    args::InspectArgs,
    failure::{Failure, Verdict},
    output::{
        human,
        table::{Cell, Column, Table},
        Output, Tone,
    },
    store::{self, SegmentRow},
};

/// Lists the segments, or the frames of one.
pub fn run(args: &InspectArgs, dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let segments = store::segments(dir)?;
    match &args.segment {
        None => list(segments.iter(), out)?,
        Some(wanted) => {
            let path = store::choose(wanted, &segments, dir)?;
            if !out.is_json() {
                list(segments.iter().filter(|row| row.path == path), out)?;
                out.line("")?;
            }
            frames(&path, out)?;
        }
    }
    Ok(Verdict::Fine)
}

fn list<'a>(
    segments: impl Iterator<Item = &'a SegmentRow>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::text("SEGMENT", 20),
        Column::number("EPOCH"),
        Column::text("INSTANCE", 12),
        Column::text("STATE", 10),
        Column::text("CREATED", 40),
        Column::number("FRAMES"),
        Column::number("RECORDS"),
        Column::number("USED"),
        Column::number("RESERVED"),
        Column::text("INDEX", 20),
    ]);
    for row in segments {
        if out.is_json() {
            out.json(row)?;
            continue;
        }
        let cells = vec![
            row.segment.as_str().into(),
            row.epoch.to_string().into(),
            row.instance.chars().take(12).collect::<String>().into(),
            row.state.into(),
            out.time(row.created_ns).into(),
            human::count(row.frames).into(),
            human::count(row.records).into(),
            human::bytes(row.bytes).into(),
            human::bytes(row.reserved_bytes).into(),
            row.index.into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}

fn frames(path: &Path, out: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::number("OFFSET"),
        Column::number("BYTES"),
        Column::text("KIND", 10),
        Column::number("RING"),
        Column::number("LEASE"),
        Column::number("SEQUENCE"),
        Column::number("RECORDS"),
        Column::text("FROM", 40),
        Column::number("SPAN OF TIME"),
        Column::text("CHECK", 8),
        Column::text("HOLDS", 60),
    ]);
    for frame in store::frames(path)? {
        if out.is_json() {
            out.json(&frame)?;
            continue;
        }
        let ring = match frame.ring {
            u32::MAX => "flusher".to_owned(),
            ring => ring.to_string(),
        };
        let check = match frame.checksum_ok {
            true => Cell::toned(Tone::Good, "ok"),
            false => Cell::toned(Tone::Bad, "BAD"),
        };
        let range = frame.first_ns.zip(frame.last_ns);
        let length = range.map(|(first, last)| last.saturating_sub(first).max(0).unsigned_abs());
        let cells = vec![
            frame.offset.to_string().into(),
            frame.bytes.to_string().into(),
            frame.kind.into(),
            ring.into(),
            frame.lease.to_string().into(),
            frame.first_sequence.to_string().into(),
            frame.records.to_string().into(),
            frame
                .first_ns
                .map(|ns| out.time(ns))
                .unwrap_or_default()
                .into(),
            length.map(human::duration).unwrap_or_default().into(),
            check,
            frame.record_kinds.join(" ").into(),
        ];
        table.row(out, cells)?;
    }
    table.end(out)
}
