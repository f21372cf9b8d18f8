//! Errors as data: type, message, chain of causes, and where they happened if the environment asks.
//!
//! A backtrace is taken only where `RUST_BACKTRACE` (or `RUST_LIB_BACKTRACE`, which wins) is set to
//! something other than 0, as for panics. It has to be text before it is in the ring, so the thread
//! that records the error looks up the symbols: tens of milliseconds for the first one of a process,
//! which reads the debug information, and well below one for most that follow. A service that wants
//! backtraces of panics only sets `RUST_LIB_BACKTRACE=0`.

use std::{any::Any, error::Error, fmt::Display};

use crate::record::{attributes::AttributeBuffer, names::Name, wellknown};

/// Causes that are kept.
const MAX_CHAIN: usize = 16;

/// Writes an error into a span's attributes.
pub(crate) fn write(
    buffer: &mut AttributeBuffer,
    error: &(dyn Error + 'static),
    type_name: Option<&str>,
) {
    write_text(
        buffer,
        type_name.unwrap_or_else(|| type_of(error)),
        &error.to_string(),
    );
    let mut chain = Vec::new();
    let mut source = error.source();
    while let (Some(cause), true) = (source, chain.len() < MAX_CHAIN) {
        chain.push(cause.to_string());
        source = cause.source();
    }
    if !chain.is_empty() {
        buffer.push_named(Name::of_id(wellknown::EXCEPTION_CHAIN), &chain);
    }
}

/// Writes an error whose type is known.
pub(crate) fn write_typed<E: Error + 'static>(buffer: &mut AttributeBuffer, error: &E) {
    write(buffer, error, Some(std::any::type_name::<E>()));
}

/// Writes an error that has only a type and a message.
pub(crate) fn write_text(buffer: &mut AttributeBuffer, type_name: &str, message: &str) {
    buffer.push_named(Name::of_id(wellknown::ERROR_TYPE), type_name);
    buffer.push_named(Name::of_id(wellknown::EXCEPTION_MESSAGE), message);
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        buffer.push_named(
            Name::of_id(wellknown::EXCEPTION_STACKTRACE),
            &trace.to_string(),
        );
    }
}

/// Writes an error of any type that can be shown.
pub(crate) fn write_any<E: Display + 'static>(buffer: &mut AttributeBuffer, error: &E) {
    let any: &dyn Any = error;
    if let Some(error) = any.downcast_ref::<Box<dyn Error>>() {
        write(buffer, error.as_ref(), None);
    } else if let Some(error) = any.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        write(buffer, error.as_ref(), None);
    } else {
        write_text(buffer, std::any::type_name::<E>(), &error.to_string());
    }
}

/// The best name for the type behind a trait object: what its `Debug` form begins with.
fn type_of(error: &(dyn Error + 'static)) -> &'static str {
    macro_rules! known {
        ($($ty:ty),*) => {
            $(if error.is::<$ty>() { return std::any::type_name::<$ty>(); })*
        };
    }
    known!(
        std::io::Error,
        std::str::Utf8Error,
        std::string::FromUtf8Error,
        std::num::ParseIntError,
        std::num::ParseFloatError,
        std::fmt::Error
    );
    "Error"
}
