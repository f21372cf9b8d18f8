//! What is recorded arrives by OTLP, as OpenTelemetry has it. One program, since each would compile
//! the same receiver.
#![cfg(feature = "otlp-grpc")]

mod arrives;
mod collector;
mod config;
mod crash;
mod faults;
mod grpc;
mod sampling;
mod tls;

#[path = "../support/otlp/mod.rs"]
mod receiver;
#[path = "../support/tails.rs"]
mod tails;
