//! A source passes over rows that a sink makes nothing of, and over nothing else.

use std::path::Path;

use emberlog::{
    backend::{Needs, Row, RowKind},
    log::Position,
    tail::{FrameSource, LogSource, Pulled},
    Config, Manager, SpanId, SpanKind, TraceId,
};

/// All rows of the log, and how many records it says there are.
fn pulled(dir: &Path, needs: Option<Needs>) -> (Vec<Row>, u64) {
    let mut source = LogSource::open(dir).unwrap();
    if let Some(needs) = needs {
        source.only(needs);
    }
    let (mut rows, mut records, mut at) = (Vec::new(), 0, Position::START);
    loop {
        match source.pull(at, &mut rows).unwrap() {
            Pulled::Frame {
                next,
                records: some,
                ..
            } => {
                records += some;
                at = next;
            }
            Pulled::Gap { to } | Pulled::Damaged { to } => at = to,
            Pulled::End { .. } => return (rows, records),
        }
    }
}

#[test]
fn each_kind_can_be_asked_for_alone() {
    let temp = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(temp.path())).unwrap();
    for n in 0..3u64 {
        let run = manager.start_trace("run");
        for kind in SpanKind::ALL {
            run.span("work").with_kind(*kind).with("n", n).ok();
        }
        run.event("my.own", "happened").record();
        run.metric("load").gauge(0.5);
        run.link(TraceId::from_u128(7), SpanId::new(6));
        // Its start is a record of its own.
        drop(run.node("later").detach(&run));
        run.ok();
    }
    manager.shutdown().unwrap();
    let (all, records) = pulled(temp.path(), None);
    assert_eq!(
        pulled(temp.path(), Some(Needs::ALL)),
        (all.clone(), records)
    );
    let only = |wanted: &dyn Fn(&Row) -> bool| -> Vec<Row> {
        all.iter().filter(|row| wanted(row)).cloned().collect()
    };
    for kind in [
        RowKind::Trace,
        RowKind::Span,
        RowKind::Event,
        RowKind::Metric,
        RowKind::Link,
    ] {
        let wanted = only(&|row| RowKind::of(row) == kind);
        assert!(wanted.len() >= 3 && wanted.len() < all.len(), "{kind:?}");
        let alone = pulled(temp.path(), Some(Needs::of(&[kind])));
        // What is passed over counts as read.
        assert_eq!(alone, (wanted, records), "{kind:?}");
    }
    let nodes = only(&|row| match row {
        Row::Span(span) => span.kind == SpanKind::NodeExecution && span.duration_ns.is_some(),
        row => RowKind::of(row) == RowKind::Metric,
    });
    let needs = Needs::of(&[RowKind::Metric, RowKind::Span]).only_nodes();
    assert_eq!(pulled(temp.path(), Some(needs)).0, nodes);
    let both = needs.and(Needs::of(&[RowKind::Event, RowKind::Metric]));
    let metrics = only(&|row| RowKind::of(row) == RowKind::Metric);
    assert_eq!(pulled(temp.path(), Some(both)).0, metrics);
}
