//! What goes in comes out, once.

use std::path::Path;

use rusqlite::types::Value as SqlValue;

use super::support::*;
use crate::{
    backend::{Row, Scan, Sink, SinkError},
    log::Position,
    model::{AttributeMap, Trace},
    query::{filter::Filter, rows::merge_trace},
    record::{
        id::{SpanId, TraceId},
        kinds::{SpanKind, Status},
        value::Value,
    },
};

fn everything() -> Filter {
    Filter {
        recorded_only: true,
        ..Filter::new().all()
    }
}

/// What the reader has, in the shape of rows; NaN has the same text as NaN.
fn dump(path: &Path) -> Vec<String> {
    let reader = reader(path);
    let all = everything();
    let mut out: Vec<String> = Vec::new();
    out.extend(
        reader
            .traces(&all)
            .unwrap()
            .iter()
            .map(|r| format!("{r:?}")),
    );
    out.extend(reader.spans(&all).unwrap().iter().map(|r| format!("{r:?}")));
    out.extend(
        reader
            .events(&all)
            .unwrap()
            .iter()
            .map(|r| format!("{r:?}")),
    );
    out.extend(
        reader
            .metrics(&all)
            .unwrap()
            .iter()
            .map(|r| format!("{r:?}")),
    );
    out.extend(reader.links(&all).unwrap().iter().map(|r| format!("{r:?}")));
    out.sort();
    out
}

/// What it should have.
fn expected(rows: &[Row]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut parts: std::collections::BTreeMap<TraceId, Vec<Trace>> = Default::default();
    for row in rows {
        match row {
            Row::TraceBegan(row) => parts
                .entry(row.trace.trace_id)
                .or_default()
                .push(row.trace.clone()),
            Row::TraceEnded(row) => parts
                .entry(row.trace.trace_id)
                .or_default()
                .push(row.trace.clone()),
            Row::Span(row) => out.push(format!("{row:?}")),
            Row::Event(row) => out.push(format!("{row:?}")),
            Row::Metric(row) => out.push(format!("{row:?}")),
            Row::Link(row) => out.push(format!("{row:?}")),
        }
    }
    out.extend(
        parts
            .into_values()
            .filter_map(merge_trace)
            .map(|t| format!("{t:?}")),
    );
    out.sort();
    out
}

#[test]
fn every_kind_of_row_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/dir/t.db");
    let mut maker = Maker::new(7);
    let rows = maker.mixed(20);
    let mut sink = filled(&path, &maker, &rows);
    assert_eq!(dump(&path), expected(&rows));
    assert_eq!(
        sink.position(log(1)).unwrap(),
        Some(Position {
            epoch: 1,
            offset: 10
        })
    );
    assert_eq!(sink.position(log(2)).unwrap(), Some(Position::START));
    assert_sound(&path);
}

#[test]
fn in_any_order_any_pieces_and_twice_it_is_the_same() {
    let mut maker = Maker::new(7);
    let rows = maker.mixed(9);
    let want = expected(&rows);
    let mut seed = 1u64;
    for _ in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let mut shuffled = rows.clone();
        shuffled.extend(rows.iter().take(50).cloned());
        for i in (1..shuffled.len()).rev() {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            shuffled.swap(i, (seed >> 33) as usize % (i + 1));
        }
        let mut sink = filled(&path, &maker, &[]);
        for (n, piece) in shuffled.chunks(7).enumerate() {
            let n = n as u64;
            sink.write(range(log(1), 10 + n, 11 + n), piece).unwrap();
            if n % 3 == 0 {
                sink = super::support::sink(&path);
                sink.meet(&maker.origin);
            }
        }
        assert_eq!(dump(&path), want);
        assert_sound(&path);
    }
}

