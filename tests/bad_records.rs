//! What is recorded may be too long, too many, no text, or come in the wrong order: it is kept, or
//! cut, marked and counted, and costs nothing else. `tests/bad_input.rs` names what is tested where.

mod opened;

use std::path::Path;

use emberlog::{
    AttributeValue, Config, EventType, Filter, Manager, Run, SpanId, SpanKind, StaticName, Status,
    TraceId, Value, ValueWriter,
};
use opened::{one_span, open, shut_and_verify};

/// Attributes on one record, at most (`docs/format.md`, `record::attributes::MAX_ATTRIBUTES`).
const MAX_ATTRIBUTES: usize = 4096;

#[test]
fn what_is_too_long_is_cut_marked_and_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let long = "ä".repeat(5 << 20); // 10 MB
    let mut span = run.span("ten megabytes");
    span.set("before", 1);
    span.set("long", &long);
    span.set("bytes", &vec![7u8; 10 << 20][..]);
    span.set("numbers", vec![1i64; 2 << 20]);
    span.set("after", 2);
    span.ok();
    run.set("long", &long);
    run.event("custom", "long event")
        .with("long", &long)
        .record();
    run.metric("m").with("long", &long).gauge(1.0);
    run.span("unharmed").with("a", 1).ok();
    run.ok();

    let span = one_span(&manager, "ten megabytes");
    assert_eq!(span.attributes.get("before"), Some(&Value::I64(1)));
    let kept = span.attributes.get("long").unwrap().as_str().unwrap();
    assert!(!kept.is_empty() && long.starts_with(kept));
    // The numbers cannot be cut: they and what followed them are left out, and counted.
    assert!(span.dropped_attributes >= 1, "{}", span.dropped_attributes);
    assert_eq!(one_span(&manager, "unharmed").attributes.len(), 1);
    let event = &manager
        .query_events(&Filter::new().name("long event"))
        .unwrap()[0];
    assert!(
        event
            .attributes
            .get("long")
            .unwrap()
            .as_str()
            .unwrap()
            .len()
            > 1000
    );
    assert_eq!(
        manager
            .query_metrics(&Filter::new().name("m"))
            .unwrap()
            .len(),
        1
    );
    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert!(long.starts_with(trace.attributes.get("long").unwrap().as_str().unwrap()));
    assert_eq!(
        marked(&manager, dir.path()),
        4,
        "span, trace end, event, metric"
    );
    shut_and_verify(manager, dir.path());
}

