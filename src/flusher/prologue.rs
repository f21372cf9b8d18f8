//! The records that the flusher writes itself: clock anchors, names, the resource, ring leases and
//! losses. They lead every segment, so that each can be read alone.

use rend::{i64_le, u16_le, u32_le, u64_le};

use crate::{
    clock::Anchor,
    log::{GapInfo, ResourceInfo},
    record::{
        attributes::AttributeBuffer,
        kinds::LossCause,
        layout::{self, Header, RecordKind, NAME_NONE},
        names,
        value::Value,
        view::{bytes_of_mut, words_of},
    },
    ring::Lease,
};

/// Records under construction, and how many.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    words: Vec<u64>,
    count: u32,
}

/// Why an anchor was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnchorReason {
    /// The regular repetition.
    Regular = 0,
    /// The first of an instance.
    First = 1,
    /// The wall clock was stepped, or the machine slept.
    Step = 2,
}

impl Batch {
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    #[cfg(test)]
    fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.count = 0;
    }

    fn text(&mut self, text: &str) {
        let at = self.words.len();
        self.words.resize(at + text.len().div_ceil(8), 0);
        bytes_of_mut(&mut self.words[at..])[..text.len()].copy_from_slice(text.as_bytes());
    }

    /// What a tick means.
    pub(crate) fn anchor(&mut self, anchor: &Anchor, reason: AnchorReason) {
        let fixed = layout::Anchor {
            header: Header::new(RecordKind::Anchor, layout::Anchor::WORDS, NAME_NONE),
            tick: u64_le::from_native(anchor.tick),
            unix_ns: i64_le::from_native(anchor.unix_ns),
            rate: u64_le::from_native(anchor.rate),
            reason: reason as u8,
            reserved: [0; 7],
        };
        let fixed: [u64; layout::Anchor::WORDS] = words_of(&fixed);
        self.words.extend_from_slice(&fixed);
        self.count += 1;
    }

    /// What an id stands for.
    pub(crate) fn name(&mut self, id: u32, text: &str) {
        let text = names::cut(text, names::MAX_NAME);
        let words = layout::Name::WORDS + text.len().div_ceil(8);
        let fixed = layout::Name {
            header: Header::new(RecordKind::Name, words, id),
            len: u32_le::from_native(text.len() as u32),
            reserved: [0; 4],
        };
        let fixed: [u64; layout::Name::WORDS] = words_of(&fixed);
        self.words.extend_from_slice(&fixed);
        self.text(text);
        self.count += 1;
    }

    /// Which thread has a ring.
    pub(crate) fn lease(&mut self, ring: u32, lease: &Lease) {
        let name = names::cut(&lease.thread_name, 64);
        let words = layout::Lease::WORDS + name.len().div_ceil(8);
        let fixed = layout::Lease {
            header: Header::new(RecordKind::Lease, words, ring),
            lease: u32_le::from_native(lease.lease),
            len: u16_le::from_native(name.len() as u16),
            reserved: [0; 2],
            thread: u64_le::from_native(lease.thread),
            tick: u64_le::from_native(lease.tick),
        };
        let fixed: [u64; layout::Lease::WORDS] = words_of(&fixed);
        self.words.extend_from_slice(&fixed);
        self.text(name);
        self.count += 1;
    }

    /// What a ring lost in all, for one cause and kind.
    pub(crate) fn loss(
        &mut self,
        ring: u32,
        lease: u32,
        cause: LossCause,
        kind: u8,
        total: u64,
        tick: u64,
    ) {
        let fixed = layout::Loss {
            header: Header::new(RecordKind::Loss, layout::Loss::WORDS, ring),
            total: u64_le::from_native(total),
            tick: u64_le::from_native(tick),
            cause: cause as u8,
            kind,
            reserved: [0; 2],
            lease: u32_le::from_native(lease),
            reserved2: [0; 8],
        };
        let fixed: [u64; layout::Loss::WORDS] = words_of(&fixed);
        self.words.extend_from_slice(&fixed);
        self.count += 1;
    }

    /// What recovery found missing in the log.
    pub(crate) fn gap(&mut self, gap: &GapInfo, tick: u64) {
        let fixed: [u64; layout::Gap::WORDS] = words_of(&gap.record(tick));
        self.words.extend_from_slice(&fixed);
        self.count += 1;
    }

    /// Who records, and what readers may derive.
    pub(crate) fn resource(&mut self, resource: &Resource) {
        let lists = resource.attributes.words().len() + resource.custom.words().len();
        let fixed = layout::Resource {
            header: Header::new(
                RecordKind::Resource,
                layout::Resource::WORDS + lists,
                NAME_NONE,
            ),
            derive: u32_le::from_native(
                u32::from(resource.derive_events) | u32::from(resource.derive_metrics) << 1,
            ),
            attributes: u16_le::from_native(resource.attributes.count()),
            custom: u16_le::from_native(resource.custom.count()),
            pid: u32_le::from_native(std::process::id()),
            max_events_per_span: u32_le::from_native(resource.max_events_per_span),
            threshold: u64_le::from_native(resource.orphans),
        };
        let fixed: [u64; layout::Resource::WORDS] = words_of(&fixed);
        self.words.extend_from_slice(&fixed);
        self.words.extend_from_slice(resource.attributes.words());
        self.words.extend_from_slice(resource.custom.words());
        self.count += 1;
    }
}

