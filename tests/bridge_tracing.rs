//! What programs say with `tracing` is recorded: the real `tracing` and its registry, with our layer.
#![cfg(feature = "tracing-subscriber-0-3")]

#[path = "bridge_tracing/nesting.rs"]
mod nesting;

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use emberlog::{
    bridge::tracing_subscriber_0_3::{Layer, SpanExt},
    propagation::TraceContext,
    Config, Event, Filter, Manager, Span, SpanKind, Status, Trace, Value,
};
use tracing::{
    debug, debug_span, error, error_span, field, info, info_span, instrument, level_filters, warn,
    Instrument,
};
use tracing_subscriber::layer::SubscriberExt;

struct Recorded {
    manager: Manager,
    _dir: tempfile::TempDir,
}

impl Recorded {
    /// What `work` says with `tracing` on this thread.
    fn by(work: impl FnOnce(&Manager)) -> Self {
        Self::with(|layer| layer, work)
    }

    fn with(set: impl FnOnce(Layer) -> Layer, work: impl FnOnce(&Manager)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let manager = Manager::open(Config::new(dir.path())).unwrap();
        let layer = set(Layer::new(&manager));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || work(&manager));
        let recorded = Self { manager, _dir: dir };
        let stats = recorded.manager.stats();
        assert_eq!(stats.dropped_count, 0);
        recorded
    }

    fn traces(&self) -> Vec<Trace> {
        self.manager.query_traces(&Filter::new().all()).unwrap()
    }

    fn trace(&self, name: &str) -> Trace {
        let all = self.traces();
        let mut found = all.iter().filter(|trace| trace.name == name);
        let trace = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {all:?}"));
        assert!(found.next().is_none(), "two {name}");
        trace.clone()
    }

    fn span(&self, name: &str) -> Span {
        let all = self.manager.query_spans(&Filter::new().all()).unwrap();
        let mut found = all.iter().filter(|span| span.name == name);
        let span = found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {all:?}"));
        assert!(found.next().is_none(), "two {name}");
        span.clone()
    }

    fn event(&self, name: &str) -> Event {
        let all = self.manager.query_events(&Filter::new().all()).unwrap();
        let found = all.iter().find(|event| event.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {all:?}"))
            .clone()
    }
}

#[test]
fn a_root_is_a_trace_and_what_is_inside_are_its_spans() {
    let recorded = Recorded::by(|_| {
        let root = info_span!("serve", path = "/orders").entered();
        info_span!("read").in_scope(|| {
            info_span!("parse", rows = 3).in_scope(|| ());
        });
        info_span!("write").in_scope(|| ());
        drop(root);
        info_span!("another").in_scope(|| ());
    });
    let trace = recorded.trace("serve");
    let other = recorded.trace("another");
    assert_ne!(trace.trace_id, other.trace_id);
    assert_eq!(trace.status, Status::Ok);
    assert_eq!(trace.attributes.get("path"), Some(&"/orders".into()));
    let (read, parse) = (recorded.span("read"), recorded.span("parse"));
    assert_eq!((read.parent_span_id, read.status), (None, Status::Ok));
    assert_eq!(parse.parent_span_id, Some(read.span_id));
    assert_eq!(recorded.span("write").parent_span_id, None);
    for span in [&read, &parse] {
        assert_eq!(span.trace_id, trace.trace_id);
        assert!(span.start_ns >= trace.start_ns && span.end_ns() <= trace.end_ns);
    }
}

