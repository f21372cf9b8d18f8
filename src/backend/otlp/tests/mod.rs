//! Tests of what stays inside: bytes against `opentelemetry-proto`, options, state.

mod bytes;
mod options;
mod series;
