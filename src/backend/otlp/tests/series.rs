//! Series: what is added up, from when, how many there may be, and that a restart forgets nothing.

use proptest::prelude::*;

use super::super::{
    aggregate::{Attributes, Buckets, Data, Measured, Number, Rules, Series, State},
    distribution::Recorded,
    journal::Journal,
    options::{HistogramForm, Temporality},
    send::Placed,
};
use crate::{
    log::Position,
    record::{
        id::{InstanceId, LogId, TraceId},
        kinds::Aggregation,
        value::Value,
    },
};

const INSTANCE: InstanceId = InstanceId([7; 16]);
const LOG: LogId = LogId([1; 16]);

fn rules(temporality: Temporality, histograms: HistogramForm) -> Rules {
    Rules {
        histograms,
        temporality,
        limit: 2000,
    }
}

const CUMULATIVE: Rules = Rules {
    histograms: HistogramForm::Explicit,
    temporality: Temporality::Cumulative,
    limit: 2000,
};

/// A measurement: aggregation, value, time, series.
type One = (Aggregation, f64, i64, u32);

fn measured((aggregation, value, time_ns, _): One) -> Measured<'static> {
    Measured {
        name: "m",
        unit: "seconds",
        aggregation,
        value,
        integer: (value.fract() == 0.0).then_some(value as i128),
        time_ns,
        trace: Some(TraceId::from_u128(time_ns as u128 + 1)),
        span: None,
        recorded: None,
    }
}

fn add(batch: &mut State, before: &State, rules: &Rules, one: One) -> bool {
    let measured = measured(one);
    let key = Value::U64(one.3.into());
    let attributes = Attributes::new([("key", &key)].into_iter());
    batch.record(before, INSTANCE, &measured, &attributes, rules)
}

/// What the batches make, one after the other, and the state behind them.
fn run(rules: &Rules, batches: &[Vec<One>]) -> (Vec<State>, State) {
    let (mut state, mut points) = (State::default(), Vec::new());
    for ones in batches {
        let mut batch = State::default();
        for one in ones {
            add(&mut batch, &state, rules, *one);
        }
        batch.follow(&state, rules);
        points.push(batch.clone());
        state.absorb(batch);
    }
    (points, state)
}

fn series(state: &State) -> Vec<&Series> {
    let instances = state.instances.values();
    let metrics = instances.flat_map(|instance| instance.metrics.values());
    metrics.flat_map(|metric| metric.series.values()).collect()
}

fn one(state: &State) -> &Series {
    match series(state).as_slice() {
        [one] => one,
        other => panic!("{other:?}"),
    }
}

const C: Aggregation = Aggregation::Counter;
const H: Aggregation = Aggregation::Histogram;
const G: Aggregation = Aggregation::Gauge;

#[test]
fn cumulative_counts_from_the_start_and_delta_from_the_point_before() {
    let batches = [
        vec![(C, 2.0, 100, 0), (C, 3.0, 110, 0)],
        vec![(C, 4.0, 200, 0)],
    ];
    let (points, _) = run(&CUMULATIVE, &batches);
    let shown = |s: &Series| (s.start_ns, s.time_ns, s.data.clone());
    assert_eq!(shown(one(&points[0])), (99, 110, Data::Sum(Number::Int(5))));
    assert_eq!(shown(one(&points[1])), (99, 200, Data::Sum(Number::Int(9))));
    let delta = rules(Temporality::Delta, HistogramForm::Explicit);
    let (points, _) = run(&delta, &batches);
    assert_eq!(shown(one(&points[0])), (99, 110, Data::Sum(Number::Int(5))));
    assert_eq!(
        shown(one(&points[1])),
        (110, 200, Data::Sum(Number::Int(4)))
    );
    // Late ones make no point that ends before it begins.
    let (points, _) = run(&delta, &[vec![(C, 1.0, 100, 0)], vec![(C, 1.0, 50, 0)]]);
    assert_eq!(
        shown(one(&points[1])),
        (100, 101, Data::Sum(Number::Int(1)))
    );
}

#[test]
fn the_newest_gauge_counts_also_when_an_older_one_comes_late() {
    let (points, _) = run(&CUMULATIVE, &[vec![(G, 1.0, 100, 0), (G, 2.0, 90, 0)]]);
    assert_eq!(one(&points[0]).data, Data::Last(Number::Int(1)));
    let (points, _) = run(
        &CUMULATIVE,
        &[vec![(G, 1.0, 100, 0)], vec![(G, 2.0, 90, 0)]],
    );
    assert_eq!(one(&points[1]).data, Data::Last(Number::Int(1)));
}

