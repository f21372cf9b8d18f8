//! Names with the same id in every log: ids 1 to 255, part of the format, only ever added to.

macro_rules! well_known {
    ($($name:ident = $text:literal,)*) => {
        /// The texts; the id is the index plus one.
        pub const TEXTS: &[&str] = &[$($text,)*];

        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u32)]
        enum Index { $($name,)* }

        $(#[doc = concat!("`", $text, "`")] pub const $name: u32 = Index::$name as u32 + 1;)*
    };
}

well_known! {
    NODE_STARTED = "node.started",
    NODE_FINISHED = "node.finished",
    NODE_FAILED = "node.failed",
    GRAPH_STARTED = "graph.started",
    GRAPH_FINISHED = "graph.finished",
    GRAPH_FAILED = "graph.failed",
    EDGE_EVALUATED = "edge.evaluated",
    EDGE_TAKEN = "edge.taken",
    STATE_UPDATED = "state.updated",
    MESSAGE_SENT = "message.sent",
    MESSAGE_RECEIVED = "message.received",
    TOOL_EXECUTED = "tool.executed",
    LLM_REQUEST = "llm.request",
    LLM_RESPONSE = "llm.response",
    ERROR_OCCURRED = "error.occurred",
    RETRY_ATTEMPTED = "retry.attempted",
    CUSTOM = "custom",
    GRAPH_RUN = "graph_run",
    NODE_EXECUTION = "node_execution",
    GRAPH_ID = "graph_id",
    GRAPH_VERSION = "graph_version",
    GRAPH_TYPE = "graph_type",
    GRAPH_ID_DOTTED = "graph.id",
    NODE_ID = "node.id",
    NODE_NAME = "node.name",
    NODE_TYPE = "node.type",
    NODE_ID_PLAIN = "node_id",
    NODE_NAME_PLAIN = "node_name",
    NODE_TYPE_PLAIN = "node_type",
    SUCCESS = "success",
    RETRY_COUNT = "retry_count",
    ERROR = "error",
    ERROR_TYPE = "error.type",
    ERROR_TYPE_PLAIN = "error_type",
    ERROR_MESSAGE = "error.message",
    EXCEPTION_TYPE = "exception.type",
    EXCEPTION_MESSAGE = "exception.message",
    EXCEPTION_STACKTRACE = "exception.stacktrace",
    EXCEPTION_CHAIN = "exception.chain",
    NODE_DURATION = "node.duration",
    NODE_SUCCESS = "node.success",
    NODE_ERROR = "node.error",
    NODE_EXECUTION_COUNT = "node_execution_count",
    SECONDS = "seconds",
    COUNT = "count",
    RATIO = "ratio",
    BYTES = "bytes",
    USD = "usd",
    INPUT_SIZE = "input_size",
    OUTPUT_SIZE = "output_size",
    INPUTS = "inputs",
    OUTPUTS = "outputs",
    EDGE_FROM = "edge.from",
    EDGE_TO = "edge.to",
    DURATION = "duration",
    FOREIGN_TRACE_ID = "emberlog.trace_id",
    THREAD_NAME = "thread.name",
    SERVICE_NAME = "service.name",
    SERVICE_VERSION = "service.version",
    CANCELLED = "cancelled",
    SAMPLING_RATE = "sampling.rate",
}

const _: () = assert!(TEXTS.len() < 256);

/// The text of a well-known id.
pub fn text(id: u32) -> Option<&'static str> {
    TEXTS.get((id as usize).checked_sub(1)?).copied()
}
