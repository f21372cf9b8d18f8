//! Traces that go on in other processes: what W3C Trace Context and W3C Baggage say of each header,
//! and that a run follows.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
};

use emberlog::{
    propagation::{Environment, TraceContext},
    Config, Filter, Manager, SpanId, TraceId,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn with_parent(traceparent: &str) -> TraceContext {
    TraceContext::extract(&[("traceparent", traceparent)][..])
}

/// The tracestate that comes out beside a good parent.
fn state(headers: &[&str]) -> String {
    let mut sent = vec![("traceparent", GOOD)];
    sent.extend(headers.iter().map(|header| ("tracestate", *header)));
    let context = TraceContext::extract(&sent);
    assert_eq!(context.trace_id(), Some(TRACE.parse().unwrap()));
    context.tracestate().to_owned()
}

/// <https://www.w3.org/TR/trace-context-1/>, 3.2: each row a header and the flags that come of it.
/// The cases are those of the specification's own suite (`test_traceparent_*`).
#[test]
fn traceparent() {
    let good = |version: &str, flags: &str| format!("{version}-{TRACE}-{SPAN}-{flags}");
    let cases: &[(&str, String, Option<bool>)] = &[
        ("the recommendation's example", GOOD.into(), Some(true)),
        ("not sampled", good("00", "00"), Some(false)),
        ("unknown flags", good("00", "ff"), Some(true)),
        ("unknown flags without ours", good("00", "f8"), Some(false)),
        ("blanks around", format!(" \t{GOOD}\t "), Some(true)),
        ("nothing", String::new(), None),
        ("version 255", good("ff", "01"), None),
        ("a later version", good("cc", "01"), Some(true)),
        (
            "a later version that says more",
            good("cc", "01-what-the-future"),
            Some(true),
        ),
        (
            "a later version with an empty rest",
            good("cc", "01-"),
            Some(true),
        ),
        (
            "a later version, more without a dash",
            good("cc", "01.what"),
            None,
        ),
        ("version 0 that says more", good("00", "01-what"), None),
        ("version 0 with an empty rest", good("00", "01-"), None),
        ("no version", good(".0", "01"), None),
        ("a short version", good("0", "01"), None),
        ("a long version", good("000", "01"), None),
        (
            "trace id of zeros",
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            None,
        ),
        ("trace id in upper case", GOOD.replace("bf", "BF"), None),
        (
            "trace id with a dot",
            format!("00-.{}-{SPAN}-01", &TRACE[1..]),
            None,
        ),
        (
            "trace id with a sign",
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
            None,
        ),
        (
            "a short trace id",
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            None,
        ),
        ("a long trace id", format!("00-{TRACE}0-{SPAN}-01"), None),
        (
            "span id of zeros",
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            None,
        ),
        (
            "span id with a dot",
            format!("00-{TRACE}-.{}-01", &SPAN[1..]),
            None,
        ),
        (
            "a short span id",
            format!("00-{TRACE}-{}-01", &SPAN[1..]),
            None,
        ),
        ("a long span id", format!("00-{TRACE}-{SPAN}0-01"), None),
        ("flags with a dot", good("00", ".0"), None),
        ("short flags", good("00", "1"), None),
        ("long flags", good("00", "001"), None),
        ("flags in upper case", good("00", "0A"), None),
        ("no dashes", GOOD.replace('-', "_"), None),
        ("letters that are more than a byte", "ä".repeat(40), None),
    ];
    for (what, header, expected) in cases {
        let context = with_parent(header);
        assert_eq!(context.trace_id().is_some(), expected.is_some(), "{what}");
        if let Some(sampled) = expected {
            assert_eq!(context.trace_id(), Some(TRACE.parse().unwrap()), "{what}");
            assert_eq!(context.span_id(), Some(SPAN.parse().unwrap()), "{what}");
            assert_eq!(context.is_sampled(), *sampled, "{what}");
        }
    }
    // Two are one too many, also when they say the same.
    let twice = TraceContext::extract(&[("traceparent", GOOD), ("TraceParent", GOOD)][..]);
    assert_eq!(twice, TraceContext::default());
}

/// 3.3: each row headers and the list that is passed on; malformed lists are not.
/// The cases are those of the specification's own suite (`test_tracestate_*`).
#[test]
fn tracestate() {
    let members = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| format!("bar{i:02}={i:02}")).collect();
        all.join(",")
    };
    let long = |key: usize, value: usize| format!("{}={}", "z".repeat(key), "v".repeat(value));
    let tenant = |t: usize, s: usize| format!("{}@{}=1", "t".repeat(t), "v".repeat(s));
    let kept: &[&str] = &[
        "foo=1",
        "foo=1,bar=2",
        "foo=1,foo=2",
        "0tenant@system=1",
        "a_b-c*d/e=1",
        "foo=with blank inside",
        "foo=!\"#$%&'()*+-./:;<>?@[]^_`{|}~",
        &members(32),
        &long(256, 256),
        &tenant(241, 14),
    ];
    for header in kept {
        assert_eq!(state(&[header]), *header);
    }
    assert_eq!(state(&["foo=1", "bar=2"]), "foo=1,bar=2");
    assert_eq!(state(&["foo=1 \t, \t bar=2 ,, ", ""]), "foo=1,bar=2");
    let refused: &[&str] = &[
        "foo",
        "=1",
        "foo=",
        "foo=bar=baz",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "0foo=1",
        "foo@=1",
        "@foo=1",
        "foo@@bar=1",
        "foo@bar@baz=1",
        "foo@0bar=1",
        "foo=\u{e4}",
        "foo=1\u{7f}",
        "good=1,foo",
        &members(33),
        &long(257, 1),
        &long(1, 257),
        &tenant(242, 1),
        &tenant(1, 15),
    ];
    for header in refused {
        assert_eq!(state(&[header]), "", "{header}");
    }
    // Without a parent it is not even read.
    let alone = TraceContext::extract(&[("tracestate", "foo=1")][..]);
    assert_eq!(alone, TraceContext::default());
}