#[test]
fn bounds_belong_to_the_bucket_below_and_fit_seconds() {
    let values = [0.005, 0.0051, 10.0, 11.0].map(|value| (H, value, 1, 0));
    let (points, _) = run(&CUMULATIVE, &[values.to_vec()]);
    let Data::Distribution(all) = &one(&points[0]).data else {
        panic!("no distribution")
    };
    let Buckets::Explicit(counts) = &all.buckets else {
        panic!("not explicit")
    };
    assert_eq!(counts.len(), 15);
    assert_eq!((counts[0], counts[1], counts[13], counts[14]), (1, 1, 1, 1));
    assert_eq!((all.count, all.min, all.max), (4, 0.005, 11.0));
}

#[test]
fn exemplars_are_the_newest_and_of_distributions_the_greatest_too() {
    let (points, state) = run(
        &CUMULATIVE,
        &[vec![(H, 1.0, 1, 0), (H, 9.0, 2, 0), (H, 2.0, 3, 0)]],
    );
    let shown: Vec<_> = one(&points[0])
        .exemplars
        .iter()
        .map(|e| (e.time_ns, e.value))
        .collect();
    assert_eq!(shown, [(3, Number::Int(2)), (2, Number::Int(9))]);
    assert!(one(&state).exemplars.is_empty(), "they are of one batch");
    let (points, _) = run(&CUMULATIVE, &[vec![(C, 9.0, 1, 0), (C, 2.0, 3, 0)]]);
    assert_eq!(one(&points[0]).exemplars.len(), 1);
}

#[test]
fn what_is_no_number_is_not_added_up() {
    let (mut batch, before) = (State::default(), State::default());
    for value in [f64::NAN, f64::INFINITY] {
        assert!(!add(&mut batch, &before, &CUMULATIVE, (C, value, 1, 0)));
        assert!(!add(&mut batch, &before, &CUMULATIVE, (H, value, 1, 0)));
        assert!(add(&mut batch, &before, &CUMULATIVE, (G, value, 1, 0)));
    }
    assert_eq!(series(&batch).len(), 1);
}

#[test]
fn a_metric_has_two_thousand_series_and_the_last_one_takes_the_rest() {
    let first: Vec<One> = (0..1500).map(|key| (C, 1.0, 1, key)).collect();
    let second: Vec<One> = (0..3000).map(|key| (C, 1.0, 2, key)).collect();
    let (_, state) = run(&CUMULATIVE, &[first, second]);
    let all = series(&state);
    assert_eq!(all.len(), 2000);
    let is_overflow = |s: &&&Series| s.attributes[0].0 == "otel.metric.overflow";
    let overflow: Vec<_> = all.iter().filter(is_overflow).collect();
    assert_eq!(overflow.len(), 1);
    assert_eq!(overflow[0].attributes[0].1, Value::Bool(true));
    assert_eq!(overflow[0].data, Data::Sum(Number::Int(3000 - 1999)));
    let sum = |s: &&Series| match s.data {
        Data::Sum(Number::Int(sum)) => sum,
        _ => 0,
    };
    assert_eq!(all.iter().map(sum).sum::<i64>(), 4500);
}

#[test]
fn sums_stay_integers_until_they_no_longer_fit() {
    let most = i64::MAX as f64;
    let (points, _) = run(&CUMULATIVE, &[vec![(C, 1.0, 1, 0)], vec![(C, 0.5, 2, 0)]]);
    assert_eq!(one(&points[1]).data, Data::Sum(Number::Double(1.5)));
    let (points, _) = run(
        &CUMULATIVE,
        &[vec![(C, most / 2.0, 1, 0)], vec![(C, most, 2, 0)]],
    );
    assert!(matches!(one(&points[1]).data, Data::Sum(Number::Double(sum)) if sum > most));
}

fn placed(offset: u64) -> Placed {
    Placed {
        log: LOG,
        position: Position { epoch: 1, offset },
    }
}

