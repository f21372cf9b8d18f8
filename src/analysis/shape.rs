//! The tree of a trace: self times, the critical path, edges and waits.
//!
//! Always true:
//! - what the critical path spends in spans and outside of any is the length of the trace
//! - a span's self time is its length without the union of its children, which are cut to fit
//!
//! ```text
//!  trace  |------------------------------------------------|
//!   a     |----------|                        critical: all of a
//!   b                  |---------------|      critical: what c and d leave of b
//!    c                   |-----|              parallel to d and earlier done: not critical
//!    d                   |-----------|        critical
//!   e                                    |----|
//!           a and b: the trace waits between them, an edge a -> b with that wait
//! ```

use std::cmp::Reverse;

use ahash::AHashMap;

use super::{
    facts::{EventClass, EventFacts, Parts, SpanFacts, TraceFacts},
    texts::NONE,
};

/// Longest sequence of nodes that is kept of a trace.
pub(super) const LONGEST: usize = 64;
/// Spans up to which a parent is looked for one by one.
const FEW: usize = 24;

/// An edge that a trace went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// [`NONE`]: from the beginning.
    pub(super) from: u32,
    pub(super) to: u32,
    /// From the end of one node to the start of the other; `None` if they cannot be told.
    pub(super) wait_ns: Option<u64>,
}

/// The tree of one trace after another; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Place of each span's parent; [`NONE`] for roots.
    parents: Vec<u32>,
    /// Spans by parent, then start.
    by_start: Vec<u32>,
    /// Spans by parent, then end, latest first.
    by_end: Vec<u32>,
    /// Where the children of each span stand in both; the last one is that of the roots.
    children: Vec<(u32, u32)>,
    places: AHashMap<u64, u32>,
    stack: Vec<(u32, i64, i64)>,
    /// Nanoseconds of each span that none of its children covers.
    pub(super) self_ns: Vec<u64>,
    /// Nanoseconds of each span on the critical path, those of its children left out.
    pub(super) critical_ns: Vec<u64>,
    /// Nanoseconds of the critical path that no span covers.
    pub(super) outside_ns: u64,
    pub(super) steps: Vec<Step>,
    /// Whether `steps` follow from times, because no edge was recorded.
    pub(super) inferred: bool,
    /// Nodes in the order in which they ran.
    pub(super) path: Vec<u32>,
    /// Nodes on the critical path in order.
    pub(super) chain: Vec<u32>,
}

impl Shape {
    /// Looks at a trace.
    pub(super) fn look(&mut self, trace: &TraceFacts, parts: &Parts) {
        let (spans, events) = (&parts.spans[..], &parts.events[..]);
        self.link(spans);
        self.self_times(spans);
        self.critical(trace, spans);
        let mut edges: Vec<&EventFacts> = Vec::new();
        let taken = events.iter().filter(|e| e.class == EventClass::EdgeTaken);
        edges.extend(taken.filter(|e| e.node != NONE && e.to != NONE));
        self.steps.clear();
        self.path.clear();
        edges.sort_by_key(|e| (e.at_ns, e.node, e.to));
        self.follow(&edges, spans);
        self.name(&edges, parts);
        self.inferred = self.steps.is_empty();
        if self.inferred {
            self.infer(trace, spans);
        }
        if edges.is_empty() {
            let group = self.group(self.main_level());
            let level = self.by_start[group].iter().take(LONGEST);
            self.path.extend(level.map(|at| spans[*at as usize].node));
        }
    }

    fn parent_of(&self, span: &SpanFacts, at: usize, spans: &[SpanFacts]) -> u32 {
        if span.parent == 0 {
            return NONE;
        }
        let place = if spans.len() <= FEW {
            let found = spans.iter().position(|other| other.id == span.parent);
            found.map(|place| place as u32)
        } else {
            self.places.get(&span.parent).copied()
        };
        place.filter(|place| *place as usize != at).unwrap_or(NONE)
    }

