//! Trace ids by their first digits, as people paste them.

use ahash::AHashSet;

use crate::{backend::ScanError, query::filter::Filter, record::id::TraceId};

use super::{
    partial::KINDS,
    store::{Open, Store},
    walk::Queue,
};

/// The ids that begin with `digits`, those of the newest frames first.
pub(super) fn find(store: &Store, digits: &str, most: usize) -> Result<Vec<TraceId>, ScanError> {
    let Some((from, to)) = range(digits) else {
        return Ok(Vec::new());
    };
    let mut found = Found {
        from,
        to,
        most,
        ids: Vec::new(),
        seen: AHashSet::new(),
    };
    for open in &store.open {
        if let Open::Trace(trace) = open {
            found.add(trace.trace_id);
        }
    }
    let mut filter = Filter::new();
    if from == to {
        filter = filter.trace_id(TraceId::from_u128(from));
    }
    let judge = |_: u32, _: &_, entry: &crate::log::FrameEntry| {
        (entry.kinds & KINDS != 0).then_some(entry.latest_ns)
    };
    let mut queue = Queue::default();
    queue.fill(store, &filter, judge);
    while queue.bound().is_some() && found.ids.len() < most {
        let Some((segment, block)) = queue.next(store, judge) else {
            continue;
        };
        let mut of_frame = Vec::new();
        store.visit(segment, block, KINDS, |block, item, _| {
            of_frame.push(block.trace_of(item));
            Ok(())
        })?;
        of_frame.into_iter().rev().for_each(|id| found.add(id));
    }
    Ok(found.ids)
}

struct Found {
    from: u128,
    to: u128,
    most: usize,
    ids: Vec<TraceId>,
    seen: AHashSet<TraceId>,
}

impl Found {
    fn add(&mut self, id: TraceId) {
        let fits = (self.from..=self.to).contains(&id.as_u128()) && self.ids.len() < self.most;
        if fits && self.seen.insert(id) {
            self.ids.push(id);
        }
    }
}

/// First and last id with these digits.
fn range(digits: &str) -> Option<(u128, u128)> {
    let digits = digits.replace('-', "");
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !plain || !(1..=32).contains(&digits.len()) {
        return None;
    }
    let free = 128 - 4 * digits.len() as u32;
    let from = u128::from_str_radix(&digits, 16).ok()? << free;
    Some((from, from | u128::MAX.checked_shr(128 - free).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn digits_mean_all_ids_that_begin_with_them() {
        let whole = "00112233445566778899aabbccddeeff";
        let id = u128::from_str_radix(whole, 16).unwrap();
        assert_eq!(range(whole), Some((id, id)));
        assert_eq!(
            range("00112233-4455-6677-8899-aabbccddeeff"),
            Some((id, id))
        );
        assert_eq!(range("f"), Some((0xf << 124, u128::MAX)));
        assert_eq!(
            range("F0"),
            Some((0xf0 << 120, (0xf0 << 120) + ((1 << 120) - 1)))
        );
        assert_eq!(range(""), None);
        assert_eq!(range("xyz"), None);
        assert_eq!(range(&"0".repeat(33)), None);
    }
}