#[test]
fn fields_keep_their_types_also_when_they_come_late() {
    let recorded = Recorded::by(|_| {
        let _root = info_span!("root", late = field::Empty, never = field::Empty).entered();
        let span = info_span!(
            "typed",
            signed = -3,
            unsigned = u64::MAX,
            ratio = 0.5,
            yes = true,
            text = "plain",
            shown = %"shown",
            printed = ?Some(1),
            wide = i128::MAX,
            bytes = &b"\x01\xff"[..],
            late = field::Empty,
        );
        span.record("late", 7);
        span.record("signed", -4);
        tracing::Span::current().record("late", "root's");
    });
    let all = recorded.span("typed").attributes;
    let expected: &[(&str, Value)] = &[
        ("signed", Value::I64(-4)),
        ("unsigned", Value::U64(u64::MAX)),
        ("ratio", Value::F64(0.5)),
        ("yes", Value::Bool(true)),
        ("text", "plain".into()),
        ("shown", "shown".into()),
        ("printed", "Some(1)".into()),
        ("wide", i128::MAX.to_string().into()),
        ("bytes", Value::Bytes(vec![1, 255])),
        ("late", Value::I64(7)),
    ];
    for (key, value) in expected {
        assert_eq!(all.get(key), Some(value), "{key}");
    }
    let root = recorded.trace("root").attributes;
    assert_eq!(root.get("late"), Some(&"root's".into()));
    assert_eq!(root.get("never"), None);
}

