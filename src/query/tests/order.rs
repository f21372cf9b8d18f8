//! Every filter, order, limit and offset against the reference.

use std::time::Duration;

use super::{
    make::{trace_id, world, world_with, Random},
    reference::Everything,
};
use crate::{
    query::{
        events::Events,
        filter::{Filter, Order},
        gather::gather,
        links::Links,
        metrics::Metrics,
        spans::Spans,
        store::Store,
        traces::TraceWalk,
        tree::TraceTree,
        walk::{Look, Walk},
    },
    record::{
        id::SpanId,
        kinds::{SpanKind, Status},
    },
};

fn filter(random: &mut Random) -> Filter {
    let mut f = Filter::new().all();
    f.order = random.pick(&[Order::Newest, Order::Oldest, Order::Slowest]);
    if random.one_in(4) {
        f = f.name(random.pick(&[
            "fetch",
            "fetch*",
            "*e*",
            "nothing",
            "",
            "*started",
            "node.duration",
        ]));
    }
    if random.one_in(5) {
        f = f.status(random.pick(Status::ALL));
    }
    if random.one_in(10) {
        f = f.active();
    }
    if random.one_in(6) {
        f = f.kind(random.pick(SpanKind::ALL));
    }
    if random.one_in(6) {
        f = f.event_type(random.pick(&["node.failed", "milestone", "edge_taken", "node_started"]));
    }
    if random.one_in(6) {
        f = f.trace_id(trace_id(1 + u128::from(random.below(13))));
    }
    if random.one_in(10) {
        f = f.span_id(SpanId::new(1 + random.below(40)).unwrap());
    }
    if random.one_in(4) {
        f = f.since_ns(1_000_000 + random.below(1500) as i64);
    }
    if random.one_in(4) {
        f = f.until_ns(1_000_000 + random.below(3000) as i64);
    }
    if random.one_in(5) {
        f = f.min_duration(Duration::from_nanos(random.below(1500)));
    }
    if random.one_in(6) {
        let (key, value) = random.pick(&[
            ("env", "test"),
            ("env", "prod"),
            ("team", "1"),
            ("retries", "2"),
            ("node.id", "n2"),
            ("error.type", "Timeout"),
            ("exception.type", "Timeout"),
        ]);
        f = f.attribute(key, value);
    }
    if random.one_in(8) {
        f = f.node("n1");
    }
    if random.one_in(8) {
        f = f.error_type("Timeout");
    }
    if random.one_in(8) {
        f = f.graph(random.pick(&["g1", "fetch"]));
    }
    if random.one_in(3) {
        f.limit = Some(random.below(12) as usize);
    }
    if random.one_in(3) {
        f.offset = random.below(12) as usize;
    }
    f.recorded_only = random.one_in(5);
    f
}

fn rows<L: Look>(store: &std::sync::Arc<Store>, look: L, filter: &Filter) -> Vec<L::Row> {
    let walk = Walk::new(store.clone(), look, filter, filter.row_limit());
    walk.map(Result::unwrap).collect()
}

fn same<R: PartialEq + std::fmt::Debug>(what: &str, found: &[R], expected: &[R], at: &str) {
    let differs = (0..found.len().max(expected.len())).find(|&i| found.get(i) != expected.get(i));
    if let Some(i) = differs {
        panic!(
            "{what} {i} of {} and {}: {at}\n found {:?}\n expected {:?}",
            found.len(),
            expected.len(),
            found.get(i),
            expected.get(i)
        );
    }
}

#[test]
fn answers_are_those_of_the_reference() {
    for seed in 0..400 {
        let world = world(seed);
        let all = Everything::of(&world.store);
        let mut random = Random(seed * 77 + 5);
        for round in 0..12 {
            let f = if round == 0 {
                Filter::new().all()
            } else {
                filter(&mut random)
            };
            let at = format!("seed {seed}, {f:?}");
            let store = &world.store;
            let traces: Vec<_> = TraceWalk::new(store.clone(), &f, f.trace_limit())
                .map(Result::unwrap)
                .collect();
            same("traces", &traces, &all.traces(&f), &at);
            same(
                "spans",
                &rows(store, Spans::new(&f), &f),
                &all.spans(&f),
                &at,
            );
            same(
                "events",
                &rows(store, Events::new(&f), &f),
                &all.events(&f),
                &at,
            );
            same(
                "metrics",
                &rows(store, Metrics::new(&f), &f),
                &all.metrics(&f),
                &at,
            );
            same(
                "links",
                &rows(store, Links::new(&f), &f),
                &all.links(&f),
                &at,
            );
        }
    }
}

#[test]
fn any_bytes_are_survived() {
    for seed in 0..300 {
        let world = world_with(seed, |random, words| {
            for _ in 0..random.below(6) {
                let at = random.below(words.len() as u64) as usize;
                words[at] = match random.below(4) {
                    0 => random.next() << 32 | random.next(),
                    1 => u64::MAX,
                    2 => i64::MIN as u64,
                    _ => words[at] ^ 1 << random.below(64),
                };
            }
        });
        let mut random = Random(seed + 3);
        for _ in 0..8 {
            let f = filter(&mut random);
            let store = &world.store;
            // A record of a newer version is an error, everything else is left out.
            TraceWalk::new(store.clone(), &f, f.trace_limit()).for_each(drop);
            Walk::new(store.clone(), Spans::new(&f), &f, f.row_limit()).for_each(drop);
            Walk::new(store.clone(), Events::new(&f), &f, f.row_limit()).for_each(drop);
            Walk::new(store.clone(), Metrics::new(&f), &f, f.row_limit()).for_each(drop);
            Walk::new(store.clone(), Links::new(&f), &f, f.row_limit()).for_each(drop);
            let id = trace_id(1 + u128::from(random.below(13)));
            if let Ok(parts) = gather(store, id) {
                drop(TraceTree::build(parts));
            }
        }
    }
}
