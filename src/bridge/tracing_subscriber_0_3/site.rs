//! What is known of a call site of `tracing`: looked up once per thread.

use std::{cell::RefCell, rc::Rc};

use tracing::{field::Field, Metadata};

use crate::record::names::Name;

/// What a field means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An attribute.
    Plain,
    /// The text of an event.
    Message,
    /// What failed.
    Error,
    /// `otel.name`
    SpanName,
    /// `otel.kind`
    SpanKind,
    /// `otel.status_code`
    StatusCode,
    /// `otel.status_message` or `otel.status_description`
    StatusMessage,
}

impl Role {
    fn of(field: &str, is_event: bool) -> Self {
        match field {
            "message" if is_event => Self::Message,
            "error" => Self::Error,
            "otel.name" => Self::SpanName,
            "otel.kind" => Self::SpanKind,
            "otel.status_code" => Self::StatusCode,
            "otel.status_message" | "otel.status_description" => Self::StatusMessage,
            _ => Self::Plain,
        }
    }
}

/// A call site.
#[derive(Debug)]
pub(super) struct Site {
    /// Its name.
    pub(super) name: Name<'static>,
    /// Whether the name is one that somebody gave, not `event FILE:LINE`.
    pub(super) is_named: bool,
    fields: Box<[(Name<'static>, Role)]>,
}

thread_local! {
    static SITES: RefCell<ahash::AHashMap<usize, Rc<Site>>> = RefCell::default();
}

impl Site {
    /// Of this metadata, which is that of one call site for as long as the process lives.
    #[inline]
    pub(super) fn of(metadata: &'static Metadata<'static>) -> Rc<Self> {
        let address = std::ptr::from_ref(metadata).addr();
        let known = |sites: &RefCell<ahash::AHashMap<usize, Rc<Self>>>| {
            sites.try_borrow().ok()?.get(&address).map(Rc::clone)
        };
        match SITES.try_with(known) {
            Ok(Some(site)) => site,
            _ => Self::learn(metadata, address),
        }
    }

    #[cold]
    fn learn(metadata: &'static Metadata<'static>, address: usize) -> Rc<Self> {
        let fields = metadata.fields().iter();
        let fields = fields.map(|field| {
            let name = field.name();
            (Name::from(name), Role::of(name, metadata.is_event()))
        });
        let site = Rc::new(Self {
            name: Name::from(metadata.name()),
            is_named: !metadata.name().starts_with("event "),
            fields: fields.collect(),
        });
        // At the end of a thread there may be no place left for it.
        let _ = SITES.try_with(|sites| {
            if let Ok(mut sites) = sites.try_borrow_mut() {
                sites.insert(address, Rc::clone(&site));
            }
        });
        site
    }

    /// Key and meaning of a field.
    #[inline]
    pub(super) fn field(&self, field: &Field) -> (Name<'static>, Role) {
        match self.fields.get(field.index()) {
            Some(known) => *known,
            None => (Name::from(field.name()), Role::Plain),
        }
    }
}
