//! Fields of `tracing` on their way into attributes, and what some of them say of their span.

use std::{error::Error, fmt};

use tracing::field::{Field, Visit};

use super::{
    super::printed::printed,
    site::{Role, Site},
};
use crate::{
    api::{driven::Driven, engine::Engine, failure, local},
    record::{
        attributes::{AttributeBuffer, AttributeValue},
        kinds::{SpanKind, Status},
        names::{Name, MAX_NAME},
        wellknown,
    },
};

/// What fields say of a span. They are read before the span is touched: a value may come back here
/// while it prints itself.
#[derive(Debug, Default)]
pub(super) struct Found {
    attributes: Option<Box<AttributeBuffer>>,
    name: Option<String>,
    kind: Option<SpanKind>,
    status: Option<Status>,
    details: bool,
}

impl Found {
    /// Gives the span what was found; `settled` says that its status was given for good.
    #[inline]
    pub(super) fn apply(self, engine: &Engine, span: &mut Driven, settled: &mut bool) {
        if let Some(attributes) = self.attributes {
            span.describe(engine, attributes);
        }
        if let Some(name) = self.name {
            span.rename(engine, &name);
        }
        if let Some(kind) = self.kind {
            span.set_kind(engine, kind);
        }
        match self.status {
            Some(Status::Ok) => {
                span.set_status(Status::Ok);
                *settled = true;
            }
            Some(_) if !*settled => span.fail(self.details),
            _ => {}
        }
    }
}

/// Reads the fields of a span.
pub(super) struct SpanFields<'a> {
    engine: &'a Engine,
    site: &'a Site,
    pub(super) found: Found,
}

impl<'a> SpanFields<'a> {
    #[inline]
    pub(super) fn new(engine: &'a Engine, site: &'a Site) -> Self {
        Self {
            engine,
            site,
            found: Found::default(),
        }
    }

    #[inline]
    fn attributes(&mut self) -> &mut AttributeBuffer {
        let buffer = || local::buffer(self.engine);
        self.found.attributes.get_or_insert_with(buffer)
    }

    #[inline]
    fn plain(&mut self, key: Name<'_>, value: impl AttributeValue) {
        self.attributes().push_named(key, &value);
    }

    fn text(&mut self, field: &Field, value: &str) {
        let (key, role) = self.site.field(field);
        match role {
            Role::Plain | Role::Message => self.plain(key, value),
            Role::SpanName => self.found.name = Some(value.to_owned()),
            Role::SpanKind => match value.parse() {
                Ok(kind) => self.found.kind = Some(kind),
                Err(_) => self.plain(key, value),
            },
            Role::StatusCode => self.status(key, value),
            Role::StatusMessage => self.failed(|buffer| {
                buffer.push_named(Name::of_id(wellknown::EXCEPTION_MESSAGE), value);
            }),
            Role::Error => {
                self.plain(key, value);
                self.failed(|buffer| failure::write_text(buffer, OTHER, value));
            }
        }
    }

    /// The words of OpenTelemetry, as text or as its type prints itself.
    fn status(&mut self, key: Name<'_>, value: &str) {
        let word = value.split([' ', '{', '(']).next().unwrap_or_default();
        if word.eq_ignore_ascii_case("ok") {
            self.found.status = Some(Status::Ok);
        } else if word.eq_ignore_ascii_case("error") {
            self.failed(|_| ());
        } else if !word.eq_ignore_ascii_case("unset") {
            self.plain(key, value);
        }
    }

    /// It failed, unless it is said to be fine.
    fn failed(&mut self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if self.found.status == Some(Status::Ok) {
            return;
        }
        self.found.status = Some(Status::Error);
        if self.engine.switches.errors {
            describe(self.attributes());
            self.found.details = true;
        }
    }
}

/// What OpenTelemetry calls the type of an error that is not known.
pub(super) const OTHER: &str = "_OTHER";

macro_rules! plain {
    ($($method:ident $ty:ty,)*) => {$(
        #[inline]
        fn $method(&mut self, field: &Field, value: $ty) {
            let (key, _) = self.site.field(field);
            self.plain(key, value);
        }
    )*};
}

/// Numbers beyond 64 bits are kept as text.
macro_rules! wide {
    ($($method:ident $ty:ty,)*) => {$(
        fn $method(&mut self, field: &Field, value: $ty) {
            self.record_debug(field, &value);
        }
    )*};
}

impl Visit for SpanFields<'_> {
    plain! { record_i64 i64, record_u64 u64, record_f64 f64, record_bytes &[u8], }
    wide! { record_i128 i128, record_u128 u128, }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let (key, role) = self.site.field(field);
        self.plain(key, value);
        if role == Role::Error && value {
            self.failed(|_| ());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let (key, role) = self.site.field(field);
        printed(format_args!("{value}"), |text| self.plain(key, text));
        if role == Role::Error {
            self.failed(|buffer| failure::write(buffer, value, None));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        printed(format_args!("{value:?}"), |text| self.text(field, text));
    }
}

/// Writes the fields of an event.
pub(super) struct EventFields<'a> {
    pub(super) site: &'a Site,
    pub(super) attributes: &'a mut AttributeBuffer,
    pub(super) message: Option<String>,
    /// What failed, where the event tells; of an event that is no error it is not asked for.
    pub(super) error: Option<Failure>,
    pub(super) wants_error: bool,
}

/// What an event says of an error: the attributes that its span gets.
#[derive(Debug)]
pub(super) struct Failure(pub(super) AttributeBuffer);

impl EventFields<'_> {
    #[inline]
    fn plain(&mut self, key: Name<'_>, value: impl AttributeValue) {
        self.attributes.push_named(key, &value);
    }

    fn text(&mut self, field: &Field, value: &str) {
        let (key, role) = self.site.field(field);
        match role {
            Role::Message => {
                // A name is cut where an attribute is not.
                if value.len() > MAX_NAME {
                    self.plain(key, value);
                }
                self.message = Some(value.to_owned());
            }
            Role::Error => {
                self.plain(key, value);
                self.failed(|buffer| failure::write_text(buffer, OTHER, value));
            }
            _ => self.plain(key, value),
        }
    }

    fn failed(&mut self, describe: impl FnOnce(&mut AttributeBuffer)) {
        if self.wants_error {
            let mut buffer = AttributeBuffer::default();
            describe(&mut buffer);
            self.error = Some(Failure(buffer));
        }
    }
}

impl Visit for EventFields<'_> {
    plain! {
        record_i64 i64, record_u64 u64, record_f64 f64, record_bool bool, record_bytes &[u8],
    }
    wide! { record_i128 i128, record_u128 u128, }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let (key, role) = self.site.field(field);
        printed(format_args!("{value}"), |text| self.plain(key, text));
        if role == Role::Error {
            self.failed(|buffer| failure::write(buffer, value, None));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        printed(format_args!("{value:?}"), |text| self.text(field, text));
    }
}
