//! A tree as lines of text with bars.

use emberlog::Span;

use super::{
    fold::{Line, MAX_DRAWN_DEPTH},
    Tree,
};
use crate::{
    failure::Failure,
    output::{
        escape::{cut, escape, width},
        human, rows, Output, Tone,
    },
};

/// Columns of a bar.
const BAR: usize = 32;
/// Most columns of the names with their branches.
const NAMES: usize = 56;

/// Writes `lines` of `tree`. Bars show when a span ran between beginning and end of the tree.
pub fn write(tree: &Tree, lines: &[Line], out: &mut Output) -> Result<(), Failure> {
    let (start_ns, end_ns) = tree.range;
    let names: Vec<(String, String)> = lines.iter().map(|line| name(tree, line)).collect();
    let columns = names
        .iter()
        .map(|(branch, name)| width(branch) + width(name));
    let columns = columns.max().unwrap_or(0).clamp(4, NAMES);
    let total = end_ns.saturating_sub(start_ns).max(0).unsigned_abs();
    let scale = human::duration(total);
    let head = format!(
        "{:<columns$}  {:>8}  {:>8}  {:<BAR$}",
        "SPAN",
        "TOOK",
        "SELF",
        format!("0{scale:>0$}", BAR - 1)
    );
    let head = out.paint(Tone::Faint, &head);
    out.line(&head)?;
    for (line, (branch, name)) in lines.iter().zip(&names) {
        let room = columns.saturating_sub(width(branch));
        let name = cut(name, room);
        let pad = " ".repeat(room.saturating_sub(width(&name)));
        let branch = out.paint(Tone::Faint, branch);
        match line {
            Line::Folded { total_ns, .. } => {
                let took = format!("{:>8}", human::duration(*total_ns));
                let text = out.paint(Tone::Faint, &format!("{name}{pad}  {took}"));
                out.line(&format!("{branch}{text}"))?;
            }
            Line::Span { index, more, .. } => {
                let span = &tree.nodes[*index].span;
                let tone = tone(tree, *index);
                let took = format!("{:>8}", human::duration(tree.length(*index)));
                let own = tree.nodes[*index]
                    .self_time_ns
                    .map(human::duration)
                    .unwrap_or_default();
                let own = format!("{own:>8}");
                let bar = bar((span.start_ns, tree.end(*index)), (start_ns, end_ns));
                let detail = detail(span);
                let line = [
                    branch,
                    out.paint(
                        if tone == Tone::Plain {
                            Tone::Strong
                        } else {
                            tone
                        },
                        &name,
                    ),
                    pad,
                    format!("  {took}  {own}  "),
                    out.paint(tone, &bar),
                    "  ".to_owned(),
                    out.paint(Tone::Faint, &cut(&detail, 60)),
                ];
                out.line(&line.concat())?;
                error(
                    span,
                    &under(more, !tree.nodes[*index].children.is_empty()),
                    out,
                )?;
            }
        }
    }
    Ok(())
}

fn tone(tree: &Tree, index: usize) -> Tone {
    let span = &tree.nodes[index].span;
    match span.status {
        _ if tree.failed(index) => Tone::Bad,
        emberlog::Status::Ok | emberlog::Status::Unset if !span.is_active() => Tone::Plain,
        _ => Tone::Odd,
    }
}

/// Branches and name of a line.
fn name(tree: &Tree, line: &Line) -> (String, String) {
    match line {
        Line::Span { index, more, .. } => {
            let span = &tree.nodes[*index].span;
            let mut name = escape(&span.name).into_owned();
            if name.is_empty() {
                name.push_str("(no name)");
            }
            if let (None, Some(_)) = (tree.parent[*index], span.parent_span_id) {
                name.push_str(if span.remote_parent {
                    " (parent elsewhere)"
                } else {
                    " (parent missing)"
                });
            }
            (branches(more), name)
        }
        Line::Folded {
            more,
            spans,
            failed,
            ..
        } => {
            let failed = match failed {
                0 => String::new(),
                n => format!(", {} failed", human::count(*n as u64)),
            };
            (
                branches(more),
                format!("… {}{failed}", human::plural(*spans as u64, "more span")),
            )
        }
    }
}

