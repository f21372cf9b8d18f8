//! Writes the seeds that the targets start from: `cargo run --example seeds` in this folder.

use std::{fs, path::Path};

use emberlog_fuzz::{directory, frames, model, place, segments};

fn patch(what: u8, at: u16, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = at.to_le_bytes();
    let mut patch = vec![what, low, high, bytes.len() as u8];
    patch.extend_from_slice(bytes);
    patch
}

fn main() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("seeds")
            .join(target);
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join(name), bytes).expect("a file");
    };
    // Real records: a frame's payload, by the size of the frame.
    let dir = directory();
    place(&model().sealed, dir.path());
    let (_, segment) = segments(&model().sealed).remove(0);
    let mut known = frames(dir.path());
    known.sort_by_key(|frame| frame.range.1 - frame.range.0);
    for (name, frame) in [("small", &known[0]), ("large", &known[known.len() - 1])] {
        write("record", name, &segment[frame.range.0 + 64..frame.range.1]);
    }
    // Changes: none, a bit, a cut, several; behind a byte that chooses the model for `recovery`.
    let changes = [
        ("nothing", Vec::new()),
        ("bit", patch(0, 70, &[0x40])),
        ("cut", patch(1, 900, &[])),
        ("zeros", patch(2, 100, &[0; 16])),
        (
            "two",
            [patch(3, 8, &[0xff; 8]), patch(1, 2000, &[1])].concat(),
        ),
        ("end", patch(0, u16::MAX, &[7; 4])),
    ];
    for (name, changes) in &changes {
        for target in ["segment", "frame", "left_ring", "cursor"] {
            write(target, name, changes);
        }
        for (which, state) in [(0, "sealed"), (1, "open")] {
            let mut bytes = vec![which];
            bytes.extend_from_slice(changes);
            write("recovery", &format!("{state}-{name}"), &bytes);
        }
        // Eight bytes of filter come first.
        let filter = [0, 1, 4, 2, 5, 3, 1, 1];
        write("index", name, &[&filter[..], changes].concat());
    }
    // The fields of a ring's header that recovery trusts least: head, tail, the marker, lease.
    for (name, at) in [
        ("head", 256),
        ("slots", 264),
        ("tail", 384),
        ("marker", 400),
        ("lease", 128),
    ] {
        write("left_ring", name, &patch(1, at, &[0x10, 0x20]));
    }
    for (i, values) in [[0u8; 24], [5; 24], [7; 24], [8; 24]].iter().enumerate() {
        write("attributes", &format!("values-{i}"), values);
    }
    for (i, text) in ["a*b aab", "*ä* äää", "** x", "run run"].iter().enumerate() {
        write("filter", &format!("glob-{i}"), text.as_bytes());
    }
    let times = [
        "2026-11-21T08:30:00+01:00",
        "2026-11-21",
        "1700000000.5",
        "90m",
        "2h ago",
        "yesterday",
        "1h30m",
        "250us",
        "-1",
        "9999-12-31T23:59:59Z",
    ];
    for (i, text) in times.iter().enumerate() {
        write("time", &format!("time-{i}"), text.as_bytes());
    }
}