#[test]
fn names_that_are_too_long_are_cut_marked_and_counted() {
    static LONG: StaticName = StaticName::new({
        const BYTES: [u8; 5000] = [b's'; 5000];
        match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("ASCII"),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let cut_before = manager.stats().cut_names;
    let long = |first: char| format!("{first}{}", "ä".repeat(1 << 19));
    // At a character, so one byte short of 4096 where the first one takes one.
    let cut = |first: char| long(first)[..4095].to_owned();
    let run = manager.start_trace(&long('t'));
    run.span(&long('n')).with("a", 1).ok();
    run.span(&LONG).ok();
    run.span("short").with(&long('k'), 2).ok();
    run.event(&long('y'), &long('e')).with("a", 3).record();
    // Behind an attribute there is room for a unit, too.
    let metric = run.metric(&long('m')).with("a", 4);
    metric.unit(&long('u')).gauge(5);
    run.span("detached").with("a", 6).detach(&run).ok();
    run.ok();

    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert_eq!(trace.name, cut('t'));
    let span = one_span(&manager, &cut('n'));
    assert_eq!(
        (span.attributes.get("a"), span.dropped_attributes),
        (Some(&Value::I64(1)), 0)
    );
    one_span(&manager, &LONG.text()[..4096]);
    let short = one_span(&manager, "short");
    assert_eq!(short.attributes.get(&cut('k')), Some(&Value::I64(2)));
    let event = &manager.query_events(&Filter::new().name(cut('e'))).unwrap()[0];
    assert_eq!(event.event_type, EventType::from(&*cut('y')));
    assert_eq!(event.attributes.get("a"), Some(&Value::I64(3)));
    let metric = &manager
        .query_metrics(&Filter::new().name(cut('m')))
        .unwrap()[0];
    assert_eq!((&metric.unit, metric.value), (&cut('u'), 5.0));
    assert_eq!(metric.attributes.get("a"), Some(&Value::I64(4)));
    assert_eq!(
        marked(&manager, dir.path()),
        6,
        "trace start, three spans, event, metric"
    );
    // Other tests of this process cut names, too.
    assert!(
        manager.stats().cut_names >= cut_before + 8,
        "{}",
        manager.stats().cut_names
    );
    shut_and_verify(manager, dir.path());
}

#[test]
fn more_open_spans_than_the_table_holds_show_names_that_are_spelled_out() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let name = |i: usize| format!("{i} {}", "x".repeat(4095 - i.to_string().len()));
    let spans: Vec<_> = (0..100).map(|i| run.span(&name(i)).with("i", i)).collect();
    let detached = run
        .span(&name(100))
        .with("long", "y".repeat(100 << 10))
        .detach(&run);
    let running = manager.query_spans(&Filter::new().active().all()).unwrap();
    assert_eq!(running.len(), 101);
    // The table has 63 places, without room for texts; the others are visible by their start.
    for i in [63, 80, 99, 100] {
        let cut = &name(i)[..4096];
        assert!(running.iter().any(|span| span.name == cut), "{i}");
    }
    detached.ok();
    for span in spans.into_iter().rev() {
        span.ok();
    }
    run.ok();
    for i in 0..=100 {
        one_span(&manager, &name(i)[..4096]);
    }
    shut_and_verify(manager, dir.path());
}

/// Records that say that something in them was cut or left out.
fn marked(manager: &Manager, dir: &Path) -> usize {
    use emberlog::{
        log::{Position, Snapshot, Step},
        record::{layout::flag, Body},
    };
    manager.flush().unwrap();
    let snapshot = Snapshot::open(dir).unwrap();
    let mut marked = 0;
    for step in snapshot.frames_from(Position::START) {
        let Step::Frame(frame, _) = step else {
            panic!("{step:?}")
        };
        for record in frame.records() {
            let flags = match record.unwrap().1.body {
                Body::Span(r) => r.flags.to_native(),
                Body::TraceStart(r) => r.flags.to_native(),
                Body::TraceEnd(r) => r.flags.to_native(),
                Body::Event(r) => r.flags.to_native(),
                Body::Metric(r) => r.flags.to_native(),
                _ => 0,
            };
            marked += usize::from(flags & flag::TRUNCATED != 0);
        }
    }
    marked
}

#[test]
fn odd_values_come_back_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("nul \0 in a name");
    let surrogate = [0xed, 0xa0, 0x80, 0xff, 0, 0xfe]; // no UTF-8
    run.span("a\0b\u{1b}[31m\u{10ffff}\u{202e}")
        .with("nul", "x\0y")
        .with("key \0 \n", 1)
        .with("", "empty key")
        .with("bytes", &surrogate[..])
        .with("nan", f64::NAN)
        .with("inf", f64::INFINITY)
        .with("-inf", f64::NEG_INFINITY)
        .with("-0", -0.0)
        .with("u64", u64::MAX)
        .with("i64", i64::MIN)
        .with("none", None::<i64>)
        .with("empty", "")
        .ok();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        run.metric("float").gauge(value);
    }
    run.metric("integer").unit("").counter(u64::MAX);
    run.ok();
    let span = one_span(&manager, "a\0b\u{1b}[31m\u{10ffff}\u{202e}");
    let get = |key: &str| span.attributes.get(key).unwrap();
    assert_eq!(get("nul").as_str(), Some("x\0y"));
    assert_eq!(get("key \0 \n"), &Value::I64(1));
    assert_eq!(get("").as_str(), Some("empty key"));
    assert_eq!(get("bytes"), &Value::Bytes(surrogate.to_vec()));
    assert!(get("nan").as_f64().unwrap().is_nan());
    assert_eq!(get("inf"), &Value::F64(f64::INFINITY));
    assert_eq!(get("-inf"), &Value::F64(f64::NEG_INFINITY));
    assert!(get("-0").as_f64().unwrap().is_sign_negative());
    assert_eq!(get("u64"), &Value::U64(u64::MAX));
    assert_eq!(get("i64"), &Value::I64(i64::MIN));
    assert_eq!(
        (get("none"), get("empty")),
        (&Value::Null, &Value::Str(String::new()))
    );
    assert_eq!(span.dropped_attributes, 0);
    assert_eq!(
        manager
            .query_traces(&Filter::new().name("nul \0 in a name"))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        manager
            .query_metrics(&Filter::new().name("float"))
            .unwrap()
            .len(),
        4
    );
    let integer = &manager
        .query_metrics(&Filter::new().name("integer"))
        .unwrap()[0];
    assert_eq!(integer.integer, Some(i128::from(u64::MAX)));
    shut_and_verify(manager, dir.path());
}