/// Who records: stands at the head of every segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resource {
    pub(crate) attributes: AttributeBuffer,
    pub(crate) custom: AttributeBuffer,
    pub(crate) derive_events: bool,
    pub(crate) derive_metrics: bool,
    pub(crate) max_events_per_span: u32,
    /// Sampling threshold of held traces that a crash leaves open.
    pub(crate) orphans: u64,
}

impl Resource {
    /// As a segment of the instance says.
    pub(crate) fn of(info: &ResourceInfo) -> Self {
        let list = |attributes: &[(String, Value)]| {
            let mut buffer = AttributeBuffer::default();
            for (key, value) in attributes {
                buffer.push(key, value);
            }
            buffer
        };
        Self {
            attributes: list(&info.attributes),
            custom: list(&info.custom),
            derive_events: info.derive_events,
            derive_metrics: info.derive_metrics,
            max_events_per_span: info.max_events_per_span,
            // Whoever reads it in a segment has no rings.
            orphans: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        view::{bytes_of, Body},
        Record,
    };

    #[test]
    fn what_is_written_can_be_read() {
        let mut resource = Resource {
            max_events_per_span: 100,
            ..Resource::default()
        };
        resource.attributes.push("service.name", "demo");
        resource.custom.push("team", "core");
        let mut batch = Batch::default();
        batch.anchor(
            &Anchor {
                tick: 1,
                unix_ns: -5,
                rate: 1 << 32,
            },
            AnchorReason::First,
        );
        batch.resource(&resource);
        batch.name(300, "fetch");
        let lease = Lease {
            lease: 3,
            thread: 44,
            thread_name: "worker-1".into(),
            tick: 9,
        };
        batch.lease(2, &lease);
        batch.loss(2, 3, LossCause::RingFull, RecordKind::Span as u8, 17, 9);

        let bytes = bytes_of(batch.words());
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let record = Record::read(bytes, at).unwrap();
            match record.body {
                Body::Anchor(a) => assert_eq!(a.unix_ns.to_native(), -5),
                Body::Resource(r) => {
                    assert_eq!(r.max_events_per_span.to_native(), 100);
                    assert_eq!(record.attributes.iter().count(), 1);
                    assert_eq!(record.custom.iter().count(), 1);
                }
                Body::Name(n) => {
                    assert_eq!((n.header.name.to_native(), record.text), (300, "fetch"))
                }
                Body::Lease(_) => assert_eq!(record.text, "worker-1"),
                Body::Loss(l) => assert_eq!(l.total.to_native(), 17),
                _ => panic!("{:?}", record.kind()),
            }
            kinds.push(record.kind());
            at += record.size;
        }
        assert_eq!(kinds.len() as u32, batch.count());
    }
}
