//! Which rows a backend gets.

use std::collections::VecDeque;

use ahash::AHashMap;

use super::Row;
use crate::{
    model::Trace,
    query::filter::Filter,
    record::{id::TraceId, kinds::SpanKind},
    sampling::Threshold,
};

/// Begun traces that are remembered until it is known how they ended.
const HELD: usize = 4096;

/// Attribute of a trace that says with which probability it was kept, where its outcome changed it.
const RATE: &str = "sampling.rate";

/// What a row is a row of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RowKind {
    /// The start or the end of a trace.
    Trace,
    /// A span.
    Span,
    /// An event.
    Event,
    /// A measurement.
    Metric,
    /// A link.
    Link,
}

impl RowKind {
    /// The kind of a row.
    pub fn of(row: &Row) -> Self {
        match row {
            Row::TraceBegan(_) | Row::TraceEnded(_) => Self::Trace,
            Row::Span(_) => Self::Span,
            Row::Event(_) => Self::Event,
            Row::Metric(_) => Self::Metric,
            Row::Link(_) => Self::Link,
        }
    }
}

/// Rows that a sink makes something of. A source passes over all others before it decodes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// A bit per kind.
    kinds: u8,
    /// Of spans, those of nodes that ended.
    only_nodes: bool,
}

impl Default for Needs {
    fn default() -> Self {
        Self::ALL
    }
}

impl Needs {
    /// All rows.
    pub const ALL: Self = Self {
        kinds: u8::MAX,
        only_nodes: false,
    };

    /// Rows of these kinds.
    pub fn of(kinds: &[RowKind]) -> Self {
        let bits = kinds.iter().map(|kind| 1 << *kind as u8);
        Self {
            kinds: bits.fold(0, |all, bit: u8| all | bit),
            only_nodes: false,
        }
    }

    /// Of spans, only executions of nodes that ended.
    #[must_use]
    pub fn only_nodes(self) -> Self {
        Self {
            only_nodes: true,
            ..self
        }
    }

    /// Rows that both need.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            kinds: self.kinds & other.kinds,
            only_nodes: self.only_nodes || other.only_nodes,
        }
    }

    /// Whether rows of a kind are needed, or of spans some.
    #[inline]
    pub fn takes(self, kind: RowKind) -> bool {
        self.kinds & (1 << kind as u8) != 0
    }

    /// Whether a span is needed; `ended` is what kind of span it was, if it ended.
    #[inline]
    pub(crate) fn takes_span(self, ended: Option<SpanKind>) -> bool {
        let node = ended == Some(SpanKind::NodeExecution);
        self.takes(RowKind::Span) && (node || !self.only_nodes)
    }
}

/// Which rows a backend gets; by default all. Each row is judged by itself.
///
/// ```
/// use std::time::Duration;
/// use emberlog::{backend::{RowKind, Select}, Filter};
/// // A tenth of all traces, without their metrics, and no span under a millisecond.
/// let select = Select::new()
///     .kinds([RowKind::Trace, RowKind::Span, RowKind::Event, RowKind::Link])
///     .sampled(0.1)
///     .filter(Filter::new().min_duration(Duration::from_millis(1)));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Select {
    kinds: Option<Vec<RowKind>>,
    filter: Filter,
    threshold: Threshold,
}

impl Select {
    /// All rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only rows of these kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = RowKind>) -> Self {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Only rows that this filter finds: a field for which a kind of row has no counterpart is not
    /// looked at, as in queries (a status says nothing of events). Order, limit and offset have no
    /// meaning here, and a graph is only found in a row's own attributes.
    ///
    /// A filter that asks how a trace went (status, length, attributes) holds its start back until
    /// its end is known. Of a trace that began before a restart, or 4,096 traces ago, the start is
    /// then missing, and with it what only a start tells: the caller's span and the sampling rate.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Only traces, with all that belongs to them, that a sampler of this rate keeps; 0 to 1. The
    /// trace id alone decides, by OpenTelemetry's rule, the same everywhere. What belongs to no
    /// trace is kept.
    #[must_use]
    pub fn sampled(mut self, rate: f64) -> Self {
        self.threshold = Threshold::of_rate(rate);
        self
    }

    /// Whether every row is wanted.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// The kinds among them.
    pub(crate) fn needs(&self) -> Needs {
        self.kinds.as_deref().map_or(Needs::ALL, Needs::of)
    }

    fn wants_kind(&self, kind: RowKind) -> bool {
        self.kinds
            .as_ref()
            .is_none_or(|kinds| kinds.contains(&kind))
    }

    fn samples(&self, trace: Option<TraceId>) -> bool {
        trace.is_none_or(|id| self.threshold.keeps(id))
    }

    /// Whether only the end of a trace tells if it is wanted.
    fn asks_for_outcome(&self) -> bool {
        let filter = &self.filter;
        filter.status.is_some()
            || filter.active
            || filter.min_duration.is_some()
            || filter.wants_attributes()
    }
}

