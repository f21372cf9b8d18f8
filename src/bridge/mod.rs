//! Other people's telemetry, in and out: headers that continue a trace in another process.
//!
//! Always true:
//! - a bridge says what it has to say through the recording API, as any user of the crate would
//! - what comes from outside (headers, fields, records of another library) is checked, and what is
//!   malformed is left out; no bridge ever fails the program that it observes
//! - no type of another crate is public outside of the module that is named after it
//!
//! | to | begin here |
//! |---|---|
//! | continue a trace in another process | [`propagation`] |
//! | record what `tracing` says | `tracing_subscriber_0_3`, of a feature with that name in dashes, as all below |
//! | record what `log` says | `log_0_4` |
//! | record what `metrics` measures | `metrics_0_24` |
//! | record requests that are served and made | `tower_0_5` |
//! | record what OpenTelemetry's SDK collects | `opentelemetry_0_33` |

#[cfg(feature = "log-0-4")]
pub mod log_0_4;
#[cfg(feature = "metrics-0-24")]
pub mod metrics_0_24;
#[cfg(feature = "opentelemetry-0-33")]
pub mod opentelemetry_0_33;
#[cfg(any(feature = "log-0-4", feature = "tracing-subscriber-0-3"))]
mod printed;
pub mod propagation;
#[cfg(feature = "tower-0-5")]
pub mod tower_0_5;
#[cfg(feature = "tracing-subscriber-0-3")]
pub mod tracing_subscriber_0_3;
