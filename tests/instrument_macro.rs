//! The attribute macro. One test records, because the process has one instance.
#![cfg(feature = "macros")]

use std::{
    fmt, io,
    task::{Context, Poll, Waker},
};

use emberlog::{Config, Filter, Span, SpanId, SpanKind, Status};

type Failed = Result<u32, io::Error>;

#[emberlog::trace]
fn plain(n: u32) -> u32 {
    if n > 100 {
        return n;
    }
    n + 1
}

#[emberlog::trace(name = "parse text", kind = "tool_call", fields(length = text.len(), "app.unit" = "bytes"))]
fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
    let number: u32 = text.parse()?;
    Ok(plain(number))
}

#[emberlog::trace(err)]
fn aliased() -> Failed {
    Err(io::Error::other("aliased"))
}

/// Has no `Debug`.
struct Opaque;

#[emberlog::trace(skip(secret))]
fn arguments(shown: &str, secret: &str, mut opaque: Opaque, _ignored: u8, (a, b): (u8, u8)) -> u8 {
    let Opaque = &mut opaque;
    let _ = (shown, secret);
    a + b
}

#[emberlog::trace(skip_all)]
fn nothing_kept<T: fmt::Display>(value: T) -> String {
    value.to_string()
}

#[emberlog::trace]
async fn fetch(times: u32) -> io::Result<u32> {
    plain(times);
    if times == 0 {
        return Err(io::Error::other("never"));
    }
    Ok(times)
}

#[emberlog::trace]
async fn count<'a>(text: &'a str) -> &'a str {
    &text[..1]
}

#[emberlog::trace]
fn panics() -> u32 {
    panic!("on purpose")
}

struct Counter(u32);

impl Counter {
    #[emberlog::trace]
    fn add(&mut self, n: u32) -> Result<&u32, fmt::Error> {
        self.0 += n;
        Ok(&self.0)
    }

    #[emberlog::trace]
    async fn add_later(&mut self, n: u32) {
        self.0 += n;
    }
}

fn ready<F: std::future::Future>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn call_all() {
    assert_eq!(plain(1), 2);
    assert_eq!(plain(101), 101);
    assert_eq!(parse("41").unwrap(), 42);
    assert!(parse("x").is_err());
    assert!(aliased().is_err());
    assert_eq!(arguments("seen", "hidden", Opaque, 1, (2, 3)), 5);
    assert_eq!(nothing_kept(7), "7");
    assert_eq!(ready(fetch(2)).unwrap(), 2);
    assert!(ready(fetch(0)).is_err());
    assert_eq!(ready(count("abc")), "a");
    assert!(std::panic::catch_unwind(panics).is_err());
    let mut counter = Counter(1);
    assert_eq!(counter.add(2).unwrap(), &3);
    ready(counter.add_later(4));
    assert_eq!(counter.0, 7);
    drop(fetch(1));
}

#[test]
fn functions_are_spans_of_the_instance_and_nothing_before_it_is_there() {
    call_all();
    let config = Config::create_memory().capture_inputs(true);
    let manager = emberlog::init(config).unwrap();
    assert!(manager.query_spans(&Filter::new()).unwrap().is_empty());
    call_all();

    let spans = manager.query_spans(&Filter::new().all()).unwrap();
    let named = |name: &str| -> Vec<&Span> {
        let mut found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        found.sort_by_key(|span| span.start_ns);
        found
    };
    let children = |of: SpanId| spans.iter().filter(move |s| s.parent_span_id == Some(of));

    // Each call outside of any span is a trace of its own.
    let trace = manager.get_trace(named("plain")[0].trace_id).unwrap();
    let trace = trace.unwrap().trace;
    assert_eq!((trace.name.as_str(), trace.status), ("plain", Status::Ok));
    let [good, bad] = named("parse text")[..] else {
        panic!("two calls: {spans:?}")
    };
    assert_eq!((good.kind, good.status), (SpanKind::ToolCall, Status::Ok));
    assert_eq!(good.attributes.get("length"), Some(&2u64.into()));
    assert_eq!(good.attributes.get("app.unit"), Some(&"bytes".into()));
    let inner: Vec<_> = children(good.span_id).collect();
    assert_eq!((inner.len(), inner[0].name.as_str()), (1, "plain"));
    assert_eq!(inner[0].trace_id, good.trace_id);
    let error = bad.error.as_ref().unwrap();
    assert_eq!(error.message, "invalid digit found in string");
    let trace = manager.get_trace(bad.trace_id).unwrap().unwrap().trace;
    assert_eq!(trace.status, Status::Error);
    assert_eq!(
        named("aliased")[0].error.as_ref().unwrap().message,
        "aliased"
    );

    let inputs = named("arguments")[0].attributes.get("inputs");
    assert_eq!(inputs, Some(&"{shown: \"seen\", opaque: _}".into()));
    let inputs = named("nothing_kept")[0].attributes.get("inputs");
    assert_eq!(inputs, Some(&"{}".into()));

    let [good, bad] = named("fetch")[..] else {
        panic!("a future that is never polled is no call")
    };
    assert_eq!(good.status, Status::Ok);
    assert!(good.attributes.get("busy_ns").is_some());
    assert_eq!(children(good.span_id).count(), 1);
    assert_eq!(bad.error.as_ref().unwrap().message, "never");
    assert_eq!(named("count")[0].status, Status::Ok);
    assert_eq!(named("panics")[0].status, Status::Error);
    assert_eq!(named("add").len(), 1);
    assert_eq!(named("add_later")[0].status, Status::Ok);

    // Below a span that the program opened itself, on any thread.
    let run = manager.start_trace("outer");
    let span = run.span("caller");
    plain(5);
    let parent = span.id();
    let there = span.detach(&run);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _inside = there.enter();
            plain(6);
        });
    });
    there.ok();
    let trace = run.trace_id().unwrap();
    let outer = manager.get_trace(trace).unwrap().unwrap().trace;
    assert!(
        outer.is_active(),
        "a call on another thread does not end it"
    );
    run.ok();
    let filter = Filter::new().trace_id(trace).name("plain").all();
    let below = manager.query_spans(&filter).unwrap();
    assert_eq!(below.len(), 2, "{below:?}");
    assert!(below.iter().all(|span| span.parent_span_id == parent));
    let outer = manager.get_trace(trace).unwrap().unwrap().trace;
    assert_eq!((outer.name.as_str(), outer.status), ("outer", Status::Ok));

    emberlog::reset().unwrap();
    call_all();
    assert!(!emberlog::global().is_recording());
}
