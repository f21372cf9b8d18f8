//! Agents: calls of language models and tools, and the steps of their reasoning, under the names
//! of OpenTelemetry's conventions for generative AI.

use std::{
    error::Error,
    fmt::{Debug, Display},
};

use super::{
    capture::Side,
    price::{Prices, Tokens},
};
use crate::{
    api::{ActiveSpan, ContextGuard, DetachedSpan, Run},
    record::{
        attributes::AttributeValue,
        id::SpanId,
        kinds::{SpanKind, Status},
        names::{Name, StaticName},
        wellknown,
    },
};

macro_rules! names {
    ($($name:ident = $text:literal,)*) => {
        $(static $name: StaticName = StaticName::new($text);)*
    };
}

names! {
    OPERATION = "gen_ai.operation.name",
    PROVIDER = "gen_ai.provider.name",
    AGENT_NAME = "gen_ai.agent.name",
    REQUEST_MODEL = "gen_ai.request.model",
    RESPONSE_MODEL = "gen_ai.response.model",
    INPUT_TOKENS = "gen_ai.usage.input_tokens",
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens",
    CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens",
    TOOL_NAME = "gen_ai.tool.name",
    TOOL_CALL_ID = "gen_ai.tool.call.id",
    STEP = "agent.step",
    COST = "agent.cost",
    COST_AGENT = "agent_name",
    COST_MODEL = "model",
}

/// What an agent does in a run. It belongs to the run; make one wherever it is needed.
///
/// ```
/// use emberlog::{instrument::{Agent, Price, Prices, Tokens}, Config, Manager};
/// # let manager = Manager::open(Config::create_memory())?;
/// // Dollars for a million tokens: input, output, input that came from a cache.
/// let prices = Prices::new().model("small-1", Price::new(0.15, 0.60).cached(0.075));
/// let run = manager.start_trace("support");
/// let agent = Agent::new(&run, "planner").provider("example").prices(&prices);
///
/// let mut call = agent.llm_call("small-1");
/// // ... asks the model ...
/// call.tokens(Tokens { input: 1200, cached_input: 1000, output: 80 });
/// call.ok();
/// let found = agent.call_tool("search", |tool| {
///     tool.input("rust telemetry");
///     Ok::<_, std::io::Error>(3)
/// })?;
/// agent.step("answer").ok();
/// run.ok();
/// # assert_eq!(found, 3);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a> {
    run: &'a Run,
    name: &'a str,
    provider: Option<&'a str>,
    prices: Option<&'a Prices>,
}

impl<'a> Agent<'a> {
    /// An agent in a run; of a graph's run, that is [`GraphRun::run`](super::GraphRun::run).
    pub fn new(run: &'a Run, name: &'a str) -> Self {
        Self {
            run,
            name,
            provider: None,
            prices: None,
        }
    }

    /// Sets whose models it asks, `gen_ai.provider.name`.
    #[must_use]
    pub fn provider(mut self, provider: &'a str) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Sets what tokens cost; without it, calls have the costs that they are told.
    #[must_use]
    pub fn prices(mut self, prices: &'a Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// A call of a language model begins: a span of kind `llm_call` named `chat MODEL`, below the
    /// innermost span that is open on this thread. It may end on any thread.
    pub fn llm_call(&self, model: &str) -> LlmCall<'a> {
        let mut span = self.begin(SpanKind::LlmCall, "chat", model);
        span.set(&REQUEST_MODEL, model);
        if let Some(provider) = self.provider {
            span.set(&PROVIDER, provider);
        }
        LlmCall {
            span: span.detach(self.run),
            agent: *self,
            model: self.run.is_recording().then(|| model.to_owned()),
        }
    }

    /// A tool begins: a span of kind `tool_call` named `execute_tool TOOL`. It may end on any
    /// thread.
    pub fn tool_call(&self, tool: &str) -> ToolCall {
        let mut span = self.begin(SpanKind::ToolCall, "execute_tool", tool);
        span.set(&TOOL_NAME, tool);
        ToolCall {
            span: span.detach(self.run),
        }
    }

    /// Runs `work` as a tool: its `Err` becomes the tool's error, and spans that begin inside are
    /// its children.
    ///
    /// # Errors
    /// What `work` returns.
    pub fn call_tool<T, E: Display + 'static>(
        &self,
        tool: &str,
        work: impl FnOnce(&mut ToolCall) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut tool = self.tool_call(tool);
        let scope = self.run.enter(tool.id());
        let result = work(&mut tool);
        drop(scope);
        tool.end_with(&result);
        result
    }

