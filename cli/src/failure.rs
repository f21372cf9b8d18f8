//! How a command ends when it does not simply succeed.

use std::{fmt::Display, io};

/// What a command found: exit 0, 1 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to complain about.
    Fine,
    /// `verify` or `recover` found damage or loss, `analyze` something that is wrong.
    Bad,
    /// `analyze` saw too few runs to say anything.
    TooFew,
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// Nobody reads standard output any more: exit 0.
    Closed,
    /// Exit 2 with this line.
    Message(String),
}

impl Failure {
    /// Exit 2 with this line.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// Exit 2, saying what was tried and why it failed, sources included.
    pub fn because(what: impl Display, error: &dyn std::error::Error) -> Self {
        Self::Message(format!("{what}: {}", chain(error)))
    }

    /// Standard output failed.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::because("cannot write to standard output", error),
        }
    }
}

/// The message of an error and of its sources, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = error.source();
    }
    text
}