#[derive(Debug)]
struct Refused(std::io::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

fn refused() -> Refused {
    Refused(std::io::Error::other("no route"))
}

#[instrument(err)]
fn fails() -> Result<(), Refused> {
    Err(refused())
}

/// Each way in which a span of `tracing` tells how it went.
#[test]
fn only_what_says_so_is_an_error() {
    let recorded = Recorded::by(|_| {
        let _root = info_span!("root").entered();
        info_span!("fine").in_scope(|| warn!("careful"));
        info_span!("event").in_scope(|| error!("it broke"));
        info_span!("event_with_error").in_scope(|| {
            let error = refused();
            error!(
                error = &error as &(dyn std::error::Error + 'static),
                "it broke"
            );
        });
        let _ = fails();
        info_span!("field", error = "bad input").in_scope(|| ());
        let late = info_span!("late_field", error = field::Empty);
        late.record("error", field::display("too late"));
        drop(late);
        info_span!("no_error", error = false).in_scope(|| ());
        info_span!("yes_error", error = true).in_scope(|| ());
        info_span!("code", otel.status_code = "ERROR").in_scope(|| ());
        info_span!("code_debug", otel.status_code = ?Status::Error).in_scope(|| ());
        info_span!("described", otel.status_description = "why").in_scope(|| ());
        info_span!("overruled", otel.status_code = "ok").in_scope(|| error!("not so bad"));
        info_span!("outer").in_scope(|| info_span!("inner").in_scope(|| error!("inner only")));
        let named = info_span!("named");
        info_span!("bystander").in_scope(|| error!(parent: &named, "elsewhere"));
    });
    let cases: &[(&str, Option<&str>)] = &[
        ("fine", None),
        ("event", Some("it broke")),
        ("event_with_error", Some("refused")),
        ("fails", Some("refused")),
        ("field", Some("bad input")),
        ("late_field", Some("too late")),
        ("no_error", None),
        ("yes_error", Some("true")),
        ("code", Some("")),
        ("code_debug", Some("")),
        ("described", Some("why")),
        ("overruled", None),
        ("outer", None),
        ("inner", Some("inner only")),
        ("named", Some("elsewhere")),
        ("bystander", None),
    ];
    for (name, error) in cases {
        let span = recorded.span(name);
        let expected = if error.is_some() {
            Status::Error
        } else {
            Status::Ok
        };
        assert_eq!(span.status, expected, "{name}");
        let message = span.error.as_ref().map(|error| error.message.as_str());
        assert_eq!(
            message.unwrap_or_default(),
            error.unwrap_or_default(),
            "{name}"
        );
    }
    assert_eq!(recorded.trace("root").status, Status::Ok);
    let error = recorded.span("event_with_error").error.unwrap();
    assert_eq!(error.chain, ["no route"]);
    // A root, and a panic.
    let recorded = Recorded::by(|_| {
        error_span!("failing").in_scope(|| error!("root"));
        let panicked = std::panic::catch_unwind(|| {
            let _root = info_span!("panicking").entered();
            let _span = info_span!("inside").entered();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.is_err());
    });
    let failing = recorded.trace("failing");
    assert_eq!(failing.status, Status::Error);
    assert_eq!(
        failing.attributes.get("exception.message"),
        Some(&"root".into())
    );
    assert_eq!(recorded.trace("panicking").status, Status::Error);
    assert_eq!(recorded.span("inside").status, Status::Error);
}

#[test]
fn names_and_kinds_of_opentelemetry_count() {
    let recorded = Recorded::by(|_| {
        let name = format!("GET {}", "/orders");
        let _root = info_span!("request", otel.name = name, otel.kind = "server").entered();
        let call = info_span!("call", otel.name = field::Empty, otel.kind = "Client").entered();
        call.record("otel.name", "SELECT orders");
        let _odd = info_span!("odd", otel.kind = "sideways").entered();
    });
    let root = recorded.trace("GET /orders");
    assert_eq!(root.attributes.get("emberlog.kind"), Some(&"server".into()));
    let call = recorded.span("SELECT orders");
    assert_eq!(call.kind, SpanKind::Client);
    let odd = recorded.span("odd");
    assert_eq!(odd.kind, SpanKind::Internal);
    assert_eq!(odd.attributes.get("otel.kind"), Some(&"sideways".into()));
}

#[test]
fn events_say_what_how_bad_and_where() {
    let long = "x".repeat(5000);
    let recorded = Recorded::by(|_| {
        info!("outside");
        let _root = info_span!("root").entered();
        info!(rows = 3, ratio = 0.5, "in the {}", "root");
        info!(name: "order.placed", target: "elsewhere", id = 7, "placed");
        let span = info_span!("inner").entered();
        warn!("inside");
        info!(parent: None, "nowhere");
        debug!("too fine");
        info!("{long}");
        drop(span);
        info!(only = "fields");
    });
    let (root, inner) = (recorded.trace("root"), recorded.span("inner"));
    let at = |name: &str| {
        let event = recorded.event(name);
        (event.trace_id, event.span_id)
    };
    assert_eq!(at("outside"), (None, None));
    assert_eq!(at("in the root"), (Some(root.trace_id), None));
    assert_eq!(at("inside"), (Some(root.trace_id), Some(inner.span_id)));
    assert_eq!(at("nowhere"), (None, None));
    let event = recorded.event("in the root");
    assert_eq!(event.event_type.as_str(), "log");
    for (key, value) in [
        ("rows", Value::I64(3)),
        ("ratio", Value::F64(0.5)),
        ("level", "INFO".into()),
        ("target", module_path!().into()),
    ] {
        assert_eq!(event.attributes.get(key), Some(&value), "{key}");
    }
    let placed = recorded.event("placed");
    assert_eq!(placed.event_type.as_str(), "order.placed");
    assert_eq!(placed.attributes.get("target"), Some(&"elsewhere".into()));
    let all = recorded.manager.query_events(&Filter::new().all()).unwrap();
    assert!(!all.iter().any(|event| event.name == "too fine"));
    let whole = all
        .iter()
        .find(|event| event.attributes.get("message") == Some(&long.as_str().into()));
    assert!(whole.is_some_and(|event| event.name.len() == 4096));
    let only = all
        .iter()
        .find(|event| event.attributes.get("only") == Some(&"fields".into()));
    assert!(only.is_some_and(|event| event.name.starts_with("event ")));
}

/// The level is that of this layer alone, and what is left out is no gap in the tree.
#[test]
fn the_default_is_info_and_what_is_finer_leaves_no_gap() {
    let work = |_: &Manager| {
        let _root = info_span!("root").entered();
        let _fine = debug_span!("fine").entered();
        let _inner = info_span!("inner").entered();
    };
    let recorded = Recorded::by(work);
    assert_eq!(recorded.span("inner").parent_span_id, None);
    assert_eq!(
        recorded
            .manager
            .query_spans(&Filter::new().all())
            .unwrap()
            .len(),
        1
    );
    let recorded = Recorded::with(
        |layer| layer.with_level(level_filters::LevelFilter::DEBUG),
        work,
    );
    let fine = recorded.span("fine");
    assert_eq!(recorded.span("inner").parent_span_id, Some(fine.span_id));
    // An explicit parent that is left out stands for what is above it.
    let recorded = Recorded::by(|_| {
        let root = info_span!("root");
        let fine = debug_span!(parent: &root, "fine");
        let inner = info_span!(parent: &fine, "inner");
        let _leaf = info_span!(parent: &inner, "leaf");
        let _apart = root.in_scope(|| info_span!(parent: None, "apart"));
    });
    let (root, inner) = (recorded.trace("root"), recorded.span("inner"));
    assert_eq!(
        (inner.trace_id, inner.parent_span_id),
        (root.trace_id, None)
    );
    assert_eq!(recorded.span("leaf").parent_span_id, Some(inner.span_id));
    assert_ne!(recorded.trace("apart").trace_id, root.trace_id);
}

#[test]
fn what_follows_from_something_links_to_it() {
    let recorded = Recorded::by(|_| {
        let cause = info_span!("cause");
        let _root = info_span!("root").entered();
        let effect = info_span!("effect").entered();
        effect.follows_from(&cause);
    });
    let (cause, effect) = (recorded.trace("cause"), recorded.span("effect"));
    let links = recorded.manager.query_links(&Filter::new().all()).unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(
        (links[0].trace_id, links[0].span_id),
        (effect.trace_id, Some(effect.span_id))
    );
    assert_eq!(
        (links[0].linked_trace_id, links[0].linked_span_id),
        (cause.trace_id, None)
    );
}

#[test]
fn a_root_continues_a_caller_and_passes_its_context_on() {
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sent = [
        ("traceparent", header),
        ("tracestate", "a=b"),
        ("baggage", "user=7"),
    ];
    let recorded = Recorded::by(|manager| {
        let caller = TraceContext::extract(&sent[..]);
        let root = info_span!("serve");
        assert!(root.continue_from(&caller));
        let _entered = root.enter();
        let inner = info_span!("inner");
        // Too late, and never for one that has a parent.
        assert!(!root.continue_from(&caller) && !inner.continue_from(&caller));
        let context = inner.trace_context();
        assert_eq!(context.trace_id(), caller.trace_id());
        assert_eq!(context.tracestate(), "a=b");
        assert_eq!(context.baggage().get("user"), Some("7"));
        let native = manager.current_run();
        let _inner = inner.enter();
        assert_eq!(native.context(), context);
        assert_ne!(root.trace_context().span_id(), context.span_id());
    });
    let trace = recorded.trace("serve");
    assert_eq!(trace.trace_id.to_string(), &header[3..35]);
    assert_eq!(
        trace.remote_parent.map(|id| id.to_string()).as_deref(),
        Some(&header[36..52])
    );
    assert_eq!(recorded.span("inner").trace_id, trace.trace_id);
}

struct Chatty;

impl fmt::Debug for Chatty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _span = info_span!("while_printing", inner = ?Some(1)).entered();
        error!("said while printing {:?}", Some(2));
        f.write_str("chatty")
    }
}

/// A value that uses `tracing` while it prints itself neither hangs nor spoils what is printed.
#[test]
fn values_may_use_tracing_while_they_print_themselves() {
    let recorded = Recorded::by(|_| {
        let _root = info_span!("root").entered();
        let span = info_span!("outer", value = ?Chatty, late = field::Empty).entered();
        span.record("late", field::debug(Chatty));
        info!(value = ?Chatty, "an {:?} event", Chatty);
    });
    let outer = recorded.span("outer").attributes;
    assert_eq!(outer.get("value"), Some(&"chatty".into()));
    assert_eq!(outer.get("late"), Some(&"chatty".into()));
    let event = recorded.event("an chatty event");
    assert_eq!(event.attributes.get("value"), Some(&"chatty".into()));
}

/// Two logs at once: each gets what its own subscriber hears, and a closed one costs nothing.
#[test]
fn a_closed_manager_hears_nothing_and_breaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let subscriber = tracing_subscriber::registry().with(Layer::new(&manager));
    tracing::subscriber::with_default(subscriber, || {
        let root = info_span!("root").entered();
        manager.shutdown().unwrap();
        info!("lost");
        info_span!("lost").in_scope(|| ());
        drop(root);
    });
    let subscriber = tracing_subscriber::registry().with(Layer::new(&Manager::disabled()));
    tracing::subscriber::with_default(subscriber, || {
        let root = info_span!("root").entered();
        error!("nothing");
        assert_eq!(root.trace_context(), TraceContext::default());
    });
}
