//! `verify`: does the log hold together?

use std::path::Path;

use crate::{
    failure::{Failure, Verdict},
    output::{human, Output, Tone},
    store,
};

/// Checks checksums, sequences, and the index against the frames.
pub fn run(dir: &Path, out: &mut Output) -> Result<Verdict, Failure> {
    let found = store::verify(dir)?;
    if out.is_json() {
        out.json(&found)?;
    } else {
        let (tone, word) = match found.ok {
            true => (Tone::Good, "ok"),
            false => (Tone::Bad, "not ok"),
        };
        let word = out.paint(tone, word);
        out.line(&format!(
            "{word}: {}, {} of them spans",
            human::plural(found.records, "record"),
            human::count(found.spans)
        ))?;
        for (name, number) in [
            ("damaged frames", found.damaged_frames),
            ("torn bytes", found.torn_bytes),
            ("records lost", found.lost),
        ] {
            out.line(&format!("  {name:<16}{:>12}", human::count(number)))?;
        }
        let index = if found.index_ok {
            "agrees with the frames"
        } else {
            "does not agree with the frames"
        };
        out.line(&format!("  {:<16}{index}", "index"))?;
    }
    for problem in &found.problems {
        out.note(problem);
    }
    Ok(if found.ok {
        Verdict::Fine
    } else {
        Verdict::Bad
    })
}