/// <https://www.w3.org/TR/baggage/>, 3.3: what is malformed is left out, the rest stays.
#[test]
fn baggage() {
    let read = |header: &str| {
        let context = TraceContext::extract(&[("baggage", header)][..]);
        let all = context.baggage().iter();
        all.map(|member| format!("{}:{}:{}", member.key, member.value, member.properties))
            .collect::<Vec<_>>()
            .join("|")
    };
    let cases = [
        ("key1=value1,key2=value2", "key1:value1:|key2:value2:"),
        (
            "key1 = value1 ;property1;p2=v2 , key2=2",
            "key1:value1:property1;p2=v2|key2:2:",
        ),
        (
            "serverNode=DF%2028,userId=Am%C3%A9lie",
            "serverNode:DF 28:|userId:Amélie:",
        ),
        ("a=100%,b=%zz,c=%4", "a:100%:|b:%zz:|c:%4:"),
        ("bad=%ff", "bad:\u{fffd}:"),
        ("empty=", "empty::"),
        ("k=a=b", "k:a=b:"),
        ("no value,=1,k y=1,good=1", "good:1:"),
        ("twice=1,other=2,twice=3", "other:2:|twice:3:"),
        ("q=\"x\",y=2", "y:2:"),
    ];
    for (header, expected) in cases {
        assert_eq!(read(header), expected, "{header}");
    }
    // It comes back as it went, whatever is in it, and stays within the limits.
    let mut context = TraceContext::default();
    context.baggage_mut().set("user", "Amélie, 100% ;=\"\\\n");
    context.baggage_mut().set("not a token", "x");
    let mut headers = BTreeMap::new();
    context.inject(&mut headers);
    assert_eq!(headers.len(), 1);
    assert!(headers["baggage"].is_ascii());
    let back = TraceContext::extract(&headers);
    assert_eq!(back.baggage().get("user"), Some("Amélie, 100% ;=\"\\\n"));
    for i in 0..400 {
        context.baggage_mut().set(&format!("k{i}"), &"v".repeat(40));
    }
    context.inject(&mut headers);
    assert!(headers["baggage"].len() <= 8192);
    let members = TraceContext::extract(&headers).baggage().iter().count();
    assert!((150..=180).contains(&members), "{members}");
}