    /// Finds parents and children.
    fn link(&mut self, spans: &[SpanFacts]) {
        let n = spans.len();
        self.places.clear();
        if n > FEW {
            for (at, span) in spans.iter().enumerate().rev() {
                self.places.insert(span.id, at as u32);
            }
        }
        self.parents.clear();
        for (at, span) in spans.iter().enumerate() {
            let parent = self.parent_of(span, at, spans);
            self.parents.push(parent);
        }
        let parents = &self.parents;
        self.by_start.clear();
        self.by_start.extend(0..n as u32);
        self.by_end.clone_from(&self.by_start);
        self.by_start.sort_unstable_by_key(|at| {
            let span = &spans[*at as usize];
            (parents[*at as usize], span.start_ns, span.id)
        });
        self.by_end.sort_unstable_by_key(|at| {
            let span = &spans[*at as usize];
            let end = (Reverse(span.end_ns()), Reverse(span.start_ns));
            (parents[*at as usize], end, Reverse(span.id))
        });
        self.children.clear();
        self.children.resize(n + 1, (0, 0));
        let mut from = 0;
        while from < n {
            let parent = parents[self.by_start[from] as usize];
            let of_parent = self.by_start[from..].iter();
            let len = of_parent.take_while(|at| parents[**at as usize] == parent);
            let to = from + len.count();
            let slot = (parent as usize).min(n);
            self.children[slot] = (from as u32, to as u32);
            from = to;
        }
    }

    fn group(&self, of: u32) -> std::ops::Range<usize> {
        let last = self.children.len() - 1;
        let (from, to) = self.children[(of as usize).min(last)];
        from as usize..to as usize
    }

    fn self_times(&mut self, spans: &[SpanFacts]) {
        self.self_ns.clear();
        for (at, span) in spans.iter().enumerate() {
            let end = span.end_ns();
            let (mut covered, mut upto) = (0u64, span.start_ns);
            for child in &self.by_start[self.group(at as u32)] {
                let child = &spans[*child as usize];
                let (from, to) = (child.start_ns.max(upto), child.end_ns().min(end));
                if to > from {
                    covered += to.abs_diff(from);
                    upto = to;
                }
            }
            self.self_ns.push(span.duration_ns.saturating_sub(covered));
        }
    }

    /// Walks back from the end: whoever ended last before a moment is what was waited for.
    fn critical(&mut self, trace: &TraceFacts, spans: &[SpanFacts]) {
        let main = self.main_level();
        self.critical_ns.clear();
        self.critical_ns.resize(spans.len(), 0);
        self.chain.clear();
        self.stack.clear();
        self.stack.push((NONE, trace.start_ns, trace.end_ns));
        self.outside_ns = 0;
        while let Some((of, from, to)) = self.stack.pop() {
            let (mut own, mut cursor) = (0u64, to);
            for at in self.group(of) {
                let place = self.by_end[at];
                let child = &spans[place as usize];
                if cursor <= from || child.end_ns() <= from {
                    break;
                }
                if child.end_ns() > cursor {
                    continue;
                }
                own += cursor.abs_diff(child.end_ns());
                let begin = child.start_ns.max(from);
                self.stack.push((place, begin, child.end_ns()));
                cursor = begin;
                if of == main {
                    self.chain.push(child.node);
                }
            }
            own += cursor.max(from).abs_diff(from);
            match self.critical_ns.get_mut(of as usize) {
                Some(ns) => *ns += own,
                None => self.outside_ns += own,
            }
        }
        self.chain.reverse();
        self.chain.truncate(LONGEST);
    }

    /// The span whose children tell the story: the first level with more than one span, or the
    /// last level; [`NONE`] stands for the trace itself.
    fn main_level(&self) -> u32 {
        let mut of = NONE;
        // No deeper than there are spans, also on a circle.
        for _ in 0..self.parents.len() {
            let group = self.group(of);
            let only = self.by_start[group.start.min(self.by_start.len())..]
                .first()
                .filter(|_| group.len() == 1);
            match only {
                Some(only) if !self.group(*only).is_empty() => of = *only,
                _ => break,
            }
        }
        of
    }

