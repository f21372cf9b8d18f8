//! The filters that `query` and `export` share.

use std::time::Duration;

use clap::Args;
use emberlog::SpanKind;

use crate::time::parse_duration;

/// Which rows are meant.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Name: exact, or with * for anything
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Status: ok, error, unset, active, orphaned or cancelled (traces, spans)
    #[arg(long)]
    pub status: Option<String>,
    /// Kind of span: node_execution, llm_call, tool_call, ... (spans)
    #[arg(long)]
    pub kind: Option<SpanKind>,
    /// Type of event: node.failed, edge.taken, llm.request, ... (events)
    #[arg(long, value_name = "TYPE")]
    pub r#type: Option<String>,
    /// Only this trace: its id, a unique prefix of it, or the text it was made from
    #[arg(long, value_name = "ID")]
    pub trace_id: Option<String>,
    /// Only this span, or what belongs to it
    #[arg(long, value_name = "ID")]
    pub span_id: Option<emberlog::SpanId>,
    /// Started at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Started at or before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Took at least this long, such as 10ms or 1.5s (traces, spans)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_hyphen_values = true)]
    pub min_duration: Option<Duration>,
    /// Has this attribute; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub attr: Vec<(String, String)>,
    /// Only of this graph
    #[arg(long, value_name = "GRAPH")]
    pub graph: Option<String>,
    /// Only of this version of the graph
    #[arg(long, value_name = "VERSION")]
    pub graph_version: Option<String>,
    /// Only of this node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only with this type of error; the last segment of its path will do
    #[arg(long, value_name = "TYPE")]
    pub error_type: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::key_value;

    #[test]
    fn keys_and_values() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(key_value("=b").is_err());
        assert!(key_value("a").is_err());
    }
}