#[test]
fn a_run_goes_on_where_its_caller_was_and_hands_everything_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let sent = HashMap::from([
        ("Traceparent".to_owned(), GOOD.to_owned()),
        ("tracestate".to_owned(), "congo=t61rcWkgMzE".to_owned()),
        ("baggage".to_owned(), "user=7".to_owned()),
    ]);
    let caller = TraceContext::extract(&sent);
    let run = manager.start_trace_with("serve", &caller.options());
    assert_eq!(run.trace_id(), caller.trace_id());
    let mut headers = sent.clone();
    let outer = run.span("outer");
    run.context().inject(&mut headers);
    let expected = format!("00-{TRACE}-{}-01", outer.id().unwrap());
    assert_eq!(headers.len(), 3);
    assert_eq!(headers["traceparent"], expected);
    assert_eq!(headers["tracestate"], "congo=t61rcWkgMzE");
    assert_eq!(headers["baggage"], "user=7");
    // Of a span on another thread, and of the trace itself.
    let id = outer.id();
    assert_eq!(run.context_of(id), run.context());
    let whole = run.context_of(None).span_id().unwrap();
    outer.ok();
    assert_eq!(run.context().span_id(), Some(whole));
    run.ok();
    let row = &manager.query_traces(&Filter::new()).unwrap()[0];
    assert_eq!(row.remote_parent, Some(SPAN.parse::<SpanId>().unwrap()));
    assert_eq!(row.trace_id, TRACE.parse::<TraceId>().unwrap());

    // The next run of this thread knows nothing of it.
    let fresh = manager.start_trace("fresh");
    let context = fresh.context();
    assert_ne!(context.trace_id(), caller.trace_id());
    assert_eq!(
        (context.tracestate(), context.baggage().is_empty()),
        ("", true)
    );
    assert!(context.is_sampled());
    // Baggage travels without a trace, too.
    let alone = TraceContext::extract(&[("baggage", "user=8")][..]);
    let run = manager.start_trace_with("serve", &alone.options());
    assert_eq!(run.context().baggage().get("user"), Some("8"));
    assert_ne!(run.trace_id(), None);
    // Where nothing is recorded, nothing is sent.
    let nothing = Manager::disabled().start_trace("x").context();
    assert_eq!(nothing, TraceContext::default());
    let mut headers = Vec::new();
    nothing.inject(&mut headers);
    assert!(headers.is_empty());
}

/// A child process gets the context in its environment, and this test's own program reads it.
#[test]
fn a_child_process_goes_on() {
    if std::env::var_os("EMBERLOG_TEST_CHILD").is_some() {
        let context = TraceContext::extract(&Environment);
        print!("{context:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::open(Config::new(dir.path())).unwrap();
    let mut context = with_parent(GOOD);
    context.baggage_mut().set("user", "7");
    let run = manager.start_trace_with("parent", &context.options());
    let span = run.span("spawn");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_child_process_goes_on", "--nocapture"]);
    child.env("EMBERLOG_TEST_CHILD", "1");
    run.context().inject(&mut child);
    let output = child.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let expected = format!("{:?}", run.context());
    assert!(printed.contains(&expected), "{printed}\nlacks {expected}");
    assert!(expected.contains(TRACE) && expected.contains(&span.id().unwrap().to_string()));
    assert!(expected.contains("user"));
}
