//! What is written, and how often.

use emberlog::{
    backend::{Row, Sink},
    log::Position,
    AttributeMap, Status,
};

use crate::{
    backend::{assert_holds, Backend, Fresh},
    make::{at, log, range, Dice, Maker},
};

/// Opens a sink as a tail does after a start.
fn open(store: &dyn Backend, maker: &Maker) -> Box<dyn Sink> {
    let mut sink = store.sink();
    sink.meet(&maker.origin);
    sink
}

pub fn everything_comes_back_as_it_was(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.awkward();
    let mut sink = open(&*store, &maker);
    sink.write(range(log(1), &maker, 0, 10), &rows).unwrap();
    drop(sink);
    assert_holds(&*store, &rows, &[maker.origin], "one batch");
}

pub fn nothing_is_asked_of_an_empty_batch(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.mixed(2);
    let mut sink = open(&*store, &maker);
    let fresh_position = sink.position(log(1)).unwrap();
    assert!(matches!(fresh_position, None | Some(Position::START)));
    sink.write(range(log(1), &maker, 0, 10), &[]).unwrap();
    sink.write(range(log(1), &maker, 10, 20), &rows).unwrap();
    sink.write(range(log(1), &maker, 20, 30), &[]).unwrap();
    let position = sink.position(log(1)).unwrap();
    assert!(position.is_none_or(|position| position == at(30)));
    assert_holds(&*store, &rows, &[maker.origin], "with empty batches");
}

/// Batches of rows, each with the offset that it begins at; batch *n* ends where *n* + 1 begins.
fn batches(rows: &[Row], of: usize) -> Vec<(u64, &[Row])> {
    let chunks = rows.chunks(of).enumerate();
    chunks.map(|(n, rows)| (n as u64 * 10, rows)).collect()
}

pub fn a_restart_anywhere_loses_and_repeats_nothing(fresh: Fresh<'_>) {
    let mut maker = Maker::new(1);
    let rows = maker.mixed(6);
    let batches = batches(&rows, 11);
    let count = batches.len();
    assert!(count > 8);
    // `again`: whether the cursor file had not moved yet, so that a batch comes once more to a
    // store that keeps no cursor of its own.
    for (cut, again) in (0..=count).flat_map(|cut| [(cut, 0), (cut, 1)]) {
        let store = fresh();
        let mut sink = open(&*store, &maker);
        for &(from, rows) in &batches[..cut] {
            sink.write(range(log(1), &maker, from, from + 10), rows)
                .unwrap();
        }
        drop(sink);
        let mut sink = open(&*store, &maker);
        let next = match sink.position(log(1)).unwrap() {
            Some(position) => {
                assert_eq!(position.offset, cut as u64 * 10, "after {cut} batches");
                cut
            }
            None => cut.saturating_sub(again),
        };
        for &(from, rows) in &batches[next..] {
            sink.write(range(log(1), &maker, from, from + 10), rows)
                .unwrap();
        }
        drop(sink);
        let origins = [maker.origin.clone()];
        assert_holds(&*store, &rows, &origins, &format!("restart after {cut}"));
    }
}

pub fn a_batch_given_again_changes_nothing(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.mixed(6);
    let mut sink = open(&*store, &maker);
    for round in 0..2 {
        for (from, rows) in batches(&rows, 17) {
            let range = range(log(1), &maker, from, from + 10);
            sink.write(range, rows).unwrap();
            if round == 1 {
                sink = open(&*store, &maker);
            }
            sink.write(range, rows).unwrap();
        }
    }
    // Whoever counts what was there already counts each row once.
    let mut sink = open(&*store, &maker);
    for (from, rows) in batches(&rows, 17) {
        sink.write(range(log(1), &maker, from, from + 10), rows)
            .unwrap();
    }
    let counted = sink.duplicates();
    assert!(
        counted == 0 || counted == rows.len() as u64,
        "{counted} of {}",
        rows.len()
    );
    drop(sink);
    assert_holds(&*store, &rows, &[maker.origin], "each batch five times");
}

