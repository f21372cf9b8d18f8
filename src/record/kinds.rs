//! The enumerations of the data model, with every spelling that the documents use.

use std::{borrow::Cow, fmt, str::FromStr};

use super::wellknown;

/// A text that names no variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}: expected one of {expected}")]
pub struct ParseKindError {
    what: &'static str,
    text: String,
    expected: String,
}

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident $what:literal { $($(#[$vdoc:meta])* $variant:ident = $code:literal $text:literal $(| $alias:literal)*,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant = $code,)*
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The documented spelling.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The variant with this stored code.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl FromStr for $name {
            type Err = ParseKindError;

            /// Case does not matter; the aliases of the documentation are accepted.
            fn from_str(text: &str) -> Result<Self, ParseKindError> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($text $(| $alias)* => Ok(Self::$variant),)*
                    _ => Err(ParseKindError {
                        what: $what,
                        text: text.chars().take(64).collect(),
                        expected: Self::ALL.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", "),
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    };
}

kinds! {
    /// What a span stands for.
    SpanKind "span kind" {
        /// Work inside the process.
        #[default]
        Internal = 0 "internal",
        /// A run of a whole graph.
        GraphRun = 1 "graph_run" | "graph",
        /// One execution of a node.
        NodeExecution = 2 "node_execution" | "node",
        /// An edge was followed.
        EdgeTransition = 3 "edge_transition" | "edge",
        /// State changed.
        StateChange = 4 "state_change",
        /// A tool ran.
        ToolCall = 5 "tool_call" | "tool",
        /// A language model was called.
        LlmCall = 6 "llm_call" | "llm",
        /// An outgoing request.
        Client = 7 "client",
        /// An incoming request.
        Server = 8 "server",
        /// A message was sent.
        Producer = 9 "producer",
        /// A message was received.
        Consumer = 10 "consumer",
    }
}

kinds! {
    /// How a trace or span went.
    ///
    /// [`Status::Cancelled`] and [`Status::Orphaned`] go beyond the documents' three; stores that
    /// know only those see an error with an attribute.
    Status "status" {
        /// Not ended, or ended without a verdict.
        #[default]
        Unset = 0 "unset" | "active" | "running",
        /// It succeeded.
        Ok = 1 "ok" | "completed" | "success",
        /// It failed.
        Error = 2 "error" | "failed" | "failure",
        /// It was dropped before it had a verdict.
        Cancelled = 3 "cancelled" | "canceled",
        /// Its process died while it was open.
        Orphaned = 4 "orphaned",
    }
}

/// The documents' name of [`Status`].
pub type SpanStatus = Status;

kinds! {
    /// How the values of a metric combine.
    Aggregation "aggregation" {
        /// The last value counts.
        #[default]
        Gauge = 0 "gauge",
        /// Values add up.
        Counter = 1 "counter" | "sum",
        /// Values form a distribution.
        Histogram = 2 "histogram",
    }
}

kinds! {
    /// Why a record was lost.
    LossCause "loss cause" {
        /// The thread's ring was full.
        #[default]
        RingFull = 0 "ring_full",
        /// No ring could be had below the memory ceiling.
        NoRing = 1 "no_ring",
        /// Recorded from inside another recording on the same thread.
        Reentrant = 2 "reentrant",
        /// Longer than a record may be.
        Oversize = 3 "oversize",
        /// The log could not be written.
        Disk = 4 "disk",
        /// After shutdown.
        Shutdown = 5 "shutdown",
        /// In a forked child that has no log of its own.
        Fork = 6 "fork",
        /// The thread's local storage was gone.
        ThreadGone = 7 "thread_gone",
        /// Bytes did not check.
        Damaged = 8 "damaged",
        /// The flusher failed.
        Flusher = 9 "flusher",
        /// Its trace was held and is not kept: not lost, but counted like it.
        SampledOut = 10 "sampled_out",
    }
}

kinds! {
    /// Why a part of the log is gone.
    GapCause "gap cause" {
        /// The end of what was not durable when the machine stopped.
        #[default]
        Torn = 0 "torn",
        /// Its bytes do not check.
        Damaged = 1 "damaged",
        /// Retention removed it.
        Retention = 2 "retention",
    }
}

impl LossCause {
    /// Number of slots that a table indexed by cause needs.
    pub const SLOTS: usize = 16;
}

/// Type of an event: one of the documented seventeen, or any text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Cow<'static, str>);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: Self = Self(Cow::Borrowed($text));)*

            /// The documented types, in the order of their well-known ids.
            pub const KNOWN: &'static [&'static str] = &[$($text,)*];
        }
    };
}

event_types! {
    /// A node began.
    NODE_STARTED = "node.started",
    /// A node ended well.
    NODE_FINISHED = "node.finished",
    /// A node failed.
    NODE_FAILED = "node.failed",
    /// A graph began.
    GRAPH_STARTED = "graph.started",
    /// A graph ended well.
    GRAPH_FINISHED = "graph.finished",
    /// A graph failed.
    GRAPH_FAILED = "graph.failed",
    /// The condition of an edge was evaluated.
    EDGE_EVALUATED = "edge.evaluated",
    /// An edge was followed.
    EDGE_TAKEN = "edge.taken",
    /// State changed.
    STATE_UPDATED = "state.updated",
    /// A message was sent.
    MESSAGE_SENT = "message.sent",
    /// A message was received.
    MESSAGE_RECEIVED = "message.received",
    /// A tool ran.
    TOOL_EXECUTED = "tool.executed",
    /// A language model was asked.
    LLM_REQUEST = "llm.request",
    /// A language model answered.
    LLM_RESPONSE = "llm.response",
    /// Something failed.
    ERROR_OCCURRED = "error.occurred",
    /// A retry began.
    RETRY_ATTEMPTED = "retry.attempted",
    /// Anything else.
    CUSTOM = "custom",
}

impl EventType {
    /// The type with this text. The documented types may be written with `_` for `.`; any other
    /// text is kept as it is.
    pub fn new(text: &str) -> Self {
        let id = Self::known_id(text);
        match id {
            Some(id) => Self(Cow::Borrowed(wellknown::TEXTS[id as usize - 1])),
            None => Self(Cow::Owned(text.to_owned())),
        }
    }

    /// The well-known id of a documented type, however it is written.
    pub(crate) fn known_id(text: &str) -> Option<u32> {
        Self::KNOWN
            .iter()
            .position(|known| {
                known.len() == text.len()
                    && known
                        .bytes()
                        .zip(text.bytes())
                        .all(|(k, t)| k == t.to_ascii_lowercase() || (k == b'.' && t == b'_'))
            })
            .map(|i| i as u32 + 1)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EventType {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl FromStr for EventType {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}
