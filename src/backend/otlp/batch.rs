//! A batch as requests: items are encoded once, requests are cut out of them.
//!
//! All three signals have one shape: a request has resources, a resource has scopes, a scope has
//! items (spans, log records, metrics), under the same field numbers.

use super::{
    encode::{varint, Field, Out},
    values::{resource_fields, scope_fields, Resource},
    Signal,
};
use crate::model::Origin;

/// Repeated field of a request, and of what is below it.
const RESOURCES: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPES: u32 = 2;
const SCOPE: u32 = 1;
/// Items in their scope.
pub(super) const ITEMS: Field = Field(2, "");

/// How requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Proto,
    Json,
}

impl Signal {
    /// JSON names of the three levels.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Traces => ["resourceSpans", "scopeSpans", "spans"],
            Self::Logs => ["resourceLogs", "scopeLogs", "logRecords"],
            Self::Metrics => ["resourceMetrics", "scopeMetrics", "metrics"],
        }
    }
}

/// Items of one resource.
#[derive(Debug)]
struct Group {
    /// Fields of `Resource` and of the scope.
    resource: Vec<u8>,
    scope: Vec<u8>,
    /// Items, one behind the other, and where each ends.
    items: Vec<u8>,
    ends: Vec<usize>,
    /// The row that each came from.
    rows: Vec<u32>,
}

/// Encoded items.
#[derive(Debug)]
pub(super) struct Encoded {
    signal: Signal,
    form: Form,
    groups: Vec<Group>,
}

/// A place between two items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    group: usize,
    item: usize,
}

/// A request cut out of a batch.
#[derive(Debug)]
pub(super) struct Request {
    /// How many items it has.
    pub(super) items: usize,
    /// Where the next one begins.
    pub(super) next: At,
}

/// Writes the items of one resource.
#[derive(Debug)]
pub(super) struct Items<O> {
    out: O,
    ends: Vec<usize>,
    rows: Vec<u32>,
}

impl<O: Out> Items<O> {
    /// Writes them into memory that something else had.
    pub(super) fn new(memory: Vec<u8>) -> Self {
        Self {
            out: O::in_memory_of(memory),
            ends: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// One item, made of the row with this number.
    #[inline]
    pub(super) fn push(&mut self, row: usize, write: impl FnOnce(&mut O)) {
        self.out.item(ITEMS, write);
        self.ends.push(self.out.len());
        self.rows.push(row as u32);
    }
}

impl Encoded {
    pub(super) fn new(signal: Signal, form: Form) -> Self {
        Self {
            signal,
            form,
            groups: Vec::new(),
        }
    }

    /// Adds the items of one resource.
    pub(super) fn add<O: Out>(&mut self, origin: &Origin, fixed: &Resource, items: Items<O>) {
        if items.ends.is_empty() {
            return;
        }
        let mut resource = O::default();
        resource_fields(&mut resource, origin, fixed);
        let mut scope = O::default();
        scope_fields(&mut scope);
        self.groups.push(Group {
            resource: resource.into_bytes(),
            scope: scope.into_bytes(),
            items: items.out.into_bytes(),
            ends: items.ends,
            rows: items.rows,
        });
    }

    /// The rows whose items lie before a place.
    pub(super) fn rows_before(&self, at: At) -> impl Iterator<Item = usize> + '_ {
        let groups = self.groups.iter().enumerate().take(at.group + 1);
        groups.flat_map(move |(no, group)| {
            let items = if no == at.group {
                at.item
            } else {
                group.rows.len()
            };
            // Not a row of which another item is still to come.
            let next = group.rows.get(items).copied();
            let rows = group.rows[..items]
                .iter()
                .filter(move |row| Some(**row) != next);
            rows.map(|row| *row as usize)
        })
    }

    /// The memory of its items, of no more use.
    pub(super) fn into_memory(self) -> Vec<u8> {
        let groups = self.groups.into_iter().map(|group| group.items);
        groups.max_by_key(Vec::capacity).unwrap_or_default()
    }

    /// Makes `body` the request that begins at a place: as many items of one resource as fit into
    /// `limit` bytes, but at least one.
    pub(super) fn request(&self, at: At, limit: usize, body: &mut Vec<u8>) -> Option<Request> {
        let group = self.groups.get(at.group)?;
        let begin = match at.item {
            0 => 0,
            item => group.ends[item - 1],
        };
        // Tags, lengths and names around the items.
        let around = group.resource.len() + group.scope.len() + 128;
        let fits = |end: usize| end - begin + around <= limit;
        let rest = &group.ends[at.item..];
        let count = rest.partition_point(|end| fits(*end)).max(1);
        let items = &group.items[begin..rest[count - 1]];
        body.clear();
        match self.form {
            Form::Proto => proto(group, items, body),
            Form::Json => json(group, items, self.signal, body),
        }
        let item = at.item + count;
        let next = match item == group.ends.len() {
            true => At {
                group: at.group + 1,
                item: 0,
            },
            false => At { item, ..at },
        };
        Some(Request { items: count, next })
    }
}

fn proto(group: &Group, items: &[u8], body: &mut Vec<u8>) {
    let key = |number: u32| (number << 3 | 2) as u8;
    let head = |out: &mut Vec<u8>, number: u32, len: usize| {
        out.push(key(number));
        varint(out, len as u64);
    };
    let mut scope = Vec::with_capacity(group.scope.len() + 16);
    head(&mut scope, SCOPE, group.scope.len());
    scope.extend_from_slice(&group.scope);
    let mut resource = Vec::with_capacity(group.resource.len() + 32);
    head(&mut resource, RESOURCE, group.resource.len());
    resource.extend_from_slice(&group.resource);
    head(&mut resource, SCOPES, scope.len() + items.len());
    let inside = resource.len() + scope.len() + items.len();
    body.reserve(inside + 16);
    head(body, RESOURCES, inside);
    body.extend_from_slice(&resource);
    body.extend_from_slice(&scope);
    body.extend_from_slice(items);
}

fn json(group: &Group, items: &[u8], signal: Signal, body: &mut Vec<u8>) {
    let [resources, scopes, name] = signal.names();
    body.reserve(items.len() + group.resource.len() + group.scope.len() + 128);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| body.extend_from_slice(part));
    put(&[
        b"{\"",
        resources.as_bytes(),
        b"\":[{\"resource\":{",
        &group.resource,
    ]);
    put(&[
        b"},\"",
        scopes.as_bytes(),
        b"\":[{\"scope\":{",
        &group.scope,
    ]);
    put(&[b"},\"", name.as_bytes(), b"\":["]);
    // Cut out of the middle it begins with the comma behind the item before.
    put(&[items.strip_prefix(b",").unwrap_or(items), b"]}]}]}"]);
}

/// Runs a generic writer in the form that is asked for.
macro_rules! in_form {
    ($form:expr, $out:ident => $run:expr) => {
        match $form {
            $crate::backend::otlp::batch::Form::Proto => {
                type $out = $crate::backend::otlp::encode::Proto;
                $run
            }
            $crate::backend::otlp::batch::Form::Json => {
                type $out = $crate::backend::otlp::encode::Json;
                $run
            }
        }
    };
}
pub(super) use in_form;
