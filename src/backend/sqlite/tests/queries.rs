//! Every filter means what it means on the log.

use std::time::Duration;

use super::support::*;
use crate::{
    backend::{Row, Scan},
    query::filter::{Filter, Order},
    record::{
        id::{SpanId, TraceId},
        kinds::{SpanKind, Status},
    },
};

fn filters() -> Vec<Filter> {
    let all = || Filter::new().all();
    let mut filters = vec![
        all(),
        Filter::new(),
        all().name("span-1"),
        all().name("graph-1"),
        all().name("event-1"),
        all().name("metric-2"),
        all().name("node.duration"),
        all().name("*-1*"),
        all().name("span-1 finished"),
        all().name("'; DROP TABLE"),
        all().active(),
        all().event_type("node_failed"),
        all().event_type("graph.started"),
        all().event_type("my.own"),
        all().trace_id(TraceId::from_u128(3)),
        all().trace_id(TraceId::from_u128(999)),
        all().span_id(SpanId::new(302).unwrap()),
        all().since_ns(T0 + 3_000_000),
        all().until_ns(T0 + 3_000_000),
        all().since_ns(T0 + 3_000_000).until_ns(T0 + 4_400_000),
        all().min_duration(Duration::from_nanos(302 * 1_000_001)),
        all().attribute("environment", "staging"),
        all().attribute("node_id", "n2"),
        all().attribute("tokens", "302"),
        all().attribute("nope", "x"),
        all().graph("g1"),
        all().graph("graph-0"),
        all().graph_version("2"),
        all().graph("g0").graph_version("2"),
        all().node("n3"),
        all().error_type("Timeout"),
        Filter {
            recorded_only: true,
            ..all()
        },
        all()
            .kind(SpanKind::NodeExecution)
            .status(Status::Error)
            .name("span-*"),
    ];
    filters.extend(Status::ALL.iter().map(|s| all().status(*s)));
    filters.extend(SpanKind::ALL.iter().map(|k| all().kind(*k)));
    let base = filters.clone();
    for order in [Order::Oldest, Order::Slowest] {
        filters.extend(base.iter().map(|f| f.clone().order(order)));
    }
    let base = filters.clone();
    for (offset, limit) in [(0, 0), (0, 1), (2, 3), (1000, 5)] {
        filters.extend(base.iter().map(|f| f.clone().offset(offset).limit(limit)));
    }
    filters
}

/// All rows, filtered and ordered the simple way.
fn naive<T: Clone>(
    rows: &[T],
    filter: &Filter,
    limit: usize,
    fits: impl Fn(&T) -> bool,
    key: impl Fn(&T) -> (i64, Option<u64>, (u128, u128)),
    timed: bool,
) -> Vec<T> {
    let mut rows: Vec<T> = rows.iter().filter(|row| fits(row)).cloned().collect();
    rows.sort_by_key(|row| {
        let (start, length, tie) = key(row);
        match filter.order {
            Order::Slowest if timed => (length.map_or(-1, |l| l as i64), tie),
            _ => (start, tie),
        }
    });
    if filter.order != Order::Oldest {
        rows.reverse();
    }
    rows.into_iter().skip(filter.offset).take(limit).collect()
}

#[test]
fn filters_mean_the_same_as_row_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(7);
    let rows = maker.mixed(9);
    filled(&path, &maker, &rows);
    let reader = reader(&path);
    let everything = Filter::new().all();
    let traces = reader.traces(&everything).unwrap();
    let spans = reader.spans(&everything).unwrap();
    let events = reader.events(&everything).unwrap();
    let metrics = reader.metrics(&everything).unwrap();
    let links = reader.links(&everything).unwrap();
    assert_eq!(traces.len(), 9);
    assert_eq!(
        spans.len(),
        rows.iter().filter(|r| matches!(r, Row::Span(_))).count()
    );
    assert!(events.iter().any(|e| e.derived) && events.iter().any(|e| !e.derived));
    let trace_of = |id: Option<TraceId>| traces.iter().find(|t| Some(t.trace_id) == id);
    let mut found = 0;
    for filter in filters() {
        let f = &filter;
        let row_limit = f.row_limit();
        let record = |r: Option<crate::RecordId>, id: u128| {
            let r = r.unwrap();
            let part = (id ^ r.as_u128(0)) >> 120;
            (
                u128::from_be_bytes(r.instance.0),
                u128::from(r.ring) << 72 | u128::from(r.sequence) << 8 | part,
            )
        };
        let want = naive(
            &traces,
            f,
            f.trace_limit(),
            |t| f.accepts_trace(t),
            |t| (t.start_ns, t.duration_ns(), (t.trace_id.as_u128(), 0)),
            true,
        );
        assert_eq!(reader.traces(f).unwrap(), want, "{f:?}");
        found += want.len();
        let want = naive(
            &spans,
            f,
            row_limit,
            |s| f.accepts_span(s, trace_of(Some(s.trace_id))),
            |s| {
                (
                    s.start_ns,
                    s.duration_ns,
                    record(s.record, s.record.unwrap().as_u128(0)),
                )
            },
            true,
        );
        assert_eq!(reader.spans(f).unwrap(), want, "{f:?}");
        found += want.len();
        let want = naive(
            &events,
            f,
            row_limit,
            |e| f.accepts_event(e, trace_of(e.trace_id)),
            |e| (e.timestamp_ns, None, record(e.record, e.event_id)),
            false,
        );
        assert_eq!(reader.events(f).unwrap(), want, "{f:?}");
        found += want.len();
        let want = naive(
            &metrics,
            f,
            row_limit,
            |m| f.accepts_metric(m, trace_of(m.trace_id)),
            |m| (m.timestamp_ns, None, record(m.record, m.metric_id)),
            false,
        );
        assert_eq!(reader.metrics(f).unwrap(), want, "{f:?}");
        found += want.len();
        let want = naive(
            &links,
            f,
            row_limit,
            |l| f.accepts_link(l, trace_of(Some(l.trace_id))),
            |l| (l.timestamp_ns, None, record(l.record, l.link_id)),
            false,
        );
        assert_eq!(reader.links(f).unwrap(), want, "{f:?}");
        found += want.len();
    }
    assert!(found > 5000, "{found}");
}
