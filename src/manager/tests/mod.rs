//! Tests of all stages together, with what only a test of this crate may do to them.

#[cfg(all(
    feature = "jsonl",
    feature = "otlp",
    feature = "sqlite",
    target_os = "linux"
))]
mod failpoints;
#[cfg(all(
    feature = "jsonl",
    feature = "otlp",
    feature = "sqlite",
    target_os = "linux"
))]
mod scenes;