#[test]
fn the_journal_gives_back_what_it_was_given_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cursors/otlp-metrics.series");
    let batches = [
        vec![(C, 2.0, 1, 0), (H, 0.3, 2, 1), (G, f64::NAN, 3, 2)],
        vec![(C, 0.5, 4, 0), (H, 7.0, 5, 1)],
    ];
    for form in [HistogramForm::Explicit, HistogramForm::Exponential] {
        let _ = std::fs::remove_file(&file);
        let rules = rules(Temporality::Cumulative, form);
        let (points, _) = run(&rules, &batches);
        let (mut journal, mut state) = Journal::open(dir.path(), "otlp-metrics").unwrap();
        assert_eq!((journal.placed(), &state), (None, &State::default()));
        // Length of the file, what was said then, what was unsent.
        let mut known = vec![(0, State::default(), None, 0)];
        for (n, batch) in points.into_iter().enumerate() {
            let at = placed(n as u64 + 1);
            journal.begin(at, &[vec![1; 99], vec![2]], &batch).unwrap();
            state.absorb(batch);
            let len = || std::fs::metadata(&file).unwrap().len();
            known.push((len(), state.clone(), Some(at), 2));
            journal.sent(&state).unwrap();
            known.push((len(), state.clone(), Some(at), 0));
        }
        drop(journal);
        let bytes = std::fs::read(&file).unwrap();
        for cut in 0..=bytes.len() {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            let (mut journal, read) = Journal::open(dir.path(), "otlp-metrics").unwrap();
            let (_, state, at, unsent) = known
                .iter()
                .rev()
                .find(|(len, ..)| *len <= cut as u64)
                .unwrap();
            assert_eq!(format!("{read:?}"), format!("{state:?}"), "cut at {cut}");
            assert_eq!(journal.placed(), *at, "cut at {cut}");
            let mut left = 0;
            while journal.unsent().is_some() {
                journal.next();
                left += 1;
            }
            assert_eq!(left, *unsent, "cut at {cut}");
        }
        // A flipped bit ends it there, and nothing is invented.
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            std::fs::write(&file, &bad).unwrap();
            let (_, read) = Journal::open(dir.path(), "otlp-metrics").unwrap();
            let fits = known
                .iter()
                .any(|(_, s, ..)| format!("{s:?}") == format!("{read:?}"));
            assert!(fits, "bit at {at}");
        }
    }
}

fn measurements() -> impl Strategy<Value = One> {
    let kind = prop::sample::select(vec![C, H, G]);
    // Quarters: sums of them are exact in any order.
    (kind, -400i32..400, 0i64..1000, 0u32..4)
        .prop_map(|(kind, quarters, time, key)| (kind, f64::from(quarters) / 4.0, time, key))
}

proptest! {
    /// However the records are cut into batches, the last points say the same.
    #[test]
    fn cutting_batches_elsewhere_changes_no_sum(
        ones in prop::collection::vec(measurements(), 1..60),
        cuts in prop::collection::vec(1usize..20, 1..10),
        exponential: bool,
    ) {
        let form = match exponential {
            true => HistogramForm::Exponential,
            false => HistogramForm::Explicit,
        };
        let mut batches = Vec::new();
        let (mut rest, mut cuts) = (&ones[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (batch, more) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            batches.push(batch.to_vec());
            rest = more;
        }
        let show = |batches: &[Vec<One>]| {
            let (_, state) = run(&rules(Temporality::Cumulative, form), batches);
            let mut all: Vec<_> = series(&state)
                .iter()
                .map(|s| format!("{:?} {:?}", s.attributes, s.data))
                .collect();
            all.sort();
            all
        };
        // Among gauges of the same moment any is the last one: they are told apart by time.
        let mut seen = std::collections::BTreeSet::new();
        prop_assume!(ones.iter().all(|(_, _, time, key)| seen.insert((*time, *key))));
        prop_assert_eq!(show(&batches), show(&[ones]));
    }
}

proptest! {
    /// A record of many values says of their number, sum and extremes what one record for each
    /// would, and of their sizes as exactly as it was told.
    #[test]
    fn a_recorded_distribution_is_as_good_as_its_values(
        values in prop::collection::vec((-400i32..400, 1u64..5), 1..20),
        exponential: bool,
    ) {
        let form = match exponential {
            true => HistogramForm::Exponential,
            false => HistogramForm::Explicit,
        };
        let rules = rules(Temporality::Cumulative, form);
        let values: Vec<_> = values
            .iter()
            .map(|(quarters, times)| (f64::from(*quarters) / 4.0, *times))
            .collect();
        let one_by_one = values
            .iter()
            .flat_map(|(value, times)| (0..*times).map(|_| (H, *value, 1, 0)));
        let (_, expected) = run(&rules, &[one_by_one.collect()]);
        let list = |each: Vec<Value>| Value::Array(each);
        let sum: f64 = values.iter().map(|(value, times)| value * *times as f64).sum();
        let told = vec![
            ("sum".to_owned(), Value::F64(sum)),
            ("values".to_owned(), list(values.iter().map(|(v, _)| Value::F64(*v)).collect())),
            ("counts".to_owned(), list(values.iter().map(|(_, n)| Value::U64(*n)).collect())),
        ];
        let recorded = Recorded::of(&told);
        prop_assert!(recorded.is_some());
        let mut batch = State::default();
        let mut measured = measured((H, 0.0, 1, 0));
        measured.recorded = recorded;
        let key = Value::U64(0);
        let attributes = Attributes::new([("key", &key)].into_iter());
        prop_assert!(batch.record(&State::default(), INSTANCE, &measured, &attributes, &rules));
        let data = |state: &State| series(state).iter().map(|s| s.data.clone()).collect::<Vec<_>>();
        prop_assert_eq!(data(&batch), data(&expected));
    }
}
