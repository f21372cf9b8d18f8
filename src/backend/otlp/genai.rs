//! The names that OpenTelemetry's conventions for generative AI give to what spans of language
//! models, tools and agents say, beside the names that were recorded.

use super::{encode::Out, values::Pairs};
use crate::{
    model::Span,
    record::{kinds::SpanKind, value::Value},
};

/// Convention, then the names that people record it under.
type Names = [(&'static str, &'static [&'static str])];

const LLM: &Names = &[
    (
        "gen_ai.request.model",
        &[
            "model",
            "model_id",
            "llm.model",
            "model_name",
            "llm.model_name",
        ],
    ),
    (
        "gen_ai.response.model",
        &["response_model", "llm.response.model"],
    ),
    (
        "gen_ai.provider.name",
        &["provider", "llm.provider", "gen_ai.system"],
    ),
    (
        "gen_ai.usage.input_tokens",
        &[
            "input_tokens",
            "prompt_tokens",
            "tokens.input",
            "tokens_in",
            "llm.input_tokens",
        ],
    ),
    (
        "gen_ai.usage.output_tokens",
        &[
            "output_tokens",
            "completion_tokens",
            "tokens.output",
            "tokens_out",
            "llm.output_tokens",
        ],
    ),
    (
        "gen_ai.request.temperature",
        &["temperature", "llm.temperature"],
    ),
    ("gen_ai.request.top_p", &["top_p"]),
    (
        "gen_ai.request.max_tokens",
        &["max_tokens", "llm.max_tokens"],
    ),
    ("gen_ai.response.id", &["response_id"]),
    ("gen_ai.conversation.id", &["conversation_id", "session_id"]),
];

const TOOL: &Names = &[
    ("gen_ai.tool.name", &["tool.name", "tool_name", "tool"]),
    (
        "gen_ai.tool.call.id",
        &["tool.call_id", "tool_call_id", "call_id"],
    ),
    (
        "gen_ai.tool.description",
        &["tool.description", "tool_description"],
    ),
];

const AGENT: &Names = &[
    ("gen_ai.agent.name", AGENT_NAME),
    ("gen_ai.agent.id", &["agent.id", "agent_id"]),
    ("gen_ai.request.model", &["model", "model_id", "llm.model"]),
    ("gen_ai.conversation.id", &["conversation_id", "session_id"]),
];

/// What makes a span that of an agent.
const AGENT_NAME: &[&str] = &["agent.name", "agent_name"];

const OPERATION: &str = "gen_ai.operation.name";

/// Adds the conventional names of what `span` says; nothing that it has already.
pub(super) fn add<O: Out>(pairs: &mut Pairs<'_, O>, span: &Span) {
    let attributes = &span.attributes;
    let (operation, names) = match span.kind {
        SpanKind::LlmCall => ("chat", LLM),
        SpanKind::ToolCall => ("execute_tool", TOOL),
        SpanKind::NodeExecution | SpanKind::GraphRun | SpanKind::Internal => {
            let names_agent =
                |(key, _): (&str, &Value)| AGENT_NAME.contains(&key) || key == "gen_ai.agent.name";
            if !attributes.iter().any(names_agent) {
                return;
            }
            ("invoke_agent", AGENT)
        }
        _ => return,
    };
    if attributes.get(OPERATION).is_none() {
        let said = attributes.first_of(&["operation", "llm.operation"]);
        let said = said
            .and_then(Value::as_str)
            .filter(|_| span.kind == SpanKind::LlmCall);
        pairs.text(OPERATION, said.unwrap_or(operation));
    }
    for (name, spellings) in names {
        if attributes.get(name).is_none() {
            if let Some(value) = attributes.first_of(spellings) {
                pairs.value(name, value);
            } else if *name == "gen_ai.tool.name" {
                pairs.text(name, &span.name);
            }
        }
    }
}