#[test]
fn values_that_sql_or_json_lacks_survive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(7);
    let odd = attributes(&[
        ("nan", f64::NAN.into()),
        ("inf", f64::INFINITY.into()),
        ("-inf", f64::NEG_INFINITY.into()),
        ("nul", "a\0b".into()),
        ("", "empty key".into()),
        ("quote\"'\\", "'; DROP TABLE spans; --".into()),
        ("big", u64::MAX.into()),
        ("small", Value::U64(3)),
        ("min", i64::MIN.into()),
        ("zero", Value::F64(-0.0)),
        ("bytes", vec![0u8, 255].into()),
        ("null", Value::Null),
        (
            "list",
            Value::Array(vec![
                Value::U64(1),
                Value::Map(vec![("k".into(), true.into())]),
            ]),
        ),
        ("emoji", "🔥\u{7f}\u{1}".into()),
    ]);
    let mut rows = vec![
        maker.began(1, odd.clone()),
        maker.ended(1, Status::Ok, odd.clone()),
    ];
    for (n, start_ns) in [-2_208_988_800_000_000_000, 0, 7_258_118_400_000_000_000]
        .into_iter()
        .enumerate()
    {
        let mut span = maker.span(1, n as u64 + 1, SpanKind::NodeExecution, Status::Error);
        span.start_ns = start_ns;
        span.attributes = odd.clone();
        span.name = ["", "a\0b", "é"][n].into();
        span.duration_ns = Some([0, i64::MAX as u64, 5][n]);
        rows.push(Row::Span(span));
    }
    let mut event = maker.event(None, None, "odd\0type");
    event.name = String::new();
    event.attributes = odd;
    rows.push(Row::Event(event));
    for (value, integer) in [
        (f64::NAN, None),
        (f64::INFINITY, None),
        (f64::NEG_INFINITY, None),
        (u64::MAX as f64, Some(i128::from(u64::MAX))),
        (i64::MIN as f64, Some(i128::from(i64::MIN))),
        (3.0, Some(3)),
        (3.0, None),
        (0.1, None),
        (9007199254740993_i64 as f64, Some(9007199254740993)),
    ] {
        rows.push(Row::Metric(maker.metric(None, value, integer)));
    }
    filled(&path, &maker, &rows);
    assert_eq!(dump(&path), expected(&rows));
    // The documented views show all of them, too.
    for view in [
        "traces",
        "spans",
        "events",
        "metrics",
        "trace_details",
        "span_details",
        "event_details",
        "metric_details",
        "links",
    ] {
        let db = plain(&path);
        let mut select = db.prepare(&format!("SELECT * FROM {view}")).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                row.get::<_, SqlValue>(column).unwrap();
            }
        }
    }
}

#[test]
fn the_end_of_a_span_completes_its_start_in_either_order() {
    for turn in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let mut maker = Maker::new(7);
        let mut began = maker.span(1, 5, SpanKind::Internal, Status::Unset);
        began.duration_ns = None;
        began.attributes = AttributeMap::new();
        let ended = maker.span(1, 5, SpanKind::Internal, Status::Ok);
        let mut late = maker.span(1, 5, SpanKind::Internal, Status::Error);
        late.name = "too late".into();
        let mut rows = vec![Row::Span(began.clone()), Row::Span(ended.clone())];
        if turn {
            rows.reverse();
        }
        rows.push(Row::Span(late));
        let mut sink = filled(&path, &maker, &rows[..1]);
        let first = if turn { &ended } else { &began };
        assert_eq!(
            reader(&path).spans(&everything()).unwrap(),
            std::slice::from_ref(first)
        );
        for row in rows {
            sink.write(range(log(1), 10, 20), &[row]).unwrap();
        }
        assert_eq!(reader(&path).spans(&everything()).unwrap(), [ended]);
        // A span whose trace nobody knows: its trace is there for SQL, and no row of a query.
        assert_eq!(count(&path, "traces"), 1);
        assert!(reader(&path).traces(&everything()).unwrap().is_empty());
        assert_sound(&path);
    }
}