    /// A step of reasoning begins on this thread, and ends there: a span of kind `internal` with
    /// the attribute `agent.step`.
    pub fn step(&self, name: &str) -> ActiveSpan<'a> {
        if !self.run.is_recording() {
            return ActiveSpan::disabled();
        }
        self.run.span(name).with(&STEP, self.name)
    }

    fn begin(&self, kind: SpanKind, operation: &str, of: &str) -> ActiveSpan<'a> {
        if !self.run.is_recording() {
            return ActiveSpan::disabled();
        }
        let name = format!("{operation} {of}");
        let mut span = self.run.span(name.as_str()).with_kind(kind);
        span.set(&OPERATION, operation);
        span.set(&AGENT_NAME, self.name);
        span
    }
}

macro_rules! detached_call {
    ($ty:ty) => {
        impl $ty {
            /// The span's id; `None` when nothing is recorded.
            pub fn id(&self) -> Option<SpanId> {
                self.span.id()
            }

            /// Makes spans that begin on this thread its children until the guard is dropped.
            pub fn enter(&self) -> ContextGuard<'_> {
                self.span.enter()
            }

            /// Sets an attribute.
            pub fn set<'n>(&mut self, key: impl Into<Name<'n>>, value: impl AttributeValue) {
                self.span.set(key, value);
            }

            /// Keeps what goes in, as far as `capture_inputs` and `capture_sizes` want it.
            pub fn input<T: Debug + ?Sized>(&mut self, value: &T) {
                self.keep(Side::Input, value);
            }

            /// Keeps what comes out, as far as `capture_outputs` and `capture_sizes` want it.
            pub fn output<T: Debug + ?Sized>(&mut self, value: &T) {
                self.keep(Side::Output, value);
            }

            fn keep<T: Debug + ?Sized>(&mut self, side: Side, value: &T) {
                let capture = self.span.run().capture();
                if capture.wants(side) {
                    capture.write(side, value, &mut self.span);
                }
            }

            /// Ends it: it succeeded.
            pub fn ok(self) {
                self.span.ok();
            }

            /// Ends it: it failed. Type, message and causes of the error are kept.
            pub fn fail<E: Error + 'static>(self, error: &E) {
                self.span.fail(error);
            }

            /// Ends it as `result` went.
            pub fn end_with<T, E: Display + 'static>(self, result: &Result<T, E>) {
                self.span.end_with(result);
            }

            /// Ends it as `status`.
            pub fn end(self, status: Status) {
                self.span.end(status);
            }
        }
    };
}

/// A call of a language model, begun by [`Agent::llm_call`]; readers derive `llm.request` and
/// `llm.response` from it. Dropped without a verdict it is cancelled.
#[derive(Debug)]
#[must_use = "a call lasts until it is dropped"]
pub struct LlmCall<'a> {
    span: DetachedSpan,
    agent: Agent<'a>,
    /// None where nothing is recorded.
    model: Option<String>,
}

detached_call!(LlmCall<'_>);

impl LlmCall<'_> {
    /// Says which model answered, if it is not the one that was asked.
    pub fn response_model(&mut self, model: &str) {
        self.span.set(&RESPONSE_MODEL, model);
        if let Some(known) = &mut self.model {
            model.clone_into(known);
        }
    }

    /// Says how many tokens went in and came out, once, and with them what they cost: a counter
    /// `agent.cost` in usd, where the price table knows the model.
    pub fn tokens(&mut self, tokens: Tokens) {
        self.span.set(&INPUT_TOKENS, tokens.input);
        self.span.set(&OUTPUT_TOKENS, tokens.output);
        if tokens.cached_input > 0 {
            self.span.set(&CACHED_TOKENS, tokens.cached_input);
        }
        let price = self.model.as_deref().zip(self.agent.prices);
        if let Some(price) = price.and_then(|(model, prices)| prices.of(model)) {
            self.cost(price.cost(tokens));
        }
    }

    /// Says what it cost in dollars, where no price table can tell.
    pub fn cost(&mut self, usd: f64) {
        let Some(model) = &self.model else { return };
        self.agent
            .run
            .metric(&COST)
            .unit(Name::of_id(wellknown::USD))
            .in_span(self.span.id())
            .with(&COST_AGENT, self.agent.name)
            .with(&COST_MODEL, model.as_str())
            .counter(usd);
    }
}

/// An execution of a tool, begun by [`Agent::tool_call`]; readers derive `tool.executed` from it.
/// Dropped without a verdict it is cancelled.
#[derive(Debug)]
#[must_use = "a tool runs until it is dropped"]
pub struct ToolCall {
    span: DetachedSpan,
}

detached_call!(ToolCall);

impl ToolCall {
    /// Says by which id the model asked for it.
    pub fn call_id(&mut self, id: &str) {
        self.span.set(&TOOL_CALL_ID, id);
    }
}