/// `│  ├─ ` for the levels above a span. Roots have none.
fn branches(more: &[bool]) -> String {
    let Some((own, above)) = more.split_last() else {
        return String::new();
    };
    let Some((_, above)) = above.split_first() else {
        return String::new();
    };
    let mut text: String = above
        .iter()
        .map(|more| if *more { "│  " } else { "   " })
        .collect();
    if more.len() > MAX_DRAWN_DEPTH {
        text = "⋯  ".to_owned(); // Deeper than anything that fits a line.
    }
    text.push_str(if *own { "├─ " } else { "└─ " });
    text
}

/// What stands left of a line below a span.
fn under(more: &[bool], has_children: bool) -> String {
    let mut text = String::new();
    if more.len() <= MAX_DRAWN_DEPTH {
        text.extend(
            more.iter()
                .skip(1)
                .map(|more| if *more { "│  " } else { "   " }),
        );
    }
    text.push_str(if has_children { "│  " } else { "   " });
    text
}

/// Status, where it says more than "ok", then attributes.
fn detail(span: &Span) -> String {
    let cell = rows::status(span.status, span.is_active());
    let attributes = escape(&rows::attributes(&span.attributes)).into_owned();
    match cell.text.as_str() {
        "ok" | "error" | "unset" => attributes,
        status => format!("{status} {attributes}"),
    }
}

fn error(span: &Span, under: &str, out: &mut Output) -> Result<(), Failure> {
    let Some(error) = &span.error else {
        return Ok(());
    };
    let first = rows::error_line(error);
    let causes = error
        .chain
        .iter()
        .filter(|cause| !error.message.contains(cause.as_str()));
    for text in std::iter::once(first).chain(causes.map(|cause| format!("caused by: {cause}"))) {
        let under = out.paint(Tone::Faint, under);
        let text = out.paint(Tone::Bad, &cut(&escape(&text), 160));
        out.line(&format!("{under}{text}"))?;
    }
    Ok(())
}

/// A bar for `(from, to)` inside `(start, end)`; always something to see.
fn bar((from, to): (i64, i64), (start, end): (i64, i64)) -> String {
    let total = i128::from(end) - i128::from(start);
    let eighths = (BAR * 8) as i128;
    let at = |time: i64| (i128::from(time) - i128::from(start)).clamp(0, total) * eighths / total;
    let (from, to) = if total <= 0 {
        (0, eighths)
    } else {
        (at(from), at(to))
    };
    let mut text = " ".repeat((from / 8) as usize);
    if from == eighths {
        text.pop();
    }
    // A bar begins at a whole column; its end is exact to an eighth.
    let length = (to - from / 8 * 8).max(1) as usize;
    text.extend(std::iter::repeat_n('█', length / 8));
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    text.push_str(PARTS[length % 8]);
    let pad = BAR.saturating_sub(width(&text));
    text.extend(std::iter::repeat_n(' ', pad));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{fold, tests::tree};

    #[test]
    fn bars_stand_where_the_time_was_spent() {
        assert_eq!(bar((0, 100), (0, 100)), "█".repeat(32));
        assert_eq!(
            bar((50, 100), (0, 100)).trim_end(),
            format!("{}{}", " ".repeat(16), "█".repeat(16))
        );
        assert_eq!(bar((0, 0), (0, 100)).trim_end(), "▏");
        assert_eq!(bar((100, 100), (0, 100)), format!("{}▏", " ".repeat(31)));
        assert_eq!(bar((-50, 500), (0, 100)), "█".repeat(32));
        assert_eq!(bar((5, 5), (5, 5)), "█".repeat(32));
        assert_eq!(width(&bar((i64::MIN, i64::MAX), (i64::MIN, i64::MAX))), 32);
    }

    #[test]
    fn branches_lead_from_parent_to_child() {
        let tree = tree(
            &[
                (1, 0, 0, 9),
                (2, 1, 0, 4),
                (4, 2, 1, 2),
                (3, 1, 4, 9),
                (5, 9, 5, 6),
            ],
            0,
        );
        let text: Vec<String> = fold::lines(&tree, 200)
            .iter()
            .map(|line| {
                let (branch, name) = name(&tree, line);
                format!("{branch}{name}")
            })
            .collect();
        assert_eq!(
            text,
            ["s1", "├─ s2", "│  └─ s4", "└─ s3", "s5 (parent missing)"]
        );
        assert_eq!(under(&[false, true], false), "│     ");
    }
}