/// Takes rows that are not selected out of what a tail reads.
#[derive(Debug)]
pub(crate) struct Selector {
    select: Select,
    all: bool,
    /// Starts of traces that wait for their end, and their order.
    held: AHashMap<TraceId, Row>,
    order: VecDeque<TraceId>,
}

impl Selector {
    pub(crate) fn new(select: Select) -> Self {
        Self {
            all: select.is_all(),
            select,
            held: AHashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps what is wanted of the rows from `from` on.
    pub(crate) fn apply(&mut self, rows: &mut Vec<Row>, from: usize) {
        if self.all {
            return;
        }
        for row in rows.split_off(from) {
            self.one(row, rows);
        }
    }

    fn one(&mut self, mut row: Row, out: &mut Vec<Row>) {
        let (select, filter) = (&self.select, &self.select.filter);
        if !select.wants_kind(RowKind::of(&row)) {
            return;
        }
        match &mut row {
            Row::TraceBegan(began) => thin_out(&mut began.trace, select.threshold.rate()),
            Row::TraceEnded(ended) => thin_out(&mut ended.trace, select.threshold.rate()),
            _ => {}
        }
        let wanted = match &row {
            Row::TraceBegan(began) if select.samples(Some(began.trace.trace_id)) => {
                if select.asks_for_outcome() {
                    return self.hold(began.trace.trace_id, row);
                }
                filter.accepts_trace(&began.trace)
            }
            Row::TraceBegan(_) => false,
            Row::TraceEnded(ended) => {
                let began = self.held.remove(&ended.trace.trace_id);
                let whole = whole(began.as_ref(), &ended.trace);
                if select.samples(Some(whole.trace_id)) && filter.accepts_trace(&whole) {
                    out.extend(began);
                    out.push(row);
                }
                return;
            }
            Row::Span(span) => {
                select.samples(Some(span.trace_id)) && filter.accepts_span(span, None)
            }
            Row::Event(event) => {
                select.samples(event.trace_id) && filter.accepts_event(event, None)
            }
            Row::Metric(metric) => {
                select.samples(metric.trace_id) && filter.accepts_metric(metric, None)
            }
            Row::Link(link) => {
                select.samples(Some(link.trace_id)) && filter.accepts_link(link, None)
            }
        };
        if wanted {
            out.push(row);
        }
    }

    fn hold(&mut self, id: TraceId, row: Row) {
        if self.held.insert(id, row).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > HELD {
            if let Some(oldest) = self.order.pop_front() {
                self.held.remove(&oldest);
            }
        }
    }
}

/// The same part of the id decides in every sampler, so the lowest rate is the whole probability.
fn thin_out(trace: &mut Trace, rate: f64) {
    trace.sampling_rate = trace.sampling_rate.min(rate);
    if trace.attributes.get(RATE).is_some() {
        let kept = trace.kept_rate().min(rate);
        trace.attributes.set(RATE, kept);
    }
}

/// What start and end tell together.
fn whole(began: Option<&Row>, ended: &Trace) -> Trace {
    let mut whole = ended.clone();
    if let Some(Row::TraceBegan(began)) = began {
        whole
            .attributes
            .fill_from(began.trace.attributes.as_slice());
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(low: u64) -> Option<TraceId> {
        Some(TraceId::from_u128(u128::from(low) | 7 << 64))
    }

    #[test]
    fn a_rate_keeps_its_part_of_the_ids_and_always_the_same() {
        let tenth = Select::new().sampled(0.1);
        let quarter = Select::new().sampled(0.25);
        let mut kept = [0, 0];
        for n in 0..100_000u64 {
            let id = id(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            kept[0] += u32::from(tenth.samples(id));
            kept[1] += u32::from(quarter.samples(id));
            // What a lower rate keeps a higher one keeps too.
            assert!(!tenth.samples(id) || quarter.samples(id));
        }
        assert!((9_500..10_500).contains(&kept[0]), "{kept:?}");
        assert!((24_500..25_500).contains(&kept[1]), "{kept:?}");
        for (rate, keeps) in [(0.0, false), (f64::NAN, false), (-1.0, false), (1.0, true)] {
            let select = Select::new().sampled(rate);
            for low in [0, 1, (1 << 56) - 1, u64::MAX] {
                assert_eq!(select.samples(id(low)), keeps, "{rate} {low}");
            }
            assert!(select.samples(None));
        }
        // OpenTelemetry's example: th:8 keeps ids whose last 56 bits are 0x80000000000000 and more.
        let half = Select::new().sampled(0.5);
        assert!(half.samples(id(0x80_0000_0000_0000)));
        assert!(!half.samples(id(0xff7f_ffff_ffff_ffff)));
    }

    #[test]
    fn rate_one_and_no_filter_are_everything() {
        assert!(Select::new().sampled(1.0).is_all());
        assert!(!Select::new().sampled(0.999).is_all());
        assert!(!Select::new().kinds([]).is_all());
    }
}
