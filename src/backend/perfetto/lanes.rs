//! Slices that overlap without one lying inside the other, side by side.
//!
//! On one track the UI takes slices as nested calls: an end closes what began last. Spans come when
//! they end, from several threads; where one would not nest with what a lane has, it goes on
//! another lane of the same track.
//!
//! Packets with equal times count in the order of the file, where a child stands before its parent.
//! So a slice that begins exactly with one inside it does not nest, nor does one that ends exactly
//! where a later one, which stands before it, begins.

/// Slices a lane remembers that lie in no other one.
const REMEMBERED: usize = 256;

/// A track's slices, lane by lane.
#[derive(Debug, Default)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug, Default)]
struct Lane {
    /// Begin and end of slices that lie in no other one, in order; disjoint but for their ends.
    outer: Vec<(u64, u64)>,
    /// What begins before it may overlap what was forgotten.
    floor: u64,
}

impl Lanes {
    /// The lane where a slice nests with all that came before it.
    pub(super) fn place(&mut self, begin: u64, end: u64) -> usize {
        let fits = self.0.iter_mut().position(|lane| lane.add(begin, end));
        fits.unwrap_or_else(|| {
            let mut lane = Lane::default();
            lane.add(begin, end);
            self.0.push(lane);
            self.0.len() - 1
        })
    }
}

impl Lane {
    /// Adds a slice if it nests.
    fn add(&mut self, begin: u64, end: u64) -> bool {
        if begin < self.floor {
            return false;
        }
        // Those before end at or before its begin, those after begin behind its end.
        let from = self.outer.partition_point(|(_, e)| *e <= begin);
        let to = self.outer.partition_point(|(b, _)| *b <= end);
        let inside = |(b, e): &(u64, u64)| begin < *b && *e <= end && (*b < end || b == e);
        if !self.outer[from..to].iter().all(inside) {
            return false;
        }
        self.outer.splice(from..to, [(begin, end)]);
        if self.outer.len() > REMEMBERED {
            self.floor = self.floor.max(self.outer.remove(0).1);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays packets as the UI does: sorted by time, else in their order; an end closes what began
    /// last. Gives the slice that each end closes.
    fn played(slices: &[(u64, u64)]) -> Vec<(usize, usize)> {
        let mut packets: Vec<(u64, bool, usize)> = Vec::new();
        for (number, (begin, end)) in slices.iter().enumerate() {
            packets.push((*begin, true, number));
            packets.push((*end, false, number));
        }
        packets.sort_by_key(|(time, ..)| *time);
        let mut open = Vec::new();
        let mut closed = Vec::new();
        for (_, begins, number) in packets {
            match begins {
                true => open.push(number),
                false => closed.push((number, open.pop().expect("something is open"))),
            }
        }
        closed
    }

    proptest! {
        #[test]
        fn every_end_closes_its_own_slice(
            slices in proptest::collection::vec((0u64..40, 0u64..12), 0..60)
        ) {
            let mut lanes = Lanes::default();
            let mut on: Vec<Vec<(u64, u64)>> = Vec::new();
            for (begin, length) in slices {
                let slice = (begin, begin + length);
                let lane = lanes.place(slice.0, slice.1);
                if on.len() <= lane {
                    on.resize(lane + 1, Vec::new());
                }
                on[lane].push(slice);
            }
            for lane in on {
                for (wanted, closed) in played(&lane) {
                    prop_assert_eq!(lane[wanted], lane[closed], "{:?}", lane);
                }
            }
        }
    }

    #[test]
    fn calls_and_rows_of_steps_share_a_lane() {
        let mut lanes = Lanes::default();
        // Steps that follow each other, then the run around them.
        for slice in [
            (10, 20),
            (20, 20),
            (20, 30),
            (30, 45),
            (5, 45),
            (50, 60),
            (1, 99),
        ] {
            assert_eq!(lanes.place(slice.0, slice.1), 0, "{slice:?}");
        }
        // One at the same time does not nest.
        assert_eq!(lanes.place(40, 120), 1);
        assert_eq!(lanes.place(100, 110), 0);
    }

    #[test]
    fn a_long_row_forgets_its_beginning() {
        let mut lanes = Lanes::default();
        for n in 0..10_000 {
            assert_eq!(lanes.place(n * 10, n * 10 + 5), 0);
        }
        assert_eq!(lanes.0[0].outer.len(), REMEMBERED);
        // What is forgotten might not nest.
        assert_eq!(lanes.place(3, 100_000), 1);
    }
}