    /// Edges out of times: a span follows its sibling that ended last before it began.
    fn infer(&mut self, trace: &TraceFacts, spans: &[SpanFacts]) {
        for of in 0..self.children.len() {
            let group = self.group(of as u32);
            let begin = spans.get(of).map_or(trace.start_ns, |span| span.start_ns);
            let mut ended = self.by_end[group.clone()].iter().rev().peekable();
            let mut before: Option<&SpanFacts> = None;
            for at in &self.by_start[group] {
                let span = &spans[*at as usize];
                let done = |other: &&u32| {
                    let other = &spans[**other as usize];
                    // Those without length may all be at one moment.
                    other.end_ns() <= span.start_ns
                        && (other.start_ns, other.id) < (span.start_ns, span.id)
                };
                while let Some(other) = ended.next_if(done) {
                    before = Some(&spans[*other as usize]);
                }
                let since = before.map_or(begin, SpanFacts::end_ns);
                let wait = span.start_ns.saturating_sub(since);
                self.steps.push(Step {
                    from: before.map_or(NONE, |before| before.node),
                    to: span.node,
                    wait_ns: Some(u64::try_from(wait).unwrap_or(0)),
                });
            }
        }
    }

    /// Edges that spans name, those left out that an event tells as well. The wait begins with the
    /// end of the last execution of the predecessor that was over by then.
    fn name(&mut self, told: &[&EventFacts], parts: &Parts) {
        if parts.details.iter().all(|details| details.after.is_empty()) {
            return;
        }
        let spans = parts.spans.iter();
        let mut ends: Vec<_> = spans.map(|s| (s.node, s.end_ns(), s.id)).collect();
        ends.sort_unstable();
        for span in &parts.spans {
            let after = parts.details_of(span).map(|details| &details.after[..]);
            for &from in after.unwrap_or_default() {
                if told.iter().any(|e| (e.node, e.to) == (from, span.node)) {
                    continue;
                }
                let over = (from, span.start_ns, u64::MAX);
                let over = &ends[..ends.partition_point(|end| *end <= over)];
                let others = over.iter().rev().filter(|(.., id)| *id != span.id);
                let last = others.take(1).find(|(node, ..)| *node == from);
                self.steps.push(Step {
                    from,
                    to: span.node,
                    wait_ns: last.map(|(_, end, _)| span.start_ns.abs_diff(*end)),
                });
            }
        }
    }

    /// Edges as they were recorded, with the wait between the two nodes around the event.
    fn follow(&mut self, edges: &[&EventFacts], spans: &[SpanFacts]) {
        for (at, edge) in edges.iter().enumerate() {
            let target = spans
                .iter()
                .filter(|span| span.node == edge.to && span.start_ns >= edge.at_ns)
                .min_by_key(|span| (span.start_ns, span.id));
            let wait = target.and_then(|target| {
                let sources = spans.iter().filter(|span| {
                    span.node == edge.node
                        && span.end_ns() <= target.start_ns
                        && span.id != target.id
                });
                let last = sources.map(SpanFacts::end_ns).max()?;
                Some(target.start_ns.abs_diff(last))
            });
            self.steps.push(Step {
                from: edge.node,
                to: edge.to,
                wait_ns: wait,
            });
            if at == 0 {
                self.path.push(edge.node);
            }
            if self.path.len() < LONGEST {
                self.path.push(edge.to);
            }
        }
    }

    /// The first of a span and its ancestors for which `found` has something.
    pub(super) fn up<R>(
        &self,
        from: usize,
        spans: &[SpanFacts],
        found: impl Fn(&SpanFacts) -> Option<R>,
    ) -> Option<R> {
        let mut at = from as u32;
        // No higher than there are spans, also on a circle.
        for _ in 0..spans.len() {
            let span = spans.get(at as usize)?;
            if let Some(result) = found(span) {
                return Some(result);
            }
            at = self.parents[at as usize];
        }
        None
    }
}