pub fn a_trace_merges_in_any_order(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let mut other = Maker::new(2);
    other.sequence = 1 << 40;
    let mut sink = open(&*store, &maker);
    sink.meet(&other.origin);
    let mut all = Vec::new();
    let mut dice = Dice(11);
    let mut offset = 0;
    let map = |key: &str, value: &str| -> AttributeMap { [(key, value)].into_iter().collect() };
    for id in 1..=60u128 {
        let number = id as u64 * 1000;
        let mut rows = vec![
            Row::Span(maker.span(id, number, "inside", map("a", "b"))),
            Row::Event(maker.event(Some(id), "my.own", "inside", map("a", "b"))),
        ];
        // Some are never begun, some never ended, some begun or ended by two processes.
        if id % 5 != 0 {
            rows.push(Row::TraceBegan(maker.began(
                id,
                "run",
                map("both", "start"),
            )));
        }
        if id % 7 != 0 {
            let ended = maker.ended(id, "run", Status::Ok, map("both", "end"));
            rows.push(Row::TraceEnded(ended));
        }
        if id % 3 == 0 {
            let mut began = other.began(id, "", map("other", "start"));
            began.trace.start_ns -= 1 + id as i64;
            rows.push(Row::TraceBegan(began));
            let mut ended = other.ended(id, "run", Status::Error, map("both", "other end"));
            ended.trace.end_ns = ended.trace.end_ns.map(|end| end + 7);
            rows.push(Row::TraceEnded(ended));
        }
        for from in (1..rows.len()).rev() {
            rows.swap(from, dice.roll(from + 1));
        }
        // In one batch, or each in one of its own.
        let size = if id % 2 == 0 { rows.len() } else { 1 };
        for rows in rows.chunks(size) {
            sink.write(range(log(1), &maker, offset, offset + 1), rows)
                .unwrap();
            offset += 1;
        }
        all.extend(rows);
    }
    assert_holds(&*store, &all, &[maker.origin, other.origin], "shuffled");
}

pub fn a_batch_in_pieces_is_the_batch(fresh: Fresh<'_>) {
    let store = fresh();
    let mut maker = Maker::new(1);
    let rows = maker.mixed(4);
    let origins = [maker.origin.clone()];
    let mut sink = open(&*store, &maker);
    // As after an answer that blames the content: halves, of which only the last has the position.
    for crash in [2, 5, usize::MAX] {
        let pieces: Vec<&[Row]> = rows.chunks(9).collect();
        for (n, piece) in pieces.iter().enumerate().take(crash) {
            let to = if n + 1 == pieces.len() { 10 } else { 0 };
            sink.write(range(log(1), &maker, 0, to), piece).unwrap();
            let position = sink.position(log(1)).unwrap();
            let last = n + 1 == pieces.len();
            let said = position.is_none_or(|position| (position == at(10)) == last);
            assert!(said, "{position:?} after piece {n}");
        }
        drop(sink);
        sink = open(&*store, &maker);
    }
    // The last row was blamed: the position moves without rows.
    sink.write(range(log(1), &maker, 10, 20), &[]).unwrap();
    assert_holds(&*store, &rows, &origins, "in pieces");
}

pub fn logs_and_instances_stay_apart(fresh: Fresh<'_>) {
    let store = fresh();
    let mut all = Vec::new();
    let mut origins = Vec::new();
    for number in 1..=3 {
        // The same rings and sequences, the same span ids in other traces.
        let mut maker = Maker::new(number);
        let rows: Vec<Row> = (0..5)
            .flat_map(|n| {
                let id = u128::from(number) << 64 | n;
                let none = AttributeMap::new;
                [
                    Row::TraceBegan(maker.began(id, "run", none())),
                    Row::Span(maker.span(id, n as u64 + 1, "a", none())),
                    Row::Event(maker.event(Some(id), "my.own", "a", none())),
                    Row::Metric(maker.metric(None, "a", 1.0)),
                    Row::Link(maker.link(id, id, none())),
                ]
            })
            .collect();
        let mut sink = open(&*store, &maker);
        let log = log(number);
        let before = sink.position(log).unwrap();
        assert!(before.is_none_or(|position| position == Position::START));
        let to = 10 * u64::from(number);
        sink.write(range(log, &maker, 0, to), &rows).unwrap();
        let after = sink.position(log).unwrap();
        assert!(after.is_none_or(|position| position == at(to)));
        origins.push(maker.origin);
        all.extend(rows);
    }
    assert_holds(&*store, &all, &origins, "three logs");
}
