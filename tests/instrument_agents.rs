//! Agents: what calls of models and tools say, and what they cost.

use std::io;

use emberlog::{
    analysis::Analyzer,
    instrument::{Agent, Observer, Price, Prices, Tokens},
    Config, Filter, Manager, Metric, Span, SpanKind, Status, Value,
};

fn manager() -> Manager {
    Manager::open(Config::create_memory()).unwrap()
}

fn one(manager: &Manager, kind: SpanKind) -> Span {
    let mut found = manager.query_spans(&Filter::new().all()).unwrap();
    found.retain(|span| span.kind == kind);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn metrics(manager: &Manager, name: &str) -> Vec<Metric> {
    manager
        .query_metrics(&Filter::new().name(name).all())
        .unwrap()
}

fn has(attributes: &emberlog::AttributeMap, expected: &[(&str, Value)]) {
    for (key, value) in expected {
        assert_eq!(attributes.get(key), Some(value), "{key}");
    }
}

#[test]
fn a_call_of_a_model_has_the_names_of_the_conventions_tokens_and_a_cost() {
    let manager = manager();
    let prices = Prices::new().model("small-1", Price::new(2.0, 10.0).cached(0.5));
    let run = manager.start_trace("chat");
    let agent = Agent::new(&run, "planner")
        .provider("example")
        .prices(&prices);
    let outer = run.node("think");
    let mut call = agent.llm_call("small-1");
    call.set("gen_ai.request.temperature", 0.5);
    call.response_model("small-1-2026-01-01");
    call.tokens(Tokens {
        input: 3000,
        cached_input: 1000,
        output: 500,
    });
    call.ok();
    let parent = outer.id();
    outer.ok();
    let trace = run.trace_id();
    run.ok();

    let span = one(&manager, SpanKind::LlmCall);
    assert_eq!(
        (span.name.as_str(), span.status),
        ("chat small-1", Status::Ok)
    );
    assert_eq!(span.parent_span_id, parent);
    let expected = [
        ("gen_ai.operation.name", "chat".into()),
        ("gen_ai.provider.name", "example".into()),
        ("gen_ai.agent.name", "planner".into()),
        ("gen_ai.request.model", "small-1".into()),
        ("gen_ai.response.model", "small-1-2026-01-01".into()),
        ("gen_ai.request.temperature", 0.5.into()),
        ("gen_ai.usage.input_tokens", 3000u64.into()),
        ("gen_ai.usage.cache_read.input_tokens", 1000u64.into()),
        ("gen_ai.usage.output_tokens", 500u64.into()),
    ];
    has(&span.attributes, &expected);

    let costs = metrics(&manager, "agent.cost");
    assert_eq!(costs.len(), 1);
    let cost = &costs[0];
    assert!((cost.value - (2000.0 * 2.0 + 1000.0 * 0.5 + 500.0 * 10.0) / 1e6).abs() < 1e-12);
    assert_eq!(cost.unit, "usd");
    assert_eq!(cost.aggregation, emberlog::Aggregation::Counter);
    assert_eq!((cost.trace_id, cost.span_id), (trace, Some(span.span_id)));
    let names = [
        ("agent_name", "planner".into()),
        ("model", "small-1-2026-01-01".into()),
    ];
    has(&cost.attributes, &names);

    for (event_type, name) in [
        ("llm.request", "chat small-1 requested"),
        ("llm.response", "chat small-1 responded"),
    ] {
        let events = manager.query_events(&Filter::new().event_type(event_type));
        assert_eq!(events.unwrap()[0].name, name);
    }
}

#[test]
fn a_model_without_a_price_costs_what_it_is_told_to() {
    let manager = manager();
    let prices = Prices::new().model("known", Price::new(1.0, 1.0));
    let run = manager.start_trace("chat");
    let agent = Agent::new(&run, "a").prices(&prices);
    let mut call = agent.llm_call("unknown");
    call.tokens(Tokens {
        input: 10,
        cached_input: 0,
        output: 10,
    });
    assert!(metrics(&manager, "agent.cost").is_empty());
    call.cost(0.25);
    call.fail(&io::Error::other("overloaded"));
    run.ok();
    assert_eq!(metrics(&manager, "agent.cost")[0].value, 0.25);
    let span = one(&manager, SpanKind::LlmCall);
    assert_eq!(span.error.unwrap().message, "overloaded");
    let cached = "gen_ai.usage.cache_read.input_tokens";
    assert_eq!(span.attributes.get(cached), None);
    let failed = manager.query_events(&Filter::new().event_type("error.occurred"));
    assert_eq!(failed.unwrap()[0].name, "chat unknown failed");
}

#[test]
fn tools_and_steps_are_spans_and_what_begins_inside_a_tool_is_below_it() {
    let manager = manager();
    let run = manager.start_trace("act");
    let agent = Agent::new(&run, "actor");
    let step = agent.step("plan");
    let sum = agent.call_tool("add", |tool| {
        tool.call_id("call-7");
        run.span("inner").ok();
        Ok::<_, io::Error>(1 + 2)
    });
    assert_eq!(sum.unwrap(), 3);
    step.ok();
    run.ok();

    let tool = one(&manager, SpanKind::ToolCall);
    assert_eq!(tool.name, "execute_tool add");
    let expected = [
        ("gen_ai.operation.name", "execute_tool".into()),
        ("gen_ai.tool.name", "add".into()),
        ("gen_ai.tool.call.id", "call-7".into()),
        ("gen_ai.agent.name", "actor".into()),
    ];
    has(&tool.attributes, &expected);
    let spans = manager.query_spans(&Filter::new().all()).unwrap();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(named("inner").parent_span_id, Some(tool.span_id));
    let step = named("plan");
    assert_eq!(tool.parent_span_id, Some(step.span_id));
    has(&step.attributes, &[("agent.step", "actor".into())]);
    let executed = manager.query_events(&Filter::new().event_type("tool.executed"));
    assert_eq!(executed.unwrap()[0].name, "execute_tool add executed");
}

/// What is recorded is what the analysis reads.
#[test]
fn the_analysis_adds_up_tokens_and_costs_by_node_and_model() {
    let manager = manager();
    let prices = Prices::new().model("m", Price::new(1.0, 1.0));
    let graph = Observer::new(&manager, "agent");
    let node = graph.node("think");
    for _ in 0..2 {
        let run = graph.start();
        run.call(&node, |_| {
            let mut call = Agent::new(run.run(), "a").prices(&prices).llm_call("m");
            call.tokens(Tokens {
                input: 600_000,
                cached_input: 0,
                output: 400_000,
            });
            call.ok();
            Ok::<_, io::Error>(())
        })
        .unwrap();
        run.ok();
    }
    let reader = manager.reader().unwrap().unwrap();
    let analysis = Analyzer::new().min_executions(1).log(&reader).unwrap();
    let report = analysis.report.unwrap();
    assert_eq!(report.total_cost, Some(2.0));
    let node = report.node_metrics.iter().find(|n| n.node_id == "think");
    assert_eq!(node.unwrap().cost, Some(2.0));
    let model = report.models.iter().find(|model| model.model == "m");
    assert_eq!(model.unwrap().input_tokens, 1_200_000);
}

#[test]
fn an_agent_of_a_run_that_records_nothing_does_nothing() {
    let run = emberlog::Run::disabled();
    let agent = Agent::new(&run, "nobody");
    let mut call = agent.llm_call("m");
    call.tokens(Tokens::default());
    call.cost(1.0);
    assert!(call.id().is_none());
    call.ok();
    assert!(agent.step("s").id().is_none());
    assert_eq!(agent.call_tool("t", |_| Ok::<_, io::Error>(1)).unwrap(), 1);
}
