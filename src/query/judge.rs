//! What spans, events, metrics and links have in common when a record is judged: header first,
//! attributes next, the whole row last.

use crate::{
    log::{inline_name_bit, name_bit},
    model::Trace,
    query::filter::Filter,
    record::{
        attributes::{AttributeKey, ValueRef},
        id::TraceId,
        layout::{Header, NAME_INLINE, NAME_NONE},
        Record, RecordError,
    },
};

use super::{
    matching::Needle,
    partial::assemble,
    pending::Key,
    recent::Recent,
    rows::Context,
    source::{Block, Entry, Item, Segment},
    store::Store,
};

/// Traces that a walk remembers for the filters by graph.
const TRACES: usize = 4096;

/// A filter, prepared.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) filter: Filter,
    pub(super) key: Key,
    /// Whether a header is not enough.
    pub(super) wants_attributes: bool,
    needles: Vec<Needle>,
    exact_name: Option<String>,
    /// Per segment: bits of which one must be in the bloom of a frame; 0 is not known yet.
    name_bits: Vec<u64>,
    traces: Recent<TraceId, Option<Trace>>,
}

impl Judge {
    pub(super) fn new(filter: &Filter, key: Key) -> Self {
        let exact = filter.name.as_ref().and_then(|name| name.exact());
        Self {
            filter: filter.clone(),
            key,
            wants_attributes: filter.wants_attributes(),
            needles: filter.needles(),
            exact_name: exact.map(str::to_owned),
            name_bits: Vec::new(),
            traces: Recent::new(TRACES),
        }
    }

    /// Whether nothing of a frame can have the name that is asked for.
    pub(super) fn skips_name(&mut self, no: u32, segment: &Segment, entry: &Entry) -> bool {
        let Some(name) = &self.exact_name else {
            return false;
        };
        let no = no as usize;
        if self.name_bits.len() <= no {
            self.name_bits.resize(no + 1, 0);
        }
        if self.name_bits[no] == 0 {
            self.name_bits[no] = name_bits(segment, name);
        }
        entry.names & self.name_bits[no] == 0
    }

    /// Whether the name in a header fits.
    #[inline]
    pub(super) fn accepts_name(
        &self,
        block: &Block<'_>,
        item: Item,
        header: &Header,
    ) -> Result<bool, RecordError> {
        if self.filter.name.is_none() {
            return Ok(true);
        }
        with_name(block, item, header, |name| match &self.exact_name {
            Some(exact) => exact == name,
            None => self.filter.accepts_name(name),
        })
    }

    /// Whether the attributes have what the filter cannot do without.
    pub(super) fn accepts_needles(&self, context: &Context<'_>, record: &Record<'_>) -> bool {
        self.needles.iter().all(|needle| {
            let own = record.attributes.iter().any(|attribute| {
                let key = match attribute.key {
                    AttributeKey::Text(text) => text,
                    AttributeKey::Id(id) => context.names.get(id).unwrap_or_default(),
                };
                match attribute.value {
                    ValueRef::Str(text) => needle.is_text(key, text),
                    value => needle.is(key, || value.to_value()),
                }
            });
            let custom = &context.origin.custom;
            own || custom
                .iter()
                .any(|(key, value)| needle.is(key, || value.clone()))
        })
    }

    /// The trace of a row, where the filter needs it.
    pub(super) fn trace(&mut self, store: &Store, id: Option<TraceId>) -> Option<Trace> {
        if !self.filter.wants_graph() {
            return None;
        }
        let id = id?;
        self.traces.get_or(id, || assemble(store, id)).clone()
    }
}

/// Calls `with` with the text of the name in a header.
pub(super) fn with_name<R>(
    block: &Block<'_>,
    item: Item,
    header: &Header,
    with: impl FnOnce(&str) -> R,
) -> Result<R, RecordError> {
    let id = header.name.to_native();
    if id == NAME_INLINE {
        let record = block.record(item.at)?;
        return Ok(with(record.inline_name.unwrap_or_default()));
    }
    Ok(match block.context.names.get(id) {
        Some(text) => with(text),
        None => with(&block.context.text(id, None)),
    })
}

/// Bits of which one is set in each frame of the segment that has the name.
fn name_bits(segment: &Segment, name: &str) -> u64 {
    if name.starts_with('#') {
        return u64::MAX;
    }
    let id = match segment.names().find(name) {
        None if name.is_empty() => Some(NAME_NONE),
        found => found,
    };
    inline_name_bit() | id.map_or(0, name_bit)
}