#[test]
fn ten_thousand_attributes_keep_the_first_and_count_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::new(dir.path()).ring(|ring| ring.max_record_bytes = 256 << 10);
    let manager = Manager::open(config).unwrap();
    let run = manager.start_trace("run");
    let long = "many ".repeat(2000);
    for name in ["many", &*long] {
        let mut span = run.span(name);
        for i in 0..10_000 {
            span.set(&format!("k{}", i % 5000), i);
        }
        span.ok();
    }
    run.span("next").with("a", 1).ok();
    run.ok();
    for name in ["many", &*long] {
        // A name that is spelled out takes no attribute's place.
        let span = one_span(&manager, &name[..name.len().min(4096)]);
        assert_eq!(span.attributes.len(), MAX_ATTRIBUTES);
        assert_eq!(span.dropped_attributes as usize, 10_000 - MAX_ATTRIBUTES);
        assert_eq!(span.attributes.get("k0"), Some(&Value::I64(0)));
    }
    assert_eq!(one_span(&manager, "next").dropped_attributes, 0);
    shut_and_verify(manager, dir.path());
}

#[test]
fn ends_that_come_twice_or_late_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let (second, third) = (run.clone(), run.clone());
    let late = run.span("ended after its run").detach(&run);
    // The types let nobody end a span twice; an error, then an end, is one end.
    let mut span = run.span("failed, then ok");
    span.record_error(&std::io::Error::other("x"));
    span.set_status(Status::Error);
    span.end(Status::Cancelled);
    run.ok();
    second.end(Status::Error);
    third.span("begun after its run").ok();
    third.event("custom", "after its run").record();
    third.set("too late", 1);
    drop(third);
    late.ok();
    let traces = manager.query_traces(&Filter::new()).unwrap();
    assert_eq!(traces.len(), 1);
    assert_eq!(
        (traces[0].status, traces[0].attributes.get("too late")),
        (Status::Ok, None)
    );
    for name in ["ended after its run", "begun after its run"] {
        assert_eq!(one_span(&manager, name).status, Status::Ok, "{name}");
    }
    assert!(one_span(&manager, "failed, then ok").error.is_some());
    assert_eq!(manager.stats().records["trace_end"], 1);
    // What came too late is not found on the next run either, which takes the same memory.
    manager.start_trace("next").ok();
    let next = &manager.query_traces(&Filter::new().name("next")).unwrap()[0];
    assert_eq!(next.attributes.len(), 0, "{:?}", next.attributes);
    shut_and_verify(manager, dir.path());
}

/// An error and a value that record while they are being recorded.
#[derive(Debug)]
struct Talkative(Run);

impl std::fmt::Display for Talkative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.set("said", 1);
        self.0.span("while talking").ok();
        f.write_str("talks")
    }
}

impl std::error::Error for Talkative {}

impl AttributeValue for Talkative {
    fn write(&self, writer: &mut ValueWriter<'_>) {
        self.0.set("written", 2);
        writer.str("value");
    }
}

#[test]
fn errors_and_values_may_record_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    run.span("scoped").fail(&Talkative(run.clone()));
    run.span("detached")
        .detach(&run)
        .fail(&Talkative(run.clone()));
    let mut steps = run.steps();
    steps.enter("step");
    steps.fail(&Talkative(run.clone()));
    drop(steps);
    run.set("value", Talkative(run.clone()));
    run.event("custom", "event")
        .with("value", Talkative(run.clone()))
        .record();
    run.clone().fail(&Talkative(run.clone()));
    drop(run);
    let spans = manager
        .query_spans(&Filter::new().name("while talking"))
        .unwrap();
    assert_eq!(spans.len(), 4, "one for each error");
    for name in ["scoped", "detached", "step"] {
        let error = one_span(&manager, name).error.expect(name);
        assert_eq!(error.message, "talks");
    }
    let trace = &manager.query_traces(&Filter::new()).unwrap()[0];
    for (key, value) in [("said", 1), ("written", 2)] {
        assert_eq!(trace.attributes.get(key), Some(&Value::I64(value)), "{key}");
    }
    shut_and_verify(manager, dir.path());
}

#[test]
fn a_parent_that_never_existed_is_kept_as_given() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let id = run.trace_id().unwrap();
    let nobody = SpanId::new(0xdead_beef).unwrap();
    run.child_of(Some(nobody), "lost child", SpanKind::Client)
        .ok();
    run.event("custom", "lost event")
        .in_span(Some(nobody))
        .record();
    run.link(TraceId::from_text("no such trace").0, Some(nobody));
    {
        let _scope = run.enter(Some(nobody));
        run.span("in a lost scope").ok();
    }
    run.span("at home").ok();
    run.ok();
    for name in ["lost child", "in a lost scope"] {
        assert_eq!(
            one_span(&manager, name).parent_span_id,
            Some(nobody),
            "{name}"
        );
    }
    assert_eq!(one_span(&manager, "at home").parent_span_id, None);
    // No span is lost from the tree because its parent is.
    let tree = manager.get_trace(id).unwrap().unwrap();
    assert_eq!(format!("{tree:?}").matches("lost child").count(), 1);
    shut_and_verify(manager, dir.path());
}