#[test]
fn processes_that_share_a_trace_share_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let (mut a, mut b) = (Maker::new(1), Maker::new(2));
    let mut rows = vec![a.began(1, attributes(&[("a", 1i64.into())]))];
    rows.push(b.began(1, attributes(&[("b", 2i64.into())])));
    rows.push(b.ended(1, Status::Ok, attributes(&[("b", 3i64.into())])));
    let mut sinks = [filled(&path, &a, &[]), sink(&path)];
    sinks[1].meet(&b.origin);
    sinks[1].write(range(log(2), 0, 7), &rows[1..]).unwrap();
    sinks[0].write(range(log(1), 10, 20), &rows[..1]).unwrap();
    assert_eq!(dump(&path), expected(&rows));
    let at = |sink: &mut crate::backend::sqlite::SqliteSink, number| {
        sink.position(log(number)).unwrap().unwrap().offset
    };
    assert_eq!((at(&mut sinks[0], 1), at(&mut sinks[0], 2)), (20, 7));
    assert_sound(&path);
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let threads: Vec<_> = (1..=4u8)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut maker = Maker::new(number);
                let rows = maker.mixed(5);
                // Two processes that create the file at once may find it locked.
                let mut sink = loop {
                    let options = crate::backend::sqlite::Options::new(&path);
                    match crate::backend::sqlite::SqliteSink::open("s", options) {
                        Ok(sink) => break sink,
                        Err(error) => {
                            let error = SinkError::from(error);
                            assert!(matches!(error, SinkError::Retry(_)), "{error}");
                        }
                    }
                };
                sink.meet(&maker.origin);
                for (n, piece) in rows.chunks(3).enumerate() {
                    let n = n as u64;
                    sink.write(range(log(number), n, n + 1), piece).unwrap();
                }
                rows
            })
        })
        .collect();
    let mut rows = Vec::new();
    for thread in threads {
        rows.extend(thread.join().unwrap());
    }
    let (spans, events) = (everything(), everything());
    let wanted = |f: fn(&Row) -> bool| rows.iter().filter(|r| f(r)).count();
    let reader = reader(&path);
    assert_eq!(
        reader.events(&events).unwrap().len(),
        wanted(|r| matches!(r, Row::Event(_)))
    );
    // All four have the same traces and spans.
    assert_eq!(
        reader.spans(&spans).unwrap().len(),
        wanted(|r| matches!(r, Row::Span(_))) / 4
    );
    assert_eq!(reader.traces(&everything()).unwrap().len(), 5);
    assert_sound(&path);
}

#[test]
fn a_span_keeps_its_newest_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(7);
    std::sync::Arc::make_mut(&mut maker.origin).max_events_per_span = 3;
    let mut sink = filled(&path, &maker, &[]);
    let mut events = Vec::new();
    for n in 0..10u64 {
        let event = maker.event(Some(1), Some(5), "x");
        let other = maker.event(Some(1), Some(n + 100), "x");
        sink.write(
            range(log(1), 10 + n, 11 + n),
            &[Row::Event(event.clone()), Row::Event(other)],
        )
        .unwrap();
        events.push(event);
        if n == 4 {
            // What was counted is counted again.
            sink = filled(&path, &maker, &[]);
        }
    }
    let kept = reader(&path)
        .events(&Filter {
            span_id: SpanId::new(5),
            ..everything()
        })
        .unwrap();
    assert_eq!(
        kept,
        [events[9].clone(), events[8].clone(), events[7].clone()]
    );
    assert_eq!(count(&path, "event_rows"), 13);
}

#[test]
fn retention_deletes_whole_traces_and_what_is_outside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let mut maker = Maker::new(7);
    let mut rows = maker.mixed(300);
    rows.push(Row::Span(maker.span(
        1000,
        5000,
        SpanKind::Internal,
        Status::Ok,
    )));
    rows.push(Row::Span(maker.span(
        100_000,
        5000,
        SpanKind::Internal,
        Status::Ok,
    )));
    let mut sink = filled(&path, &maker, &rows);
    let since = T0 + 250_500_000;
    let before = count(&path, "span_rows");
    let deleted = sink.retain(since).unwrap();
    assert!(deleted > 250 * 14, "{deleted}");
    assert_eq!(count(&path, "trace_rows WHERE start_ns IS NULL"), 2);
    assert_eq!(count(&path, "traces WHERE start_time IS NOT NULL"), 50);
    assert_eq!(count(&path, "span_rows"), before - 250 * 11);
    assert_eq!(sink.retain(since).unwrap(), 0);
    assert!(sink.retain(i64::MAX).unwrap() > 0);
    for table in [
        "trace_rows",
        "trace_parts",
        "span_rows",
        "event_rows",
        "metric_rows",
        "link_rows",
    ] {
        assert_eq!(count(&path, table), 0, "{table}");
    }
    assert_sound(&path);
    // Rows that come late find their traces gone and go on.
    sink.write(range(log(1), 10, 20), &rows[..20]).unwrap();
    assert_sound(&path);
}
