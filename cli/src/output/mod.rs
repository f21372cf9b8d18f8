//! What a command says: data on standard output, notes on standard error.
//!
//! Always true:
//! - with `--json` every line on standard output is one JSON object
//! - text from a log reaches a terminal through [`escape`](escape::escape) only
//! - colour is used only where a terminal reads, and never if `NO_COLOR` is set

pub mod escape;
pub mod human;
pub mod rows;
pub mod table;

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use jiff::{tz::TimeZone, Timestamp};
use serde::Serialize;

use crate::failure::Failure;

/// Meaning of a piece of text, shown as a colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// What the eye should find first.
    Strong,
    /// Context.
    Faint,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Unfinished.
    Odd,
}

/// Where a command writes.
pub struct Output {
    out: BufWriter<Stdout>,
    json: bool,
    colour: bool,
    zone: TimeZone,
}

impl Output {
    /// Standard output as JSON or text, times local or in UTC.
    pub fn new(json: bool, utc: bool) -> Self {
        let stdout = io::stdout();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            json,
            colour: !json && !plain && stdout.is_terminal(),
            out: BufWriter::with_capacity(64 << 10, stdout),
            zone: if utc {
                TimeZone::UTC
            } else {
                TimeZone::system()
            },
        }
    }

    /// Whether `--json` was given.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The zone in which times are shown and read.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// One line of text.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.out, "{}", text.trim_end()).map_err(|e| Failure::output(&e))
    }

    /// One line with one object.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        match serde_json::to_writer(&mut self.out, value) {
            Ok(()) => self.line(""),
            Err(error) if error.is_io() => Err(Failure::output(&error.into())),
            Err(error) => Err(Failure::because("cannot write as JSON", &error)),
        }
    }

    /// Bytes as they are, for completions.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|e| Failure::output(&e))
    }

    /// Hands over what was written so far.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| Failure::output(&e))
    }

    /// A line for the person at the terminal, not for the script behind the pipe.
    pub fn note(&mut self, text: &str) {
        let _ = self.out.flush(); // So that both streams appear in order; a failure shows later.
        let _ = writeln!(io::stderr(), "{}", escape::escape(text));
    }

    /// `text` in the colour of its tone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "31;1",
            Tone::Odd => "33",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A Unix nanosecond as local time with its offset.
    pub fn time(&self, unix_ns: i64) -> String {
        let Ok(time) = Timestamp::from_nanosecond(i128::from(unix_ns)) else {
            return format!("{unix_ns} ns");
        };
        let time = time.to_zoned(self.zone.clone());
        time.strftime("%Y-%m-%d %H:%M:%S.%6f%:z").to_string()
    }
}