#[test]
fn guards_dropped_out_of_order_leave_every_span() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let outer = run.span("outer");
    let middle = run.span("middle");
    let inner = run.span("inner");
    let (outer_id, middle_id, inner_id) = (outer.id(), middle.id(), inner.id());
    middle.ok();
    outer.ok();
    run.span("below inner").ok();
    inner.ok();
    run.span("after").ok();
    let a = run.enter(SpanId::new(1));
    let b = run.enter(SpanId::new(2));
    drop(a);
    drop(b);
    run.ok();
    assert_eq!(one_span(&manager, "middle").parent_span_id, outer_id);
    assert_eq!(one_span(&manager, "inner").parent_span_id, middle_id);
    assert_eq!(one_span(&manager, "below inner").parent_span_id, inner_id);
    // Not a child of something that ended before it began.
    assert_eq!(one_span(&manager, "after").parent_span_id, None);
    assert_eq!(manager.stats().records["span"], 5);
    shut_and_verify(manager, dir.path());
}

#[test]
fn names_and_types_may_be_any_text() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let types = [
        "",
        "custom",
        "NODE_STARTED",
        "node_started",
        "x y\n",
        "ü",
        "emberlog.x",
        "\0",
    ];
    let run = manager.start_trace("");
    for (i, event_type) in types.iter().enumerate() {
        run.event(*event_type, "").with("i", i).record();
    }
    run.span("").ok();
    run.metric("").unit("").gauge(0);
    run.ok();
    manager.event("", "").record();
    let events = manager.query_events(&Filter::new().all()).unwrap();
    let recorded: Vec<_> = events.iter().filter(|event| !event.derived).collect();
    assert_eq!(recorded.len(), types.len() + 1);
    for (i, event_type) in types.iter().enumerate() {
        let i = Value::U64(i as u64);
        let event = recorded
            .iter()
            .find(|e| e.attributes.get("i") == Some(&i))
            .unwrap();
        assert_eq!(
            event.event_type,
            EventType::from(*event_type),
            "{event_type:?}"
        );
    }
    assert_eq!(one_span(&manager, "").name, "");
    assert_eq!(
        manager
            .query_metrics(&Filter::new().name(""))
            .unwrap()
            .len(),
        1
    );
    shut_and_verify(manager, dir.path());
}

/// Writes as many values as it says: one is what the trait asks for.
struct Times(usize);

impl AttributeValue for Times {
    fn write(&self, writer: &mut ValueWriter<'_>) {
        for i in 0..self.0 {
            writer.i64(i as i64);
        }
    }
}

macro_rules! nested { ($inner:expr;) => { $inner }; ($inner:expr; $_:tt $($rest:tt)*) => { vec![nested!($inner; $($rest)*)] } }

#[test]
fn deep_and_wrong_values_do_not_spoil_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let run = manager.start_trace("run");
    let mut deep = Value::I64(1);
    for i in 0..1000 {
        deep = match i % 2 {
            0 => Value::Array(vec![deep]),
            _ => Value::Map(vec![("k".into(), deep)]),
        };
    }
    run.span("deep").with("value", &deep).with("after", 1).ok();
    // 40 arrays in one another, by type.
    let arrays = nested!(1; 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10);
    run.span("deep by type")
        .with("value", arrays)
        .with("after", 1)
        .ok();
    run.span("none")
        .with("value", Times(0))
        .with("after", 1)
        .ok();
    run.span("two")
        .with("value", Times(2))
        .with("after", 1)
        .ok();
    run.span("unharmed").with("after", 1).ok();
    run.ok();
    for name in ["deep", "deep by type", "none", "two", "unharmed"] {
        let span = one_span(&manager, name);
        assert_eq!(span.attributes.get("after"), Some(&Value::I64(1)), "{name}");
    }
    assert_eq!(one_span(&manager, "none").attributes.get("value"), None);
    assert_eq!(
        one_span(&manager, "two").attributes.get("value"),
        Some(&Value::I64(1))
    );
    assert_eq!(marked(&manager, dir.path()), 2);
    shut_and_verify(manager, dir.path());
}
