//! Which rows of a large tree are shown.
//!
//! What failed comes first, then what took longest, each with all that it hangs from. The rest is
//! summed up in one line below its parent.

use super::Tree;

/// A line of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A span.
    Span {
        /// Which.
        index: usize,
        /// For each level above it, and its own: is there a sibling further down?
        more: Vec<bool>,
    },
    /// Children that are not shown, with everything below them.
    Folded {
        /// For each level above it, and its own (never): is there a sibling further down?
        more: Vec<bool>,
        /// How many spans.
        spans: usize,
        /// How many of them failed.
        failed: usize,
        /// The topmost ones together, nanoseconds.
        total_ns: u64,
    },
}

/// The lines of `tree`, at most `rows` of them.
pub fn lines(tree: &Tree, rows: usize) -> Vec<Line> {
    if tree.nodes.len() <= rows {
        return lay_out(tree, &vec![true; tree.nodes.len()]);
    }
    let order = by_importance(tree);
    let mut budget = rows;
    loop {
        let lines = lay_out(tree, &choose(tree, &order, budget));
        if lines.len() <= rows || budget == 0 {
            return lines;
        }
        budget = budget.saturating_sub((lines.len() - rows).max(1));
    }
}

fn by_importance(tree: &Tree) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tree.nodes.len()).collect();
    order.sort_by_key(|&i| (!tree.failed(i), std::cmp::Reverse(tree.length(i)), i));
    order
}

/// Marks up to `budget` spans, none without its parent.
fn choose(tree: &Tree, order: &[usize], budget: usize) -> Vec<bool> {
    let mut shown = vec![false; tree.nodes.len()];
    let mut left = budget;
    for &span in order {
        let mut path = Vec::new();
        let mut at = Some(span);
        while let Some(i) = at.filter(|&i| !shown[i]) {
            path.push(i);
            if path.len() > left {
                break;
            }
            at = tree.parent[i];
        }
        if path.len() <= left {
            left -= path.len();
            path.into_iter().for_each(|i| shown[i] = true);
        }
        if left == 0 {
            break;
        }
    }
    shown
}

enum Step {
    Show(usize, Vec<bool>),
    Fold(Vec<usize>, Vec<bool>),
}

fn lay_out(tree: &Tree, shown: &[bool]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut stack = Vec::new();
    push_siblings(&mut stack, &tree.roots, &[], shown);
    while let Some(step) = stack.pop() {
        match step {
            Step::Show(index, more) => {
                lines.push(Line::Span {
                    index,
                    more: more.clone(),
                });
                push_siblings(&mut stack, &tree.nodes[index].children, &more, shown);
            }
            Step::Fold(hidden, more) => lines.push(summary(tree, &hidden, more)),
        }
    }
    lines
}

/// Puts siblings on the stack in reverse, so that the first is taken first, the fold last.
fn push_siblings(stack: &mut Vec<Step>, siblings: &[usize], above: &[bool], shown: &[bool]) {
    let (visible, hidden): (Vec<usize>, Vec<usize>) = siblings.iter().partition(|&&i| shown[i]);
    // Deep trees would otherwise take memory quadratic in their depth.
    let above = &above[..above.len().min(MAX_DRAWN_DEPTH)];
    let with = |last: bool| above.iter().copied().chain([!last]).collect::<Vec<bool>>();
    let fold = !hidden.is_empty();
    if fold {
        stack.push(Step::Fold(hidden, with(true)));
    }
    for (n, &i) in visible.iter().enumerate().rev() {
        stack.push(Step::Show(i, with(n + 1 == visible.len() && !fold)));
    }
}

/// Levels that are drawn; what hangs deeper is drawn at this depth.
pub const MAX_DRAWN_DEPTH: usize = 24;

fn summary(tree: &Tree, hidden: &[usize], more: Vec<bool>) -> Line {
    let (mut spans, mut failed) = (0, 0);
    let mut stack = hidden.to_vec();
    while let Some(i) = stack.pop() {
        spans += 1;
        failed += usize::from(tree.failed(i));
        stack.extend(&tree.nodes[i].children);
    }
    let total_ns = hidden
        .iter()
        .map(|&i| tree.length(i))
        .fold(0, u64::saturating_add);
    Line::Folded {
        more,
        spans,
        failed,
        total_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::tree;
    use emberlog::Status;

    #[test]
    fn small_trees_are_shown_whole() {
        let tree = tree(&[(1, 0, 0, 9), (2, 1, 0, 4), (4, 2, 1, 2), (3, 1, 4, 9)], 0);
        let shape: Vec<(usize, Vec<bool>)> = lines(&tree, 4)
            .into_iter()
            .map(|line| match line {
                Line::Span { index, more, .. } => (index, more),
                Line::Folded { .. } => panic!("nothing to fold"),
            })
            .collect();
        let expected = [
            (0, vec![false]),
            (1, vec![false, true]),
            (2, vec![false, true, false]),
            (3, vec![false, false]),
        ];
        assert_eq!(shape, expected);
    }

    #[test]
    fn large_trees_keep_what_failed_and_what_took_longest() {
        let mut spans = vec![(1, 0, 0, 1_000_000)];
        for i in 2..=1001 {
            let start = i as i64 * 100;
            spans.push((i, 1, start, start + if i == 500 { 5_000 } else { 10 }));
        }
        let mut tree = tree(&spans, 0);
        tree.nodes[700].span.status = Status::Error;
        let lines = lines(&tree, 200);
        assert!(lines.len() <= 200 && lines.len() > 190, "{}", lines.len());
        let shown = |id: u64| {
            let is = |line: &Line| matches!(line, Line::Span { index, .. } if tree.nodes[*index].span.span_id.get() == id);
            lines.iter().any(is)
        };
        assert!(shown(1) && shown(500) && shown(701));
        let shown_spans = lines.len() - 1;
        match lines.last() {
            Some(Line::Folded {
                spans,
                failed: 0,
                total_ns,
                ..
            }) => {
                assert_eq!(spans + shown_spans, 1001);
                assert_eq!(*total_ns, *spans as u64 * 10);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn deep_trees_fold_at_the_bottom() {
        let spans: Vec<_> = (1..=50_000)
            .map(|i| (i, i - 1, 0, 100_000 - i as i64))
            .collect();
        let tree = tree(&spans, 0);
        let lines = lines(&tree, 200);
        assert!(lines.len() <= 200);
        assert!(
            matches!(lines.last(), Some(Line::Folded { spans: 49_801, .. })),
            "{:?}",
            lines.last()
        );
    }
}
