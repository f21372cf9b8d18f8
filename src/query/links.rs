//! Looking for links.

use crate::{
    model::Link,
    query::filter::Filter,
    record::{id::TraceId, layout::RecordKind, view::Body, RecordError},
};

use super::{
    judge::Judge,
    pending::{Candidate, Key, Pending},
    points::{key, offer, owned, Point},
    source::{bit, Block, Entry, Item, Place, Segment},
    store::Store,
    walk::{outside, Look},
};

/// See [`Look`].
#[derive(Debug)]
pub(super) struct Links {
    judge: Judge,
}

impl Links {
    pub(super) fn new(filter: &Filter) -> Self {
        let nameless = Filter {
            name: None,
            ..filter.clone()
        };
        Self {
            judge: Judge::new(&nameless, key(filter)),
        }
    }
}

impl Look for Links {
    type Row = Link;

    fn key(&self) -> Key {
        self.judge.key
    }

    fn kinds(&self, _: &Segment) -> u16 {
        bit(RecordKind::Link)
    }

    fn skips(&mut self, _: u32, _: &Segment, entry: &Entry) -> bool {
        outside(&self.judge.filter, entry)
    }

    fn look(
        &mut self,
        store: &Store,
        block: &Block<'_>,
        item: Item,
        place: Place,
        pending: &mut Pending,
    ) -> Result<(), RecordError> {
        let Body::Link(body) = block.body(item)? else {
            return Ok(());
        };
        if !owned(&self.judge.filter, body.trace_id, body.span_id.to_native()) {
            return Ok(());
        }
        let point = Point {
            part: 0,
            timestamp_ns: block.context.anchor.unix_ns(body.tick.to_native()),
        };
        let at = (block, item, place);
        offer(&mut self.judge, store, at, point, pending, |judge| {
            if !judge.wants_attributes {
                return Ok(true);
            }
            let record = block.record(item.at)?;
            let link = block.context.link(block.id(item.nth), &record, body);
            let trace = judge.trace(store, Some(TraceId(body.trace_id)));
            Ok(judge.filter.accepts_link(&link, trace.as_ref()))
        })
    }

    fn make(&mut self, store: &Store, candidate: &Candidate) -> Option<Link> {
        store.read(candidate.place, |block, id, record| match record.body {
            Body::Link(body) => Some(block.context.link(id, record, body)),
            _ => None,
        })
    }
}
